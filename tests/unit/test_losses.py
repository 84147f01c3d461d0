import functools

import pytest
import torch
from torch.nn import functional

from pipeline_steps.training.losses import relative_height_loss, segmentation_loss, ssim_loss

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
