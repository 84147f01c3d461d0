"""A test scene's depth beside its elevation, and by how much they differ in metres."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from pipeline_steps.metrics.depth import spearman
from pipeline_steps.presentation.scenes import colours, depth_of, picture_of, step_of
from pipeline_steps.rasters.store import Limits, Scene

SHOWN = (2, 98)
"""Percentiles of elevation, and the upper one of the error's size, between which colours run."""

SCALES = (
    ("relative height", "neither"),
    ("metres", "both"),
    ("metres: red is too tall, blue too low", "both"),
)
"""What the colours of depth, elevation and error mean, and which of their ends are open."""


def depth_figure(
    scene: Scene, limits: Limits | None, depths: Sequence[Path], panel_px: int
) -> Figure:
    """Return image, pseudo-depth, elevation and error, a row a teacher: of a folder, its first.

    ``depths`` are manifests of the scene's pseudo-depth. All rows share the scales of their
    colours. ρ and MAE are those of the pixels shown, after depth was clipped to [0, 1].
    """
    step = step_of(scene, panel_px)
    image, elevation = picture_of(scene, limits, step), _elevation_of(scene, step)
    fields = [depth_of(path, step) for path in depths]
    errors = [error_in_metres(field, elevation) for field in fields]
    low, high = _range_of(elevation)
    most = max(_range_of(np.abs(error))[1] for error in errors)
    figure, rows, bars = _frame(image.shape[0] / image.shape[1], len(depths))
    for row, path, field, error in zip(rows, depths, fields, errors, strict=True):
        _panel(row[0], "image", image)
        drawn = [
            _panel(row[1], f"pseudo-depth: {path.parents[1].name}", field, "magma", 0, 1),
            _panel(row[2], "elevation", elevation, "magma", low, high),
            _panel(
                row[3], f"error: {_said(field, elevation, error)}", error, "RdBu_r", -most, most
            ),
        ]
    for bar, picture, (label, ends) in zip(bars, drawn, SCALES, strict=True):
        scale = figure.colorbar(picture, cax=bar, orientation="horizontal", extend=ends)
        scale.set_label(label)
        scale.outline.set_visible(False)
    figure.suptitle(scene.name, fontsize=11, parse_math=False)
    return figure


def error_in_metres(depth: np.ndarray, elevation: np.ndarray) -> np.ndarray:
    """Return depth, brought to metres by the scale and shift of least squares, less elevation.

    Both [H, W], NaN where unknown, as then is the error.
    """
    known = np.isfinite(depth) & np.isfinite(elevation)
    error = np.full(depth.shape, np.nan)
    if known.any():
        guess, truth = depth[known].astype(np.float64), elevation[known].astype(np.float64)
        # a constant has no slope to be found
        slope, shift = np.polyfit(guess, truth, 1) if np.ptp(guess) else (0.0, truth.mean())
        error[known] = slope * guess + shift - truth
    return error


def _elevation_of(scene: Scene, step: int) -> np.ndarray:
    return np.asarray(scene.array("elevation", 0)[::step, ::step])


def _range_of(values: np.ndarray) -> tuple[float, float]:
    """Return between what colours run: never an empty range, 0 and 1 where nothing is known."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, SHOWN) if known.size else (0.0, 1.0)
    return float(low), float(max(high, low + 0.1))


def _frame(ratio: float, rows: int) -> tuple[Figure, np.ndarray, np.ndarray]:
    """Return a figure of pictures with that height over width, their axes, and those of scales."""
    tall = 3 * min(max(ratio, 0.3), 2.0) + 0.3
    figure = Figure(figsize=(12, tall * rows + 0.9), layout="constrained")
    axes = figure.subplots(rows + 1, 4, height_ratios=[tall] * rows + [0.1])
    axes[-1, 0].axis("off")
    return figure, axes[:-1], axes[-1, 1:]


def _panel(
    axis: Axes, title: str, values: np.ndarray, cmap: str = "gray", low: float = 0, high: float = 1
) -> AxesImage:
    axis.axis("off")
    axis.set_title(title, fontsize=10, parse_math=False)
    return axis.imshow(values, cmap=colours(cmap), vmin=low, vmax=high, interpolation="nearest")


def _said(depth: np.ndarray, elevation: np.ndarray, error: np.ndarray) -> str:
    known = np.isfinite(error)
    if not known.any():
        return "no depth with elevation"
    rho = spearman(depth[known], elevation[known])
    return f"ρ {'–' if rho is None else f'{rho:.2f}'}, MAE {np.abs(error[known]).mean():.2f} m"
