"""Whole fields out of windows that disagree on purpose: a teacher in numpy sees height itself."""

import json

import numpy as np
import pytest
import zarr
from scipy.ndimage import gaussian_filter

from pipeline_steps import depth, tile
from pipeline_steps.metrics.depth import height_quality
from pipeline_steps.rasters import town
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from tests.steps.conftest import stretch_file, tile_arguments

SIZE, WINDOW = 512, 64
GSD = 0.5


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """A tiled scene whose picture is its height, and that height in metres."""
    folder = tmp_path_factory.mktemp("fields")
    drawn = town.draw(SIZE, GSD, 0.5, np.random.default_rng(0))
    grid = Grid(SIZE, SIZE, "EPSG:32632", (GSD, 0, 5e5, 0, -GSD, 59e5))
    write_raster(folder / "image.tif", np.stack([drawn.height] * 3), grid)
    write_raster(folder / "elevation.tif", drawn.height[None], grid)
    write_raster(folder / "labels.tif", drawn.labels[None], grid)
    files = [folder / f"{name}.tif" for name in ("image", "labels", "elevation")]
    tile.run(**tile_arguments(folder / "scene", "a", *files))
    return folder / "scene" / "manifest.json", drawn.height


def teacher(disturbance=None, tilt=0.0):
    """Say the height of what is seen, a little blurred; each window scaled and shifted at will."""
    rng = np.random.default_rng(disturbance)

    def running(pixels):
        slope = np.linspace(-tilt, tilt, pixels.shape[2], dtype=np.float32)[:, None]
        said = gaussian_filter(pixels[:, 0], (0, 1, 1)) + slope
        if disturbance is not None:
            scale = np.exp(rng.uniform(np.log(0.5), np.log(2), len(said)))
            said = said * scale[:, None, None] + rng.uniform(-2, 2, len(said))[:, None, None]
        return lambda: said.astype(np.float32)

    return running


def seeing(pixels):
    """Say the height of what is seen, whatever its size."""
    return lambda: pixels[:, 0]


@pytest.fixture
def made(tmp_path, monkeypatch, scene):
    """Run the stage with a teacher of this test; return the field and what is said of it."""
    (tmp_path / "manifest.json").write_text("{}")
    stretch = stretch_file(tmp_path, [[0, 20]])

    def run(running, of=scene[0], **params):
        monkeypatch.setattr(depth._Maker, "_start", lambda *_: running)
        names = ("depth.zarr", "quality.json", "manifest.json")
        files = [tmp_path / "town" / "a" / name for name in names]
        settings = depth.Params(**{"window": WINDOW, "batch": 2} | params)
        depth.run(tmp_path / "manifest.json", of, stretch, *files, settings)
        field = zarr.open_group(files[0], mode="r")["0"][:]
        return field, json.loads(files[1].read_text())["rasters"][0]

    return run


def test_windows_of_random_scale_and_shift_make_the_field_of_the_undisturbed(made, scene):
    field, quality = made(teacher(disturbance=1))
    _, undisturbed = made(teacher())
    _, plainly = made(teacher(disturbance=1), align=False)

    assert quality["disagreement"] < 0.02 * quality["disagreement_before"]
    assert abs(quality["spearman"] - undisturbed["spearman"]) < 0.01
    share = quality["constant_mae_m"]
    assert abs(quality["aligned_mae_m"] - undisturbed["aligned_mae_m"]) < 0.01 * share
    # blended as they are they are worth little
    assert plainly["spearman"] < quality["spearman"] - 0.1
    assert plainly["aligned_mae_m"] > 2 * quality["aligned_mae_m"]
    truth = gaussian_filter(scene[1], 1)
    truth = truth.clip(*np.percentile(truth, depth.Params().percentiles))
    assert np.corrcoef(field.ravel().astype(float), truth.ravel())[0, 1] > 0.99


def test_hard_stitching_shows_no_seam_after_the_alignment_and_a_large_one_before(made):
    _, before = made(teacher(disturbance=1), align=False, blend="nearest")
    _, after = made(teacher(disturbance=1), blend="nearest")

    assert before["seam"] > 3
    assert after["seam"] <= 1.05


def test_windows_of_an_adapted_teacher_are_taken_at_their_word(made, tmp_path):
    _, aligned = made(teacher(disturbance=1))
    (tmp_path / "manifest.json").write_text(json.dumps({"step": "adapt"}))
    _, plain = made(teacher(disturbance=1))
    _, asked = made(teacher(disturbance=1), align=True)

    assert plain["disagreement"] == plain["disagreement_before"]
    assert asked["disagreement"] == aligned["disagreement"] < 0.1 * plain["disagreement"]


