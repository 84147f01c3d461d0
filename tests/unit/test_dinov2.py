"""The teacher's own ViT, in timm, against transformers' backbone of random weights."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline_steps.models import depthseg
from pipeline_steps.models.dinov2 import is_teacher, timm_settings
from pipeline_steps.models.encoder import Encoder
from pipeline_steps.models.teacher import load_teacher
from pipeline_steps.study.params.network import DepthSeg
from tests.data.teachers import ARCHITECTURES, DINO, TINY, write_teacher

REGISTERS = {"model_type": "dinov2_with_registers", "num_register_tokens": 3}
BACKBONES = {
    "plain": {},
    "registers": REGISTERS,
    "swiglu": {"use_swiglu_ffn": True, "hidden_size": 48},
    "swiglu and registers": REGISTERS | {"use_swiglu_ffn": True},
    "another ratio": {"mlp_ratio": 3, "qkv_bias": False, "layerscale_value": 0.5},
}


@pytest.fixture
def teacher(request, tmp_path, monkeypatch):
    own = DINO | BACKBONES[getattr(request, "param", "plain")]
    # a tap before the last, where transformers norms each
    config = TINY | {"backbone_config": own, "reassemble_hidden_size": own["hidden_size"]}
    monkeypatch.setitem(ARCHITECTURES, "this", config)
    return write_teacher(tmp_path / "teacher", "this")


def settings(**encoder):
    told = {"name": "teacher", "token_stride": 4, **encoder}
    network = {"encoder": told, "widths": [8, 8, 8, 8], "channels": 8}
    return DepthSeg.model_validate_json(json.dumps(network)).model_dump(mode="json")


def image(bands=3, width=32):
    return torch.rand(2, bands, 32, width, generator=torch.Generator().manual_seed(0))


# without registers transformers interpolates positions another way than timm, where it has to
SIZES = [(name, 32) for name in BACKBONES] + [(name, 64) for name in BACKBONES if "reg" in name]


@pytest.mark.parametrize("teacher, width", SIZES, indirect=["teacher"])
def test_the_teachers_vit_says_what_the_teachers_backbone_says(teacher, width):
    told = depthseg.resolved(settings(), teacher, 3, (0, 1, 2))
    encoder = depthseg.build(5, teacher, told).eval().encoder
    network = load_teacher(teacher, 1.0).network.eval()
    pixels = image(width=width)

    with torch.inference_mode():
        maps = network.backbone(encoder.bands(pixels)).feature_maps
        taps = encoder(pixels)

    for tap, expected in zip(taps, maps, strict=True):
        tokens = expected[:, encoder.vit.num_prefix_tokens :].transpose(1, 2)
        torch.testing.assert_close(tap.flatten(2), tokens, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("teacher", BACKBONES, indirect=True)
@pytest.mark.parametrize("bands", ["rgb", "all"])
def test_resolved_settings_build_the_same_network_without_another_file(teacher, bands):
    count = {"rgb": 3, "all": 5}[bands]
    told = depthseg.resolved(settings(bands=bands), teacher, 5, (3, 2, 1))
    trained = depthseg.build(5, teacher, told).eval()
    for path in teacher.iterdir():
        path.unlink()

    again = depthseg.build(5, None, json.loads(json.dumps(told))).eval()
    again.load_state_dict(trained.state_dict())

    pixels = image(count)
    assert torch.equal(again(pixels).logits, trained(pixels).logits)


def test_weights_of_the_teacher_are_used_frozen(teacher):
    net = depthseg.build(5, teacher, depthseg.resolved(settings(), teacher, 3, (0, 1, 2)))

    file = load_file(teacher / "model.safetensors")
    name = "encoder.layer.2.attention.attention"
    parts = [file[f"backbone.{name}.{p}.weight"] for p in ("query", "key", "value")]
    assert torch.equal(net.encoder.vit.blocks[2].attn.qkv.weight, torch.cat(parts))
    assert not any(p.requires_grad for p in net.encoder.parameters())


def test_an_image_is_normalised_as_the_teacher_was_taught(teacher):
    stated = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.6, 0.7]}
    (teacher / "preprocessor_config.json").write_text(json.dumps(stated))

    told = depthseg.resolved(settings(), teacher, 3, (0, 1, 2))["encoder"]

    assert told["mean"] == pytest.approx(stated["image_mean"])
    assert told["std"] == pytest.approx(stated["image_std"])


def test_further_arguments_stand_beside_the_teachers(teacher):
    more = settings(arguments={"drop_path_rate": 0.1})

    arguments = depthseg.resolved(more, teacher, 3, (0, 1, 2))["encoder"]["arguments"]

    assert (arguments["drop_path_rate"], arguments["embed_dim"]) == (0.1, 32)


@pytest.mark.parametrize("kind", ["glpn", "chmv2", "depth_pro", "dpt", "dpt on swinv2"])
def test_a_teacher_upon_another_backbone_is_refused_in_one_line(tmp_path, kind):
    folder = write_teacher(tmp_path, kind)

    with pytest.raises(ValueError, match=r"config\.json: backbone is .+, expected dinov2") as error:
        timm_settings(folder)
    assert "\n" not in str(error.value)


def test_a_backbone_with_another_activation_is_refused(teacher):
    file = teacher / "config.json"
    config = json.loads(file.read_text())
    config["backbone_config"]["hidden_act"] = "relu"
    file.write_text(json.dumps(config))

    with pytest.raises(ValueError, match="hidden_act of the backbone is relu, expected gelu"):
        timm_settings(teacher)


def test_a_teacher_without_its_folder_is_an_error():
    with pytest.raises(ValueError, match=r"encoder\.name is teacher, but there is no folder"):
        depthseg.resolved(settings(), None, 3, (0, 1, 2))


def test_a_teacher_that_lacks_a_tensor_is_refused(teacher):
    file = teacher / "model.safetensors"
    state = load_file(file)
    del state["backbone.encoder.layer.1.mlp.fc2.bias"]
    save_file(state, file)
    told = timm_settings(teacher)

    with pytest.raises(ValueError, match=r"model\.safetensors with .+blocks\.1\.mlp\.fc2\.bias"):
        Encoder(**told, weights=teacher)


def test_a_folder_of_timm_is_no_teacher(tmp_path, teacher):
    (tmp_path / "config.json").write_text('{"architecture": "vit_small_patch14_dinov2"}')

    assert is_teacher(teacher)
    assert not is_teacher(tmp_path)
    assert not is_teacher(tmp_path / "nothing")
