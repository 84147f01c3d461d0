import copy
import json

import numpy as np
import pytest
import torch

from pipeline_steps.models import masks
from pipeline_steps.models.depthforge import build, default_taps, depth_blocks
from pipeline_steps.models.layers import parameters_of
from pipeline_steps.models.masks import Masks, semantic
from pipeline_steps.models.refinement import Refinement
from pipeline_steps.models.tokens import Tokens
from pipeline_steps.study.params import network as config
from pipeline_steps.training.matching import mask_losses
from pipeline_steps.training.objective import Objective
from tests.conftest import REAL

GOLDEN = REAL.parent / "golden"
CLASSES, IGNORE = 5, 255
TINY = {"patch_size": 8, "embed_dim": 32, "depth": 6, "num_heads": 2, "img_size": 64}
ENCODER = {
    "name": "vit_small_patch14_dinov2",
    "arguments": TINY,
    "token_stride": 8,
    "taps": (2, 3, 4, 5),
}
SMALLER = {"name": "vit_small_patch14_dinov2", "mean": [0.5] * 3, "std": [0.25] * 3}
SMALLER |= {"arguments": TINY | {"depth": 4, "embed_dim": 16}}
HEAD = {"token_count": 12, "rank": 4, "width": 64, "layers": 2, "pixel_layers": 1, "heads": 2}


def settings(**changes):
    """Return what a training would write down of a tiny network."""
    encoder = ENCODER | changes.pop("encoder", {})
    stated = HEAD | {"model": "depthforge", "encoder": encoder} | changes
    depth_encoder = stated.pop("depth_encoder", SMALLER)
    found = config.DepthForge.model_validate_json(json.dumps(stated)).model_dump(mode="json")
    return found | {"depth_encoder": depth_encoder}


def network(**changes):
    torch.manual_seed(0)
    return build(CLASSES, None, settings(**changes)).train()


def image(height=64, width=96):
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def labels(height=64, width=96):
    found = torch.zeros(2, height, width, dtype=torch.long)
    found[:, : height // 2, : width // 3] = 1
    found[1, height // 2 :] = 3
    return found


def golden(name):
    if not GOLDEN.is_dir():
        pytest.skip("no ../shared/golden here")
    arrays = {key: torch.tensor(value) for key, value in np.load(GOLDEN / name).items()}
    states = {k.removeprefix("state."): v for k, v in arrays.items() if k.startswith("state.")}
    return arrays, states


def renamed(state, names):
    found = {}
    for key, value in state.items():
        for theirs, ours in names.items():
            key = key.replace(theirs, ours)
        found[key] = value
    return found


@pytest.mark.real
def test_tokens_return_the_published_numbers():
    arrays, state = golden("depthforge_tokens.npz")
    names = {"learnable_tokens_": "", "mlp_token2feat": "to_feature", "mlp_delta_f": "to_delta"}
    tokens = Tokens(3, 48, patch=16, count=10, rank=4, query_width=16).double()
    tokens.load_state_dict(renamed(state, names | {"transform": "to_query"}))

    visual, depth = (arrays[name][:, 1:] for name in ("visual", "depth"))
    for layer in range(3):
        found, expected = tokens(layer, visual, tokens.read(layer, depth)), f"refined_{layer}"
        torch.testing.assert_close(found, arrays[expected][:, 1:], atol=1e-10, rtol=0)
    torch.testing.assert_close(tokens.queries(), arrays["queries"], atol=1e-10, rtol=0)


@pytest.mark.real
def test_the_refinement_decoder_returns_the_published_numbers():
    arrays, state = golden("depthforge_refinement.npz")
    names = {"attention_gate.channel_attention": "channel_gate", "linear_fuse": "fuse"}
    refinement = Refinement(32).double()
    refinement.load_state_dict(
        renamed(state, names | {"attention_gate.spatial_attention": "spatial_gate.0"})
    )

    found = refinement([arrays[f"feature_{level}"] for level in range(4)])

    torch.testing.assert_close(found, arrays["refined_finest"], atol=1e-10, rtol=0)


def test_parts_are_as_large_as_the_published_ones():
    with torch.device("meta"):
        parts = Tokens(24, 1024, patch=16), Refinement(1024)

    assert [sum(p.numel() for p in part.parameters()) for part in parts] == [2_990_081, 4_336_705]


@pytest.mark.parametrize("tokens", ["shared", "separate", "plain"])
def test_with_scale_0_features_are_those_of_the_frozen_encoder(tokens):
    tuned = network(scale=0, tokens=tokens)
    plain = copy.deepcopy(tuned.encoder)
    for block in plain.vit.blocks:
        block._forward_hooks.clear()
    seen = []
    tuned.encoder.register_forward_hook(lambda _, __, found: seen.extend(found))

    tuned(image())

    assert all(torch.equal(a, b) for a, b in zip(seen, plain(image()), strict=True))


def test_class_and_register_tokens_pass_untouched():
    name, arguments = "vit_small_patch14_reg4_dinov2", TINY | {"reg_tokens": 4}
    tuned = network(scale=1, encoder={"name": name, "arguments": arguments})
    block, before, after = tuned.encoder.vit.blocks[0], [], []
    # hooks run in their order: the first sees what the block itself returned
    hooks = dict(block._forward_hooks)
    block._forward_hooks.clear()
    block.register_forward_hook(lambda _, __, x: before.append(x.detach()))
    block._forward_hooks.update(hooks)
    block.register_forward_hook(lambda _, __, x: after.append(x.detach()))

    tuned(image())

    assert tuned.encoder.vit.num_prefix_tokens == 5
    assert torch.equal(before[0][:, :5], after[0][:, :5])
    assert (before[0][:, 5:] != after[0][:, 5:]).any(-1).all()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"tokens": "separate"},
        {"tokens": "plain"},
        {"fusion": "cross_attention"},
        {"normalise_depth_tokens": True},
        {"head": "decoder"},
        {"refinement": False},
        {"checkpointing": True},
        {"depth_encoder": SMALLER | {"arguments": TINY}},
        {"encoder": {"name": "eva02_tiny_patch14_224", "arguments": TINY}},
        {"encoder": {"name": "vit_small_patch16_dinov3", "arguments": TINY}},
    ],
    ids=lambda changes: " ".join(f"{k}={v}" for k, v in changes.items())[:40] or "published",
)
def test_all_that_is_trained_is_reached_and_no_frozen_encoder_is(changes):
    # what a scale of almost nothing multiplies would have a gradient of almost nothing
    tuned = network(scale=1, **changes)

    Objective(IGNORE)(tuned, {"image": image(), "labels": labels()})["loss"].backward()

    trained = {k: p.grad for k, p in tuned.named_parameters() if p.requires_grad}
    assert not [key for key, grad in trained.items() if grad is None or not grad.abs().sum() > 0]
    for frozen in filter(None, (tuned.encoder, tuned.depth_encoder)):
        assert all(p.grad is None and not p.requires_grad for p in frozen.parameters())
    sizes = parameters_of(tuned)
    assert ("depth_encoder" in sizes) == (changes.get("tokens") != "plain")
    assert ("refinement" in sizes) == changes.get("refinement", True)


