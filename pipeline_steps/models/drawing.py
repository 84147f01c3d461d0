"""A network as a training begins with it."""

import logging
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from pipeline_steps.models.layers import parameters_of

log = logging.getLogger(__name__)


def drawn(
    settings: Mapping[str, Any],
    classes: int,
    encoder: Path | None,
    depth_encoder: Path | None,
    facts: Mapping[str, Any],
) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network, and the settings that it can be built from with nothing beside.

    ``settings`` are the config's ``train.network``, ``encoder`` and ``depth_encoder`` manifests of
    weights; what has none is drawn from torch's generator. ``facts`` tell of a scene its ``bands``
    and which are ``rgb``. Logs how large the parts are.
    """
    module = import_module(f"pipeline_steps.models.{settings['model']}")
    weights = encoder.parent if encoder else None
    # only a network that has one takes it
    other = [depth_encoder.parent] if depth_encoder else []
    settings = module.resolved(settings, weights, len(facts["bands"]), facts["rgb"], *other)
    network = module.build(classes, weights, settings, *other)
    sizes = {name: size for name, size in parameters_of(network).items() if size[0]}
    for name, (count, trained) in sizes.items():
        log.info("%s: %d parameters, %d trained", name, count, trained)
        if "encoder" in sizes:
            log.info("%s: %.1f %% of encoder", name, 100 * trained / sizes["encoder"][0])
    return network, settings
