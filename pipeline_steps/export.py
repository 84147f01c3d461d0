"""Write a trained network for other runtimes, once it says there what it says on torch."""

import contextlib
import json
import logging
from pathlib import Path
from typing import Any

import torch

from pipeline_steps.models.exporting import (
    INPUT,
    OUTPUT,
    difference,
    needed,
    onnx_says,
    openvino_says,
    to_onnx,
    to_openvino,
)
from pipeline_steps.models.mapper import Mapped, load_mapped
from pipeline_steps.study import cli
from pipeline_steps.study.bundles import Bundle, read_bundle
from pipeline_steps.study.manifest import write_manifest
from pipeline_steps.study.params.export import Params
from pipeline_steps.study.publish import begun, release, remove

log = logging.getLogger(__name__)

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
"""What writes and runs ONNX; none of them is needed elsewhere."""

MOST = 1e-3
"""By how much a probability may differ from torch's, in single precision."""


def run(model: Path, files: list[Path], manifest: Path, params: Params) -> None:
    """Write the ``files`` of a bundle's network: ONNX, and OpenVINO's two if they are asked for.

    ``model`` is the bundle's file. Raises ValueError where a network says something else there.
    """
    bundle, weights = read_bundle(model), model.with_name("model.safetensors")
    packages = [*PACKAGES, *(["openvino"] if params.openvino else [])]
    versions = {name: needed(name).__version__ for name in packages}
    settings = (bundle.network, len(bundle.classes), bundle.depth_control)
    network = load_mapped(weights, *settings, depth=False)
    window = params.window or bundle.predict.window
    facts = _facts(bundle, network, window)
    seen = torch.rand(2, len(facts["input"]["bands"]), window, window, generator=_generator())
    with contextlib.ExitStack() as stack:
        work = begun(manifest.with_name("work.partial"), None)
        stack.callback(remove, work)
        differences = _export(network, seen, facts, work, params)
        write_manifest(
            manifest,
            "pipeline_steps.export",
            f"pipeline_steps.models.{bundle.network['model']}",
            params=params,
            made_from=(model, weights),
            made=files,
            work=work,
            versions_beside=versions,
            difference=differences,
            **facts,
        )
        release(work, *files, manifest)
    log.info("%s: %s, at most %s from torch", bundle.name, manifest.parent, differences)


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def _export(
    network: Mapped, seen: torch.Tensor, facts: dict[str, Any], folder: Path, params: Params
) -> dict[str, float]:
    """Write into ``folder``; return the largest difference of probabilities by runtime."""
    onnx, openvino = folder / "model.onnx", folder / "model.xml"
    to_onnx(network, seen, {key: json.dumps(value) for key, value in facts.items()}, onnx)
    found = {"onnx": difference(network, onnx_says(onnx), seen)}
    if params.openvino:
        to_openvino(onnx, openvino)
        found["openvino"] = difference(network, openvino_says(openvino), seen)
    for runtime, most in found.items():
        # what is no number differs too
        if not most <= MOST:
            raise ValueError(
                f"{facts['name']}: probabilities in {runtime} differ by {most:.2g} from torch's,"
                f" expected {MOST} at most"
            )
    return found


def _facts(bundle: Bundle, network: Mapped, window: int) -> dict[str, Any]:
    """Return what whoever runs the network must know: what goes in, and what comes out."""
    is_rgb = bundle.network["encoder"]["bands"] == "rgb"
    places = bundle.rgb if is_rgb else range(len(bundle.bands))
    bands = [
        {"band": bundle.bands[place], "zero": bundle.stretch[place][0]}
        | {"one": bundle.stretch[place][1]}
        for place in places
    ]
    if bundle.is_fed:
        bands.append({"depth": "in [0, 1], larger is taller; NaN where it is not known"})
    return {
        "name": bundle.name,
        "input": {"name": INPUT, "shape": ["batch", len(bands), window, window], "bands": bands},
        "output": {"name": OUTPUT, "shape": ["batch", len(bundle.classes), window, window]},
        "classes": [look.model_dump() for look in bundle.classes],
        "gsd": bundle.gsd,
        "licence": bundle.licence,
    }


if __name__ == "__main__":
    cli.main(run)
