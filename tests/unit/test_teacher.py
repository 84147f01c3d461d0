import json

import numpy as np
import pytest
import torch

from pipeline_steps.models.teacher import (
    IMAGENET,
    Teacher,
    TeacherOnDevice,
    draw_teacher,
    load_teacher,
)

TINY = {
    "backbone_config": {
        "model_type": "dinov2",
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "patch_size": 4,
        "image_size": 32,
        "out_indices": [1, 2, 3, 4],
        "reshape_hidden_states": False,
        "apply_layernorm": True,
    },
    "patch_size": 4,
    "reassemble_hidden_size": 32,
    "neck_hidden_sizes": [8, 12, 16, 24],
    "fusion_hidden_size": 8,
    "head_hidden_size": 8,
}


def pixels(height=32, width=48):
    """Return pictures in [0, 1]."""
    return np.random.default_rng(0).random((2, 3, height, width), np.float32)


def image(height=32, width=48):
    return torch.from_numpy(pixels(height, width))


@pytest.fixture
def folder(tmp_path):
    draw_teacher(TINY, 0).save_pretrained(tmp_path)
    return tmp_path


def test_one_seed_draws_one_teacher():
    first, again, other = (draw_teacher(TINY, seed).state_dict() for seed in (3, 3, 4))

    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_saving_and_loading_changes_no_bit(folder):
    drawn, loaded = draw_teacher(TINY, 0), load_teacher(folder, 1.0).network

    assert drawn.state_dict().keys() == loaded.state_dict().keys()
    for key, value in drawn.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key]), key


def test_a_loaded_teacher_says_what_the_drawn_one_said(folder):
    drawn = Teacher(draw_teacher(TINY, 0), IMAGENET, 1.0).eval()

    with torch.inference_mode():
        assert torch.equal(drawn(image()), load_teacher(folder, 1.0).eval()(image()))


@pytest.mark.parametrize("resample", [0.5, 1.0, 1.7])
def test_height_has_the_size_of_the_image_at_any_resampling(folder, resample):
    teacher = load_teacher(folder, resample).eval()
    seen = []
    teacher.network.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))

    with torch.inference_mode():
        height = teacher(image(30, 50))

    assert height.shape == (2, 1, 30, 50) and height.dtype == torch.float32
    expected = [round(n * resample / 4) * 4 for n in (30, 50)]
    assert list(seen[0][2:]) == expected


def test_normalisation_is_what_the_folder_states_and_imagenets_otherwise(folder):
    assert load_teacher(folder, 1.0).image_mean.ravel().tolist() == pytest.approx(
        IMAGENET["image_mean"]
    )
    stated = {"image_mean": [0.1, 0.2, 0.3], "do_rescale": True}
    (folder / "preprocessor_config.json").write_text(json.dumps(stated))

    teacher = load_teacher(folder, 1.0)

    assert teacher.image_mean.ravel().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert teacher.image_std.ravel().tolist() == pytest.approx(IMAGENET["image_std"])


def test_another_model_is_an_error_that_names_its_folder(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "dpt"}))

    with pytest.raises(ValueError, match=rf"{tmp_path}/config.json: model_type is 'dpt', expected"):
        load_teacher(tmp_path, 1.0)


def test_weights_that_would_have_to_be_unpickled_are_refused(folder):
    network = load_teacher(folder, 1.0).network
    (folder / "model.safetensors").unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")

    with pytest.raises(OSError, match="safetensors"):
        load_teacher(folder, 1.0)


@pytest.mark.parametrize("wrong", [{"backbone_config": {"model_type": "no_such"}}])
def test_an_architecture_that_makes_no_teacher_is_an_error(wrong):
    with pytest.raises(ValueError, match="architecture does not make a Depth Anything: "):
        draw_teacher(TINY | wrong, 0)


def test_on_its_device_a_teacher_says_of_an_array_what_it_says_of_the_tensor(folder):
    found = TeacherOnDevice(folder, 1.0, "fp32")(pixels())

    assert found.shape == (2, 32, 48) and found.dtype == np.float32
    with torch.inference_mode():
        expected = load_teacher(folder, 1.0).eval()(image())[:, 0].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)
