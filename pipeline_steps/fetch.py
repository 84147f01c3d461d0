"""Bring one network's weights into the study, in the hub's file layout, safetensors only.

The only stage that may use the internet; everything after it runs with the hub offline.
"""

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from pipeline_steps.models import hub
from pipeline_steps.models.tensors import is_plain
from pipeline_steps.study import cli
from pipeline_steps.study.fetched import copy_left, left_by_earlier_run, name_of
from pipeline_steps.study.layout import CONFIG, PREPROCESSOR, WEIGHTS, is_id, parts_of
from pipeline_steps.study.licences import is_restricted, licence_of
from pipeline_steps.study.manifest import digest_of, write_manifest, write_text
from pipeline_steps.study.params.fetch import Model
from pipeline_steps.study.progress import track
from pipeline_steps.study.publish import publishing, remove

log = logging.getLogger(__name__)


class Origin(NamedTuple):
    """What a model is made from: its files, the weights first, and what the hub says of them."""

    files: dict[str, Path]
    sha256: Mapping[str, str] = MappingProxyType({})
    revision: str | None = None
    license: str | None = None


def run(
    model: str, config: Path, weights: Path, preprocessor: Path, manifest: Path, params: Model
) -> None:
    """Write ``config``, ``weights`` and ``preprocessor`` of a model, and its manifest.

    A download that is cut or killed goes on in the next run. Raises ValueError where the source
    has no weights, cannot be reached, or a checksum differs.
    """
    finals = {CONFIG: config, WEIGHTS: weights, PREPROCESSOR: preprocessor}
    work, download = (manifest.parent / f"{name}.partial" for name in ("work", "download"))
    origin = _origin(model, params, download)
    sums = {name: digest_of(path) for name, path in origin.files.items()}
    _compare(params, origin, sums, download)
    with contextlib.ExitStack() as stack:
        stack.callback(remove, work)
        _lay_out(params, origin.files, work)
        partials = stack.enter_context(publishing(*finals.values()))
        for name, partial in zip(finals, partials, strict=True):
            os.replace(work / name, partial)
    remove(download)
    licence = licence_of(params.source, None, origin.license, params.file)
    # pinning what was fetched, or moving it, makes no other manifest: what it was stands below
    was = {"source": name_of(params.source), "revision": origin.revision or params.revision}
    write_manifest(
        manifest,
        "pipeline_steps.fetch",
        params=params.model_copy(update=was | {"sha256": {}, "license": None}),
        made_from=(),
        made=finals.values(),
        model=model,
        source=was["source"],
        revision=origin.revision,
        license=licence,
        gives=params.gives,
        sha256=sums,
    )
    log.info("%s: %s (%s)", model, weights, licence)
    _say(model, params, origin, sums, licence)


def _say(model: str, params: Model, origin: Origin, sums: dict[str, str], licence: str) -> None:
    """Log what to state for a study that others can repeat, and what is not for everyone."""
    where = f"fetch.models.{model}"
    if origin.revision and (params.revision != origin.revision or not params.sha256):
        lines = f"revision: {origin.revision}\n      sha256: {json.dumps(sums)}"
        log.info("%s is not pinned; for a study that others can repeat:\n      %s", where, lines)
    if is_restricted(licence):
        log.warning("%s: %s: not for commercial use", where, licence)


def _origin(model: str, params: Model, download: Path) -> Origin:
    """Return the files of the study's source, downloaded if they are on the hub."""
    if params.source is None:
        return Origin({})
    here = Path(params.source)
    if here.is_file():
        return Origin({n: here.parent / n for n in parts_of(os.listdir(here.parent), here.name)})
    if here.is_dir():
        return Origin({name: here / name for name in _parts(params, os.listdir(here))})
    if is_id(params.source):
        return _kept(params, download.parent) or _download(model, params, download)
    raise ValueError(
        f"{params.source}: is no folder and no file, expected one for fetch.models.{model}.source,"
        " or a hub id owner/name"
    )


