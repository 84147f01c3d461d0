"""Run a teacher on images as fast as the machine allows: start, do something else, wait."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pipeline_steps.models.device import cores, pick_device, uses_bf16
from pipeline_steps.models.openvino_runner import OpenVino, import_openvino
from pipeline_steps.models.torch_runner import Torch

Running = Callable[[np.ndarray], Callable[[], np.ndarray]]
"""Takes images float32 [n, 3, H, W] in [0, 1] and starts; what it returns waits for their relative
height float32 [n, H, W], larger is taller. On a CPU torch is done before it returns. Results may
be waited for in any order, and not at all."""


def runner(
    folder: Path,
    gives: str | None,
    resample: float,
    precision: str,
    backend: str,
    batch: int,
    compiled: bool,
    turns: bool,
) -> Running:
    """Return what runs the teacher of a hub-layout folder, on a GPU where there is one.

    ``gives`` and ``resample`` are ``load_teacher``'s, ``precision`` is ``autocast``'s. ``backend``
    is `torch`, or `openvino` (CPU only). It is given ``batch`` images at most at a time.
    ``compiled`` compiles torch's network when it first runs.
    With ``turns``, every image is seen flipped and turned in all eight ways, which costs as much
    more and takes out what a network holds of up and down.

    On the same weights of a Depth Anything the backends differ by at most a thousandth of an
    image's range of height in fp32. In bf16 either differs from fp32 by at most a tenth, and by
    less than a hundredth in the mean (random weights of a Small at 518: 0.05 and 0.007 at worst).
    Raises ValueError where the folder holds no such teacher or the machine has not what the
    backend needs.
    """
    if backend == "openvino":
        run: Running = OpenVino(folder, gives, resample, precision, batch)
    elif backend == "torch":
        run = Torch(folder, gives, resample, precision, batch, compiled)
    else:
        raise ValueError(f"depth.backend is {backend!r}, expected torch or openvino")
    return _in_eight_ways(run) if turns else run


def arithmetic(precision: str, backend: str) -> str:
    """Return what the same weights give the same numbers on: device, precision and library.

    Of a CPU with the number of threads: sums of a convolution are shared out among them.
    """
    device = torch.device("cpu") if backend == "openvino" else pick_device()
    threads = cores() if backend == "openvino" else torch.get_num_threads()
    on_cpu = f"cpu of {threads} thread{'s' * (threads > 1)}"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else on_cpu
    library = f"openvino {import_openvino().__version__}" if backend == "openvino" else "torch"
    return f"{name}, {'bf16' if uses_bf16(device, precision) else 'fp32'}, {library}"


def _in_eight_ways(run: Running) -> Running:
    """Return the mean over flips and quarter turns, each brought to the same scale and shift."""
    ways = [(quarters, flips) for flips in (False, True) for quarters in range(4)]

    def start(images: np.ndarray) -> Callable[[], np.ndarray]:
        waiting = [run(_turned(images, *way)) for way in ways]

        def wait() -> np.ndarray:
            heights = zip(waiting, ways, strict=True)
            return _mean(np.stack([_back(wait_for(), *way) for wait_for, way in heights]))

        return wait

    return start


def _turned(images: np.ndarray, quarters: int, flips: bool) -> np.ndarray:
    images = images[..., ::-1] if flips else images
    return np.ascontiguousarray(np.rot90(images, quarters, (-2, -1)))


def _back(height: np.ndarray, quarters: int, flips: bool) -> np.ndarray:
    height = np.rot90(height, -quarters, (-2, -1))
    return height[..., ::-1] if flips else height


def _mean(heights: np.ndarray) -> np.ndarray:
    """Return the mean [n, H, W] of heights [ways, n, H, W] that are relative.

    Before, each gets the mean scale and shift of all. To fit them to one of them would let that
    one have its way, and the mean would not turn with the image. One without any relief has no
    scale, and counts as it is.
    """
    inner = {"axis": (-2, -1), "keepdims": True, "dtype": np.float64}
    mean, spread = heights.mean(**inner), heights.std(**inner)
    has_relief = spread > np.finfo(np.float32).eps * np.abs(mean)
    scale = (spread * has_relief).sum(axis=0) / has_relief.sum(axis=0).clip(1)
    factor = has_relief * scale / np.where(has_relief, spread, 1)
    offsets = (heights - mean.astype(np.float32)) * factor.astype(np.float32)
    return offsets.mean(axis=0) + mean.mean(axis=0).astype(np.float32)
