"""What ``score`` counted, read so that thousands of maps fit in memory."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.metrics.bootstrap import miou
from pipeline_steps.presentation.depth_tables import PREDICTED
from pipeline_steps.presentation.differences import Unit, unit_of
from pipeline_steps.presentation.scores import Counted


def lines_of(gathered: Path) -> Iterator[Any]:
    """Yield what ``gather`` brought together, one file of it at a time.

    Raises ValueError naming the file and the line that is not JSON.
    """
    with gathered.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(
                    f"{gathered}:{number}: is not JSON ({error}), expected what `gather` wrote"
                ) from error


def read_counts(gathered: Path, unit: Unit) -> Counted:
    """Return what ``score`` counted of every map, from ``counts.jsonl`` of ``gather``.

    Confusion matrices are int64 arrays. Where scenes are what is resampled, ``blocks`` is the sum
    of a scene's; ``block_mious`` has the mIoU of each at any rate, float64 [blocks].
    """
    is_whole = unit_of((one["scene"] for one in lines_of(gathered)), unit) == "scenes"
    return [_read(one, is_whole) for one in lines_of(gathered)]


def _read(one: dict[str, Any], is_whole: bool) -> dict[str, Any]:
    side = len(one["classes"])
    found = [block["counts"] for block in one["blocks"]]
    blocks = np.array(found, np.int64).reshape(-1, side, side)
    one["block_mious"] = miou(blocks.astype(np.float64))
    one["blocks"] = blocks.sum(axis=0, keepdims=True) if is_whole and len(blocks) else blocks
    one["strata"] = {name: np.array(of, np.int64) for name, of in one["strata"].items()}
    one["confidence"] = one["confidence"] and np.array(one["confidence"], np.int64)
    one["depth"] = one["depth"] and [{name: of[name] for name in PREDICTED} for of in one["depth"]]
    return one
