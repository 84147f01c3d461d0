"""Compare prediction of whole rasters with its peers: ``python -m tests.benchmarks.predict``.

Contestants are ours, torchgeo, MONAI, Raster Vision, a naive loop with rasterio, and that loop
without overlap, which shows what blending costs and is no peer. Each run is a process of its own;
rounds go through all contestants, since the machine may be noisy, and ratios are taken within a
round and their median is reported. What is fair:

- the same image (8 bits, three bands, deflate, 512-pixel blocks, in the page cache), the same
  network object and weights, windows (clamped, never hanging over the edge), batch, arithmetic,
  threads and block cache of GDAL;
- the same output: class and confidence (per cent) as cloud-optimised GeoTIFFs, deflate, overviews.
  No peer writes that, so theirs come from sums by the kindest way we know (``peers/writing.py``);
- pixels come to the network as float32 in [0, 1], each contestant's own way; blending is its own;
- CPU seconds are user and system, of all threads and children, from the opening of the image until
  all is closed. ``overhead_s`` is without the network, whose seconds for as many windows are
  measured apart in the same round (``bare``). ``work_rss_gb`` is peak memory beyond that after
  imports.

Ours reads a scene that the stage ``tile`` has made once for all later stages: ``tile`` has a row of
its own, and keys with ``with_tile`` charge it all to this one prediction.

Networks are ``stub``, pure overhead, ``edge``, the stub that is wrong at its window's edge, and
``dinov2``, DINOv2-S. ``--forge`` runs DepthForge, which no peer has, through ours alone, in
windows of 512 pixels. The last line is JSON: ``rss_to_best_peer`` (beyond imports) and
``overhead_to_best_peer`` of the stub, ``throughput_to_network`` and ``throughput_to_best_peer`` of
DINOv2-S (of the stub where that was not run), each at the largest size that a peer has run too;
``seam`` of ours by network, at the largest size of each; and ``rss_growth``, the whole memory of
ours at the largest size of ``--alone`` over that at the largest of ``--stub``. ``forge`` has for
each of DepthForge's sizes windows a second, ours over the bare network's (``to_network``), the
share of ours that the two bare encoders take (``encoders_share``) and its memory. A number is null
where nothing was run that gives it. ``by_case`` has the ratios of every network and size, and names
the best peer of each; ``runs`` has every run.
"""

import argparse
import json
import logging
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks.environments import peers_python, run
from tests.benchmarks.figures import markdown, summary, write_markdown
from tests.benchmarks.machine import machine
from tests.benchmarks.peers.measuring import Job
from tests.benchmarks.peers.networks import write_weights
from tests.benchmarks.seams import agreement, seams
from tests.benchmarks.tile import make_orthophoto, read_once

log = logging.getLogger(__name__)

FORGE = ("small", "large")
CONTESTANTS = ("ours", "torchgeo", "monai", "rastervision", "naive", "no-overlap")


