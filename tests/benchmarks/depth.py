"""What the depth stage costs beside its network: ``python -m tests.benchmarks.depth``.

Weights are random. Every run is a process of its own, so that its memory is its own; network,
matrix product and stage alternate within it, since the machine may be noisy. The last line is
JSON: ``stage_to_network`` (windows a second of the whole stage over those of the bare network at
the same precision and batch), ``share_of_peak`` (GFLOP/s of the network over those of a matrix
product), ``rss_growth`` (peak memory at the largest size over that at the smallest).
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from tests.benchmarks.machine import machine

WIDTHS = {
    "S": (384, 12, 6, [3, 6, 9, 12], [48, 96, 192, 384], 64),
    "B": (768, 12, 12, [3, 6, 9, 12], [96, 192, 384, 768], 128),
    "L": (1024, 24, 16, [5, 12, 18, 24], [256, 512, 1024, 1024], 256),
}
"""Depth Anything V2's width, blocks, heads, taps, neck and fusion."""

WINDOW = 518


def architecture(letter: str) -> dict:
    """Return the transformers config of a Depth Anything V2."""
    width, blocks, heads, taps, neck, fusion = WIDTHS[letter]
    backbone = {
        "model_type": "dinov2",
        "hidden_size": width,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "patch_size": 14,
        "image_size": WINDOW,
        "out_indices": taps,
        "reshape_hidden_states": False,
        "apply_layernorm": True,
    }
    return {
        "backbone_config": backbone,
        # wide enough that random weights give more than a constant
        "initializer_range": 0.05,
        "patch_size": 14,
        "reassemble_hidden_size": width,
        "neck_hidden_sizes": neck,
        "fusion_hidden_size": fusion,
        "head_hidden_size": 32,
    }


def main() -> None:
    """Measure every size and network that was asked for, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=["S"], choices=WIDTHS)
    parser.add_argument("--sizes", nargs="+", type=int, default=[2048, 4096, 8192])
    parser.add_argument("--backend", default="torch", choices=["torch", "openvino"])
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--one", nargs=2, metavar=("NETWORK", "SIZE"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(_measure(asked.one[0], int(asked.one[1]), asked)))
        return
    rows = []
    for network in asked.networks:
        for size in asked.sizes:
            again = [sys.executable, "-m", "tests.benchmarks.depth", *sys.argv[1:]]
            done = subprocess.run(
                [*again, "--one", network, str(size)], stdout=subprocess.PIPE, check=True
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), file=sys.stderr)
    print(json.dumps(_summary(rows) | {"runs": rows, "machine": machine()}))


def _summary(rows: list[dict]) -> dict:
    first = [row for row in rows if row["network"] == rows[0]["network"]]
    peaks = {row["size"]: row["peak_rss_gb"] for row in first}
    stages = {f"{row['network']} {row['size']}": row["stage_to_network"] for row in rows}
    return {
        "stage_to_network": stages,
        "rss_growth": round(peaks[max(peaks)] / peaks[min(peaks)], 3),
        "share_of_peak": max(row["share_of_peak"] for row in rows),
    }


def _measure(network: str, size: int, asked: argparse.Namespace) -> dict:
    from pipeline_steps import depth

    params = depth.Params(
        backend=asked.backend,
        precision=asked.precision,
        batch=asked.batch,
        compile=asked.compile,
        window=WINDOW,
    )
    with tempfile.TemporaryDirectory() as folder:
        teacher, scene, stretch = _study(Path(folder), network, size)
        out = Path(folder) / "teacher" / "scene"
        speeds, peaks, stages = [_network(teacher, params)], [_matrix_product(params)], []
        for _ in range(asked.rounds):
            shutil.rmtree(out, ignore_errors=True)
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
                stages.append(other.submit(_stage, teacher, scene, stretch, out, params).result())
            speeds.append(_network(teacher, params))
            peaks.append(_matrix_product(params))
        found = json.loads((out / "quality.json").read_text())["rasters"][0]
    windows = found["windows"] + 1
    rates = [windows / seconds for seconds, _ in stages]
    # the network is timed before and after the stage, so that noise meets both
    around = [(before + after) / 2 for before, after in pairwise(speeds)]
    ratios = [rate / bare for rate, bare in zip(rates, around, strict=True)]
    bare = statistics.median(speeds)
    gflops = bare * _gflop(network)
    return {
        "network": network,
        "size": size,
        "windows": windows,
        "stage_windows_per_s": round(statistics.median(rates), 3),
        "network_windows_per_s": round(bare, 3),
        "stage_to_network": round(statistics.median(ratios), 3),
        "rounds": [round(ratio, 3) for ratio in ratios],
        "gflops": round(gflops),
        "peak_gflops": round(max(peaks)),
        "share_of_peak": round(gflops / max(peaks), 3),
        "peak_rss_gb": round(max(peak for _, peak in stages), 3),
    }


def _stage(
    teacher: Path, scene: Path, stretch: Path, out: Path, params: object
) -> tuple[float, float]:
    """Return the seconds of the stage, and the peak memory of the process that it had to itself."""
    # what a Python process pays once, whatever the scene, is no part of the throughput: imports,
    # those too that transformers puts off
    from transformers.models.depth_anything import modeling_depth_anything  # noqa: F401
    from transformers.models.dinov2 import modeling_dinov2  # noqa: F401

    from pipeline_steps import depth
    from pipeline_steps.models import runner  # noqa: F401

    files = [out / name for name in ("depth.zarr", "quality.json", "manifest.json")]
    begin = time.perf_counter()
    depth.run(teacher, scene, stretch, *files, params)
    return time.perf_counter() - begin, _peak_gb()


def _peak_gb() -> float:
    """Return the most memory this process had; its own, where getrusage starts at its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**20


