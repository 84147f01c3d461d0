"""Our stage ``tile``, which others do not have: it makes the scene that ours reads."""

from pathlib import Path

from pipeline_steps import tile
from pipeline_steps.study.classes import ClassCode
from pipeline_steps.study.params.tile import Params
from tests.benchmarks.peers.measuring import Job, contest

STORES = ("image", "labels", "valid", "elevation")


def work(job: Job, _: None) -> None:
    """Tile a raster, with the stage's own settings."""
    manifest = Path(job.tiled)
    table = Path(job.out) / "scenes.tsv"
    table.write_text(f"scene\timage\tsplit\nsquare\t{job.image}\tpredict\n")
    tile.run(
        scene="square",
        table=table,
        root=job.out,
        manifest=manifest,
        classes=[ClassCode(name="ground", value=0)],
        params=Params(),
        **{name: manifest.parent / f"{name}.zarr" for name in STORES},
    )


if __name__ == "__main__":
    contest(work, lambda _: None)
