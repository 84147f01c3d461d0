import json

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

from pipeline_steps import depth, tile, train
from pipeline_steps.rasters.raster import Grid, write_raster
from pipeline_steps.study.manifest import digest_of
from tests.steps.conftest import tile_arguments, training


@pytest.fixture(scope="session")
def height(tmp_path_factory, covered):
    folder = tmp_path_factory.mktemp("depth") / "elevation" / "somewhere"
    files = [folder / name for name in ("depth.zarr", "quality.json", "manifest.json")]
    depth.run(None, covered, *files, depth.Params())
    return files[2]


def trained(folder, covered, params, depths=(), seed=0, **changes):
    files = {"model": "model.safetensors", "history": "history.csv", "manifest": "manifest.json"}
    inputs = {
        "tiles": [covered],
        "depths": list(depths),
        "validation": [],
        "validation_depths": [],
        "encoder": None,
    }
    outputs = {key: folder / name for key, name in files.items()}
    train.run(**inputs | outputs | {"seed": seed, "params": params} | changes)
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
def striped(tmp_path):
    """A scene whose classes are stripes of their own grey, and as tall as they are bright."""
    level = np.broadcast_to((np.arange(64) // 10)[:, None], (64, 64))
    grid = Grid(64, 64, None, (1, 0, 0, 0, 1, 0))
    bands = {"image": np.stack([level * 40] * 3), "labels": level[None], "elevation": level[None]}
    for name, values in bands.items():
        dtype = np.float32 if name == "elevation" else np.uint8
        write_raster(tmp_path / f"{name}.tif", values.astype(dtype), grid)
    tile.run(
        images=[tmp_path / "image.tif"],
        label_files=[tmp_path / "labels.tif"],
        elevation_files=[tmp_path / "elevation.tif"],
        params=tile.Params(),
        **tile_arguments(tmp_path / "striped", "striped"),
    )
    names = ("depth.zarr", "quality.json", "manifest.json")
    files = [tmp_path / "depth" / name for name in names]
    depth.run(None, tmp_path / "striped" / "manifest.json", *files, depth.Params())
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


def test_a_class_without_a_pixel_is_named(tmp_path, town):
    arguments = tile_arguments(tmp_path / "bare", "bare")
    tile.run(
        images=[town / "image.tif"],
        label_files=[town / "labels.tif"],
        elevation_files=[],
        params=tile.Params(),
        **arguments,
    )
    with pytest.raises(ValueError, match=r"bare/manifest\.json: class .* has 0 pixels"):
        trained(
            tmp_path, tmp_path / "bare" / "manifest.json", training(network={"prompter": False})
        )
    assert not (tmp_path / "model.safetensors").exists()
