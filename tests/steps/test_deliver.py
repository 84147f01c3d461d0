import csv
import functools
import json
import os
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import pystac
import pytest
import rasterio
import shapely
import zarr
from pydantic import ValidationError
from pystac.validation import JsonSchemaSTACValidator, validate_dict
from rasterio.warp import transform_bounds
from rio_cogeo.cogeo import cog_validate

from pipeline_steps import deliver
from pipeline_steps.rasters import polygon_files
from pipeline_steps.rasters.cube import write_cube
from pipeline_steps.rasters.raster import Grid, wkt_of
from pipeline_steps.rasters.writing import write_map
from pipeline_steps.study.classes import IGNORE, ClassLook
from pipeline_steps.study.params.deliver import Params, Polygons

LOOKS = [
    ClassLook(name="roof & wall", color="#c8372d"),
    ClassLook(name="Straße", color="#5a5a60"),
    ClassLook(name="tree", color="#2e7d32"),
]
SCHEMAS = Path(__file__).resolve().parents[1] / "data" / "schemas"
UTM = wkt_of("EPSG:25832")
PLACE = (0.5, 0.0, 500_000.0, 0.0, -0.5, 5_400_000.0)
ALL = Params(polygons=Polygons())


def predicted(folder, classes, confidence=None, crs=UTM, transform=PLACE, name=None):
    """Write what ``predict`` leaves of a scene, or into folders of many images."""
    grid = Grid(*classes.shape, crs, transform)
    if confidence is None:
        confidence = np.where(classes == IGNORE, IGNORE, 50 + 10 * (classes % 4))
    kinds = {"classes": classes, "confidence": confidence}
    files = []
    for kind, array in kinds.items():
        files.append(folder / kind / f"{name}.tif" if name else folder / f"{kind}.tif")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        draft = files[-1].with_suffix(".raw")
        draft.write_bytes(array.astype(np.uint8).tobytes())
        looks = [(look.name, look.rgb) for look in LOOKS] if kind == "classes" else []
        write_map(draft, files[-1], grid, "uint8", IGNORE, "nearest", kind, looks)
        draft.unlink()
    return [file.parent for file in files] if name else files