def main() -> None:
    """Run all cases; a table goes to stderr, the figures to stdout as one JSON object."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    asked = _asked()
    if {"torchgeo", "monai", "rastervision"} & set(asked.contestants):
        peers_python(asked.peers)
    sizes = {name: getattr(asked, name) for name in ("stub", "edge", "dinov2")}
    rows = []
    for network, size in [(name, size) for name in sizes for size in sizes[name]]:
        rows += _case(network, size, asked.contestants, asked.rounds, asked)
    for size in asked.alone:
        rows += _case("stub", size, ["ours"], 1, asked)
    pairs = [(name, size) for size in asked.forge for name in asked.encoders]
    forge = {f"{name} {size}": _forge(name, size, asked) for name, size in pairs}
    if rows:
        print(markdown(rows), file=sys.stderr)
    found = summary(rows) if rows else {}
    found |= {"forge": forge, "runs": rows, "machine": machine()}
    if asked.markdown:
        write_markdown(asked.markdown, found)
    print(json.dumps(found))


def _asked() -> argparse.Namespace:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    gpu = torch.cuda.is_available()
    both = [2048, 8192]
    add = parser.add_argument
    add("--stub", nargs="*", type=int, default=both, metavar="SIZE")
    add("--edge", nargs="*", type=int, default=both[:1], metavar="SIZE")
    add("--dinov2", nargs="*", type=int, default=both if gpu else both[:1], metavar="SIZE")
    add("--alone", nargs="*", type=int, default=[32768], metavar="SIZE", help="ours, with the stub")
    add("--forge", nargs="*", type=int, default=[], metavar="SIZE", help="DepthForge, ours alone")
    add("--encoders", nargs="+", default=list(FORGE), choices=FORGE, help="of DepthForge")
    add("--contestants", nargs="+", default=list(CONTESTANTS), choices=CONTESTANTS)
    add("--rounds", type=int, default=3)
    add("--window", type=int, default=518)
    add("--overlap", type=int, default=104, help="pixels")
    add("--batch", type=int, default=4)
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--precision", default="bf16" if gpu else "fp32", choices=["fp32", "bf16"])
    add(
        "--peers", type=Path, default=Path(".venv-peers"), help="their environment; made if missing"
    )
    add("--work", type=Path, help="where rasters and maps lie; by default a temporary folder")
    add("--markdown", type=Path, help="write the table there, into the marked place if it has one")
    return parser.parse_args()


def _case(
    network: str, size: int, contestants: list[str], rounds: int, asked: argparse.Namespace
) -> list[dict[str, Any]]:
    """Run every contestant so often, on one image with one network."""
    rows = []
    with tempfile.TemporaryDirectory(dir=asked.work) as name:
        folder = Path(name)
        image, weights = folder / "image.tif", folder / "weights.safetensors"
        # coordinates that are exact: torchgeo's windows are coordinates
        make_orthophoto(image, "deflate", size, gsd=0.25)
        write_weights(str(weights), network, asked.window)
        for number in range(rounds):
            # whoever is last meets a warmer machine: turn by turn
            turn = contestants[::-1] if number % 2 else contestants
            for contestant in ["bare", *(["tile"] if "ours" in turn else []), *turn]:
                job = _job(contestant, folder, network, asked)
                shutil.rmtree(job.out, ignore_errors=True)
                if contestant == "tile":
                    shutil.rmtree(Path(job.tiled).parent, ignore_errors=True)
                read_once(image)
                script = "naive" if contestant == "no-overlap" else contestant
                took = run(script, job, asked.peers)
                row = {"network": network, "size": size, "contestant": contestant} | took
                if contestant in contestants:
                    row["windows"] = len(job.corners(size, size))
                rows.append(row | {"round": number})
                log.info("%s", json.dumps(rows[-1]))
        _compare([row for row in rows if row["round"] == 0], folder, asked)
    return rows


def _forge(name: str, size: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Return what DepthForge takes, beside itself and beside its encoders alone."""
    # what its head needs: a multiple of 32
    asked = argparse.Namespace(**vars(asked) | {"window": 512, "contestants": ["ours"]})
    rows = _case(f"forge-{name}", size, ["ours"], asked.rounds, asked)
    encoders = _case(f"encoders-{name}", size, [], asked.rounds, asked)
    took = {row["round"]: row for row in rows if row["contestant"] == "ours"}
    bare = {row["round"]: row for row in rows if row["contestant"] == "bare"}
    alone = {row["round"]: row for row in encoders}

    def middle(values: Iterable[float]) -> float:
        return round(statistics.median(values), 3)

    rates, own, parts = (
        {n: row["windows"] / row["seconds"] for n, row in some.items()}
        for some in (took, bare, alone)
    )
    return {
        "windows_per_s": middle(rates.values()),
        "to_network": middle(rate / own[n] for n, rate in rates.items()),
        "encoders_share": middle(rate / parts[n] for n, rate in rates.items()),
        "work_rss_gb": middle(row["work_rss_gb"] for row in took.values()),
    }


def _job(contestant: str, folder: Path, network: str, asked: argparse.Namespace) -> Job:
    return Job(
        image=str(folder / "image.tif"),
        tiled=str(folder / "tiled" / "manifest.json"),
        out=str(folder / contestant),
        network=network,
        weights=str(folder / "weights.safetensors"),
        window=asked.window,
        overlap=0 if contestant == "no-overlap" else asked.overlap,
        batch=asked.batch,
        threads=asked.threads,
        precision=asked.precision,
    )


def _compare(rows: list[dict[str, Any]], folder: Path, asked: argparse.Namespace) -> None:
    """Add to the rows of one round how the maps look, and how alike they are."""
    for row in rows:
        made = folder / row["contestant"]
        # maps of the sizes that ours runs alone are not held in memory
        if (made / "classes.tif").is_file() and row["size"] not in asked.alone:
            overlap = 0 if row["contestant"] == "no-overlap" else asked.overlap
            row |= seams(made, asked.window, overlap)
            if (folder / "naive" / "classes.tif").is_file():
                row["agrees_with_naive"] = agreement(made, folder / "naive")


if __name__ == "__main__":
    main()
