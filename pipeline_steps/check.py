"""Look at the whole study before any hour is spent: open every file, read no image."""

import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np

from pipeline_steps.rasters import raster
from pipeline_steps.rasters.labels import Codebook
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.windows import Window
from pipeline_steps.study import cli
from pipeline_steps.study.classes import IGNORE, ClassCode
from pipeline_steps.study.manifest import write_text
from pipeline_steps.study.params.check import Params
from pipeline_steps.study.params.fetch import Params as Models
from pipeline_steps.study.params.tile import Params as Tile
from pipeline_steps.study.progress import track
from pipeline_steps.study.scenes import Scene, read_scenes

log = logging.getLogger(__name__)

SAMPLE_PX = 64


def run(
    table: Path,
    root: str,
    findings: Path,
    classes: list[ClassCode],
    models: Models,
    tile: Tile,
    params: Params,
) -> None:
    """Write what every scene is and what is wrong with the study, as JSON.

    Raises ValueError with the first error, after all findings are in the log. The scene table's
    paths are relative to ``root``.
    """
    scenes = list(read_scenes(table, root).values())
    looked = _Look(classes, tile, params)
    rows = [looked.scene(scene) for scene in track(scenes, len(scenes), "check", "scenes")]
    looked.models(models)
    for row in rows:
        log.info("%(scene)s (%(split)s): %(images)d images, %(megapixels).1f MPix, %(crs)s", row)
    for text in looked.warnings:
        log.warning("warning: %s", text)
    for text in looked.errors:
        log.error("error: %s", text)
    if looked.errors:
        more = f" (and {len(looked.errors) - 1} more above)" if len(looked.errors) > 1 else ""
        raise ValueError(looked.errors[0] + more)
    found = {"scenes": rows, "warnings": looked.warnings}
    write_text(findings, json.dumps(found, indent=1) + "\n")


class _Look:
    """Collects errors and warnings, so that one run tells all of them."""

    def __init__(self, classes: list[ClassCode], tile: Tile, params: Params) -> None:
        self.classes, self.tile, self.params = classes, tile, params
        self.errors: list[str] = []
        self.warnings: list[str] = []

    def scene(self, scene: Scene) -> dict[str, object]:
        """Open every file of a scene; return what it is."""
        pixels, places = 0, set()
        for index, image in enumerate(scene.images):
            grid = self._image(Path(image))
            if grid is None:
                continue
            pixels += grid.height * grid.width
            places.add(raster.crs_name(grid.crs) if grid.crs else "no CRS")
            if scene.labels:
                self._labels(Path(scene.labels[index]), grid)
            if scene.elevation:
                self._beside(Path(scene.elevation[index]), grid)
        return {
            "scene": scene.name,
            "split": scene.split,
            "images": len(scene.images),
            "megapixels": pixels / 1e6,
            "crs": ", ".join(sorted(places)),
        }

    def models(self, models: Models) -> None:
        """Look whether every model that lies in a folder has its files."""
        for name, model in models.models.items():
            if model.source is None or not Path(model.source).is_dir():
                continue
            for file in ("config.json", "model.safetensors"):
                if not (Path(model.source) / file).is_file():
                    self.errors.append(
                        f"{model.source}: has no {file}, expected one for fetch.models.{name}"
                    )
            if not model.sha256:
                self.warnings.append(f"fetch.models.{name}: no sha256 stated, nothing is compared")

    def _image(self, path: Path) -> Grid | None:
        try:
            with raster.opened(path) as source:
                bands, found = self.tile.bands, source.dtypes
                if source.count < max(bands):
                    self.errors.append(
                        f"{path}: has {source.count} bands, expected {max(bands)} (tile.bands)"
                    )
                elif {found[band - 1] for band in bands} != {"uint8"}:
                    self.errors.append(f"{path}: is {found[0]}, expected uint8")
                return Grid.of(source)
        except ValueError as error:
            self.errors.append(str(error))
            return None

    def _beside(self, path: Path, grid: Grid) -> None:
        try:
            with raster.opened(path) as source:
                self._compare(path, Grid.of(source), grid)
        except ValueError as error:
            self.errors.append(str(error))

    def _compare(self, path: Path, found: Grid, grid: Grid) -> None:
        trouble = grid.disagreement(found)
        if trouble:
            self.errors.append(f"{path}: {trouble}, like its image")

    def _labels(self, path: Path, grid: Grid) -> None:
        """Compare the grid, and a sample of the labels with the classes."""
        book = Codebook([c.keys for c in self.classes], self.tile.ignore_labels, IGNORE)
        try:
            with raster.opened(path) as source:
                self._compare(path, Grid.of(source), grid)
                for window in _sample(source.height, source.width, self.params.samples):
                    book.encode(raster.read_labels(source, window, book.as_rgb))
        except ValueError as error:
            self.errors.append(str(error))
            return
        self._unlisted(path, book, book.unlisted)

    def _unlisted(self, path: Path, book: Codebook, found: Counter) -> None:
        if not found:
            return
        text = f"{path}: {book.describe(found)} in a sample, expected those of classes"
        if self.tile.unlisted_labels == "error":
            self.errors.append(f"{text}; `tile.unlisted_labels: ignore` lets them pass")
        else:
            self.warnings.append(f"{text}; not labelled")


def _sample(height: int, width: int, count: int) -> list[Window]:
    """Return windows spread over a raster, the same ones each time."""
    rng = np.random.default_rng(0)
    size = (min(SAMPLE_PX, height), min(SAMPLE_PX, width))
    return [
        Window(
            int(rng.integers(height - size[0] + 1)), int(rng.integers(width - size[1] + 1)), *size
        )
        for _ in range(count)
    ]


if __name__ == "__main__":
    cli.main(run)
