"""The ``train`` section: the network, and the recipe that trains it."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import StageParams
from pipeline_steps.study.params.network import DepthForge, DepthSeg, Network

Weight = Annotated[float, Field(ge=0, le=1000)]


class DepthLoss(StageParams):
    """The terms of the depth loss, each with its weight."""

    ssim: Weight = 1.0
    """1 − mean SSIM, the paper's."""

    l1: Weight = 0.0
    """Mean absolute difference."""

    invariant: Weight = 0.0
    """1 − Pearson's correlation of each crop: what scale and shift cannot mend."""

    gradient: Weight = 0.0
    """Mean absolute difference of slopes."""

    @model_validator(mode="after")
    def _has_a_term(self) -> "DepthLoss":
        if not any(dict(self).values()):
            raise ValueError("all terms are 0, expected one; depth_weight: 0 switches them off")
        return self


class Params(StageParams):
    """How a network is trained; `experiments` override these fields one by one."""

    network: Network = DepthSeg()
    """The network that is trained."""

    teacher: str | None = None
    """Whose pseudo-depth is label or feed: a fetched model, an adapted teacher, or `elevation`."""

    depth_control: Literal["none", "constant", "shuffled"] = "none"
    """What becomes of the teacher's depth before it is label or feed: nothing; the same everywhere;
    or that of another place, which a label alone can be."""

    domains: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Domains whose scenes are learned from and watched, where the scene table has any; by default
    all. It is tested on all in any case."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 40_000
    """Optimiser steps."""

    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Crops per step, over all devices."""

    accumulate: Annotated[int, Field(ge=1, le=4096)] = 1
    """Parts in which a step's crops are computed, one after another, to fit in memory. Losses are
    means over a part, and parts count alike, however much of them is labelled."""

    devices: Annotated[int, Field(ge=1, le=64)] = 1
    """GPUs of one machine that share a step's crops."""

    crop: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] = 512
    """Height and width of a crop in pixels."""

    positions: Literal["anywhere", "grid"] = "anywhere"
    """Where crops lie: anywhere, or on a grid of windows that overlap by a quarter."""

    rare_classes: Annotated[float, Field(gt=0, le=100)] | None = None
    """Draw a class first, the rarer the likelier, then a crop that shows it: the temperature of
    that draw; 0.1 is usual, less is sharper. By default crops are drawn by area."""

    scale: tuple[Annotated[float, Field(gt=0, le=8)], Annotated[float, Field(gt=0, le=8)]] = (
        0.5,
        2.0,
    )
    """Least and greatest random zoom of a crop."""

    turns: bool = True
    """Random flips and quarter turns: a nadir view has no up."""

    photometric: Annotated[float, Field(ge=0, le=1)] = 0.3
    """Strength of random brightness, contrast and saturation; the hue turns by a tenth of it."""

    lr: Annotated[float, Field(gt=0, le=1)] = 1e-4
    """Peak learning rate of AdamW."""

    weight_decay: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Weight decay; none on norms and biases."""

    warmup: Annotated[int, Field(ge=0, le=1_000_000)] = 1500
    """Steps of linear warm-up, at most a tenth of all steps."""

    power: Annotated[float, Field(ge=0, le=10)] = 0.9
    """Exponent of the polynomial decay of the learning rate."""

    clip: Annotated[float, Field(gt=0, le=1e6)] = 1.0
    """Largest norm of the gradient."""

    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Decay of a moving average of the weights, which is then the result; 0: none."""

    patience: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Rows of history.csv without a lower loss on the validation scenes after which training ends;
    the weights of the best row are then the result. By default the last ones are."""

    depth_weight: Weight = 1.0
    """Weight λ of the depth loss; 0 is a control."""

    depth_loss: DepthLoss = DepthLoss()
    """What the depth loss is made of."""

    class_weights: Literal["none", "sqrt"] = "none"
    """Weights of the classes in the cross-entropy; sqrt is one over the root of their frequency."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of a label that is spread over all classes."""

    focal: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Exponent γ of the focal loss; 0 is cross-entropy."""

    dice: Weight = 0.0
    """Weight of a Dice loss beside it."""

    feature_cache: bool = False
    """Run the frozen encoder, in DepthForge that of depth, once for each crop that is drawn, and
    keep what it says on disk."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the hardware multiplies it."""

    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes that read crops beside the training; 0 reads in the training process."""

    report_every: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Steps between two rows of history.csv."""

    panels: Annotated[int, Field(ge=0, le=1000)] = 4
    """Pictures of the network at work, evenly spread over the training."""

    @model_validator(mode="after")
    def _is_consistent(self) -> "Params":
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is {self.scale}, expected the smaller zoom first")
        parts = self.accumulate * self.devices
        if self.batch % parts:
            raise ValueError(
                f"batch is {self.batch}, expected a multiple of accumulate x devices, {parts}"
            )
        if self.batch == parts and getattr(self.network, "architecture", "") == "deeplabv3plus":
            raise ValueError(
                "network.architecture is deeplabv3plus and a part of a batch is 1 crop, expected 2:"
                " it normalises over one value for each crop"
            )
        if getattr(self.network, "head", "") == "mask2former":
            plain = {"class_weights": "none", "label_smoothing": 0.0, "focal": 0.0, "dice": 0.0}
            for key, value in plain.items():
                if getattr(self, key) != value:
                    raise ValueError(
                        f"{key} is {getattr(self, key)}, expected {value} with network.head:"
                        " mask2former, whose loss is its own"
                    )
        if self.depth_control == "shuffled" and self.network.depth != "predicted":
            raise ValueError(
                f"depth_control is shuffled and network.depth {self.network.depth}, expected"
                " predicted: a map is not made with another's depth"
            )
        if self.domains and len(set(self.domains)) < len(self.domains):
            raise ValueError(f"domains is {list(self.domains)}, expected each domain once")
        if self.positions == "grid" and self.rare_classes is not None:
            raise ValueError("rare_classes is stated, expected positions: anywhere")
        return self

    @model_validator(mode="after")
    def _can_be_cached(self) -> "Params":
        if not self.feature_cache:
            return self
        network = self.network
        is_tuned = isinstance(network, DepthForge)
        if is_tuned and not network.has_depth_encoder:
            raise ValueError("feature_cache is true, expected network.tokens that see depth")
        if not is_tuned and not (isinstance(network, DepthSeg) and network.encoder.frozen):
            raise ValueError(
                "feature_cache is true, expected a depthseg with a frozen encoder, or a depthforge"
            )
        if network.encoder.bands == "all" and not is_tuned:
            raise ValueError("feature_cache is true, expected network.encoder.bands: rgb")
        wanted = {"positions": "grid", "scale": (1.0, 1.0), "photometric": 0.0}
        for key, value in wanted.items():
            if getattr(self, key) != value:
                raise ValueError(
                    f"{key} is {getattr(self, key)}, expected {value} with feature_cache"
                )
        return self
