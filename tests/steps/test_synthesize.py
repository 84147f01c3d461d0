import numpy as np
import rasterio

from pipeline_steps.rasters.town import BUILDING, CLASSES, TREE, WATER
from pipeline_steps.study.params.synthesize import Shift
from pipeline_steps.synthesize import Params, run


def drawn(folder, scene, params=None):
    files = [folder / f"{scene}-{name}.tif" for name in ("image", "labels", "elevation")]
    run(scene, *files, params or Params(size=256))
    arrays = []
    for file in files:
        with rasterio.open(file) as source:
            arrays.append(source.read())
    return files, arrays


def test_a_scene_is_georeferenced_in_metres_with_labels_and_heights_on_its_grid(tmp_path):
    files, (image, labels, elevation) = drawn(tmp_path, "a")

    with rasterio.open(files[0]) as source:
        assert source.crs.linear_units == "metre"
        assert source.res == (0.5, 0.5)
    assert image.shape == (3, 256, 256)
    assert image.dtype == np.uint8
    assert labels.shape == elevation.shape == (1, 256, 256)
    assert labels.max() < len(CLASSES)


def test_what_stands_is_tall_and_what_lies_is_not(tmp_path):
    _, (_, labels, elevation) = drawn(tmp_path, "a")

    stands = np.isin(labels, (BUILDING, TREE))
    assert elevation[stands].min() > 0.5
    assert elevation[~stands].max() == 0


def test_all_classes_occur_in_a_scene_of_the_demos_size(tmp_path):
    _, (_, labels, _) = drawn(tmp_path, "north", Params(size=1024))

    assert set(np.unique(labels)) == set(range(len(CLASSES)))
    assert (labels == WATER).any()


def test_the_same_name_and_seed_give_the_same_scene_and_others_another(tmp_path):
    _, first = drawn(tmp_path, "a", Params(size=64))
    _, again = drawn(tmp_path / "again", "a", Params(size=64))
    _, other = drawn(tmp_path, "b", Params(size=64))
    _, seeded = drawn(tmp_path / "seed", "a", Params(size=64, seed=1))

    assert all(np.array_equal(x, y) for x, y in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[0], seeded[0])


def test_scenes_share_no_ground(tmp_path):
    boxes = []
    for name in ("north", "east", "south", "harbour", "market", "orchard"):
        files, _ = drawn(tmp_path, name, Params(size=64))
        with rasterio.open(files[0]) as source:
            boxes.append(source.bounds)
    assert len({(box.left, box.top) for box in boxes}) == len(boxes)


def test_half_of_the_built_surfaces_share_materials(tmp_path):
    """Roofs, plazas and roads are alike in colour: no threshold on colour tells them apart."""
    _, (image, labels, _) = drawn(tmp_path, "a", Params(size=512, shared_materials=1.0))
    grey = image.mean(0)
    spread = grey[labels[0] == 0].std()
    assert abs(grey[labels[0] == 0].mean() - grey[labels[0] == 2].mean()) < 2 * spread


def test_a_shift_shows_the_same_ground_in_the_same_place(tmp_path):
    params = Params(size=64, shifts={"winter": Shift(season="winter")})
    usual, snowy = (drawn(tmp_path, name, params) for name in ("a", "a-winter"))
    alone = drawn(tmp_path / "alone", "a", Params(size=64))

    (one, *truth), (other, *same) = usual[1], snowy[1]
    assert all(np.array_equal(x, y) for x, y in zip(truth, same, strict=True))
    assert not np.array_equal(one, other)
    assert all(np.array_equal(x, y) for x, y in zip(usual[1], alone[1], strict=True))
    with rasterio.open(usual[0][0]) as first, rasterio.open(snowy[0][0]) as second:
        assert first.transform == second.transform


def test_a_name_that_ends_like_no_shift_is_a_ground_of_its_own():
    params = Params(shifts={"winter": Shift(season="winter")})

    assert params.look_of("a-winter") == ("a", params.shifts["winter"])
    for name in ("winter", "-winter", "a-summer", "a_winter"):
        assert params.look_of(name) == (name, Shift())
