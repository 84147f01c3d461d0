"""What networks are trained by. All in float32, whatever the network ran in."""

import functools
from collections.abc import Mapping

import torch
from torch.nn import functional as F

SIGMA, REACH = 1.5, 5
C1, C2 = 0.01**2, 0.03**2

FLAT = 1e-3
"""Standard deviation below which a depth map, in [0, 1], shows nothing."""


def segmentation_loss(
    logits: torch.Tensor,
    labels: torch.Tensor,
    weights: torch.Tensor | None,
    ignore: int,
    smoothing: float = 0.0,
    focal: float = 0.0,
) -> torch.Tensor:
    """Return the mean cross-entropy over labelled pixels, weighted by class; 0 where none is.

    ``logits`` [B, K, H, W], ``labels`` int64 [B, H, W], ``weights`` [K] or None. ``smoothing`` is
    torch's ``label_smoothing``. ``focal`` is the exponent γ of Lin et al., "Focal loss", ICCV 2017:
    each pixel counts (1 − p)^γ times, with the probability p of its label; 0 is cross-entropy.
    """
    logits, kind = logits.float(), {"ignore_index": ignore, "reduction": "none"}
    losses = F.cross_entropy(logits, labels, weights, label_smoothing=smoothing, **kind)
    if focal:
        missed = -torch.expm1(-F.cross_entropy(logits, labels, **kind))
        # an exponent below 1 has no slope at 0
        losses = losses * missed.clamp(min=1e-6) ** focal
    seen = (labels != ignore).float()
    counted = (seen if weights is None else seen * weights[labels.where(seen > 0, 0)]).sum()
    # without a label the sum is 0, and so shall be its mean
    return losses.sum() / torch.where(counted > 0, counted, 1)


def dice_loss(logits: torch.Tensor, labels: torch.Tensor, ignore: int) -> torch.Tensor:
    """Return 1 − soft Dice, the mean over the classes that the batch's labels have; 0 without any.

    ``logits`` [B, K, H, W], ``labels`` int64 [B, H, W]. Pixels of the whole batch are counted
    together: Drozdzal et al., "The importance of skip connections", DLMIA 2016.
    """
    said = logits.float().softmax(dim=1) * (labels != ignore)[:, None]
    classes = torch.arange(logits.shape[1], device=labels.device)[:, None, None]
    truth = labels[:, None] == classes
    both, guessed, true = (t.sum((0, 2, 3)) for t in (said * truth, said, truth))
    present = (true > 0).float()
    losses = 1 - 2 * both / (guessed + true).clamp(min=1)
    return (losses * present).sum() / present.sum().clamp(min=1)


def depth_loss(
    guess: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor, weights: Mapping[str, float]
) -> dict[str, torch.Tensor]:
    """Return the terms whose weight is positive, by name and not weighted, and their ``total``.

    All [B, 1, H, W]: ``guess`` and ``truth`` in [0, 1], ``valid`` 1 or 0. Names are those of
    ``DEPTH_TERMS``; KeyError for another.
    """
    guess, truth, valid = guess.float(), truth.float(), valid.float()
    wanted = {name: weight for name, weight in weights.items() if weight > 0}
    terms = {name: DEPTH_TERMS[name](guess, truth, valid) for name in wanted}
    weighted = (weight * terms[name] for name, weight in wanted.items())
    return terms | {"total": sum(weighted, guess.new_zeros(()))}


def depth_correlation(
    guess: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor
) -> torch.Tensor:
    """Return Pearson's r over all valid pixels of a batch; 0 where one of both is flat.

    All [B, 1, H, W], ``valid`` 1 or 0.
    """
    valid = valid.float()
    count = valid.sum().clamp(min=1)
    x, y = (t.float() * valid for t in (guess, truth))
    x, y = ((t - t.sum() / count) * valid for t in (x, y))
    spread = ((x * x).sum() * (y * y).sum()).sqrt()
    # rounding makes a flat map seem to have some relief
    is_flat = torch.minimum((x * x).sum(), (y * y).sum()) / count < FLAT**2
    return torch.where(is_flat, 0.0, (x * y).sum() / spread.clamp(min=1e-12))


