"""Networks as ONNX and OpenVINO have them, compared with what torch says."""

import importlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from pipeline_steps.models.mapper import Mapped
from pipeline_steps.models.openvino_runner import import_openvino

OPSET = 18
"""The first with a Resize that looks at all pixels where it makes an image smaller."""

INPUT, OUTPUT = "image", "probabilities"

LARGEST = 2_000_000_000
"""Bytes that one ONNX file can hold."""

Said = Callable[[np.ndarray], np.ndarray]
"""What an exported network says of images."""


def needed(name: str) -> ModuleType:
    """Return an optional package; raises ValueError that says how to install it."""
    if importlib.util.find_spec(name) is None:
        extra = "openvino" if name == "openvino" else "export"
        raise ValueError(
            f'export needs {name}, which is not installed: pip install "depthseg[{extra}]"'
        )
    return import_openvino() if name == "openvino" else importlib.import_module(name)


def to_onnx(network: Mapped, seen: torch.Tensor, told: Mapping[str, str], path: Path) -> None:
    """Write a network for images of the height and width of ``seen`` [2, bands, H, W].

    Batches may have any length. ``told`` is kept in the file as metadata. Raises ValueError where
    the network is larger than such a file can be.
    """
    size = sum(value.nbytes for value in network.state_dict().values())
    if size > LARGEST:
        raise ValueError(f"weights are {size / 1e9:.1f} GB, expected 2 GB or less for ONNX")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # it takes a module for one in training where a frozen encoder does not follow
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network.requires_grad_(False).eval(),
            (seen,),
            dynamo=True,
            opset_version=OPSET,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    for node in program.model.graph.all_nodes():
        # where on this machine the code of each lies
        node.metadata_props.clear()
    program.model.metadata_props.update(told)
    program.save(path, external_data=False)


def to_openvino(onnx: Path, path: Path) -> None:
    """Write the network of an ONNX file in OpenVINO's format: ``path``, and ``.bin`` beside it."""
    openvino = needed("openvino")
    openvino.save_model(openvino.convert_model(onnx), path, compress_to_fp16=False)


def onnx_says(path: Path) -> Said:
    """Return what runs an ONNX file."""
    runtime = needed("onnxruntime")
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {INPUT: images})[0]


def openvino_says(path: Path) -> Said:
    """Return what runs a file of OpenVINO in single precision."""
    core = needed("openvino").Core()
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: compiled(images)[0]


@torch.inference_mode()
def difference(network: Mapped, says: Said, seen: torch.Tensor) -> float:
    """Return by how much probabilities differ at most, one image at a time and all at once."""
    found = [
        np.abs(says(images.numpy()) - network(images).numpy()).max() for images in (seen[:1], seen)
    ]
    return float(max(found))
