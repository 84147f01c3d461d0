import json
from pathlib import Path

import numpy as np
import pytest

from pipeline_steps.check import Cached, Models, Params, Plan, Reading, Split, run
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.params.fetch import Model
from pipeline_steps.study.params.tile import Params as Tile
from tests.steps.conftest import CODES

GRID = Grid(64, 64, "EPSG:32632", (0.5, 0.0, 5e5, 0.0, -0.5, 5e6))
PLAN = Plan(jobs=9, fields=1, runs=2, classes=7, window=64, is_stretched=False)
LABELS = np.repeat(np.arange(8, dtype=np.uint8) % 7, 8)[None, :, None].repeat(64, 2)


def check(folder, labels=LABELS, grid=GRID, image=GRID, rows=(), **changes):
    """Check a study of one training scene and ``rows`` of further ones; return the findings."""
    write_raster(folder / "image.tif", np.ones((3, 64, 64), changes.pop("dtype", np.uint8)), image)
    write_raster(folder / "labels.tif", labels[:, : grid.height, : grid.width], grid)
    table = folder / "scenes.tsv"
    head = "scene\timage\tlabels\tsplit\na\timage.tif\tlabels.tif\ttrain\n"
    table.write_text(head + "".join(rows))
    how = Reading(classes=tuple(CODES), tile=changes.pop("tile", Tile()))
    settings = {"models": Models(), "readings": {"": how}, "plan": PLAN, "params": Params()}
    settings |= changes
    files = {"findings": "findings.json", "record": "check.json", "text": "check.txt"}
    paths = {name: folder / file for name, file in files.items()}
    run(table, str(folder), **paths, split=Split(), **settings)
    assert paths["findings"].read_bytes() == paths["record"].read_bytes()
    return json.loads(paths["findings"].read_text())


def said(found, level):
    """Return what findings of a level say, as one text each."""
    return [
        f"{Path(one['where']).name}: {one['what']}; {one['remedy']}"
        for one in found["findings"]
        if one["level"] == level
    ]


def test_a_sound_study_passes_and_is_described(tmp_path):
    found = check(tmp_path)

    (row,) = found["scenes"]
    assert row["crs"] == "EPSG:32632"
    assert row["megapixels"] == pytest.approx(64 * 64 / 1e6, abs=1e-3)
    assert (row["gsd_m"], row["bands"], row["pixels"]) == ("0.5", "3 uint8", "64x64")
    assert (row["nodata_percent"], row["labels_percent"]) == (0, 100)
    shares = {row["class"]: row["train"] for row in found["classes"]}
    assert shares == {one.name: 12.5 * (1 + (number == 0)) for number, one in enumerate(CODES)}
    assert found["cost"][0]["jobs"] == 9
    assert said(found, "warning") == said(found, "error") == []


def test_everything_found_is_printed_too(tmp_path):
    check(tmp_path)

    text = (tmp_path / "check.txt").read_text()
    assert all(word in text for word in ("EPSG:32632", "64x64", "building", "jobs"))
    assert text.endswith("errors: 0, warnings: 0\n")


@pytest.mark.parametrize("size, share", [((60, 64), "93.8 %"), ((64, 63), "98.4 %")])
def test_labels_of_another_size_are_a_warning_that_says_how_much_they_cover(tmp_path, size, share):
    found = check(tmp_path, grid=Grid(*size, GRID.crs, GRID.transform))

    height, width = size
    assert said(found, "warning") == [
        f"labels.tif: is {width}x{height} pixels, expected 64x64, covers {share} of its image;"
        " will be warped (nearest)"
    ]


def test_labels_that_cover_too_little_are_an_error_that_the_study_may_let_pass(tmp_path):
    narrow = Grid(64, 50, GRID.crs, GRID.transform)

    with pytest.raises(ValueError, match=r"labels\.tif: is 50x64 .*, covers 78\.1 % of its image;"):
        check(tmp_path, grid=narrow)
    assert not (tmp_path / "findings.json").exists()

    found = check(tmp_path, grid=narrow, params=Params(overlap=78))
    assert "78.1 %" in said(found, "warning")[0]


@pytest.mark.parametrize("size", [(60, 64), (64, 63)])
@pytest.mark.parametrize("crs", [(None, None), (GRID.crs, None), (None, GRID.crs)])
def test_labels_of_another_size_are_an_error_where_a_crs_is_missing(tmp_path, size, crs):
    image, labels = (
        Grid(*shape, one, GRID.transform) for shape, one in zip(((64, 64), size), crs, strict=True)
    )
    with pytest.raises(ValueError, match=r"labels\.tif: is \d+x\d+ pixels, expected 64x64"):
        check(tmp_path, image=image, grid=labels)
    assert not (tmp_path / "findings.json").exists()


def test_a_sampled_label_outside_the_classes_is_an_error_or_a_warning(tmp_path):
    labels = LABELS.copy()
    labels[:, 0] = 99
    with pytest.raises(ValueError, match=r"labels\.tif: has label values 99 \(64 pixels\)"):
        check(tmp_path, labels)

    found = check(tmp_path, labels, tile=Tile(unlisted_labels="ignore"))
    assert "99" in said(found, "warning")[0]


def test_a_class_that_is_nowhere_in_the_training_labels_is_a_warning(tmp_path):
    found = check(tmp_path, LABELS % 6)
    assert said(found, "warning") == [
        f"{CODES[6].name}: is not in the sample of any training scene's labels; "
    ]


