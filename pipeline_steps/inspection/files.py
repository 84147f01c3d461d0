"""What a raster is and how it fits its image, from its header and a sample of its pixels."""

import dataclasses
from collections import Counter
from pathlib import Path

import numpy as np

from pipeline_steps.inspection.orientation import edges_followed
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.labels import Codebook
from pipeline_steps.rasters.layers import Labels, check_image
from pipeline_steps.rasters.place import box, covered, covered_by, gsd_m
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.vector import Polygons, is_vector
from pipeline_steps.rasters.windows import Window
from pipeline_steps.study.params.tile import Elevation
from pipeline_steps.study.params.tile import Params as Tile

SAMPLE_PX = 64
MIDDLE_PX = 1024
WHOLE_PX = 2_000_000
"""Rasters up to this size are read whole rather than in windows."""


@dataclasses.dataclass(frozen=True)
class Image:
    """What an image is; ``nodata`` is the share of its sample without data, None if not sampled."""

    grid: Grid
    dtype: str
    bands: int
    gsd_m: float | None
    nodata: float | None
    alpha: int | None


@dataclasses.dataclass(frozen=True)
class Fit:
    """How a file beside an image lies on it: ``share`` of the image that it covers.

    ``trouble`` says how the grids differ, if they do; ``is_turned`` whether rows and columns look
    exchanged; ``can_warp`` whether both have a CRS.
    """

    share: float
    trouble: str | None = None
    is_turned: bool = False
    can_warp: bool = True


def look_at_image(path: Path, tile: Tile, samples: int) -> Image:
    """Open an image and check its bands; with ``samples`` (windows) look for nodata."""
    with raster.opened(path) as source:
        dtype, grid = check_image(path, source, tile.bands), Grid.of(source, tile.crs)
        share = None
        if samples:
            found = [
                raster.read_image(source, window, tile.bands, tile.nodata)[1]
                for window in sample_windows(grid, samples)
            ]
            share = 1 - sum(map(np.count_nonzero, found)) / sum(one.size for one in found)
        alpha = raster.alpha_of(source)
        return Image(grid, dtype, source.count, gsd_m(grid), share, alpha)


def fit(path: Path, grid: Grid, tile: Tile) -> Fit:
    """Return how a raster, or a file of polygons, lies on an image's ``grid``."""
    if is_vector(path):
        vectors = tile.vectors
        polygons = Polygons(path, vectors.layer, vectors.attribute, vectors.value)
        if grid.crs is None or polygons.bounds is None:
            return Fit(0.0, "has no polygon" if grid.crs else "lies on an image without CRS")
        share = covered_by(grid, box(polygons.bounds, polygons.crs, grid.crs))
        # ground without a polygon is labelled too where it has a class
        return Fit(1.0 if share and vectors.background is not None else share)
    with raster.opened(path) as source:
        other = Grid.of(source, tile.crs)
        with raster.naming(path):
            trouble = grid.disagreement(other)
    if trouble is None:
        return Fit(1.0)
    is_turned = grid.height != grid.width == other.height and grid.height == other.width
    return Fit(covered(grid, other), trouble, is_turned, bool(grid.crs and other.crs))


def sample_labels(
    path: Path, grid: Grid, book: Codebook, tile: Tile, samples: int
) -> tuple[np.ndarray, Counter]:
    """Return counts of class indices int64 [256] in a sample, and what was not in ``book``."""
    counts, before = np.zeros(256, np.int64), book.unlisted.copy()
    with Labels(path, grid, book, tile) as source:
        for window in sample_windows(grid, samples):
            counts += np.bincount(source.read(window).ravel(), minlength=256)
    return counts, book.unlisted - before


def look_at_orientation(path: Path, image: Path, book: Codebook, tile: Tile) -> dict[str, float]:
    """Return how well labels follow the image's edges in its middle, for each way to turn them."""
    with raster.opened(image) as source:
        grid = Grid.of(source, tile.crs)
        height, width = min(MIDDLE_PX, grid.height), min(MIDDLE_PX, grid.width)
        middle = Window((grid.height - height) // 2, (grid.width - width) // 2, height, width)
        pixels, valid = raster.read_image(source, middle, tile.bands, tile.nodata)
    if grid.height != grid.width:
        # a crop that is square would be turned as the whole cannot have been
        middle = middle._replace(width=width - 1) if height == width else middle
        pixels, valid = pixels[..., : middle.width], valid[:, : middle.width]
    with Labels(path, grid, book, tile) as labels:
        return edges_followed(pixels, valid, labels.read(middle), book.ignore)


def sample_heights(path: Path, band: int, options: Elevation, samples: int) -> np.ndarray:
    """Return known heights of a sample of a ``band`` in metres, float64 [n]."""
    found = []
    with raster.opened(path) as source:
        raster.require_band(source, band, "tile.elevation.band")
        for window in sample_windows(Grid.of(source), samples):
            heights, is_known = raster.read_image(source, window, [band], options.nodata)
            found.append(heights[0][is_known].astype(np.float64) * options.unit)
    return np.concatenate(found)


def sample_windows(grid: Grid, count: int) -> list[Window]:
    """Return windows spread over a raster, the same ones each time; a small raster is one."""
    if grid.height * grid.width <= WHOLE_PX:
        return [Window(0, 0, grid.height, grid.width)]
    rng = np.random.default_rng(0)
    height, width = min(SAMPLE_PX, grid.height), min(SAMPLE_PX, grid.width)
    tops = rng.integers(grid.height - height + 1, size=count)
    lefts = rng.integers(grid.width - width + 1, size=count)
    # from top to bottom, as files without tiles are decoded
    return [Window(int(y), int(x), height, width) for y, x in sorted(zip(tops, lefts, strict=True))]
