import functools

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipeline_steps.training.losses import (
    DEPTH_TERMS,
    depth_loss,
    dice_loss,
    relative_height_loss,
    segmentation_loss,
    ssim_loss,
    ssim_map,
)
from pipeline_steps.training.objective import weights_of

IGNORE = 255


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def maps(*shape, count=2, seed=0):
    """Return smooth maps in [0, 1], and noise on top that tells them apart."""
    rng = generator(seed)
    base = functional.avg_pool2d(torch.rand(shape, generator=rng), 5, 1, 2)
    return [(base + 0.3 * torch.rand(shape, generator=rng)).clamp(0, 1) for _ in range(count)]


def holed(*shape):
    """Return a mask with straight-edged holes; a window they touch only by a corner is a hair."""
    valid = torch.ones(shape)
    valid[0, :, :9] = 0
    valid[-1, :, :, 30:] = 0
    return valid


def reference_ssim_loss(x, y, valid):
    """Return 1 − SSIM as the paper writes it: an 11x11 Gaussian of σ 1.5, by convolution."""
    offsets = torch.arange(11, dtype=torch.float64) - 5
    line = torch.exp(-(offsets**2) / (2 * 1.5**2))
    kernel = torch.outer(line, line)
    blur = functools.partial(functional.conv2d, weight=(kernel / kernel.sum())[None, None])
    x, y, c1, c2 = x.double(), y.double(), 0.01**2, 0.03**2
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    ssim = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    whole = functional.conv2d(valid.double(), torch.ones(1, 1, 11, 11, dtype=torch.float64)) > 120.5
    return 1 - ssim[whole].mean()


@pytest.mark.parametrize("shape", [(1, 1, 11, 11), (2, 1, 32, 48), (3, 1, 64, 40)])
def test_ssim_equals_the_convolution_of_the_paper(shape):
    guess, truth = maps(*shape)
    valid = torch.ones(shape)

    found = ssim_loss(guess, truth, valid)

    assert found.item() == pytest.approx(reference_ssim_loss(guess, truth, valid).item(), abs=1e-5)
    assert found > 0.05


def test_ssim_is_over_windows_whose_pixels_are_all_valid():
    guess, truth = maps(2, 1, 48, 48)
    valid = holed(2, 1, 48, 48)
    valid[0, 0, 20:30, 20:30] = 0

    expected = reference_ssim_loss(guess, truth, valid)
    assert ssim_loss(guess, truth, valid).item() == pytest.approx(expected.item(), abs=1e-5)


def test_ssim_of_equal_maps_is_0():
    (same,) = maps(2, 1, 32, 32, count=1)

    assert ssim_loss(same, same, torch.ones_like(same)).item() == pytest.approx(0, abs=1e-6)


def test_ssim_does_not_see_invalid_pixels():
    guess, truth = maps(2, 1, 48, 48)
    valid = holed(2, 1, 48, 48)
    other = torch.where(valid > 0, truth, 1 - truth)

    assert ssim_loss(guess, other, valid) == ssim_loss(guess, truth, valid)


def test_ssim_without_a_valid_window_is_0_and_has_a_gradient():
    guess, truth = maps(1, 1, 32, 32)
    guess.requires_grad_()

    loss = ssim_loss(guess, truth, torch.zeros(1, 1, 32, 32))
    loss.backward()

    assert loss == 0
    assert (guess.grad == 0).all()


def test_ssim_is_computed_in_full_precision_whatever_the_network_ran_in():
    guess, truth = maps(1, 1, 32, 32)
    guess = guess.bfloat16()

    found = ssim_loss(guess, truth, torch.ones_like(truth))

    assert found == ssim_loss(guess.float(), truth, torch.ones_like(truth))


def labelled(share_ignored=0.3):
    logits = torch.randn(2, 4, 16, 16, generator=generator())
    labels = torch.randint(4, (2, 16, 16), generator=generator(1))
    labels[torch.rand(2, 16, 16, generator=generator(2)) < share_ignored] = IGNORE
    return logits, labels


