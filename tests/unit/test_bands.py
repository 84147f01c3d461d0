import pytest
import torch
from torch import nn

from pipeline_steps.models.bands import Bands, Inflated, with_bands

MEAN, STD = (0.1, 0.2, 0.6), (1.0, 2.0, 3.0)


def test_red_green_and_blue_come_first_each_with_its_own_mean():
    pixels = torch.rand(2, 3, 4, 4)

    found = Bands(MEAN, STD, 3, (2, 1, 0))(pixels)

    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    torch.testing.assert_close(found, (pixels.flip(1) - mean) / std)


def test_other_bands_follow_with_the_means_of_the_three():
    pixels = torch.rand(2, 5, 4, 4)

    found = Bands(MEAN, STD, 5, (1, 2, 3))(pixels)

    torch.testing.assert_close(found[:, 3:], (pixels[:, [0, 4]] - 0.3) / 2)


def test_a_single_band_is_all_three():
    grey = torch.rand(1, 1, 4, 4)

    found = Bands(MEAN, STD, 1, (0, 0, 0))(grey)

    torch.testing.assert_close(found, Bands(MEAN, STD)(grey.expand(1, 3, 4, 4)))


def test_a_projection_is_kept_and_the_new_one_is_nothing_at_first():
    kept = nn.Conv2d(3, 8, 4, 4)
    inflated = Inflated(kept, 2)
    pixels = torch.rand(1, 5, 8, 8)

    assert inflated.kept is kept
    assert inflated.more.bias is None and inflated.more.weight.shape == (8, 2, 4, 4)
    torch.testing.assert_close(inflated(pixels), kept(pixels[:, :3]))
    nn.init.ones_(inflated.more.weight)
    other = inflated(pixels) - kept(pixels[:, :3])
    expected = pixels[:, 3:].sum(1, keepdim=True).unfold(2, 4, 4).unfold(3, 4, 4).sum((4, 5))
    torch.testing.assert_close(other, expected.expand(1, 8, 2, 2))


@pytest.mark.parametrize("bands, told", [("rgb", {}), ("all", {"in_bands": 4, "rgb": [2, 1, 0]})])
def test_only_an_encoder_that_sees_all_bands_is_told_of_them(bands, told):
    assert with_bands({"bands": bands}, 4, (2, 1, 0)) == told
