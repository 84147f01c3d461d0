"""Files that mean harm: a mosaic that points elsewhere, weights that would run, and the like.

Each ends in one line that names it. Beside the study lies a secret, a raster and polygons whose
values nobody may find in what `tile` makes of the study, and nothing may write `harm`.
"""

import copy
import html
import json
import pickle
import shutil
import socket
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pipeline_steps import export, fetch, map
from pipeline_steps.models.teacher import load_teacher
from pipeline_steps.models.vit import create
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.params.fetch import Model
from tests.data import faults
from tests.data.tiling import stored, tile_scene, utm_grid
from tests.steps.conftest import TEACHER, model_files

SIDE, SECRET = 32, 177
GRID = utm_grid(SIDE, SIDE)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """The folder of a study's data; beside it lies the secret."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.chdir(folder)
    write_raster(tmp_path / "secret.tif", np.full((3, SIDE, SIDE), SECRET, np.uint8), GRID)
    write_raster(folder / "own.tif", np.full((3, SIDE, SIDE), 9, np.uint8), GRID)
    square = [[5e5, 5e6 - 32], [5e5, 5e6], [5e5 + 32, 5e6], [5e5 + 32, 5e6 - 32], [5e5, 5e6 - 32]]
    shape = {"type": "Polygon", "coordinates": [square]}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    feature = {"type": "Feature", "properties": {"what": "3"}, "geometry": shape}
    secret = {"type": "FeatureCollection", "crs": crs, "features": [feature]}
    (tmp_path / "secret.geojson").write_text(json.dumps(secret))
    yield folder
    assert not list(tmp_path.rglob("*harm*"))


def bands(inside, kind=""):
    return "".join(
        f'<VRTRasterBand dataType="Byte" band="{band}"{kind}>{inside.replace("BAND", str(band))}'
        "</VRTRasterBand>"
        for band in (1, 2, 3)
    )


def mosaic(source, relative=0, around="{}", more=""):
    """Return a VRT of one source, as GDAL writes it."""
    named = f'<SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
    inside = f"<SimpleSource>{named}<SourceBand>BAND</SourceBand></SimpleSource>"
    place = "<GeoTransform>500000, 1, 0, 5000000, 0, -1</GeoTransform><SRS>EPSG:32632</SRS>"
    size = f'rasterXSize="{SIDE}" rasterYSize="{SIDE}"'
    return f"<VRTDataset {size}>{place}{more}{bands(inside)}</VRTDataset>"


RAW = (
    '<SourceFilename relativeToVRT="0">{secret}</SourceFilename><ImageOffset>0</ImageOffset>'
    f"<PixelOffset>1</PixelOffset><LineOffset>{SIDE}</LineOffset>"
)
PYTHON = (
    "<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage>"
    "<PixelFunctionCode><![CDATA[\nimport os\nos.system('touch harm')\ndef f(i, out, *a, **k):\n"
    "    open('harm', 'w')\n    out[:] = 1\n]]></PixelFunctionCode>"
)
WMS = (
    '<GDAL_WMS><Service name="TMS"><ServerUrl>http://127.0.0.1:9/${{z}}/${{x}}/${{y}}.png'
    "</ServerUrl></Service><DataWindow><UpperLeftX>-1</UpperLeftX><UpperLeftY>1</UpperLeftY>"
    "<LowerRightX>1</LowerRightX><LowerRightY>-1</LowerRightY><TileLevel>3</TileLevel></DataWindow>"
    "<BandsCount>3</BandsCount></GDAL_WMS>"
)
RAW_KIND, DERIVED_KIND = (f' subClass="VRT{k}RasterBand"' for k in ("Raw", "Derived"))
VRT_SIZE = f'<VRTDataset rasterXSize="{SIDE}" rasterYSize="{SIDE}">'

IMAGES = {
    "absolute": mosaic("{secret}"),
    "relative": mosaic("../secret.tif", 1),
    "dots": mosaic("./x/../../secret.tif", 1),
    "curl": mosaic("/vsicurl/http://127.0.0.1:9/a.tif"),
    "curl with options": mosaic("/vsicurl?max_retry=0&amp;url=http://127.0.0.1:9/a.tif"),
    "s3": mosaic("/vsis3/bucket/a.tif"),
    "gs": mosaic("/vsigs/bucket/a.tif"),
    "stdin": mosaic("/vsistdin/"),
    "address": mosaic("http://127.0.0.1:9/a.tif"),
    "zip": mosaic("/vsizip/{root}/secret.zip/secret.tif"),
    "subfile": mosaic("/vsisubfile/0_99999,{secret}"),
    "cached": mosaic("/vsicached?file={secret}"),
    "gtiff_dir": mosaic("GTIFF_DIR:1:{secret}"),
    "derived": mosaic("DERIVED_SUBDATASET:AMPLITUDE:{secret}"),
    "netcdf": mosaic("NETCDF:{secret}:v"),
    "vrt address": mosaic("vrt://{secret}"),
    "inline": mosaic(html.escape(mosaic("{secret}"))),
    "inline warped": mosaic(html.escape(f"{VRT_SIZE}</VRTDataset>")),
    "missing": mosaic("{root}/gone.tif"),
    "device": mosaic("/dev/zero"),
    "passwd": mosaic("/etc/passwd"),
    "linked": mosaic("link.tif", 1),
    "nested": mosaic("nested.vrt", 1),
    "nested wms": mosaic("wms.tif", 1),
    "bare name": mosaic("secret.tif", 0),
    "raw": f"{VRT_SIZE}{bands(RAW, RAW_KIND)}</VRTDataset>",
    "mask": mosaic("own.tif", 1).replace(
        "</VRTDataset>",
        '<MaskBand><VRTRasterBand dataType="Byte"><SimpleSource><SourceFilename relativeToVRT="0">'
        "{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></MaskBand>"
        "</VRTDataset>",
    ),
    "overview": mosaic("own.tif", 1).replace(
        "</VRTRasterBand>",
        '<Overview><SourceFilename relativeToVRT="0">{secret}</SourceFilename><SourceBand>1'
        "</SourceBand></Overview></VRTRasterBand>",
    ),
    "warped": '<VRTDataset subClass="VRTWarpedDataset" rasterXSize="32" rasterYSize="32">'
    '<VRTRasterBand dataType="Byte" band="1" subClass="VRTWarpedRasterBand"/><GDALWarpOptions>'
    '<SourceDataset relativeToVRT="0">{secret}</SourceDataset></GDALWarpOptions></VRTDataset>',
    "python": f"{VRT_SIZE}{bands(PYTHON, DERIVED_KIND)}</VRTDataset>",
    "entities": '<!DOCTYPE a [<!ENTITY x SYSTEM "file://{secret}">]>' + mosaic("&x;"),
    "wms": WMS,
    "wmts": "<GDAL_WMTS><GetCapabilitiesUrl>http://127.0.0.1:9/</GetCapabilitiesUrl></GDAL_WMTS>",
    "wcs": "<WCS_GDAL><ServiceURL>http://127.0.0.1:9/?</ServiceURL></WCS_GDAL>",
    "tile index": "<GDALTileIndexDataset><IndexDataset>{root}/i.gpkg</IndexDataset>"
    "</GDALTileIndexDataset>",
    "mrf": "<MRF_META><CachedSource><Source>{secret}</Source></CachedSource><Raster>"
    '<Size x="32" y="32" c="3"/></Raster></MRF_META>',
    "pds": 'PDS_VERSION_ID = PDS3\r\nRECORD_BYTES = 32\r\n^IMAGE = "../secret.tif"\r\n'
    "OBJECT = IMAGE\r\n LINES = 32\r\n LINE_SAMPLES = 32\r\n BANDS = 3\r\n SAMPLE_BITS = 8\r\n"
    " SAMPLE_TYPE = UNSIGNED_INTEGER\r\n BAND_STORAGE_TYPE = BAND_SEQUENTIAL\r\n"
    "END_OBJECT\r\nEND\r\n",
    "stac": '{{"type": "Feature", "stac_version": "1.0.0", "assets": {{"a": {{"href":'
    ' "{secret}"}}}}}}',
    "html": "<html><script>touch harm</script></html>",
    "pickle": "cposix\nsystem\n(S'touch harm'\ntR.",
}


@pytest.fixture
def silent(monkeypatch):
    """Refuse every connection that Python makes; GDAL's own are refused by its settings."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked for the network"))


