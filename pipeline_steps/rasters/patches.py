"""Patches of equal class as polygons, band by band: a patch is kept only while it goes on below.

Memory is that of a band, and of the borders of those patches that go on below, which are cut where
they become too many.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from pipeline_steps.rasters.class_map import NOTHING, Band
from pipeline_steps.rasters.ground_area import Ground
from pipeline_steps.rasters.outlines import labelled, nodes, outlined, without_cuts
from pipeline_steps.rasters.raster import Grid

CLASS, FIRST, PIXELS, AREA, CONFIDENCE, CORNERS, CUTS = range(7)
"""What is known of a patch: its class, the number of its first pixel, sums over its pixels, how
many corners its pieces have, and how many of its pieces lie at a cut."""

MOST = 1_000_000
"""Corners that the patches may have together that go on below: some hundred bytes each."""


@dataclasses.dataclass(frozen=True)
class Patches:
    """Finished patches: a polygon in pixels, and what is known of it, for each.

    ``areas`` are in units of ``Ground``; ``confidence`` is the mean over a patch's pixels.
    ``is_part`` is true of what was cut from a larger patch.
    """

    shapes: np.ndarray
    classes: np.ndarray
    pixels: np.ndarray
    areas: np.ndarray
    confidence: np.ndarray
    is_part: np.ndarray

    def __len__(self) -> int:
        return len(self.shapes)

    @property
    def corners(self) -> int:
        """Return how many corners all have together."""
        return int(shapely.get_num_coordinates(self.shapes).sum())

    @classmethod
    def together(cls, parts: Sequence["Patches"]) -> "Patches":
        """Return several as one."""
        names = [field.name for field in dataclasses.fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclasses.dataclass(frozen=True)
class _Open:
    """Patches that go on below: ``facts`` int64 [n, 7], their pieces, and where, int64 [W].

    ``cut``, bool [W], is where others were ended.
    """

    facts: np.ndarray
    pieces: list[list[shapely.Polygon]]
    below: np.ndarray
    cut: np.ndarray

    @classmethod
    def nothing(cls, width: int) -> "_Open":
        """Return what is open above the first row."""
        return cls(np.empty((0, 7), np.int64), [], np.full(width, -1), np.zeros(width, bool))


def patches(
    bands: Iterable[Band], ground: Ground, simplify: float = 0.0, most: int = MOST
) -> Iterator[Patches]:
    """Yield the patches of a map, those that end in a band together, by their first pixel.

    A patch is all pixels of one class that hang together along their sides. Polygons are those of
    the pixels, whatever the bands' heights. Where ``simplify`` is more than 0, in pixels, corners
    go whose triangle with their neighbours is smaller than its square (Visvalingam and Whyatt, as
    GEOS does it for coverages): once for a border, so both its sides stay the same, and no two
    borders cross. A border that crosses from one band to the next keeps its point there.

    Where the patches that go on below a band have more than ``most`` corners together, the largest
    of them end with the next band, and go on below it as patches of their own.
    """
    held, lines, above = None, {}, None
    for band, following in _with_next(bands):
        labels = labelled(band.classes)
        held = held or _Open.nothing(labels.shape[1])
        facts = _facts(band, labels, ground)
        groups = _groups(held, labels, len(facts))
        continues = np.zeros(labels.shape[1], bool)
        if following is not None:
            continues = (band.classes[-1] == following) & (following != NOTHING)
        is_ended = _too_large(held.facts, groups, most)[groups[len(held.facts) :]]
        cut = continues & is_ended[labels[-1]]
        facts[labels[0][held.cut], CUTS] = facts[labels[-1][cut], CUTS] = 1
        is_node = nodes(_around(above, band.classes, following), held.cut, cut)
        lines = _lines_within(held, lines) | {band.top: is_node[0]}
        pieces = _pieces(labels, facts[:, CLASS] != NOTHING, is_node, band.top, simplify)
        facts[:, CORNERS] = shapely.get_num_coordinates(pieces)
        below = np.where(continues & ~cut, labels[-1], -1)
        done, held = _joined(held, facts, pieces, groups, below, cut, lines)
        yield done
        above = band.classes[-1]


def _with_next(bands: Iterable[Band]) -> Iterator[tuple[Band, np.ndarray | None]]:
    """Yield every band with the first row of classes of the one below it."""
    waiting = None
    for band in bands:
        if waiting is not None:
            yield waiting, band.classes[0]
        waiting = band
    if waiting is not None:
        yield waiting, None


def _around(
    above: np.ndarray | None, classes: np.ndarray, following: np.ndarray | None
) -> np.ndarray:
    """Return classes with the rows above and below, and nothing around the raster."""
    around = np.full(np.add(classes.shape, 2), NOTHING, np.uint8)
    around[1:-1, 1:-1] = classes
    for row, values in ((0, above), (-1, following)):
        if values is not None:
            around[row, 1:-1] = values
    return around


def _facts(band: Band, labels: np.ndarray, ground: Ground) -> np.ndarray:
    """Return what is known of the patches of a band, int64 [n, 7], but corners and cuts."""
    numbers = labels.ravel()
    count = int(numbers.max()) + 1
    facts = np.zeros((count, 7), np.int64)
    # written last to first, so the first pixel stays
    facts[numbers[::-1], FIRST] = np.arange(numbers.size)[::-1]
    facts[:, CLASS] = band.classes.ravel()[facts[:, FIRST]]
    facts[:, FIRST] += band.top * labels.shape[1]
    facts[:, PIXELS] = np.bincount(numbers, minlength=count)
    facts[:, AREA] = ground.sums(labels, band.top, count)
    # sums of whole numbers, which doubles hold exactly
    facts[:, CONFIDENCE] = np.bincount(numbers, band.confidence.ravel(), count)
    return facts


def _groups(held: _Open, labels: np.ndarray, count: int) -> np.ndarray:
    """Return which patch what was open, and then each of ``count`` labels, is of: int [n]."""
    before, size = len(held.facts), len(held.facts) + count
    meets = held.below >= 0
    pairs = held.below[meets], before + labels[0][meets]
    graph = coo_array((np.ones(len(pairs[0]), bool), pairs), (size, size))
    return connected_components(graph, directed=False)[1]


def _too_large(facts: np.ndarray, groups: np.ndarray, most: int) -> np.ndarray:
    """Return which groups shall end, bool [groups]: the largest, until ``most`` corners are left.

    ``facts`` are those of what was open.
    """
    sizes = np.bincount(groups[: len(facts)], facts[:, CORNERS], groups.max() + 1)
    order = np.argsort(sizes, kind="stable")
    is_over = np.zeros(len(sizes), bool)
    is_over[order] = np.cumsum(sizes[order]) > most
    return is_over


def _lines_within(held: _Open, lines: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """Return the lines between bands that patches which are open still cross."""
    first = held.facts[:, FIRST].min(initial=np.iinfo(np.int64).max) // len(held.below)
    return {row: line for row, line in lines.items() if row > first}


def _pieces(
    labels: np.ndarray, is_patch: np.ndarray, is_node: np.ndarray, top: int, simplify: float
) -> np.ndarray:
    """Return the polygon of every label that is a patch, and None for what has no class."""
    # what has no class is simplified too: it is the other side of borders
    shown = labels if simplify else np.where(is_patch[labels], labels, -1)
    shapes, numbers = outlined(shown, is_node, top)
    if simplify and len(shapes):
        shapes = shapely.coverage_simplify(shapes, simplify, simplify_boundary=False)
    found = np.full(len(is_patch), None, object)
    found[numbers] = shapes
    found[~is_patch] = None
    return found


def _joined(
    held: _Open,
    facts: np.ndarray,
    pieces: np.ndarray,
    groups: np.ndarray,
    below: np.ndarray,
    cut: np.ndarray,
    lines: dict[int, np.ndarray],
) -> tuple[Patches, _Open]:
    """Join what was open with a band's patches; return what is finished and what is open now."""
    before, count = len(held.pieces), int(groups.max()) + 1
    known = np.concatenate([held.facts, facts])
    sums = np.zeros((count, 7), np.int64)
    np.add.at(sums, groups, known)
    sums[:, [CLASS, FIRST]] = np.iinfo(np.int64).max
    for column in (CLASS, FIRST):
        np.minimum.at(sums[:, column], groups, known[:, column])
    parts: list[list[shapely.Polygon]] = [[] for _ in range(count)]
    for group, some in zip(groups[:before], held.pieces, strict=True):
        parts[group] += some
    for group, piece in zip(groups[before:], pieces, strict=True):
        if piece is not None:
            parts[group].append(piece)
    places = np.where(below >= 0, groups[before + below], -1)
    is_open = np.zeros(count, bool)
    is_open[places[places >= 0]] = True
    still = np.flatnonzero(is_open)
    renumbered = np.append(np.cumsum(is_open) - 1, -1)
    now = _Open(sums[still], [parts[group] for group in still], renumbered[places], cut)
    ended = np.flatnonzero(~is_open & (sums[:, CLASS] != NOTHING))
    ended = ended[np.argsort(sums[ended, FIRST])]
    return _finished(sums[ended], [parts[group] for group in ended], lines), now