def ssim_loss(guess: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return 1 − mean SSIM over windows whose pixels are all valid; 0 where there is none.

    All [B, 1, H, W]: ``guess`` and ``truth`` in [0, 1], ``valid`` 1 or 0. Wang et al., "Image
    quality assessment", TIP 2004: 11x11 Gaussian, σ 1.5. The filter is two products with banded
    matrices, on a CPU twelve times as fast as a convolution over one channel.
    """
    valid = valid.float()
    similarity = _ssim(guess.float() * valid, truth.float() * valid)
    whole = 1 - F.max_pool2d(1 - valid, 2 * REACH + 1, stride=1)
    return ((1 - similarity) * whole).sum() / whole.sum().clamp(min=1)


def ssim_map(guess: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the SSIM around every pixel of one crop, [H, W], at most 1; edges are reflected.

    Both [H, W] in [0, 1], and larger than ``REACH``.
    """
    pad = (REACH,) * 4
    x, y = (F.pad(one.float()[None, None], pad, mode="reflect") for one in (guess, truth))
    return _ssim(x, y)[0, 0]


def _ssim(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the SSIM of every window [B, 1, H, W] that lies inside, [B, 1, H − 10, W − 10]."""
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    cov = _blur(x * y) - mean_x * mean_y
    return ((2 * mean_x * mean_y + C1) * (2 * cov + C2)) / (
        (mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2)
    )


def relative_height_loss(
    guess: torch.Tensor,
    truth: torch.Tensor,
    valid: torch.Tensor,
    absolute: float,
    gradient: float,
) -> torch.Tensor:
    """Return (1 − r) + MSE + ``absolute`` · MAE + ``gradient`` · slopes, over valid pixels.

    All [B, 1, H, W]; ``truth`` in [0, 1] or thereabouts, ``valid`` 1 or 0.

    - 1 − r, with Pearson's correlation of each crop, is the scale-and-shift-invariant term: half
      the mean squared difference once both sides are brought to mean 0 and variance 1, where
      MiDaS takes median and mean absolute deviation (Ranftl et al., TPAMI 2022). Crops without
      relief give none.
    - The errors keep one scale over all crops. The squared one leads to the mean of what may be
      true, the absolute one to the median.
    - Slopes are gradient matching (MiDaS' regularisation term at its finest scale): the mean
      absolute difference between neighbours' differences, so that edges stay sharp.
    """
    guess, truth, valid = guess.float(), truth.float(), valid.float()
    squared = (((guess - truth) ** 2) * valid).sum() / valid.sum().clamp(min=1)
    errors = squared + absolute * _distance(guess, truth, valid)
    return _invariant(guess, truth, valid) + errors + gradient * _slopes(guess, truth, valid)


def _invariant(guess: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return the mean over crops of 1 − r; those without relief in ``truth`` give none."""
    count = valid.sum((1, 2, 3)).clamp(min=1)
    x, y = (_centred(t, valid, count) for t in (guess, truth))
    var_x, var_y = ((t * t).sum((1, 2, 3)) / count for t in (x, y))
    r = (x * y).sum((1, 2, 3)) / count / (var_x * var_y).clamp(min=1e-8).sqrt()
    has_relief = (var_y > 1e-4).float()
    return ((1 - r) * has_relief).sum() / has_relief.sum().clamp(min=1)


def _distance(guess: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    return ((guess - truth).abs() * valid).sum() / valid.sum().clamp(min=1)


def _slopes(guess: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    difference = (guess - truth) * valid
    total, count = difference.new_zeros(()), valid.new_zeros(())
    for axis in (2, 3):
        n = valid.shape[axis] - 1
        both = valid.narrow(axis, 1, n) * valid.narrow(axis, 0, n)
        total = total + (difference.diff(dim=axis).abs() * both).sum()
        count = count + both.sum()
    return total / count.clamp(min=1)


def _centred(x: torch.Tensor, valid: torch.Tensor, count: torch.Tensor) -> torch.Tensor:
    mean = (x * valid).sum((1, 2, 3)) / count
    return (x - mean[:, None, None, None]) * valid


def _blur(x: torch.Tensor) -> torch.Tensor:
    rows, columns = (_band(n, x.device) for n in x.shape[-2:])
    return rows @ x @ columns.T


@functools.cache
def _band(length: int, device: torch.device) -> torch.Tensor:
    """Return the Gaussian filter as a matrix [length − 10, length]."""
    offsets = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    kernel = torch.exp(-(offsets**2) / (2 * SIGMA**2))
    kernel = (kernel / kernel.sum()).float()
    band = torch.zeros(length - 2 * REACH, length)
    for row in range(len(band)):
        band[row, row : row + 2 * REACH + 1] = kernel
    return band.to(device)


DEPTH_TERMS = {
    "ssim": ssim_loss,
    "l1": _distance,
    "invariant": _invariant,
    "gradient": _slopes,
}
"""What a depth loss can be made of: mean over valid pixels or, for ``invariant``, over crops."""
