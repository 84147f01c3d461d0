import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from pipeline_steps.models.encoder import Encoder, default_taps

VIT = "vit_small_patch14_dinov2"
TINY = {"patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2, "img_size": 64}


def encoder(**settings):
    torch.manual_seed(0)
    return Encoder(VIT, TINY, **({"token_stride": 8} | settings))


def image(height=64, width=96):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("stride", [4, 8, 16, 32])
def test_a_token_stands_for_as_many_pixels_as_its_stride(stride):
    taps = encoder(token_stride=stride)(image())

    assert [tap.shape for tap in taps] == [(2, 32, 64 // stride, 96 // stride)] * 4


def test_taps_are_those_of_depth_anything():
    assert default_taps(12) == [2, 5, 8, 11]
    assert default_taps(24) == [4, 11, 17, 23]
    assert default_taps(4) == [0, 1, 2, 3]
    assert default_taps(40) == [9, 19, 29, 39]


def test_taps_are_the_blocks_asked_for_after_the_final_norm():
    net = encoder(taps=(0, 1, 2, 3)).eval()
    seen = []
    for block in net.vit.blocks:
        block.register_forward_hook(lambda module, args, output: seen.append(output))

    taps = net(image())

    for tap, output in zip(taps, seen, strict=True):
        normed = net.vit.norm(output)[:, net.vit.num_prefix_tokens :]
        torch.testing.assert_close(tap, normed.transpose(1, 2).reshape(tap.shape))


@pytest.mark.parametrize("taps", [(0, 1, 2, 4), (0, 1, 1, 3), (3, 2, 1, 0)])
def test_taps_that_are_not_ascending_blocks_are_an_error(taps):
    with pytest.raises(ValueError, match=r"taps are \[.+\], expected ascending blocks below 4"):
        encoder(taps=taps)


def saved(folder, state):
    folder.mkdir(exist_ok=True)
    save_file(state, folder / "model.safetensors")
    return folder


def test_weights_of_a_folder_are_those_that_are_used(tmp_path):
    given = encoder().eval()
    folder = saved(tmp_path, given.vit.state_dict())
    torch.manual_seed(1)

    loaded = Encoder(VIT, TINY, token_stride=8, weights=folder).eval()
    drawn = Encoder(VIT, TINY, token_stride=8).eval()

    for tap, expected, other in zip(*(net(image()) for net in (loaded, given, drawn)), strict=True):
        torch.testing.assert_close(tap, expected)
        assert not torch.allclose(tap, other)
    assert "state_dict" not in loaded.vit.pretrained_cfg


def test_weights_of_another_network_are_an_error_that_names_the_file(tmp_path):
    folder = saved(tmp_path, encoder().vit.state_dict())

    with pytest.raises(
        ValueError, match=r"model\.safetensors with .+ does not make a network"
    ) as e:
        Encoder(VIT, TINY | {"embed_dim": 16}, weights=folder)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("name", [VIT, "vit_small_patch16_224"])
def test_weights_without_a_tensor_are_an_error_also_of_a_classifier(tmp_path, name):
    whole = timm.create_model(name, **TINY).state_dict()
    Encoder(name, TINY, weights=saved(tmp_path / "whole", whole))
    del whole["blocks.1.mlp.fc1.weight"]

    with pytest.raises(ValueError, match=r"does not make a network.+blocks\.1\.mlp\.fc1\.weight"):
        Encoder(name, TINY, weights=saved(tmp_path / "cut", whole))


def test_an_encoder_of_fewer_than_four_blocks_is_an_error():
    with pytest.raises(ValueError, match="has 3 blocks, expected 4 or more"):
        default_taps(3)


def test_images_are_normalised_as_the_vit_was_taught():
    net = encoder().eval()
    seen = []
    net.vit.patch_embed.register_forward_pre_hook(lambda module, args: seen.append(args[0]))

    net(image())

    mean, std = ([*net.vit.pretrained_cfg[key]] for key in ("mean", "std"))
    expected = (image() - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    torch.testing.assert_close(seen[0], expected)


def test_a_frozen_encoder_runs_without_a_graph():
    net = encoder()

    assert not any(tap.requires_grad for tap in net(image()))
    assert not any(p.requires_grad for p in net.parameters())


def test_a_frozen_encoder_stays_in_evaluation_mode():
    net = encoder().train()

    assert not any(module.training for module in net.vit.modules())


def test_an_encoder_that_is_not_frozen_trains():
    net = encoder(frozen=False).train()

    net(image())[-1].square().mean().backward()

    assert net.vit.training
    assert net.vit.blocks[0].attn.qkv.weight.grad.abs().sum() > 0


def test_register_and_class_tokens_are_dropped():
    torch.manual_seed(0)
    net = Encoder("vit_small_patch14_reg4_dinov2", TINY, token_stride=8)

    assert [tap.shape for tap in net(image())] == [(2, 32, 8, 12)] * 4


def test_both_attentions_say_the_same(monkeypatch):
    net = encoder().eval()

    plain = net(image())
    monkeypatch.setattr("pipeline_steps.models.encoder.SHORT", 0)
    fused = net(image())

    torch.testing.assert_close(plain, fused, atol=1e-4, rtol=1e-4)


def test_arguments_that_make_no_network_are_an_error_that_names_them():
    with pytest.raises(ValueError, match=r"dinov2 with {.*'no_such': 1} does not make a network"):
        Encoder(VIT, TINY | {"no_such": 1})


def test_what_is_no_vit_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"resnet18.* does not make a network|encoder is resnet18"):
        Encoder("resnet18")
    with pytest.raises(ValueError, match=r"no_such_vit with {} does not make a network"):
        Encoder("no_such_vit")


SMALL = {"embed_dim": 32, "depth": 4, "num_heads": 2}
FAMILIES = {
    "vit_small_patch14_dinov2": 1,
    "vit_base_patch14_reg4_dinov2": 5,
    "vit_large_patch14_dinov2": 1,
    "vit_giant_patch14_dinov2": 1,
    "vit_giant_patch14_reg4_dinov2": 5,
    "vit_small_patch16_dinov3": 5,
    "vit_small_plus_patch16_dinov3_qkvb": 5,
    "vit_7b_patch16_dinov3": 5,
    "eva02_small_patch14_336": 1,
    "eva02_base_patch16_clip_224": 1,
    "vit_base_patch16_rope_mixed_224": 1,
    "vit_base_patch16_siglip_224": 0,
    "deit3_small_patch16_224": 1,
}
"""Name → prefix tokens."""


@pytest.mark.parametrize("fit", ["image", "tokens"])
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_gives_maps_without_its_prefix_tokens(name, fit):
    net = Encoder(name, SMALL, fit=fit)

    assert net.vit.num_prefix_tokens == FAMILIES[name]
    assert [tap.shape for tap in net(image())] == [(2, 32, 4, 6)] * 4
    assert not any(module.training for module in net.vit.modules())


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_no_parameter_of_a_trained_encoder_is_dead_and_the_final_norm_is_optional(name, norm):
    net = Encoder(name, SMALL, frozen=False, norm=norm)

    taps = net(image())
    sum(tap.square().mean() for tap in taps).backward()

    assert not [key for key, value in net.named_parameters() if value.grad is None]
    means = torch.stack([tap.mean(1).abs().max() for tap in taps])
    assert bool((means < 1e-5).all()) == norm


@pytest.mark.parametrize("name", ["vit_small_patch16_dinov3", "eva02_small_patch14_336"])
def test_rotated_attention_says_the_same_fused_or_not(monkeypatch, name):
    net = Encoder(name, SMALL).eval()

    plain = net(image())
    monkeypatch.setattr("pipeline_steps.models.encoder.SHORT", 0)

    torch.testing.assert_close(plain, net(image()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "name, millions",
    [
        ("vit_small_patch14_dinov2", 22.1),
        ("vit_base_patch14_dinov2", 86.6),
        ("vit_large_patch14_reg4_dinov2", 304.4),
        ("vit_giant_patch14_dinov2", 1136.5),
        ("vit_small_patch16_dinov3", 21.6),
        ("eva02_base_patch14_448", 86.3),
    ],
)
def test_a_whole_encoder_has_as_many_parameters_as_published(name, millions):
    with torch.device("meta"):
        net = Encoder(name)

    assert round(sum(p.numel() for p in net.parameters()) / 1e6, 1) == millions


@pytest.mark.parametrize(
    "fit, stride, sides",
    [
        ("image", 16, (32, 48)),
        ("image", 8, (64, 96)),
        ("tokens", 16, (64, 96)),
        ("tokens", 4, (64, 96)),
    ],
)
def test_an_image_is_resized_or_seen_at_its_own_size(fit, stride, sides):
    net, seen = encoder(fit=fit, token_stride=stride), []
    net.vit.patch_embed.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))

    taps = net(image())

    assert seen[0][2:] == sides
    assert [tap.shape[2:] for tap in taps] == [(64 // stride, 96 // stride)] * 4


def test_an_image_seen_at_its_own_size_is_resized_to_the_nearest_multiple_of_the_patch():
    net, seen = Encoder(VIT, TINY | {"patch_size": 14, "img_size": 70}, fit="tokens"), []
    net.vit.patch_embed.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape))

    net(image(96, 160))

    assert seen[0][2:] == (98, 154)


def test_resized_tokens_keep_their_place():
    net = encoder(fit="tokens", token_stride=16).eval()
    own, coarse = encoder().eval()(image()), net(image())

    for tap, expected in zip(coarse, own, strict=True):
        torch.testing.assert_close(tap, nn.functional.avg_pool2d(expected, 2))


# More bands than three


def test_more_bands_begin_as_if_they_were_not_there():
    pixels = torch.rand(2, 5, 64, 96)
    three, five = encoder().eval(), encoder(in_bands=5, rgb=(3, 1, 0)).eval()

    for tap, expected in zip(five(pixels), three(pixels[:, [3, 1, 0]]), strict=True):
        torch.testing.assert_close(tap, expected)
    with torch.no_grad():
        five.vit.patch_embed.proj.more.weight.normal_()
    assert not torch.allclose(five(pixels)[0], three(pixels[:, [3, 1, 0]])[0])


def test_what_is_new_for_more_bands_is_trained_through_a_frozen_encoder():
    net = encoder(in_bands=4).train()

    sum(tap.square().mean() for tap in net(torch.rand(2, 4, 64, 96))).backward()

    trained = {key for key, value in net.named_parameters() if value.requires_grad}
    assert trained == {"vit.patch_embed.proj.more.weight"}
    assert {key for key, value in net.named_parameters() if value.grad is not None} == trained
    assert net.vit.patch_embed.proj.more.weight.grad.abs().sum() > 0
    assert not net.vit.training and not net.is_constant


@pytest.mark.parametrize("rgb", [(0, 1, 2), (2, 0, 1)])
def test_where_there_are_no_other_bands_nothing_is_added(rgb):
    net, plain = encoder(in_bands=3, rgb=rgb).eval(), encoder().eval()

    assert net.state_dict().keys() == plain.state_dict().keys()
    assert net.is_constant
    torch.testing.assert_close(net(image()), plain(image()[:, list(rgb)]))
