import pytest
import torch
from torch import nn
from torch.nn import functional

from pipeline_steps.models.depthseg import DepthSeg, build, d, default_widths
from pipeline_steps.models.dpt import DepthDecoder
from pipeline_steps.models.encoder import Encoder

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
    logits, depth = network(**settings)(image())

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


def test_settings_of_the_config_build_the_network():
    settings = {
        "model": "depthseg",
        "encoder": {
            "name": "vit_small_patch14_dinov2",
            "weights": None,
            "frozen": True,
            "arguments": TINY,
            "token_stride": 8,
            "taps": None,
        },
        "adapter": True,
        "prompter": True,
        "depth": "predicted",
        "prompt_from": "depth",
        "skips": "unet",
        "detach_depth": True,
        "norm": "group",
        "widths": None,
        "channels": None,
        "upsample": "bilinear",
    }

    net = build(CLASSES, None, settings)

    assert (net.prompt_from, net.detach_depth, len(net.prompter.merges)) == ("depth", True, 3)
    assert net(image()).logits.shape == (2, CLASSES, 64, 96)
    assert settings["model"] == "depthseg" and "weights" in settings["encoder"]
