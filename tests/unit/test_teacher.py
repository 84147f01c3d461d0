import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline_steps.models import teacher as teachers
from pipeline_steps.models.teacher import (
    GIVES,
    IMAGENET,
    KINDS,
    Teacher,
    draw_teacher,
    load_teacher,
    save_teacher,
)
from tests.data.teachers import ARCHITECTURES, TINY, write_teacher

TURNED_AROUND = {
    "metric depth_anything",
    "prompt_depth_anything",
    "dpt on dinov2",
    "glpn",
    "zoedepth",
    "tipsv2_dpt",
}
"""Those that give depth, of which less is taller."""


def image(height=32, width=48):
    """Return pictures in [0, 1]."""
    return torch.rand((2, 3, height, width), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folder(tmp_path):
    return write_teacher(tmp_path)


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Return a function from an architecture's name to its folder, written once."""
    written = {}

    def folder_of(name):
        if name not in written:
            written[name] = write_teacher(tmp_path_factory.mktemp("teacher"), name)
        return written[name]

    return folder_of


def seen_by(teacher):
    """Return a list that will hold the sizes of all images that the network sees."""
    sizes = []
    teacher.network.register_forward_pre_hook(lambda _, args: sizes.append(args[0].shape[2:]))
    return sizes


# What it is made of


def test_one_seed_draws_one_teacher():
    first, again, other = (draw_teacher(TINY, seed).state_dict() for seed in (3, 3, 4))

    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_saving_and_loading_changes_no_bit(tmp_path):
    drawn = draw_teacher(TINY, 0)
    drawn.save_pretrained(tmp_path)

    loaded = load_teacher(tmp_path, 1.0).network

    assert drawn.state_dict().keys() == loaded.state_dict().keys()
    for key, value in drawn.state_dict().items():
        assert torch.equal(value, loaded.state_dict()[key]), key


@pytest.mark.parametrize("name", ["depth_anything", "glpn", "dpt on dinov2"])
def test_a_teacher_that_is_saved_again_says_what_it_said(zoo, tmp_path, name):
    teacher = load_teacher(zoo(name), 1.0).eval()
    save_teacher(teacher, tmp_path)

    with torch.inference_mode():
        assert torch.equal(load_teacher(tmp_path, 1.0).eval()(image()), teacher(image()))


def test_weights_of_half_precision_are_used_in_full(tmp_path):
    draw_teacher(TINY, 0).half().save_pretrained(tmp_path)

    assert {p.dtype for p in load_teacher(tmp_path, 1.0).parameters()} == {torch.float32}


def test_weights_that_would_have_to_be_unpickled_are_refused(folder):
    network = load_teacher(folder, 1.0).network
    (folder / "model.safetensors").unlink()
    torch.save(network.state_dict(), folder / "pytorch_model.bin")

    with pytest.raises(OSError, match="safetensors"):
        load_teacher(folder, 1.0)


def change_weights(folder, change):
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def missing(state):
    del state["head.conv1.weight"], state["head.conv1.bias"]


def in_excess(state):
    state |= {"head.conv4.weight": torch.zeros(1), "head.conv4.bias": torch.zeros(1)}


def of_another_shape(state):
    state |= {"head.conv1.weight": torch.zeros(1, 1, 3, 3), "head.conv1.bias": torch.zeros(1)}


@pytest.mark.parametrize("change", [missing, in_excess, of_another_shape])
def test_weights_that_are_not_the_configs_are_refused_by_name(folder, change):
    change_weights(folder, change)

    what = change.__name__.replace("_", " ")
    with pytest.raises(ValueError, match=rf"{folder}: 2 tensors are {what} \(head.conv") as error:
        load_teacher(folder, 1.0)
    assert "\n" not in str(error.value)


def test_tensors_that_no_forward_pass_reads_may_lack(folder):
    """As in weights of DPT and DINOv2 that are published."""

    def change(state):
        unused = [key for key in state if "layers.0.residual_layer1" in key or "mask_token" in key]
        assert len(unused) == 5
        for key in unused:
            del state[key]

    with torch.inference_mode():
        before = load_teacher(folder, 1.0).eval()(image())
        change_weights(folder, change)
        assert torch.equal(load_teacher(folder, 1.0).eval()(image()), before)


@pytest.mark.parametrize("wrong", [{"model_type": "bert"}, {}])
def test_another_model_is_an_error_that_names_its_folder(tmp_path, wrong):
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    found = repr(wrong.get("model_type"))

    with pytest.raises(ValueError, match=rf"{tmp_path}/config.json: model_type is {found}, exp"):
        load_teacher(tmp_path, 1.0)


@pytest.mark.parametrize(
    "wrong, said",
    [
        (TINY | {"backbone_config": {"model_type": "no_such"}}, "architecture does not make a Dep"),
        ({"model_type": "bert"}, "architecture: model_type is 'bert', expected one of chmv2, dep"),
        ({"model_type": "dpt", "readout_type": 3}, "architecture does not make a DPTForDepthEst"),
    ],
)
def test_an_architecture_that_makes_no_teacher_is_an_error(wrong, said):
    with pytest.raises(ValueError, match=said):
        draw_teacher(wrong, 0)


# Which way is up


def test_it_is_known_of_every_kind_what_it_gives():
    assert set(KINDS) == set(GIVES)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_larger_is_taller(zoo, name):
    teacher = load_teacher(zoo(name), 1.0).eval()
    sign = -1 if name in TURNED_AROUND else 1

    with torch.inference_mode():
        seen = teacher.prepare(image())
        raw = teacher.network((seen - teacher.image_mean) / teacher.image_std).predicted_depth
        height = teacher.look(seen)

    assert raw.std() > 0
    assert torch.equal(height[:, 0], sign * raw)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_kind_looks_at_an_image_of_any_size(zoo, name):
    teacher = load_teacher(zoo(name), 1.0).eval()

    with torch.inference_mode():
        height = teacher(image(50, 70))

    assert height.shape == (2, 1, 50, 70) and height.dtype == torch.float32
    assert height.isfinite().all() and height.std() > 0


def test_what_is_stated_of_a_teacher_wins(zoo):
    with torch.inference_mode():
        known, stated = (
            load_teacher(zoo("glpn"), 1.0, gives).eval()(image()) for gives in (None, "height")
        )

    assert torch.equal(stated, -known)


def test_a_teacher_must_not_give_what_nobody_knows(folder):
    with pytest.raises(ValueError, match=r"config.json: gives is 'eager', expected one of inverse"):
        load_teacher(folder, 1.0, "eager")


def test_a_kind_of_which_nothing_is_known_must_have_it_stated(folder, monkeypatch):
    monkeypatch.delitem(GIVES, "depth_anything")

    said = r"config.json: what a depth_anything gives is not known, expected fetch.models.<name>.g"
    with pytest.raises(ValueError, match=said):
        load_teacher(folder, 1.0)
    assert load_teacher(folder, 1.0, "depth").sign == -1


# What it sees


@pytest.mark.parametrize("resample", [0.5, 1.0, 1.7])
def test_height_has_the_size_of_the_image_at_any_resampling(folder, resample):
    teacher = load_teacher(folder, resample).eval()
    seen = seen_by(teacher)

    with torch.inference_mode():
        height = teacher(image(30, 50))

    assert height.shape == (2, 1, 30, 50) and height.dtype == torch.float32
    assert list(seen[0]) == [round(n * resample / 4) * 4 for n in (30, 50)]


@pytest.mark.parametrize(
    "name, size",
    [
        ("depth_anything", (52, 68)),
        ("glpn", (64, 64)),
        ("dpt", (72, 72)),
        ("dpt on dinov2", (56, 72)),
        ("dpt on swinv2", (64, 64)),
        ("hybrid dpt", (64, 64)),
        ("depth_pro", (64, 64)),
    ],
)
def test_the_network_sees_sides_that_it_can_divide(zoo, name, size):
    teacher = load_teacher(zoo(name), 1.0).eval()
    seen = seen_by(teacher)

    with torch.inference_mode():
        teacher(image(53, 69))

    assert tuple(seen[0]) == size


def test_an_image_of_the_right_size_reaches_the_network_as_it_is(folder):
    teacher = load_teacher(folder, 1.0).eval()
    seen = []
    teacher.network.register_forward_pre_hook(lambda _, args: seen.append(args[0]))

    with torch.inference_mode():
        teacher(image())

    assert torch.equal(seen[0], (image() - teacher.image_mean) / teacher.image_std)


def mean_and_std(folder):
    teacher = load_teacher(folder, 1.0)
    return teacher.image_mean.ravel().tolist(), teacher.image_std.ravel().tolist()


@pytest.mark.parametrize(
    "stated, mean, std",
    [
        (None, IMAGENET["image_mean"], IMAGENET["image_std"]),
        ({"image_mean": [0.1, 0.2, 0.3]}, [0.1, 0.2, 0.3], IMAGENET["image_std"]),
        ({"do_normalize": False} | IMAGENET, [0.0] * 3, [1.0] * 3),
        # as DINOv2's heads have it: normalised in [0, 255]
        (
            {"do_rescale": False, "image_mean": [51.0] * 3, "image_std": [25.5] * 3},
            [0.2] * 3,
            [0.1] * 3,
        ),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3}, [0.5] * 3, None),
    ],
)
def test_normalisation_is_what_the_folder_states_and_imagenets_otherwise(folder, stated, mean, std):
    if stated is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(stated))

    found = mean_and_std(folder)

    assert found[0] == pytest.approx(mean)
    assert std is None or found[1] == pytest.approx(std)


def test_glpn_sees_images_without_normalisation(zoo):
    assert mean_and_std(zoo("glpn")) == ([0.0] * 3, [1.0] * 3)


def test_a_teacher_may_be_made_of_a_network_at_hand(folder):
    network = load_teacher(folder, 1.0).network

    made = Teacher(network, IMAGENET, "inverse_depth", 4, 1.0).eval()

    with torch.inference_mode():
        assert torch.equal(made(image()), load_teacher(folder, 1.0).eval()(image()))
    assert teachers.one_channel(network) == [network.head.conv3]
