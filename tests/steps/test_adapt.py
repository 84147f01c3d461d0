import json
import os
import shutil
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline_steps import adapt, fetch, tile
from pipeline_steps.models.teacher import load_teacher
from pipeline_steps.rasters.raster import Grid, opened
from pipeline_steps.rasters.store import Scene
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.manifest import digest_of, read_manifest
from pipeline_steps.training.keeper import TERMINATED
from pipeline_steps.training.loop import Training
from tests.steps.conftest import (
    TEACHER,
    division,
    model_files,
    retell,
    stretch_file,
    tile_arguments,
)

PARAMS = adapt.Params(steps=40, batch=4, crop=32, resample=0.5, lr=3e-3, precision="fp32")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetched")
    files = model_files(folder)
    fetch.run("tiny", *files, TEACHER)
    return files[-1]


def correlation(depth, height):
    return np.corrcoef(depth.ravel(), height.ravel())[0, 1]


def adapted(folder, base, scene, params=PARAMS, splits=(), limits=None):
    stretch = stretch_file(folder / "inputs", limits)
    adapt.run(base, [scene], list(splits), stretch, *model_files(folder), params)
    return folder


def test_a_teacher_learns_relative_height_and_is_saved_like_its_base(tmp_path, base, covered):
    folder = adapted(tmp_path, base, covered)

    scene = Scene(covered, read_manifest(covered))
    image = torch.from_numpy(scene.array("image", 0)[:])[None] / 255
    height = scene.array("elevation", 0)[:]
    with torch.no_grad():
        before, after = (
            load_teacher(f, 0.5).eval()(image)[0, 0].numpy() for f in (base.parent, folder)
        )
    assert after.shape == before.shape == height.shape
    assert correlation(after, height) > max(0.3, correlation(before, height) + 0.2)
    assert set(json.loads((folder / "config.json").read_text())) >= {"model_type", "patch_size"}


def test_a_teachers_normalisation_outlives_its_adaptation(tmp_path, base, covered):
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    other = shutil.copytree(base.parent, tmp_path / "other")
    (other / "preprocessor_config.json").write_text(json.dumps(own))
    retell(other / "manifest.json")
    short = PARAMS.model_copy(update={"steps": 1})

    folder = adapted(tmp_path / "new", other / "manifest.json", covered, short)

    teacher = load_teacher(folder, 1.0)
    assert teacher.image_mean.flatten().tolist() == pytest.approx(own["image_mean"])
    assert teacher.image_std.flatten().tolist() == pytest.approx(own["image_std"])


def test_the_manifest_tells_depth_how_to_show_scenes_to_the_teacher(tmp_path, base, covered):
    """A teacher whose base gives depth gives it still: its network sees no sign."""
    other = shutil.copytree(base.parent, tmp_path / "other") / "manifest.json"
    stated = {"gives": "depth", "license": "CC-BY-NC-4.0"}
    other.write_text(json.dumps(read_manifest(other) | stated))
    short = PARAMS.model_copy(update={"steps": 1})
    at_1_m = short.model_copy(update={"resample": None, "gsd": 1.0})

    plain, by_gsd = (
        read_manifest(adapted(tmp_path / name, *made) / "manifest.json")
        for name, made in {
            "plain": (base, covered, short),
            "by gsd": (other, covered, at_1_m),
        }.items()
    )

    keys = ("gives", "license", "gsd", "resample")
    origin = read_manifest(base)
    expected = [origin.get("gives"), origin.get("license"), None, 0.5]
    assert [plain[key] for key in keys] == expected
    assert [by_gsd[key] for key in keys] == ["depth", "CC-BY-NC-4.0", 1.0, None]


def test_scenes_of_half_a_metre_seen_at_one_are_halved(tmp_path, base, covered):
    short = PARAMS.model_copy(update={"steps": 2})
    sizes = ({"gsd": 1.0, "resample": None}, {"resample": 0.5}, {"gsd": 0.5, "resample": None})

    weights = [
        digest_of(
            adapted(tmp_path / str(n), base, covered, short.model_copy(update=size))
            / "model.safetensors"
        )
        for n, size in enumerate(sizes)
    ]

    assert weights[0] == weights[1] != weights[2]


def test_a_scene_without_a_georeference_has_no_metres_to_be_brought_to(tmp_path, base, town):
    files = {}
    for name in ("image", "elevation"):
        files[name] = tmp_path / f"{name}.tif"
        with opened(town / f"{name}.tif") as source:
            write_raster(files[name], source.read(), Grid(64, 64, None, (1, 0, 0, 0, 1, 0)))
    tile.run(**tile_arguments(tmp_path / "nowhere", "nowhere", **files))
    in_metres = PARAMS.model_copy(update={"gsd": 1.0, "resample": None})

    with pytest.raises(ValueError, match=r"nowhere/manifest\.json: raster image has no georef"):
        adapted(tmp_path / "new", base, tmp_path / "nowhere" / "manifest.json", in_metres)


