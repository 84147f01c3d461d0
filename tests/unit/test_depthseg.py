import itertools
import json

import pytest
import torch
from torch import distributed, nn
from torch.nn import functional

from pipeline_steps.models.depthseg import (
    DepthSeg,
    build,
    d,
    default_widths,
    matched_channels,
    resolved,
)
from pipeline_steps.models.dpt import DepthDecoder
from pipeline_steps.models.encoder import Encoder
from pipeline_steps.models.layers import normalisation
from pipeline_steps.models.prompter import Prompter
from pipeline_steps.study.params import network as config

TINY = {"patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2, "img_size": 64}
CLASSES = 5


def network(encoder=None, **settings):
    torch.manual_seed(0)
    taught = {"frozen": True, "token_stride": 8} | (encoder or {})
    net = Encoder("vit_small_patch14_dinov2", TINY, **taught)
    settings = {"widths": (8, 16, 24, 32), "channels": 16} | settings
    return DepthSeg(net, CLASSES, **settings).train()


def image(height=64, width=96):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def cross_entropy(prediction):
    labels = torch.arange(CLASSES).repeat(prediction.logits[:, 0].numel())
    labels = labels[: prediction.logits[:, 0].numel()].view_as(prediction.logits[:, 0])
    return functional.cross_entropy(prediction.logits, labels)


def reached(module):
    """Return whether any parameter got a gradient that is not 0."""
    return any(p.grad is not None and p.grad.abs().sum() > 0 for p in module.parameters())


def count(module):
    return sum(p.numel() for p in module.parameters())


def kinds(module, kind):
    return [m for m in module.modules() if isinstance(m, kind)]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"adapter": False},
        {"skips": "unet"},
        {"norm": "group"},
        {"upsample": "bilinear"},
        {"prompt_from": "depth"},
        {"prompt_from": "features"},
        {"detach_depth": True},
        *({"encoder": {"token_stride": stride}} for stride in (4, 16, 32)),
    ],
    ids=str,
)
def test_logits_and_depth_have_the_size_of_the_image(settings):
    logits, depth, *_ = network(**settings)(image())

    assert logits.shape == (2, CLASSES, 64, 96)
    assert depth.shape == (2, 1, 64, 96)
    assert depth.min() >= 0 and depth.max() <= 1


@pytest.mark.parametrize("settings", [{}, {"adapter": False}, {"prompter": False}], ids=str)
def test_every_trainable_part_is_reached_and_the_frozen_encoder_is_not(settings):
    net = network(**settings)

    prediction = net(image())
    loss = cross_entropy(prediction)
    (loss if prediction.depth is None else loss + prediction.depth.mean()).backward()

    assert all(p.grad is None for p in net.encoder.parameters())
    assert all(map(reached, net.adapters))
    for name, parameter in net.named_parameters():
        assert name.startswith("encoder.") or parameter.grad is not None, name


def test_an_encoder_that_is_not_frozen_is_reached():
    net = network(encoder={"frozen": False})

    cross_entropy(net(image())).backward()

    assert reached(net.encoder)


def test_training_leaves_a_frozen_encoder_in_evaluation_mode():
    net = network()

    net.eval()
    net.train()

    assert net.decoder.training
    assert not net.encoder.vit.training


def test_without_prompter_there_is_no_depth():
    net = network(prompter=False)

    assert net.prompter is None and net.depth_decoder is None
    assert not kinds(net, DepthDecoder)
    assert net(image()).depth is None


def test_a_fed_depth_is_used_and_none_is_predicted():
    net = network(depth="fed").eval()
    depth = torch.rand(2, 1, 64, 96)

    prediction = net(image(), depth)

    assert net.depth_decoder is None and prediction.depth is None
    assert prediction.logits.shape == (2, CLASSES, 64, 96)
    assert not torch.allclose(prediction.logits, net(image(), 1 - depth).logits)
    assert torch.equal(prediction.logits, net(image(), depth).logits)


def test_a_predicted_depth_does_not_see_what_is_fed():
    net = network().eval()

    assert torch.equal(net(image()).logits, net(image(), torch.rand(2, 1, 64, 96)).logits)


@pytest.mark.parametrize("prompt_from", ["both", "depth", "features"])
@pytest.mark.parametrize("detached", [False, True])
def test_detaching_stops_the_cross_entropy_before_the_depth_decoder(detached, prompt_from):
    net = network(detach_depth=detached, prompt_from=prompt_from)

    cross_entropy(net(image())).backward()

    assert reached(net.depth_decoder) != detached
    assert reached(net.prompter) and all(map(reached, net.adapters))


def test_a_detached_depth_decoder_still_learns_from_its_own_loss():
    net = network(detach_depth=True)

    net(image()).depth.mean().backward()

    assert reached(net.depth_decoder)


