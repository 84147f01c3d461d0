"""200 damaged files through ``check`` and ``tile``: a line that names the file, or a right result.

Every file goes through both steps in a process of its own pool, so that a crash or a hang of a
library is seen as what it is. Where damage changes pixels in silence, since a codec has no
checksum, GDAL itself must read the file without an error and see the same pixels.
"""

import dataclasses
import multiprocessing
import shutil
import traceback
import zlib
from collections import Counter

import numpy as np
import pyogrio
import pytest
import rasterio
import shapely
from PIL import Image

from pipeline_steps import check
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.study.domains import Reading
from pipeline_steps.study.params.check import Params as Check
from pipeline_steps.study.params.fetch import Params as Models
from pipeline_steps.study.params.split import Params as Split
from pipeline_steps.study.params.tile import Params as Tile
from pipeline_steps.study.params.tile import Vectors
from pipeline_steps.study.plan import Plan
from tests.data.tiling import UTM, VALUES, stored, tile_scene, write_table

pytestmark = pytest.mark.slow

HEIGHT, WIDTH = 96, 128
GRID = Grid(HEIGHT, WIDTH, UTM, (1.0, 0.0, 5e5, 0.0, -1.0, 5e6))
SECONDS = 60
"""Far more than any file takes: what is longer hangs."""

HEADER_BYTES = 200
SALT = 5
"""Of 25 that were tried one that finds much: names that are no text, places that are none."""

PLAN = Plan(jobs=1, fields=1, runs=1, classes=4, window=64, is_stretched=True)
TILE = {"chunk": 16, "unlisted_labels": "ignore", "vectors": Vectors(attribute="what")}

TIFFS = {
    "raw": {"tiled": False},
    "deflate-striped": {"compress": "DEFLATE", "blockysize": 16},
    "deflate-tiled": {"compress": "DEFLATE", "tiled": True, "blockxsize": 32, "blockysize": 32},
    "lzw-striped": {"compress": "LZW", "blockysize": 16},
    "lzw-tiled": {"compress": "LZW", "tiled": True, "blockxsize": 32, "blockysize": 32},
}
KINDS = {
    "image": [*TIFFS, "png", "jpeg", "vrt"],
    "labels": ["deflate-striped", "lzw-tiled", "png", "palette", "vrt", "gpkg", "geojson"],
    "elevation": ["raw", "deflate-tiled", "lzw-striped", "png", "vrt"],
}
DAMAGES = [
    *("cut early", "cut anywhere", "cut late"),
    *("flipped header 1", "flipped header 2", "flipped data 1", "flipped data 2"),
    *("wrong magic", "empty", "text"),
]
SUFFIXES = {"png": ".png", "palette": ".png", "jpeg": ".jpg", "vrt": ".vrt"}
SUFFIXES |= {"gpkg": ".gpkg", "geojson": ".geojson"}


@dataclasses.dataclass(frozen=True)
class Case:
    """One damaged file: what it is in its scene, how it is written, and what happened to it."""

    layer: str
    kind: str
    damage: str

    @property
    def name(self) -> str:
        return f"{self.layer}-{self.kind}-{self.damage}".replace(" ", "-")

    @property
    def file(self) -> str:
        return self.layer + SUFFIXES.get(self.kind, ".tif")


