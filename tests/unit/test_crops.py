import dataclasses
import itertools

import numpy as np
import pytest
import torch

from pipeline_steps.rasters.splits import Division
from pipeline_steps.rasters.views import Part, Picture
from pipeline_steps.training import crops as crops_module
from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.crops import Crops, batches
from pipeline_steps.training.layers import Layers

IGNORE = 255
SIZE, CROP = 96, 32
ALL = Augmentation(scale=(0.5, 2.0), turns=True, photometric=0.5)


def ramp(height=SIZE, width=SIZE, known=True):
    """Return layers that all tell their position: image by row and column, labels and target too.

    The image is row and column / 255, as of 8 bits; labels are rows // 2 so that they fit a byte;
    the target is row + column / 1000.
    """
    y, x = np.mgrid[:height, :width]
    image = (np.stack([y, x, np.full_like(y, 200)]) / 255).astype(np.float32)
    target = (y + x / 1000).astype(np.float32) if known else None
    return Layers(image, (y // 2).astype(np.uint8), target)


def crops(rasters=None, seed=0, augmentation=ALL, crop=CROP, count=20):
    return Crops(rasters or [ramp()], crop, count, seed, augmentation, IGNORE)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_crop_has_the_shapes_types_and_ranges_that_are_promised():
    for item in (crops()[i] for i in range(6)):
        assert item["image"].shape == (3, CROP, CROP) and item["image"].dtype == torch.float32
        assert item["labels"].shape == (CROP, CROP) and item["labels"].dtype == torch.int64
        assert item["target"].shape == item["known"].shape == (1, CROP, CROP)
        assert item["target"].dtype == item["known"].dtype == torch.float32
        assert item["image"].min() >= 0 and item["image"].max() <= 1


def test_item_n_is_the_same_in_two_instances_and_in_any_order():
    first, second = crops(), crops()

    forwards = [first[i] for i in range(8)]
    backwards = [second[i] for i in reversed(range(8))][::-1]

    assert all(map(same, forwards, backwards))
    assert not same(forwards[0], forwards[1])


def test_another_seed_draws_other_crops():
    assert not same(crops(seed=0)[0], crops(seed=1)[0])


def test_rasters_too_large_for_memory_give_the_same_crops(monkeypatch):
    held = crops()[3]
    monkeypatch.setattr(crops_module, "HELD_IN_MEMORY", 0)
    raster = ramp()

    read_each_time = crops([raster])

    assert read_each_time.rasters[0] is raster
    assert same(read_each_time[3], held)


def test_views_of_arrays_give_the_same_crops_held_in_memory_or_not(monkeypatch):
    plain, middle = ramp(), Division(SIZE, SIZE, [[0, 2, 0]], 0, None)
    pixels = (plain.image * 255).round().astype(np.uint8)[[2, 1, 0]]
    image = Picture(pixels, [2, 1, 0], [(0, 255)] * 3)
    labels = Part(plain.labels, middle, "test", None, IGNORE)
    views = Layers(image, labels, Part(plain.target, middle, "test", None, np.nan))
    plain.labels[:, :32] = plain.labels[:, 64:] = IGNORE
    plain.target[:, :32] = plain.target[:, 64:] = np.nan

    expected, held = crops([plain])[3], crops([views])
    monkeypatch.setattr(crops_module, "HELD_IN_MEMORY", 0)
    read_each_time = crops([views])

    assert held.rasters[0].image is not image and read_each_time.rasters[0].image is image
    assert same(held[3], expected) and same(read_each_time[3], expected)


def test_image_labels_and_target_stay_together_under_turns():
    turned = crops(augmentation=Augmentation(turns=True), count=60)

    seen = set()
    for item in (turned[i] for i in range(60)):
        y, x = (item["image"][:2] * 255).round()
        torch.testing.assert_close(item["labels"], (y // 2).long())
        torch.testing.assert_close(item["target"][0], y + x / 1000)
        seen.add(tuple(layer.diff(dim=dim).mean().item() for layer in (y, x) for dim in (0, 1)))
    signs = list(itertools.product((1, -1), repeat=2))
    assert seen == {(a, 0, 0, b) for a, b in signs} | {(0, a, b, 0) for a, b in signs}


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.6, 2.0])
def test_image_labels_and_target_stay_together_under_zoom(scale):
    zoomed = crops(augmentation=Augmentation(scale=(scale, scale), turns=True))

    for item in (zoomed[i] for i in range(8)):
        inner = slice(2, -2)
        y, x = (item["image"][:2, inner, inner] * 255).double()
        labels, target = item["labels"][inner, inner], item["target"][0, inner, inner]
        # nearest labels are at most half a source pixel off, and hold two rows each
        assert (labels * 2 + 0.5 - y).abs().max() <= 0.5 + 0.5 + 0.01
        torch.testing.assert_close(target.double(), y + x / 1000, atol=0.01, rtol=0)
        steps = torch.stack([y.diff(dim=0).mean(), y.diff(dim=1).mean()]).abs().max()
        assert steps.item() == pytest.approx(1 / scale, rel=0.03)


@pytest.mark.parametrize("factor", [0.4, 0.5, 2.0])
def test_a_raster_is_brought_to_the_crops_resolution_by_its_factor(factor):
    raster = dataclasses.replace(ramp(), factor=factor)
    brought = crops([raster], augmentation=Augmentation(turns=True))

    for item in (brought[i] for i in range(4)):
        assert item["image"].shape == (3, CROP, CROP)
        inner = slice(2, -2)
        y, x = (item["image"][:2, inner, inner] * 255).double()
        steps = torch.stack([y.diff(dim=0).mean(), y.diff(dim=1).mean()]).abs().max()
        assert steps.item() == pytest.approx(1 / factor, rel=0.01)
        target = item["target"][0, inner, inner].double()
        torch.testing.assert_close(target, y + x / 1000, atol=0.01, rtol=0)


def test_rasters_of_other_factors_keep_them_held_in_memory_or_not(monkeypatch):
    rasters = [dataclasses.replace(ramp(), factor=factor) for factor in (0.5, 2.0)]
    held = [crops(rasters)[i] for i in range(6)]
    monkeypatch.setattr(crops_module, "HELD_IN_MEMORY", 0)
    read_each_time = crops(rasters)

    assert all(same(held[i], read_each_time[i]) for i in range(6))


def test_photometric_changes_the_image_alone():
    plain = crops(augmentation=Augmentation(turns=True))
    recoloured = crops(augmentation=Augmentation(turns=True, photometric=0.5))

    for a, b in ((plain[i], recoloured[i]) for i in range(4)):
        assert not torch.equal(a["image"], b["image"])
        assert all(torch.equal(a[key], b[key]) for key in ("labels", "target", "known"))


def test_a_raster_smaller_than_the_crop_is_padded_with_ignore():
    small = crops([ramp(20, 50)], augmentation=Augmentation())

    item = small[0]

    assert (item["labels"][:20] != IGNORE).all() and (item["labels"][20:] == IGNORE).all()
    assert (item["known"][0, :20] == 1).all() and (item["known"][0, 20:] == 0).all()
    assert (item["target"][0, 20:] == 0).all()
    # the image is reflected, so that the network sees no edge
    torch.testing.assert_close(item["image"][:, 20:32], item["image"][:, 7:19].flip(1))


def test_padding_is_never_labelled_or_known_whatever_the_zoom():
    small = crops([ramp(20, 20)])

    for item in (small[i] for i in range(20)):
        labelled = item["labels"] != IGNORE
        assert labelled.any()
        assert (item["labels"][labelled] < 10).all()
        assert (item["target"][item["known"] == 1] < 20).all()


def test_unknown_target_is_0_and_not_known_even_where_a_zoom_mixes_it():
    layers = ramp()
    layers.target[:, ::8] = np.nan
    holed = crops([layers], augmentation=Augmentation(scale=(0.5, 2.0)))

    for item in (holed[i] for i in range(20)):
        known, (y, x) = item["known"][0] == 1, (item["image"][:2] * 255)
        assert item["target"].isfinite().all()
        assert not known.all()
        torch.testing.assert_close(
            item["target"][0][known], (y + x / 1000)[known], atol=0.12, rtol=0
        )


def test_without_a_target_there_is_none():
    assert crops([ramp(known=False)])[0].keys() == {"image", "labels"}


def test_crops_without_a_label_are_drawn_again():
    layers = ramp()
    layers.labels[:] = IGNORE
    layers.labels[:40, :40] = 1
    labelled = crops([layers], augmentation=Augmentation(), count=60)

    share = np.mean([(labelled[i]["labels"] != IGNORE).any() for i in range(60)])

    # one draw hits the labelled corner in (39 / 65)² of all cases
    assert share > 0.9


def test_a_raster_without_any_label_still_gives_crops():
    layers = ramp()
    layers.labels[:] = IGNORE

    assert (crops([layers])[0]["labels"] == IGNORE).all()


def test_where_only_heights_are_learnt_crops_without_any_are_drawn_again():
    layers = dataclasses.replace(ramp(), labels=None)
    layers.target[40:] = layers.target[:, 40:] = np.nan
    known = crops([layers], augmentation=Augmentation(), count=60)

    assert known[0].keys() == {"image", "target", "known"}
    assert np.mean([known[i]["known"].any() for i in range(60)]) > 0.9


def test_rasters_are_drawn_by_their_area():
    large, small = ramp(96, 96), ramp(48, 48)
    large.labels[:], small.labels[:] = 0, 1
    both = crops([large, small], augmentation=Augmentation(), count=300)

    share = np.mean([both[i]["labels"][0, 0].item() for i in range(300)])

    assert share == pytest.approx(0.2, abs=0.07)


def test_rasters_of_one_area_are_drawn_alike_however_fine_they_are():
    fine, coarse = ramp(96, 96), ramp(48, 48)
    fine.labels[:], coarse.labels[:] = 0, 1
    fine, coarse = (dataclasses.replace(r, factor=f) for r, f in ((fine, 1.0), (coarse, 2.0)))
    both = crops([fine, coarse], augmentation=Augmentation(), count=300)

    share = np.mean([both[i]["labels"][0, 0].item() for i in range(300)])

    assert share == pytest.approx(0.5, abs=0.08)


def test_batches_come_in_order_and_the_last_one_is_what_is_left():
    source = crops(count=5)

    found = list(batches(source, 2, workers=0, pin=False))

    assert [len(batch["image"]) for batch in found] == [2, 2, 1]
    joined = torch.cat([batch["image"] for batch in found])
    assert torch.equal(joined, torch.stack([source[i]["image"] for i in range(5)]))


def numbers(rank=0, world=1, start=0, count=24, size=4):
    """Return which crops a loader gives, batch by batch."""
    source = crops(count=count, augmentation=Augmentation())
    known = {source[i]["image"].numpy().tobytes(): i for i in range(count)}
    assert len(known) == count
    found = batches(source, size, 0, False, rank, world, start)
    batched = [[known[image.numpy().tobytes()] for image in b["image"]] for b in found]
    assert len(found) == len(batched)
    return batched


@pytest.mark.parametrize("world", [1, 2, 4])
def test_several_devices_share_the_crops_of_a_step_in_order(world):
    shares = [numbers(rank, world) for rank in range(world)]

    for step, parts in enumerate(zip(*shares, strict=True)):
        assert list(itertools.chain(*parts)) == list(range(4 * step, 4 * step + 4))
        assert {len(part) for part in parts} == {4 // world}


@pytest.mark.parametrize("rank, world", [(0, 1), (1, 2)])
def test_a_loader_resumed_gives_what_an_undisturbed_one_gives_from_there_on(rank, world):
    assert numbers(rank, world, start=12) == numbers(rank, world)[3:]


def test_a_batch_that_devices_cannot_share_evenly_is_refused():
    with pytest.raises(ValueError, match="batch is 4, but devices are 3"):
        batches(crops(), 4, 0, False, 0, 3)


@pytest.mark.slow
def test_worker_processes_give_the_same_crops_also_when_resumed():
    source = crops(count=12)

    alone, helped = (list(batches(source, 4, workers, False, 1, 2, 4)) for workers in (0, 2))

    assert len(alone) == len(helped) == 2
    assert all(map(same, alone, helped))


def test_reading_crops_leaves_torchs_own_random_numbers_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)

    torch.manual_seed(0)
    next(iter(batches(crops(), 4, 0, False)))

    assert torch.equal(torch.rand(3), expected)


def test_all_bands_of_an_image_are_cropped_and_recoloured():
    y, x = np.mgrid[:SIZE, :SIZE]
    image = (np.stack([y, x, y, x, y]) / 255).astype(np.float32)
    many = crops([dataclasses.replace(ramp(), image=image)])

    assert many[0]["image"].shape == (5, CROP, CROP)
    assert many[0]["image"].min() >= 0 and many[0]["image"].max() <= 1
