import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from pipeline_steps import depth, tile, train
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.manifest import digest_of
from tests.steps.conftest import division, stretch_file, tile_arguments, training


@pytest.fixture(scope="session")
def height(tmp_path_factory, covered, stretch):
    folder = tmp_path_factory.mktemp("depth") / "elevation" / "somewhere"
    files = [folder / name for name in ("depth.zarr", "quality.json", "manifest.json")]
    depth.run(None, covered, stretch, *files, depth.Params())
    return files[2]


def trained(folder, covered, params, depths=(), seed=0, **changes):
    files = {"model": "model.safetensors", "history": "history.csv", "manifest": "manifest.json"}
    inputs = {
        "tiles": [covered],
        "depths": list(depths),
        "validation": [],
        "validation_depths": [],
        "splits": [],
        "stretch": stretch_file(folder / "inputs"),
        "encoder": None,
    }
    outputs = {key: folder / name for key, name in files.items()}
    train.run(**inputs | outputs | {"seed": seed, "fold": None, "params": params} | changes)
    return folder


def test_a_training_leaves_weights_history_and_how_to_rebuild_them(tmp_path, covered, height):
    params = training()
    folder = trained(tmp_path, covered, params, [height])

    history = pd.read_csv(folder / "history.csv")
    assert list(history["step"]) == [2, 3]
    assert {"loss", "cross_entropy", "ssim_loss"} <= set(history)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["params"] == params.model_dump(mode="json")
    assert len(manifest["classes"]) == 7


def test_a_frozen_encoder_keeps_the_weights_that_were_fetched(tmp_path, covered):
    params = training(network={"prompter": False})
    source = trained(tmp_path / "source", covered, params, seed=7)
    state = load_file(source / "model.safetensors")
    vit = {key.removeprefix("encoder.vit."): value for key, value in state.items() if "vit." in key}
    (tmp_path / "fetched").mkdir()
    save_file(vit, tmp_path / "fetched" / "model.safetensors")
    (tmp_path / "fetched" / "manifest.json").write_text("{}")

    folder = trained(
        tmp_path / "new", covered, params, encoder=tmp_path / "fetched" / "manifest.json"
    )

    new = load_file(folder / "model.safetensors")
    assert vit
    assert all((new[f"encoder.vit.{key}"] == value).all() for key, value in vit.items())
    made_from = json.loads((folder / "manifest.json").read_text())["made_from"]
    assert made_from["encoder"] == digest_of(tmp_path / "fetched" / "manifest.json")


def test_the_loss_is_the_sum_of_its_terms_weighted(tmp_path, covered, height):
    folder = trained(tmp_path, covered, training(depth_weight=0.5), [height])
    row = pd.read_csv(folder / "history.csv").iloc[0]
    assert row["loss"] == pytest.approx(row["cross_entropy"] + 0.5 * row["ssim_loss"], rel=1e-5)


def test_without_a_prompter_there_is_no_depth_loss(tmp_path, covered):
    folder = trained(tmp_path, covered, training(network={"prompter": False}))
    assert "ssim_loss" not in pd.read_csv(folder / "history.csv")


