"""Bring what was measured of every map into a few files, a line of JSON for each.

Snakemake remembers all that each file of ``tabulate`` was made from. Tens of thousands of counts,
times fifty files, were a third of its memory, so tables are made from what is gathered here.
"""

import json
import logging
from pathlib import Path

from pipeline_steps.study import cli
from pipeline_steps.study.manifest import parsed, write_lines, write_manifest

log = logging.getLogger(__name__)


def places_in(folder: Path) -> tuple[Path, Path, Path]:
    """Return where counts, corruptions and qualities are gathered."""
    return folder / "counts.jsonl", folder / "corruptions.jsonl", folder / "qualities.jsonl"


def run(counts: list[Path], corruptions: list[Path], qualities: list[Path], folder: Path) -> None:
    """Write ``counts.jsonl``, ``corruptions.jsonl`` and ``qualities.jsonl`` into ``folder``.

    They hold what ``score``, ``corrupt`` and ``depth`` wrote into the files of these lists, in
    their order. Raises ValueError naming a file that is not JSON, or not what its manifest tells.
    """
    made, read = places_in(folder), [*counts, *corruptions, *qualities]
    for path, files in zip(made, (counts, corruptions, qualities), strict=True):
        write_lines(path, (json.dumps(parsed(file)) + "\n" for file in files))
    told = {"params": None, "made_from": read, "made": made}
    write_manifest(folder / "manifest.json", "pipeline_steps.gather", **told)
    log.info("gathered: %d files", len(read))


if __name__ == "__main__":
    cli.main(run)