def test_checkpointing_gives_the_same_gradients():
    def gradients(**changes):
        tuned = network(head="decoder", scale=1, **changes)
        tuned(image()).logits.square().mean().backward()
        return {k: p.grad for k, p in tuned.named_parameters() if p.grad is not None}

    plain, again = gradients(), gradients(checkpointing=True)

    assert plain.keys() == again.keys()
    assert all(torch.allclose(plain[key], again[key], atol=1e-6) for key in plain)


@pytest.mark.parametrize("tokens", ["shared", "separate", "plain"])
def test_what_the_depth_encoder_sees_counts_unless_tokens_are_plain(tokens):
    tuned = network(scale=1, tokens=tokens).eval()
    if tokens == "plain":
        assert tuned.depth_encoder is None
        return
    with torch.no_grad():
        said = tuned(image()).logits
        nn_bias = tuned.depth_encoder.vit.patch_embed.proj.bias
        nn_bias += torch.randn(nn_bias.shape, generator=torch.Generator().manual_seed(1))
        other = tuned(image()).logits

    assert (said != other).any()


def test_depth_patches_are_those_of_the_same_place_whatever_the_patch():
    """The teacher's own patch of 4 pixels and the encoder's of 8 make one grid."""
    other = SMALLER | {"arguments": SMALLER["arguments"] | {"patch_size": 4, "img_size": 32}}
    tuned = network(depth_encoder=other)
    seen = []
    read = tuned.tokens.read
    tuned.tokens.read = lambda layer, depth: seen.append(depth.shape) or read(layer, depth)

    tuned(image(64, 96))

    assert seen == [(2, 8 * 12, 16)] * 6


def test_given_what_the_depth_encoder_said_it_is_not_run():
    tuned = network().eval()
    with torch.no_grad():
        taps = tuned.constant(image())
        expected = tuned(image()).logits
        tuned.depth_encoder = Refusing()
        found = tuned(image(), None, taps).logits

    assert torch.equal(found, expected)


class Refusing(torch.nn.Module):
    def forward(self, _):
        raise AssertionError("the depth encoder ran")


@pytest.mark.parametrize(
    ("layers", "blocks", "seen"),
    [(4, 4, [0, 1, 2, 3]), (24, 12, None), (12, 24, list(range(0, 24, 2))), (6, 4, None)],
)
def test_every_layer_sees_the_depth_block_at_the_same_share_of_the_way(layers, blocks, seen):
    found = depth_blocks(layers, blocks)

    assert found == sorted(found) and len(found) == layers and found[-1] < blocks
    assert all(abs(b - i * blocks / layers) <= 1 for i, b in enumerate(found))
    assert seen is None or found == seen


