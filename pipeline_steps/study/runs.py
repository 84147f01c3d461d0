"""A run of an experiment: the scenes it learns from and is tested on."""

import random
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from pipeline_steps.study.params.split import Params as Split
from pipeline_steps.study.scenes import Scene


class Run(NamedTuple):
    """A training, by its seed, and its fold where a study has folds.

    Without a seed it is an ensemble of all of them.
    """

    seed: int | None
    fold: int | None

    @property
    def name(self) -> str:
        """Return what folders call it."""
        seed = "seeds" if self.seed is None else f"seed-{self.seed}"
        return seed + ("" if self.fold is None else f"-fold-{self.fold}")

    @property
    def flags(self) -> list[str]:
        """Return what tells a step which run it is."""
        flags = {"--seed": self.seed, "--fold": self.fold}
        return [word for flag, n in flags.items() if n is not None for word in (flag, str(n))]

    @classmethod
    def named(cls, name: str) -> "Run":
        """Return the run that is called ``name``; raises ValueError where none can be."""
        found = re.fullmatch(r"(?:seeds|seed-(\d+))(?:-fold-(\d+))?", name)
        if not found:
            raise ValueError(
                f"run is {name!r}, expected seed-<n> or seeds, and with folds -fold-<k>"
            )
        seed, fold = (None if number is None else int(number) for number in found.groups())
        return cls(seed, fold)


def runs_of(seeds: Iterable[int | None], folds: int | None) -> list[Run]:
    """Return a run for each seed, and with folds for each seed and fold."""
    return [
        Run(seed, fold) for seed in seeds for fold in ([None] if folds is None else range(folds))
    ]


def dealt(scenes: Iterable[Scene], split: Split) -> dict[str, int]:
    """Return the fold of each scene whose split is ``folds``: shuffled, then dealt in turn."""
    names = [scene.name for scene in scenes if scene.split == "folds"]
    random.Random(split.seed).shuffle(names)
    return {name: number % split.folds for number, name in enumerate(names)} if split.folds else {}


def is_part(
    scene: Scene, part: str, fold: int | None, folds: Mapping[str, int], split: Split
) -> bool:
    """Return whether a scene has ground of ``part``: in ``fold``, or if it is None in any run."""
    if scene.split == "blocks":
        share = {"train": 1, "val": 0, "test": 1} if split.folds else dict(split.shares)
        return share.get(part, 0) > 0
    if scene.split == "folds":
        is_test = folds.get(scene.name) == fold
        return (part == "test" and (fold is None or is_test)) or (part == "train" and not is_test)
    return scene.split == part
