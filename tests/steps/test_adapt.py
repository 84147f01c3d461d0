import json
import shutil

import numpy as np
import pytest
import torch

from pipeline_steps import adapt, fetch, tile
from pipeline_steps.models.teacher import load_teacher
from pipeline_steps.rasters.store import Scene
from pipeline_steps.study.manifest import digest_of, read_manifest
from tests.steps.conftest import TEACHER, model_files, tile_arguments

PARAMS = adapt.Params(steps=40, batch=4, crop=32, resample=0.5, lr=3e-3, precision="fp32")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetched")
    files = model_files(folder)
    fetch.run("tiny", *files, TEACHER)
    return files[-1]


def correlation(depth, height):
    return np.corrcoef(depth.ravel(), height.ravel())[0, 1]


def adapted(folder, base, scene, params=PARAMS):
    files = model_files(folder)
    adapt.run(base, [scene], *files, params)
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
    short = PARAMS.model_copy(update={"steps": 1})

    folder = adapted(tmp_path / "new", other / "manifest.json", covered, short)

    teacher = load_teacher(folder, 1.0)
    assert teacher.image_mean.flatten().tolist() == pytest.approx(own["image_mean"])
    assert teacher.image_std.flatten().tolist() == pytest.approx(own["image_std"])


def test_the_same_seed_gives_the_same_teacher(tmp_path, base, covered):
    short = PARAMS.model_copy(update={"steps": 3})
    one, two = (adapted(tmp_path / name, base, covered, short) for name in "ab")
    assert digest_of(one / "model.safetensors") == digest_of(two / "model.safetensors")


def test_scenes_without_any_height_are_refused(tmp_path, base, town):
    arguments = tile_arguments(tmp_path / "flat", "flat")
    tile.run(
        images=[town / "image.tif"],
        label_files=[],
        elevation_files=[],
        params=tile.Params(),
        **arguments,
    )
    with pytest.raises(ValueError, match=r"elevation of flat: nothing above 0\.5 m found"):
        adapted(tmp_path / "new", base, tmp_path / "flat" / "manifest.json")
