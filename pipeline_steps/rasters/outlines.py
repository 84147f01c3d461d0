"""Outlines of equal pixels, as polygons whose neighbours have every corner of a border in common.

Coordinates are pixel corners, x to the right and y down, whole numbers all: what is cut in bands
meets exactly.
"""

import numpy as np
import shapely
from rasterio.features import shapes
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


def labelled(classes: np.ndarray) -> np.ndarray:
    """Return which patch a pixel is of, int32 [H, W] from 0: patches touch along sides of pixels.

    ``classes`` are uint8 [H, W]; 255 makes patches too. Runs along rows are joined where they lie
    above each other, so the work is that of a few passes whatever the patches look like.
    """
    begins = np.ones(classes.shape, bool)
    begins[:, 1:] = classes[:, 1:] != classes[:, :-1]
    runs = np.cumsum(begins, dtype=np.int32).reshape(classes.shape) - 1
    # two runs have a pixel in common first where one of them begins
    meet = (classes[1:] == classes[:-1]) & (begins[1:] | begins[:-1])
    pairs = runs[:-1][meet], runs[1:][meet]
    count = int(runs[-1, -1]) + 1
    graph = coo_array((np.ones(len(pairs[0]), bool), pairs), (count, count))
    _, patches = connected_components(graph, directed=False)
    return patches.astype(np.int32)[runs]


def nodes(around: np.ndarray, above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Return at which corners of pixels three borders or more meet, bool [H - 1, W - 1].

    ``around`` are classes [H, W] with a row and a column more on each side than the corners' own.
    ``above`` and ``below``, bool [W - 2], say where a patch is cut along the first and the last
    line of corners: there is a border too.
    """
    down, right = around[1:] != around[:-1], around[:, 1:] != around[:, :-1]
    down[0, 1:-1] |= above
    down[-1, 1:-1] |= below
    borders = np.add(down[:, 1:], down[:, :-1], dtype=np.uint8)
    borders += right[1:]
    borders += right[:-1]
    return borders >= 3


def outlined(labels: np.ndarray, is_node: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
    """Return polygons and their labels for rows int32 [H, W] from ``top`` on; none for negatives.

    A polygon has a corner where its border turns, and at every node that it passes (``is_node``,
    bool [H + 1, W + 1]), as its neighbours have: the polygons are a valid coverage.
    """
    rings, owners, values = [], [], []
    for shape, value in shapes(labels, mask=labels >= 0, connectivity=4):
        owners += [len(values)] * len(shape["coordinates"])
        rings += shape["coordinates"]
        values.append(int(value))
    if not values:
        return np.empty(0, object), np.empty(0, np.int32)
    points = np.concatenate([np.asarray(ring, np.int32) for ring in rings])
    numbers = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    points, numbers = _with_nodes(points, numbers, is_node)
    lines = shapely.linearrings(np.add(points, (0.0, top)), indices=numbers)
    return shapely.polygons(lines, indices=np.array(owners)), np.array(values, np.int32)


def _with_nodes(
    points: np.ndarray, rings: np.ndarray, is_node: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return points [n, 2] of closed rings with the nodes between them; ``rings`` numbers both."""
    steps = np.diff(points, axis=0, append=points[-1:])
    steps[np.append(rings[1:] != rings[:-1], True)] = 0
    lengths = np.maximum(np.abs(steps).sum(axis=1), 1)
    owners = np.repeat(np.arange(len(points)), lengths)
    along = np.arange(len(owners)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    every = points[owners] + np.sign(steps)[owners] * along[:, None]
    kept = (along == 0) | is_node[every[:, 1], every[:, 0]]
    return every[kept], rings[owners[kept]]


def without_cuts(shapes: np.ndarray, lines: dict[int, np.ndarray]) -> np.ndarray:
    """Return polygons without those corners that were made where a raster was cut in bands.

    ``lines`` are the rows of the cuts, with where nodes lie on each, bool [W + 1]. Such a corner
    goes if its border runs straight through it, and no other meets it there.
    """
    if not lines or not len(shapes):
        return shapes
    rings, owners = shapely.get_rings(shapes, return_index=True)
    points, numbers = shapely.get_coordinates(rings, return_index=True)
    first = np.append(True, numbers[1:] != numbers[:-1])
    last = np.append(first[1:], True)
    # the last point of a ring is its first: each has a neighbour before it and one behind it
    before, behind = np.arange(len(points)) - 1, np.arange(len(points)) + 1
    before[first] = np.flatnonzero(last) - 1
    behind[last] = np.flatnonzero(first) + 1
    (ax, ay), (bx, by) = (points - points[before]).T, (points[behind] - points).T
    places, rows = points.astype(np.int64), sorted(lines)
    gone = np.isin(places[:, 1], rows) & (ax * by == ay * bx)
    x, y = places[gone].T
    gone[gone] = ~np.stack([lines[row] for row in rows])[np.searchsorted(rows, y), x]
    kept = ~gone & ~last
    rings = shapely.linearrings(points[kept], indices=numbers[kept])
    return shapely.polygons(rings, indices=owners)
