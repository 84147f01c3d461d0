"""How large a network is, found out without training it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pipeline_steps.models import baseline, depthforge, depthseg
from pipeline_steps.models.layers import parameters_of


def sizes_of(
    settings: Mapping[str, Any], classes: int, bands: int, rgb: Sequence[int]
) -> tuple[int, int]:
    """Return how many parameters the config's ``train.network`` has, and how many are trained.

    ``rgb`` are the places of red, green and blue among the ``bands`` of an image. Without weights,
    and but for baselines without memory. Raises ValueError where no network comes of the settings.
    """
    model = {"baseline": baseline, "depthforge": depthforge, "depthseg": depthseg}[
        settings["model"]
    ]
    # a baseline is built by a trial on an image, which needs numbers
    with torch.device("cpu" if model is baseline else "meta"):
        network = model.build(classes, None, model.resolved(settings, None, bands, rgb))
    parts = parameters_of(network).values()
    return sum(count for count, _ in parts), sum(trained for _, trained in parts)
