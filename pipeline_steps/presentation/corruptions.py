"""The table of corruptions: what is left of mIoU in haze, in noise and so on, by severity."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline_steps.metrics.confusion import scores
from pipeline_steps.presentation.scores import ALL, Counted, mean_and_sd, summed
from pipeline_steps.presentation.tables import Writer

NOTE = (
    "The same networks map the test scenes again, with their images corrupted. miou_clean is the"
    " mIoU of these scenes as they are, miou_n that at severity n, miou_mean the mean over"
    " severities, drop what miou_mean lacks of miou_clean. Counts are summed over scenes before any"
    " score is taken; ± is the standard deviation over seeds. Of each kind the best is bold, the"
    " second underlined."
)


def corruption_table(corrupted: Counted, found: Counted) -> pd.DataFrame:
    """Return a row for each kind and experiment: mIoU clean, at each severity, mean and drop.

    ``corrupted`` is what ``corrupt`` wrote, ``found`` what ``score`` wrote of the same runs.
    """
    clean = {_whose(one): np.array(one["strata"][ALL], np.int64) for one in found}
    rows = []
    for kind in dict.fromkeys(kind for one in corrupted for kind in one["kinds"]):
        here = [one for one in corrupted if kind in one["kinds"]]
        severities = list(here[0]["kinds"][kind])
        before = _mious(here, lambda one: clean[_whose(one)])
        after = {
            s: _mious(here, lambda one, s=s, kind=kind: np.array(one["kinds"][kind][s], np.int64))
            for s in severities
        }
        for name, of_clean in before.items():
            row = {"kind": kind, "experiment": name, "seeds": len(of_clean)}
            row |= mean_and_sd("miou_clean", of_clean)
            for severity in severities:
                row |= mean_and_sd(f"miou_{severity}", after[severity][name])
            means = np.mean([after[severity][name] for severity in severities], axis=0)
            row |= mean_and_sd("miou_mean", means)
            rows.append(row | mean_and_sd("drop", np.array(of_clean) - means))
    return pd.DataFrame(rows)


def write_corruptions(write: Writer, corrupted: Counted, found: Counted) -> None:
    """Write the table `corruptions` with its note, the best of each kind marked, if it has rows."""
    if not corrupted:
        return
    table, note = corruption_table(corrupted, found), corruption_note(corrupted, found)
    ranked = [name for name in table if name.startswith("miou_") and not name.endswith("_sd")]
    write("corruptions", table, note, ranked=ranked, by="kind")


def corruption_note(corrupted: Counted, found: Counted) -> str:
    """Say what the table is of, and what is not in it and why."""
    tried = {one["experiment"] for one in corrupted}
    rest = [name for name in dict.fromkeys(one["experiment"] for one in found) if name not in tried]
    said = [NOTE]
    if rest:
        said.append(
            f"Not tried: {', '.join(rest)}; when they map they are fed a depth that a network made"
            " of the clean image."
        )
    lacking: dict[tuple[str, str], dict[str, None]] = {}
    for one in corrupted:
        for kind, why in one["left_out"].items():
            lacking.setdefault((kind, why), {})[one["scene"]] = None
    said += [
        f"Without {kind}: {', '.join(scenes)}, which {why}."
        for (kind, why), scenes in lacking.items()
    ]
    return " ".join(said)


def _whose(one: dict[str, Any]) -> tuple[Any, ...]:
    return one["experiment"], one["seed"], one["fold"], one["scene"]


def _mious(some: Counted, get: Any) -> dict[str, Sequence[float]]:
    """Return for each experiment the mIoU of every seed."""
    sums = summed(some, get)
    return {name: [scores(matrix).miou for matrix in seeds] for name, seeds in sums.items()}
