"""Pictures that trainings took of their networks at work, beside each other."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

WIDTH = 4.2
"""Of one picture, in inches."""


def panels_figure(folders: Sequence[Path]) -> Figure | None:
    """Return the first and the last picture of each ``<experiment>/<run>/panels``, a row each.

    None where no training took any.
    """
    taken = {folder.parents[1].name: sorted(folder.glob("*.png")) for folder in folders}
    shown = {name: [files[0], files[-1]] for name, files in taken.items() if files}
    if not shown:
        return None
    pictures = {name: [Image.open(file) for file in files] for name, files in shown.items()}
    heights = [WIDTH * row[0].height / row[0].width + 0.4 for row in pictures.values()]
    figure = Figure(figsize=(2 * WIDTH + 0.6, sum(heights) + 0.6), layout="constrained")
    axes = figure.subplots(len(shown), 2, squeeze=False, height_ratios=heights)
    for row, (name, some) in zip(axes, pictures.items(), strict=True):
        for axis, file, picture in zip(row, shown[name], some, strict=True):
            step = int(file.stem.removeprefix("step-"))
            axis.imshow(picture)
            axis.set_title(f"{name}, step {step}", fontsize=8, parse_math=False)
            axis.set_axis_off()
    said = "input, pseudo-depth, predicted depth, SSIM; without a depth decoder labels and classes"
    figure.suptitle(f"From the left: {said}", fontsize=9)
    return figure
