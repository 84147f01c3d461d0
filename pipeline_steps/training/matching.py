"""The loss of a network of queries: each label is matched with the query that fits it best.

Cheng et al., "Masked-attention Mask Transformer for Universal Image Segmentation", CVPR 2022, as
transformers has it.
"""

import functools

import torch
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from pipeline_steps.models.masks import Masks

WEIGHTS = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
"""Of a query's class, and of its mask: cross-entropy and Dice at drawn points."""

POINTS = 12544
"""Points of a mask that are compared, as published: a hundred and twelve squared."""


def mask_losses(
    said: Masks, labels: torch.Tensor, ignore: int, points: int = POINTS
) -> dict[str, torch.Tensor]:
    """Return the ``total`` over all layers, and the terms of the last: class, mask and Dice.

    ``labels`` are int64 [B, H, W]. Each class that a crop shows is one mask. Pixels without a label
    are in no mask; crops without any teach nothing. As many ``points`` of each mask are compared,
    drawn from torch's generator.
    """
    shown = [n for n, crop in enumerate(labels) if (crop != ignore).any()]
    if not shown:
        nothing = sum(part.sum() * 0 for parts in said for part in parts)
        return {"total": nothing, **dict.fromkeys(WEIGHTS, nothing.detach())}
    classes, masks = ([part[shown].float() for part in parts] for parts in said)
    present = [crop.unique() for crop in labels[shown]]
    present = [some[some != ignore] for some in present]
    truth = [
        (crop == some[:, None, None]).float()
        for crop, some in zip(labels[shown], present, strict=True)
    ]
    criterion = _criterion(classes[-1].shape[-1] - 1, points).to(labels.device)
    total, terms = torch.zeros((), device=labels.device), {}
    for kind, place in zip(classes, masks, strict=True):
        # the last layer's are kept
        terms = criterion(place, kind, truth, present)
        total = total + sum(WEIGHTS[key] * value for key, value in terms.items())
    return {"total": total, **{key: value.detach() for key, value in terms.items()}}


@functools.cache
def _criterion(classes: int, points: int) -> Mask2FormerLoss:
    config = Mask2FormerConfig(
        num_labels=classes,
        class_weight=WEIGHTS["loss_cross_entropy"],
        mask_weight=WEIGHTS["loss_mask"],
        dice_weight=WEIGHTS["loss_dice"],
        no_object_weight=0.1,
        train_num_points=points,
        oversample_ratio=3.0,
        importance_sample_ratio=0.75,
    )
    return Mask2FormerLoss(config, WEIGHTS)
