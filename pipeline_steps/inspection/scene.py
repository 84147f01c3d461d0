"""One scene: what its files are, and how they fit its images and the study."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline_steps.inspection import files
from pipeline_steps.inspection.files import Image
from pipeline_steps.inspection.findings import Findings
from pipeline_steps.inspection.orientation import STRAIGHT
from pipeline_steps.rasters import raster
from pipeline_steps.rasters.labels import Codebook
from pipeline_steps.rasters.raster import crs_name
from pipeline_steps.study.classes import IGNORE, ClassCode
from pipeline_steps.study.params.check import Params
from pipeline_steps.study.params.tile import Params as Tile
from pipeline_steps.study.scenes import Scene

LOWEST_M, HIGHEST_M = -500, 9000
"""Heights beyond these are no heights on land."""

TURNED = 3
"""Rasters of a scene whose labels are tried the other way round."""

SURELY = 0.08
"""By how much better labels must follow the image's edges to be called turned."""

TALL_M = 30
"""Half of a scene is not higher above ground than this."""


class Look:
    """One scene: what its files are and how they fit; findings go to ``found``."""

    def __init__(
        self,
        scene: Scene,
        classes: Sequence[ClassCode],
        tile: Tile,
        params: Params,
        found: Findings,
    ) -> None:
        self.scene, self.classes, self.tile = scene, classes, tile
        self.params, self.found = params, found
        self.book = Codebook(
            [c.keys for c in classes], tile.ignore_labels, IGNORE, tile.label_tolerance
        )
        self.images: dict[str, Image] = {}
        self.shares: dict[str, list[float]] = {"labels": [], "elevation": [], "terrain": []}
        self.counts = np.zeros(len(classes), np.int64)
        self.followed: list[dict[str, float]] = []

    def look(self) -> None:
        """Open every file; of as many as the study says, evenly spread, read a sample."""
        count = len(self.scene.images)
        sampled = np.linspace(0, count - 1, min(count, self.params.rasters)).round().astype(int)
        for index, file in enumerate(self.scene.images):
            samples = self.params.samples if index in sampled else 0
            image = self._tried(self._image, Path(file), samples)
            if image is None:
                continue
            self.images[file] = image
            for layer, shares in self.shares.items():
                beside = getattr(self.scene, layer)
                if not beside:
                    continue
                path = Path(beside[index])
                fits = self._tried(self._beside, layer, path, image, shares, samples)
                if fits and samples and layer == "labels" and len(self.followed) < TURNED:
                    self._tried(self._turned, Path(file), path)
        self._judge_orientation()

    def row(self) -> dict[str, Any]:
        """Return the scene as a row of a table."""
        images = list(self.images.values())
        sizes = sorted({(i.grid.width, i.grid.height) for i in images})
        known = [i.nodata for i in images if i.nodata is not None]
        return {
            "scene": self.scene.name,
            **({"domain": self.scene.domain} if self.scene.domain else {}),
            "split": self.scene.split,
            "images": len(self.scene.images),
            "pixels": " to ".join(f"{w}x{h}" for w, h in dict.fromkeys([*sizes[:1], *sizes[-1:]])),
            "megapixels": round(sum(i.grid.width * i.grid.height for i in images) / 1e6, 3),
            "gsd_m": _ends([i.gsd_m for i in images if i.gsd_m is not None]),
            "crs": ", ".join(
                sorted({crs_name(i.grid.crs) if i.grid.crs else "none" for i in images})
            ),
            "bands": ", ".join(sorted({f"{i.bands} {i.dtype}" for i in images})),
            "nodata_percent": round(100 * float(np.mean(known)), 2) if known else None,
            "labels_percent": _least(self.shares["labels"]),
            "elevation_percent": _least(self.shares["elevation"]),
        }

    def _tried(self, look: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a look gives; what it raises is an error of the study."""
        try:
            return look(*arguments)
        except ValueError as error:
            self.found.raised(error)
            return None

    def _image(self, path: Path, samples: int) -> Image:
        tile = self.tile
        raster.refuse_strays(path, self.scene.root)
        image = files.look_at_image(path, tile, samples)
        if image.alpha in tile.bands:
            self.found.add(
                "warning",
                path,
                f"band {image.alpha} is called alpha, and is among tile.bands",
                "taken for data; pixels where all bands are 0 are nodata",
            )
        if image.nodata == 1:
            self.found.add("warning", path, "no pixel of the sample has data")
        return image

    def _beside(
        self, layer: str, path: Path, image: Image, shares: list[float], samples: int
    ) -> bool:
        """Find how a file beside an image lies on it; return whether it does."""
        raster.refuse_strays(path, self.scene.root)
        fit, what = files.fit(path, image.grid, self.tile), []
        shares.append(fit.share)
        percent = 100 * fit.share
        if fit.trouble:
            what.append(fit.trouble)
        what.append(f"covers {percent:.1f} % of its image")
        if fit.is_turned:
            what.append("rows and columns seem exchanged")
        if percent < self.params.overlap or not fit.can_warp:
            at_all = fit.can_warp and percent > 0
            remedy = f"`check.overlap: {int(percent)}` lets it pass" if at_all else ""
            self.found.add("error", path, ", ".join(what), remedy)
            return False
        if fit.trouble:
            how = "nearest" if layer == "labels" else "bilinear"
            self.found.add("warning", path, ", ".join(what), f"will be warped ({how})")
        is_dsm = layer == "elevation" and self.tile.elevation.kind == "dsm"
        if is_dsm and not self.scene.terrain and image.grid.crs is None:
            what = "is a dsm whose image has no CRS, so that the ground's window has no size"
            self.found.add("error", path, what, "tile.crs states one, or terrain lies beside it")
        if samples and layer == "labels":
            self._values(path, image, samples)
        elif samples:
            self._heights(layer, path, samples)
        return True

    def _values(self, path: Path, image: Image, samples: int) -> None:
        """Compare a sample of the labels with the classes."""
        counts, strange = files.sample_labels(path, image.grid, self.book, self.tile, samples)
        self.counts += counts[: len(self.counts)]
        if strange:
            what = f"{self.book.describe(strange)} in a sample, expected those of classes"
            if self.tile.unlisted_labels == "error":
                self.found.add("error", path, what, "`tile.unlisted_labels: ignore` lets them pass")
            else:
                self.found.add("warning", path, what, "not labelled")

    def _turned(self, image: Path, labels: Path) -> None:
        followed = files.look_at_orientation(labels, image, self.book, self.tile)
        self.followed += [followed] if followed else []

    def _judge_orientation(self) -> None:
        """Compare the ways to turn the labels, over all rasters that were looked at."""
        ways = set.intersection(*map(set, self.followed)) if self.followed else ()
        means = {way: float(np.mean([one[way] for one in self.followed])) for way in ways}
        if not means:
            return
        best = max(means, key=means.get)
        if means[best] > means[STRAIGHT] + SURELY:
            where = self.scene.labels[0]
            self.found.add(
                self.params.orientation,
                where if len(self.scene.labels) == 1 else f"labels of {self.scene.name}",
                f"borders follow the image's edges when {best} ({means[best]:.2f}), not"
                f" {STRAIGHT} ({means[STRAIGHT]:.2f}; 0.5 is chance)",
                "turn them; `check.orientation: warning` lets it pass",
            )

    def _heights(self, layer: str, path: Path, samples: int) -> None:
        """Look whether heights can be what the study says they are."""
        options = self.tile.elevation
        band = options.band if layer == "elevation" else 1
        heights = files.sample_heights(path, band, options, samples)
        if not heights.size:
            self.found.add("warning", path, "no pixel of the sample has a height")
        elif heights.min() < LOWEST_M or heights.max() > HIGHEST_M:
            self.found.add(
                "error",
                path,
                f"heights are {heights.min():g} to {heights.max():g} m",
                "tile.elevation.nodata says which value is none, tile.elevation.unit their unit",
            )
        elif layer == "elevation" and options.kind == "ndsm" and np.median(heights) > TALL_M:
            self.found.add(
                "warning",
                path,
                f"half of the heights are above {np.median(heights):.0f} m, expected heights above"
                " ground",
                "`tile.elevation: {kind: dsm}` if it is the surface's",
            )


def _crs(image: Image) -> str:
    return crs_name(image.grid.crs) if image.grid.crs else "none"


def _ends(values: list[float]) -> str:
    """Return the least and the greatest of ``values``, once where they are the same."""
    return (
        " to ".join(dict.fromkeys(f"{v:.3g}" for v in (min(values), max(values)))) if values else ""
    )


def _least(shares: list[float]) -> float | None:
    return round(100 * min(shares), 1) if shares else None