def scene(seed=0, size=64):
    """Return patches of 8 pixels, a single pixel among them, and a corner without data."""
    values = np.random.default_rng(seed).integers(0, 3, (size // 8, size // 8))
    found = values.repeat(8, 0).repeat(8, 1)
    found[20, 20] = (found[20, 20] + 1) % 3
    found[:10, :12] = IGNORE
    return found


def delivered(folder, files, params=ALL, name="one_seed-0_here"):
    target = folder / "delivery"
    deliver.run(files, target, name, LOOKS, params)
    return target


def others(folder, shape, name=None):
    """Write what else ``predict`` can leave of a scene beside its maps."""
    grid, files = Grid(*shape, UTM, PLACE), []
    for kind, dtype in {"entropy": "uint8", "disagreement": "uint8", "depth": "float32"}.items():
        files.append(folder / kind / f"{name}.tif" if name else folder / f"{kind}.tif")
        files[-1].parent.mkdir(parents=True, exist_ok=True)
        draft = files[-1].with_suffix(".raw")
        draft.write_bytes(np.zeros(shape, dtype).tobytes())
        nodata = np.nan if dtype == "float32" else IGNORE
        write_map(draft, files[-1], grid, dtype, nodata, "average", kind)
        draft.unlink()
    store = folder / "probabilities" / f"{name}.zarr" if name else folder / "probabilities.zarr"
    names, zeros = [look.name for look in LOOKS], np.zeros((len(LOOKS), *shape), np.uint8)
    write_cube(store, grid, names, lambda rows: np.array_split(zeros, -(-shape[0] // rows), 1), 254)
    # what Snakemake leaves in a folder that it made
    (store.parent if name else store).joinpath(".snakemake_timestamp").touch()
    return [file.parent for file in (*files, store)] if name else [*files, store]


def read(path):
    """Return the geometries and the columns of a file of polygons."""
    facts, _, shapes, columns = pyogrio.raw.read(path)
    return shapely.from_wkb(shapes), dict(zip(facts["fields"], columns, strict=True)), facts


def test_a_delivery_has_all_that_is_asked_for_and_nothing_half_written(tmp_path):
    found = delivered(tmp_path, predicted(tmp_path / "maps", scene()))

    maps, polygons = ["classes.tif", "confidence.tif"], ["classes.gpkg", "classes.parquet"]
    names = {*maps, *polygons, "areas.csv", "classes.qml", "item.json", "manifest.json"}
    assert {file.name for file in found.iterdir()} == names
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delivery", "maps"]


@pytest.mark.parametrize("kind", ["maps", "style", "areas", "item"])
def test_what_is_not_asked_for_is_not_there(tmp_path, kind):
    kinds = {name: name == kind for name in ("maps", "style", "areas", "item")}

    found = delivered(tmp_path, predicted(tmp_path / "maps", scene()), Params(**kinds))

    names = {"maps": ["classes.tif", "confidence.tif"], "style": ["classes.qml"]}
    names |= {"areas": ["areas.csv"], "item": ["item.json"]}
    assert sorted(file.name for file in found.iterdir()) == [*names[kind], "manifest.json"]


def test_a_geopackage_has_a_polygon_for_each_patch_on_the_maps_ground(tmp_path):
    classes = scene()

    found = delivered(tmp_path, predicted(tmp_path / "maps", classes))

    shapes, columns, facts = read(found / "classes.gpkg")
    assert facts["crs"] == "EPSG:25832"
    assert list(columns) == ["class", "class_index", "area_m2", "confidence", "is_part"]
    assert facts["ogr_types"][-1] == "OFTInteger" and not columns["is_part"].any()
    assert shapely.coverage_is_valid(shapes) and shapely.is_valid(shapes).all()
    assert shapely.area(shapes) == pytest.approx(columns["area_m2"])
    assert shapely.area(shapes).sum() == (classes != IGNORE).sum() / 4
    assert shapely.total_bounds(shapes).tolist() == [500_000, 5_399_968, 500_032, 5_400_000]
    for index, look in enumerate(LOOKS):
        here = columns["class_index"] == index
        assert set(columns["class"][here]) == {look.name}
        assert columns["area_m2"][here].sum() == (classes == index).sum() / 4
        assert set(columns["confidence"][here]) == {50.0 + 10 * index}


def test_geoparquet_says_the_same_and_what_its_geometry_is(tmp_path):
    found = delivered(tmp_path, predicted(tmp_path / "maps", scene()))

    table = pq.read_table(found / "classes.parquet")
    shapes, columns, _ = read(found / "classes.gpkg")
    facts = json.loads(pq.read_metadata(found / "classes.parquet").metadata[b"geo"])
    geometry = facts["columns"]["geometry"]

    assert facts["version"] == "1.1.0" and facts["primary_column"] == "geometry"
    assert (geometry["encoding"], geometry["geometry_types"]) == ("WKB", ["Polygon"])
    assert geometry["crs"]["id"] == {"authority": "EPSG", "code": 25832}
    assert geometry["bbox"] == shapely.total_bounds(shapes).tolist()
    assert table.column("geometry").to_pylist() == shapely.to_wkb(shapes).tolist()
    for name, values in columns.items():
        assert table.column(name).to_pylist() == values.tolist()


@pytest.mark.parametrize("batch", [1, 100, 10**9])
def test_polygons_are_written_some_at_a_time_and_none_is_lost(tmp_path, monkeypatch, batch):
    files = predicted(tmp_path / "maps", scene(size=320))
    monkeypatch.setattr(deliver, "BATCH", batch)

    found = delivered(tmp_path, files)

    shapes, columns, _ = read(found / "classes.gpkg")
    assert columns["area_m2"].sum() == (320 * 320 - 120) / 4
    assert pq.read_table(found / "classes.parquet").num_rows == len(shapes)
    groups = pq.ParquetFile(found / "classes.parquet").num_row_groups
    assert groups == (1 if batch == 10**9 else 2)


def test_a_large_patch_is_delivered_in_parts_that_say_so(tmp_path):
    classes = np.zeros((1200, 60), int)
    classes[::6, ::6] = 1
    files = predicted(tmp_path / "maps", classes)

    found = delivered(tmp_path, files, Params(polygons=Polygons(corners=1000)))

    shapes, columns, _ = read(found / "classes.gpkg")
    is_ground = columns["class_index"] == 0
    assert is_ground.sum() > 1 and columns["is_part"].astype(bool).tolist() == is_ground.tolist()
    assert shapely.coverage_is_valid(shapes)
    assert columns["area_m2"].sum() == classes.size / 4
    assert (
        pq.read_table(found / "classes.parquet").column("is_part").to_pylist()
        == columns["is_part"].astype(bool).tolist()
    )


def test_the_style_is_a_palette_of_the_classes(tmp_path):
    found = delivered(tmp_path, predicted(tmp_path / "maps", scene()))

    root = ElementTree.parse(found / "classes.qml").getroot()
    renderer = root.find("pipe/rasterrenderer")
    entries = [dict(entry.attrib) for entry in renderer.findall("colorPalette/paletteEntry")]

    assert root.tag == "qgis"
    assert (renderer.get("type"), renderer.get("band")) == ("paletted", "1")
    assert entries == [
        {"value": str(i), "color": look.color, "alpha": "255", "label": look.name}
        for i, look in enumerate(LOOKS)
    ]


def test_the_style_of_polygons_has_the_names_that_are_in_their_column(tmp_path):
    found = delivered(tmp_path, predicted(tmp_path / "maps", scene()))

    root = ElementTree.parse(found / "classes.qml").getroot()
    renderer = root.find("renderer-v2")
    _, columns, _ = read(found / "classes.gpkg")
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class")
    categories = renderer.findall("categories/category")
    assert {one.get("value") for one in categories} == set(columns["class"])
    fills = {
        symbol.get("name"): symbol.find("layer/Option/Option[@name='color']").get("value")
        for symbol in renderer.findall("symbols/symbol")
    }
    for category, look in zip(categories, LOOKS, strict=True):
        assert category.get("label") == look.name
        assert fills[category.get("symbol")] == ",".join(map(str, (*look.rgb, 255)))


def test_areas_are_counted_on_the_map_itself(tmp_path):
    classes = scene()
    polygons = Polygons(minimum_area=10, simplify=1)

    found = delivered(tmp_path, predicted(tmp_path / "maps", classes), Params(polygons=polygons))

    rows = list(csv.DictReader((found / "areas.csv").open(encoding="utf-8")))
    assert [row["class"] for row in rows] == [look.name for look in LOOKS]
    for index, row in enumerate(rows):
        pixels = int((classes == index).sum())
        assert (int(row["class_index"]), int(row["pixels"])) == (index, pixels)
        assert float(row["hectares"]) == pytest.approx(pixels * 0.25 / 1e4)
        assert float(row["confidence"]) == 50 + 10 * index
    assert sum(float(row["percent"]) for row in rows) == pytest.approx(100)


def test_the_maps_are_cloud_optimised(tmp_path):
    found = delivered(tmp_path, predicted(tmp_path / "maps", scene()))

    for name in ("classes.tif", "confidence.tif"):
        is_valid, errors, _ = cog_validate(found / name, quiet=True)
        assert is_valid, errors
        assert (found / name).read_bytes() == (tmp_path / "maps" / name).read_bytes()


# The STAC item


@functools.cache
def validator():
    """Return pystac's validator with the schemas of the extensions, which else are online."""
    found = JsonSchemaSTACValidator()
    for file in sorted(SCHEMAS.glob("*.json")):
        schema = json.loads(file.read_text(encoding="utf-8"))
        found.schema_cache[schema["$id"].rstrip("#")] = schema
    return found


def validated(folder):
    """Read an item as pystac does, after its schema and those of all extensions that it names."""
    facts = json.loads((folder / "item.json").read_text(encoding="utf-8"))
    checked = validate_dict(facts, validator=validator())
    assert checked[1:] == facts["stac_extensions"] and len(checked) == 3
    return pystac.Item.from_file(str(folder / "item.json")), facts


@pytest.mark.parametrize(
    "place, value",
    [
        (("properties", "proj:shape"), [1]),
        (("properties", "proj:transform"), [1, 0, 0]),
        (("properties", "proj:projjson"), {"type": "ProjectedCRS"}),
        (("assets", "classes", "classification:classes", 0, "color_hint"), "#c8372d"),
        (("assets", "classes", "classification:classes", 1, "name"), "Straße"),
        (("bbox",), [0, 1]),
    ],
)
def test_the_schemas_would_find_a_wrong_item(tmp_path, place, value):
    found = delivered(tmp_path, predicted(tmp_path / "maps", scene()))
    facts = json.loads((found / "item.json").read_text(encoding="utf-8"))
    functools.reduce(lambda part, key: part[key], place[:-1], facts)[place[-1]] = value
    (found / "item.json").write_text(json.dumps(facts), encoding="utf-8")

    with pytest.raises(pystac.STACValidationError):
        validated(found)


def test_an_item_says_where_the_scene_lies_and_what_its_files_are(tmp_path):
    found = delivered(tmp_path, predicted(tmp_path / "maps", scene()))

    item, facts = validated(found)

    assert item.id == "one_seed-0_here"
    outline = shapely.from_geojson(json.dumps(item.geometry))
    assert outline.bounds == tuple(item.bbox)
    expected = transform_bounds("EPSG:25832", "OGC:CRS84", 500_000, 5_399_968, 500_032, 5_400_000)
    assert item.bbox == pytest.approx(expected, abs=1e-7)
    assert {asset.href for asset in item.assets.values()} == {
        f"./{file.name}"
        for file in found.iterdir()
        if file.name not in ("item.json", "manifest.json")
    }
    assert all(asset.media_type and asset.roles for asset in item.assets.values())
    with rasterio.open(found / "classes.tif") as source:
        assert item.ext.proj.code == "EPSG:25832"
        assert item.ext.proj.shape == list(source.shape)
        assert item.ext.proj.transform == list(source.transform)[:6]
        assert item.ext.proj.bbox == list(source.bounds)
    assert facts["assets"]["confidence"]["nodata"] == 255


def test_an_item_says_what_the_values_of_the_map_mean(tmp_path):
    found = delivered(tmp_path, predicted(tmp_path / "maps", scene()))

    item, _ = validated(found)

    classes = item.assets["classes"].ext.classification.classes
    assert [one.value for one in classes] == [0, 1, 2, IGNORE]
    assert [one.title for one in classes[:3]] == [look.name for look in LOOKS]
    assert [one.color_hint for one in classes[:3]] == ["C8372D", "5A5A60", "2E7D32"]
    assert [one.nodata for one in classes] == [None, None, None, True]
    # what the extension asks of a name, that programs shall read
    assert all(re.fullmatch(r"[0-9A-Za-z_-]+", one.name) for one in classes)
    assert len({one.name for one in classes}) == 4


@pytest.mark.parametrize(
    "stated, instant, interval",
    [
        (None, None, ("1900-01-01T00:00:00Z", "9999-12-31T23:59:59Z")),
        ("2021-06-01", None, ("2021-06-01T00:00:00Z", "2021-06-01T23:59:59Z")),
        ("2021-06-01T12:30:00+02:00", "2021-06-01T10:30:00Z", None),
        ("2021-06-01/2021-08-31", None, ("2021-06-01T00:00:00Z", "2021-08-31T23:59:59Z")),
        ("0900-01-01T00:00:00Z", "0900-01-01T00:00:00Z", None),
    ],
)
def test_the_time_of_an_item_is_what_the_study_says(tmp_path, stated, instant, interval):
    files = predicted(tmp_path / "maps", scene())

    _, facts = validated(delivered(tmp_path, files, Params(datetime=stated)))

    said = facts["properties"]
    assert said["datetime"] == instant
    found = said.get("start_datetime"), said.get("end_datetime")
    assert found == (interval or (None, None))


@pytest.mark.parametrize(
    "stated",
    [
        "yesterday!",
        "2021-06-01T10:30:00",
        "2021-09-01/2021-06-01",
        "0001-01-01T00:00:00+10:00",
        "9999-12-31T23:59:59-10:00",
    ],
)
def test_a_time_that_is_none_is_refused(stated):
    with pytest.raises(ValidationError, match=re.escape(f"it is '{stated}', expected")):
        Params(datetime=stated)


def test_a_delivery_of_nothing_is_refused():
    with pytest.raises(ValidationError, match="nothing is asked for"):
        Params(maps=False, style=False, areas=False, item=False)


def test_without_copies_the_item_leads_to_the_maps_themselves(tmp_path):
    files = predicted(tmp_path / "maps", scene())

    found = delivered(tmp_path, files, Params(maps=False))

    item, _ = validated(found)
    assert not (found / "classes.tif").exists()
    for kind, file in zip(("classes", "confidence"), files, strict=True):
        assert (found / item.assets[kind].href).resolve() == file
        assert not Path(item.assets[kind].href).is_absolute()


def test_an_item_lists_all_maps_of_the_scene(tmp_path):
    files = predicted(tmp_path / "maps", scene())
    files += others(tmp_path / "maps", scene().shape)

    found = delivered(tmp_path, files, Params())

    item, facts = validated(found)
    names = {file.name for file in files}
    assert {file.name for file in found.iterdir()} == names | {
        *("classes.qml", "areas.csv", "item.json", "manifest.json")
    }
    for kind in ("entropy", "disagreement", "depth", "probabilities"):
        asset, file = item.assets[kind], next(one for one in files if one.stem == kind)
        assert asset.href == f"./{file.name}" and asset.roles[0] == "data"
        if file.is_file():
            assert (found / asset.href).read_bytes() == file.read_bytes()
            with rasterio.open(file) as source:
                assert facts["assets"][kind]["data_type"] == source.dtypes[0]
                nodata = facts["assets"][kind]["nodata"]
                assert str(nodata) == str(source.nodata).removesuffix(".0")
    store = facts["assets"]["probabilities"]
    assert store["type"] == "application/vnd.zarr; version=2"
    assert [band["description"] for band in store["bands"]] == [look.name for look in LOOKS]
    array = zarr.open_group(found / store["href"], mode="r")["probabilities"]
    assert (array.dtype, array.fill_value) == (store["data_type"], store["nodata"])
    assert not list(found.rglob(".snakemake_timestamp"))


def test_without_copies_the_item_leads_to_all_maps(tmp_path):
    files = predicted(tmp_path / "maps", scene()) + others(tmp_path / "maps", scene().shape)

    found = delivered(tmp_path, files, Params(maps=False))

    item, _ = validated(found)
    for file in files:
        assert (found / item.assets[file.stem].href).resolve() == file


# Any scene


def test_without_a_crs_areas_are_pixels_and_the_item_has_no_place(tmp_path):
    classes = scene()
    files = predicted(tmp_path / "maps", classes, crs=None, transform=(1, 0, 0, 0, 1, 0))

    found = delivered(tmp_path, files)

    shapes, columns, facts = read(found / "classes.gpkg")
    # GDAL's word for a plane of which nothing is known
    assert facts["crs"] is None or "Undefined" in facts["crs"]
    assert columns["area_px"].sum() == (classes != IGNORE).sum()
    assert shapely.total_bounds(shapes).tolist() == [0, -64, 64, 0]
    geo = json.loads(pq.read_metadata(found / "classes.parquet").metadata[b"geo"])
    assert geo["columns"]["geometry"]["crs"] is None
    item, said = validated(found)
    assert item.geometry is None and "bbox" not in said
    assert said["properties"]["proj:code"] is None
    assert "hectares" not in (found / "areas.csv").read_text().splitlines()[0]


def test_in_web_mercator_areas_are_the_grounds(tmp_path):
    """At 48°N its square metre is 0.448 of one: 32 m by 32 m there have 458.8 m²."""
    classes = scene()
    place = (0.5, 0, 1_250_000, 0, -0.5, 6_106_870)
    files = predicted(tmp_path / "maps", classes, crs=wkt_of("EPSG:3857"), transform=place)

    found = delivered(tmp_path, files)

    _, columns, _ = read(found / "classes.gpkg")
    rows = list(csv.DictReader((found / "areas.csv").open(encoding="utf-8")))
    share = (classes != IGNORE).mean()
    assert columns["area_m2"].sum() == pytest.approx(458.8 * share, rel=1e-3)
    hectares = sum(float(row["hectares"]) for row in rows)
    assert hectares == pytest.approx(458.8e-4 * share, rel=1e-3)


def test_in_web_mercator_a_minimum_area_is_the_grounds(tmp_path):
    classes = np.zeros((64, 64), int)
    classes[10, 10:14] = classes[40, 40:45] = 1
    place = (1, 0, 1_250_000, 0, -1, 6_106_870)
    files = predicted(tmp_path / "maps", classes, crs=wkt_of("EPSG:3857"), transform=place)

    found = delivered(tmp_path, files, Params(polygons=Polygons(minimum_area=2)))

    _, columns, _ = read(found / "classes.gpkg")
    # four of its square metres have 1.8 m² of ground, five have 2.2 m²
    kept = columns["area_m2"][columns["class_index"] == 1]
    assert kept == pytest.approx([5 * 0.448], rel=1e-3)


@pytest.mark.parametrize("code", ["EPSG:32760", "EPSG:32760+5773"])
def test_an_item_across_the_antimeridian_does_not_span_the_earth(tmp_path, code):
    place = (10, 0, 819_000, 0, -10, 8_150_000)
    files = predicted(tmp_path / "maps", scene(size=320), crs=wkt_of(code), transform=place)

    item, facts = validated(delivered(tmp_path, files, Params()))

    assert facts["geometry"]["type"] == "MultiPolygon"
    west, south, east, north = item.bbox
    assert 179.9 < west < 180 and -180 < east < -179.9 and south < north
    parts = shapely.get_parts(shapely.from_geojson(json.dumps(item.geometry)))
    left, right = sorted(part.bounds for part in parts)
    assert (left[0], left[2], right[0], right[2]) == (-180, east, west, 180)


def test_in_degrees_areas_are_the_grounds(tmp_path):
    classes = np.zeros((64, 64), np.uint8)
    files = predicted(
        tmp_path / "maps", classes, crs=wkt_of("EPSG:4326"), transform=(1e-5, 0, 9, 0, -1e-5, 60)
    )

    found = delivered(tmp_path, files)

    shapes, columns, _ = read(found / "classes.gpkg")
    pyproj = pytest.importorskip("pyproj")
    expected = pyproj.Geod(ellps="WGS84").geometry_area_perimeter(shapes[0])[0]
    assert columns["area_m2"][0] == pytest.approx(expected, rel=1e-6)
    row = next(csv.DictReader((found / "areas.csv").open(encoding="utf-8")))
    assert float(row["hectares"]) == pytest.approx(expected / 1e4, rel=1e-6)


def test_a_scene_without_any_data_is_delivered_with_no_polygon(tmp_path):
    found = delivered(tmp_path, predicted(tmp_path / "maps", np.full((16, 16), IGNORE)))

    shapes, columns, _ = read(found / "classes.gpkg")
    assert len(shapes) == 0 and "area_m2" in columns
    assert pq.read_table(found / "classes.parquet").num_rows == 0
    rows = list(csv.DictReader((found / "areas.csv").open(encoding="utf-8")))
    assert {(row["pixels"], row["percent"], row["confidence"]) for row in rows} == {
        ("0", "0.0", "")
    }
    validated(found)


@pytest.mark.parametrize("shape", [(40, 1), (1, 40), (1, 1)])
def test_a_scene_one_pixel_wide_is_delivered(tmp_path, shape):
    classes = (np.arange(np.prod(shape)) // 7 % 3).reshape(shape)

    found = delivered(tmp_path, predicted(tmp_path / "maps", classes))

    shapes, columns, _ = read(found / "classes.gpkg")
    assert len(shapes) == 1 + (np.diff(classes.ravel()) != 0).sum()
    assert columns["area_m2"].sum() == classes.size / 4


def test_small_patches_go_and_borders_become_smooth(tmp_path):
    y, x = np.mgrid[:64, :64]
    classes = np.where(x + y > 60, 1, 0)
    classes[5, 5] = classes[50, 60] = 2
    files = predicted(tmp_path / "maps", classes)
    polygons = Polygons(minimum_area=4, simplify=1)

    found = delivered(tmp_path, files, Params(polygons=polygons))

    shapes, columns, _ = read(found / "classes.gpkg")
    assert sorted(columns["class_index"].tolist()) == [0, 1]
    assert shapely.coverage_is_valid(shapes)
    assert shapely.area(shapes).sum() == pytest.approx(32 * 32)
    assert shapely.get_num_coordinates(shapes).sum() < 30


def test_a_scene_of_many_images_has_a_delivery_for_each_and_areas_of_all(tmp_path):
    one, other = scene(1), scene(2)[:24, :40]
    predicted(tmp_path / "maps", one, name="a")
    folders = predicted(tmp_path / "maps", other, name="b")

    found = delivered(tmp_path, folders)

    names = ["a", "areas.csv", "b", "manifest.json"]
    assert sorted(path.name for path in found.iterdir()) == names
    assert validated(found / "b")[0].id == "one_seed-0_here_b"
    assert len(read(found / "a" / "classes.gpkg")[0])
    assert not (found / "a" / "entropy.tif").exists()
    rows = list(csv.DictReader((found / "areas.csv").open(encoding="utf-8")))
    expected = [int((one == i).sum() + (other == i).sum()) for i in range(3)]
    assert [int(row["pixels"]) for row in rows] == expected
    assert "hectares" in rows[0]


def test_all_maps_of_a_scene_of_many_images_are_in_the_items(tmp_path):
    for name in ("a.1", "deep/b"):
        folders = predicted(tmp_path / "maps", scene(), name=name)
        folders += others(tmp_path / "maps", scene().shape, name=name)
    folders = [tmp_path / "maps" / folder for folder in sorted(os.listdir(tmp_path / "maps"))]

    found = delivered(tmp_path, folders)

    for folder in (found / "a.1", found / "deep" / "b"):
        item, _ = validated(folder)
        assert {"entropy", "disagreement", "depth", "probabilities"} <= item.assets.keys()
        assert all((folder / asset.href).exists() for asset in item.assets.values())
        assert (folder / "probabilities.zarr" / "probabilities").is_dir()


def test_equal_work_gives_equal_bytes(tmp_path):
    files = predicted(tmp_path / "maps", scene())

    one, two = (delivered(tmp_path / name, files) for name in ("one", "two"))

    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes(), file.name


def test_a_delivery_takes_the_place_of_an_older_one(tmp_path):
    files = predicted(tmp_path / "maps", scene())
    delivered(tmp_path, files)

    found = delivered(tmp_path, files, Params(maps=False, style=False, item=False))

    assert sorted(file.name for file in found.iterdir()) == ["areas.csv", "manifest.json"]


def test_the_manifest_of_a_delivery_tells_of_all_in_it_and_of_the_maps(tmp_path):
    files = predicted(tmp_path / "maps", scene())

    found = delivered(tmp_path, files)

    facts = json.loads((found / "manifest.json").read_text())
    names = {file.name for file in found.iterdir()} - {"manifest.json"}
    assert facts["made"].keys() == names
    assert [(found / way).resolve() for way in facts["made_from"]] == files


# Trouble


def refused(folder, files):
    with pytest.raises(ValueError) as caught:
        delivered(folder, files)
    assert not list(folder.glob("delivery*"))
    return str(caught.value)


def test_a_class_that_the_study_has_not_is_named(tmp_path):
    classes = scene()
    classes[60, 60] = 3
    files = predicted(tmp_path / "maps", classes)

    text = refused(tmp_path, files)

    assert text == f"{files[0]}: has class 3, expected 0 to 2, or 255 where there is none"


def test_a_pixel_with_a_class_and_no_confidence_is_named(tmp_path):
    confidence = np.where(scene() == IGNORE, IGNORE, 90)
    confidence[60, 60] = IGNORE
    files = predicted(tmp_path / "maps", scene(), confidence)

    text = refused(tmp_path, files)

    assert text == f"{files[1]}: has 255 where the map has a class, expected per cent"


def test_without_confidence_there_is_no_delivery(tmp_path):
    files = predicted(tmp_path / "maps", scene())

    text = refused(tmp_path, files[:1])

    assert text == "maps are classes, expected confidence, too (predict.outputs)"


def test_maps_of_two_sizes_are_named_with_both(tmp_path):
    classes, _ = predicted(tmp_path / "maps", scene())
    _, confidence = predicted(tmp_path / "others", scene()[:32])

    text = refused(tmp_path, [classes, confidence])

    assert text == f"{confidence}: is 64x32 pixels, expected 64x64 like {classes}"


def test_a_map_that_is_damaged_is_named(tmp_path):
    classes, confidence = predicted(tmp_path / "maps", scene())
    confidence.write_bytes(confidence.read_bytes()[:100])

    text = refused(tmp_path, [classes, confidence])

    assert text.startswith(f"{confidence}: cannot be read")


def test_a_delivery_that_fails_half_way_leaves_the_older_one_as_it_was(tmp_path, monkeypatch):
    files = predicted(tmp_path / "maps", scene())
    older = {file.name: file.read_bytes() for file in delivered(tmp_path, files).iterdir()}

    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(polygon_files.GeoParquet, "write", full)
    with pytest.raises(OSError, match="no space left"):
        delivered(tmp_path, files)

    left = {file.name: file.read_bytes() for file in (tmp_path / "delivery").iterdir()}
    assert left == older
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delivery", "maps"]


def test_a_folder_without_maps_is_named(tmp_path):
    for name in ("classes", "confidence"):
        (tmp_path / name).mkdir()

    text = refused(tmp_path, [tmp_path / "classes", tmp_path / "confidence"])

    assert text == f"{tmp_path / 'classes'}: has no *.tif, expected the maps of a scene"
