"""The networks that all contestants share, and how one is called: free of our package.

A network takes float32 [n, 3, window, window] in [0, 1] and gives probabilities
[n, classes, window, window]. ``stub`` mixes bands linearly, pixel by pixel, in one multiplication:
next to nothing, but what it says depends on the pixels. ``edge`` is the stub, the worse the nearer
to an edge of its window. ``dinov2`` is DINOv2-S with a head of 1x1 pixels. ``forge-small`` and
``forge-large`` are DepthForge, which no peer has, and ``encoders-…`` its two encoders alone.
"""

import timm
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from tests.benchmarks.peers.measuring import CLASSES, Job

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Stub(nn.Module):
    """Probabilities that are linear in the bands: columns add up to 0, constants to 1.

    A product of matrices: as a convolution it would take sixteen times as long on a CPU.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        weight = torch.randn(CLASSES, 3)
        weight -= weight.mean(0)
        # on [0, 1] no class falls below 0, and at mid-grey all are alike
        weight *= 2 / CLASSES / weight.abs().sum(1).max()
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(1 / CLASSES - weight.sum(1, keepdim=True) / 2)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        mixed = torch.matmul(self.weight, pixels.flatten(2)).add_(self.bias)
        return mixed.unflatten(2, pixels.shape[-2:])


class Edge(Stub):
    """The stub, which towards the right and the lower edge of its window believes in one class.

    Not towards all four: neighbours that are wrong alike would meet without a seam.
    """

    def __init__(self, window: int) -> None:
        super().__init__(window)
        line = torch.linspace(-1, 1, window).relu()
        worse = torch.maximum(line[:, None], line[None])[None, None] ** 4
        self.register_buffer("worse", worse)
        self.register_buffer("belief", F.one_hot(torch.tensor(0), CLASSES)[:, None, None].float())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.lerp(super().forward(pixels), self.belief, self.worse)


class DinoV2(nn.Module):
    """DINOv2-S whose patches a 1x1 head classifies."""

    def __init__(self, window: int) -> None:
        super().__init__()
        name = "vit_small_patch14_dinov2"
        self.encoder = timm.create_model(name, pretrained=False, img_size=window, num_classes=0)
        self.head = nn.Conv2d(self.encoder.embed_dim, CLASSES, 1)
        self.register_buffer("mean", torch.tensor(MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(STD)[:, None, None])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        features = self.encoder.forward_features((pixels - self.mean) / self.std)
        patches = features[:, self.encoder.num_prefix_tokens :].transpose(1, 2)
        high, wide = (length // 14 for length in pixels.shape[-2:])
        logits = self.head(patches.unflatten(2, (high, wide)))
        return F.interpolate(logits.float(), size=pixels.shape[-2:], mode="bilinear").softmax(1)


class Forge(nn.Module):
    """DepthForge as published, with both encoders of a ``size``: DINOv2's, and Depth Anything's."""

    def __init__(self, size: str) -> None:
        super().__init__()
        # of our package: peers run this file where there is none of it
        from pipeline_steps.models.depthforge import build
        from pipeline_steps.study.params.network import DepthForge

        settings = DepthForge().model_dump(mode="json")
        settings["encoder"]["name"] = name = f"vit_{size}_patch14_dinov2"
        settings["depth_encoder"] = {"name": name, "mean": MEAN, "std": STD}
        self.network = build(CLASSES, None, settings)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.network(pixels).logits.float().softmax(1)


class Encoders(Forge):
    """The two encoders of DepthForge without anything that it adds."""

    def __init__(self, size: str) -> None:
        super().__init__(size)
        for block in self.network.encoder.vit.blocks:
            block._forward_hooks.clear()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        said = self.network.constant(pixels) + self.network.encoder(pixels)
        # of the shape of an answer, at next to no cost
        mean = sum(tap.float().mean((1, 2, 3)) for tap in said)
        return mean[:, None, None, None].expand(-1, CLASSES, *pixels.shape[-2:])


NETWORKS = {"stub": Stub, "edge": Edge, "dinov2": DinoV2}
NETWORKS |= {f"forge-{size}": lambda _, size=size: Forge(size) for size in ("small", "large")}
NETWORKS |= {f"encoders-{size}": lambda _, size=size: Encoders(size) for size in ("small", "large")}


def write_weights(path: str, network: str, window: int) -> None:
    """Draw weights from one seed, once for all contestants."""
    torch.manual_seed(0)
    save_file(NETWORKS[network](window).state_dict(), path)


class Forward:
    """A network on its device; windows in, float32 probabilities out, both as tensors.

    Pixels are brought to the device here; what comes back is left there. No gradients, but not
    ``inference_mode`` either: MONAI writes into what it is given.
    """

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(job.threads)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = NETWORKS[job.network](job.window)
        network.load_state_dict(load_file(job.weights))
        self.network = network.eval().to(self.device)
        self.halves = job.precision == "bf16" and job.network not in ("stub", "edge")
        # what a device does once, such as choosing kernels, is outside the clock
        self(torch.zeros(job.batch, 3, job.window, job.window))
        self.wait()

    @torch.no_grad()
    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.halves):
            return self.network(pixels.to(self.device, non_blocking=True)).float()

    def wait(self) -> None:
        """Return when the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
