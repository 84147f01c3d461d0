"""The table of transfer: what is learned from one domain, tested on all."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from pipeline_steps.metrics.confusion import merged, scores
from pipeline_steps.presentation.scores import Counted, mean_and_sd, pooled
from pipeline_steps.study.transfer import Target, Transfer

Crosswalk = Mapping[str, Sequence[str]]
"""A common class → the classes that it is made of; empty where every class stands for itself."""

TRANSFER_NOTE = (
    "source is the domains that an experiment learned from. A column miou_… is the mIoU on the test"
    " scenes of one domain, whose counts are summed before any score is taken; a class that the"
    " labels of that domain do not know is left out of its mean. unseen is the mean of these over"
    " the domains that an experiment did not learn from. drop is the mean, over the domains"
    " that an experiment did not learn from, of how much less it has there than the experiment of"
    " the same settings that learned from that domain alone; a domain without such an experiment"
    " does not count. Of the experiments that did not learn from a domain the best is bold, the"
    " second underlined. ± is the standard deviation over seeds."
)


def transfer_table(found: Counted, transfer: Transfer, crosswalk: Crosswalk) -> pd.DataFrame:
    """Return a row for each experiment: its mIoU on each domain, on unseen ones, and the drop.

    Raises KeyError where a class of ``found`` is in no class of a ``crosswalk`` that is not empty.
    """
    mious = {
        target.domain: _mious(found, target, crosswalk or {n: [n] for n in found[0]["classes"]})
        for target in transfer.targets
    }
    rows = []
    for learner in transfer.learners:
        name, drops = learner.experiment, {}
        row = {"experiment": name, "system": learner.system, "source": "+".join(learner.source)}
        row["seeds"] = len(next(iter(mious.values()))[name])
        for domain, of in mious.items():
            row |= mean_and_sd(f"miou_{domain}", of[name])
            home = learner.at_home.get(domain)
            is_foreign = home is not None and domain not in learner.source
            drops[domain] = np.mean(of[home]) - np.mean(of[name]) if is_foreign else np.nan
        abroad = [of[name] for domain, of in mious.items() if domain not in learner.source]
        row |= mean_and_sd("unseen", np.mean(abroad, axis=0) if abroad else [])
        row["drop"] = _mean(np.array(list(drops.values())))
        rows.append(row | {f"drop_{domain}": drop for domain, drop in drops.items()})
    return pd.DataFrame(rows)


def hidden_of_transfer(table: pd.DataFrame) -> list[str]:
    """Return the columns that people are spared, such as a drop that no experiment tells."""
    hidden = ["system", *(name for name in table if name.startswith("drop_"))]
    return hidden + ([] if table["drop"].notna().any() else ["drop"])


def rivals(table: pd.DataFrame, transfer: Transfer) -> dict[str, pd.Series]:
    """Return for each column of mIoU the rows to compare: those that did not learn from it.

    Means over unseen domains are compared where these are the same for all.
    """
    sources = {one.experiment: one.source for one in transfer.learners}
    found = {
        f"miou_{target.domain}": table["experiment"].map(
            lambda name, domain=target.domain: domain not in sources[name]
        )
        for target in transfer.targets
    }
    is_one = len({frozenset(source) for source in sources.values()}) == 1
    return found | ({"unseen": table["unseen"].notna()} if is_one else {})


def crosswalk_note(crosswalk: Crosswalk) -> str:
    """Say what is compared in place of the study's own classes, if anything is."""
    said = "; ".join(f"{name}: {', '.join(parts)}" for name, parts in crosswalk.items())
    return f" Compared are the classes of the crosswalk, {said}." if said else ""


def _mious(found: Counted, target: Target, crosswalk: Crosswalk) -> dict[str, list[float]]:
    """Return the mIoU of every experiment on a target, one for each seed."""
    common = {name: k for k, parts in enumerate(crosswalk.values()) for name in parts}
    groups = [common[name] for name in found[0]["classes"]]
    told = sorted({common[name] for name in target.classes})
    here = pooled([one for one in found if one["scene"] in target.scenes])
    return {
        experiment: [_mean(scores(merged(matrix, groups)).iou[told]) for matrix in matrices]
        for experiment, matrices in here.items()
    }


def _mean(values: np.ndarray) -> float:
    """Return the mean of what is known."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
