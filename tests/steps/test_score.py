import itertools
import json

import numpy as np
import pytest
from skimage.metrics import structural_similarity
from sklearn import metrics

from pipeline_steps import score, strata, tile
from pipeline_steps.rasters.near import near_boundary
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import new_array
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.classes import IGNORE, ClassCode
from tests.steps.conftest import division, stretch_file, tile_arguments

NAMES = ["roof", "road", "tree"]
UNKNOWN = 99
"""The label value that is written where nothing is labelled."""


def written(path, array, dtype=np.uint8):
    height, width = np.shape(array)[-2:]
    pixels = np.array(array, dtype).reshape(-1, height, width)
    write_raster(path, pixels, Grid(height, width, None, (1, 0, 0, 0, 1, 0)))
    return path


def tiled(folder, *labels):
    """Tile a scene of one raster, or of many, with the given class indices as labels."""
    for name, array in zip("ab", labels, strict=False):
        array = np.where(np.array(array) == IGNORE, UNKNOWN, array)
        written(folder / "labels" / f"{name}.tif", array)
        written(folder / "images" / f"{name}.tif", np.ones((3, *array.shape)))
    name = "*" if len(labels) > 1 else "a"
    files = [folder / layer / f"{name}.tif" for layer in ("images", "labels")]
    classes = [ClassCode(name=name, value=value) for value, name in enumerate(NAMES)]
    params = tile.Params(ignore_labels=(UNKNOWN,), chunk=32)
    arguments = tile_arguments(folder / "here", "here", *files)
    tile.run(**arguments | {"classes": classes, "params": params})
    return folder / "here" / "manifest.json"


def grounds(folder, manifest, *reaches):
    """Tell the kinds of ground of a scene: bands along boundaries alone."""
    names = ("strata.zarr", "strata.png", "manifest.json")
    files = [folder / "strata" / name for name in names]
    params = strata.Params(boundary_px=reaches, shadow=False, height_m=())
    strata.run(manifest, stretch_file(folder / "stretch"), *files, params)
    return files[-1]


def scored(
    folder,
    labels,
    *maps,
    splits=(),
    fold=None,
    reach=3,
    sure=None,
    depth=None,
    teacher=None,
    **params,
):
    """Return the counts of a scene by stratum; with ``sure`` its map has a confidence."""
    manifest = tiled(folder, labels) if isinstance(labels, (list, np.ndarray)) else labels
    classes = folder / "maps"
    for name, array in zip("ab", maps, strict=False):
        written(classes / f"{name}.tif", array)
    path = classes if len(maps) > 1 else classes / "a.tif"
    confidence = None if sure is None else written(folder / "sure.tif", sure)
    ground = grounds(folder, manifest, *([reach] if reach else []))
    counts, settings = folder / "counts.json", {"boundary_iou_px": reach} | params
    arguments = (manifest, list(splits), ground, path, confidence, depth, teacher, counts)
    score.run(*arguments, "one", 3, fold, score.Params(**settings))
    found = json.loads((folder / "counts.json").read_text())
    matrices = {name: np.array(matrix) for name, matrix in found["strata"].items()}
    if reach:
        matrices["boundary"] = matrices.pop(f"boundary, {reach} px")
    return matrices


def told(folder):
    return json.loads((folder / "counts.json").read_text())


