import itertools

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as transform

from pipeline_steps.training.augment import recoloured, resized, tensors_of, turned, with_hue

IGNORE = 255


def picture(bands=3, size=40, seed=0):
    return torch.rand(bands, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("turn", [-0.1, -0.02, 0.0, 0.03, 0.1])
def test_a_hue_turns_as_torchvision_turns_it(turn):
    grey = torch.linspace(0, 1, 40).expand(3, 40, 40)
    pure = torch.tensor(list(itertools.product((0.0, 1.0), repeat=3))).T[:, None]

    for image in (picture(), grey, pure, pure.transpose(1, 2)):
        torch.testing.assert_close(
            with_hue(image, turn), transform.adjust_hue(image, turn), atol=1e-5, rtol=0
        )


def test_colours_change_as_torchvision_changes_them_one_after_the_other():
    rng, again = (np.random.default_rng(3) for _ in range(2))
    image = picture()

    found = recoloured(image.clone(), 0.5, rng)

    brightness, contrast, saturation = 1 + 0.5 * again.uniform(-1, 1, 3)
    image = transform.adjust_brightness(image, brightness)
    image = transform.adjust_contrast(image, contrast)
    image = transform.adjust_saturation(image, saturation)
    image = transform.adjust_hue(image, 0.05 * again.uniform(-1, 1))
    torch.testing.assert_close(found, image, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bands", [1, 2, 4, 8])
def test_other_than_three_bands_get_brighter_and_richer_in_contrast_together(bands):
    image = picture(bands)

    found = recoloured(image, 0.3, np.random.default_rng(0))

    brightness, contrast, _ = 1 + 0.3 * np.random.default_rng(0).uniform(-1, 1, 3)
    brighter = (image * brightness).clamp(0, 1)
    expected = (brighter.mean() + contrast * (brighter - brighter.mean())).clamp(0, 1)
    torch.testing.assert_close(found, expected)
    assert found.min() >= 0 and found.max() <= 1


@pytest.mark.parametrize("bands", [3, 4])
def test_recolouring_leaves_what_it_was_given(bands):
    image = picture(bands)
    before = image.clone()

    recoloured(image, 0.5, np.random.default_rng(0))

    assert torch.equal(image, before)


def test_the_eight_turns_are_all_different_and_turn_0_is_none():
    layer = picture(1, 8)

    found = [turned({"image": layer}, turn)["image"] for turn in range(8)]

    assert torch.equal(found[0], layer)
    assert len({one.contiguous().numpy().tobytes() for one in found}) == 8
    assert torch.equal(found[1], torch.rot90(layer, 1, (-2, -1)))
    assert torch.equal(found[4], layer.flip(-1))


@pytest.mark.parametrize("size", [16, 23, 64, 96])
def test_no_layer_shifts_when_it_is_resized(size):
    place = (np.arange(48) + 0.5) / 48
    ramp = np.broadcast_to(place, (48, 48)).astype(np.float32)
    labels = (ramp > 0.5).astype(np.uint8)
    layers = tensors_of({"image": ramp[None], "labels": labels, "target": ramp}, 48, IGNORE)

    found = resized(layers, size)

    expected = ((torch.arange(size) + 0.5) / size).expand(size, size)
    inner = slice(size // 8, -(size // 8))
    for key in ("image", "target"):
        torch.testing.assert_close(found[key][0, :, inner], expected[:, inner], atol=1e-3, rtol=0)
    assert found["labels"].dtype == torch.uint8
    # an odd number of pixels has one in the very middle
    middle = (expected - 0.5).abs() < 1e-6
    assert torch.equal((found["labels"][0] == 1)[~middle], (expected > 0.5)[~middle])


def test_what_is_not_finite_is_not_known():
    target = np.array([[1, np.nan], [np.inf, -np.inf]], np.float32)

    found = tensors_of({"target": target}, 2, IGNORE)

    assert found["target"].tolist() == found["known"].tolist() == [[[1, 0], [0, 0]]]
