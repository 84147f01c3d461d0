"""One seamless field of relative height for a scene, larger is taller, in [0, 1]."""

import functools
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from pipeline_steps.metrics.depth import Seam, height_quality
from pipeline_steps.rasters.ground import Ground
from pipeline_steps.rasters.ledger import Ledger
from pipeline_steps.rasters.place import factor_to, gsd_m, window_of
from pipeline_steps.rasters.relief import Relief
from pipeline_steps.rasters.seamless import Field, Running
from pipeline_steps.rasters.store import Scene, in_rows, known, new_array, rows_of, seal
from pipeline_steps.rasters.watch import watched
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE
from pipeline_steps.study.fingerprint import fingerprint
from pipeline_steps.study.manifest import intact, read_manifest, write_manifest, write_text
from pipeline_steps.study.params.depth import Params
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import begun, release, remove

log = logging.getLogger(__name__)

CHUNK = 256
"""Height and width of a chunk of the store."""

Rows = Callable[[], Iterator[np.ndarray]]
"""A raw field from top to bottom, float32 [rows, W] at a time, as often as it is asked for."""


def run(
    teacher: Path | None,
    tile: Path,
    stretch: Path,
    store: Path,
    quality: Path,
    manifest: Path,
    params: Params,
) -> None:
    """Write pseudo-depth float16 in [0, 1] to ``store``, NaN where there is none, and its quality.

    ``teacher`` is the manifest of a fetched or adapted model; without one the scene's elevation
    is. A raster without any relief becomes all NaN. What a killed run has done is not done again.
    """
    scene, name = Scene(tile, read_manifest(tile)), store.parent.parent.name
    sources = [tile, stretch, *([teacher] if teacher else [])]
    digests = intact(sources)
    how = _runner().arithmetic(params.precision, params.backend) if teacher else None
    key = [fingerprint("pipeline_steps.depth"), digests, params.model_dump(mode="json"), how]
    work = begun(store.with_name("work.partial"), key)
    try:
        maker = _Maker(scene, read_manifest(stretch)["limits"], teacher, work, params)
        rasters = [maker.raster(index) for index in range(len(scene.rasters))]
    except ValueError:
        if not any(work.glob("[0-9]*.json")):
            remove(work)
        raise
    found = {"teacher": name, "scene": scene.name, "rasters": rasters}
    write_text(work / quality.name, json.dumps(found, indent=1, allow_nan=False) + "\n")
    write_manifest(
        manifest,
        "pipeline_steps.depth",
        params=params,
        made_from=sources,
        made=(store, quality),
        work=work,
        scene=scene.name,
        teacher=name,
        arithmetic=how,
    )
    # digests of a large store take a while: only now does it leave what can be gone on with
    release(work, store, quality, manifest)
    log.info("%s: %s", scene.name, store)


def _runner() -> ModuleType:
    # elevation as the teacher needs no torch, which takes seconds to import
    from pipeline_steps.models import runner

    return runner


