"""Bring one scene onto its image's grid, as chunked stores that every later stage reads."""

import logging
import os
from pathlib import Path

from pipeline_steps.mapping.tiling import carried
from pipeline_steps.study import cli
from pipeline_steps.study.classes import ClassCode
from pipeline_steps.study.manifest import write_manifest
from pipeline_steps.study.params.tile import Params
from pipeline_steps.study.publish import publishing
from pipeline_steps.study.scenes import read_scenes
from pipeline_steps.study.sidecars import sidecars_of

log = logging.getLogger(__name__)


def run(
    scene: str,
    table: Path,
    root: str,
    image: Path,
    labels: Path,
    valid: Path,
    elevation: Path,
    manifest: Path,
    classes: list[ClassCode],
    params: Params,
) -> None:
    """Write the four stores of ``scene``, one array per image, and their manifest.

    The scene's files stand in ``table``, relative to ``root``. The image's pixels stay as they
    are; labels and elevation come onto its grid. Labels that are not there are all "ignore",
    elevation NaN: constant chunks take no room. Raises ValueError naming the file that does not
    fit.
    """
    row = read_scenes(table, root, only=scene)[scene]
    files = [*row.files, *(beside for file in row.files for beside in sidecars_of(file))]
    with publishing(image, labels, valid, elevation) as partials:
        facts = carried(row, partials, classes, params)
    write_manifest(
        manifest,
        "pipeline_steps.tile",
        params=params,
        made_from=(),
        made=(image, labels, valid, elevation),
        # wherever the data lie
        sources={os.path.relpath(file, root or "."): Path(file) for file in files},
        **facts,
    )
    log.info("%s: %d images tiled into %s", scene, len(facts["rasters"]), manifest.parent)


if __name__ == "__main__":
    cli.main(run)
