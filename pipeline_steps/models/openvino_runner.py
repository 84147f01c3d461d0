"""Teachers on OpenVINO, which is faster than torch on CPUs: an optional backend."""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from pipeline_steps.models.device import cores, uses_bf16
from pipeline_steps.models.teacher import Teacher, load_teacher


class OpenVino:
    """A teacher on the CPU: started with images [n, 3, H, W], it waits for heights [n, H, W].

    The network is converted for a size of images when it first sees that size, which takes as
    long as a few images. Every image is a request of its own, so that cores need not wait for
    each other and batches may have any length. Images are resampled outside, in float32.
    """

    def __init__(
        self, folder: Path, gives: str | None, resample: float, precision: str, batch: int
    ) -> None:
        self.openvino, self.batch = import_openvino(), batch
        # weights become constants of a graph, which those that can learn may not
        self.teacher = load_teacher(folder, resample, gives).eval().requires_grad_(False)
        in_bf16 = uses_bf16(torch.device("cpu"), precision)
        self.arithmetic = "bf16" if in_bf16 else "f32"
        self.networks: dict[tuple[int, ...], _Requests] = {}

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> Callable[[], np.ndarray]:
        """Start on images float32 [n, 3, H, W] in [0, 1]; return what waits for their height."""
        seen = self.teacher.prepare(torch.from_numpy(np.ascontiguousarray(images)))
        size = tuple(seen.shape[2:])
        if size not in self.networks:
            self.networks[size] = self._converted(seen[:1])
        network = self.networks[size]
        requests = [network.start(image) for image in seen.numpy()]

        @torch.inference_mode()
        def wait() -> np.ndarray:
            height = torch.from_numpy(np.stack([network.finish(r) for r in requests]))
            return self.teacher.restore(height, images.shape[2:])[:, 0].numpy()

        return wait

    def _converted(self, image: torch.Tensor) -> "_Requests":
        """Return the network for images of this size."""
        model = _traced(self.teacher, image)
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
            'depth.backend is openvino, which is not installed: pip install "depthseg[openvino]",'
            " or set depth.backend to torch"
        )
    return importlib.import_module("openvino")


def _traced(teacher: Teacher, image: torch.Tensor) -> Any:
    """Return OpenVINO's model of the network for images of one size."""
    frontend = importlib.import_module("openvino.frontend")
    decoding = importlib.import_module("openvino.frontend.pytorch.ts_decoder")
    with warnings.catch_warnings():
        # sizes become constants, as they are meant to
        warnings.simplefilter("ignore")
        graph = torch.jit.trace(lambda seen: teacher.look(seen), image, check_trace=False)
    # convert_model does the same and much besides, in four times the time
    pytorch = frontend.FrontEndManager().load_by_framework("pytorch")
    decoder = decoding.TorchScriptPythonDecoder(graph)
    try:
        model = pytorch.convert(pytorch.load(decoder))
    except frontend.OpConversionFailure as error:
        reason = str(error).strip().splitlines()[-1]
        kind = teacher.network.config.model_type
        raise ValueError(
            f"depth.backend is openvino, which cannot run a {kind} ({reason}), expected torch"
        ) from error
    model.reshape(list(image.shape))
    return model
