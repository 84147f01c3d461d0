import json

import numpy as np
import pytest
import torch

from pipeline_steps import adapt, fetch, tile
from pipeline_steps.study.manifest import digest_of
from tests.steps.conftest import TEACHER, tile_arguments

PARAMS = adapt.Params(steps=40, batch=4, crop=32, resample=0.5, lr=3e-3, precision="fp32")


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fetched")
    files = [folder / name for name in ("config.json", "model.safetensors", "manifest.json")]
    fetch.run("tiny", *files, TEACHER)
    return files[2]


def adapted(folder, base, scene, params=PARAMS):
    files = [folder / name for name in ("config.json", "model.safetensors", "manifest.json")]
    adapt.run(base, [scene], *files, params)
    return folder


def test_a_teacher_learns_relative_height_and_is_saved_like_its_base(tmp_path, base, covered):
    folder = adapted(tmp_path, base, covered)

    from pipeline_steps.models.teacher import load_teacher

    image = torch.rand(1, 3, 32, 32)
    before, after = (load_teacher(f, 0.5).eval()(image) for f in (base.parent, folder))
    assert after.shape == before.shape == (1, 1, 32, 32)
    assert after.mean() > 0.2 > before.mean()  # flat ground is to give 0.3
    loss = json.loads((folder / "manifest.json").read_text())["loss"]
    assert np.isfinite(loss)


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
