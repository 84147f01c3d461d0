"""What ``score`` counted, read so that thousands of maps fit in memory."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.metrics.bootstrap import miou
from pipeline_steps.presentation.depth_tables import PREDICTED
from pipeline_steps.presentation.differences import Unit, unit_of
from pipeline_steps.presentation.scores import Counted


def read_counts(files: Sequence[Path], unit: Unit) -> Counted:
    """Return what ``score`` wrote into ``files``, ``<scene>.json`` each.

    Confusion matrices are int64 arrays. Where scenes are what is resampled, ``blocks`` is the sum
    of a scene's; ``block_mious`` has the mIoU of each at any rate, float64 [blocks].
    """
    is_whole = unit_of((file.stem for file in files), unit) == "scenes"
    return [_read(file, is_whole) for file in files]


def _read(file: Path, is_whole: bool) -> dict[str, Any]:
    one = json.loads(file.read_text(encoding="utf-8"))
    side = len(one["classes"])
    found = [block["counts"] for block in one["blocks"]]
    blocks = np.array(found, np.int64).reshape(-1, side, side)
    one["block_mious"] = miou(blocks.astype(np.float64))
    one["blocks"] = blocks.sum(axis=0, keepdims=True) if is_whole and len(blocks) else blocks
    one["strata"] = {name: np.array(of, np.int64) for name, of in one["strata"].items()}
    one["confidence"] = one["confidence"] and np.array(one["confidence"], np.int64)
    one["depth"] = one["depth"] and [{name: of[name] for name in PREDICTED} for of in one["depth"]]
    return one
