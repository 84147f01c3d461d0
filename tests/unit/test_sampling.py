"""Where crops lie: on a grid, or where a rare class is; whose depth goes with them."""

import dataclasses
import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pipeline_steps.rasters.splits import Division
from pipeline_steps.rasters.views import Part
from pipeline_steps.rasters.windows import Window, grid
from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.crops import Crops, Drawing
from pipeline_steps.training.layers import Layers, layers_of
from pipeline_steps.training.rare import RareClasses
from pipeline_steps.training.sampling import Anywhere, OnGrid, Place

IGNORE = 255
SIZE, CROP = 96, 32
PLAIN, TURNS = Augmentation(), Augmentation(turns=True)
GRID = Drawing("grid")


def ramp(height=SIZE, width=SIZE, name="scene town", shift=0.0):
    """Return layers that tell their position by their image and target; the label is 1."""
    y, x = np.mgrid[:height, :width]
    image = (np.stack([y, x, np.full_like(y, 200)]) / 255).astype(np.float32)
    target = (y + x / 1000 + shift).astype(np.float32)
    return Layers(image, np.ones((height, width), np.uint8), target, name=name)


def crops(rasters=None, drawing=GRID, augmentation=PLAIN, seed=0, count=200, **further):
    rasters = rasters or [ramp()]
    return Crops(rasters, CROP, count, seed, augmentation, IGNORE, drawing=drawing, **further)


def corner(item):
    """Return the row and column of a crop's first pixel, from its image."""
    return tuple(int(v) for v in (item["image"][:2, 0, 0] * 255).round())


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# On a grid


def test_on_a_grid_crops_are_the_windows_that_overlap_by_a_quarter():
    found = crops([ramp(96, 120)])
    windows = itertools.chain(*grid(96, 120, CROP, 0.25))

    seen = {corner(found[i]) for i in range(200)}

    assert seen == {(window.y, window.x) for window in windows}
    assert found.variants == len(seen) == 4 * 5


def test_with_turns_every_window_comes_in_eight_variants():
    found = crops([ramp(CROP, CROP)], augmentation=TURNS)

    assert found.variants == 8
    shown = {found.variant_of(i): found[i]["image"].numpy().tobytes() for i in range(100)}
    assert shown.keys() == set(range(8))
    assert len(set(shown.values())) == 8


def test_a_variant_shows_the_same_whatever_the_seed():
    first, second = (crops(augmentation=TURNS, seed=seed, count=400) for seed in (0, 1))
    numbers = {first.variant_of(i): i for i in range(400)}

    assert [first.variant_of(i) for i in range(9)] != [second.variant_of(i) for i in range(9)]
    assert first.variants == second.variants == 128
    for i in range(10):
        variant = second.variant_of(i)
        assert same(second[i], first[numbers[variant]])
        assert torch.equal(second[i]["image"], first.image_of(variant))


def test_windows_without_a_label_are_left_out():
    layers = ramp()
    layers.labels[:] = IGNORE
    layers.labels[40, 50] = 1
    found = crops([layers])

    assert found.variants == sum(
        w.y <= 40 < w.y + CROP and w.x <= 50 < w.x + CROP
        for w in itertools.chain(*grid(SIZE, SIZE, CROP, 0.25))
    )
    assert all((found[i]["labels"] == 1).sum() == 1 for i in range(30))


def test_without_labels_windows_without_a_known_target_are_left_out():
    layers = dataclasses.replace(ramp(), labels=None)
    layers.target[:, 20:] = np.nan

    assert crops([layers]).variants == 4


def test_where_no_window_has_a_label_all_are_drawn():
    layers = ramp()
    layers.labels[:] = IGNORE

    assert crops([layers]).variants == 16


def test_a_raster_smaller_than_a_window_has_one_which_is_padded():
    item = crops([ramp(20, 50)])[0]

    assert (item["labels"][:20] == 1).all() and (item["labels"][20:] == IGNORE).all()