@pytest.fixture
def striped(tmp_path, stretch):
    """A scene whose classes are stripes of their own grey, and as tall as they are bright."""
    level = np.broadcast_to((np.arange(64) // 10)[:, None], (64, 64))
    grid = Grid(64, 64, None, (1, 0, 0, 0, 1, 0))
    bands = {"image": np.stack([level * 40] * 3), "labels": level[None], "elevation": level[None]}
    for name, values in bands.items():
        dtype = np.float32 if name == "elevation" else np.uint8
        write_raster(tmp_path / f"{name}.tif", values.astype(dtype), grid)
    rasters = [tmp_path / f"{name}.tif" for name in bands]
    tile.run(**tile_arguments(tmp_path / "striped", "striped", *rasters))
    names = ("depth.zarr", "quality.json", "manifest.json")
    files = [tmp_path / "depth" / name for name in names]
    depth.run(None, tmp_path / "striped" / "manifest.json", stretch, *files, depth.Params())
    return tmp_path / "striped" / "manifest.json", files[2]


def test_what_can_be_seen_is_learnt(tmp_path, striped):
    scene, relief = striped
    params = training(steps=120, batch=4, report_every=20, lr=1e-2, photometric=0.0)
    history = pd.read_csv(trained(tmp_path / "out", scene, params, [relief]) / "history.csv")
    assert history["cross_entropy"].iloc[-1] < 0.6 * history["cross_entropy"].iloc[0]
    assert history["ssim_loss"].iloc[-1] < 0.9 * history["ssim_loss"].iloc[0]


def test_the_same_seed_gives_the_same_weights_and_another_others(tmp_path, covered, height):
    one, two, other = (
        digest_of(trained(tmp_path / n, covered, training(), [height], s) / "model.safetensors")
        for n, s in (("a", 0), ("b", 0), ("c", 1))
    )
    assert one == two != other


def test_validation_scenes_are_watched(tmp_path, covered, height):
    held_out = {"validation": [covered], "validation_depths": [height]}
    folder = trained(tmp_path, covered, training(), [height], **held_out)
    history = pd.read_csv(folder / "history.csv")
    assert history["val_cross_entropy"].notna().all()


def test_watching_does_not_change_what_is_learnt(tmp_path, covered, height):
    held_out = {"validation": [covered], "validation_depths": [height]}
    plain = trained(tmp_path / "plain", covered, training(), [height])
    watched = trained(tmp_path / "watched", covered, training(), [height], **held_out)
    assert digest_of(plain / "model.safetensors") == digest_of(watched / "model.safetensors")


PARTS = {"train": slice(0, 21), "val": slice(21, 43), "test": slice(43, 64)}
"""Columns of a scene of 64 pixels in three blocks."""


@pytest.fixture
def thirds(tmp_path, town):
    """A function that trains on a third of a scene, watches the next, and may spoil some labels."""

    def learn(spoilt, folds=None, fold=None):
        folder = tmp_path / f"{spoilt} {fold}"
        labels = np.broadcast_to(np.arange(64)[:, None] // 10, (64, 64)).astype(np.uint8).copy()
        if spoilt:
            labels[:, PARTS[spoilt]] = labels[::-1, PARTS[spoilt]].copy()
        write_raster(folder / "labels.tif", labels[None], Grid(64, 64, None, (1, 0, 0, 0, 1, 0)))
        files = [town / "image.tif", folder / "labels.tif"]
        tile.run(**tile_arguments(folder / "scene", "scene", *files))
        equal = [10 * 21] * 6 + [4 * 21]
        names = ["train"] if folds is None else [f"train-{n}" for n in range(folds)]
        counts = dict.fromkeys(names, equal)
        split = division(folder / "split", "scene", [[0, 1, 2]], folds=folds, counts=counts)
        scene = folder / "scene" / "manifest.json"
        held_out = (
            {"validation": [scene], "splits": [split]} if folds is None else {"splits": [split]}
        )
        trained(
            folder, scene, training(network={"prompter": False}, steps=6), fold=fold, **held_out
        )
        return folder

    return learn


def test_of_a_divided_scene_the_training_part_alone_is_learnt_and_the_next_watched(thirds):
    whole, *spoilt = (thirds(part) for part in ("", *PARTS))

    weights = [digest_of(folder / "model.safetensors") for folder in (whole, *spoilt)]
    assert weights[0] == weights[2] == weights[3] != weights[1]
    watched = [pd.read_csv(folder / "history.csv") for folder in (whole, *spoilt)]
    assert watched[0].equals(watched[3])
    assert not watched[0]["val_loss"].equals(watched[2]["val_loss"])
    assert watched[0]["loss"].equals(watched[2]["loss"])


def test_in_a_fold_all_blocks_but_its_own_are_learnt(thirds):
    """Fold 2 tests the last third."""
    runs = [thirds(part, folds=3, fold=2) for part in ("", *PARTS)]

    whole, first, second, last = (digest_of(run / "model.safetensors") for run in runs)
    assert whole == last
    assert len({whole, first, second}) == 3
    assert json.loads((runs[0] / "manifest.json").read_text())["run"]["fold"] == 2


def test_a_model_knows_what_it_saw_as_0_and_1(tmp_path, covered):
    params = training(network={"prompter": False})
    plain = trained(tmp_path / "plain", covered, params)
    bright = trained(
        tmp_path / "bright", covered, params, stretch=stretch_file(tmp_path, [[0, 100]])
    )

    facts = [json.loads((folder / "manifest.json").read_text()) for folder in (plain, bright)]
    assert [one["stretch"] for one in facts] == [[[0, 255]] * 3, [[0, 100]] * 3]
    assert (facts[0]["bands"], facts[0]["dtype"]) == ([1, 2, 3], "uint8")
    assert len({digest_of(folder / "model.safetensors") for folder in (plain, bright)}) == 2


def test_a_class_without_a_pixel_is_named(tmp_path, town):
    files = [town / f"{name}.tif" for name in ("image", "labels")]
    tile.run(**tile_arguments(tmp_path / "bare", "bare", *files))
    with pytest.raises(ValueError, match=r"bare/manifest\.json: class .* has 0 pixels"):
        trained(
            tmp_path, tmp_path / "bare" / "manifest.json", training(network={"prompter": False})
        )
    assert not (tmp_path / "model.safetensors").exists()