def test_without_adapter_a_bare_convolution_stands_behind_the_encoder():
    with_adapter, without = network(), network(adapter=False)

    assert all(len(kinds(adapter, nn.BatchNorm2d)) == 1 for adapter in with_adapter.adapters)
    assert all(not kinds(adapter, nn.BatchNorm2d | nn.ReLU) for adapter in without.adapters)


def test_prompts_are_at_4_8_16_and_32_and_their_widths_are_capped():
    net = network(channels=96)

    prompts = net.prompter(torch.rand(2, 97, 32, 48))

    assert [p.shape[1:] for p in prompts] == [
        (96, 16, 24),
        (96, 8, 12),
        (192, 4, 6),
        (256, 2, 3),
    ]


def test_unet_skips_carry_coarse_prompts_to_fine_ones():
    residual, unet = network().prompter.eval(), network(skips="unet").prompter.eval()

    def reaches_finest(prompter):
        depth = torch.rand(1, 17, 32, 48)
        coarsest = prompter.stages[-1].convs[0][0]
        before = prompter(depth)[0]
        with torch.no_grad():
            coarsest.weight.mul_(-1)
        return not torch.equal(before, prompter(depth)[0])

    assert reaches_finest(unet)
    assert not reaches_finest(residual)


def test_group_norm_leaves_no_batch_norm():
    net = network(norm="group")

    assert not kinds(net, nn.BatchNorm2d)
    assert len(kinds(net, nn.GroupNorm)) == len(kinds(network(), nn.BatchNorm2d))


def test_the_depth_decoder_has_a_norm_of_its_own():
    plain = network()
    normed = network(depth_norm="group")

    assert not kinds(plain.depth_decoder, (nn.BatchNorm2d, nn.GroupNorm))
    # two units of two convolutions in each of four fusions, and the head's
    assert len(kinds(normed.depth_decoder, nn.GroupNorm)) == 4 * 2 * 2 + 1
    assert normed(image()).depth.shape == plain(image()).depth.shape


def test_with_a_norm_large_steps_do_not_saturate_the_depth_decoder():
    learned = {}
    taps = [8 * torch.randn(4, 16, 8, 8, generator=torch.manual_seed(1)) for _ in range(4)]
    truth = (taps[3][:, :1].repeat_interleave(8, 2).repeat_interleave(8, 3) > 8).float()
    for norm in (None, "batch"):
        torch.manual_seed(0)
        head = DepthDecoder(16, (8, 8, 8, 8), 8, token_stride=8, norm=norm)
        optimiser = torch.optim.AdamW(head.parameters(), 3e-2)
        for _ in range(30):
            optimiser.zero_grad()
            (head(taps)[0] - truth).abs().mean().backward()
            optimiser.step()
        learned[norm] = head(taps)[0].std().item()

    assert learned[None] < 0.01 < 0.1 < learned["batch"]


def test_group_norm_says_of_an_image_the_same_in_any_batch():
    net = network(norm="group")

    together, alone = net(image()).logits[:1], net(image()[:1]).logits

    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


def test_bilinear_upsampling_leaves_no_transposed_convolution_in_the_decoder():
    assert not kinds(network(upsample="bilinear").decoder, nn.ConvTranspose2d)
    assert kinds(network().decoder, nn.ConvTranspose2d)


@pytest.mark.parametrize(
    "width, widths, features, millions",
    [
        (384, (48, 96, 192, 384), 64, 2.73),
        (768, (96, 192, 384, 768), 128, 10.9),
        (1024, (256, 512, 1024, 1024), 256, 30.9),
    ],
)
def test_defaults_are_the_depth_head_of_depth_anything(width, widths, features, millions):
    assert default_widths(width) == widths
    assert d(width) == features
    with torch.device("meta"):
        head = DepthDecoder(width, widths, features, token_stride=16)

    assert round(count(head) / 1e6, 2 if millions < 10 else 1) == millions


def test_equal_seeds_build_equal_networks():
    first, second = network().state_dict(), network().state_dict()

    assert all(torch.equal(first[key], second[key]) for key in first)


def settings(**changes):
    encoder = {"name": "vit_small_patch14_dinov2", "arguments": TINY, "token_stride": 8}
    encoder |= changes.pop("encoder", {})
    told = {"encoder": encoder, "widths": [8, 16, 24, 32], "channels": 16} | changes
    return config.DepthSeg.model_validate_json(json.dumps(told)).model_dump(mode="json")


def test_settings_of_the_config_build_the_network():
    told = settings(prompt_from="depth", skips="unet", detach_depth=True, norm="group")

    net = build(CLASSES, None, resolved(told, None, 3, (0, 1, 2)))

    assert (net.prompt_from, net.detach_depth, len(net.prompter.merges)) == ("depth", True, 3)
    assert net(image()).logits.shape == (2, CLASSES, 64, 96)
    assert told == resolved(told, None, 3, (0, 1, 2))


