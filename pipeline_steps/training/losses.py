"""What networks are trained by. All in float32, whatever the network ran in."""

import functools

import torch
from torch.nn import functional as F

SIGMA, REACH = 1.5, 5
C1, C2 = 0.01**2, 0.03**2


def segmentation_loss(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None, ignore: int
) -> torch.Tensor:
    """Return the mean cross-entropy over labelled pixels; 0 where a batch has none.

    ``logits`` [B, K, H, W], ``labels`` int64 [B, H, W], ``weights`` [K] or None.
    """
    total = F.cross_entropy(logits.float(), labels, weights, ignore_index=ignore, reduction="sum")
    seen = labels[labels != ignore]
    counted = total.new_tensor(seen.numel()) if weights is None else weights[seen].sum()
    # without a label the sum is 0, and so shall be its mean
    return total / torch.where(counted > 0, counted, 1)


def ssim_loss(guess: torch.Tensor, truth: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Return 1 − mean SSIM over windows whose pixels are all valid; 0 where there is none.

    All [B, 1, H, W]: ``guess`` and ``truth`` in [0, 1], ``valid`` 1 or 0. Wang et al., "Image
    quality assessment", TIP 2004: 11x11 Gaussian, σ 1.5. The filter is two products with banded
    matrices, on a CPU twelve times as fast as a convolution over one channel.
    """
    valid = valid.float()
    x, y = (guess.float() * valid, truth.float() * valid)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    cov = _blur(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + C1) * (2 * cov + C2)) / (
        (mean_x**2 + mean_y**2 + C1) * (var_x + var_y + C2)
    )
    whole = 1 - F.max_pool2d(1 - valid, 2 * REACH + 1, stride=1)
    return ((1 - similarity) * whole).sum() / whole.sum().clamp(min=1)


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
    count = valid.sum((1, 2, 3)).clamp(min=1)
    x, y = (_centred(t, valid, count) for t in (guess, truth))
    var_x, var_y = ((t * t).sum((1, 2, 3)) / count for t in (x, y))
    r = (x * y).sum((1, 2, 3)) / count / (var_x * var_y).clamp(min=1e-8).sqrt()
    has_relief = (var_y > 1e-4).float()
    correlation = ((1 - r) * has_relief).sum() / has_relief.sum().clamp(min=1)
    difference = (guess - truth) * valid
    squared, distance = (t.sum() / count.sum() for t in (difference**2, difference.abs()))
    errors = squared + absolute * distance
    return correlation + errors + gradient * _slopes(difference, valid)


def _slopes(difference: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
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
