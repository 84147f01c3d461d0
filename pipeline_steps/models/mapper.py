"""Trained networks as they map: windows in, class probabilities and what else is wanted out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from torch.nn import functional as F

from pipeline_steps.models.device import autocast, make_repeatable, pick_device
from pipeline_steps.models.layers import NO_DEPTH

COARSEST = 32
"""Pixels that the sides of what a network sees are multiples of."""

Look = Callable[[torch.Tensor], torch.Tensor]
"""What `Mapped` does, on torch or otherwise."""


class Mapped(nn.Module):
    """A network from pixels to numbers: one tensor in, one out, for every runtime.

    ``takes`` says how many bands an image has; a network that is fed depth gets it as one more.
    With ``gives_depth`` the depth it predicts follows the probabilities. With ``is_constant``
    what it is fed is the same wherever depth is known: see ``depth_control``.
    """

    def __init__(
        self, network: nn.Module, takes: int, gives_depth: bool, is_constant: bool = False
    ) -> None:
        super().__init__()
        self.network, self.takes = network, takes
        self.gives_depth, self.is_constant = gives_depth, is_constant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [B, classes (+ 1), H, W] for [B, bands (+ 1), H, W]; NaN is where depth is not."""
        depth = x[:, self.takes :] if x.shape[1] > self.takes else None
        if depth is not None:
            known = torch.full_like(depth, NO_DEPTH) if self.is_constant else depth
            depth = torch.where(depth.isnan(), torch.zeros_like(depth), known)
        image = x[:, : self.takes].contiguous(memory_format=torch.channels_last)
        said = self.network(image, depth)
        found = [said.logits.float().softmax(1)]
        return torch.cat(found + ([said.depth.float()] if self.gives_depth else []), 1)


def load_mapped(
    weights: Path, settings: Mapping[str, Any], classes: int, depth_control: str, depth: bool
) -> Mapped:
    """Return a trained network; with ``depth`` it also gives what it predicts, if it predicts any.

    ``weights`` is a safetensors file, ``settings`` and ``depth_control`` those it was trained
    with. Raises ValueError where the weights are another network's.
    """
    module = import_module(f"pipeline_steps.models.{settings['model']}")
    try:
        network: nn.Module = module.build(classes, None, settings)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{weights}: no network comes of what is told of it: {error!r}") from error
    try:
        network.load_state_dict(load_file(weights))
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"{weights}: is of another network than its manifest: {reason}") from error
    takes = settings["encoder"].get("in_bands", 3)
    gives = depth and getattr(network, "depth_decoder", None) is not None
    return Mapped(network.eval(), takes, gives, depth_control == "constant")