CASES = [Case(layer, kind, d) for layer, kinds in KINDS.items() for kind in kinds for d in DAMAGES]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a case ended: what went wrong, if anything did, and whether each step gave a result."""

    wrong: str = ""
    checked: bool = False
    tiled: bool = False


# the files


def layer_of(layer):
    """Return the undamaged pixels of a layer, [bands, H, W]."""
    rng = np.random.default_rng(zlib.crc32(layer.encode()))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    if layer == "labels":
        return ((y // 16 + x // 24) % 4).astype(np.uint8)[None]
    if layer == "elevation":
        return (y / 8 + x / 9 + rng.uniform(0, 1, (1, HEIGHT, WIDTH))).astype(np.float32)
    waves = [128 + 60 * np.sin(x / (5 + k)) + 40 * np.cos(y / (7 + k)) for k in range(3)]
    return (np.stack(waves) + rng.integers(0, 20, (3, HEIGHT, WIDTH))).clip(0, 255).astype(np.uint8)


def write(path, kind, layer):
    """Write a layer as it should be."""
    pixels = layer_of(layer)
    if kind in ("png", "jpeg", "palette"):
        if layer == "elevation":
            pixels = np.rint(pixels).astype(np.uint16)
        picture = Image.fromarray(np.moveaxis(pixels, 0, -1).squeeze())
        if kind == "palette":
            picture = Image.fromarray(pixels[0], mode="P")
            picture.putpalette(bytes(range(256)) * 3)
        picture.save(path)
        a, _, c, _, e, f = GRID.transform
        numbers = (a, 0, 0, e, c + a / 2, f + e / 2)
        path.with_suffix(path.suffix[:2] + path.suffix[-1] + "w").write_text(
            "".join(f"{number}\n" for number in numbers)
        )
    elif kind == "vrt":
        write(path.with_name("source.tif"), "deflate-striped", layer)
        write_mosaic(path, pixels)
    elif kind in ("gpkg", "geojson"):
        write_polygons(path, pixels[0])
    else:
        profile = TIFFS[kind] | {"driver": "GTiff", "crs": UTM, "count": len(pixels)}
        size = {"height": HEIGHT, "width": WIDTH, "dtype": pixels.dtype}
        place = rasterio.Affine(*GRID.transform)
        with rasterio.open(path, "w", transform=place, **profile, **size) as target:
            target.write(pixels)


def write_mosaic(path, pixels):
    kind = {"uint8": "Byte", "float32": "Float32"}[str(pixels.dtype)]
    a, _, c, _, e, f = GRID.transform
    bands = "".join(
        f'  <VRTRasterBand dataType="{kind}" band="{band}">\n'
        '    <SimpleSource><SourceFilename relativeToVRT="1">source.tif</SourceFilename>\n'
        f"      <SourceBand>{band}</SourceBand></SimpleSource>\n  </VRTRasterBand>\n"
        for band in range(1, len(pixels) + 1)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{WIDTH}" rasterYSize="{HEIGHT}">\n  <SRS>EPSG:32632</SRS>\n'
        f"  <GeoTransform>{c}, {a}, 0, {f}, 0, {e}</GeoTransform>\n{bands}</VRTDataset>\n"
    )


def write_polygons(path, labels):
    """Write a square for each patch of labels."""
    a, _, c, _, e, f = GRID.transform
    shapes, words = [], []
    for y in range(0, HEIGHT, 16):
        for x in range(0, WIDTH, 24):
            right, bottom = min(x + 24, WIDTH), y + 16
            shapes.append(shapely.box(c + a * x, f + e * bottom, c + a * right, f + e * y))
            words.append(str(labels[y, x]))
    pyogrio.raw.write(
        path,
        np.array([shapely.to_wkb(shape) for shape in shapes], object),
        [np.array(words, object)],
        ["what"],
        crs="EPSG:32632",
        geometry_type="Polygon",
    )


def damaged(data, case):
    """Return the bytes of a file after what happened to it, the same in every run."""
    rng = np.random.default_rng(zlib.crc32(f"{case.name}-{SALT}".encode()))
    data, size = bytearray(data), len(data)
    header = min(HEADER_BYTES, size // 2)
    if case.damage.startswith("cut"):
        low, high = {"early": (0, 0.2), "anywhere": (0.2, 0.9), "late": (0.95, 1)}[case.damage[4:]]
        return bytes(data[: int(rng.integers(int(low * size), max(int(high * size), 1)))])
    if case.damage == "wrong magic":
        magic = (
            b"\x89PNG\r\n\x1a\n",
            b"II*\0\x08\0\0\0",
            b"\xff\xd8\xff\xe0\0\x10JFIF",
            b"SQLite format 3\0",
        )
        data[:16] = magic[int(rng.integers(len(magic)))].ljust(16, b"\0")
        return bytes(data)
    if case.damage == "empty":
        return b""
    if case.damage == "text":
        return b"scene\timage\tlabels\nnot a raster\n" * 5
    low, high = (0, header) if "header" in case.damage else (header, size)
    for place in rng.integers(low, high, int(rng.integers(1, 5))):
        data[place] ^= 1 << int(rng.integers(8))
    return bytes(data)


def write_scene(folder, case):
    """Write the scene of a case as it was before; return its row of the table."""
    folder.mkdir(parents=True)
    row = {}
    for layer in KINDS:
        kind = case.kind if layer == case.layer else "deflate-striped"
        row[layer] = layer + SUFFIXES.get(kind, ".tif")
        write(folder / row[layer], kind, layer)
    return row


def write_case(folder, case):
    """Write a scene in which one file is damaged; return its row of the table."""
    row = write_scene(folder, case)
    (folder / case.file).write_bytes(damaged((folder / case.file).read_bytes(), case))
    return row


# what must be so


def tried(case, folder):
    """Run both steps on one case in this process, and say how they ended."""
    row = write_case(folder, case)
    checked = said(case, folder, lambda: check_scene(folder, row))
    tiled = said(case, folder, lambda: tile_scene(folder, VALUES, "train", **row, **TILE))
    wrong = [text for text in (checked, tiled) if text not in ("", "error")]
    left = [f.name for f in (folder / "out").glob("*")] if tiled else []
    if left:
        wrong.append(f"left behind: {', '.join(left)}")
    if not tiled:
        wrong += changed(case, folder)
    return Outcome("\n".join(wrong), not checked, not tiled)


def said(case, folder, step):
    """Return "" for a result, "error" for an error as it must be, and else what was wrong."""
    try:
        step()
    except (ValueError, OSError) as error:
        text = str(error)
        names = str(folder / case.file) in text
        # an image that lost its place cannot be told from labels that lie elsewhere
        names |= case.layer == "image" and "of its image" in text and str(folder) in text
        return "error" if names and "\n" not in text else f"{type(error).__name__} says {text!r}"
    except BaseException:
        return traceback.format_exc()
    return ""


def check_scene(folder, row):
    table = write_table(folder, {"scene": "a", "split": "train"} | row)
    paths = {
        "findings": folder / "findings.json",
        "record": folder / "r.json",
        "text": folder / "t.txt",
    }
    how, params = Reading(classes=tuple(VALUES), tile=Tile(**TILE)), Check(orientation="warning")
    check.run(
        table,
        str(folder),
        **paths,
        readings={"": how},
        models=Models(),
        split=Split(),
        plan=PLAN,
        params=params,
    )


def changed(case, folder):
    """Return what is wrong with a result: pixels that are neither the right ones nor GDAL's."""
    found = {
        name: stored(folder / "out" / "manifest.json", name)
        for name in ("image", "labels", "elevation")
    }
    whole = folder / "whole"
    row = write_scene(whole, case)
    tile_scene(whole, VALUES, "train", **row, **TILE)
    right = {name: stored(whole / "out" / "manifest.json", name) for name in found}
    differ = [
        n for n in found if not np.array_equal(found[n], right[n], equal_nan=n == "elevation")
    ]
    if not differ or case.kind in ("gpkg", "geojson"):
        # what a flipped bit makes of a polygon's corner or word no reader can know
        return []
    try:
        bands = [1, 2, 3] if case.layer == "image" else [1]
        with rasterio.open(folder / case.file) as source:
            pixels = source.read(bands)
            same_grid = GRID.disagreement(Grid.of(source)) is None
    except Exception as error:
        return [f"{', '.join(differ)} changed in silence, where GDAL says {error}"]
    if case.layer in differ and same_grid and case.layer != "labels":
        is_known = np.isfinite(found[case.layer])
        gdal = pixels.reshape(found[case.layer].shape).astype(found[case.layer].dtype)
        if not np.array_equal(found[case.layer][is_known], gdal[is_known]):
            return [f"{case.layer} is neither as it was nor as GDAL reads it"]
    return []