@pytest.mark.parametrize("suffix", [".tif", ".vrt"])
@pytest.mark.parametrize("name", IMAGES)
def test_an_image_is_made_of_files_of_the_study_alone(data, silent, name, suffix):
    secret, root = data.parent / "secret.tif", data.parent
    with zipfile.ZipFile(root / "secret.zip", "w") as packed:
        packed.write(secret, "secret.tif")
    (data / "link.tif").symlink_to(secret)
    (data / "nested.vrt").write_text(mosaic(str(secret)))
    (data / "wms.tif").write_text(WMS.format())
    image = data / f"image{suffix}"
    text = IMAGES[name]
    is_format = name not in ("python", "html", "pickle")
    image.write_text(text.format(secret=secret, root=root) if is_format else text, newline="")

    with pytest.raises(ValueError, match=f"^{image}: ") as caught:
        tile_scene(data, image=image.name)

    assert "\n" not in str(caught.value)
    assert not (data / "out" / "image.zarr").exists()


def test_beside_an_image_a_note_may_not_name_overviews_that_lie_elsewhere(data):
    note = '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{}</MDI></Metadata>'
    (data / "own.tif.aux.xml").write_text(note.format(data.parent / "secret.tif") + "</PAMDataset>")

    with pytest.raises(ValueError, match=r"own\.tif: is made of .*secret\.tif', expected files"):
        tile_scene(data, image="own.tif")