def _parts(params: Model, names: Iterable[str]) -> list[str]:
    parts = parts_of(names, params.file)
    if not parts or (params.file is None and CONFIG not in parts):
        wanted = CONFIG if parts else params.file or WEIGHTS
        held = ", ".join(sorted(names)) or "nothing"
        raise ValueError(f"{params.source}: holds {held}, expected {wanted}")
    return parts


def _download(model: str, params: Model, download: Path) -> Origin:
    """Download what is not yet in ``download``, which is kept where the hub goes away."""
    try:
        repository = hub.look_up(params.source, params.revision)
        log.info("%s: fetching %s at %s", model, params.source, repository.commit)
        folder, parts = download / repository.commit, _parts(params, repository.names)
        if not folder.is_dir():
            remove(download)
            folder.mkdir(parents=True)
            copy_left(download.parent, params.source, repository.commit, folder)
        asked = {name: hub.look_up_file(repository, name) for name in parts}
        for name, file in asked.items():
            path, megabytes = folder / name, max(0, hub.missing(file, folder / name)) // hub.MB
            for _ in track(hub.download(file, path), megabytes, f"{model}: {name}", "MB"):
                pass
    except hub.TROUBLE as error:
        raise ValueError(
            f"{params.source}: {hub.why(error, params.source, params.revision)}: run"
            f" `snakemake --cores 1 results/fetch/{model}/manifest.json` where there is internet,"
            f" or name a local folder as fetch.models.{model}.source"
        ) from error
    stated = {name: file.sha256 for name, file in asked.items() if file.sha256}
    return Origin(
        {name: folder / name for name in parts}, stated, repository.commit, repository.license
    )


def _kept(params: Model, fetched: Path) -> Origin | None:
    """Return what an earlier run fetched of a pinned commit, if all of it is here as it came."""
    files, left = left_by_earlier_run(fetched, params.source, params.revision)
    if not files or parts_of(files, params.file) != list(left["sha256"]):
        return None
    return Origin(files, {}, left["revision"], left["license"])


def _called(params: Model, name: str) -> str:
    """Return what the user calls a file of the source."""
    is_file = params.source is None or Path(params.source).is_file()
    return params.source or name if is_file else f"{params.source}/{name}"


def _compare(params: Model, origin: Origin, sums: dict[str, str], download: Path) -> None:
    for name, expected in {**origin.sha256, **params.sha256}.items():
        found = sums.get(name, "missing")
        if found != expected:
            remove(download)
            called = _called(params, name)
            raise ValueError(f"{called}: SHA-256 is {found}, expected {expected}")


def _lay_out(params: Model, files: dict[str, Path], work: Path) -> None:
    """Write a model into ``work``: its three files, by the names that the hub has for them."""
    remove(work)
    work.mkdir(parents=True)
    # torch takes seconds to import, and what is only copied needs none
    if params.architecture is not None:
        from pipeline_steps.models.teacher import draw_teacher

        draw_teacher(params.architecture, params.seed).save_pretrained(work)
    else:
        _take(params, files, work)
    if not (work / PREPROCESSOR).is_file():
        from pipeline_steps.models.teacher import IMAGENET

        write_text(work / PREPROCESSOR, json.dumps(IMAGENET, indent=1) + "\n")


def _take(params: Model, files: dict[str, Path], work: Path) -> None:
    """Copy what is in the hub's layout, and convert what is not."""
    name, weights = next(iter(files.items()))
    called = _called(params, name)
    published = Path(name).name if os.path.exists(params.source) else called
    beside = {path.name: path for path in files.values()}
    if CONFIG in beside and params.checkpoint is None and is_plain(weights, called):
        shutil.copyfile(weights, work / WEIGHTS)
        shutil.copyfile(beside[CONFIG], work / CONFIG)
    else:
        from pipeline_steps.models.convert import convert

        convert(weights, called, published, params.checkpoint, beside.get(CONFIG), work)
    if PREPROCESSOR in beside:
        shutil.copyfile(beside[PREPROCESSOR], work / PREPROCESSOR)


if __name__ == "__main__":
    cli.main(run)
