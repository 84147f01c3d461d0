"""What a job asks of a cluster: memory and minutes, by how large its scene is."""

import json
import os
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from pipeline_steps.study.config import Loaded
from pipeline_steps.study.plan import band_gb, field_window
from pipeline_steps.study.runs import Run

BAND = 512
"""Rows that are held at a time by steps without windows."""


class Base(NamedTuple):
    """What a stage asks for whatever its scene, and seconds that a megapixel adds at most."""

    mb: int
    minutes: int
    seconds: float = 0.0


# Seconds are those of two CPU cores, threefold or more: a job that is ended has to wait once more.
BASES = {
    "synthesize": Base(2000, 10),
    "tile": Base(2000, 30, 1.0),
    "split": Base(2000, 30, 0.5),
    "stretch": Base(2000, 60),
    "strata": Base(2000, 30, 1.0),
    "adapt": Base(16000, 720),
    "depth": Base(8000, 60, 10.0),
    "train": Base(16000, 1440),
    "predict": Base(8000, 60, 10.0),
    "corrupt": Base(8000, 60, 10.0),
    "map": Base(8000, 240),
    "export": Base(8000, 60),
    "score": Base(2000, 30, 1.0),
    "deliver": Base(4000, 60, 2.0),
}

Asks = Callable[[Any, int], int]
"""From a job's wildcards and the number of its attempt."""


class Size(NamedTuple):
    """How large a scene is: pixels of all its images, and the columns and bands of its widest."""

    megapixels: float
    width: int
    bands: int


UNKNOWN = Size(0.0, 0, 0)
"""Until `check` has looked, a job asks for what its stage needs in any case."""


class Needs:
    """Resources of a study's jobs, whose scenes `check` has measured in the file ``findings``.

    Each time that a job is tried anew it asks for half as much again.
    """

    def __init__(self, study: Loaded, findings: str) -> None:
        self.study, self.findings = study, findings
        self._changed, self._sizes = 0, {}

    def mb(self, stage: str) -> Asks:
        """Return what tells the megabytes of memory that a job of ``stage`` asks for."""

        def asks(wildcards: Any, attempt: int) -> int:
            size = self._size(wildcards)
            band = 1000 * band_gb(self._rows(stage, wildcards, size), size.width)
            return _grown(BASES[stage].mb + band, attempt)

        return asks

    def minutes(self, stage: str) -> Asks:
        """Return what tells the minutes that a job of ``stage`` asks for."""

        def asks(wildcards: Any, attempt: int) -> int:
            base, size = BASES[stage], self._size(wildcards)
            seconds = base.seconds * size.megapixels * self._passes(stage, wildcards)
            return _grown(base.minutes + seconds / 60, attempt)

        return asks

    def _rows(self, stage: str, wildcards: Any, size: Size) -> int:
        """Return how many rows of one value are blended or held at a time."""
        config = self.study.config
        if stage in ("predict", "corrupt"):
            return len(config.classes) * config.predict.window
        if stage == "depth" and self.study.teachers[wildcards.teacher].model:
            return field_window(self.study.teachers[wildcards.teacher])
        return BAND * size.bands

    def _passes(self, stage: str, wildcards: Any) -> int:
        """Return how many times networks see every window."""
        if stage in ("predict", "corrupt"):
            how, corrupted = self.study.config.predict, self.study.config.corrupted
            views = len(how.scales) * (8 if how.turns else 1)
            if stage == "corrupt":
                views *= len(corrupted.kinds) * len(corrupted.severities)
            return views * len(self.study.members(wildcards.experiment, Run.named(wildcards.run)))
        if stage == "depth":
            return 8 if self.study.teachers[wildcards.teacher].depth.turns else 1
        return 1

    def _size(self, wildcards: Any) -> Size:
        return self._measured().get(getattr(wildcards, "scene", None), UNKNOWN)

    def _measured(self) -> dict[str, Size]:
        """Return the sizes of scenes, read again where `check` has looked again."""
        try:
            changed = os.stat(self.findings).st_mtime_ns
        except OSError:
            return {}
        if changed != self._changed:
            self._changed, self._sizes = changed, _sizes_in(self.findings)
        return self._sizes


def _sizes_in(findings: str) -> dict[str, Size]:
    try:
        with open(findings, encoding="utf-8") as file:
            return {row["scene"]: _size_of(row) for row in json.load(file)["scenes"]}
    except (ValueError, KeyError, TypeError):
        # what is damaged is named by the stage that reads it; no job waits for an estimate
        return {}


def _size_of(row: dict[str, Any]) -> Size:
    """Return the size in a row of what `check` has found, as in `pixels: 512x512 to 4096x2048`."""
    widths = [int(width) for width in re.findall(r"(\d+)x", row["pixels"])]
    bands = [int(count) for count in re.findall(r"(\d+) [a-z]", row["bands"])]
    return Size(row["megapixels"], max(widths, default=0), max(bands, default=0))


def _grown(amount: float, attempt: int) -> int:
    return int(amount * (1 + attempt) / 2)
