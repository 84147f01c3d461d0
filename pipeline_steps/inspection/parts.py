"""Whether what is learned from and what is tested share ground."""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline_steps.inspection.findings import Findings
from pipeline_steps.inspection.leaks import Leak, leak
from pipeline_steps.inspection.scene import Look
from pipeline_steps.study.params.check import Params
from pipeline_steps.study.params.split import Params as Split
from pipeline_steps.study.runs import dealt, is_part

Group = tuple[str, list[Look]]

TRAIN, TAUGHT = "train", "adapt.scenes"
REMEDIES = {
    TRAIN: "put them into one split, or make one mosaic of them (a VRT) with `split: blocks`",
    TAUGHT: "let the teacher learn from other scenes",
}
"""What helps where scenes that are learned from, by training or by a teacher, share ground."""


def _groups(
    looks: list[Look], taught: Collection[str], split: Split
) -> Iterator[tuple[Group, Group]]:
    """Yield pairs of parts that must not share ground: what is learned from, and what is not."""
    folds = dealt((look.scene for look in looks), split)
    for fold in range(split.folds or 1) if folds else (None,):
        parts = {
            part: [one for one in looks if is_part(one.scene, part, fold, folds, split)]
            for part in ("train", "val", "test")
        }
        suffix = "" if fold is None else f" of fold {fold}"
        for other in ("val", "test"):
            if parts["train"] and parts[other]:
                yield (TRAIN, parts["train"]), (other + suffix, parts[other])
        # what a teacher has learned reaches every training that uses its pseudo-depth
        more = [one for one in looks if one.scene.name in taught and one not in parts["train"]]
        if more and parts["test"]:
            yield (TAUGHT, more), ("test" + suffix, parts["test"])


def look_for_leaks(
    looks: list[Look],
    taught: Collection[str],
    bands: Sequence[int],
    split: Split,
    params: Params,
    found: Findings,
) -> list[dict[str, Any]]:
    """Measure what training and other scenes share, and ``taught`` ones and those tested on.

    A divided scene is both: its buffer lies within each of its rasters, not between them.
    """
    rows = []
    for (learned, ones), (name, others) in _groups(looks, taught, split):
        groups = [
            [(Path(f), image.grid) for one in group for f, image in one.images.items()]
            for group in (ones, others)
        ]
        try:
            measured = leak(*groups, bands)
        except ValueError as error:
            found.raised(error)
            continue
        if measured == Leak():
            continue
        between = f"{learned} and {name}"
        rows.append({"between": between, **dataclasses.asdict(measured)})
        _judge(between, measured, REMEDIES[learned], params, found)
    divided = [look.scene.name for look in looks if look.scene.split == "blocks"]
    if divided:
        unit = "m" if split.unit == "metres" else "pixels"
        apart = f"at least {split.buffer:g} {unit} between parts"
        found.add("note", ", ".join(divided), f"divided into blocks, {apart}")
    return rows


def _judge(between: str, one: Leak, remedy: str, params: Params, found: Findings) -> None:
    files = f"{one.pair[0]} and {one.pair[1]}" if one.pair else ""
    if one.shared_m2:
        what = f"leak: share {one.shared_m2:.6g} m² of ground, most in {files}"
        found.add(params.leak, between, what, remedy + "; `check.leak: warning` lets it pass")
    elif one.same:
        what = f"leak: {one.same} pairs of images are the same, such as {files}"
        found.add(params.leak, between, what, remedy + "; `check.leak: warning` lets it pass")
    elif one.continuing:
        what = f"leak: {one.continuing} pairs of images continue one another, such as {files}"
        found.add("warning", between, what, remedy)
    elif one.nearest_m is not None and one.nearest_m < params.distance:
        what = f"leak: are neighbours, {one.nearest_m:.3g} m apart: {files}"
        found.add("warning", between, what, remedy)
