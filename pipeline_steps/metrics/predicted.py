"""How well a network predicts depth: beside what it learned from, and beside real height."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline_steps.metrics.depth import height_quality, spearman


def predicted_quality(
    guess: np.ndarray,
    taught: np.ndarray,
    height: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
) -> dict[str, Any]:
    """Compare predicted depth with the teacher's and with metres above ground, all [H, W].

    Returns what ``height_quality`` does where predicted depth and height are known, and beside it
    ``teacher_spearman``, Spearman's ρ to the teacher, and ``teacher_ssim``, mean SSIM. None where
    a measure is not defined.
    """
    known = np.isfinite(guess) & np.isfinite(height)
    facts = height_quality(guess[known], height[known], labels[known], classes)
    both = np.isfinite(guess) & np.isfinite(taught)
    facts["teacher_spearman"] = spearman(guess[both], taught[both])
    facts["teacher_ssim"] = _ssim(guess, taught, both)
    return facts


def _ssim(guess: np.ndarray, taught: np.ndarray, known: np.ndarray) -> float | None:
    """Return mean SSIM (Wang et al. 2004) over known pixels; unknown ones are 0 to their like."""
    # takes a while to import, and few studies keep predicted depth
    from skimage.metrics import structural_similarity

    if min(guess.shape) < 11 or not known.any():
        return None
    pair = [np.where(known, one, 0).astype(np.float64) for one in (guess, taught)]
    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, everywhere = structural_similarity(*pair, data_range=1.0, full=True, **gaussian)
    return float(everywhere[known].mean())