def _finished(
    facts: np.ndarray, parts: list[list[shapely.Polygon]], lines: dict[int, np.ndarray]
) -> Patches:
    shapes = np.array([some[0] for some in parts] + [None], object)[:-1]
    cut = np.flatnonzero([len(some) > 1 for some in parts])
    if len(cut):
        whole = np.array([shapely.union_all(parts[index]) for index in cut] + [None], object)[:-1]
        shapes[cut] = without_cuts(whole, lines)
    return Patches(
        shapely.normalize(shapes),
        facts[:, CLASS].astype(np.uint8),
        facts[:, PIXELS],
        facts[:, AREA],
        facts[:, CONFIDENCE] / np.maximum(facts[:, PIXELS], 1),
        facts[:, CUTS] > 0,
    )


def placed(shapes: np.ndarray, grid: Grid) -> np.ndarray:
    """Return polygons in pixels as they lie in the grid's CRS, their outer rings anticlockwise.

    Of a raster without any place rows count downwards from 0 as negative numbers, which is where
    a GIS shows it.
    """
    a, b, c, d, e, f = grid.transform
    if grid.crs is None and grid.transform == (1, 0, 0, 0, 1, 0):
        e = -1.0

    def move(points: np.ndarray) -> np.ndarray:
        x, y = points.T
        # term by term: a point gets the same place in whichever polygon it is
        return np.stack([a * x + b * y + c, d * x + e * y + f], axis=1)

    return shapely.orient_polygons(shapely.transform(shapes, move))
