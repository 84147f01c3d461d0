import json

import pytest
import timm
import torch
import yaml
from safetensors.torch import save_file
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config
from torch.nn import functional

from pipeline_steps.models.baseline import build, resolved
from pipeline_steps.models.sizes import sizes_of
from pipeline_steps.study.config import load
from pipeline_steps.study.params.network import Baseline
from tests.data.studies import ROOT

CLASSES = 5
STUDIES = ROOT / "config" / "studies"
SMALL = {"decoder_channels": [16, 16, 8, 8, 8]}
VIT = {
    "embed_dim": 32,
    "num_heads": 2,
    "decoder_intermediate_channels": [8, 8, 16, 16],
    "decoder_fusion_channels": 16,
}
NETWORKS = [
    ("unet", "resnet18", SMALL),
    ("unet", "efficientnet-b0", SMALL),
    ("unet", "tu-convnext_atto", SMALL),
    ("deeplabv3plus", "tu-resnet10t", {"decoder_channels": 16}),
    ("upernet", "resnet18", {"decoder_channels": 16}),
    ("segformer", "mit_b0", {"decoder_segmentation_channels": 16}),
    ("dpt", "tu-vit_small_patch16_224", VIT),
    ("dpt", "tu-vit_small_patch16_dinov3", VIT),
]


def settings(architecture="unet", name="resnet18", arguments=SMALL, **encoder):
    told = {"model": "baseline", "architecture": architecture, "encoder": {"name": name, **encoder}}
    told["arguments"] = arguments
    return Baseline.model_validate_json(json.dumps(told)).model_dump(mode="json")


def network(*chosen, **encoder):
    torch.manual_seed(0)
    return build(CLASSES, None, settings(*chosen, **encoder))


def image(height=64, width=96, bands=3):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, bands, height, width, generator=generator)


def count(net):
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize("chosen", NETWORKS, ids=lambda chosen: "-".join(chosen[:2]))
def test_every_kind_trains_all_that_is_trainable_and_classifies_each_pixel(chosen):
    net = network(*chosen)

    logits, depth, *_ = net(image(32, 64), torch.rand(2, 1, 32, 64))
    functional.cross_entropy(logits, torch.zeros(2, 32, 64, dtype=torch.long)).backward()

    assert net.training and not net.sees_depth
    assert depth is None and logits.shape == (2, CLASSES, 32, 64)
    for name, value in net.named_parameters():
        assert (value.grad is not None) == value.requires_grad, name
    assert net.eval()(image()).logits.shape == (2, CLASSES, 64, 96)


def test_what_no_logit_depends_on_is_not_trained():
    net = network("unet", "efficientnet-b0", SMALL)

    still = {name for name, value in net.named_parameters() if not value.requires_grad}
    assert still == {
        f"network.encoder._{end}" for end in ("conv_head.weight", "bn1.weight", "bn1.bias")
    }


def test_equal_seeds_build_equal_networks_that_have_seen_nothing():
    first, second = network().state_dict(), network().state_dict()

    assert all(torch.equal(first[key], second[key]) for key in first)
    assert all(not value.any() for key, value in first.items() if key.endswith("running_mean"))
    assert all(value.grad is None for value in network().parameters())


def test_settings_rebuild_the_network():
    told = json.loads(json.dumps(resolved(settings(bands="all"), None, 5, (3, 1, 0))))
    trained, again = (build(CLASSES, None, told).eval() for _ in range(2))

    again.load_state_dict(trained.state_dict())

    assert told["encoder"]["in_bands"] == 5
    assert torch.equal(again(image(bands=5)).logits, trained(image(bands=5)).logits)


