import numpy as np
import pytest
import rasterio

from pipeline_steps.rasters.layers import Heights
from pipeline_steps.rasters.raster import Grid, opened
from pipeline_steps.rasters.terrain import Ground
from pipeline_steps.rasters.windows import Window, blocks
from pipeline_steps.study.params.tile import Elevation, Params

SIZE, GSD = 300, 0.5
WHOLE = Window(0, 0, SIZE, SIZE)


def plane(down=0.03, right=-0.05, size=SIZE):
    """Return ground that rises by metres per metre, float32 [size, size]."""
    y, x = np.mgrid[:size, :size] * GSD
    return (100 + down * y + right * x).astype(np.float32)


def boxes():
    """Return heights of flat roofs, the largest 25 by 40 metres."""
    above = np.zeros((SIZE, SIZE), np.float32)
    above[30:80, 40:120] = 8
    above[150:180, 200:230] = 3
    above[200:216, 60:76] = 25
    return above


def ground(surface, gsd=GSD, widest=60.0, slope=0.2):
    height, width = surface.shape
    return Ground(lambda window: surface[window.slices], height, width, gsd, widest, slope)


def above_ground(surface, **options):
    return surface - ground(surface, **options).heights(Window(0, 0, *surface.shape))


@pytest.mark.parametrize("down, right", [(0, 0), (0.03, -0.05), (-0.1, 0.02)])
def test_boxes_on_a_tilted_plane_get_their_heights_within_centimetres(down, right):
    found = above_ground(plane(down, right) + boxes())

    error = abs(found - boxes())
    assert np.median(error) < 0.05
    assert error[boxes() == 0].mean() < 0.05
    assert np.median(error[boxes() > 0]) < 0.15
    assert error[boxes() > 0].max() < 0.75


def test_bare_ground_is_ground_though_it_is_hilly():
    y, x = np.mgrid[:SIZE, :SIZE] * GSD
    hills = (3 * np.sin(x / 25) + 2 * np.cos(y / 30)).astype(np.float32)

    assert abs(above_ground(hills)).max() < 0.5


def test_what_is_wider_than_the_window_is_taken_for_ground():
    surface = np.zeros((SIZE, SIZE), np.float32)
    surface[50:250, 50:250] = 10

    assert above_ground(surface, widest=40.0)[150, 150] < 0.5
    assert above_ground(surface, widest=140.0)[150, 150] > 9.5


def test_ground_drawn_in_windows_is_the_ground_drawn_at_once():
    found = ground(plane() + boxes())
    drawn = np.zeros((SIZE, SIZE), np.float32)
    for window in blocks(SIZE, SIZE, 77):
        drawn[window.slices] = found.heights(window)

    assert np.array_equal(drawn, found.heights(WHOLE))
    assert drawn.dtype == np.float32


def test_unknown_heights_are_bridged_and_do_not_spoil_what_is_around_them():
    surface = plane() + boxes()
    surface[120:140, 90:200] = np.nan
    surface[:, :10] = np.nan

    found = ground(surface).heights(WHOLE)

    assert np.isfinite(found).all()
    assert abs(found - plane())[boxes() == 0].max() < 0.75


def test_without_any_height_the_ground_is_at_0():
    surface = np.full((50, 60), np.nan, np.float32)

    assert (ground(surface).heights(Window(0, 0, 50, 60)) == 0).all()


@pytest.mark.parametrize("height, width", [(1, 1), (1, 7), (3, 2), (65, 3)])
def test_a_raster_of_few_pixels_has_ground_too(height, width):
    surface = np.full((height, width), 7, np.float32)

    assert (above_ground(surface) == 0).all()


@pytest.mark.parametrize("gsd, cell_m", [(0.1, 1.0), (0.5, 1.0), (0.3, 0.9), (2.0, 2.0)])
def test_cells_are_about_a_metre_and_never_less_than_a_pixel(gsd, cell_m):
    assert ground(np.zeros((20, 20), np.float32), gsd).cell_m == pytest.approx(cell_m)


def test_no_window_of_the_surface_is_larger_than_it_must_be():
    asked = []

    def surface(window):
        asked.append(window)
        return np.zeros((window.height, window.width), np.float32)

    Ground(surface, 5000, 3000, 0.3, 60.0, 0.2)

    assert max(max(w.height, w.width) for w in asked) <= 2048
    assert sum(w.height * w.width for w in asked) == 5000 * 3000


@pytest.mark.real
def test_a_real_surface_alone_gives_heights_far_nearer_to_the_measured_ones_than_a_constant(
    real_data,
):
    folder = real_data / "ign_rural"
    with rasterio.open(folder / "ndsm.tif") as source:
        measured = source.read(1, masked=True).filled(np.nan)
    with opened(folder / "dsm.tif") as source:
        grid = Grid.of(source)
    options = Params(elevation=Elevation(kind="dsm"))
    with Heights(folder / "dsm.tif", None, grid, options) as heights:
        found = heights.read(Window(0, 0, grid.height, grid.width))
        how = heights.how

    known = np.isfinite(found) & np.isfinite(measured)
    error = abs(found - measured)[known]
    constant = abs(measured - np.median(measured[known]))[known]
    assert known.sum() == np.isfinite(measured).sum()
    assert error.mean() < constant.mean() / 2
    assert np.median(error) < 0.25
    assert np.corrcoef(found[known], measured[known])[0, 1] > 0.9
    assert how["ground"] == "progressive morphological filter"
