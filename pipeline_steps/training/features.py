"""What a frozen encoder says of the crops of a grid, computed once and kept on disk."""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from pipeline_steps.rasters.store import new_items, open_array
from pipeline_steps.training.crops import Crops

log = logging.getLogger(__name__)

Encoding = Callable[[torch.Tensor], list[torch.Tensor]]
"""Maps [B, C, h, w] of images [B, bands, H, W], the same however long is trained."""

Shown = Callable[[Iterable[Any], int], Iterable[Any]]
"""Passes on work of so many steps, and shows how far it is."""


def features_of(
    crops: Crops, encoder: Encoding, folder: Path, batch: int, fabric: Fabric, shown: Shown
) -> Any:
    """Return what ``encoder`` says of every variant that ``crops`` draw, [variants, taps, C, h, w].

    It lies in ``folder`` in float16, and what an earlier call there has done is not done again.
    Variants that are never drawn are 0. Of several devices the first does the work. Raises
    ValueError where a value is too large for float16.
    """
    if fabric.global_rank == 0:
        _fill(crops, encoder, folder, batch, fabric, shown)
    fabric.barrier()
    return open_array(folder / "taps.zarr", 0)


def drawn(crops: Crops) -> list[int]:
    """Return the variants that ``crops`` draw, in the order in which they are needed first."""
    needed: dict[int, None] = {}
    for number in range(len(crops)):
        needed[crops.variant_of(number)] = None
        if len(needed) == crops.variants:
            break
    return list(needed)


@torch.no_grad()
def _fill(
    crops: Crops, encoder: Encoding, folder: Path, batch: int, fabric: Fabric, shown: Shown
) -> None:
    needed, count = drawn(crops), folder / "count"
    folder.mkdir(parents=True, exist_ok=True)
    done = int(count.read_text()) if count.is_file() else 0
    array = open_array(folder / "taps.zarr", 0, "r+") if done else None
    left = [needed[n : n + batch] for n in range(done, len(needed), batch)]
    for some in shown(left, len(left)):
        images = fabric.to_device(torch.stack([crops.image_of(variant) for variant in some]))
        with fabric.autocast():
            taps = torch.stack(encoder(images.contiguous(memory_format=torch.channels_last)), 1)
        values = taps.half().cpu().numpy()
        if not np.isfinite(values).all():
            raise ValueError(
                f"an encoder's feature is {float(taps.abs().max()):.3g}, expected at most 65504,"
                " which float16 can hold; see network.encoder.norm"
            )
        if array is None:
            array = new_items(folder / "taps.zarr", 0, crops.variants, values.shape[1:], "float16")
        for variant, value in zip(some, values, strict=True):
            array[variant] = value
        done += len(some)
        partial = count.with_name("count.partial")
        partial.write_text(str(done))
        partial.replace(count)
    log.info("features: %d of %d crops of the grid", len(needed), crops.variants)