def patches(seed, size=64, patch=8):
    """Return random square patches of the classes and of nothing."""
    rng = np.random.default_rng(seed)
    values = rng.choice([0, 1, 2, IGNORE], (size // patch, size // patch), p=[0.4, 0.3, 0.2, 0.1])
    return values.repeat(patch, 0).repeat(patch, 1)


def guesses(seed, size=64):
    return np.random.default_rng(seed).integers(0, 3, (size, size))


def test_counts_truth_by_row_and_skips_ignored_pixels(tmp_path):
    labels = [[0, 0, 0, 1], [2, 2, IGNORE, IGNORE]]
    guess = [[0, 0, 1, 1], [0, 2, 2, 1]]

    found = scored(tmp_path, labels, guess)

    assert found["all"].tolist() == [[2, 1, 0], [0, 1, 0], [1, 0, 1]]


def test_counts_agree_with_scikit_learn(tmp_path):
    labels, guess = patches(0), guesses(1)
    known = labels != IGNORE

    found = scored(tmp_path, labels, guess)

    expected = metrics.confusion_matrix(labels[known], guess[known], labels=range(3))
    assert found["all"].tolist() == expected.tolist()
    assert 0 < known.sum() < 64 * 64


def test_counts_say_what_they_are_counts_of(tmp_path):
    scored(tmp_path, [[0, 1]], [[0, 1]])

    counted = ("strata", "blocks", "rims", "confidence", "depth")
    assert {key: value for key, value in told(tmp_path).items() if key not in counted} == {
        "experiment": "one",
        "seed": 3,
        "fold": None,
        "scene": "here",
        "classes": NAMES,
    }


@pytest.mark.parametrize("reach", [1, 3])
def test_the_boundary_is_a_band_of_so_many_pixels_on_either_side(tmp_path, reach):
    labels = np.zeros((64, 64), int)
    labels[:, 32:] = 1
    guess = np.where(np.abs(np.arange(64) - 31.5) < reach, labels, 2)

    found = scored(tmp_path, labels, guess, reach=reach)

    half = 64 * reach
    assert found["boundary"].tolist() == [[half, 0, 0], [0, half, 0], [0, 0, 0]]
    assert found["all"].sum() == 64 * 64
    assert found["all"][:2, 2].tolist() == [32 * 64 - half] * 2


def test_the_boundary_reaches_around_a_corner_as_a_square(tmp_path):
    labels = np.zeros((64, 64), int)
    labels[20, 30] = 1

    found = scored(tmp_path, labels, np.zeros((64, 64)), reach=3)

    assert found["boundary"].tolist() == [[7 * 7 - 1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_what_is_not_labelled_and_the_rasters_edge_make_no_boundary(tmp_path):
    labels = np.zeros((64, 64), int)
    labels[:, 20:40] = IGNORE
    labels[:, 40:] = 2

    found = scored(tmp_path, labels, labels % IGNORE, reach=3)

    assert not found["boundary"].any()
    assert found["all"].sum() == 64 * 44


def test_classes_near_each_other_across_an_unlabelled_line_are_at_a_boundary(tmp_path):
    labels = np.zeros((64, 64), int)
    labels[:, 31] = IGNORE
    labels[:, 32:] = 2

    found = scored(tmp_path, labels, labels % IGNORE, reach=2)

    assert found["boundary"].tolist() == [[64, 0, 0], [0, 0, 0], [0, 0, 64]]


def test_a_band_of_no_width_is_not_counted(tmp_path):
    assert scored(tmp_path, patches(2), guesses(3), reach=0).keys() == {"all"}
    assert told(tmp_path)["rims"] is None


def nearby(labels, reach):
    """Look around every pixel, in the slow and obvious way."""
    near = np.zeros(labels.shape, bool)
    for y, x in np.ndindex(labels.shape):
        around = labels[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        near[y, x] = labels[y, x] != IGNORE and len(set(around.ravel().tolist()) - {IGNORE}) > 1
    return near


@pytest.mark.parametrize("reach", [0, 1, 2, 5])
def test_near_a_boundary_is_where_another_class_is_in_reach(reach):
    for seed in range(5):
        labels = patches(seed, 24, 4).astype(np.uint8)

        for one in (labels, labels % IGNORE, labels[:1], labels[:, :2] % IGNORE):
            assert (near_boundary(one, reach) == nearby(one, reach)).all()


@pytest.mark.parametrize("at_once", [16, 24, 40])
def test_counts_are_the_same_across_the_borders_of_what_is_read(tmp_path, monkeypatch, at_once):
    labels, guess = patches(4), guesses(5)
    labels[:, 16:20], labels[24:26] = 1, 0
    whole, first = scored(tmp_path, labels, guess, reach=5), told(tmp_path)

    monkeypatch.setattr(score, "AT_ONCE", at_once)
    monkeypatch.setattr(score, "PIECE", 8)
    manifest = tmp_path / "here" / "manifest.json"
    found, second = scored(tmp_path, manifest, guess, reach=5), told(tmp_path)

    near = nearby(labels, 5)
    expected = metrics.confusion_matrix(labels[near], guess[near], labels=range(3))
    assert found["boundary"].tolist() == whole["boundary"].tolist() == expected.tolist()
    assert found["all"].tolist() == whole["all"].tolist()
    assert first["rims"] == second["rims"]
    assert 0 < near.sum() < (labels != IGNORE).sum()


def test_beyond_the_last_band_is_the_interior(tmp_path):
    labels, guess = patches(20), guesses(21)

    found = scored(tmp_path, labels, guess, reach=2)

    inside = (labels != IGNORE) & ~nearby(labels, 2)
    expected = metrics.confusion_matrix(labels[inside], guess[inside], labels=range(3))
    assert found["interior, beyond 2 px"].tolist() == expected.tolist()


@pytest.mark.parametrize("reach", [1, 3])
def test_rims_are_those_of_every_class_in_labels_and_map(tmp_path, reach):
    labels, guess = patches(22, 64, 8), patches(23, 64, 8)
    guess[guess == IGNORE] = 0

    scored(tmp_path, labels, guess, reach=reach)

    known, rims = labels != IGNORE, told(tmp_path)["rims"]
    truth, seen = known & nearby(labels, reach), known & nearby(guess, reach)
    for k in range(3):
        mine, other = truth & (labels == k), seen & (guess == k)
        assert rims["truth"][k] == mine.sum() > 0
        assert rims["guess"][k] == other.sum() > 0
        assert rims["both"][k] == (mine & other).sum()


def test_every_block_of_a_raster_has_a_matrix_of_its_own(tmp_path):
    labels, guess = patches(24, 160, 8), guesses(25, 160)
    labels[:64, 64:128] = IGNORE

    found = scored(tmp_path, labels, guess, block_px=64)

    expected = []
    for y, x in itertools.product((0, 64, 128), repeat=2):
        truth, said = (one[y : y + 64, x : x + 64] for one in (labels, guess))
        known = truth != IGNORE
        if known.any():
            matrix = metrics.confusion_matrix(truth[known], said[known], labels=range(3))
            place = {"raster": 0, "y": y, "x": x, "height": len(truth), "width": truth.shape[1]}
            expected.append(place | {"counts": matrix.tolist()})
    blocks = sorted(told(tmp_path)["blocks"], key=lambda one: (one["y"], one["x"]))
    assert blocks == expected and len(blocks) == 8
    assert np.sum([one["counts"] for one in blocks], axis=0).tolist() == found["all"].tolist()


def test_a_large_raster_has_larger_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(score, "MOST_BLOCKS", 4)

    scored(tmp_path, patches(26, 160, 8), guesses(27, 160), block_px=64)

    assert 1 < len(told(tmp_path)["blocks"]) <= 4


def test_of_many_images_each_is_a_block(tmp_path):
    labels, maps = [patches(28), patches(29)[:40, :24]], [guesses(30), guesses(31)[:40, :24]]

    scored(tmp_path, tiled(tmp_path, *labels), *maps)

    blocks = told(tmp_path)["blocks"]
    assert [np.sum(one["counts"]) for one in blocks] == [(one != IGNORE).sum() for one in labels]
    sizes = [(one["raster"], one["height"], one["width"]) for one in blocks]
    assert sizes == [(index, *one.shape) for index, one in enumerate(labels)]


def test_labelled_pixels_are_counted_by_confidence_and_by_whether_they_are_right(tmp_path):
    labels, guess = patches(32), guesses(33)
    sure = np.random.default_rng(34).integers(0, 101, labels.shape)

    scored(tmp_path, labels, guess, sure=sure)

    known = labels != IGNORE
    expected = np.zeros((101, 2), int)
    np.add.at(expected, (sure[known], (labels == guess)[known].astype(int)), 1)
    assert told(tmp_path)["confidence"] == expected.tolist()


def test_a_scene_of_many_images_is_counted_together(tmp_path):
    labels = [patches(6), patches(7)[:40, :24]]
    maps = [guesses(8), guesses(9)[:40, :24]]

    found = scored(tmp_path, tiled(tmp_path, *labels), *maps, reach=1)

    parts = [
        scored(tmp_path / name, one, guess, reach=1)
        for name, one, guess in zip("xy", labels, maps, strict=True)
    ]
    for stratum in ("all", "boundary"):
        assert found[stratum].tolist() == (parts[0][stratum] + parts[1][stratum]).tolist()
        assert parts[1][stratum].any()


def test_of_a_divided_scene_its_test_part_alone_counts(tmp_path):
    labels, guess = patches(12), guesses(13)
    split = division(tmp_path, "here", [[0, 2], [2, 1]], reach=3)
    tested = np.zeros((64, 64), bool)
    tested[:29, 35:] = tested[35:, :29] = True
    tested &= labels != IGNORE

    found = scored(tmp_path, labels, guess, splits=[split], reach=2)

    expected = metrics.confusion_matrix(labels[tested], guess[tested], labels=range(3))
    assert found["all"].tolist() == expected.tolist()
    # what lies beyond the part is seen, though it does not count
    near = tested & nearby(labels, 2)
    expected = metrics.confusion_matrix(labels[near], guess[near], labels=range(3))
    assert found["boundary"].tolist() == expected.tolist()


def test_a_map_may_say_nothing_on_a_label_that_is_not_tested(tmp_path):
    labels, guess = np.zeros((64, 64), int), np.zeros((64, 64))
    guess[:, 10] = IGNORE

    split = division(tmp_path, "here", [[0, 2]])

    assert scored(tmp_path, labels, guess, splits=[split])["all"].sum() == 64 * 32


def test_the_folds_of_a_scene_count_each_block_once(tmp_path):
    labels, guess = [patches(14), patches(15)], [guesses(16), guesses(17)]
    manifest = tiled(tmp_path, *labels)
    split = division(tmp_path, "here", [[0, 1], [1, 2]], [[2]], folds=3)

    parts = [
        scored(tmp_path, manifest, *guess, splits=[split], fold=fold)["all"] for fold in range(3)
    ]

    whole = scored(tmp_path, manifest, *guess)["all"]
    assert sum(parts).tolist() == whole.tolist()
    top_left = labels[0][:32, :32]
    assert parts[0].sum() == (top_left != IGNORE).sum()


def test_a_whole_scene_of_a_fold_counts_whole_and_says_which_fold(tmp_path):
    other = division(tmp_path, "elsewhere", [[0, 1]], folds=2)
    labels, guess = patches(18), guesses(19)

    found = scored(tmp_path, labels, guess, splits=[other], fold=1)

    assert found["all"].sum() == (labels != IGNORE).sum()
    assert json.loads((tmp_path / "counts.json").read_text())["fold"] == 1


def refused(folder, labels, *maps):
    with pytest.raises(ValueError) as caught:
        scored(folder, labels, *maps)
    assert not (folder / "counts.json").exists()
    return str(caught.value)


def test_a_map_of_another_size_is_named_with_both_sizes(tmp_path):
    text = refused(tmp_path, np.zeros((64, 48), int), np.zeros((64, 32)))

    assert text == (f"{tmp_path / 'maps/a.tif'}: is 32x64 pixels, expected 48x64 like its labels")


def test_the_map_of_another_size_in_a_folder_is_named(tmp_path):
    manifest = tiled(tmp_path, *[np.zeros((64, 64), int)] * 2)

    text = refused(tmp_path, manifest, np.zeros((64, 64)), np.zeros((32, 64)))

    assert text.startswith(f"{tmp_path / 'maps/b.tif'}: is 64x32 pixels")


def test_a_map_that_is_missing_is_named(tmp_path):
    manifest = tiled(tmp_path, *[np.zeros((64, 64), int)] * 2)
    (tmp_path / "maps").mkdir()
    counts = tmp_path / "counts.json"

    with pytest.raises(ValueError, match=r"maps/a\.tif: cannot be read"):
        ground = grounds(tmp_path, manifest, 3)
        arguments = (manifest, [], ground, tmp_path / "maps", None, None, None, counts)
        score.run(*arguments, "one", 3, None, score.Params())


@pytest.mark.parametrize("value", [IGNORE, 3])
def test_a_map_without_a_class_on_a_labelled_pixel_is_an_error(tmp_path, value):
    labels, guess = np.zeros((64, 64), int), np.zeros((64, 64))
    guess[50, 50] = value

    text = refused(tmp_path, labels, guess)

    assert text == (
        f"{tmp_path / 'maps/a.tif'}: prediction has class {value}, expected 0 to 2"
        " on labelled pixels"
    )


def test_a_map_may_say_nothing_where_nothing_is_labelled(tmp_path):
    labels = patches(10)
    guess = np.where(labels == IGNORE, IGNORE, 0)

    assert scored(tmp_path, labels, guess)["all"][:, 0].sum() == (labels != IGNORE).sum()


def test_a_scene_without_any_label_counts_nothing(tmp_path):
    found = scored(tmp_path, np.full((64, 64), IGNORE), guesses(11))

    assert not found["all"].any() and not found["boundary"].any()


# Depth as the network predicts it


def taught(folder, field):
    """Leave a teacher's depth of a scene."""
    array = new_array(folder / "depth.zarr", 0, field.shape, "float16", np.nan, 32)
    array[:] = field
    (folder / "manifest.json").write_text("{}")
    return folder / "manifest.json"


def test_predicted_depth_is_compared_with_the_teachers(tmp_path):
    field = np.random.default_rng(40).random((64, 64)).astype(np.float32)
    noisy = field + np.random.default_rng(41).normal(0, 0.1, field.shape)
    teacher = taught(tmp_path / "teacher", field)
    found = {}
    for name, guess in (("same", field), ("noisy", noisy), ("none", np.full(field.shape, np.nan))):
        depth = written(tmp_path / f"{name}.tif", guess, np.float32)
        scored(tmp_path / name, patches(42), guesses(43), depth=depth, teacher=teacher)
        (found[name],) = told(tmp_path / name)["depth"]

    # the teacher's is stored in sixteen bits
    assert found["same"]["teacher_ssim"] == pytest.approx(1, abs=1e-4)
    assert found["same"]["teacher_spearman"] == pytest.approx(1, abs=1e-4)
    assert 0.5 < found["noisy"]["teacher_spearman"] < 0.98
    expected = structural_similarity(
        field, noisy.astype(np.float32), data_range=1, gaussian_weights=True, sigma=1.5
    )
    assert found["noisy"]["teacher_ssim"] == pytest.approx(expected, abs=0.05)
    assert found["none"]["teacher_ssim"] is found["none"]["teacher_spearman"] is None
    assert found["same"]["spearman"] is None  # the scene has no elevation


def test_predicted_depth_is_compared_with_elevation(tmp_path):
    """A depth that is height by scale and shift is right; one that is upside down is not."""
    size = (64, 64)
    metres = np.random.default_rng(44).uniform(0, 20, size).astype(np.float32)
    labels, guess = patches(45), guesses(46)
    files = [tmp_path / "a" / name for name in ("image.tif", "labels.tif", "elevation.tif")]
    arrays = (np.ones((3, *size)), np.where(labels == IGNORE, UNKNOWN, labels), metres)
    for file, array, dtype in zip(files, arrays, (np.uint8, np.uint8, np.float32), strict=True):
        written(file, array, dtype)
    classes = [ClassCode(name=name, value=value) for value, name in enumerate(NAMES)]
    arguments = tile_arguments(tmp_path / "here", "here", *files)
    tile.run(**arguments | {"classes": classes, "params": tile.Params(ignore_labels=(UNKNOWN,))})
    teacher, found = taught(tmp_path / "teacher", metres / 20), {}
    for name, depth in (("right", 0.1 + metres / 30), ("wrong", 1 - metres / 30)):
        file = written(tmp_path / f"{name}.tif", depth, np.float32)
        scored(tmp_path / name, arguments["manifest"], guess, depth=file, teacher=teacher)
        (found[name],) = told(tmp_path / name)["depth"]

    assert found["right"]["spearman"] == pytest.approx(1)
    assert found["right"]["aligned_mae_m"] == pytest.approx(0, abs=1e-3)
    assert found["wrong"]["spearman"] == pytest.approx(-1)
    assert found["right"]["constant_mae_m"] == pytest.approx(5, rel=0.1)
    assert set(found["right"]["classes"]) == set(NAMES)


def test_of_a_divided_scene_predicted_depth_counts_in_the_test_part_alone(tmp_path):
    field = np.random.default_rng(47).random((64, 64)).astype(np.float32)
    split = division(tmp_path, "here", [[0, 2]])
    # right where it is tested, and upside down where it is learned
    guess = np.where(np.arange(64) >= 32, field, 1 - field)
    teacher, depth = taught(tmp_path / "t", field), written(tmp_path / "d.tif", guess, np.float32)
    given = {"depth": depth, "teacher": teacher}

    scored(tmp_path, patches(48), guesses(49), splits=[split], **given)
    (tested,) = told(tmp_path)["depth"]
    scored(tmp_path / "whole", patches(48), guesses(49), **given)
    (whole,) = told(tmp_path / "whole")["depth"]

    assert tested["teacher_spearman"] == pytest.approx(1, abs=1e-4)
    assert abs(whole["teacher_spearman"]) < 0.1


def test_depth_of_another_size_is_named(tmp_path):
    teacher = taught(tmp_path / "teacher", np.zeros((64, 64)))
    depth = written(tmp_path / "depth.tif", np.zeros((32, 64)), np.float32)

    with pytest.raises(ValueError, match=r"depth\.tif: is 64x32 pixels, expected 64x64"):
        scored(tmp_path, patches(50), guesses(51), depth=depth, teacher=teacher)
