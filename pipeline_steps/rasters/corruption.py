"""What haze, light, season, sensor and compression do to a nadir image, at five severities.

Each function takes a picture float32 [bands, h, w] in [0, 1], what networks see after the stretch,
and returns one alike. That a robust network is one that holds up over kinds and severities of
corruption is Hendrycks and Dietterich's idea ("Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", arXiv 1903.12261); the kinds here are those of orthophotos.

A window says the same of a pixel as any other window that holds it, and ``REACH`` pixels around it:
so an image can be corrupted piece by piece.
"""

import math
from collections.abc import Callable, Sequence
from io import BytesIO
from types import MappingProxyType

import numpy as np
from PIL import Image
from scipy.ndimage import correlate1d, gaussian_filter

from pipeline_steps.rasters.windows import blocks

SEVERITIES = (1, 2, 3, 4, 5)

VALUES = MappingProxyType(
    {
        "haze": (0.15, 0.3, 0.45, 0.6, 0.75),
        "shadow": (0.2, 0.4, 0.6, 0.8, 1.0),
        "sun": (40.0, 30.0, 22.0, 15.0, 10.0),
        "season": (0.2, 0.4, 0.6, 0.8, 1.0),
        "noise": (0.02, 0.04, 0.08, 0.12, 0.2),
        "blur": (0.75, 1.25, 2.0, 3.0, 4.5),
        "gsd": (1.25, 1.5, 2.0, 3.0, 4.0),
        "jpeg": (60, 40, 25, 15, 8),
    }
)
"""Kind of corruption → what its function is given at severities 1 to 5."""

LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue (ITU-R BT.601)."""

VEIL = (0.76, 0.79, 0.84)
"""Red, green and blue of light that haze scatters towards the camera."""

SKY = (0.34, 0.38, 0.45)
"""Share of the light on flat ground that comes from the sky, in red, green and blue."""

BROWN = (0.56, 0.44, 0.28)
"""Dry grass and turned leaves, of any brightness."""

GREEN = (0.1, 0.25)
"""Excess green of what is no vegetation, and of what is nothing else."""

SHADING = 0.45
"""Share of a slope's light and dark that shows: the image has that of its own sun, too."""

PENUMBRA_M = 0.5
"""Depth below the edge of a shadow's body where it is as dark as it gets, in metres."""

LONGEST = 2048
"""Pixels that a shadow falls at most."""

CELL = 256
"""Height and width of what noise is drawn for at once."""

SEED = 20190328

WIDEST = 8192
"""Pixels that are compressed at once along each side."""

BLOCK = 8
"""Pixels along the side of a block of JPEG."""

TRUNCATE = 4
"""Standard deviations at which a blur ends."""


def haze(picture: np.ndarray, share: float, rgb: Sequence[int]) -> np.ndarray:
    """Return the picture through haze: a ``share`` of what is seen is a pale veil.

    .15 .3 .45 .6 .75: what is left of contrast is the rest (Koschmieder's law at one distance, as
    all ground is from above). Bands other than ``rgb`` have a grey veil.
    """
    return picture * np.float32(1 - share) + np.float32(share) * _spread(VEIL, rgb, len(picture))


def shadow(picture: np.ndarray, strength: float, rgb: Sequence[int], median: float) -> np.ndarray:
    """Return the picture with deeper shadows, as a clear sky or a harder sensor gives them.

    What is darker than the scene's ``median`` luminance loses the more the darker it is: a share
    ``strength`` (.2 .4 .6 .8 1) of what it lacks of the median. At 1 that squares its ratio.
    """
    if median <= 0:
        return picture
    lack = 1 - np.minimum(_luminance(picture, rgb) / np.float32(median), np.float32(1))
    return picture * (1 - np.float32(strength) * lack)


def sun(picture: np.ndarray, light: np.ndarray, rgb: Sequence[int]) -> np.ndarray:
    """Return the picture under the ``light`` [h, w] of ``sunlight``; the sky's stays as it is."""
    sky = _spread(SKY, rgb, len(picture))
    return (picture * (sky + (1 - sky) * light)).clip(0, 1)


def sunlight(heights: np.ndarray, metres: tuple[float, float], altitude: float) -> np.ndarray:
    """Return direct light as a share of that on flat ground, float32 [h, w], 0 in shadow.

    The sun stands low (``altitude`` 40 30 22 15 10 degrees) to the lower left, which in images
    with north above is an afternoon's; ``heights`` [h, w] are metres above ground, ``metres`` a
    pixel's height and width. Shadows are cast, slopes are brighter and darker; walls are not seen
    from above. What is in shadow in the image itself stays so. The result is right but for
    ``reach_of_sun`` pixels below and to the left.
    """
    heights, drop = heights_that_count(heights, metres, altitude), _drop(metres, altitude)
    lit, body = np.empty_like(heights), np.zeros(heights.shape[1], np.float32)
    # towards the sun is one pixel down and one to the left: a shadow's body sinks as it goes
    for row in range(len(heights) - 1, -1, -1):
        lit[row] = 1 - ((body - heights[row]) / np.float32(PENUMBRA_M)).clip(0, 1)
        body = np.maximum(body, heights[row]) - np.float32(drop)
        body[1:] = body[:-1].copy()
        body[0] = 0
    down, left = metres[0] / math.hypot(*metres), metres[1] / math.hypot(*metres)
    rises = [_rise(heights, axis) for axis in (0, 1)]
    facing = rises[1] * np.float32(left / metres[1]) - rises[0] * np.float32(down / metres[0])
    return lit * (1 + facing * np.float32(SHADING / _tan(altitude))).clip(0.4, 1.6)


