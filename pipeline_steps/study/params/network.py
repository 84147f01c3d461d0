"""The ``train.network`` section: which network is trained, and its switches."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from pipeline_steps.study.params.base import StageParams

Width = Annotated[int, Field(ge=1, le=8192)]
Widths = tuple[Width, Width, Width, Width]
Block = Annotated[int, Field(ge=0, le=199)]
Stride = Literal[4, 8, 16, 32]

TEACHER = "teacher"
"""The encoder's name where it is the teacher's own."""


class Encoder(StageParams):
    """The vision transformer."""

    name: Annotated[str, Field(min_length=1)] = "vit_small_patch14_dinov2.lvd142m"
    """Any ViT of timm that has `forward_intermediates` (DINOv2 with or without registers, DINOv3,
    EVA02 …); or `teacher`: the teacher's own, with its weights."""

    weights: str | None = None
    """A model of `fetch.models`; without one the weights are drawn from the experiment's seed."""

    frozen: bool = True
    """No gradient enters the encoder, and it runs without a graph."""

    arguments: dict[str, Any] | None = None
    """Further arguments of timm's constructor, such as `embed_dim`, `depth` and `patch_size`."""

    token_stride: Stride = 16
    """Pixels of the crop per token."""

    fit: Literal["image", "tokens"] = "image"
    """How a patch size that is not the token stride is met: the image is resized by their ratio, or
    seen as it is and its tokens are resized."""

    taps: tuple[Block, Block, Block, Block] | None = None
    """Blocks whose output is used, from 0; by default 2, 5, 8, 11 of 12 and 4, 11, 17, 23 of 24."""

    norm: bool = True
    """Apply the encoder's final norm to every tap."""

    bands: Literal["rgb", "all"] = "rgb"
    """What it sees of an image: three bands, or all of `tile.bands`. The patch embedding is then
    widened; what is new begins at zero and is trained, also where the encoder is frozen."""


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

    depth: Literal["predicted", "fed", "both"] = "predicted"
    """What the prompter gets: the depth decoder's map; the teacher's depth fed directly; or that
    beside the features of a depth decoder which learns it too."""

    prompt_from: Literal["both", "depth", "features"] = "both"
    """The prompter's input: depth map, depth decoder's features or both; a fed map alone."""

    scales: Annotated[tuple[Stride, ...], Field(min_length=1, max_length=4)] = (4, 8, 16, 32)
    """Strides at which prompts ψ1 … ψ4 reach the decoder; leave one out to see what it is worth."""

    skips: Literal["residual", "unet"] = "residual"
    """Skip connections of the prompter."""

    detach_depth: bool = False
    """Stop the gradient of the segmentation loss before the depth decoder."""

    norm: Literal["batch", "group", "sync"] = "batch"
    """Normalisation of adapters, prompter and semantic decoder; sync is batch norm over all devices
    of a training."""

    depth_norm: Literal["none", "batch", "group", "sync"] = "none"
    """Normalisation of the depth decoder. Depth Anything has none; with random weights and large
    steps it learns only with one."""

    widths: Widths | None = None
    """Channels of the four adapters; by default those of DINOv2 S, B or L by embedding width."""

    channels: Width | None = None
    """Width d of decoder and prompter; by default 64, 128 or 256 by embedding width."""

    match_width: bool = False
    """Without a prompter, widen the decoder until as much is trained as with one: a control."""

    decoder: Literal["pyramid", "linear"] = "pyramid"
    """The semantic decoder; `linear` is one 1x1 convolution over all taps, the linear probe."""

    fusion: Literal["concat", "add"] = "concat"
    """How the decoder takes in a prompt: beside the features, or projected and added to them."""

    upsample: Literal["transposed", "bilinear"] = "transposed"
    """How the semantic decoder upsamples: learned, by two each time; or bilinear, by four at its
    end."""

    has_depth_encoder: ClassVar[bool] = False

    @property
    def is_fed(self) -> bool:
        """Return whether depth is fed to it, also when it predicts."""
        return self.prompter and self.depth != "predicted"

    @property
    def has_teachers_encoder(self) -> bool:
        """Return whether its encoder is the teacher's own."""
        return self.encoder.name == TEACHER

    @model_validator(mode="after")
    def _is_consistent(self) -> "DepthSeg":
        if self.decoder == "linear" and (self.adapter or self.prompter):
            raise ValueError("decoder is linear, expected adapter: false and prompter: false")
        if self.match_width and (self.prompter or self.decoder == "linear"):
            raise ValueError("match_width is true, expected prompter: false and decoder: pyramid")
        if len(set(self.scales)) < len(self.scales):
            raise ValueError(f"scales is {list(self.scales)}, expected each stride once")
        return self


class TunedEncoder(Encoder):
    """The vision transformer, whose patches tokens refine after every block."""

    taps: tuple[Block, Block, Block, Block] | None = None
    """Blocks whose output is used, from 0; by default 3, 5, 7, 11 of 12 and 7, 11, 15, 23 of 24."""

    norm: bool = False
    """Apply the encoder's final norm to every tap."""


