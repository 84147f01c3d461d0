import importlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipeline_steps import depth, fetch, tile, train
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.classes import ClassCode
from pipeline_steps.study.manifest import digest_of
from pipeline_steps.training import objective
from tests.data.studies import ROOT, environment
from tests.steps.conftest import (
    CODES,
    TEACHER,
    division,
    model_files,
    stretch_file,
    tile_arguments,
    training,
)


def trained(folder, covered, params, depths=(), seed=0, **changes):
    files = {"model": "model.safetensors", "history": "history.csv", "manifest": "manifest.json"}
    files |= {"panels": "panels"}
    inputs = {
        "tiles": [covered],
        "depths": list(depths),
        "validation": [],
        "validation_depths": [],
        "splits": [],
        "stretch": stretch_file(folder / "inputs"),
        "encoder": None,
        "depth_encoder": None,
        "events": None,
    }
    outputs = {key: folder / name for key, name in files.items()}
    train.run(**inputs | outputs | {"seed": seed, "fold": None, "params": params} | changes)
    return folder


def baseline(**changes):
    arguments = {"decoder_channels": [16, 16, 8, 8, 8]}
    network = {"model": "baseline", "encoder": {"name": "resnet18"}, "arguments": arguments}
    return training(network=network, **changes)


def test_a_baseline_is_trained_and_the_log_says_how_large_it_is(tmp_path, covered, caplog):
    with caplog.at_level("INFO"):
        folder = trained(tmp_path, covered, baseline())

    manifest = json.loads((folder / "manifest.json").read_text())
    (count, learned), *_ = (size for size in manifest["parameters"].values() if size[0])
    assert count == learned > 1e6
    assert f"network: {count} parameters, {learned} trained" in caplog.text
    assert load_file(folder / "model.safetensors")


def test_the_log_says_how_large_parts_are_beside_the_encoder(tmp_path, covered, height, caplog):
    with caplog.at_level("INFO"):
        folder = trained(tmp_path, covered, training(), [height])

    sizes = json.loads((folder / "manifest.json").read_text())["parameters"]
    share = 100 * sizes["adapters"][1] / sizes["encoder"][0]
    assert f"adapters: {share:.1f} % of encoder" in caplog.text


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
    assert made_from["../fetched/manifest.json"] == digest_of(
        tmp_path / "fetched" / "manifest.json"
    )


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


def test_a_class_that_no_training_scene_could_label_is_not_missed(tmp_path, town, covered):
    labels = covered.parents[1] / "labels.tif"
    bare = [one if number else ClassCode(name=one.name) for number, one in enumerate(CODES)]
    arguments = tile_arguments(tmp_path / "other", "other", town / "image.tif", labels)
    tile.run(**arguments | {"classes": bare, "params": tile.Params(ignore_labels=(0,))})

    settings = {"class_weights": "sqrt", "label_smoothing": 0.1, "dice": 1.0, "rare_classes": 0.1}
    params = training(network={"prompter": False}, **settings)
    folder = trained(tmp_path / "out", arguments["manifest"], params)

    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["label_counts"][0] == 0 and min(manifest["label_counts"][1:]) > 0
    assert len(manifest["classes"]) == len(CODES)
    assert np.isfinite(read(folder)["loss"]).all()


def test_a_class_that_one_training_scene_labels_is_missed(tmp_path, town, covered):
    labels = covered.parents[1] / "labels.tif"
    bare = [one if number else ClassCode(name=one.name) for number, one in enumerate(CODES)]
    moved = [ClassCode(name=CODES[0].name, value=99), *CODES[1:]]
    tiles = []
    for name, codes in (("bare", bare), ("moved", moved)):
        arguments = tile_arguments(tmp_path / name, name, town / "image.tif", labels)
        tile.run(**arguments | {"classes": codes, "params": tile.Params(ignore_labels=(0,))})
        tiles.append(arguments["manifest"])

    with pytest.raises(ValueError, match=f"class '{CODES[0].name}' has 0 pixels in the training"):
        trained(tmp_path, tiles[0], training(network={"prompter": False}), tiles=tiles)


# --- what it is told to do ------------------------------------------------------------------------


def read(folder):
    return pd.read_csv(folder / "history.csv")


CACHED = {"positions": "grid", "scale": [1.0, 1.0], "photometric": 0.0, "steps": 12}


