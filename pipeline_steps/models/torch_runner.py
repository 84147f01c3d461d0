"""Teachers on torch: a GPU where there is one, the processor otherwise."""

import functools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch._dynamo.exc import TorchDynamoException
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from pipeline_steps.models.device import (
    autocast,
    make_repeatable,
    pick_device,
    uses_bf16,
)
from pipeline_steps.models.teacher import load_teacher, one_channel

AT_ONCE = 2**18
"""Pixels that a CPU sees at once, at least one image: more are no faster, and take memory."""


class Torch:
    """A teacher where it runs: started with images [n, 3, H, W], it waits for heights [n, H, W].

    On a GPU ``batch`` images are seen at once, and go to and fro while the network is at work on
    others. A CPU sees as many as `AT_ONCE`. With ``compiled`` the network is compiled for so many,
    and where there are fewer it is given one of them again.
    """

    def __init__(
        self,
        folder: Path,
        gives: str | None,
        resample: float,
        precision: str,
        batch: int,
        compiled: bool,
    ) -> None:
        self.device, self.precision = pick_device(), precision
        self.batch, self.compiled = batch, compiled
        self.on_gpu = self.device.type == "cuda"
        in_bf16 = uses_bf16(self.device, precision)
        attention = BY_HEAD if in_bf16 and not self.on_gpu else None
        teacher = load_teacher(folder, resample, gives, attention).eval()
        if in_bf16:
            _end_in_float32(teacher.network)
        self.sees = teacher.sees
        self.teacher = teacher.to(self.device, memory_format=torch.channels_last)
        make_repeatable(self.device)
        if compiled:
            self.teacher = torch.compile(self.teacher, dynamic=False)

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        """Start on images float32 [n, 3, H, W] in [0, 1]; return what waits for their height."""
        count, at_once = len(images), self._at_once(*images.shape[2:])
        if self.compiled:
            missing = np.repeat(images[:1], -count % at_once, axis=0)
            images = np.concatenate([images, missing])
        parts = [self._forward(some) for some in self._sent(images).split(at_once)]
        height = torch.cat(parts)[:count, 0]
        if not self.on_gpu:
            return height.numpy
        back = torch.empty(height.shape, pin_memory=True)
        back.copy_(height, non_blocking=True)
        done = torch.cuda.Event()
        done.record()

        def wait() -> np.ndarray:
            done.synchronize()
            return back.numpy()

        return wait

    def _at_once(self, height: int, width: int) -> int:
        if self.on_gpu:
            return self.batch
        return max(1, min(self.batch, AT_ONCE // math.prod(self.sees(height, width))))

    def _sent(self, images: np.ndarray) -> torch.Tensor:
        host = torch.from_numpy(np.ascontiguousarray(images))
        host = host.pin_memory() if self.on_gpu else host
        sent = host.to(self.device, non_blocking=True)
        return sent.contiguous(memory_format=torch.channels_last)

    def _forward(self, images: torch.Tensor) -> torch.Tensor:
        try:
            with autocast(self.device, self.precision):
                return self.teacher(images)
        except TorchDynamoException as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"depth.compile is true, but torch.compile fails ({reason}), expected a C compiler,"
                " or depth.compile: false"
            ) from error


def _end_in_float32(network: nn.Module) -> None:
    """Let the convolution that ends in the depth be multiplied in float32.

    bf16 has 8 significant bits: gentle slopes would come out as stairs.
    """
    for last in one_channel(network):
        last.forward = functools.partial(_in_float32, last.forward)


def _in_float32(forward: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    with torch.autocast(x.device.type, enabled=False):
        return forward(x.float())


def _attention_by_head(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **others: object,
) -> tuple[torch.Tensor, None]:
    """Return attention [B, tokens, heads, width], one image and head after another.

    On a CPU in bf16 this takes half the time of torch's fused attention, and no more memory than
    one head's scores. Signature and shapes are those of transformers' attention interface.
    """
    if attention_mask is not None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    # DINOv3's rotation leaves query and key in float32
    query, key = (query * scaling).to(value.dtype), key.to(value.dtype)
    heads = zip(*(x.flatten(0, 1) for x in (query, key.mT, value)), strict=True)
    # autocast would turn the scores to float32 and back
    with torch.autocast(query.device.type, enabled=False):
        seen = torch.stack([(q @ k).softmax(-1) @ v for q, k, v in heads])
    return seen.view(*query.shape[:-1], -1).transpose(1, 2).contiguous(), None


BY_HEAD = "by_head"
AttentionInterface.register(BY_HEAD, _attention_by_head)