class DepthForge(StageParams):
    """The DepthForge network and its switches: the encoder of `train.teacher` sees depth for it."""

    prompter: ClassVar[bool] = False
    depth: ClassVar[str] = "predicted"
    is_fed: ClassVar[bool] = False

    model: Literal["depthforge"] = "depthforge"
    """The network: a module of `pipeline_steps.models`."""

    encoder: TunedEncoder = TunedEncoder()
    """The vision transformer and its weights; it is frozen."""

    tokens: Literal["shared", "separate", "plain"] = "shared"
    """What tokens look at: patches of the encoder and of the depth encoder alike; those of depth by
    tokens of their own; or those of the encoder alone, which is a control without depth."""

    token_count: Annotated[int, Field(ge=2, le=1000)] = 100
    """Tokens of every block, and queries of the head."""

    rank: Annotated[int, Field(ge=1, le=1024)] = 16
    """Rank of the tokens."""

    scale: Annotated[float, Field(ge=0, le=1)] = 0.001
    """Share of what tokens say, at first; it is learned."""

    fusion: Literal["add", "cross_attention"] = "add"
    """How shared tokens take in depth: attention to both kinds of patches is added up; or they
    gather from depth patches before they look at the others."""

    normalise_depth_tokens: bool = False
    """Bring depth patches to mean 0 and variance 1: their size grows from block to block."""

    refinement: bool = True
    """The depth refinement decoder: all levels, gated, are added to the finest."""

    head: Literal["mask2former", "decoder"] = "mask2former"
    """What classifies: Mask2Former, whose queries the tokens make; or DepthSeg's decoder."""

    width: Width = 256
    """Channels of the head."""

    layers: Annotated[int, Field(ge=1, le=24)] = 9
    """Layers of Mask2Former's decoder."""

    pixel_layers: Annotated[int, Field(ge=1, le=24)] = 6
    """Layers of its pixel decoder."""

    heads: Annotated[int, Field(ge=1, le=64)] = 8
    """Heads of its attention."""

    points: Annotated[int, Field(ge=16, le=100_000)] = 12544
    """Points at which the loss compares a mask with its label; fewer suffice for small crops."""

    norm: Literal["batch", "group", "sync"] = "batch"
    """Normalisation of DepthSeg's decoder."""

    upsample: Literal["transposed", "bilinear"] = "transposed"
    """How DepthSeg's decoder upsamples."""

    checkpointing: bool = False
    """Compute the encoder's blocks again for the gradient, which passes through them, instead of
    keeping what they hold: a third more time, much less memory."""

    @property
    def has_teachers_encoder(self) -> bool:
        """Return whether its encoder is the teacher's own."""
        return self.encoder.name == TEACHER

    @property
    def has_depth_encoder(self) -> bool:
        """Return whether the teacher's encoder is a part of it, beside its own."""
        return self.tokens != "plain"

    @model_validator(mode="after")
    def _is_consistent(self) -> "DepthForge":
        if not self.encoder.frozen:
            raise ValueError("encoder.frozen is false, expected true: tokens tune a frozen encoder")
        if self.fusion == "cross_attention" and self.tokens != "shared":
            raise ValueError(f"fusion is {self.fusion}, expected add with tokens: {self.tokens}")
        if self.normalise_depth_tokens and self.tokens == "plain":
            raise ValueError("normalise_depth_tokens is true, expected false with tokens: plain")
        # in groups of 32 its norms see one value each of a width of 32 and a crop of 32 pixels
        fits = self.width >= 64 and not self.width % 32 and not self.width % self.heads
        if self.head == "mask2former" and not fits:
            raise ValueError(
                f"width is {self.width}, expected 64 or more, a multiple of 32 and of heads,"
                f" {self.heads}"
            )
        return self


class Backbone(StageParams):
    """The encoder of a baseline."""

    name: Annotated[str, Field(min_length=1)] = "resnet34"
    """An encoder of segmentation-models-pytorch; `tu-<name>` is any of timm."""

    weights: str | None = None
    """A model of `fetch.models`, for a `tu-` encoder; without one the weights are drawn."""

    bands: Literal["rgb", "all"] = "rgb"
    """What it sees of an image: three bands, or all of `tile.bands`."""


class Baseline(StageParams):
    """A network of segmentation-models-pytorch, trained whole and without depth."""

    prompter: ClassVar[bool] = False
    depth: ClassVar[str] = "predicted"
    is_fed: ClassVar[bool] = False
    has_teachers_encoder: ClassVar[bool] = False
    has_depth_encoder: ClassVar[bool] = False

    model: Literal["baseline"] = "baseline"
    """The network: a module of `pipeline_steps.models`."""

    architecture: Literal["unet", "deeplabv3plus", "upernet", "segformer", "dpt"] = "unet"
    """Its kind."""

    encoder: Backbone = Backbone()
    """Its encoder; `dpt` wants a `tu-` vision transformer."""

    arguments: dict[str, Any] | None = None
    """Further arguments of its constructor, such as `decoder_channels`."""


def _model_of(section: Any) -> str:
    named = section.get("model") if isinstance(section, dict) else getattr(section, "model", None)
    # what no key of a study can be called: pydantic puts it between them when something is wrong
    return f"model-{named or 'depthseg'}"


Network = Annotated[
    Annotated[DepthSeg, Tag("model-depthseg")]
    | Annotated[DepthForge, Tag("model-depthforge")]
    | Annotated[Baseline, Tag("model-baseline")],
    Discriminator(_model_of),
]
"""One of the networks, by its ``model``; the first where that is not stated."""