def test_a_grid_has_the_crops_resolution():
    fine = dataclasses.replace(ramp(), factor=0.5)
    found = crops([fine])

    assert found.variants == len(list(itertools.chain(*grid(SIZE, SIZE, 2 * CROP, 0.25))))
    assert found.place(0).size == 2 * CROP


@pytest.mark.parametrize("zoom", [0.5, 2.0])
def test_a_zoom_keeps_the_middle_of_a_window_as_far_as_the_edges_let_it(zoom):
    zoomed = OnGrid([ramp()], CROP, Augmentation(scale=(zoom, zoom)), IGNORE)

    for seed in range(20):
        (place,) = zoomed.draw(np.random.default_rng(seed))
        before = zoomed.variant(place.variant)
        size = round(CROP / zoom)
        assert place.window[2:] == (size, size)
        for axis in (0, 1):
            wanted = before.window[axis] + (CROP - size) // 2
            assert place.window[axis] == min(max(wanted, 0), SIZE - size)


def test_with_features_a_crop_has_what_the_encoder_said_of_its_variant_and_reads_no_image():
    class Unreadable:
        shape, dtype, nbytes = (3, SIZE, SIZE), np.dtype(np.uint8), 0

    taps = np.random.default_rng(0).random((16, 4, 4, 2, 2)).astype(np.float16)
    plain = crops()
    layers = dataclasses.replace(ramp(), image=Unreadable())
    cached = crops([layers], features=taps)

    for i in range(5):
        item, expected = cached[i], plain[i]
        assert item.keys() == {"labels", "target", "known", "taps"}
        assert all(torch.equal(item[key], expected[key]) for key in ("labels", "target", "known"))
        assert item["taps"].dtype == torch.float16
        assert (item["taps"].numpy() == taps[cached.variant_of(i)]).all()


def test_features_without_a_grid_are_refused():
    with pytest.raises(ValueError, match="positions is anywhere, but there are features"):
        crops(drawing=Drawing(), features=[])


# What a place says


@pytest.mark.parametrize("drawing", [Drawing(), GRID, Drawing(rare_classes=0.1)])
def test_a_place_tells_raster_and_window_of_an_item(drawing):
    rasters = [ramp(name="scene harbour, raster a"), ramp(name="scene harbour, raster b")]
    rasters[1].image[2] = 0.5
    found = crops(rasters, drawing)

    for i in range(20):
        place, item = found.place(i), found[i]
        assert (place.window.y, place.window.x) == corner(item)
        assert place.raster == int((item["image"][2] == 0.5).all())
        assert place.name == rasters[place.raster].name


def test_a_place_in_words():
    place = Place(0, "scene harbour, raster x", Window(10, 20, 64, 48), 64, 1.0)

    assert str(place) == "scene harbour, raster x, rows 10–74, columns 20–68"


def test_layers_are_named_by_scene_and_by_raster_where_it_has_several():
    def scene(name, rasters, is_folder):
        image = np.zeros((3, 8, 8))
        layer = SimpleNamespace(name=name, rasters=rasters, is_folder=is_folder)
        layer.array = lambda *_: image[0]
        layer.within = lambda array, *_: array
        layer.picture = lambda *_: image
        return layer

    scenes = [scene("town", ["town"], False), scene("harbour", ["x", "y"], True)]
    found = layers_of(scenes, [], None, ("train", None), IGNORE)

    names = ["scene town", "scene harbour, raster x", "scene harbour, raster y"]
    assert [layers.name for layers in found] == names


# Rare classes


