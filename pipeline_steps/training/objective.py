"""What a segmentation network is trained by: its classes, and its depth where it predicts any."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import torch

from pipeline_steps.models.layers import Prediction
from pipeline_steps.training.loop import Batch, Losses
from pipeline_steps.training.losses import (
    depth_correlation,
    depth_loss,
    dice_loss,
    segmentation_loss,
)
from pipeline_steps.training.matching import POINTS, mask_losses


@dataclasses.dataclass(frozen=True)
class Objective:
    """The loss of a batch; the fields are those of ``train``, ``weights`` [K] those of classes.

    Every term stands beside ``loss`` under a name of its own.
    """

    ignore: int
    weights: torch.Tensor | None = None
    label_smoothing: float = 0.0
    focal: float = 0.0
    dice: float = 0.0
    depth_weight: float = 1.0
    depth_loss: Mapping[str, float] = dataclasses.field(default_factory=lambda: {"ssim": 1.0})
    points: int = POINTS

    def __call__(self, network: Callable[..., Prediction], batch: Batch) -> Losses:
        """Return the terms of what ``network`` says of a batch of crops, and beside them
        ``depth_r``, the correlation of its depth with what it learns: 0 where it has collapsed."""
        image, taps = batch.get("image"), batch.get("taps")
        if image is not None:
            image = image.contiguous(memory_format=torch.channels_last)
        # no baseline has taps that it could be given
        given = [] if taps is None else [taps.float().unbind(1)]
        said = network(image, batch.get("target"), *given)
        loss, terms = self._classes(said, batch["labels"])
        if said.depth is not None:
            found = depth_loss(said.depth, batch["target"], batch["known"], self.depth_loss)
            loss = loss + self.depth_weight * found.pop("total")
            terms |= {f"{name}_loss": value for name, value in found.items()}
            with torch.no_grad():
                terms["depth_r"] = depth_correlation(said.depth, batch["target"], batch["known"])
        return {"loss": loss, **terms, **(said.told or {})}

    def _classes(self, said: Prediction, labels: torch.Tensor) -> tuple[torch.Tensor, Losses]:
        """Return what is minimised of the classes, and its terms."""
        if said.masks is not None:
            terms = mask_losses(said.masks, labels, self.ignore, self.points)
            return terms.pop("total"), terms
        how = (self.label_smoothing, self.focal)
        loss = segmentation_loss(said.logits, labels, self.weights, self.ignore, *how)
        terms = {"cross_entropy": loss}
        if self.dice:
            terms["dice_loss"] = dice_loss(said.logits, labels, self.ignore)
            loss = loss + self.dice * terms["dice_loss"]
        return loss, terms


def weights_of(kind: str, counts: np.ndarray) -> torch.Tensor | None:
    """Return a weight for each class by its pixels [K]: ``sqrt`` is one over their root, mean 1.

    A class without a pixel has no weight, and no part in the mean.
    """
    if kind == "none":
        return None
    present = counts > 0
    weights = np.divide(1, np.sqrt(counts / counts.sum()), out=np.zeros(len(counts)), where=present)
    return torch.tensor(weights / weights[present].mean(), dtype=torch.float32)