def heights_that_count(
    heights: np.ndarray, metres: tuple[float, float], altitude: float
) -> np.ndarray:
    """Return metres above ground: 0 where unknown, and none whose shadow is too long."""
    most = LONGEST * _drop(metres, altitude)
    return np.nan_to_num(heights).clip(0, most).astype(np.float32)


def reach_of_sun(highest: float, metres: tuple[float, float], altitude: float) -> int:
    """Return how many pixels away lies what can shade a pixel, where nothing is higher."""
    return min(LONGEST, math.ceil(max(highest, 0.0) / _drop(metres, altitude))) + 2


def season(picture: np.ndarray, share: float, rgb: Sequence[int]) -> np.ndarray:
    """Return the picture as in a dry season or autumn: vegetation as bright as it was, but brown.

    A ``share`` (.2 .4 .6 .8 1) of its colour has turned. Vegetation is told by excess green
    (Woebbecke et al., "Color indices for weed identification", Trans. ASAE 1995). Red, green and
    blue alone change.
    """
    colours = picture[list(rgb)]
    red, green, blue = colours
    total = np.maximum(red + green + blue, np.float32(1e-6))
    excess = (green + green - red - blue) / total
    low, high = GREEN
    turned = ((excess - np.float32(low)) / np.float32(high - low)).clip(0, 1) * np.float32(share)
    of_brown = sum(weight * level for weight, level in zip(LUMINANCE, BROWN, strict=True))
    brown = _column(BROWN) / np.float32(of_brown) * _luminance(picture, rgb)
    return _with(picture, rgb, colours + turned * (brown - colours))