def test_every_setting_of_the_config_reaches_the_network():
    given = settings(
        encoder={"fit": "tokens", "norm": False, "taps": [0, 1, 2, 3], "frozen": False}
    )
    given |= {"scales": [4, 16], "fusion": "add", "upsample": "bilinear", "depth": "both"}

    net = build(CLASSES, None, given)

    assert (net.encoder.fit, net.encoder.norm, net.encoder.frozen) == ("tokens", False, False)
    assert [width > 0 for width in net.prompter.widths] == [True, False, True, False]
    assert net.sees_depth and len(net.decoder.projections) == 2
    assert not kinds(net.decoder, nn.ConvTranspose2d)


def test_an_encoder_of_all_bands_sees_as_many_as_the_image_has():
    told = resolved(settings(encoder={"bands": "all"}), None, 5, (2, 1, 0))

    net = build(CLASSES, None, json.loads(json.dumps(told)))

    assert net(torch.rand(2, 5, 64, 96)).logits.shape == (2, CLASSES, 64, 96)
    cross_entropy(net(torch.rand(2, 5, 64, 96))).backward()
    assert reached(net.encoder.vit.patch_embed.proj.more)
    assert not reached(net.encoder.vit.blocks)


# No combination has parameters that nothing trains

CHOICES = {
    "depth": ("predicted", "fed", "both"),
    "prompt_from": ("both", "depth", "features"),
    "scales": ((4, 8, 16, 32), (4,), (8, 32), (32,)),
    "skips": ("residual", "unet"),
    "detach_depth": (False, True),
    "fusion": ("concat", "add"),
}
SIMPLE = [
    {"adapter": False, "prompter": False, "decoder": "linear"},
    *({"prompter": False, "upsample": up} for up in ("transposed", "bilinear")),
    *({"norm": norm, "upsample": "bilinear"} for norm in ("batch", "group", "sync")),
    {"depth_norm": "batch"},
    *({"encoder": {"frozen": False, "fit": fit}} for fit in ("image", "tokens")),
    {"encoder": {"frozen": False, "norm": False}},
]
PROMPTED = [
    dict(zip(CHOICES, chosen, strict=True)) for chosen in itertools.product(*CHOICES.values())
]


@pytest.mark.parametrize("parts", [PROMPTED[i::16] for i in range(16)] + [SIMPLE], ids=range(17))
def test_every_combination_trains_all_that_is_trainable_and_nothing_frozen(parts):
    for chosen in parts:
        net = network(**chosen)
        prediction = net(image(32, 32), torch.rand(2, 1, 32, 32))
        loss = cross_entropy(prediction)
        (loss if prediction.depth is None else loss + prediction.depth.mean()).backward()

        assert prediction.logits.shape == (2, CLASSES, 32, 32)
        assert (prediction.depth is None) == (net.depth_decoder is None)
        for name, value in net.named_parameters():
            assert (value.grad is not None) == value.requires_grad, (chosen, name)
        if net.encoder.frozen:
            assert not any(p.requires_grad for p in net.encoder.parameters())
            assert not net.encoder.vit.training


# One switch at a time


def test_both_feeds_a_depth_beside_a_decoder_that_learns_its_own():
    net = network(depth="both").eval()
    fed = torch.rand(2, 1, 64, 96)

    one, other = net(image(), fed), net(image(), 1 - fed)

    assert net.sees_depth and net.prompter.stem[0].in_channels == 17
    assert torch.equal(one.depth, other.depth)
    assert not torch.allclose(one.logits, other.logits)
    with torch.no_grad():
        net.depth_decoder.fuse[-1].out.weight.mul_(-1)
    assert not torch.allclose(net(image(), fed).logits, one.logits)


@pytest.mark.parametrize("detached", [False, True])
def test_both_detaches_the_decoders_features_too(detached):
    net = network(depth="both", detach_depth=detached)

    cross_entropy(net(image(), torch.rand(2, 1, 64, 96))).backward()

    assert reached(net.depth_decoder) != detached


def test_only_a_network_that_is_fed_sees_depth():
    found = {depth: network(depth=depth).sees_depth for depth in CHOICES["depth"]}

    assert found == {"predicted": False, "fed": True, "both": True}
    assert not network(depth="fed", prompter=False).sees_depth


def test_a_prompt_that_is_left_out_does_not_reach_the_decoder():
    whole, fine = network(), network(scales=(4,))

    inputs = [[level[0][0].in_channels for level in net.decoder.levels] for net in (whole, fine)]
    assert inputs == [[48, 48, 64, 80], [48, 32, 32, 16]]
    depth = torch.rand(1, 17, 32, 48)
    assert [p is None for p in fine.prompter(depth)] == [False, True, True, True]
    assert len(fine.prompter.stages) == 1