@pytest.mark.parametrize("beside", ["own.tif.msk", "own.tif.ovr"])
def test_a_link_beside_an_image_may_not_lead_elsewhere(data, beside):
    (data / beside).symlink_to(data.parent / "secret.tif")

    with pytest.raises(ValueError, match=rf"own\.tif: is made of .*{beside}', expected files"):
        tile_scene(data, image="own.tif")


@pytest.mark.parametrize("layer", ["labels", "elevation", "terrain"])
def test_what_lies_beside_an_image_is_made_of_files_of_the_study_alone(data, layer):
    (data / "other.vrt").write_text(mosaic(str(data.parent / "secret.tif")))
    rest = {"elevation": "own.tif"} if layer == "terrain" else {}

    with pytest.raises(ValueError, match=r"other\.vrt: is made of .*secret\.tif', expected files"):
        tile_scene(data, split="predict", image="own.tif", **rest | {layer: "other.vrt"})


@pytest.mark.parametrize("place", ["own.tif", "below/own.tif"])
def test_a_mosaic_of_files_below_the_study_s_root_is_read(data, place):
    (data / place).parent.mkdir(exist_ok=True)
    (data / "mosaics").mkdir()
    shutil.copy(data / "own.tif", data / place) if place != "own.tif" else None
    (data / "mosaics" / "all.vrt").write_text(mosaic(f"../{place}", 1))

    assert (stored(tile_scene(data, image="mosaics/all.vrt"), "image") == 9).all()


def test_an_image_that_the_table_names_may_be_a_link(data):
    """Who writes the table says which files are the study's."""
    (data / "link.tif").symlink_to(data.parent / "secret.tif")

    assert (stored(tile_scene(data, image="link.tif"), "image") == SECRET).all()


@pytest.mark.parametrize(
    "name", ["GTIFF_DIR:1:own.tif", "NETCDF:own.tif", "vrt:own", "WMS:a", "s3:a"]
)
def test_a_file_s_name_is_no_address(data, name):
    shutil.copy(data / "own.tif", data / name)

    assert (stored(tile_scene(data, image=name), "image") == 9).all()