def test_a_tilt_in_every_window_is_a_plane_that_can_be_taken_off(made):
    _, level = made(teacher())
    _, tilted = made(teacher(disturbance=2, tilt=0.05))
    _, flat = made(teacher(disturbance=2, tilt=0.05), ground="plane", anchor=False)

    assert tilted["spearman"] < level["spearman"] - 0.1
    assert flat["aligned_mae_m"] < 1.5 * level["aligned_mae_m"]


def test_the_ground_between_buildings_can_be_taken_off(made, tmp_path, scene):
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    hills = 6 * np.sin(3 * x) * np.cos(2 * y)
    grid = Grid(SIZE, SIZE, "EPSG:32632", (GSD, 0, 5e5, 0, -GSD, 59e5))
    write_raster(tmp_path / "hilly.tif", np.stack([scene[1] + hills] * 3).astype("f4"), grid)
    elevation = scene[0].parent.parent / "elevation.tif"
    tile.run(**tile_arguments(tmp_path / "hilly", "a", tmp_path / "hilly.tif", "", elevation))
    of = tmp_path / "hilly" / "manifest.json"

    _, hilly = made(teacher(), of)
    _, bare = made(teacher(), of, ground="morphological", ground_window=80.0)

    assert bare["auc_tall"] > hilly["auc_tall"]
    assert bare["aligned_mae_m"] < 0.7 * hilly["aligned_mae_m"]


def test_quality_is_that_of_the_field_as_it_is_stored(made, scene):
    """Percentiles cut off the tallest, and that is an error as any other."""
    field, quality = made(teacher(), percentiles=(5, 70))

    labels = zarr.open_group(scene[0].parent / "labels.zarr", mode="r")["0"][:]
    expected = height_quality(field.ravel(), scene[1].ravel(), labels.ravel(), town.CLASSES)
    del expected["classes"]
    assert {key: quality[key] for key in expected} == pytest.approx(expected)


def test_quality_is_told_for_every_class(made, scene):
    _, quality = made(teacher())

    labels = zarr.open_group(scene[0].parent / "labels.zarr", mode="r")["0"][:]
    pixels = {name: found["pixels"] for name, found in quality["classes"].items()}
    assert pixels == {
        name: int((labels == index).sum())
        for index, name in enumerate(town.CLASSES)
        if (labels == index).any()
    }
    heights = {name: found["mean_height_m"] for name, found in quality["classes"].items()}
    assert max(heights, key=heights.get) in ("building", "tree")


def test_the_scene_is_seen_at_the_ground_sampling_distance_that_is_stated(made):
    _, quality = made(seeing, window=64, gsd=1.0)

    # at 1 m a pixel of the teacher's is two of the scene's
    assert quality["window_px"] == pytest.approx(128, abs=1)


def test_a_teacher_is_used_as_it_was_adapted_unless_something_is_stated(made, tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"resample": 0.5}))

    _, adapted = made(seeing, window=32)
    _, stated = made(seeing, window=32, resample=1.0)

    assert (adapted["window_px"], stated["window_px"]) == (64, 32)


def test_a_ground_sampling_distance_needs_a_georeference(made, tmp_path):
    write_raster(
        tmp_path / "bare.tif",
        np.zeros((3, 64, 64), np.float32),
        Grid(64, 64, None, (1, 0, 0, 0, 1, 0)),
    )
    tile.run(**tile_arguments(tmp_path / "bare", "a", tmp_path / "bare.tif"))

    with pytest.raises(ValueError, match=r"bare/manifest\.json: raster bare has no georeference"):
        made(teacher(), tmp_path / "bare" / "manifest.json", gsd=1.0)
    assert not list((tmp_path / "town" / "a").iterdir())


def test_a_window_is_no_larger_than_the_raster_however_coarse_a_teacher_sees(made, tmp_path):
    shapes = []

    def running(pixels):
        shapes.append(pixels.shape)
        return lambda: pixels[:, 0]

    rng = np.random.default_rng(0)
    grid = Grid(96, 80, "EPSG:32632", (0.05, 0, 5e5, 0, -0.05, 59e5))
    write_raster(tmp_path / "fine.tif", rng.uniform(0, 20, (3, 96, 80)).astype("f4"), grid)
    tile.run(**tile_arguments(tmp_path / "fine", "a", tmp_path / "fine.tif"))

    made(running, tmp_path / "fine" / "manifest.json", gsd=1.0)

    assert set(shapes) == {(1, 3, 96, 96)}