def test_with_cached_features_it_learns_what_it_learns_without(tmp_path, covered, height):
    plain = trained(tmp_path / "plain", covered, training(**CACHED), [height])
    cached = trained(tmp_path / "cached", covered, training(**CACHED, feature_cache=True), [height])

    assert read(cached)["loss"].tolist() == pytest.approx(read(plain)["loss"].tolist(), rel=1e-3)
    one, other = (load_file(folder / "model.safetensors") for folder in (plain, cached))
    trainable = [key for key in one if "encoder" not in key and one[key].is_floating_point()]
    for key in trainable:
        torch.testing.assert_close(one[key], other[key], rtol=0.05, atol=5e-3)
    assert not list(cached.rglob("*features*"))


def test_the_encoder_of_cached_features_runs_once_for_each_crop(tmp_path, covered, height):
    seen = []
    encoder = importlib.import_module("pipeline_steps.models.encoder").Encoder
    forward = encoder.forward

    def counted(self, image):
        seen.append(len(image))
        return forward(self, image)

    params = training(**CACHED | {"steps": 24, "turns": False, "panels": 0}, feature_cache=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "forward", counted)
        trained(tmp_path, covered, params, [height])

    # nine windows of 32 pixels in 64
    assert sum(seen) == 9


def test_a_loss_that_is_no_number_names_the_crops_of_its_step(tmp_path, covered, height):
    params = training(lr=1.0, clip=1e6, weight_decay=0.0, steps=200, depth_weight=1000.0)

    def no_number(logits, *_):
        return logits.sum() * float("nan")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objective, "segmentation_loss", no_number)
        with pytest.raises(ValueError, match="loss is nan at step 1, expected") as error:
            trained(tmp_path, covered, params, [height])
    assert str(error.value).count("scene somewhere, rows ") == params.batch
    assert "\n" not in str(error.value)
    assert not (tmp_path / "model.safetensors").exists()


def test_pictures_show_the_network_at_work(tmp_path, covered, height):
    folder = trained(tmp_path, covered, training(steps=6, panels=3), [height])

    names = sorted(file.name for file in (folder / "panels").iterdir())
    assert names == ["step-000002.png", "step-000004.png", "step-000006.png"]
    with Image.open(folder / "panels" / names[0]) as picture:
        # three crops of 32 pixels below each other, four pictures of each
        assert picture.size == (4 * 36 - 4, 3 * 36 - 4)


def test_tensorboard_reads_every_row_and_picture(tmp_path, covered, height):
    params = training(steps=6, panels=3)
    folder = trained(tmp_path / "out", covered, params, [height], events=tmp_path / "events")

    events = EventAccumulator(str(tmp_path / "events"))
    events.Reload()
    history = read(folder)
    for key in ("loss", "cross_entropy", "ssim_loss", "lr"):
        told = [(event.step, event.value) for event in events.Scalars(key)]
        assert told == [
            (row.step, pytest.approx(getattr(row, key))) for row in history.itertuples()
        ]
    assert [event.step for event in events.Images("panel")] == [2, 4, 6]


@pytest.mark.parametrize(
    ("changes", "column"),
    [
        ({"dice": 0.5}, "dice_loss"),
        ({"depth_loss": {"l1": 1.0}}, "l1_loss"),
        ({"depth_loss": {"invariant": 1.0}}, "invariant_loss"),
        ({"depth_loss": {"gradient": 1.0}}, "gradient_loss"),
    ],
)
def test_a_term_of_the_loss_has_a_column_and_counts(tmp_path, covered, height, changes, column):
    plain = read(trained(tmp_path / "plain", covered, training(), [height]))
    more = read(trained(tmp_path / "more", covered, training(**changes), [height]))

    assert column in more and column not in plain
    weight = changes.get("dice", 1.0)
    assert more["loss"][0] > plain["loss"][0]
    rest = more["cross_entropy"][0] + more["ssim_loss"][0]
    assert more["loss"][0] == pytest.approx(rest + weight * more[column][0], rel=1e-5)


