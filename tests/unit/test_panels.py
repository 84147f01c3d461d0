import numpy as np
import pytest
import torch
from torch import nn

from pipeline_steps.models.layers import Prediction
from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.crops import Crops
from pipeline_steps.training.layers import Layers
from pipeline_steps.training.panels import GAP, Panels

SIDE, COUNT = 32, 3
CPU = torch.device("cpu")


class Says(nn.Module):
    """Predicts the depth that it is shown, or none, and class 1 everywhere."""

    def __init__(self, has_depth):
        super().__init__()
        self.has_depth = has_depth

    def forward(self, image, depth=None):
        logits = torch.zeros(len(image), 3, *image.shape[2:])
        logits[:, 1] = 1
        return Prediction(logits, depth if self.has_depth else None)


def panels(bands=3, rgb=(0, 1, 2)):
    rng = np.random.default_rng(0)
    image = rng.random((bands, 64, 64), np.float32)
    labels = rng.integers(0, 3, (64, 64), np.uint8)
    layers = Layers(image, labels, rng.random((64, 64), np.float32))
    return Panels(Crops([layers], SIDE, COUNT, 0, Augmentation(), 255), COUNT, rgb)


def cell(picture, row, column):
    top, left = row * (SIDE + GAP), column * (SIDE + GAP)
    return picture[:, top : top + SIDE, left : left + SIDE]


def test_depth_is_shown_beside_what_was_predicted_and_how_alike_they_are():
    shown = panels()

    picture = shown.draw(Says(True), CPU)

    assert picture.dtype == torch.uint8
    assert picture.shape == (3, COUNT * (SIDE + GAP) - GAP, 4 * (SIDE + GAP) - GAP)
    for row in range(COUNT):
        image = (shown.batch["image"][row] * 255).round().byte()
        assert torch.equal(cell(picture, row, 0), image)
        assert torch.equal(cell(picture, row, 1), cell(picture, row, 2))
        assert (cell(picture, row, 3) == 255).all()


def test_a_network_without_depth_shows_labels_and_classes():
    picture = panels().draw(Says(False), CPU)

    assert picture.shape[2] == 3 * (SIDE + GAP) - GAP
    assert len(cell(picture, 0, 1).flatten(1).unique(dim=1).T) == 3
    assert len(cell(picture, 0, 2).flatten(1).unique(dim=1).T) == 1


@pytest.mark.parametrize(("bands", "rgb"), [(5, (3, 1, 0)), (2, (0, 1, 1)), (1, (0, 0, 0))])
def test_of_many_bands_or_few_red_green_and_blue_are_shown(bands, rgb):
    shown = panels(bands, rgb)

    picture = shown.draw(Says(True), CPU)

    image = (shown.batch["image"][0, list(rgb)] * 255).round().byte()
    assert torch.equal(cell(picture, 0, 0), image)
