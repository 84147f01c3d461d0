"""Zarr stores: one array per raster of a scene, whole shards only; here alone is zarr known."""

from pathlib import Path
from typing import Any

import numpy as np
import zarr

from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.windows import Window

CHUNKS_PER_SHARD = 8
"""Chunks along each side of a shard: a shard is one file."""


def new_array(
    store: Path, index: int, shape: tuple[int, ...], dtype: str, fill: Any, chunk: int
) -> zarr.Array:
    """Create the array of raster ``index`` in ``store``; its last two axes are chunked.

    Constant chunks equal to ``fill`` take no room. Write it in blocks of ``shard_size``.
    """
    group = zarr.open_group(store, mode="a")
    inner = (*shape[:-2], *(min(chunk, -(-length // 16) * 16) for length in shape[-2:]))
    shard = tuple(
        size * min(CHUNKS_PER_SHARD, -(-length // size))
        for size, length in zip(inner, shape, strict=True)
    )
    return group.create_array(
        str(index), shape=shape, dtype=dtype, fill_value=fill, chunks=inner, shards=shard
    )


def shard_size(chunk: int) -> int:
    """Return the height and width of a whole shard, for those who write block by block."""
    return chunk * CHUNKS_PER_SHARD


def open_array(store: Path, index: int) -> zarr.Array:
    """Open the array of raster ``index`` for reading; raises ValueError where it is not there."""
    try:
        return zarr.open_group(store, mode="r")[str(index)]
    except (FileNotFoundError, KeyError) as error:
        raise ValueError(f"{store}: has no array {index}, expected a finished store") from error


def read(array: Any, window: Window) -> np.ndarray:
    """Read a window of a zarr or numpy array over its last two axes, cut off at its edges."""
    return np.asarray(array[(..., *window.slices)])


class Scene:
    """A tiled scene: its manifest, and its arrays by the name of their store.

    ``image`` uint8 [3, H, W]; ``labels`` uint8 [H, W], 255 where there is none; ``valid`` uint8
    [H, W], 1 where the image has data; ``elevation`` float32 [H, W] in metres, NaN where unknown.
    """

    def __init__(self, manifest: Path, facts: dict[str, Any]) -> None:
        self.folder, self.facts = manifest.parent, facts
        self.name: str = facts["scene"]
        self.is_folder: bool = facts["is_folder"]
        self.rasters: list[str] = [raster["name"] for raster in facts["rasters"]]

    def grid(self, index: int) -> Grid:
        """Return the size and place of raster ``index``."""
        facts = self.facts["rasters"][index]
        return Grid(facts["height"], facts["width"], facts["crs"], tuple(facts["transform"]))

    def array(self, store: str, index: int) -> zarr.Array:
        """Open one of ``image``, ``labels``, ``valid`` and ``elevation`` of raster ``index``."""
        return open_array(self.folder / f"{store}.zarr", index)
