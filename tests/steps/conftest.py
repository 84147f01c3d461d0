"""A town of 64-pixel scenes and a tiny teacher, carried through the stages once."""

import json
import socket
from pathlib import Path

import numpy as np
import pytest

from pipeline_steps import depth, synthesize, tile
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.town import CLASSES
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.classes import ClassCode, ClassLook
from pipeline_steps.study.manifest import digest_of
from pipeline_steps.study.params.fetch import Model
from pipeline_steps.study.params.train import Params as Train

CODES = [ClassCode(name=name, value=value) for value, name in enumerate(CLASSES)]
LOOKS = [ClassLook(name=name, color=f"#{40 * i:02x}8040") for i, name in enumerate(CLASSES, 0)]

TEACHER = Model(
    architecture={
        "backbone_config": {
            "model_type": "dinov2",
            "hidden_size": 16,
            "num_hidden_layers": 4,
            "num_attention_heads": 2,
            "patch_size": 4,
            "image_size": 32,
            "out_indices": [1, 2, 3, 4],
            "reshape_hidden_states": False,
            "apply_layernorm": True,
        },
        "initializer_range": 0.1,
        "patch_size": 4,
        "reassemble_hidden_size": 16,
        "neck_hidden_sizes": [8, 8, 8, 8],
        "fusion_hidden_size": 8,
        "head_hidden_size": 8,
    }
)

TINY = {
    "network": {
        "encoder": {
            "name": "vit_small_patch14_dinov2",
            "arguments": {
                "patch_size": 8,
                "embed_dim": 16,
                "depth": 4,
                "num_heads": 2,
                "img_size": 32,
            },
            "token_stride": 8,
        },
        "widths": [8, 8, 8, 8],
        "channels": 8,
    },
    "teacher": "elevation",
    "steps": 3,
    "batch": 2,
    "crop": 32,
    "report_every": 2,
    "precision": "fp32",
}


@pytest.fixture(autouse=True)
def no_network(request, monkeypatch):
    """Refuse every connection: of all stages `fetch` alone may make one."""
    if request.module.__name__.endswith("test_fetch"):
        return

    def refused(*_):
        raise AssertionError("a stage other than fetch asked for the network")

    connect = socket.socket.connect

    def connect_here(end, address):
        # processes of one machine speak through sockets too
        return connect(end, address) if end.family == socket.AF_UNIX else refused()

    monkeypatch.setattr(socket.socket, "connect", connect_here)
    monkeypatch.setattr(socket.socket, "connect_ex", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def model_files(folder: Path) -> list[Path]:
    """Return the files of a fetched or adapted model, its manifest last."""
    names = ("config.json", "model.safetensors", "preprocessor_config.json", "manifest.json")
    return [folder / name for name in names]


def retell(manifest: Path) -> Path:
    """Let a manifest tell of the files beside it as they are now."""
    facts = json.loads(manifest.read_text())
    made = {name: digest_of(manifest.parent / name) for name in facts["made"]}
    manifest.write_text(json.dumps(facts | {"made": made}))
    return manifest


def training(**changes) -> Train:
    network = changes.pop("network", {})
    # a network of another model begins anew, as in a study
    network = network if "model" in network else TINY["network"] | network
    return Train.model_validate_json(json.dumps(TINY | changes | {"network": network}))


def tile_arguments(folder: Path, scene: str, image, labels="", elevation="", **cells) -> dict:
    """Return the arguments of ``tile.run`` for a scene whose stores shall lie in ``folder``.

    Its row of the table, written beside that folder, has these files, or patterns of them, and
    what else ``cells`` says: terrain, list, split.
    """
    row = {"scene": scene, "image": image, "labels": labels, "elevation": elevation}
    row |= dict.fromkeys(("terrain", "list"), "") | {"split": "train" if labels else "predict"}
    row |= cells
    table = folder.parent / f"{scene}.tsv"
    folder.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join("\t".join(map(str, line)) for line in (row, row.values())) + "\n")
    stores = {name: folder / f"{name}.zarr" for name in ("image", "labels", "valid", "elevation")}
    return stores | {
        "scene": scene,
        "table": table,
        "root": "",
        "manifest": folder / "manifest.json",
        "classes": CODES,
        "params": tile.Params(),
    }


def stretch_file(folder: Path, limits=None) -> Path:
    """Write what ``stretch`` leaves: the values that become 0 and 1."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stretch.json").write_text(json.dumps({"limits": limits}))
    return folder / "stretch.json"


def division(folder: Path, scene: str, *codes, reach=0, folds=None, counts=()) -> Path:
    """Write what ``split`` leaves of a scene: the codes of each raster's blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    rasters = [
        {"name": name, "codes": c, "reach": reach} for name, c in zip("ab", codes, strict=False)
    ]
    facts = {"scene": scene, "folds": folds, "rasters": rasters, "label_counts": dict(counts)}
    (folder / "manifest.json").write_text(json.dumps(facts))
    return folder / "manifest.json"


@pytest.fixture(scope="session")
def stretch(tmp_path_factory) -> Path:
    """The limits of a study of 8-bit images that says nothing of them."""
    return stretch_file(tmp_path_factory.mktemp("stretch"))


@pytest.fixture(scope="session")
def town(tmp_path_factory) -> Path:
    """The GeoTIFFs of one synthesized scene."""
    folder = tmp_path_factory.mktemp("town")
    files = [folder / f"{name}.tif" for name in ("image", "labels", "elevation")]
    synthesize.run("somewhere", *files, synthesize.Params(size=64))
    return folder


@pytest.fixture(scope="session")
def deep(tmp_path_factory, town) -> Path:
    """The tiled town in 16 bits, where 65535 is what 255 is in 8."""
    folder = tmp_path_factory.mktemp("deep")
    with raster.opened(town / "image.tif") as source:
        grid, pixels = Grid.of(source), source.read().astype(np.uint16)
    write_raster(folder / "image.tif", pixels * 257, grid)
    files = {"image": folder / "image.tif", "elevation": town / "elevation.tif"}
    tile.run(**tile_arguments(folder / "somewhere", "somewhere", **files))
    return folder / "somewhere" / "manifest.json"


@pytest.fixture(scope="session")
def covered(tmp_path_factory, town) -> Path:
    """A tiled 64-pixel scene that shows every class."""
    folder = tmp_path_factory.mktemp("covered") / "somewhere"
    labels = folder.parent / "labels.tif"
    rows = np.arange(64)[:, None] // 10
    write_raster(
        labels,
        np.broadcast_to(rows.astype(np.uint8), (64, 64))[None],
        Grid(64, 64, None, (1, 0, 0, 0, 1, 0)),
    )
    files = [town / "image.tif", labels, town / "elevation.tif"]
    tile.run(**tile_arguments(folder, "somewhere", *files) | {"params": tile.Params(chunk=32)})
    return folder / "manifest.json"


@pytest.fixture(scope="session")
def height(tmp_path_factory, covered, stretch) -> Path:
    """The covered scene's elevation as pseudo-depth."""
    folder = tmp_path_factory.mktemp("depth") / "elevation" / "somewhere"
    files = [folder / name for name in ("depth.zarr", "quality.json", "manifest.json")]
    depth.run(None, covered, stretch, *files, depth.Params())
    return files[2]
