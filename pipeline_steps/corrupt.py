"""Map a test scene through haze, noise and the like, and count what the networks still get right.

Only counts are kept. The scene is corrupted as it is read, and mapped as ``predict`` maps it.
"""

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.mapping.predicting import (
    Trained,
    check_that_they_fit,
    make_maps,
    mapper_of,
    trained,
)
from pipeline_steps.metrics.confusion import scores
from pipeline_steps.metrics.counting import Counts, Seen
from pipeline_steps.models.runner import arithmetic
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.corrupted import CorruptedScene, median_luminance, why_not
from pipeline_steps.rasters.store import Scene, read, tiled
from pipeline_steps.rasters.windows import blocks
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE, ClassLook
from pipeline_steps.study.fingerprint import fingerprint
from pipeline_steps.study.manifest import intact, parsed, read_manifest, write_manifest, write_text
from pipeline_steps.study.params.corrupt import Params
from pipeline_steps.study.params.predict import Params as Predict
from pipeline_steps.study.publish import begun, remove

log = logging.getLogger(__name__)

STEP = "pipeline_steps.corrupt"
AT_ONCE = 2048
"""Height and width in pixels of what is counted at a time."""


def run(
    models: list[Path],
    tile: Path,
    splits: list[Path],
    depths: list[Path],
    counts: Path,
    experiment: str,
    seed: int | None,
    fold: int | None,
    predict: Predict,
    params: Params,
) -> None:
    """Write the confusion counts of the scene's corrupted images, truth by row, as ``score`` does.

    ``models``, ``tile`` and ``depths`` are as in ``predict``, ``splits`` as in ``score``: only
    what is tested counts. Kinds that the scene lacks something for are left out. A killed run goes
    on after the last kind and severity that it finished. Raises ValueError where a model knows
    other classes or images, or says what is no number.
    """
    (scene,), networks = tiled([tile], splits, read_manifest), [trained(one) for one in models]
    looks = [ClassLook(name=name, color="#000000") for name in scene.facts["classes"]]
    check_that_they_fit(networks, scene, looks)
    sources = [*models, tile, *splits, *depths]
    lacks = {kind: why_not(scene, kind) for kind in params.kinds}
    for kind, why in lacks.items():
        if why:
            log.warning("%s: %s, so %s is left out", scene.name, why, kind)
    kinds = [kind for kind in params.kinds if not lacks[kind]]
    work = _begun(counts, networks, sources, fold, predict)
    study = _Study(scene, networks, depths, looks, fold, predict, work)
    facts = {
        "experiment": experiment,
        "seed": seed,
        "fold": fold,
        "scene": scene.name,
        "classes": scene.facts["classes"],
        "left_out": {kind: why for kind, why in lacks.items() if why},
        "kinds": study.counted(kinds, params.severities),
    }
    write_text(counts, json.dumps(facts) + "\n")
    told = {"params": params, "made_from": sources, "made": [counts]}
    told["predict"] = predict.model_dump(mode="json")
    manifest = counts.with_suffix("") / "manifest.json"
    write_manifest(manifest, STEP, *(one.module for one in networks), **told)
    remove(work)
    log.info("%s: %s", scene.name, counts)


def _begun(
    counts: Path,
    networks: Sequence[Trained],
    sources: Sequence[Path],
    fold: int | None,
    predict: Predict,
) -> Path:
    """Return the folder of finished counts and of the map at work; what depends on else is gone."""
    code = fingerprint(STEP, *(one.module for one in networks))
    how = arithmetic(predict.precision, predict.backend)
    key = [code, intact(sources), fold, predict.model_dump(mode="json"), how]
    return begun(counts.with_suffix("") / "work.partial", key)


class _Study:
    """Maps and counts one scene, kind by kind, and remembers what is finished."""

    def __init__(
        self,
        scene: Scene,
        networks: Sequence[Trained],
        depths: Sequence[Path],
        looks: Sequence[ClassLook],
        fold: int | None,
        predict: Predict,
        work: Path,
    ) -> None:
        self.scene, self.networks, self.depths, self.looks = scene, networks, depths, looks
        self.fold, self.predict, self.work = fold, predict, work
        self.ledger = work / "counts.json"
        self.done: dict[str, Any] = parsed(self.ledger) if self.ledger.exists() else {}

    def counted(
        self, kinds: Sequence[str], severities: Sequence[int]
    ) -> dict[str, dict[str, list[list[int]]]]:
        """Return the confusion matrix of every kind and severity, truth by row."""
        asked = [(kind, severity) for kind in kinds for severity in severities]
        left = [(k, s) for k, s in asked if str(s) not in self.done.get(k, {})]
        for number, (kind, severity, found) in enumerate(self._counts(left), 1):
            self.done.setdefault(kind, {})[str(severity)] = found.tolist()
            write_text(self.ledger, json.dumps(self.done))
            done = len(asked) - len(left) + number
            what, miou = f"{self.scene.name}, {kind} {severity}", scores(found).miou
            log.info("%s: mIoU %.3f, %d of %d", what, miou, done, len(asked))
        return {kind: {str(s): self.done[kind][str(s)] for s in severities} for kind in kinds}

    def _counts(self, left: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int, np.ndarray]]:
        if not left:
            return
        # the same for all networks: `check_that_they_fit` has seen to it
        limits = self.scene.limits(self.networks[0].stretch)
        asks = any(kind == "shadow" for kind, _ in left)
        median = median_luminance(self.scene, limits) if asks else 0.0
        mapper = mapper_of(self.networks, len(self.looks), ["classes"], self.predict)
        for kind, severity in left:
            seen = CorruptedScene(self.scene, kind, severity, limits, median)
            folder = self.work / f"{kind}-{severity}"
            folder.mkdir(exist_ok=True)
            how = (["classes"], self.looks, self.predict, folder, mapper)
            make_maps(self.networks, seen, self.depths, *how)
            yield kind, severity, self._confusion(folder / "classes")
            remove(folder)

    def _confusion(self, maps: Path) -> np.ndarray:
        """Count what maps say where the scene is tested."""
        found = Counts(1, len(self.looks))
        for index, name in enumerate(self.scene.rasters):
            file = maps / f"{name}.tif" if self.scene.is_folder else maps.with_suffix(".tif")
            labels = self.scene.array("labels", index)
            tested = self.scene.within(labels, index, "test", self.fold, IGNORE)
            with raster.opened(file, is_beside=True) as source:
                for window in blocks(source.height, source.width, AT_ONCE):
                    truth = read(tested, window)
                    guess = raster.read(source, window, 1)
                    found.add(Seen(truth, guess, np.zeros_like(truth), None, None))
        return found.joint.sum(axis=(0, 1))


if __name__ == "__main__":
    cli.main(run)
