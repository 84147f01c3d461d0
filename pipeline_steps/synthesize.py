"""Draw one scene of the demo: a georeferenced town with true classes and heights."""

import hashlib
import logging
from pathlib import Path

import numpy as np

from pipeline_steps.rasters import town
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study import cli
from pipeline_steps.study.manifest import write_manifest
from pipeline_steps.study.params.synthesize import Params
from pipeline_steps.study.publish import publishing

log = logging.getLogger(__name__)

CRS = "EPSG:32632"
"""UTM zone 32 north: metres."""


def run(scene: str, image: Path, labels: Path, elevation: Path, params: Params) -> None:
    """Write image (uint8 RGB), labels (the index in ``town.CLASSES``) and height (metres)."""
    ground, shift = params.look_of(scene)
    mixed = int.from_bytes(hashlib.sha256(ground.encode()).digest()[:4])
    rng = np.random.default_rng([params.seed, mixed])
    drawn = town.draw(params.size, params.gsd, params.shared_materials, rng)
    picture = town.render(drawn, params.gsd, rng, town.Look(**shift.model_dump()))
    grid = Grid(params.size, params.size, CRS, _place(params, rng))
    with publishing(image, labels, elevation) as partials:
        write_raster(partials[0], picture, grid, photometric="RGB")
        write_raster(partials[1], drawn.labels[None], grid)
        write_raster(partials[2], drawn.height[None], grid)
    write_manifest(
        image.with_name("manifest.json"),
        "pipeline_steps.synthesize",
        params=params,
        made_from=(),
        made=(image, labels, elevation),
        scene=scene,
    )
    log.info("%s: %d x %d pixels, %s", scene, params.size, params.size, image)


def _place(params: Params, rng: np.random.Generator) -> tuple[float, ...]:
    """Return the transform of a random place in zone 32, from a lattice of scenes side by side."""
    side = params.size * params.gsd
    east, north = (int(rng.integers(int(room // side) + 1)) for room in (600_000, 800_000))
    return (params.gsd, 0.0, 200_000 + east * side, 0.0, -params.gsd, 5_900_000 - north * side)


if __name__ == "__main__":
    cli.main(run)