def patchy(size=256, seed=0):
    """Return labels in blobs, of which class 2 has a few per cent and class 3 a few pixels."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((size // 16, size // 16)).repeat(16, 0).repeat(16, 1)
    labels = (coarse > 0.6).astype(np.uint8)
    labels[coarse > 0.97] = 2
    labels[coarse < 0.1] = IGNORE
    labels[200:203, 30:32] = 3
    image = np.zeros((3, size, size), np.float32)
    return Layers(image, labels, None)


def drawn(rasters, temperature, augmentation=PLAIN, count=300):
    found = crops(rasters, Drawing(rare_classes=temperature), augmentation, count=count)
    return [found[i]["labels"] for i in range(count)]


def share(labels, one):
    return np.mean([bool((crop == one).any()) for crop in labels])


def test_a_rare_class_is_shown_more_often_the_sharper_the_draw():
    rasters = [patchy()]
    anywhere = crops(rasters, Drawing(), count=300)

    by_area = share([anywhere[i]["labels"] for i in range(300)], 3)
    usual, sharp = (share(drawn(rasters, t), 3) for t in (0.5, 0.01))

    assert by_area < 0.06 < 0.15 < usual < sharp


def test_classes_are_drawn_by_the_exponential_of_their_rarity():
    rasters = [patchy(seed=seed) for seed in (0, 1)]
    labels = np.concatenate([raster.labels.ravel() for raster in rasters])
    frequency = np.bincount(labels[labels != IGNORE]) / (labels != IGNORE).sum()

    found = RareClasses(rasters, CROP, PLAIN, IGNORE, 0.1)

    scores = np.exp((1 - frequency) / 0.1)
    np.testing.assert_allclose(found.chances, scores / scores.sum())


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.8, 1.25)])
def test_every_crop_shows_the_class_that_was_drawn(scale):
    rasters = [patchy(), patchy(seed=1)]
    sampler = RareClasses(rasters, CROP, Augmentation(scale=scale), IGNORE, 0.5)

    for seed in range(100):
        rng = np.random.default_rng(seed)
        (place,) = sampler.draw(rng)
        number = np.random.default_rng(seed).choice(4, p=sampler.chances)
        y, x, height, width = place.window
        assert height == width == place.size and y >= 0 and x >= 0
        window = rasters[place.raster].labels[place.window.slices]
        assert window.shape == (height, width)
        assert (window == sampler.classes[number]).any()


def test_all_pixels_of_a_class_are_as_likely_wherever_they_lie():
    first, second = (ramp(200, 130) for _ in range(2))
    first.labels[:], second.labels[:] = 0, 0
    first.labels[150:152, 100:104] = second.labels[3, :24] = 5
    sampler = RareClasses([first, second], 8, PLAIN, IGNORE, 0.001)

    pixels = [sampler._pixel(1, np.random.default_rng(i)) for i in range(900)]

    places, counts = np.unique(pixels, axis=0, return_counts=True)
    expected = [(i, y, x) for i, r in enumerate((first, second)) for y, x in np.argwhere(r.labels)]
    assert sorted(map(tuple, places.tolist())) == expected
    assert counts.min() > 10 and counts.max() < 60


def test_a_crop_lies_anywhere_around_its_pixel():
    layers = ramp(64, 64)
    layers.labels[:] = 0
    layers.labels[30, 30] = 1
    found = crops([layers], Drawing(rare_classes=0.001))

    corners = np.array([corner(found[i]) for i in range(200)])

    assert corners.min() <= 2 and corners.max() >= 28
    assert corners.min() >= 0 and corners.max() <= 30


def test_ground_outside_the_part_is_never_drawn_for_what_it_shows():
    layers = ramp()
    layers.labels[:] = 0
    layers.labels[:, 32:64] = 1
    layers.labels[5, 5] = 1
    middle = Division(SIZE, SIZE, [[0, 2, 0]], 0, None)
    outer = Part(layers.labels, middle, "train", None, IGNORE)
    found = crops([dataclasses.replace(layers, labels=outer)], Drawing(rare_classes=0.01))

    for item in (found[i] for i in range(40)):
        assert (item["labels"] == 1).sum() == 1
        assert corner(item) <= (5, 5)


def test_a_rare_draw_depends_on_seed_and_number_alone():
    rasters = [patchy(), patchy(seed=1)]
    once, again = drawn(rasters, 0.1, TURNS, 10), drawn(rasters, 0.1, TURNS, 10)
    found = crops(rasters, Drawing(rare_classes=0.1), TURNS)

    assert all(map(torch.equal, once, again))
    assert torch.equal(found[7]["labels"], once[7])


def test_a_rare_draw_without_a_label_is_refused_by_name():
    layers = ramp(name="scene moor")
    layers.labels[:] = IGNORE

    with pytest.raises(ValueError, match="labels of scene moor: 0 pixels found"):
        crops([layers], Drawing(rare_classes=0.1))


# Controls of depth


def test_a_constant_target_is_one_half_where_it_is_known():
    layers = ramp()
    layers.target[:, 48:] = np.nan
    plain, constant = (crops([layers], Drawing(depth_control=c)) for c in ("none", "constant"))

    for a, b in ((plain[i], constant[i]) for i in range(10)):
        assert torch.equal(b["target"], 0.5 * a["known"])
        assert all(torch.equal(a[key], b[key]) for key in ("image", "labels", "known"))


@pytest.mark.parametrize("positions", ["anywhere", "grid"])
def test_a_shuffled_target_is_of_another_raster_and_all_else_stays(positions):
    rasters = [ramp(), ramp(shift=200), ramp(shift=400)]
    options = {"augmentation": Augmentation(turns=True, photometric=0.3)}
    plain, shuffled = (
        crops(rasters, Drawing(positions, depth_control=control), **options)
        for control in ("none", "shuffled")
    )

    seen = set()
    for i in range(40):
        a, b = plain[i], shuffled[i]
        assert all(torch.equal(a[key], b[key]) for key in ("image", "labels"))
        own, other = (int(item["target"].mean() // 200) for item in (a, b))
        assert own != other and other == b["target"].max() // 200
        seen.add((own, other))
    assert len(seen) == 6


def test_a_shuffled_target_comes_with_what_is_known_of_it():
    rasters = [ramp(), ramp(shift=200)]
    rasters[1].target[:, :48] = np.nan
    found = crops(rasters, Drawing(depth_control="shuffled"), TURNS)

    for i in range(40):
        item, other = found[i], 1 - found.place(i).raster
        known = item["known"] == 1
        assert known.any() and (known.all() or other == 1)
        assert (item["target"][~known] == 0).all()
        assert (item["target"][known] // 200 == other).all()


def test_of_one_raster_a_shuffled_target_is_of_another_place():
    found = crops([ramp()], Drawing(depth_control="shuffled"))

    apart = []
    for i in range(40):
        row, column = found[i]["target"][0, 0, 0].item().__divmod__(1)
        y, x = corner(found[i])
        apart.append(max(abs(row - y), abs(column * 1000 - x)))
    assert min(apart) > CROP / 2


def test_a_shuffled_target_has_the_crops_zoom_at_its_own_rasters_resolution():
    rasters = [ramp(), dataclasses.replace(ramp(), factor=2.0)]
    sampler = Anywhere(rasters, CROP, PLAIN)
    place = sampler.place(0, 0, 0, 1.5)

    others = list(sampler.elsewhere(place, np.random.default_rng(0)))

    assert {(other.raster, other.zoom, other.size) for other in others} == {(1, 3.0, 11)}


def test_a_shuffled_target_depends_on_seed_and_number_alone():
    rasters = [ramp(), ramp(shift=200), ramp(shift=400)]
    first, second = (crops(rasters, Drawing(depth_control="shuffled"), TURNS) for _ in range(2))

    forwards, backwards = [first[i] for i in range(6)], [second[i] for i in reversed(range(6))]

    assert all(map(same, forwards, backwards[::-1]))