class _Maker:
    """Makes the rasters of one scene, each once."""

    def __init__(
        self, scene: Scene, limits: Any, teacher: Path | None, work: Path, params: Params
    ) -> None:
        self.scene, self.limits, self.work, self.params = scene, limits, work, params
        self.teacher, self.facts = teacher, read_manifest(teacher) if teacher else {}
        self.aligns = self.facts.get("step") != "adapt" if params.align is None else params.align
        self.sizes = [self._size(index) for index in range(len(scene.rasters))] if teacher else []
        stores = ("image", "valid", "labels", "elevation")
        self.intact = watched(scene.folder / f"{store}.zarr" for store in stores)
        # a raster of another ground sampling distance is resampled otherwise
        self._running = functools.lru_cache(maxsize=1)(self._start)

    def raster(self, index: int) -> dict[str, Any]:
        """Write array ``index`` of the store and return what is known of it."""
        file, array = self.work / f"{index}.json", self.work / "depth.zarr" / str(index)
        if not (file.is_file() and array.is_dir()):
            remove(array)
            facts = {"name": self.scene.rasters[index]}
            if self.teacher is None:
                elevation = self.scene.array("elevation", index)
                facts |= self._finish(index, lambda: rows_of(elevation), ([], []))
            else:
                facts |= self._said(index)
            self.intact()
            write_text(file, json.dumps(facts, allow_nan=False))
        return json.loads(file.read_text())

    def _said(self, index: int) -> dict[str, Any]:
        """Let the teacher say what it sees, and make one field of it."""
        params, grid = self.params, self.scene.grid(index)
        resample = params.window / self.sizes[index]
        # beyond the raster there is nothing to see
        size = min(self.sizes[index], max(grid.height, grid.width))
        picture, valid = self.scene.in_strips(index, self.limits, size)
        file, anchor = self.work / f"{index}.windows", self.aligns and params.anchor
        with Ledger(file, size) as ledger:
            field = Field(picture, valid, size, params.overlap, ledger, anchor)
            if not field.is_complete:
                show = functools.partial(track, what=self.scene.rasters[index], unit="batches")
                field.listen(self._running(resample), params.batch, show, self.intact)
            before, after = field.align() if self.aligns else (field.disagreement(),) * 2
            facts = {"windows": len(field.windows), "window_px": size}
            facts |= {"disagreement_before": before, "disagreement": after}
            hard = Seam(*field.lines("nearest"))
            for top, band in known(field.rows("nearest"), valid):
                hard.look(top, band)
            facts["seam_unblended"] = hard.value()
            seams = field.lines(params.blend)
            facts |= self._finish(index, lambda: field.rows(params.blend), seams)
        remove(file)
        return facts

    def _size(self, index: int) -> int:
        """Return a window's height and width in pixels of a raster."""
        p, gsd, factor = self.params, self.params.gsd, self.params.resample
        if gsd is None and factor is None:
            gsd, factor = self.facts.get("gsd"), self.facts.get("resample")
        what = f"{self.scene.folder / 'manifest.json'}: raster {self.scene.rasters[index]}"
        return window_of(p.window, factor_to(gsd, factor, self.scene.grid(index), what), what)

    def _start(self, resample: float) -> Running:
        p, how = self.params, (self.facts.get("gives"), resample)
        return _runner().runner(
            self.teacher.parent, *how, p.precision, p.backend, p.batch, p.compile, p.turns
        )

    def _finish(self, index: int, rows: Rows, seams: Any) -> dict[str, Any]:
        """Look at a raw field, then write it as it shall be; return what was seen."""
        grid, params = self.scene.grid(index), self.params
        side = params.ground_window / (gsd_m(grid) or 1.0)
        ground = Ground(params.ground, grid.height, grid.width, side)
        relief, seam = Relief(grid.height, grid.width, ground, params.percentiles), Seam(*seams)
        valid = self.scene.valid(index)
        for top, band in known(rows(), valid):
            relief.look(band)
            seam.look(top, band)
        relief.settle()
        shape = (grid.height, grid.width)
        target = new_array(self.work / "depth.zarr", index, shape, "float16", np.nan, CHUNK)
        if relief.is_flat:
            seal(target)
            log.warning(
                "%s: %s has no relief; no depth there", self.scene.name, self.scene.rasters[index]
            )
        else:
            with in_rows(target) as write:
                for top, band in known(rows(), valid):
                    write(relief.normalised(top, band))
        return {
            "low": relief.low,
            "high": relief.high,
            "seam": seam.value(),
            **self._quality(index, relief),
        }

    def _quality(self, index: int, relief: Relief) -> dict[str, Any]:
        """Compare the sample with the scene's elevation, where it has one."""
        # what is compared is what is stored
        scene, sample = self.scene, relief.scaled(relief.sample)
        height = scene.sampled("elevation", index, relief.step, np.nan)
        labels = scene.sampled("labels", index, relief.step, IGNORE)
        known = np.isfinite(sample) & np.isfinite(height)
        return height_quality(sample[known], height[known], labels[known], scene.facts["classes"])


if __name__ == "__main__":
    cli.main(run)