# the processes


def serve(pipe):
    """Try one case after the other, as they come."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (12 * 2**30, 12 * 2**30))
    while (job := pipe.recv()) is not None:
        pipe.send(tried(*job))


class Worker:
    """A process that may crash or hang."""

    def __init__(self) -> None:
        self.process = None

    def try_one(self, case, folder):
        """Return the outcome of one case, or that it crashed or hung."""
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.pipe, other = context.Pipe()
            self.process = context.Process(target=serve, args=(other,), daemon=True)
            self.process.start()
            other.close()
        self.pipe.send((case, folder))
        try:
            if self.pipe.poll(SECONDS):
                return self.pipe.recv()
            wrong = f"hung for {SECONDS} s"
        except EOFError:
            self.process.join(10)
            wrong = f"crashed with {self.process.exitcode}"
        self.close()
        return Outcome(wrong)

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Every case and how it ended."""
    worker, found = Worker(), {}
    root = tmp_path_factory.mktemp("damage")
    try:
        for case in CASES:
            found[case] = worker.try_one(case, root / case.name)
            if not found[case].wrong:
                shutil.rmtree(root / case.name)
    finally:
        worker.close()
    return found


def test_there_are_200_damaged_files_of_which_most_differ_from_what_they_were(tmp_path):
    assert len(CASES) == len({case.name for case in CASES}) == 200
    differ = 0
    for number, case in enumerate(CASES[::10]):
        path = tmp_path / str(number) / case.file
        path.parent.mkdir()
        write(path, case.kind, case.layer)
        whole = path.read_bytes()
        differ += sum(damaged(whole, dataclasses.replace(case, damage=d)) != whole for d in DAMAGES)
    assert differ == 200


def test_undamaged_files_of_every_kind_pass_both_steps(tmp_path):
    for case in CASES[::10]:
        folder = tmp_path / case.name
        row = write_scene(folder, case)
        check_scene(folder, row)
        tile_scene(folder, VALUES, "train", **row, **TILE)
        labels = stored(folder / "out" / "manifest.json", "labels")
        assert np.array_equal(labels, layer_of("labels")[0])


def test_every_damaged_file_ends_in_one_line_that_names_it_or_in_a_right_result(outcomes, capsys):
    ended = Counter(
        f"{step} {'result' if getattr(outcome, done) else 'error'}"
        for outcome in outcomes.values()
        for step, done in (("check:", "checked"), ("tile:", "tiled"))
        if not outcome.wrong
    )
    with capsys.disabled():
        print("\n", ", ".join(f"{what} {count}" for what, count in sorted(ended.items())))

    wrong = [f"{case.name}: {o.wrong}" for case, o in outcomes.items() if o.wrong]
    assert not wrong, "\n\n".join(wrong)


def test_what_is_cut_to_nothing_or_no_raster_at_all_never_passes(outcomes):
    hopeless = [o for case, o in outcomes.items() if case.damage in ("empty", "text", "cut early")]

    assert not any(outcome.checked or outcome.tiled for outcome in hopeless)


def test_check_finds_before_tile_whatever_leaves_no_result(outcomes):
    late = [c.name for c, o in outcomes.items() if not o.wrong and o.checked and not o.tiled]

    assert late == []
