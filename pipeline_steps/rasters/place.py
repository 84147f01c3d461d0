"""Where rasters lie on the ground, in true metres, whatever their CRS."""

from collections.abc import Callable, Sequence

import numpy as np
import shapely

from pipeline_steps.rasters.raster import Grid, affine_of, moved, wkt_of

LONGITUDE_LATITUDE = "OGC:CRS84"

LEAST_WINDOW = 8
"""Pixels of a raster that a window must have along a side."""

EDGE_POINTS = 9
"""Points along each side of a footprint, which may bend on its way to another CRS."""


def gsd_m(grid: Grid) -> float | None:
    """Return the ground sampling distance in true metres at the raster's centre; None if unknown.

    A pixel that is not square counts as the root of its area. Web mercator's metres and degrees
    are not the ground's, so distances are taken on an equal-area plane around the centre.
    """
    if grid.crs is None:
        return None
    steps = _steps(grid)
    if steps is None:
        return None
    (a, b), (c, d) = steps
    return float(np.sqrt(abs(a * d - b * c)))


def factor_to(gsd: float | None, factor: float | None, grid: Grid, what: str) -> float:
    """Return by what to multiply a raster's height and width: a stated ``factor``, or what makes
    its ground sampling distance ``gsd`` in metres; 1 where neither is stated.

    Raises ValueError, which says ``what`` has no georeference where it has none to tell.
    """
    if gsd is None:
        return factor or 1.0
    own = gsd_m(grid)
    if own is None:
        raise ValueError(
            f"{what} has no georeference, expected one since it is to be seen at {gsd} m a pixel;"
            " or state resample instead of gsd"
        )
    return own / gsd


def window_of(seen: int, factor: float, what: str) -> int:
    """Return height and width, in pixels of a raster, of a window that is ``seen`` as so many.

    Raises ValueError, which says of ``what``, where next to nothing would be in a window.
    """
    size = round(seen / factor)
    if size < LEAST_WINDOW:
        raise ValueError(
            f"{what}: a window of {seen} pixels as they are seen has {size} of the raster along a"
            f" side, expected {LEAST_WINDOW} at least: state another gsd, resample or window"
        )
    return size


def pixel_m(grid: Grid) -> tuple[float, float] | None:
    """Return height and width of a pixel in true metres at the raster's centre; None if unknown."""
    steps = None if grid.crs is None else _steps(grid)
    if steps is None:
        return None
    right, down = steps
    return float(np.hypot(*down)), float(np.hypot(*right))


def _steps(grid: Grid) -> tuple[np.ndarray, np.ndarray] | None:
    """Return where one pixel to the right and one down lead, in metres on the plane."""
    plane = plane_around(grid)
    if plane is None:
        return None
    y, x = grid.height / 2, grid.width / 2
    corners = outline(grid, [(x, y), (x + 1, y), (x, y + 1)])
    here, right, down = moved(corners, grid.crs, plane)
    steps = right - here, down - here
    return steps if np.isfinite(steps).all() else None


def plane_around(grid: Grid) -> str | None:
    """Return an equal-area CRS in metres, centred on a raster, as WKT; None if it has no place."""
    middle = outline(grid, [(grid.width / 2, grid.height / 2)])
    longitude, latitude = moved(middle, grid.crs, wkt_of(LONGITUDE_LATITUDE))[0]
    if not (abs(longitude) <= 360 and abs(latitude) <= 90):
        return None
    return wkt_of(f"+proj=laea +lon_0={longitude:.6f} +lat_0={latitude:.6f} +units=m +type=crs")


def outline(grid: Grid, pixels: Sequence[tuple[float, float]]) -> np.ndarray:
    """Return pixel coordinates (x, y) as points [n, 2] in the grid's CRS."""
    place = affine_of(grid)
    return np.array([place @ point for point in pixels], float)


def footprint(grid: Grid, crs: str) -> shapely.Polygon:
    """Return the ground that a raster's frame covers, in ``crs``; empty where it has no place."""
    points = _frame(grid, crs)
    return shapely.make_valid(shapely.Polygon(points)) if np.isfinite(points).all() else _nowhere()


