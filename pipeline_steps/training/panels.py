"""What a network in training makes of a few crops, as a plain picture without words."""

from collections.abc import Callable, Sequence

import torch

from pipeline_steps.models.layers import Prediction
from pipeline_steps.training.crops import Crops
from pipeline_steps.training.loop import Batch
from pipeline_steps.training.losses import ssim_map

GAP = 4
"""White pixels between pictures."""

COLOURS = torch.tensor(
    [
        *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
        *((140, 86, 75), (227, 119, 194), (188, 189, 34), (23, 190, 207), (255, 187, 120)),
    ],
    dtype=torch.uint8,
)
"""Of classes by their index, again from the first where there are more."""


class Panels:
    """A row for each of a few crops: input, pseudo-depth, predicted depth and their SSIM.

    Of a network that predicts no depth: input, labels (black where there is none) and classes.
    ``rgb`` are the places of red, green and blue in an image. Depth is grey, white where it is
    tallest; SSIM is black at −1 or less and white at 1.
    """

    def __init__(self, crops: Crops, count: int, rgb: Sequence[int] = (0, 1, 2)) -> None:
        self.rgb = list(rgb)
        items = [crops[number] for number in range(count)]
        self.batch: Batch = {key: torch.stack([one[key] for one in items]) for key in items[0]}

    @torch.no_grad()
    def draw(self, network: Callable[..., Prediction], device: torch.device) -> torch.Tensor:
        """Return a picture uint8 [3, H, W] of what ``network``, in evaluation mode, says."""
        batch = {key: value.to(device) for key, value in self.batch.items()}
        said = network(batch["image"], batch.get("target"))
        image = batch["image"][:, self.rgb]
        if said.depth is None:
            shown = [image, _coloured(batch["labels"]), _coloured(said.logits.argmax(1))]
        else:
            depth = said.depth.float()
            pairs = zip(depth[:, 0], batch["target"][:, 0], strict=True)
            similar = (torch.stack([ssim_map(*pair) for pair in pairs])[:, None] + 1) / 2
            shown = [image, _known(batch), depth, similar]
        return _table([[_bytes(one) for one in column] for column in shown])


def _known(batch: Batch) -> torch.Tensor:
    return batch["target"] * batch["known"]


def _coloured(classes: torch.Tensor) -> torch.Tensor:
    """Return [n, 3, H, W] in [0, 1]; black where there is no class."""
    colours = COLOURS.to(classes.device)[classes % len(COLOURS)].permute(0, 3, 1, 2) / 255
    return colours * (classes != 255)[:, None]


def _bytes(picture: torch.Tensor) -> torch.Tensor:
    scaled = (picture.float().clamp(0, 1) * 255).round().to(torch.uint8).cpu()
    return scaled.expand(3, -1, -1)


def _table(columns: Sequence[Sequence[torch.Tensor]]) -> torch.Tensor:
    """Return pictures of one size side by side, column by column."""
    height, width = columns[0][0].shape[-2:]
    rows = len(columns[0])
    size = (rows * (height + GAP) - GAP, len(columns) * (width + GAP) - GAP)
    table = torch.full((3, *size), 255, dtype=torch.uint8)
    for x, column in enumerate(columns):
        for y, picture in enumerate(column):
            top, left = y * (height + GAP), x * (width + GAP)
            table[:, top : top + height, left : left + width] = picture
    return table