@pytest.mark.parametrize(
    "weights", [None, torch.tensor([0.5, 2.0, 1.0, 4.0]), torch.full((4,), 1e-5)]
)
def test_segmentation_loss_is_the_mean_cross_entropy_of_labelled_pixels(weights):
    logits, labels = labelled()

    found = segmentation_loss(logits, labels, weights, IGNORE)

    torch.testing.assert_close(
        found, functional.cross_entropy(logits, labels, weights, ignore_index=IGNORE)
    )


def test_segmentation_loss_without_labels_is_0_and_has_a_gradient():
    logits, labels = labelled(share_ignored=1.1)
    logits.requires_grad_()

    for weights in (None, torch.ones(4)):
        loss = segmentation_loss(logits, labels, weights, IGNORE)
        loss.backward()
        assert loss == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0, 1.0, 4.0])])
def test_label_smoothing_is_that_of_torch(weights):
    logits, labels = labelled()

    found = segmentation_loss(logits, labels, weights, IGNORE, smoothing=0.2)

    expected = functional.cross_entropy(
        logits, labels, weights, ignore_index=IGNORE, label_smoothing=0.2
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
@pytest.mark.parametrize("weights", [None, torch.tensor([0.5, 2.0, 1.0, 4.0])])
def test_the_focal_loss_weighs_each_pixel_by_what_its_label_lacks(gamma, weights):
    logits, labels = labelled()

    found = segmentation_loss(logits, labels, weights, IGNORE, focal=gamma)

    seen = labels != IGNORE
    p = logits.softmax(1).permute(0, 2, 3, 1)[seen].gather(1, labels[seen][:, None])[:, 0]
    alpha = torch.ones_like(p) if weights is None else weights[labels[seen]]
    expected = (alpha * (1 - p) ** gamma * -p.log()).sum() / alpha.sum()
    torch.testing.assert_close(found, expected)


def test_a_focal_exponent_of_0_is_cross_entropy_and_of_little_nearly():
    logits, labels = labelled()

    plain = segmentation_loss(logits, labels, None, IGNORE)

    assert segmentation_loss(logits, labels, None, IGNORE, focal=0.0) == plain
    little = segmentation_loss(logits, labels, None, IGNORE, focal=1e-6)
    torch.testing.assert_close(little, plain)


def test_a_pixel_that_is_right_beyond_doubt_has_a_finite_focal_gradient():
    logits = torch.zeros(1, 2, 1, 1)
    logits[:, 1] = 200
    logits.requires_grad_()

    segmentation_loss(
        logits, torch.ones(1, 1, 1, dtype=torch.int64), None, IGNORE, 0, 0.5
    ).backward()

    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("terms", [{"smoothing": 0.1}, {"focal": 2.0}])
def test_no_label_no_loss_whatever_its_terms(terms):
    logits, labels = labelled(share_ignored=1.1)
    logits.requires_grad_()

    loss = segmentation_loss(logits, labels, torch.ones(4), IGNORE, **terms)
    loss.backward()

    assert loss == 0
    assert (logits.grad == 0).all()


def test_losses_of_half_precision_logits_are_in_full_precision():
    logits, labels = labelled()
    half = logits.bfloat16()

    for loss in (segmentation_loss(half, labels, None, IGNORE), dice_loss(half, labels, IGNORE)):
        assert loss.dtype == torch.float32
    assert dice_loss(half, labels, IGNORE) == dice_loss(half.float(), labels, IGNORE)


def test_dice_is_the_mean_over_the_classes_that_the_labels_have():
    logits, labels = labelled()
    labels[labels == 3] = IGNORE

    found = dice_loss(logits, labels, IGNORE)

    p, seen = logits.softmax(1), labels != IGNORE
    scores = []
    for one in range(3):
        guess, truth = p[:, one][seen], (labels == one)[seen].float()
        scores.append(2 * (guess * truth).sum() / (guess.sum() + truth.sum()))
    torch.testing.assert_close(found, 1 - torch.stack(scores).mean())


def test_dice_is_0_where_all_is_right_1_where_all_is_wrong_and_does_not_see_ignored_pixels():
    _, labels = labelled()
    right = (
        100 * functional.one_hot(labels.where(labels != IGNORE, 0), 4).permute(0, 3, 1, 2).float()
    )

    assert dice_loss(right, labels, IGNORE).item() == pytest.approx(0, abs=1e-6)
    assert dice_loss(right.roll(1, 1), labels, IGNORE).item() == pytest.approx(1, abs=1e-6)


def test_dice_without_labels_is_0_and_has_a_gradient():
    logits, labels = labelled(share_ignored=1.1)
    logits.requires_grad_()

    loss = dice_loss(logits, labels, IGNORE)
    loss.backward()

    assert loss == 0
    assert (logits.grad == 0).all()


def test_a_depth_loss_names_the_terms_that_have_a_weight_and_adds_them_up():
    guess, truth = maps(2, 1, 32, 32)
    valid = holed(2, 1, 32, 32)

    found = depth_loss(guess, truth, valid, {"ssim": 1.0, "l1": 0.0, "gradient": 0.5})

    assert found.keys() == {"ssim", "gradient", "total"}
    assert found["ssim"] == ssim_loss(guess, truth, valid)
    torch.testing.assert_close(found["total"], found["ssim"] + 0.5 * found["gradient"])


def test_the_terms_of_a_depth_loss_are_those_of_the_relative_height_loss():
    guess, truth = maps(2, 1, 32, 32)
    valid = holed(2, 1, 32, 32)
    plain = relative_height_loss(guess, truth, valid, 0.0, 0.0)

    found = depth_loss(guess, truth, valid, dict.fromkeys(DEPTH_TERMS, 1.0))

    squared = (((guess - truth) ** 2) * valid).sum() / valid.sum()
    torch.testing.assert_close(found["invariant"], plain - squared)
    for name, terms in {"l1": (1.0, 0.0), "gradient": (0.0, 1.0)}.items():
        expected = relative_height_loss(guess, truth, valid, *terms) - plain
        torch.testing.assert_close(found[name], expected)
    assert found["l1"] == pytest.approx((guess - truth)[valid > 0].abs().mean().item())


def test_a_depth_loss_without_a_weight_is_0():
    guess, truth = maps(1, 1, 32, 32)

    assert depth_loss(guess, truth, torch.ones_like(truth), {"ssim": 0.0}) == {"total": 0}


def test_a_depth_loss_where_nothing_is_known_is_0_and_has_a_gradient():
    guess, truth = maps(2, 1, 32, 32)
    guess.requires_grad_()

    found = depth_loss(guess, truth, torch.zeros_like(truth), dict.fromkeys(DEPTH_TERMS, 1.0))
    found["total"].backward()

    assert found["total"] == 0
    assert (guess.grad == 0).all()


def test_the_ssim_map_has_a_value_for_every_pixel_whose_inner_mean_is_the_loss():
    guess, truth = maps(1, 1, 40, 48)

    shown = ssim_map(guess[0, 0], truth[0, 0])

    assert shown.shape == (40, 48)
    loss = ssim_loss(guess, truth, torch.ones_like(truth))
    assert 1 - shown[5:-5, 5:-5].mean().item() == pytest.approx(loss.item(), abs=1e-6)
    torch.testing.assert_close(ssim_map(truth[0, 0], truth[0, 0]), torch.ones(40, 48))


def test_the_ssim_map_is_low_where_the_maps_differ():
    (truth,) = maps(1, 1, 64, 64, count=1)
    guess = truth.clone()
    guess[..., 40:50, 40:50] = 1 - guess[..., 40:50, 40:50]

    shown = ssim_map(guess[0, 0], truth[0, 0])

    assert shown[44:46, 44:46].max() < 0.5 and shown[:30, :30].min() > 0.999


def height_loss(guess, truth, valid=None, absolute=0.0, gradient=0.0):
    valid = torch.ones_like(truth) if valid is None else valid
    return relative_height_loss(guess, truth, valid, absolute, gradient)


def test_equal_heights_have_no_loss():
    (truth,) = maps(2, 1, 24, 24, count=1)

    assert height_loss(truth, truth, absolute=1, gradient=1).item() == pytest.approx(0, abs=1e-5)


def test_another_scale_and_shift_leave_the_correlation_alone():
    guess, truth = maps(2, 1, 24, 24)

    def correlation(guess):
        return height_loss(guess, truth) - ((guess - truth) ** 2).mean()

    torch.testing.assert_close(correlation(guess * 0.7 + 0.2), correlation(guess))
    assert correlation(guess) > 0.02


def test_relief_upside_down_loses_twice_as_much_as_none():
    (truth,) = maps(1, 1, 24, 24, count=1)
    level = truth.mean()

    upside_down = height_loss(2 * level - truth, truth)
    flat = height_loss(torch.full_like(truth, level), truth)

    error = ((truth - level) ** 2).mean()
    assert upside_down.item() == pytest.approx(2 + 4 * error.item(), abs=1e-4)
    assert flat.item() == pytest.approx(1 + error.item(), abs=1e-4)


def test_crops_without_relief_give_no_correlation():
    flat = torch.full((1, 1, 24, 24), 0.4)
    (guess,) = maps(1, 1, 24, 24, count=1)

    found = height_loss(guess, flat)

    assert found.item() == pytest.approx(((guess - flat) ** 2).mean().item(), abs=1e-6)


def test_a_shift_has_no_slope_and_a_ramp_has_one():
    truth = torch.zeros(1, 1, 8, 8)
    ramp = 0.1 * torch.arange(8.0).expand(1, 1, 8, 8)

    def slope(guess):
        return height_loss(guess, truth, gradient=1) - height_loss(guess, truth)

    assert slope(truth + 0.3).item() == pytest.approx(0, abs=1e-7)
    assert slope(ramp).item() == pytest.approx(0.1 / 2, abs=1e-6)


def test_a_blurred_edge_costs_more_than_a_sharp_one_with_as_much_error():
    truth = torch.zeros(1, 1, 24, 24)
    truth[..., 12:] = 1
    blurred = functional.avg_pool2d(functional.pad(truth, (4, 4, 0, 0), "replicate"), (1, 9), 1)
    # no pixel of this one but those next to the edge has a wrong slope
    sharp = torch.where(truth > 0, truth, (blurred - truth).abs().mean() * 2)

    def terms(guess):
        plain = height_loss(guess, truth)
        return [height_loss(guess, truth, **{key: 1}) - plain for key in ("absolute", "gradient")]

    (error, slopes), (error_of_sharp, slopes_of_sharp) = terms(blurred), terms(sharp)
    torch.testing.assert_close(error, error_of_sharp)
    assert slopes > 5 * slopes_of_sharp


def test_the_absolute_error_is_the_mean_over_known_pixels_and_least_at_the_median():
    truth = torch.zeros(1, 1, 8, 8)
    truth[..., :3] = 1
    truth[..., 0, :] = 9
    valid = torch.ones_like(truth)
    valid[..., 0, :] = 0

    def absolute(level):
        guess = torch.full_like(truth, level)
        return height_loss(guess, truth, valid, absolute=1) - height_loss(guess, truth, valid)

    assert absolute(0.0).item() == pytest.approx(3 / 8)
    assert absolute(0.0) < absolute(0.05) < absolute(3 / 8)


def test_the_edge_of_a_hole_is_no_slope():
    (truth,) = maps(1, 1, 24, 24, count=1)
    valid = torch.ones_like(truth)
    valid[0, :, 5:9, 3:20] = 0

    with_slope, without = (height_loss(truth + 0.3, truth, valid, 0.0, g) for g in (1, 0))

    torch.testing.assert_close(with_slope, without)


def test_heights_of_invalid_pixels_do_not_count():
    guess, truth = maps(2, 1, 24, 24)
    valid = torch.ones_like(truth)
    valid[0, :, 5:9, 3:20] = 0

    changed = torch.where(valid > 0, guess, 9.0)

    terms = {"absolute": 1.0, "gradient": 1.0}
    torch.testing.assert_close(
        height_loss(changed, truth, valid, **terms), height_loss(guess, truth, valid, **terms)
    )
    assert height_loss(guess, truth, torch.zeros_like(valid), **terms) == 0


def test_weights_have_mean_1_over_the_classes_that_are_there_and_others_have_none():
    weights = weights_of("sqrt", np.array([0, 4, 16]))

    assert weights.tolist() == pytest.approx([0, 4 / 3, 2 / 3])
    assert weights_of("none", np.array([0, 4, 16])) is None