def test_an_image_of_sixteen_bits_needs_to_know_what_becomes_0_and_1(tmp_path):
    with pytest.raises(ValueError, match=r"image\.tif: is uint16, and .*stretch\.percentiles"):
        check(tmp_path, dtype=np.uint16)

    stretched = PLAN.model_copy(update={"is_stretched": True})
    assert said(check(tmp_path, dtype=np.uint16, plan=stretched), "warning") == []


def test_a_teacher_that_learns_from_ground_that_is_tested_is_refused(tmp_path):
    far = Grid(64, 64, GRID.crs, (0.5, 0.0, 6e5, 0.0, -0.5, 5e6))
    for name in ("new", "test"):
        write_raster(tmp_path / f"{name}.tif", np.ones((3, 64, 64), np.uint8), far)
    write_raster(tmp_path / "test_labels.tif", LABELS, far)
    rows = ("new\tnew.tif\t\tpredict\n", "test\ttest.tif\ttest_labels.tif\ttest\n")

    assert said(check(tmp_path, rows=rows), "error") == []
    taught = PLAN.model_copy(update={"taught": ("a", "new")})
    with pytest.raises(ValueError, match=r"adapt\.scenes and test: leak: share 102\d\.\d+ m²"):
        check(tmp_path, rows=rows, plan=taught)


def test_disk_counts_what_a_teacher_said_of_the_largest_raster(tmp_path):
    plan = PLAN.model_copy(update={"field_bytes": 1e6})

    more, less = (check(tmp_path, plan=one)["cost"][0]["disk_gb"] for one in (plan, PLAN))

    assert more - less == pytest.approx(64 * 64 * 1e6 / 1e9, abs=1e-3)


@pytest.mark.parametrize(("crop", "windows"), [(64, 1), (32, 9), (128, 1)])
def test_disk_counts_the_features_of_every_crop_of_the_grid(tmp_path, crop, windows):
    many = Cached(crop=crop, bytes=10**7, most=10**12)
    few = many.model_copy(update={"most": 5 * 10**6})

    cost, least = (
        check(tmp_path, plan=PLAN.model_copy(update={"cached": (one,)}))["cost"][0]
        for one in (many, few)
    )

    # a raster of 64 pixels that is learned from; a smaller crop is whole too
    assert cost["features_gb"] == pytest.approx(windows * 1e7 / 1e9)
    assert least["features_gb"] == pytest.approx(0.005)
    assert cost["disk_gb"] - least["disk_gb"] == pytest.approx(windows * 0.01 - 0.005, abs=2e-3)
    assert "features_gb" not in check(tmp_path, plan=PLAN)["cost"][0]


def test_a_model_folder_without_weights_is_found(tmp_path):
    models = Models(models={"mine": Model(source=str(tmp_path))})
    with pytest.raises(ValueError, match=r"has no config\.json, .*\(and 1 more above\)"):
        check(tmp_path, models=models)


def test_all_errors_are_in_the_log_the_record_and_the_text_before_the_first_is_raised(
    tmp_path, caplog
):
    labels = np.full((1, 64, 64), 99, np.uint8)
    models = Models(models={"mine": Model(source=str(tmp_path))})
    caplog.set_level("INFO")

    with pytest.raises(ValueError, match=r"has label values 99.*\(and 2 more above\)"):
        check(tmp_path, labels, models=models)

    assert not (tmp_path / "findings.json").exists()
    record = json.loads((tmp_path / "check.json").read_text())
    text = (tmp_path / "check.txt").read_text()
    errors = said(record, "error")
    assert len(errors) == 3
    for words in ("has label values 99", "has no config.json", "has no model.safetensors"):
        assert sum(words in one for one in errors) == 1
        assert words in caplog.text and words in text
    assert "\nerrors: 3, " in text


def planned(**networks):
    """Return a plan of networks by the training that has them."""
    plan = {"networks": [{"training": t, "network": n} for t, n in networks.items()]}
    return Plan.model_validate_json(json.dumps(PLAN.model_dump() | plan))


TINY_VIT = {
    "name": "vit_small_patch14_dinov2",
    "arguments": {"embed_dim": 32, "depth": 4, "num_heads": 2},
}


def test_networks_are_counted_before_any_is_trained(tmp_path):
    found = check(
        tmp_path,
        plan=planned(plain={"encoder": TINY_VIT}, unet={"model": "baseline"}),
    )

    plain, unet = found["networks"]
    assert (plain["network"], unet["network"]) == ("plain", "unet")
    assert 0 < plain["trained_m"] < plain["parameters_m"]
    assert unet["trained_m"] == unet["parameters_m"] == pytest.approx(24.44, abs=0.01)


@pytest.mark.parametrize(
    "network, what",
    [
        ({"encoder": TINY_VIT | {"name": "vit_smal"}}, "vit_smal"),
        ({"encoder": TINY_VIT | {"taps": [0, 1, 2, 4]}}, r"taps are \[0, 1, 2, 4\]"),
        ({"encoder": TINY_VIT | {"arguments": {"width": 3}}}, "does not make a network"),
        ({"model": "baseline", "encoder": {"name": "resnet35"}}, "resnet35"),
    ],
    ids=["name", "taps", "argument", "baseline"],
)
def test_what_makes_no_network_is_an_error_before_any_hour_is_spent(tmp_path, network, what):
    with pytest.raises(ValueError, match=rf"^train\.network of plain: .*{what}"):
        check(tmp_path, plan=planned(plain=network))