VECTORS = {
    "ogr vrt": '<OGRVRTDataSource><OGRVRTLayer name="s"><SrcDataSource>{secret}</SrcDataSource>'
    "<SrcLayer>secret</SrcLayer></OGRVRTLayer></OGRVRTDataSource>",
    "gdalg": '{{"type": "gdal_streamed_alg", "command_line":'
    ' "gdal vector pipeline ! read {secret}"}}',
    "wfs": "<OGRWFSDataSource><URL>http://127.0.0.1:9/</URL></OGRWFSDataSource>",
    "features": '{{"type": "FeatureCollection", "features": [], "links":'
    ' [{{"href": "{secret}"}}]}}',
    "sql": "ATTACH DATABASE 'harm' AS x;",
}


@pytest.mark.parametrize("suffix", [".json", ".gml", ".gpkg", ".geojson", ".kml", ".sqlite"])
@pytest.mark.parametrize("name", VECTORS)
def test_polygons_are_those_of_the_file_itself(data, silent, name, suffix):
    labels = data / f"labels{suffix}"
    labels.write_text(VECTORS[name].format(secret=data.parent / "secret.geojson"))
    facts = {"image": "own.tif", "labels": labels.name, "vectors": {"attribute": "what"}}

    with pytest.raises(ValueError, match=f"^{labels}: "):
        tile_scene(data, split="train", **facts)


# weights


class Harm:
    def __reduce__(self):
        return (open, ("harm", "w"))


@pytest.fixture
def model(tmp_path):
    """A folder of weights in the hub's layout."""
    files = model_files(tmp_path / "model")
    fetch.run("tiny", *files, TEACHER)
    return tmp_path / "model"


CONFIGS = {
    "auto_map": {"auto_map": {"AutoModelForDepthEstimation": "harm.Harm", "AutoConfig": "harm.H"}},
    "trust": {"trust_remote_code": True, "auto_map": {"AutoModel": "owner/harm--harm.Harm"}},
    "remote backbone": {"backbone": "owner/harm", "use_pretrained_backbone": True},
    "timm backbone": {"backbone": "hf-hub:owner/harm", "use_timm_backbone": True},
    "unknown kind": {"model_type": "harm"},
    "dots": {"model_type": "../harm"},
    "name": {"_name_or_path": "owner/harm", "architectures": ["Harm"]},
    "huge": {"fusion_hidden_size": 10**15},
    "negative": {"fusion_hidden_size": -1},
    "words": {"patch_size": "$(touch harm)"},
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_model_s_config_runs_nothing_and_asks_nobody(data, model, silent, name):
    (model / "harm.py").write_text("open('harm', 'w')\nclass Harm: pass\n")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | CONFIGS[name]))

    try:
        assert load_teacher(model, 1.0)
    except Exception as error:
        assert str(error)
    (model / "harm.py").unlink()
    assert not (data / "harm").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth", "model.bin", "model.pt"])
@pytest.mark.parametrize("how", ["pickle", "torch", "zip"])
def test_weights_that_would_run_something_are_refused(data, model, how, name):
    folder = shutil.copytree(model, data / "weights")
    (folder / "model.safetensors").unlink()
    file = folder / name
    if how == "pickle":
        file.write_bytes(pickle.dumps(Harm()))
    elif how == "torch":
        torch.save({"a": Harm()}, file)
    else:
        with zipfile.ZipFile(file, "w") as packed:
            packed.writestr("archive/data.pkl", pickle.dumps(Harm()))
            packed.writestr("../../harm", "x")
    files = model_files(data / "fetched")

    with pytest.raises(ValueError, match="weights"):
        fetch.run("bad", *files, Model(source=str(file)))

    assert not files[1].exists()