@pytest.mark.parametrize(
    "changes",
    [
        {"label_smoothing": 0.2},
        {"focal": 2.0},
        {"rare_classes": 0.1},
        {"positions": "grid"},
        {"depth_control": "constant"},
        {"depth_control": "shuffled"},
        {"ema": 0.9},
        {"class_weights": "sqrt"},
    ],
)
def test_a_switch_changes_what_is_learnt(tmp_path, covered, height, changes):
    plain = trained(tmp_path / "plain", covered, training(), [height])
    other = trained(tmp_path / "other", covered, training(**changes), [height])

    assert digest_of(plain / "model.safetensors") != digest_of(other / "model.safetensors")


def test_with_patience_it_ends_early_and_keeps_the_best(tmp_path, covered, height):
    held_out = {"validation": [covered], "validation_depths": [height]}
    params = training(steps=60, patience=3, report_every=2, lr=0.3, clip=100.0)
    folder = trained(tmp_path, covered, params, [height], **held_out)

    losses = read(folder)["val_loss"].to_numpy()
    assert len(losses) < 30
    assert losses.argmin() == len(losses) - 4


def test_patience_without_scenes_to_watch_is_refused(tmp_path, covered, height):
    with pytest.raises(ValueError, match="patience is 3, expected a scene to watch"):
        trained(tmp_path, covered, training(patience=3), [height])


def test_all_bands_of_an_image_are_seen_and_what_is_new_is_trained(tmp_path, town):
    with raster.opened(town / "image.tif") as source:
        pixels, grid = source.read(), Grid.of(source)
    five = np.concatenate([pixels, pixels[:2] // 2])
    write_raster(tmp_path / "five.tif", five, grid)
    labels = np.broadcast_to((np.arange(64) // 10)[:, None], (64, 64)).astype(np.uint8)
    write_raster(tmp_path / "labels.tif", labels[None], Grid(64, 64, None, (1, 0, 0, 0, 1, 0)))
    arguments = tile_arguments(
        tmp_path / "five", "five", tmp_path / "five.tif", tmp_path / "labels.tif"
    )
    tile.run(**arguments | {"params": tile.Params(bands=(1, 2, 3, 4, 5))})
    encoder = training().network.encoder.model_dump(mode="json") | {"bands": "all"}
    params = training(network={"prompter": False, "encoder": encoder}, photometric=0.3)

    folder = trained(tmp_path / "out", tmp_path / "five" / "manifest.json", params)

    state = load_file(folder / "model.safetensors")
    new = {key: value for key, value in state.items() if value.ndim == 4 and value.shape[1] == 2}
    assert new and all(value.abs().max() > 0 for value in new.values())


def test_the_encoder_may_be_the_teachers_own(tmp_path, covered, height):
    files = model_files(tmp_path / "teacher")
    fetch.run("tiny", *files, TEACHER)
    encoder = {"name": "teacher", "token_stride": 4}
    params = training(network={"encoder": encoder})

    folder = trained(tmp_path / "out", covered, params, [height], encoder=files[-1])

    made = json.loads((folder / "manifest.json").read_text())["network"]["encoder"]
    assert made["name"] != "teacher" and made["arguments"]["embed_dim"] == 16


def test_two_devices_learn_what_one_does(tmp_path, covered, height):
    """Started by torchrun, on two processes of the CPU."""
    params = training(network={"norm": "group"}, batch=4, devices=2, steps=4)
    one = trained(tmp_path / "one", covered, params.model_copy(update={"devices": 1}), [height])
    files = {"model": "model.safetensors", "history": "history.csv", "manifest": "manifest.json"}
    files |= {"panels": "panels"}
    flags = [text for k, n in files.items() for text in (f"--{k}", str(tmp_path / "two" / n))]
    step = ["--tiles", covered, "--depths", height, "--seed", "0"]
    step += ["--stretch", stretch_file(tmp_path / "inputs"), "--params", params.model_dump_json()]
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    run = [sys.executable, *launcher, "-m", "pipeline_steps.train", *map(str, step), *flags]

    done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, env=environment())

    assert done.returncode == 0, done.stderr[-3000:]
    two = tmp_path / "two"
    assert read(two)["loss"].tolist() == pytest.approx(read(one)["loss"].tolist(), rel=1e-4)
    states = [load_file(folder / "model.safetensors") for folder in (one, two)]
    for key, value in states[0].items():
        torch.testing.assert_close(states[1][key], value, rtol=1e-3, atol=1e-4)