def _study(folder: Path, network: str, size: int) -> tuple[Path, Path, Path]:
    """Write random weights and a scene of noise with relief; return the three manifests."""
    from pipeline_steps import fetch, stretch
    from pipeline_steps.rasters.writing import write_raster
    from pipeline_steps.study.params.fetch import Model
    from tests.data.tiling import tile_scene, utm_grid

    names = ("config.json", "model.safetensors", "preprocessor_config.json", "manifest.json")
    files = [folder / "model" / name for name in names]
    fetch.run(network, *files, Model(architecture=architecture(network)))
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (3, size // 16, size // 16), np.uint8)
    image = coarse.repeat(16, axis=1).repeat(16, axis=2)
    # a corner without data, and heights to compare with, as real scenes have them
    image[:, : size // 8, : size // 8] = 0
    height = image[:1].astype(np.float32) / 10
    grid = utm_grid(size, size, 0.5)
    write_raster(folder / "image.tif", image, grid, photometric="RGB")
    write_raster(folder / "elevation.tif", height, grid)
    layers = {"image": "image.tif", "elevation": "elevation.tif"}
    scene, stretched = tile_scene(folder, nodata=0, **layers), folder / "stretch.json"
    stretch.run([scene], [], stretched, stretch.Params())
    return files[-1], scene, stretched


def _network(teacher: Path, params: object, rounds: int = 4) -> float:
    """Return windows a second of the bare network, on batches that lie in memory."""
    from pipeline_steps.models.runner import runner

    p = params
    how = (p.precision, p.backend, p.batch, p.compile, p.turns)
    running = runner(teacher.parent, None, 1.0, *how)
    pixels = np.random.default_rng(0).random((p.batch, 3, WINDOW, WINDOW), np.float32)
    running(pixels)()
    speeds = []
    for _ in range(rounds):
        begin = time.perf_counter()
        # two in flight, as in the stage
        waiting = [running(pixels), running(pixels)]
        for wait in waiting:
            wait()
        speeds.append(2 * p.batch / (time.perf_counter() - begin))
    return statistics.median(speeds)


def _matrix_product(params: object) -> float:
    """Return GFLOP/s of a product of square matrices at the network's precision."""
    import torch

    from pipeline_steps.models.device import autocast, pick_device

    device = pick_device()
    n = 8192 if device.type == "cuda" else 2048
    with autocast(device, params.precision):
        kind = (
            torch.get_autocast_dtype(device.type)
            if torch.is_autocast_enabled(device.type)
            else torch.float32
        )
    a = torch.randn(n, n, device=device).to(kind)
    best = 0.0
    for _ in range(8):
        begin = time.perf_counter()
        for _ in range(3):
            b = a @ a
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = max(best, 3 * 2 * n**3 / (time.perf_counter() - begin) / 1e9)
    del b
    return best


def _gflop(network: str) -> float:
    """Return the arithmetic of one window, as torch counts it: a product and a sum are two."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from pipeline_steps.models.teacher import draw_teacher

    net = draw_teacher(architecture(network), 0)
    # torch counts no fused attention
    net.set_attn_implementation("eager")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, WINDOW, WINDOW))
    return counter.get_total_flops() / 1e9


if __name__ == "__main__":
    main()
