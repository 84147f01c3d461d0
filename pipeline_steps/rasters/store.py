"""Zarr stores: one array per raster of a scene, whole shards only; here alone is zarr known."""

import contextlib
import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.abc.codec import SupportsSyncCodec
from zarr.codecs import Crc32cCodec, GzipCodec, ZstdCodec
from zarr.core import codec_pipeline
from zarr.registry import register_pipeline

from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.splits import Division, name_of
from pipeline_steps.rasters.views import EIGHT_BIT, Part, Picture, Strips
from pipeline_steps.rasters.windows import Window

Limits = Sequence[Sequence[float]]

CHUNKS_PER_SHARD = 8
"""Chunks along each side of a shard: a shard is one file."""


SMALL_CHUNK = 2**16
"""Bytes that are unpacked sooner than a thread is found for it."""


class _Gzip(GzipCodec):
    """Without the time of day that zarr's own lets Python write: equal work, equal bytes."""

    def _encode_sync(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        packed = zlib.compress(chunk_bytes.as_numpy_array(), self.level, wbits=31)
        return chunk_spec.prototype.buffer.from_bytes(packed)


class _InPlace(codec_pipeline.BatchedCodecPipeline):
    """Unpacks small chunks in turn, where zarr's own starts tasks and a thread for each of them."""

    async def read(self, batch_info: Iterable[Any], out: Any, drop_axes: Any = ()) -> None:
        """Fill ``out`` with chunks, each told by who gets it, its shape, and what goes where."""
        batch = list(batch_info)
        if drop_axes or not (batch and self._is_swift(batch[0][1])):
            await super().read(batch, out, drop_axes)
            return
        for getter, spec, within, place, *_ in batch:
            chunk = await getter.get(spec.prototype)
            if chunk is None:
                out[place] = spec.fill_value
                continue
            for codec in (*self.bytes_bytes_codecs[::-1], self.array_bytes_codec):
                chunk = codec._decode_sync(chunk, spec)
            out[place] = chunk[within]

    def _is_swift(self, spec: Any) -> bool:
        size = math.prod(spec.shape) * spec.dtype.to_native_dtype().itemsize
        is_sync = all(isinstance(codec, SupportsSyncCodec) for codec in self)
        return is_sync and not self.array_array_codecs and size <= SMALL_CHUNK


if not hasattr(codec_pipeline, "FusedCodecPipeline"):
    # later versions of zarr have the like themselves
    register_pipeline(_InPlace)
    zarr.config.set({"codec_pipeline.path": f"{__name__}.{_InPlace.__qualname__}"})

# each with a checksum, as gzip has of itself: without one a flipped bit is another number;
# of deflate's levels 3 takes half the time of 6, for orthophotos about 1 % larger
COMPRESSION = {
    "zstd": ZstdCodec(level=1, checksum=True),
    "deflate": _Gzip(level=3),
    "none": Crc32cCodec(),
}

DAMAGE = (ValueError, KeyError, TypeError, RuntimeError, OSError, EOFError, zlib.error)
"""What zarr and its codecs raise for metadata, indices of shards and chunks that are damaged."""

SEAL = "seal"
"""The attribute of a finished array that says what it is and how large."""


def new_array(
    store: Path,
    index: int,
    shape: tuple[int, ...],
    dtype: str,
    fill: Any,
    chunk: int,
    compression: str = "zstd",
    per_shard: int = CHUNKS_PER_SHARD,
) -> zarr.Array:
    """Create the array of raster ``index`` in ``store``; its last two axes are chunked.

    Constant chunks equal to ``fill`` take no room. Write it in blocks of ``shard_size``, or of
    another number of chunks ``per_shard`` along each side.
    """
    group = zarr.open_group(store, mode="a")
    inner = (*shape[:-2], *(min(chunk, -(-length // 16) * 16) for length in shape[-2:]))
    shard = tuple(
        size * min(per_shard, -(-length // size)) for size, length in zip(inner, shape, strict=True)
    )
    return group.create_array(
        str(index),
        shape=shape,
        dtype=dtype,
        fill_value=fill,
        chunks=inner,
        shards=shard,
        compressors=COMPRESSION[compression],
    )


def new_items(
    store: Path, index: int, count: int, shape: tuple[int, ...], dtype: str
) -> zarr.Array:
    """Create an array [count, *shape] of 0, an item of which is read or written at once, as it is.

    An item is one file, unpacked: features of networks hardly compress.
    """
    group = zarr.open_group(store, mode="a")
    return group.create_array(
        str(index),
        shape=(count, *shape),
        dtype=dtype,
        fill_value=0,
        chunks=(1, *shape),
        compressors=None,
        overwrite=True,
    )


@contextlib.contextmanager
def written(*arrays: zarr.Array) -> Iterator[Callable[..., None]]:
    """Yield a function that takes a window and one block per array, and writes beside the caller.

    ``arrays`` are new, and blocks whole shards, each written once. One block waits at most; what
    fails is raised by the next call, or at the end. Then the arrays are sealed.
    """
    with ThreadPoolExecutor(max_workers=1) as writer:
        pending: list[Future[None]] = []

        def write(window: Window, *blocks: np.ndarray) -> None:
            if pending:
                pending.pop().result()
            pending.append(writer.submit(_write, arrays, window, blocks))

        yield write
        for last in pending:
            last.result()
    for array in arrays:
        seal(array)


def seal(array: zarr.Array) -> None:
    """Say in a finished array what it is.

    To zarr a shard that is gone, or an empty file, is one of constant chunks.

    An array that nothing is written to is all of its fill value.
    """
    array.update_attributes({SEAL: _sealed(array)})


def _sealed(array: zarr.Array) -> dict[str, Any]:
    """Return how many shards an array has and of how many bytes, and a digest of its metadata."""
    facts = {k: v for k, v in array.metadata.to_dict().items() if k != "attributes"}
    text = json.dumps(facts, sort_keys=True, default=str)
    folder = Path(array.store.root, array.path)
    sizes = [os.stat(file).st_size for file in _files(folder / "c")]
    said = hashlib.sha256(text.encode()).hexdigest()[:16]
    return {"shards": len(sizes), "bytes": sum(sizes), "metadata": said}


def _files(folder: Path) -> Iterator[str]:
    for place, _, names in os.walk(folder):
        yield from (os.path.join(place, name) for name in names)


@contextlib.contextmanager
def in_rows(array: zarr.Array) -> Iterator[Callable[[np.ndarray], None]]:
    """Yield a function that takes the next rows [rows, W] of a new array [H, W], top to bottom.

    Whole shards are written, beside the caller. Raises ValueError where the rows are not H.
    """
    height, width = array.shape
    top, held, count = 0, [], 0
    with written(array) as write:

        def add(rows: np.ndarray) -> None:
            nonlocal top, held, count
            if top + count + len(rows) > height:
                raise ValueError(f"rows end at {top + count + len(rows)}, expected {height}")
            while len(rows):
                part = rows[: min(array.shards[0], height - top) - count]
                held, count, rows = [*held, part], count + len(part), rows[len(part) :]
                if count == min(array.shards[0], height - top):
                    write(Window(top, 0, count, width), np.concatenate(held))
                    top, held, count = top + count, [], 0

        yield add
        if top < height:
            raise ValueError(f"rows end at {top + count}, expected {height}")


def _write(arrays: Sequence[zarr.Array], window: Window, blocks: Sequence[np.ndarray]) -> None:
    for array, block in zip(arrays, blocks, strict=True):
        firsts = block[..., :: array.chunks[-2], :: array.chunks[-1]]
        is_fill = _equal(firsts, array.fill_value)
        if is_fill.all() and _equal(block, array.fill_value).all():
            continue
        # zarr looks for constant chunks slowly: not where no chunk so much as begins like one
        config = {"write_empty_chunks": not is_fill.any()}
        array.with_config(config)[(..., *window.slices)] = block


def _equal(values: np.ndarray, fill: Any) -> np.ndarray:
    return np.isnan(values) if np.isnan(fill) else values == fill


def shard_size(chunk: int) -> int:
    """Return the height and width of a whole shard, for those who write block by block."""
    return chunk * CHUNKS_PER_SHARD


class Stored:
    """An array of a store, numpy's way; raises ValueError with its name where it is damaged."""

    def __init__(self, array: zarr.Array, name: str) -> None:
        self._array, self._name = array, name
        self.shape, self.dtype, self.nbytes = array.shape, array.dtype, array.nbytes
        self.chunks, self.shards = array.chunks, array.shards

    def __getitem__(self, selection: Any) -> Any:
        try:
            return self._array[selection]
        except DAMAGE as error:
            raise _damaged(self._name, error) from error

    def __setitem__(self, selection: Any, values: Any) -> None:
        self._array[selection] = values


def _damaged(name: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return ValueError(f"{name}: cannot be read ({reason}), expected it as it was written")


def open_array(store: Path, index: int, mode: Literal["r", "r+"] = "r") -> Stored:
    """Open array ``index``, with ``r+`` for writing.

    Raises ValueError where it is not there, or is sealed and is not what it was.
    """
    name = f"{store}/{index}"
    try:
        array = zarr.open_group(store, mode=mode)[str(index)]
        sealed, found = array.attrs.get(SEAL), _sealed(array)
    except (FileNotFoundError, KeyError) as error:
        raise ValueError(f"{store}: has no array {index}, expected a finished store") from error
    except DAMAGE as error:
        raise _damaged(name, error) from error
    if sealed is not None and found != sealed:
        raise ValueError(f"{name}: is {found}, expected {sealed}, as it was written")
    return Stored(array, name)


def read(array: Any, window: Window) -> np.ndarray:
    """Read a window of a zarr or numpy array over its last two axes, cut off at its edges."""
    return np.asarray(array[(..., *window.slices)])


def rows_of(array: zarr.Array) -> Iterator[np.ndarray]:
    """Yield an array [H, W] from top to bottom, as many rows at a time as shards have."""
    for top in range(0, array.shape[0], array.shards[0]):
        yield array[top : top + array.shards[0], :]


def known(rows: Iterable[np.ndarray], valid: Any | None) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, float32 [rows, W]) of a field, from the top; NaN where it is not valid.

    ``valid`` [H, W] is 1 where the image has data, or None where all of it has.
    """
    top = 0
    for band in rows:
        if valid is not None:
            is_valid = read(valid, Window(top, 0, *band.shape)) > 0
            band = band if is_valid.all() else np.where(is_valid, band, np.float32(np.nan))
        yield top, band
        top += len(band)


class Scene:
    """A tiled scene: its manifest, and its arrays by the name of their store.

    ``image`` [bands, H, W] as the file has it; ``labels`` uint8 [H, W], 255 where there is none;
    ``valid`` uint8 [H, W], 1 where the image has data; ``elevation`` float32 [H, W], metres above
    ground, NaN where unknown. ``divided`` is the manifest of its division, if it has one.
    """

    def __init__(
        self, manifest: Path, facts: dict[str, Any], divided: dict[str, Any] | None = None
    ) -> None:
        self.folder, self.facts, self.divided = manifest.parent, facts, divided
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

    def valid(self, index: int) -> zarr.Array | None:
        """Open what is 1 where raster ``index`` has data, or None where all of it has."""
        grid, count = self.grid(index), self.facts["rasters"][index]["valid_pixels"]
        return None if count == grid.height * grid.width else self.array("valid", index)

    def sampled(self, store: str, index: int, step: int, fill: float) -> np.ndarray:
        """Read every ``step``-th row and column of a layer; all ``fill`` where there is none."""
        grid = self.grid(index)
        if self.facts[f"has_{store}"]:
            return self.array(store, index)[::step, ::step]
        return np.full((-(-grid.height // step), -(-grid.width // step)), fill)

    def division(self, index: int) -> Division | None:
        """Return how raster ``index`` is divided."""
        if self.divided is None:
            return None
        grid, facts = self.grid(index), self.divided["rasters"][index]
        folds = self.divided["folds"]
        return Division(grid.height, grid.width, facts["codes"], facts["reach"], folds)

    def within(self, array: Any, index: int, part: str, fold: int | None, fill: float) -> Any:
        """Return ``array``, [H, W], or if the scene is divided ``fill`` outside a part."""
        division = self.division(index)
        return array if division is None else Part(array, division, part, fold, fill)

    def label_counts(self, part: str, fold: int | None) -> list[int]:
        """Return labelled pixels of every class, in one part if the scene is divided."""
        if self.divided is None:
            return self.facts["label_counts"]
        folds = self.divided["folds"]
        return self.divided["label_counts"][name_of(part, None if folds is None else fold)]

    def limits(self, stated: Limits | None) -> list[list[float]]:
        """Return what becomes 0 and 1 in each band, from what the study's stretch says.

        Raises ValueError where it says nothing and the image is not of 8 bits, or where it is of
        another number of bands.
        """
        bands, dtype = len(self.facts["bands"]), self.facts["dtype"]
        if stated is None and dtype != "uint8":
            raise ValueError(
                f"{self.folder / 'manifest.json'}: image is {dtype}, expected stretch.percentiles"
                " or stretch.limits, since only 8 bits have limits of their own"
            )
        pairs = [list(pair) for pair in stated or [EIGHT_BIT]]
        pairs *= bands if len(pairs) == 1 else 1
        if len(pairs) != bands:
            raise ValueError(
                f"{self.folder / 'manifest.json'}: image has {bands} bands, expected {len(pairs)},"
                " as many as are stretched"
            )
        return pairs

    def picture(self, index: int, stretch: Limits | None, bands: str = "rgb") -> Picture:
        """Open what networks see of raster ``index``, stretched as the study says.

        ``bands`` are ``rgb``, or ``all`` in the order of the store.
        """
        shown = self.facts["rgb"] if bands == "rgb" else range(len(self.facts["bands"]))
        return Picture(self.array("image", index), shown, self.limits(stretch))

    def in_strips(
        self, index: int, stretch: Limits | None, rows: int, bands: str = "rgb"
    ) -> tuple[Picture, Strips | None]:
        """Open ``picture`` and ``valid``, to be read downwards in windows of so many rows."""
        valid = self.valid(index)
        strips = None if valid is None else Strips(valid, rows)
        return self.picture(index, stretch, bands).in_strips(rows), strips


def tiled(
    tiles: Sequence[Path], splits: Sequence[Path], read_facts: Callable[[Path], dict[str, Any]]
) -> list[Scene]:
    """Open scenes by their manifests, with the manifests of those among them that are divided."""
    divided = {facts["scene"]: facts for facts in map(read_facts, splits)}
    pairs = ((path, read_facts(path)) for path in tiles)
    return [Scene(path, facts, divided.get(facts["scene"])) for path, facts in pairs]
