"""The ``train`` section: the network, and the recipe that trains it."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import StageParams

Width = Annotated[int, Field(ge=1, le=8192)]
Widths = tuple[Width, Width, Width, Width]
Block = Annotated[int, Field(ge=0, le=199)]


class Encoder(StageParams):
    """The vision transformer."""

    name: Annotated[str, Field(min_length=1)] = "vit_small_patch14_dinov2.lvd142m"
    """Any ViT of timm that has `forward_intermediates`."""

    weights: str | None = None
    """A model of `fetch.models`; without one the weights are drawn from the experiment's seed."""

    frozen: bool = True
    """No gradient enters the encoder, and it runs without a graph."""

    arguments: dict[str, Any] | None = None
    """Further arguments of timm's constructor, such as `embed_dim`, `depth` and `patch_size`."""

    token_stride: Literal[4, 8, 16, 32] = 16
    """Pixels of the crop per token; the crop is resized by patch size / token stride first."""

    taps: tuple[Block, Block, Block, Block] | None = None
    """Blocks whose output is used, from 0; by default 2, 5, 8, 11 of 12 and 4, 11, 17, 23 of 24."""


class DepthSeg(StageParams):
    """The DepthSeg network and its switches."""

    model: Literal["depthseg"] = "depthseg"
    """The network: a module of `pipeline_steps.models`."""

    encoder: Encoder = Encoder()
    """The vision transformer and its weights."""

    adapter: bool = True
    """Adapters behind the encoder (1x1 convolution, norm, ReLU); else a bare 1x1 convolution."""

    prompter: bool = True
    """Depth prompts for the semantic decoder; without them no depth decoder is built either."""

    depth: Literal["predicted", "fed"] = "predicted"
    """What the prompter gets: the depth decoder's map, or the teacher's depth fed directly."""

    prompt_from: Literal["both", "depth", "features"] = "both"
    """The prompter's input: depth map, depth decoder's features or both; a fed map alone."""

    skips: Literal["residual", "unet"] = "residual"
    """Skip connections of the prompter."""

    detach_depth: bool = False
    """Stop the gradient of the segmentation loss before the depth decoder."""

    norm: Literal["batch", "group"] = "batch"
    """Normalisation of all trainable parts."""

    widths: Widths | None = None
    """Channels of the four adapters; by default those of DINOv2 S, B or L by embedding width."""

    channels: Width | None = None
    """Width d of decoder and prompter; by default 64, 128 or 256 by embedding width."""

    upsample: Literal["transposed", "bilinear"] = "transposed"
    """How the semantic decoder upsamples."""


class Params(StageParams):
    """How a network is trained; `experiments` override these fields one by one."""

    network: DepthSeg = DepthSeg()
    """The network that is trained."""

    teacher: str | None = None
    """Whose pseudo-depth is label or feed: a fetched model, an adapted teacher, or `elevation`."""

    steps: Annotated[int, Field(ge=1, le=10_000_000)] = 40_000
    """Optimiser steps."""

    batch: Annotated[int, Field(ge=1, le=4096)] = 8
    """Crops per step."""

    crop: Annotated[int, Field(ge=32, le=4096, multiple_of=32)] = 512
    """Height and width of a crop in pixels."""

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

    depth_weight: Annotated[float, Field(ge=0, le=1000)] = 1.0
    """Weight λ of the SSIM depth loss; 0 is a control."""

    class_weights: Literal["none", "sqrt"] = "none"
    """Weights of the classes in the cross-entropy; sqrt is one over the root of their frequency."""

    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto is bf16 where the hardware multiplies it."""

    workers: Annotated[int, Field(ge=0, le=256)] = 0
    """Processes that read crops beside the training; 0 reads in the training process."""

    report_every: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    """Steps between two rows of history.csv."""

    @model_validator(mode="after")
    def _zoom_in_order(self) -> "Params":
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale is {self.scale}, expected the smaller zoom first")
        return self