def on_the_globe(grid: Grid) -> tuple[shapely.Geometry, list[float]]:
    """Return the ground that a raster's frame covers in degrees, and its bounds, as RFC 7946 does.

    What crosses the antimeridian is cut there; its bounds begin in the east, with a west that is
    larger than their east. Around a pole it is all that lies as near to it. Where there is no place
    the shape is empty.
    """
    points = _frame(grid, wkt_of(LONGITUDE_LATITUDE))
    if not np.isfinite(points).all():
        return _nowhere(), []
    longitudes = np.unwrap(np.append(points[:, 0], points[0, 0]), period=360)
    latitudes = points[:, 1]
    if abs(longitudes[-1] - longitudes[0]) > 180:
        pole = 90.0 if latitudes.mean() > 0 else -90.0
        shape = shapely.box(-180, min(*latitudes, pole), 180, max(*latitudes, pole))
        return shape, list(shape.bounds)
    longitudes -= 360 * np.rint(longitudes.mean() / 360)
    frame = shapely.make_valid(shapely.Polygon(np.stack([longitudes[:-1], latitudes], axis=1)))
    west, south, east, north = frame.bounds
    if west >= -180 and east <= 180:
        return frame, [west, south, east, north]
    parts = [
        shapely.transform(
            shapely.intersection(frame, shapely.box(turn - 180, -90, turn + 180, 90)),
            lambda places, turn=turn: places - (turn, 0),
        )
        for turn in (-360, 0, 360)
    ]
    if east - west >= 360:
        west, east = -180.0, 180.0
    west, east = west + 360 * (west < -180), east - 360 * (east > 180)
    return shapely.union_all(parts), [west, south, east, north]


def _frame(grid: Grid, crs: str) -> np.ndarray:
    """Return points around a raster in ``crs``, [n, 2]; infinite where they have no place."""
    along = np.linspace(0, 1, EDGE_POINTS)[:-1]
    sides = [(t, 0) for t in along] + [(1, t) for t in along]
    sides += [(1 - t, 1) for t in along] + [(0, 1 - t) for t in along]
    points = outline(grid, [(x * grid.width, y * grid.height) for x, y in sides])
    return points if grid.crs == crs else moved(points, grid.crs, crs)


def box(bounds: tuple[float, float, float, float], source: str, crs: str) -> shapely.Polygon:
    """Return a box, given in the CRS ``source``, in ``crs``; empty where it has no place."""
    left, bottom, right, top = bounds
    if not (left < right and bottom < top):
        return _nowhere()
    frame = shapely.segmentize(
        shapely.box(left, bottom, right, top), max(right - left, top - bottom) / EDGE_POINTS
    )
    shape = shapely.transform(frame, lambda xy: moved(xy, source, crs))
    is_placed = np.isfinite(shapely.get_coordinates(shape)).all()
    return shapely.make_valid(shape) if is_placed else _nowhere()


def covered(grid: Grid, other: Grid) -> float:
    """Return the share of ``grid``'s frame that ``other`` covers, from 0 to 1.

    Without a CRS on either side pixels are compared as if both began in the same corner.
    """
    if grid.crs is None or other.crs is None:
        common = min(grid.height, other.height) * min(grid.width, other.width)
        return common / (grid.height * grid.width)
    return covered_by(grid, footprint(other, grid.crs))


def covered_by(grid: Grid, shape: shapely.Geometry) -> float:
    """Return the share of ``grid``'s frame that lies in ``shape``, in the grid's CRS."""
    frame = footprint(grid, grid.crs)
    area = shapely.area(frame)
    return float(shapely.area(shapely.intersection(frame, shape)) / area) if area > 0 else 0.0


def shared_and_nearest(
    ones: Sequence[Grid],
    others: Sequence[Grid],
    is_same: Callable[[int, int], bool] = lambda one, other: False,
) -> tuple[float, float, tuple[int, int]]:
    """Return the ground in m² that two groups of rasters share, and their least distance in m.

    The pair of rasters that is nearest, or shares most, comes third. All have a CRS. Pairs that
    ``is_same`` calls the same raster do not count; there is another pair.
    """
    planes = [plane_around(grid) for grid in ones]
    crs = next((plane for plane in planes if plane), None)
    if crs is None:
        return 0.0, float("inf"), (0, 0)
    left, right = ([footprint(grid, crs) for grid in grids] for grids in (ones, others))
    tree = shapely.STRtree(right)
    pairs = [(i, j) for i, j in tree.query(left, predicate="intersects").T if not is_same(i, j)]
    common = np.array([shapely.intersection(left[i], right[j]) for i, j in pairs], object)
    pixel = min(gsd_m(grid) or np.inf for grid in (*ones, *others))
    areas = shapely.area(common)
    # frames of neighbours overlap by rounding, and as their sides bend: less than a quarter of a
    # pixel in width is no ground
    areas[2 * areas < pixel / 4 * shapely.length(common)] = 0
    if areas.any():
        i, j = pairs[areas.argmax()]
        whole = shapely.union_all(common[areas > 0])
        return float(shapely.area(whole)), 0.0, (int(i), int(j))
    if pairs:
        return 0.0, 0.0, (int(pairs[0][0]), int(pairs[0][1]))
    places, distances = tree.query_nearest(
        left, exclusive=True, all_matches=False, return_distance=True
    )
    if not distances.size:
        return 0.0, float("inf"), (0, 0)
    nearest = int(distances.argmin())
    return 0.0, float(distances[nearest]), tuple(int(n) for n in places[:, nearest])


def _nowhere() -> shapely.Polygon:
    return shapely.Polygon()