def test_a_window_of_next_to_no_pixels_is_refused(made):
    said = r"scene/manifest\.json: raster image: a window of 64 pixels .* has 3 of the raster"
    with pytest.raises(ValueError, match=said):
        made(seeing, gsd=0.02)


def test_finished_rasters_outlive_one_that_fails(made, tmp_path):
    grid = Grid(96, 96, "EPSG:32632", (GSD, 0, 5e5, 0, -GSD, 59e5))
    (tmp_path / "many").mkdir()
    for name, value in (("x", 5), ("y", 15)):
        picture = np.random.default_rng(value).uniform(0, value, (3, 96, 96)).astype("f4")
        write_raster(tmp_path / "many" / f"{name}.tif", picture, grid)
    tile.run(**tile_arguments(tmp_path / "tiled", "a", f"{tmp_path}/many/*.tif"))
    of, asked = tmp_path / "tiled" / "manifest.json", []

    def running(is_broken):
        def start(pixels):
            asked.append(pixels.max())
            bad = is_broken and pixels.max() > 0.3
            return lambda: pixels[:, 0] * (np.nan if bad else 1)

        return start

    with pytest.raises(ValueError, match=r"1\.windows: depth in window 0 is nan"):
        made(running(True), of)
    asked.clear()
    made(running(False), of)

    assert min(asked) > 0.3


def test_a_field_that_is_published_in_part_is_not_computed_anew(made, tmp_path, monkeypatch):
    asked = []

    def running(pixels):
        asked.append(1)
        return lambda: pixels[:, 0]

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(depth, "release", killed)
        with pytest.raises(KeyboardInterrupt):
            made(running)
    asked.clear()
    field, _ = made(running)

    assert not asked
    assert np.isfinite(field).all()


def test_a_village_in_a_plain_has_relief(made, tmp_path):
    heights = np.zeros((3, 96, 96), np.float32)
    heights[:, 40:48, 40:48] = 8
    grid = Grid(96, 96, "EPSG:32632", (GSD, 0, 5e5, 0, -GSD, 59e5))
    write_raster(tmp_path / "plain.tif", heights, grid)
    tile.run(**tile_arguments(tmp_path / "plain", "a", tmp_path / "plain.tif"))

    field, _ = made(seeing, tmp_path / "plain" / "manifest.json")

    assert field[44, 44] == 1 and field[0, 0] == 0


def test_a_scene_without_any_data_has_no_depth_and_asks_no_network(made, tmp_path):
    grid = Grid(96, 96, "EPSG:32632", (GSD, 0, 5e5, 0, -GSD, 59e5))
    write_raster(tmp_path / "void.tif", np.zeros((3, 96, 96), np.uint8), grid)
    arguments = tile_arguments(tmp_path / "void", "a", tmp_path / "void.tif")
    tile.run(**arguments | {"params": tile.Params(nodata=0)})

    field, quality = made(None, tmp_path / "void" / "manifest.json")

    assert np.isnan(field).all()
    assert quality["windows"] == 0 and quality["seam"] is None


@pytest.mark.parametrize("shape", [(1, 1), (7, 200), (64, 65)])
def test_scenes_of_any_size_have_a_field(made, tmp_path, shape):
    rng = np.random.default_rng(0)
    grid = Grid(*shape, "EPSG:32632", (GSD, 0, 5e5, 0, -GSD, 59e5))
    write_raster(tmp_path / "odd.tif", rng.uniform(0, 20, (3, *shape)).astype("f4"), grid)
    tile.run(**tile_arguments(tmp_path / "odd", "a", tmp_path / "odd.tif"))

    field, quality = made(teacher(), tmp_path / "odd" / "manifest.json")

    assert field.shape == shape
    assert np.isfinite(field).all() or quality["low"] == quality["high"]


def test_every_raster_of_a_folder_has_a_field(made, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "many").mkdir()
    grid = Grid(96, 96, "EPSG:32632", (GSD, 0, 5e5, 0, -GSD, 59e5))
    for name in "xyz":
        picture = rng.uniform(0, 20, (3, 96, 96)).astype("f4")
        write_raster(tmp_path / "many" / f"{name}.tif", picture, grid)
    tile.run(**tile_arguments(tmp_path / "tiled", "a", f"{tmp_path}/many/*.tif"))

    made(teacher(), tmp_path / "tiled" / "manifest.json")

    store = zarr.open_group(tmp_path / "town" / "a" / "depth.zarr", mode="r")
    assert sorted(store.array_keys()) == ["0", "1", "2"]
    assert all(np.isfinite(store[key][:]).all() for key in "012")