def noise(picture: np.ndarray, sigma: float, place: tuple[int, int], number: int = 0) -> np.ndarray:
    """Return the picture with a sensor's noise: normal, of deviation ``sigma`` in every band.

    .02 .04 .08 .12 .2. ``place`` is the row and the column of its first pixel, ``number`` that of
    the raster: noise hangs on these alone, so every network and every severity meets the same.
    """
    found, (bands, height, width) = picture.copy(), picture.shape
    top, left = place
    for y in range(top // CELL, -(-(top + height) // CELL)):
        for x in range(left // CELL, -(-(left + width) // CELL)):
            bits = np.random.Philox(key=SEED, counter=[0, x, y, number])
            drawn = np.random.Generator(bits).standard_normal((bands, CELL, CELL), np.float32)
            rows, own_rows = _common(top, height, y * CELL)
            columns, own_columns = _common(left, width, x * CELL)
            found[:, rows, columns] += drawn[:, own_rows, own_columns] * np.float32(sigma)
    return found.clip(0, 1)


def blur(picture: np.ndarray, sigma: float, valid: np.ndarray | None = None) -> np.ndarray:
    """Return the picture out of focus, or moved: a Gaussian's ``sigma`` in pixels.

    .75 1.25 2 3 4.5. What is not ``valid``, bool [h, w], is mixed into nothing.
    """

    def smooth(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, sigma, axes=(-2, -1), mode="nearest", truncate=TRUNCATE)

    return _of_what_is_valid(smooth, picture, valid)


def gsd(
    picture: np.ndarray,
    factor: float,
    place: tuple[int, int],
    size: tuple[int, int],
    valid: np.ndarray | None = None,
) -> np.ndarray:
    """Return the picture as taken with pixels ``factor`` times as wide, brought back bilinearly.

    1.25 1.5 2 3 4. Light is averaged over the area of the wide pixels, which begin in the corner of
    the raster; ``place`` is the row and the column of the picture's first pixel, ``size`` the
    raster's. What is not ``valid``, bool [h, w], is mixed into nothing.
    """

    def widened(values: np.ndarray) -> np.ndarray:
        for axis, first, length in zip((-2, -1), place, size, strict=True):
            values = _widened(values, axis, factor, first, length)
        return values

    return _of_what_is_valid(widened, picture, valid)


def jpeg(picture: np.ndarray, quality: int, rgb: Sequence[int]) -> np.ndarray:
    """Return the picture as it comes back from JPEG of this ``quality``: 60 40 25 15 8.

    Red, green and blue alone, without chroma subsampling: its blocks of 8 pixels are then each for
    itself. The picture begins in the corner of a block, and ends at one's end or with the raster.
    """
    colours = np.moveaxis(picture[list(rgb)], 0, -1)
    levels = np.rint(colours * 255).astype(np.uint8)
    back = np.empty_like(levels)
    for window in blocks(*levels.shape[:2], WIDEST):
        file = BytesIO()
        part = np.ascontiguousarray(levels[window.slices])
        Image.fromarray(part).save(file, "JPEG", quality=quality, subsampling=0)
        back[window.slices] = np.asarray(Image.open(file))
    return _with(picture, rgb, np.moveaxis(back, -1, 0).astype(np.float32) / np.float32(255))


def reach_of(kind: str, value: float) -> int:
    """Return how many pixels around a window its corruption hangs on."""
    if kind == "blur":
        return int(TRUNCATE * value + 0.5)
    return {"gsd": math.ceil(1.5 * value) + 1, "jpeg": BLOCK - 1}.get(kind, 0)


def _widened(values: np.ndarray, axis: int, factor: float, first: int, length: int) -> np.ndarray:
    """Average an axis over wide pixels, and bring it back to pixels ``first`` to their end."""
    count, cells = values.shape[axis], math.ceil(length / factor)
    shape = (-1, 1) if axis == -2 else (-1,)
    middles = (np.arange(first, first + count) + 0.5) / factor - 0.5
    before = np.floor(middles).astype(int)
    share = (middles - before).astype(np.float32).reshape(shape)
    least = max(0, int(before[0]))
    wanted = np.arange(least, min(cells - 1, int(before[-1]) + 1) + 1)
    total = np.zeros(1, np.float32)
    weight = np.zeros((len(wanted), 1) if axis == -2 else len(wanted), np.float32)
    for step in range(math.ceil(factor) + 1):
        pixel = np.floor(wanted * factor).astype(int) + step
        ends = np.minimum(pixel + 1, (wanted + 1) * factor), np.maximum(pixel, wanted * factor)
        own = np.where(pixel < length, np.clip(ends[0] - ends[1], 0, 1), 0)
        own = own.astype(np.float32).reshape(shape)
        # what lies beyond the window is of no cell that is looked at in the end
        total = total + own * np.take(values, (pixel - first).clip(0, count - 1), axis)
        weight += own
    coarse = total / weight
    low, high = (
        np.take(coarse, (cell.clip(0, cells - 1) - least).clip(0, len(wanted) - 1), axis)
        for cell in (before, before + 1)
    )
    return low * (1 - share) + high * share


def _of_what_is_valid(
    smooth: Callable[[np.ndarray], np.ndarray], picture: np.ndarray, valid: np.ndarray | None
) -> np.ndarray:
    """Return a smoothed picture, into which nothing is mixed that is not valid."""
    if valid is None:
        return smooth(picture)
    known = valid.astype(np.float32)
    total, weight = smooth(picture * known), smooth(known)
    # a float's rounding is no weight
    return np.where(weight > 1e-4, total / np.maximum(weight, np.float32(1e-4)), picture)


def _rise(heights: np.ndarray, axis: int) -> np.ndarray:
    """Return metres per pixel along an axis: the lesser of both sides', 0 at a step or a ridge."""
    before = correlate1d(heights, (-1.0, 1.0, 0.0), axis, mode="nearest")
    behind = correlate1d(heights, (0.0, -1.0, 1.0), axis, mode="nearest")
    least = np.minimum(np.abs(before), np.abs(behind))
    return np.where(before * behind > 0, np.copysign(least, before), np.float32(0))


def _luminance(picture: np.ndarray, rgb: Sequence[int]) -> np.ndarray:
    """Return the luminance [h, w]: sums in one order, which no size of a window changes."""
    red, green, blue = (
        np.float32(w) * picture[band] for w, band in zip(LUMINANCE, rgb, strict=True)
    )
    return red + green + blue


def _spread(colour: Sequence[float], rgb: Sequence[int], bands: int) -> np.ndarray:
    """Return a colour for every band, float32 [bands, 1, 1]: its mean where it is none of three."""
    values = np.full(bands, sum(colour) / 3, np.float32)
    if len(set(rgb)) == 3:
        values[list(rgb)] = colour
    return values[:, None, None]


def _column(values: Sequence[float]) -> np.ndarray:
    return np.array(values, np.float32)[:, None, None]


def _with(picture: np.ndarray, rgb: Sequence[int], colours: np.ndarray) -> np.ndarray:
    found = picture.copy()
    found[list(rgb)] = colours.clip(0, 1)
    return found


def _common(first: int, length: int, cell: int) -> tuple[slice, slice]:
    """Return what pixels and a cell have in common, as a part of either."""
    low, high = max(first, cell), min(first + length, cell + CELL)
    return slice(low - first, high - first), slice(low - cell, high - cell)


def _drop(metres: tuple[float, float], altitude: float) -> float:
    """Return by how many metres sunlight sinks from a pixel to the next on a diagonal."""
    return math.hypot(*metres) * _tan(altitude)


def _tan(altitude: float) -> float:
    return math.tan(math.radians(altitude))
