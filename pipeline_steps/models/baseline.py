"""Baselines: networks of segmentation-models-pytorch, trained whole and without depth."""

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import segmentation_models_pytorch as smp
import timm
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from pipeline_steps.models.bands import RGB, Bands, with_bands
from pipeline_steps.models.layers import Prediction
from pipeline_steps.models.vit import TROUBLE, create, one_line, refuse_places, state_of

ARCHITECTURES = {
    "unet": smp.Unet,
    "deeplabv3plus": smp.DeepLabV3Plus,
    "upernet": smp.UPerNet,
    "segformer": smp.Segformer,
    "dpt": smp.DPT,
}

TIMM = "tu-"
"""How the names of timm's encoders begin."""

OURS = {
    *("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params"),
    *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "in_chans"),
}
"""Arguments that other settings say, or that would ask for weights from the internet."""

PROBE = (64, 96)
"""Height and width of the image that a new network is tried with."""


def resolved(
    settings: Mapping[str, Any], weights: Path | None, bands: int, rgb: Sequence[int]
) -> dict[str, Any]:
    """Return the config's ``train.network`` such that `build` needs nothing else, as JSON.

    ``rgb`` are the places of red, green and blue among the ``bands`` of an image; ``weights`` say
    nothing that the encoder's name does not.
    """
    encoder = settings["encoder"]
    return {**settings, "encoder": {**encoder, **with_bands(encoder, bands, rgb)}}


def build(classes: int, weights: Path | None, settings: Mapping[str, Any]) -> "Baseline":
    """Return the network that ``settings``, as `resolved`, describe.

    ``weights`` is the folder of the encoder's, of `fetch`; without one they are drawn. Raises
    ValueError where no network that takes images of any size comes of it.
    """
    encoder, arguments = settings["encoder"], dict(settings["arguments"] or {})
    return Baseline(
        settings["architecture"],
        encoder["name"],
        classes,
        arguments,
        encoder.get("in_bands", 3),
        encoder.get("rgb", RGB),
        weights,
    )


class Baseline(nn.Module):
    """Image in, classes out: a network of segmentation-models-pytorch.

    Images get the mean and std that an encoder of timm was taught with, others ImageNet's.
    """

    sees_depth = False

    def __init__(
        self,
        architecture: str,
        encoder: str,
        classes: int,
        arguments: Mapping[str, Any],
        in_bands: int = 3,
        rgb: Sequence[int] = RGB,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.bands = Bands(*_mean_and_std(encoder), in_bands, rgb)
        _check(architecture, encoder, arguments, weights)
        loading = _loading(architecture, encoder, arguments, weights)
        try:
            self.network = ARCHITECTURES[architecture](
                encoder_name=encoder,
                in_channels=len(self.bands.order),
                classes=classes,
                **loading,
                **{**_of_any_size(architecture), **arguments},
            )
            self._leave_out_what_is_dead(in_bands)
        except (*TROUBLE, KeyError) as error:
            raise ValueError(
                f"{architecture} with encoder {encoder} and {dict(arguments)} makes no network,"
                " expected one for images whose sides are multiples of 32:"
                f" {one_line(error)}"
            ) from error

    def forward(self, image: torch.Tensor, depth: torch.Tensor | None = None) -> Prediction:
        """Classify ``image`` [B, bands, H, W] in [0, 1], H and W multiples of 32.

        ``depth`` is not looked at, and none is predicted.
        """
        return Prediction(self.network(self.bands(image)), None)

    def _leave_out_what_is_dead(self, in_bands: int) -> None:
        """Stop training what no logit depends on, such as the encoder's last norm.

        Raises ValueError where the logits are not as large as the image.
        """
        logits = self.eval()(torch.zeros(1, in_bands, *PROBE)).logits
        if tuple(logits.shape[2:]) != PROBE:
            raise ValueError(f"logits are {tuple(logits.shape[2:])} for an image of {PROBE}")
        logits.sum().backward()
        for parameter in self.parameters():
            parameter.requires_grad_(parameter.grad is not None)
        self.zero_grad(set_to_none=True)
        self.train()


def _check(
    architecture: str, encoder: str, arguments: Mapping[str, Any], weights: Path | None
) -> None:
    taken = sorted(OURS & arguments.keys())
    if taken:
        raise ValueError(f"arguments has {taken[0]}, expected only what other settings do not say")
    if encoder.startswith(TIMM):
        refuse_places(encoder, arguments)
        return
    if weights is not None:
        raise ValueError(
            f"encoder {encoder} has weights {weights}, expected none, or an encoder of timm:"
            f" {TIMM}<name>"
        )
    known = _known(architecture)
    # what is unknown would go to the encoder, which does not look at it
    if unknown := sorted(arguments.keys() - known):
        raise ValueError(f"arguments has {unknown[0]}, expected some of {sorted(known)}")


def _known(architecture: str) -> set[str]:
    """Return the arguments of an architecture; others go to the encoder, if it is timm's."""
    stated = inspect.signature(ARCHITECTURES[architecture].__init__).parameters
    return stated.keys() - OURS - {"self", "kwargs"}


def _loading(
    architecture: str, encoder: str, arguments: Mapping[str, Any], weights: Path | None
) -> dict[str, Any]:
    """Return how the encoder is given ``weights``, once they are found to be all it has."""
    if weights is None:
        return {"encoder_weights": None}
    name, known = encoder.removeprefix(TIMM), _known(architecture)
    # as part of a network timm would pass over tensors that are missing
    create(name, {key: value for key, value in arguments.items() if key not in known}, weights)
    overlay = {"state_dict": state_of(weights, name)}
    return {"encoder_weights": True, "pretrained_cfg_overlay": overlay}


def _mean_and_std(encoder: str) -> tuple[Sequence[float], Sequence[float]]:
    if encoder.startswith(TIMM) and (known := timm.get_pretrained_cfg(encoder.removeprefix(TIMM))):
        return known.mean, known.std
    return IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD


def _of_any_size(architecture: str) -> dict[str, Any]:
    return {"dynamic_img_size": True, "num_classes": 0} if architecture == "dpt" else {}