@pytest.mark.parametrize("skips", ["residual", "unet"])
def test_a_prompt_is_the_same_whichever_others_are_left_out(skips):
    torch.manual_seed(0)
    whole = Prompter(5, 8, skips, "batch").eval()
    depth = torch.rand(1, 5, 32, 32)

    for stride, expected in zip((4, 8, 16, 32), whole(depth), strict=True):
        alone = Prompter(5, 8, skips, "batch", (stride,)).eval()
        alone.load_state_dict({k: whole.state_dict()[k] for k in alone.state_dict()})
        found = [prompt for prompt in alone(depth) if prompt is not None]
        assert len(found) == 1 and torch.equal(found[0], expected)


def test_prompts_are_added_to_features_after_a_projection():
    net = network(fusion="add").eval()

    assert [level[0][0].in_channels for level in net.decoder.levels] == [32, 32, 32, 16]
    assert [p.in_channels for p in net.decoder.projections.values()] == [16, 16, 32, 64]
    with torch.no_grad():
        for projection in net.decoder.projections.values():
            projection.weight.zero_()
            projection.bias.zero_()
        before = net(image()).logits
        net.depth_decoder.neck.weight.mul_(-1)
    assert torch.equal(net(image()).logits, before)


def test_bilinear_upsampling_classifies_at_a_quarter_of_the_size():
    end = network(upsample="bilinear").decoder.to_full

    assert end(torch.rand(1, 16, 8, 12)).shape == (1, CLASSES, 32, 48)
    assert count(end) == 16 * CLASSES + CLASSES


def test_the_linear_probe_is_one_convolution_over_all_taps():
    net = network(adapter=False, prompter=False, decoder="linear")

    assert net(image()).logits.shape == (2, CLASSES, 64, 96)
    assert net(image()).depth is None
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert trained == 4 * 32 * CLASSES + CLASSES


def test_sync_is_batch_norm_over_all_processes_where_there_are_processes(tmp_path, monkeypatch):
    alone = network(norm="sync")
    assert not kinds(alone, nn.SyncBatchNorm) and kinds(alone, nn.BatchNorm2d)

    store = distributed.FileStore(str(tmp_path / "store"), 1)
    distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        with pytest.raises(ValueError, match="norm is sync, but torch has none for a CPU"):
            network(norm="sync")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        together = network(norm="sync")
        assert isinstance(normalisation("batch", 4), nn.BatchNorm2d)
    finally:
        distributed.destroy_process_group()

    assert len(kinds(together, nn.SyncBatchNorm)) == len(kinds(network(), nn.BatchNorm2d))
    alone.load_state_dict(together.state_dict())


@pytest.mark.parametrize("depth", ["predicted", "fed", "both"])
@pytest.mark.parametrize("fusion", ["concat", "add"])
def test_a_matched_decoder_trains_as_much_as_a_prompter_would_and_no_wider(depth, fusion):
    def trained(net):
        return sum(p.numel() for p in net.parameters() if p.requires_grad)

    told = settings(prompter=False, match_width=True, depth=depth, fusion=fusion)
    net = build(CLASSES, None, told)
    goal = trained(build(CLASSES, None, told | {"prompter": True, "match_width": False}))
    channels = net.decoder.levels[0][0][0].out_channels
    less = told | {"match_width": False, "channels": channels - 1}

    assert trained(net) >= goal > trained(build(CLASSES, None, less))
    assert net(image()).depth is None and channels > 16


def test_matched_widths_of_the_sizes_of_the_paper():
    found = [matched_channels(width, 16, 7, {"prompter": False}) for width in (384, 768, 1024)]

    assert found == [187, 346, 576]


def test_given_taps_the_encoder_is_not_run():
    net = network().eval()
    taps = [tap.clone() for tap in net.encoder(image())]
    expected = net(image())
    net.encoder.forward = None

    found = net(None, taps=taps)

    assert torch.equal(found.logits, expected.logits)
    assert torch.equal(found.depth, expected.depth)


@pytest.mark.parametrize("settings", [{"prompter": False}, {"depth": "fed"}, {"depth": "both"}])
def test_given_taps_a_depth_is_fed_as_ever(settings):
    net, fed = network(**settings).eval(), torch.rand(2, 1, 64, 96)

    assert torch.equal(net(None, fed, net.encoder(image())).logits, net(image(), fed).logits)


# Sizes


@pytest.mark.parametrize("size, millions", [("small", 2.09), ("base", 8.37), ("large", 20.91)])
def test_adapters_are_below_15_per_cent_of_the_encoder(size, millions):
    with torch.device("meta"):
        net = DepthSeg(Encoder(f"vit_{size}_patch14_dinov2"), 7)

    assert count(net.adapters) < 0.15 * count(net.encoder)
    assert round(count(net.adapters) / 1e6, 2) == millions
