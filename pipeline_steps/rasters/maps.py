"""From blended probabilities to maps: what each shows, and how it is kept."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from scipy.special import entr

from pipeline_steps.rasters.cube import write_cube
from pipeline_steps.rasters.drafts import Drafts, Layer
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_map

NONE = 255
"""Nodata of maps of 8 bits."""

SURE = 254
"""What a probability of 1 is kept as."""

DESCRIPTIONS = {
    "classes": "land cover",
    "confidence": "probability of the likeliest class, per cent",
    "entropy": "entropy of the classes' probabilities, per cent of the most it can be",
    "disagreement": "standard deviation between windows, views and networks, per cent",
    "depth": "relative height as predicted",
}
SUFFIXES = {"probabilities": ".zarr"}
"""How files are called that are no GeoTIFFs."""


def layers_of(names: Iterable[str], classes: int) -> dict[str, Layer]:
    """Return how each map is kept while it is made."""
    own = {"depth": Layer("float32", np.nan), "probabilities": Layer("uint8", NONE, classes)}
    return {name: own.get(name, Layer("uint8", NONE)) for name in names}


def rows_of_maps(
    layers: Mapping[str, Layer],
    values: np.ndarray,
    valid: np.ndarray | None,
    classes: int,
    what: str,
) -> dict[str, np.ndarray]:
    """Return the next rows of every map from ``values`` float32 [channels, n, W].

    Channels are the classes' probabilities; then, for ``disagreement``, the mean of the sum of
    their squares, and, for ``depth``, the depth. ``valid`` [n, W] is 1 where the image has data,
    None where all of it has. Raises ValueError, in which the rows are called ``what``, where a
    probability is no number though the image has data.
    """
    is_known = None if valid is None else valid > 0
    likeliest, best = _likeliest(values[:classes])
    _check_numbers(best, is_known, what)
    found = _maps(values, layers, classes, likeliest, best)
    if is_known is not None:
        for name, layer in layers.items():
            found[name] = np.where(is_known, found[name], layer.nodata)
    return found


def _check_numbers(best: np.ndarray, is_known: np.ndarray | None, what: str) -> None:
    # one that is no number makes the highest none, and that the sum: looked for in a single pass
    if np.isfinite(best.sum()):
        return
    is_wrong = ~np.isfinite(best) if is_known is None else ~np.isfinite(best) & is_known
    if is_wrong.any():
        raise ValueError(
            f"{what}: the network's probabilities are no numbers in {is_wrong.sum()} pixels,"
            " expected numbers"
        )


def _maps(
    values: np.ndarray,
    names: Iterable[str],
    classes: int,
    likeliest: np.ndarray,
    best: np.ndarray,
) -> dict[str, np.ndarray]:
    shares, found = values[:classes], {}
    for name in names:
        if name == "classes":
            found[name] = likeliest
        elif name == "confidence":
            found[name] = _percent(best)
        elif name == "entropy":
            found[name] = _percent(entr(shares).sum(0) / np.log(classes))
        elif name == "disagreement":
            variance = values[classes] - np.einsum("khw,khw->hw", shares, shares)
            found[name] = _percent(np.sqrt(variance.clip(min=0)))
        elif name == "depth":
            found[name] = values[-1]
        elif name == "probabilities":
            found[name] = np.rint(shares * SURE).clip(0, SURE)
        else:
            raise ValueError(f"map is {name!r}, expected one of {', '.join(DESCRIPTIONS)}")
    return found


def _likeliest(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return argmax and maximum over the first axis, in one pass and without a branch a pixel."""
    best, likeliest = shares[0].copy(), np.zeros(shares.shape[1:], np.uint8)
    is_more = np.empty(best.shape, bool)
    number = is_more.view(np.uint8)
    for index, share in enumerate(shares[1:], 1):
        np.greater(share, best, out=is_more)
        np.maximum(best, share, out=best)
        number *= np.uint8(index)
        np.maximum(likeliest, number, out=likeliest)
    return likeliest, best


def _percent(share: np.ndarray) -> np.ndarray:
    return np.rint(share * 100).clip(0, 100)


def finish(
    drafts: Drafts,
    paths: Mapping[str, Path],
    grid: Grid,
    classes: Iterable[tuple[str, tuple[int, int, int]]],
) -> None:
    """Write every map from its rows: cloud-optimised GeoTIFFs, and a Zarr store."""
    classes = list(classes)
    for name, path in paths.items():
        layer = drafts.layers[name]
        if name == "probabilities":
            names = [one for one, _ in classes]
            write_cube(path, grid, names, lambda rows: drafts.read("probabilities", rows), SURE)
            continue
        is_classes = name == "classes"
        write_map(
            drafts.files[name],
            path,
            grid,
            layer.dtype,
            layer.nodata,
            "mode" if is_classes else "average",
            DESCRIPTIONS[name],
            classes if is_classes else (),
        )