def test_images_are_normalised_as_imagenet_and_bands_come_in_order():
    net, seen = build(CLASSES, None, resolved(settings(bands="all"), None, 4, (2, 1, 0))), []
    net.network.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    pixels = image(bands=4)

    net(pixels)

    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (pixels[:, [2, 1, 0]] - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(seen[0][:, :3], expected)
    torch.testing.assert_close(seen[0][:, 3], (pixels[:, 3] - mean.mean()) / std.mean())


def test_a_budget_is_met_by_the_decoders_channels():
    with torch.device("meta"):
        default, thin = network("unet", "resnet34", None), network("unet", "resnet34", SMALL)

    assert round(count(default) / 1e6, 1) == 24.4
    assert count(thin) < count(default) - 2e6


def written(folder, name, **missing):
    folder.mkdir()
    state = timm.create_model(name, **missing.pop("arguments", {})).state_dict()
    for key in missing:
        del state[key.replace("__", ".")]
    save_file(state, folder / "model.safetensors")
    return folder, state


def test_weights_of_a_timm_encoder_are_those_of_the_folder(tmp_path):
    folder, state = written(tmp_path / "net", "resnet10t")

    net = build(CLASSES, folder, settings("unet", "tu-resnet10t"))

    own = net.network.encoder.model.state_dict()
    assert torch.equal(own["layer3.0.conv1.weight"], state["layer3.0.conv1.weight"])
    assert torch.equal(own["bn1.running_var"], state["bn1.running_var"])


def test_weights_reach_a_dpt_and_one_of_more_bands(tmp_path):
    arguments = {key: VIT[key] for key in ("embed_dim", "num_heads")}
    folder, state = written(tmp_path / "vit", "vit_small_patch16_224", arguments=arguments)

    told = resolved(
        settings("dpt", "tu-vit_small_patch16_224", VIT, bands="all"), None, 4, (0, 1, 2)
    )
    own = build(CLASSES, folder, told).network.encoder.model.state_dict()

    assert torch.equal(own["blocks.5.mlp.fc1.weight"], state["blocks.5.mlp.fc1.weight"])
    assert own["patch_embed.proj.weight"].shape[1] == 4


def test_weights_that_lack_a_tensor_are_refused(tmp_path):
    folder, _ = written(tmp_path / "net", "resnet10t", layer3__0__conv1__weight=None)

    with pytest.raises(ValueError, match=r"model\.safetensors.+layer3\.0\.conv1\.weight") as error:
        build(CLASSES, folder, settings("unet", "tu-resnet10t"))
    assert "\n" not in str(error.value)


def test_weights_of_another_librarys_encoder_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"encoder resnet18 has weights .+, expected none"):
        build(CLASSES, tmp_path, settings())


@pytest.mark.parametrize(
    "chosen, words",
    [
        (("unet", "no_such", None), "encoder no_such and {} makes no network.+no_such"),
        (("unet", "tu-no_such", None), r"Unknown model \(no_such\)"),
        (("unet", "tu-vit_small_patch16_224", None), "Unsupported model downsampling pattern"),
        (("dpt", "resnet18", None), "must start with 'tu-', got resnet18"),
        (("dpt", "tu-vit_small_patch14_dinov2", VIT), "multiples of 32: .+ divisible by 14"),
        (("upernet", "tu-swin_tiny_patch4_window7_224", None), "doesn't match model"),
        (("unet", "resnet18", {"decoder_channels": [8]}), "`decoder_channels` for 1 blocks"),
        (("unet", "resnet18", {"decoder_chanels": 1}), "has decoder_chanels, expected some of"),
        (("unet", "tu-resnet10t", {"chanels": 1}), "unexpected keyword argument 'chanels'"),
        (("unet", "resnet18", {"encoder_weights": "imagenet"}), "arguments has encoder_weights"),
        (("unet", "tu-resnet10t", {"pretrained": True}), "arguments has pretrained, expected only"),
    ],
    ids=str,
)
def test_what_makes_no_network_is_an_error_of_one_line(chosen, words):
    with pytest.raises(ValueError, match=words) as error:
        network(*chosen)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["unet", "deeplabv3plus", "upernet", "segformer", "dpt"])
def test_the_ready_made_baselines_are_networks(name):
    stated = yaml.safe_load((STUDIES / "_baselines.yaml").read_text())["variants"]["network"][name]
    told = Baseline.model_validate_json(json.dumps(stated["network"])).model_dump(mode="json")

    logits = build(CLASSES, None, told).eval()(torch.zeros(1, 3, 64, 64)).logits

    assert logits.shape == (1, CLASSES, 64, 64)


def test_an_image_is_normalised_as_its_encoder_was_taught():
    taught = timm.get_pretrained_cfg("vit_small_patch16_224")
    ours = network("dpt", "tu-vit_small_patch16_224", VIT).bands
    others = network("unet", "resnet18", SMALL).bands

    assert ours.mean.flatten().tolist() == pytest.approx(taught.mean)
    assert ours.std.flatten().tolist() == pytest.approx(taught.std)
    assert others.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    assert taught.mean != (0.485, 0.456, 0.406)


def test_the_study_of_one_budget_compares_networks_of_one_size():
    files = [STUDIES / "dubai.yaml", STUDIES / "_budget.yaml"]
    config = {}
    for file in files:
        update_config(config, load_configfile(str(file)))
    study = load(config, list(map(str, files)))

    sizes = [
        sizes_of(study.trainings[name].network.model_dump(mode="json"), 5, 3, (0, 1, 2))
        for name in ("depthseg", "unet")
    ]

    assert list(study.trainings) == ["depthseg", "unet"]
    (ours, trained), (unets, all_of_it) = sizes
    assert ours == trained and unets == all_of_it
    assert ours == pytest.approx(unets, rel=0.01)
    assert ours == pytest.approx(2e6, rel=0.01)
