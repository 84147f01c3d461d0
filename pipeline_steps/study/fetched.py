"""What the manifest of a fetched model says of its source, and what an earlier run left of it."""

import os
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from pipeline_steps.study.layout import CONFIG, PREPROCESSOR, WEIGHTS
from pipeline_steps.study.manifest import digest_of, read_manifest


def name_of(source: str | None) -> str | None:
    """Return a hub id as it is, and of a file or folder here its name: where it lies may change."""
    is_here = source is not None and os.path.exists(source)
    return Path(os.path.abspath(source)).name if is_here else source


def left_by_earlier_run(
    fetched: Path, source: str, commit: str
) -> tuple[dict[str, Path], dict[str, Any]]:
    """Return what lies in ``fetched`` as it came from ``source`` at ``commit``, by the names on
    the hub, and the manifest there; nothing where that is of another source or commit."""
    manifest = fetched / "manifest.json"
    left = read_manifest(manifest) if manifest.is_file() else {}
    if (left.get("source"), left.get("revision")) != (source, commit):
        return {}, {}
    files = {name: fetched / _published(name) for name in left["sha256"]}
    sums = {path: digest_of(path) for path in set(files.values()) if path.is_file()}
    return {n: path for n, path in files.items() if sums.get(path) == left["sha256"][n]}, left


def copy_left(fetched: Path, source: str, commit: str, folder: Path) -> None:
    """Copy into ``folder`` what an earlier run left, by the names on the hub."""
    for name, path in left_by_earlier_run(fetched, source, commit)[0].items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)


def _published(name: str) -> str:
    """Return what ``fetch`` calls a file of the hub."""
    own = PurePosixPath(name).name
    return own if own in (CONFIG, PREPROCESSOR) else WEIGHTS
