import pytest
import torch
from safetensors.torch import save_file

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
def test_taps_that_are_not_four_ascending_blocks_are_an_error(taps):
    with pytest.raises(
        ValueError, match=r"taps are \[.+\], expected four ascending blocks below 4"
    ):
        encoder(taps=taps)


def test_weights_of_a_file_are_those_that_are_used(tmp_path):
    given = encoder().eval()
    save_file(given.vit.state_dict(), tmp_path / "model.safetensors")
    torch.manual_seed(1)

    loaded = Encoder(VIT, TINY, token_stride=8, weights=tmp_path / "model.safetensors").eval()
    drawn = Encoder(VIT, TINY, token_stride=8).eval()

    for tap, expected, other in zip(*(net(image()) for net in (loaded, given, drawn)), strict=True):
        torch.testing.assert_close(tap, expected)
        assert not torch.allclose(tap, other)


def test_weights_of_another_network_are_an_error_that_names_the_file(tmp_path):
    save_file(encoder().vit.state_dict(), tmp_path / "model.safetensors")

    with pytest.raises(ValueError, match=r"model\.safetensors with .+ does not make a network"):
        Encoder(VIT, TINY | {"embed_dim": 16}, weights=tmp_path / "model.safetensors")


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
