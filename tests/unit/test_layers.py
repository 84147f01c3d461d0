import pytest
import torch
from torch import nn

from pipeline_steps.models.layers import Residual, normalisation, resample


@pytest.mark.parametrize("token_stride", [4, 8, 16, 32])
@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_resampling_goes_from_the_token_stride_to_another(token_stride, stride):
    tokens = torch.rand(1, 6, 64 // token_stride, 128 // token_stride)

    assert resample(6, token_stride, stride)(tokens).shape == (1, 6, 64 // stride, 128 // stride)


def test_groups_hold_8_channels_where_that_divides_evenly():
    assert normalisation("group", 32).num_groups == 4
    assert normalisation("group", 8).num_groups == 1
    assert normalisation("group", 12).num_groups == 1
    assert isinstance(normalisation("batch", 12), nn.BatchNorm2d)


@pytest.mark.parametrize("inputs, outputs, stride", [(8, 8, 1), (8, 16, 1), (8, 8, 2), (8, 16, 2)])
def test_a_residual_has_its_width_and_stride(inputs, outputs, stride):
    x = torch.rand(2, inputs, 8, 8)

    assert Residual(inputs, outputs, "batch", stride)(x).shape == (
        2,
        outputs,
        8 // stride,
        8 // stride,
    )


def test_a_residual_whose_convolutions_say_nothing_passes_its_input():
    unit = Residual(8, 8, "batch")
    nn.init.zeros_(unit.convs[-1].weight)
    x = torch.rand(2, 8, 6, 6)

    torch.testing.assert_close(unit(x), x)