@pytest.mark.parametrize("shard", ["../../secret.safetensors", "/etc/passwd", "harm.bin"])
def test_an_index_of_shards_names_files_beside_it_alone(data, model, shard):
    save_file({"secret": torch.ones(1)}, data.parent / "secret.safetensors")
    folder = shutil.copytree(model, data / "weights")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"secret": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    files = model_files(data / "fetched")

    with pytest.raises((ValueError, OSError)):
        fetch.run("bad", *files, Model(source=str(folder)))

    assert not files[1].exists()


ASKED = [
    ("hf-hub:owner/harm", {}),
    ("hf_hub:owner/harm", {}),
    ("local-dir:/tmp", {}),
    ("vit_tiny_patch16_224", {"checkpoint_path": "harm.pth"}),
    ("vit_tiny_patch16_224", {"pretrained": True}),
    ("vit_tiny_patch16_224", {"pretrained_cfg": {"url": "http://127.0.0.1:9/harm.pth"}}),
    ("vit_tiny_patch16_224", {"pretrained_cfg_overlay": {"file": "harm.pth"}}),
    ("vit_tiny_patch16_224", {"cache_dir": "harm"}),
    ("../harm", {}),
    ("$(touch harm)", {}),
]


@pytest.mark.parametrize("name, arguments", ASKED)
def test_an_encoder_is_a_name_of_timm_with_sizes(data, silent, name, arguments):
    torch.save({"a": Harm()}, data / "evil.pth")
    arguments = {k: "evil.pth" if v == "harm.pth" else v for k, v in arguments.items()}

    with pytest.raises(ValueError, match=r"expected|does not make"):
        create(name, arguments, None)


# bundles


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("hostile") / "study"
    faults.write_data(root)
    for stage in ("tile", "stretch", "fetch", "depth", "train", "bundle"):
        faults.run(root, stage)
    return root


def retold(study, folder, **changes):
    shutil.copytree(study / "bundle" / "plain", folder)
    facts = json.loads((folder / "bundle.json").read_text())
    network = changes.pop("network", {})
    encoder = facts["network"]["encoder"] | network.pop("encoder", {})
    facts |= changes | {"network": facts["network"] | network | {"encoder": encoder}}
    facts.pop("seal")
    (folder / "bundle.json").write_text(json.dumps(facts))
    return folder / "bundle.json"


TOLD = {
    "model": {"network": {"model": "../harm"}},
    "module": {"network": {"model": "hub"}},
    "missing module": {"network": {"model": "harm"}},
    "weights elsewhere": {"made": {"../../secret": "0" * 64}},
    "weights of an address": {"made": {"http://127.0.0.1:9/harm": "0" * 64}},
    "absolute weights": {"made": {"/etc/passwd": "0" * 64}},
    "no weights": {"made": {}},
    "encoder": {"network": {"encoder": {"name": "hf-hub:owner/harm"}}},
    "setting": {"network": {"encoder": {"harm": 1}}},
    "settings": {"network": {"harm": 1}},
    "arguments": {"network": {"encoder": {"arguments": {"checkpoint_path": "harm.pth"}}}},
    "class": {"classes": [{"name": 3, "color": "red"}]},
    "bands": {"bands": [10**9]},
    "stretch": {"stretch": [["a", "b"]]},
}


@pytest.mark.parametrize("name", TOLD)
def test_a_bundle_that_plays_tricks_is_refused(data, study, silent, name):
    model = retold(study, data / "bundle", **copy.deepcopy(TOLD[name]))
    maps, params = [data / "map" / "classes.tif"], map.Params(**faults.HOW, outputs=())
    image = str(study / "data" / "image.tif")

    with pytest.raises(ValueError, match=r"expected|does not make|no network comes") as caught:
        map.run("a", image, [model], maps, data / "map/map.json", params)
    with pytest.raises(ValueError, match=r"expected|does not make|no network comes"):
        export.run(model, [data / "model.onnx"], data / "manifest.json", export.Params())

    assert "\n" not in str(caught.value)
    assert not maps[0].exists()
