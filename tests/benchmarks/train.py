"""What training costs beside its network: ``python -m tests.benchmarks.train``.

Weights are random, and every network has a process of its own. In it our loop, a plain PyTorch loop
over the same network, crops and loader, our loop on cached features, and its bound, the same steps
on features that lie in memory already, alternate, since the machine may be noisy. The last line is
JSON: ``cached_to_bound`` (crops a second with the cache over those that the arithmetic without the
encoder allows), ``uncached_to_plain`` (crops a second over the plain loop's), ``waiting_share`` (of
our loop's time, waiting for data), ``zarr_to_geotiff`` (crops a second read from our stores over
those read from the GeoTIFF with rasterio).

``forge-<size>`` is DepthForge with both encoders of that size, of which what is cached is what the
depth encoder says, and ``forge-<size>-again`` the same with gradient checkpointing. ``forge`` has
their seconds a step, ``encoders_share`` (of these, what the two bare encoders take: forward, and
back through the visual one) and the peak of memory in GB, of the device or else of the process.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.shutil
import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from pipeline_steps.models import depthforge, depthseg
from pipeline_steps.models.device import autocast
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.store import tiled
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.classes import IGNORE, ClassCode
from pipeline_steps.study.manifest import read_manifest
from pipeline_steps.study.params.network import DepthForge, DepthSeg
from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.crops import Crops, Drawing, batches
from pipeline_steps.training.fabric import new_fabric
from pipeline_steps.training.features import features_of
from pipeline_steps.training.layers import layers_of
from pipeline_steps.training.loop import Recipe, Training
from pipeline_steps.training.objective import Objective
from pipeline_steps.training.optimiser import adamw
from tests.benchmarks.machine import machine
from tests.data.tiling import tile_scene, utm_grid

CLASSES, CROP, SIZE = 7, 512, 2048
"""A crop of 512 pixels is seen by a ViT of patch 14 as 448."""


def main() -> None:
    """Measure every network that was asked for, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    forge = [f"forge-{size}{again}" for size in ("small", "large") for again in ("", "-again")]
    parser.add_argument("--networks", nargs="+", default=["small", "large", *forge])
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--steps", type=int, default=3, help="of each kind in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(_loader() if asked.one == "loader" else _measure(asked.one, asked)))
        return
    rows = []
    for one in [*asked.networks, "loader"]:
        again = [sys.executable, "-m", "tests.benchmarks.train", *sys.argv[1:], "--one", one]
        done = subprocess.run(again, stdout=subprocess.PIPE, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(rows[-1]), file=sys.stderr)
    *networks, loader = rows
    keys = ("cached_to_bound", "uncached_to_plain", "waiting_share")
    found = {key: {r["network"]: r[key] for r in networks if key in r} for key in keys}
    found["forge"] = {row["network"]: row["forge"] for row in networks if "forge" in row}
    runs = {"runs": rows, "machine": machine()}
    print(json.dumps(found | {"zarr_to_geotiff": loader["zarr_to_geotiff"]} | runs))