def test_only_one_of_gsd_and_resample_can_be_stated():
    with pytest.raises(ValueError, match=r"gsd is 1\.0 and resample 0\.5, expected one of them"):
        adapt.Params(gsd=1.0, resample=0.5)


def test_what_a_teacher_gives_keeps_its_range(tmp_path, base, covered):
    """Answers of a pretrained network lie anywhere; it is not dragged elsewhere first."""
    other = shutil.copytree(base.parent, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["head.conv3.weight"] *= 100
    tensors["head.conv3.bias"] += 40
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    retell(other / "manifest.json")

    folder = adapted(tmp_path / "new", other / "manifest.json", covered)

    scene = Scene(covered, read_manifest(covered))
    image = torch.from_numpy(scene.array("image", 0)[:])[None] / 255
    height = scene.array("elevation", 0)[:]
    with torch.no_grad():
        before, after = (load_teacher(f, 0.5).eval()(image)[0, 0].numpy() for f in (other, folder))
    assert correlation(after, height) > max(0.3, correlation(before, height) + 0.2)
    assert abs(after.mean() - before.mean()) < 3 * before.std()


def test_the_absolute_error_has_no_weight_at_first(tmp_path, base, covered):
    """With any from the start, all would be drawn to the ground, of which there is most."""

    def weights(steps, weight):
        params = PARAMS.model_copy(update={"steps": steps, "absolute_weight": weight})
        folder = adapted(tmp_path / f"{steps} {weight}", base, covered, params)
        return digest_of(folder / "model.safetensors")

    assert weights(1, 0.0) == weights(1, 50.0)
    assert weights(2, 0.0) != weights(2, 50.0)


def test_the_same_seed_gives_the_same_teacher(tmp_path, base, covered):
    short = PARAMS.model_copy(update={"steps": 3})
    one, two = (adapted(tmp_path / name, base, covered, short) for name in "ab")
    assert digest_of(one / "model.safetensors") == digest_of(two / "model.safetensors")


def test_asked_to_end_it_is_kept_and_goes_on_to_the_same_bytes(
    tmp_path, base, covered, monkeypatch
):
    whole = adapted(tmp_path / "whole" / "town", base, covered)
    step, folder = Training.step, tmp_path / "ended" / "town"

    def asked(training, batch):
        step(training, batch)
        if training.done == 17:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
        patch.setattr(Training, "step", asked)
        adapted(folder, base, covered)
    assert ended.value.code == TERMINATED
    assert not any(file.exists() for file in model_files(folder))

    taken = []
    monkeypatch.setattr(Training, "step", lambda *how: (taken.append(1), step(*how)))
    adapted(folder, base, covered)

    assert len(taken) == PARAMS.steps - 17
    for one, other in zip(model_files(folder), model_files(whole), strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert not list(folder.glob("*.partial"))


def test_of_a_divided_scene_the_training_part_alone_is_learnt(tmp_path, base, town):
    """Another height on the last block, which is tested, changes nothing; on the first it does."""
    short = PARAMS.model_copy(update={"steps": 3})
    with opened(town / "elevation.tif") as source:
        grid, height = Grid.of(source), source.read()
    weights = []
    for number, columns in enumerate((slice(0), slice(44, 64), slice(0, 20))):
        folder, other = tmp_path / str(number), height.copy()
        other[..., columns] = 9 - other[..., columns]
        write_raster(folder / "elevation.tif", other, grid)
        files = {"image": town / "image.tif", "elevation": folder / "elevation.tif"}
        tile.run(**tile_arguments(folder / "scene", "scene", **files))
        split = division(folder / "split", "scene", [[0, 1, 2]])
        scene = folder / "scene" / "manifest.json"
        made = adapted(folder / "teacher", base, scene, short, splits=[split])
        weights.append(digest_of(made / "model.safetensors"))
    assert weights[0] == weights[1] != weights[2]


def test_an_image_of_sixteen_bits_is_seen_between_the_studys_limits(tmp_path, base, deep, town):
    short = PARAMS.model_copy(update={"steps": 2})
    files = {"image": town / "image.tif", "elevation": town / "elevation.tif"}
    tile.run(**tile_arguments(tmp_path / "somewhere", "somewhere", **files))
    plain = tmp_path / "somewhere" / "manifest.json"

    same, other = (
        adapted(tmp_path / str(high), base, deep, short, limits=[[0, high]])
        for high in (65535, 30000)
    )

    weights = [
        digest_of(folder / "model.safetensors")
        for folder in (adapted(tmp_path / "plain", base, plain, short), same, other)
    ]
    assert weights[0] == weights[1] != weights[2]


def test_scenes_without_any_height_are_refused(tmp_path, base, town):
    tile.run(**tile_arguments(tmp_path / "flat", "flat", town / "image.tif"))
    with pytest.raises(ValueError, match=r"elevation of flat: nothing above 0\.5 m found"):
        adapted(tmp_path / "new", base, tmp_path / "flat" / "manifest.json")
