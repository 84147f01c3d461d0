"""Whether rasters of two groups lie on the same ground, or beside one another.

With a CRS that is geometry. Without one the pictures tell: where two were cut from one mosaic, the
last row of the one goes on in the first row of the other.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.place import shared_and_nearest
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.windows import Window

MOST_PICTURES = 200
"""Pictures of each group whose edges are read."""

SMOOTH_PX = 8
"""Edges are compared without what is smoother than this: light and haze are alike everywhere."""

LEAST_PX = 64
ALIKE = 0.45
"""Correlation of two edges from which on they are one. Of 60 edges that go on within the tiles of
the Dubai set 56 are above 0.5; of 2000 pairs that do not, none is above 0.32."""

SAME = 0.97
"""Correlation of two pictures' like edges from which on they are the same picture."""


@dataclasses.dataclass(frozen=True)
class Leak:
    """What two groups of rasters have in common; ``pair`` names the worst two."""

    shared_m2: float | None = None
    nearest_m: float | None = None
    continuing: int | None = None
    same: int | None = None
    pair: tuple[str, str] | None = None


Group = Sequence[tuple[Path, Grid]]


def leak(ones: Group, others: Group, bands: Sequence[int]) -> Leak:
    """Compare two groups of rasters: on the ground where they have a CRS, else by their edges.

    A raster that is in both groups is not compared with itself.
    """
    placed, loose = (
        [[one for one in group if (one[1].crs is not None) == has] for group in (ones, others)]
        for has in (True, False)
    )
    on_ground = _on_ground(*placed) if _differ(*placed) else Leak()
    by_edges = _by_edges(*loose, bands) if _differ(*loose) else Leak()
    pair = by_edges.pair or on_ground.pair
    return dataclasses.replace(
        on_ground, continuing=by_edges.continuing, same=by_edges.same, pair=pair
    )


def _differ(ones: Group, others: Group) -> bool:
    """Return whether there is a raster on each side that is not the same one."""
    return bool(ones and others) and len({path for path, _ in (*ones, *others)}) > 1


def _on_ground(ones: Group, others: Group) -> Leak:
    paths, grids = ([[one[k] for one in group] for group in (ones, others)] for k in (0, 1))
    shared, nearest, (i, j) = shared_and_nearest(*grids, lambda i, j: paths[0][i] == paths[1][j])
    if np.isinf(nearest):
        return Leak()
    return Leak(shared_m2=shared, nearest_m=nearest, pair=(str(paths[0][i]), str(paths[1][j])))


def _by_edges(ones: Group, others: Group, bands: Sequence[int]) -> Leak:
    few = [_evenly([path for path, _ in group], MOST_PICTURES) for group in (ones, others)]
    edges = [[edges_of(path, bands) for path in group] for group in few]
    # where a raster is on both sides each pair is found twice, and each raster beside itself
    going_on, same = (
        list(dict.fromkeys(tuple(sorted((few[0][i], few[1][j]))) for i, j in look(*edges)))
        for look in (continuing, copies)
    )
    going_on, same = ([p for p in found if p[0] != p[1]] for found in (going_on, same))
    worst = [(str(one), str(other)) for one, other in [*same, *going_on][:1]]
    return Leak(continuing=len(going_on), same=len(same), pair=worst[0] if worst else None)


Edges = dict[str, np.ndarray]
"""The top, bottom, left and right of a picture, each [length, bands] without what is smooth."""


def edges_of(path: Path, bands: Sequence[int]) -> Edges:
    """Return the edges of a picture."""
    with raster.opened(path) as source:
        height, width = source.height, source.width
        frames = {
            "top": Window(0, 0, 1, width),
            "bottom": Window(height - 1, 0, 1, width),
            "left": Window(0, 0, height, 1),
            "right": Window(0, width - 1, height, 1),
        }
        lines = {side: raster.read(source, w, list(bands)) for side, w in frames.items()}
    return {
        side: _rough(np.nan_to_num(line.reshape(len(bands), -1))) for side, line in lines.items()
    }


def continuing(ones: Sequence[Edges], others: Sequence[Edges]) -> list[tuple[int, int]]:
    """Return the pairs of which one begins where the other ends, the surest first."""
    sides = (("right", "left"), ("left", "right"), ("bottom", "top"), ("top", "bottom"))
    found: dict[tuple[int, int], float] = {}
    for one, other in sides:
        for pair, alike in _alike([e[one] for e in ones], [e[other] for e in others]).items():
            found[pair] = max(alike, found.get(pair, 0.0))
    return sorted(found, key=lambda pair: -found[pair])


def copies(ones: Sequence[Edges], others: Sequence[Edges]) -> list[tuple[int, int]]:
    """Return the pairs of pictures whose four edges are the same."""
    pairs = [
        {
            p
            for p, alike in _alike([e[s] for e in ones], [e[s] for e in others]).items()
            if alike > SAME
        }
        for s in ("top", "bottom", "left", "right")
    ]
    return sorted(set.intersection(*pairs))


def _alike(
    ones: Sequence[np.ndarray], others: Sequence[np.ndarray]
) -> dict[tuple[int, int], float]:
    """Return the correlation of those pairs of edges that are one; lengths may differ by two."""
    found = {}
    lengths = [np.array([len(line) for line in lines]) for lines in (ones, others)]
    for length in np.unique(lengths[0]):
        rows = np.flatnonzero(lengths[0] == length)
        columns = np.flatnonzero(abs(lengths[1] - length) <= 2)
        size = int(length) - 4
        if size < LEAST_PX or not columns.size:
            continue
        sure = max(ALIKE, 7 / np.sqrt(size))
        left = np.stack([_unit(ones[i][2 : 2 + size]) for i in rows])
        for start in (1, 2, 3):
            lines = [others[j][start : start + size] for j in columns]
            whole = [k for k, line in enumerate(lines) if len(line) == size]
            if not whole:
                continue
            product = left @ np.stack([_unit(lines[k]) for k in whole]).T
            for i, k in np.argwhere(product > sure):
                pair = (int(rows[i]), int(columns[whole[k]]))
                found[pair] = max(float(product[i, k]), found.get(pair, 0.0))
    return found


def _rough(lines: np.ndarray) -> np.ndarray:
    values = lines.T.astype(np.float64)
    return values - gaussian_filter1d(values, SMOOTH_PX, axis=0)


def _unit(line: np.ndarray) -> np.ndarray:
    """Return a line as a vector of length 1, or of zeros where it is flat."""
    flat = (line - line.mean(axis=0)).ravel()
    norm = np.linalg.norm(flat)
    return flat / norm if norm > 1e-6 else np.zeros_like(flat)


def _evenly(paths: list[Path], most: int) -> list[Path]:
    places = np.linspace(0, len(paths) - 1, min(len(paths), most)).round().astype(int)
    return [paths[place] for place in places]
