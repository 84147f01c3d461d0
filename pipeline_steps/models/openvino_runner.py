"""Networks on OpenVINO, which is faster than torch on CPUs: an optional backend."""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from pipeline_steps.models.device import cores, uses_bf16
from pipeline_steps.models.teacher import load_teacher


class OpenVino:
    """A teacher on the CPU: started with images [n, 3, H, W], it waits for heights [n, H, W].

    Images are resampled outside, in float32.
    """

    def __init__(
        self, folder: Path, gives: str | None, resample: float, precision: str, batch: int
    ) -> None:
        self.teacher = load_teacher(folder, resample, gives).eval()
        kind = self.teacher.network.config.model_type
        self.network = Converted(self.teacher, self.teacher.look, kind, precision, batch)

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        """Start on images float32 [n, 3, H, W] in [0, 1]; return what waits for their height."""
        seen = self.teacher.prepare(torch.from_numpy(np.ascontiguousarray(images)))
        said = self.network(seen)

        @torch.inference_mode()
        def wait() -> np.ndarray:
            height = torch.from_numpy(said())
            return self.teacher.restore(height, images.shape[2:])[:, 0].numpy()

        return wait


class Converted:
    """A network of one tensor in and one out, on the CPU.

    It is converted for a size of images when it first sees that size, which takes as long as a few
    images. Every image is a request of its own, so that cores need not wait for each other and
    batches may have any length. ``look`` is what ``network`` does, ``kind`` what errors call it.
    """

    def __init__(
        self,
        network: nn.Module,
        look: Callable[[torch.Tensor], torch.Tensor],
        kind: str,
        precision: str,
        batch: int,
    ) -> None:
        self.openvino, self.look, self.kind, self.batch = import_openvino(), look, kind, batch
        # weights become constants of a graph, which those that can learn may not
        network.requires_grad_(False)
        self.arithmetic = "bf16" if uses_bf16(torch.device("cpu"), precision) else "f32"
        self.sizes: dict[tuple[int, ...], _Requests] = {}

    @torch.inference_mode()
    def __call__(self, images: torch.Tensor) -> Callable[[], np.ndarray]:
        """Start on images float32 [n, bands, H, W]; return what waits for [n, …]."""
        size = tuple(images.shape[1:])
        if size not in self.sizes:
            self.sizes[size] = self._converted(images[:1])
        requests = self.sizes[size]
        started = [requests.start(image) for image in images.numpy()]
        return lambda: np.stack([requests.finish(request) for request in started])

    def _converted(self, image: torch.Tensor) -> "_Requests":
        """Return the network for images of this size."""
        model = _traced(self.look, self.kind, image)
        settings = {
            "INFERENCE_PRECISION_HINT": self.arithmetic,
            "INFERENCE_NUM_THREADS": cores(),
            "PERFORMANCE_HINT": "THROUGHPUT",
            "PERFORMANCE_HINT_NUM_REQUESTS": self.batch,
            # other jobs may run beside this one, and would be pinned to the same cores
            "ENABLE_CPU_PINNING": False,
        }
        return _Requests(self.openvino.Core().compile_model(model, "CPU", settings))


class _Requests:
    """Requests of one compiled network, which are used again when they are done."""

    def __init__(self, compiled: Any) -> None:
        self.compiled, self.idle = compiled, []

    def start(self, image: np.ndarray) -> Any:
        request = self.idle.pop() if self.idle else self.compiled.create_infer_request()
        request.get_input_tensor().data[0] = image
        request.start_async()
        return request

    def finish(self, request: Any) -> np.ndarray:
        request.wait()
        height = request.get_output_tensor().data[0].copy()
        self.idle.append(request)
        return height


def import_openvino() -> ModuleType:
    """Return the package; raises ValueError that says how to install it where it is not."""
    # it reports every import and conversion to its makers, unless this package is missing
    sys.modules.setdefault("openvino_telemetry", None)
    if importlib.util.find_spec("openvino") is None:
        raise ValueError(
            'backend is openvino, which is not installed: pip install "depthseg[openvino]", or set'
            " backend to torch"
        )
    return importlib.import_module("openvino")


def _traced(look: Callable[[torch.Tensor], torch.Tensor], kind: str, image: torch.Tensor) -> Any:
    """Return OpenVINO's model of the network for images of one size."""
    frontend = importlib.import_module("openvino.frontend")
    decoding = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    with warnings.catch_warnings():
        # sizes become constants, as they are meant to
        warnings.simplefilter("ignore")
        graph = torch.jit.trace(lambda seen: look(seen), image, check_trace=False)
    # convert_model does the same and much besides, in four times the time
    pytorch = frontend.FrontEndManager().load_by_framework("pytorch")
    decoder = decoding.TorchScriptPythonDecoder(graph)
    try:
        model = pytorch.convert(pytorch.load(decoder))
    except frontend.OpConversionFailure as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"backend is openvino, which cannot run a {kind} ({reason}), expected torch"
        ) from error
    model.reshape(list(image.shape))
    return model