def test_default_taps_are_the_published_ones():
    assert default_taps(24) == [7, 11, 15, 23]
    assert default_taps(12) == [3, 5, 7, 11]
    with pytest.raises(ValueError, match="has 4 blocks, expected 6 or more"):
        default_taps(4)


def test_a_copy_has_tokens_of_its_own():
    tuned = network(scale=1).eval()
    copied = copy.deepcopy(tuned)
    with torch.no_grad():
        before = copied(image()).logits
        tuned.tokens.scale.zero_()
        assert torch.equal(copied(image()).logits, before)
        copied.tokens.scale.zero_()
        assert not torch.equal(copied(image()).logits, before)


def test_classes_are_the_shares_of_what_queries_say_at_a_place():
    """Two queries on two halves: each pixel is what the query that is there says."""
    classes = torch.tensor([[[9.0, 0, 0, 0], [0, 9.0, 0, 0]]])
    masks = torch.full((1, 2, 4, 4), -20.0)
    masks[0, 0, :, :2], masks[0, 1, :, 2:] = 20, 20

    found = semantic(Masks((classes,), (masks,)), (16, 16)).softmax(1)

    assert found.shape == (1, 3, 16, 16)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 16, 16))
    assert (found.argmax(1)[0, :, :6] == 0).all() and (found.argmax(1)[0, :, 10:] == 1).all()
    score = classes[0, 0].softmax(0)[:3]
    torch.testing.assert_close(found[0, :, 0, 0], score / score.sum(), atol=1e-5, rtol=0)


def test_classes_are_told_the_same_however_many_queries_are_looked_at_at_once(monkeypatch):
    said = Masks((torch.randn(2, 23, 4),), (torch.randn(2, 23, 8, 8),))
    at_once = semantic(said, (32, 32))
    monkeypatch.setattr(masks, "AT_ONCE", 23)

    torch.testing.assert_close(semantic(said, (32, 32)), at_once)


def test_no_label_no_lesson():
    """Crops without any label change nothing, beside others and alone."""
    tuned = network(scale=1)
    said = tuned(image()).masks
    unlabelled = labels()
    unlabelled[1] = IGNORE
    torch.manual_seed(0)
    both = mask_losses(said, unlabelled, IGNORE)
    torch.manual_seed(0)
    first = Masks(*(tuple(part[:1] for part in parts) for parts in said))
    alone = mask_losses(first, unlabelled[:1], IGNORE)
    none = mask_losses(said, torch.full_like(unlabelled, IGNORE), IGNORE)

    torch.testing.assert_close(both["total"], alone["total"])
    assert none["total"] == 0
    none["total"].backward()


def test_every_layer_is_taught():
    tuned = network(scale=1, layers=3)
    said = tuned(image()).masks
    assert len(said.classes) == len(said.masks) == 4
    found = mask_losses(said, labels(), IGNORE)
    last = mask_losses(Masks(said.classes[-1:], said.masks[-1:]), labels(), IGNORE)

    assert found["total"] > 2 * last["total"] > 0
    weights = {"loss_cross_entropy": 2, "loss_mask": 5, "loss_dice": 5}
    total = sum(weight * last[key] for key, weight in weights.items())
    torch.testing.assert_close(last["total"], total)


@pytest.mark.parametrize("head", ["mask2former", "decoder"])
def test_a_few_crops_are_learned_by_heart(head):
    tuned = network(head=head, scale=0.1, norm="group")
    optimiser = torch.optim.AdamW([p for p in tuned.parameters() if p.requires_grad], 5e-3)
    objective, batch = Objective(IGNORE), {"image": image(), "labels": labels()}
    losses = []
    for step in range(120):
        torch.manual_seed(step)
        found = objective(tuned, batch)
        found["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(found["loss"].detach()))

    with torch.no_grad():
        right = (tuned.eval()(batch["image"]).logits.argmax(1) == batch["labels"]).float().mean()
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    assert right > 0.9


def test_how_loud_depth_is_beside_what_is_seen_is_told():
    loud, even = network(), network(normalise_depth_tokens=True)
    for tuned in (loud, even):
        tuned(image())
    told = [tuned(image()).told for tuned in (loud, even)]

    assert set(told[0]) == {"visual_variance", "depth_variance"}
    assert told[0]["depth_variance"] != told[1]["depth_variance"]
    assert "depth_variance" not in network(tokens="plain")(image()).told


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": {"frozen": False}}, "encoder.frozen is false, expected true"),
        ({"fusion": "cross_attention", "tokens": "plain"}, "expected add with tokens: plain"),
        ({"normalise_depth_tokens": True, "tokens": "plain"}, "expected false with tokens: plain"),
        ({"width": 80}, "width is 80, expected 64 or more, a multiple of 32"),
        ({"width": 32}, "width is 32, expected 64 or more"),
        ({"heads": 3}, "a multiple of 32 and of heads, 3"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        settings(**changes)


def test_tokens_that_see_depth_need_a_teacher_s_encoder():
    with pytest.raises(ValueError, match="tokens is shared, but there is no teacher's encoder"):
        build(CLASSES, None, settings(depth_encoder=None))
