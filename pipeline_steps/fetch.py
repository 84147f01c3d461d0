"""Bring one network's weights into the study, in the hub's file layout, safetensors only.

The only stage that may use the internet; everything after it runs with the hub offline.
"""

import json
import logging
import re
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import snapshot_download
from safetensors import SafetensorError, safe_open

from pipeline_steps.models.teacher import IMAGENET, NORMALISATION, draw_teacher
from pipeline_steps.study import cli
from pipeline_steps.study.manifest import digest_of, write_manifest
from pipeline_steps.study.params.fetch import Model
from pipeline_steps.study.publish import publishing

log = logging.getLogger(__name__)

FILES = ("config.json", "model.safetensors", NORMALISATION)
"""What is taken over from a hub repository or a folder; where the last is missing, it is written
with ImageNet's mean and deviation."""


def run(
    model: str, config: Path, weights: Path, preprocessor: Path, manifest: Path, params: Model
) -> None:
    """Write ``config``, ``weights`` and ``preprocessor`` of a model, and its manifest.

    Raises ValueError where the source has no weights, cannot be reached, or a checksum differs.
    """
    finals = (config, weights, preprocessor)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        _gather(model, params, work)
        _check(model, params, work)
        if not (work / NORMALISATION).is_file():
            (work / NORMALISATION).write_text(json.dumps(IMAGENET, indent=1) + "\n")
        with publishing(*finals) as partials:
            for name, partial in zip(FILES, partials, strict=True):
                shutil.copyfile(work / name, partial)
    write_manifest(
        manifest,
        "pipeline_steps.fetch",
        params=params,
        made_from={},
        made={final.name: final for final in finals},
        model=model,
    )
    log.info("%s: %s", model, weights)


def _gather(model: str, params: Model, work: Path) -> None:
    if params.architecture is not None:
        draw_teacher(params.architecture, params.seed).save_pretrained(work)
    elif Path(params.source).is_dir():
        _copy(Path(params.source), work)
    elif re.fullmatch(r"[\w.-]+/[\w.-]+", params.source):
        _download(model, params, work)
    else:
        raise ValueError(
            f"{params.source}: is no folder, expected one for fetch.models.{model}.source,"
            " or a hub id owner/name"
        )


def _copy(source: Path, work: Path) -> None:
    for name in FILES[:2]:
        if not (source / name).is_file():
            found = ", ".join(sorted(f.name for f in source.iterdir())) or "nothing"
            raise ValueError(f"{source}: holds {found}, expected {name}")
    for name in FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, work / name)


def _download(model: str, params: Model, work: Path) -> None:
    log.info("%s: fetching %s at %s", model, params.source, params.revision)
    try:
        snapshot_download(
            params.source, revision=params.revision, local_dir=work, allow_patterns=list(FILES)
        )
    except Exception as error:
        raise ValueError(
            f"{params.source}: cannot be fetched ({type(error).__name__}), expected the hub to be"
            f" reachable: run `snakemake --cores 1 results/fetch/{model}/manifest.json` where"
            f" there is internet, or name a local folder as fetch.models.{model}.source"
        ) from error
    for name in FILES[:2]:
        if not (work / name).is_file():
            raise ValueError(f"{params.source} at {params.revision}: has no {name}, expected one")


def _check(model: str, params: Model, work: Path) -> None:
    origin = params.source or f"fetch.models.{model}.architecture"
    for name, expected in params.sha256.items():
        found = digest_of(work / name) if (work / name).is_file() else "missing"
        if found != expected:
            raise ValueError(f"{origin}/{name}: SHA-256 is {found}, expected {expected}")
    try:
        with safe_open(work / "model.safetensors", "pt") as file:
            file.keys()
    except SafetensorError as error:
        raise ValueError(
            f"{origin}/model.safetensors: cannot be read ({error}), expected safetensors"
        ) from error


if __name__ == "__main__":
    cli.main(run)