class Mapper:
    """The mean of several networks, and of several views of each.

    Gives float32 [n, channels, size, size]: the classes' probabilities; with ``spread`` the mean
    over networks and views of the sum of their squares, whose excess over that of the mean is
    their variance; with ``depth`` the predicted depth, the mean over those that predict one, NaN if
    none does. ``turns`` are the eight flips and quarter turns; ``scales`` are sizes at which an
    image is seen, as a share of its own.
    """

    def __init__(
        self,
        networks: Sequence[Mapped],
        classes: int,
        precision: str,
        batch: int,
        backend: str = "torch",
        compiled: bool = False,
        turns: bool = False,
        scales: Sequence[float] = (1.0,),
        spread: bool = False,
        depth: bool = False,
    ) -> None:
        self.device = torch.device("cpu") if backend == "openvino" else pick_device()
        make_repeatable(self.device)
        # what is compiled is so for one length of a batch
        self.precision, self.classes = precision, classes
        self.full = batch if compiled and backend == "torch" else 0
        self.networks = [self._ready(one, backend, batch) for one in networks]
        self.gives_depth = [one.gives_depth for one in networks]
        self.ways = [(q, f) for f in (False, True) for q in range(4)] if turns else [(0, False)]
        self.scales, self.spread, self.depth = tuple(scales), spread, depth
        self.channels = classes + spread + depth

    def _ready(self, network: Mapped, backend: str, batch: int) -> Look:
        if backend == "openvino":
            from pipeline_steps.models.openvino_runner import Converted

            kind = type(network.network).__name__
            converted = Converted(network, network, kind, self.precision, batch)
            return lambda x: torch.from_numpy(converted(x)())
        network = network.to(self.device, memory_format=torch.channels_last)
        return torch.compile(network, dynamic=False) if self.full else network

    def __call__(self, inputs: Sequence[np.ndarray]) -> Callable[[], np.ndarray]:
        """Start on what each network sees, [n, bands (+ 1), size, size]; return what waits."""
        found = self._found([self._sent(one) for one in inputs])
        if self.device.type != "cuda":
            return found.numpy
        back = torch.empty(found.shape, pin_memory=True)
        back.copy_(found, non_blocking=True)
        done = torch.cuda.Event()
        done.record()

        def wait() -> np.ndarray:
            done.synchronize()
            return back.numpy()

        return wait

    @torch.inference_mode()
    def _found(self, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
        shares, squares, depths = _Mean(), _Mean(), _Mean()
        for said, gives_depth in self._said(inputs):
            share = said[:, : self.classes]
            shares.add(share)
            if self.spread:
                squares.add(share.square().sum(1, keepdim=True))
            if self.depth and gives_depth:
                depths.add(said[:, self.classes :])
        parts = [shares.value]
        if self.spread:
            parts.append(squares.value)
        if self.depth:
            none = torch.full_like(parts[0][:, :1], torch.nan)
            parts.append(depths.value if depths.count else none)
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _said(self, inputs: Sequence[torch.Tensor]) -> Iterator[tuple[torch.Tensor, bool]]:
        """Yield what every network says of every view of its input, and if depth is in it."""
        for network, gives_depth, image in zip(
            self.networks, self.gives_depth, inputs, strict=True
        ):
            size = image.shape[-2:]
            for scale in self.scales:
                seen = _scaled(image, scale)
                for quarters, flips in self.ways:
                    said = self._forward(network, _turned(seen, quarters, flips))
                    said = _back(said, quarters, flips)
                    if said.shape[-2:] != size:
                        said = F.interpolate(said, size, mode="bilinear")
                    yield said, gives_depth

    def _sent(self, images: np.ndarray) -> torch.Tensor:
        host = torch.from_numpy(np.ascontiguousarray(images))
        host = host.pin_memory() if self.device.type == "cuda" else host
        return host.to(self.device, non_blocking=True)

    def _forward(self, network: Look, x: torch.Tensor) -> torch.Tensor:
        count = len(x)
        if count < self.full:
            x = torch.cat([x, x[:1].expand(self.full - count, -1, -1, -1)])
        try:
            with autocast(self.device, self.precision):
                return network(x)[:count]
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"predict.compile is true, but torch.compile fails ({reason}), expected a C"
                " compiler, or predict.compile: false"
            ) from error


class _Mean:
    """The mean of tensors, added one by one; that of one is itself."""

    def __init__(self) -> None:
        self.total: torch.Tensor | None = None
        self.count = 0

    def add(self, x: torch.Tensor) -> None:
        self.total = x if self.total is None else self.total + x
        self.count += 1

    @property
    def value(self) -> torch.Tensor:
        return self.total if self.count == 1 else self.total / self.count


def _scaled(image: torch.Tensor, scale: float) -> torch.Tensor:
    sizes = [max(1, round(length * scale / COARSEST)) * COARSEST for length in image.shape[-2:]]
    if scale == 1 or sizes == list(image.shape[-2:]):
        return image
    return F.interpolate(image, sizes, mode="bilinear", antialias=True)


def _turned(x: torch.Tensor, quarters: int, flips: bool) -> torch.Tensor:
    return torch.rot90(x.flip(-1) if flips else x, quarters, (-2, -1))


def _back(x: torch.Tensor, quarters: int, flips: bool) -> torch.Tensor:
    x = torch.rot90(x, -quarters, (-2, -1))
    return x.flip(-1) if flips else x