class _Study:
    """One scene of noise, tiled, and the crops of its image, labels and elevation."""

    def __init__(self, folder: Path) -> None:
        rng, grid = np.random.default_rng(0), utm_grid(SIZE, SIZE, 0.5)
        image = rng.integers(0, 255, (3, SIZE // 8, SIZE // 8), np.uint8)
        image = image.repeat(8, axis=1).repeat(8, axis=2)
        self.files = {name: folder / f"{name}.tif" for name in ("image", "labels", "elevation")}
        write_raster(self.files["image"], image, grid, photometric="RGB")
        write_raster(self.files["labels"], (image[:1] // 37).astype(np.uint8), grid)
        write_raster(self.files["elevation"], image[:1].astype(np.float32) / 255, grid)
        names = {name: file.name for name, file in self.files.items()}
        # as imagery is delivered: GDAL's own choice of blocks and compression
        self.delivered = {name: folder / f"{name}_cog.tif" for name in self.files}
        for name, file in self.files.items():
            rasterio.shutil.copy(file, self.delivered[name], driver="COG")
        codes = [ClassCode(name=str(value), value=value) for value in range(CLASSES)]
        self.manifest = tile_scene(folder, classes=codes, **names)
        self.folder = folder

    def crops(self, steps: int, batch: int, hold: bool = True, **more: Any) -> Crops:
        scenes = tiled([self.manifest], [], read_manifest)
        heights = [self.manifest.parent / "elevation.zarr"]
        rasters = layers_of(scenes, heights, None, ("train", None), IGNORE)
        drawing, turns = Drawing(positions="grid"), Augmentation(turns=True)
        return Crops(rasters, CROP, steps * batch, 0, turns, IGNORE, hold, drawing, **more)


class _Waiting:
    """Data, and the seconds that it was waited for."""

    def __init__(self, data: Any) -> None:
        self.data, self.seconds = data, 0.0

    def __iter__(self) -> Iterator[Any]:
        iterator = iter(self.data)
        while True:
            begin = time.perf_counter()
            batch = next(iterator, None)
            self.seconds += time.perf_counter() - begin
            if batch is None:
                return
            yield batch


class _Bench:
    """One network, trained in four ways for a few steps each time."""

    def __init__(self, study: _Study, name: str, asked: argparse.Namespace) -> None:
        self.study, self.asked = study, asked
        self.fabric = new_fabric(asked.precision)
        torch.manual_seed(0)
        self.is_forge = name.startswith("forge-")
        self.network = _forge(name) if self.is_forge else _depthseg(name)
        self.objective = Objective(IGNORE)
        self.network = self.network.to(self.fabric.device, memory_format=torch.channels_last)
        self.waited: list[float] = []
        self.features: Any = None
        if not self.is_forge:
            crops = study.crops(asked.steps, asked.batch)
            folder = study.folder / "features"
            how = (folder, 2, self.fabric, lambda work, _: work)
            self.features = features_of(crops, self.network.constant, *how)

    def ours(self, **more: Any) -> float:
        """Return crops a second of our loop, as ``train`` runs it."""
        waiting = _Waiting(self._data(**more))
        seconds = self._trained(waiting)
        if not more:
            self.waited.append(waiting.seconds / seconds)
        return self._rate(seconds)

    def cached(self) -> float:
        """Return crops a second of our loop on features that lie on disk."""
        return self.ours(features=self.features)

    def bound(self) -> float:
        """Return crops a second of the same steps on features that lie in memory already."""
        held = [self.fabric.to_device(batch) for batch in self._data(features=self.features)]
        return self._rate(self._trained(held))

    def plain(self) -> float:
        """Return crops a second of the loop that everyone writes."""
        network, device = self.network, self.fabric.device
        network.train()
        optimiser = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], 1e-4)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0)
        trained = [p for p in network.parameters() if p.requires_grad]
        data = self._data()
        is_deterministic = torch.are_deterministic_algorithms_enabled()
        torch.use_deterministic_algorithms(False)
        begin = self._now()
        for batch in data:
            batch = {key: value.to(device, non_blocking=True) for key, value in batch.items()}
            with autocast(device, self.asked.precision):
                said = network(batch["image"].to(memory_format=torch.channels_last))
            loss = self.objective(lambda *_, said=said: said, batch)["loss"]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimiser.step()
            schedule.step()
        seconds = self._now() - begin
        torch.use_deterministic_algorithms(is_deterministic, warn_only=True)
        return self._rate(seconds)

    def encoders(self) -> float:
        """Return crops a second of DepthForge's two encoders without anything that it adds."""
        network, device = self.network, self.fabric.device
        kept = [(block, dict(block._forward_hooks)) for block in network.encoder.vit.blocks]
        for block, _ in kept:
            block._forward_hooks.clear()
        data = self._data()
        begin = self._now()
        for batch in data:
            image = batch["image"].to(device).to(memory_format=torch.channels_last)
            with autocast(device, self.asked.precision):
                network.constant(image)
                taps = network.encoder(image.requires_grad_())
            sum(tap.float().square().mean() for tap in taps).backward()
        seconds = self._now() - begin
        for block, hooks in kept:
            block._forward_hooks.update(hooks)
        return self._rate(seconds)

    def _data(self, **more: Any) -> Any:
        hold = self.asked.workers == 0
        crops = self.study.crops(self.asked.steps, self.asked.batch, hold, **more)
        pin = self.fabric.device.type == "cuda"
        return batches(crops, self.asked.batch, self.asked.workers, pin)

    def _trained(self, data: Any) -> float:
        optimiser = adamw(self.network, 1e-4, 0.01)
        recipe = Recipe(lambda _: 1.0, 1.0, report_every=50)
        training = Training(self.fabric, self.network, optimiser, self.objective, recipe)
        begin = self._now()
        training.run(data, self.asked.steps)
        return self._now() - begin

    def _now(self) -> float:
        if self.fabric.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def _rate(self, seconds: float) -> float:
        return self.asked.steps * self.asked.batch / seconds


def _depthseg(name: str) -> torch.nn.Module:
    settings = DepthSeg().model_dump(mode="json")
    settings["encoder"]["name"] = f"vit_{name}_patch14_dinov2.lvd142m"
    return depthseg.build(CLASSES, None, settings)


def _forge(name: str) -> torch.nn.Module:
    """Return DepthForge as published, but for its size."""
    _, size, *again = name.split("-")
    settings = DepthForge(checkpointing=bool(again)).model_dump(mode="json")
    settings["encoder"]["name"] = f"vit_{size}_patch14_dinov2.lvd142m"
    # what the encoder of Depth Anything V2 is
    mean, std = IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
    settings["depth_encoder"] = {"name": settings["encoder"]["name"], "mean": mean, "std": std}
    return depthforge.build(CLASSES, None, settings)


def _peak_gb() -> float:
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def _measure(name: str, asked: argparse.Namespace) -> dict[str, Any]:
    """Return the crops a second of all kinds, in turn, round by round."""
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(_Study(Path(folder)), name, asked)
        more = ("encoders",) if bench.is_forge else ("cached", "bound")
        kinds: dict[str, Callable[[], float]] = {
            kind: getattr(bench, kind) for kind in ("ours", "plain", *more)
        }
        for kind in kinds.values():
            kind()
        bench.waited.clear()
        rounds = [{key: kind() for key, kind in kinds.items()} for _ in range(asked.rounds)]
        share = statistics.median(bench.waited)

    def ratio(one: str, other: str) -> float:
        return round(statistics.median(row[one] / row[other] for row in rounds), 3)

    rates = {key: round(statistics.median(r[key] for r in rounds), 3) for key in kinds}
    found = {
        "network": name,
        "crops_per_s": rates,
        "uncached_to_plain": ratio("ours", "plain"),
        "waiting_share": round(share, 4),
        "rounds": [{key: round(rate, 3) for key, rate in row.items()} for row in rounds],
        "peak_gb": round(_peak_gb(), 2),
    }
    if bench.is_forge:
        found["forge"] = {
            "step_s": round(asked.batch / rates["ours"], 2),
            "encoders_share": ratio("ours", "encoders"),
            "peak_gb": found["peak_gb"],
        }
        return found
    both = {"cached_to_bound": ("cached", "bound"), "cached_to_uncached": ("cached", "ours")}
    return found | {key: ratio(*pair) for key, pair in both.items()}


def _loader(count: int = 60, rounds: int = 5) -> dict[str, Any]:
    """Return crops a second from our stores, and of the same windows from GeoTIFFs by rasterio.

    Once neither side keeps what it has unpacked, and once both do: the training its rasters in
    memory, GDAL its blocks.
    """
    with tempfile.TemporaryDirectory() as folder:
        study = _Study(Path(folder))
        found = []
        for _ in range(rounds):
            row = {}
            for kind, hold in (("unpacked", False), ("held", True)):
                crops = study.crops(count, 1, hold)
                places = [crops.place(number) for number in range(count)]
                row[f"zarr_{kind}"] = count / _seconds(lambda i, crops=crops: crops[i], count)
                with (
                    # megabytes; by default a twentieth of the memory
                    rasterio.Env(**({} if hold else {"GDAL_CACHEMAX": 1})),
                    raster.opened(study.delivered["image"]) as image,
                    raster.opened(study.delivered["labels"]) as labels,
                    raster.opened(study.delivered["elevation"]) as elevation,
                ):

                    def read(number: int) -> None:
                        window = places[number].window  # noqa: B023
                        torch.from_numpy(raster.read(image, window, [1, 2, 3])).float().div_(255)
                        torch.from_numpy(raster.read(labels, window, 1)).long()
                        torch.from_numpy(raster.read(elevation, window, 1)).float()

                    if hold:
                        _seconds(read, count)
                    row[f"geotiff_{kind}"] = count / _seconds(read, count)
            found.append({key: round(rate, 1) for key, rate in row.items()})

    def ratio(kind: str) -> float:
        ratios = [row[f"zarr_{kind}"] / row[f"geotiff_{kind}"] for row in found]
        return round(statistics.median(ratios), 3)

    return {"zarr_to_geotiff": ratio("unpacked"), "held_to_cached": ratio("held"), "rounds": found}


def _seconds(read: Callable[[int], object], count: int) -> float:
    begin = time.perf_counter()
    for number in range(count):
        read(number)
    return time.perf_counter() - begin


if __name__ == "__main__":
    main()
