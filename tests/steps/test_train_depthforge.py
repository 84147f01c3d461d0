"""DepthForge carried through the stages: trained, mapped, bundled, exported."""

import json

import numpy as np
import pandas as pd
import pytest
import rasterio
import torch
from safetensors.torch import load_file

from pipeline_steps import bundle, export, fetch
from pipeline_steps import map as map_step
from pipeline_steps.models.depthforge import DepthForge
from pipeline_steps.models.encoder import Encoder
from pipeline_steps.study.params.predict import Params as Predict
from tests.steps.conftest import LOOKS, TEACHER, TINY, model_files, training
from tests.steps.test_predict import mapped
from tests.steps.test_train import trained

FORGE = {
    "model": "depthforge",
    "encoder": TINY["network"]["encoder"] | {"taps": [0, 1, 2, 3]},
    **{"token_count": 8, "rank": 4, "width": 64, "layers": 2, "pixel_layers": 1, "heads": 2},
}
CACHED = {"positions": "grid", "scale": [1, 1], "photometric": 0.0, "batch": 2, "steps": 4}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    files = model_files(tmp_path_factory.mktemp("teacher"))
    fetch.run("tiny", *files, TEACHER)
    return files[-1]


def forge(network=(), **changes):
    return training(**{"teacher": "tiny"} | changes | {"network": FORGE | dict(network)})


@pytest.fixture(scope="module")
def model(tmp_path_factory, covered, teacher):
    folder = tmp_path_factory.mktemp("model")
    return trained(folder, covered, forge(), depth_encoder=teacher)


def test_the_depth_encoder_is_the_teacher_s_and_stays_so(model, teacher):
    state = load_file(model / "model.safetensors")
    theirs = load_file(teacher.with_name("model.safetensors"))

    told = json.loads((model / "manifest.json").read_text())
    assert told["network"]["depth_encoder"]["arguments"]["embed_dim"] == 16
    assert any("teacher" in path for path in told["made_from"])
    norms = {k: v for k, v in theirs.items() if k.startswith("backbone.encoder.layer.3.norm1")}
    assert norms
    for key, value in norms.items():
        name = key.replace("backbone.encoder.layer.", "depth_encoder.vit.blocks.")
        assert torch.equal(state[name], value)
    assert told["parameters"]["depth_encoder"][1] == 0 < told["parameters"]["tokens"][1]


def test_what_the_history_tells(model):
    history = pd.read_csv(model / "history.csv")

    losses = {"loss", "loss_cross_entropy", "loss_mask", "loss_dice"}
    assert losses | {"visual_variance", "depth_variance"} <= set(history)
    assert np.isfinite(history).all().all()


def test_the_same_seed_gives_the_same_weights(tmp_path, model, covered, teacher):
    again = trained(tmp_path, covered, forge(), depth_encoder=teacher)

    one, other = (load_file(folder / "model.safetensors") for folder in (model, again))
    assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("head", ["mask2former", "decoder"])
def test_it_maps_a_scene_by_blended_windows(tmp_path, covered, teacher, head, model):
    if head == "decoder":
        model = trained(tmp_path / "m", covered, forge({"head": head}), depth_encoder=teacher)

    classes, confidence = mapped(tmp_path / "maps", model / "manifest.json", covered)

    with rasterio.open(classes) as found, rasterio.open(confidence) as sure:
        assert found.shape == (64, 64) and found.read(1).max() < len(LOOKS)
        # blended are probabilities: no class of so many can have less than its share
        assert sure.read(1).min() >= 100 / len(LOOKS) - 1


def test_cached_depth_teaches_what_depth_teaches_that_is_seen(tmp_path, covered, teacher):
    """float16 alone lies between."""
    runs = {}
    for cached in (False, True):
        params = forge(**CACHED, feature_cache=cached)
        folder = trained(tmp_path / str(cached), covered, params, depth_encoder=teacher)
        runs[cached] = pd.read_csv(folder / "history.csv")["loss"]

    np.testing.assert_allclose(runs[True], runs[False], rtol=1e-3)


def test_with_cached_depth_the_depth_encoder_sees_each_crop_once(
    tmp_path, covered, teacher, monkeypatch
):
    seen, forward = [], Encoder.forward
    monkeypatch.setattr(
        Encoder, "forward", lambda one, x: seen.append((one, len(x))) or forward(one, x)
    )
    constant, called = DepthForge.constant, []
    monkeypatch.setattr(
        DepthForge, "constant", lambda net, x: called.append(len(x)) or constant(net, x)
    )

    # 64 pixels have nine crops of 32 that overlap by a quarter or more
    params = forge(**CACHED | {"steps": 40, "turns": False, "panels": 0}, feature_cache=True)
    trained(tmp_path, covered, params, depth_encoder=teacher)

    assert sum(called) == 9
    assert sum(count for _, count in seen) == 40 * 2 + 9


def test_without_depth_no_teacher_is_needed(tmp_path, covered):
    params = forge({"tokens": "plain"}, teacher=None)

    folder = trained(tmp_path, covered, params)

    assert "depth_encoder" not in json.loads((folder / "manifest.json").read_text())["network"]


@pytest.fixture(scope="module")
def bundled(tmp_path_factory, model, covered, teacher):
    folder = tmp_path_factory.mktemp("bundle")
    weights, manifest = folder / "model.safetensors", folder / "bundle.json"
    made = (model / "manifest.json", [covered], [teacher], weights, manifest, LOOKS, {})
    how = (Predict(window=32, batch=2), bundle.Params())
    bundle.run("forge/seed-0", *made, *how)
    return manifest


def test_its_bundle_maps_a_new_image_with_nothing_beside(tmp_path, bundled, town):
    maps = [tmp_path / "maps" / "classes.tif"]
    params = map_step.Params(window=32, batch=2, precision="fp32", outputs=())

    map_step.run("new", str(town / "image.tif"), [bundled], maps, tmp_path / "map.json", params)

    with rasterio.open(maps[0]) as found:
        assert found.shape == (64, 64)


@pytest.mark.slow
def test_another_runtime_says_what_torch_says(tmp_path, bundled):
    export.run(bundled, [tmp_path / "model.onnx"], tmp_path / "manifest.json", export.Params())

    told = json.loads((tmp_path / "manifest.json").read_text())["difference"]
    assert 0 <= told["onnx"] < 1e-3
