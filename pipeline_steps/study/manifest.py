"""Manifests: what an artifact is, and what it was made from.

No clock and no host in them: equal work, equal bytes.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from pipeline_steps.study.fingerprint import fingerprint, versions_of
from pipeline_steps.study.params.base import StageParams


def write_manifest(
    path: Path,
    *modules: str,
    params: StageParams | None,
    made_from: Mapping[str, Path],
    made: Mapping[str, Path],
    **facts: Any,
) -> None:
    """Write the manifest of the artifacts ``made``, last of all and in one piece.

    ``modules`` are the step and whatever model it was told to use; ``made_from`` and ``made``
    map a name to a file or store, of which the SHA-256 is kept.
    """
    with ThreadPoolExecutor() as pool:
        # large scenes take long to hash: beside each other, and beside the fingerprint
        sources = {name: pool.submit(digest_of, source) for name, source in made_from.items()}
        products = {name: pool.submit(digest_of, product) for name, product in made.items()}
        manifest = {
            "step": modules[0].rpartition(".")[2],
            "code": fingerprint(*modules),
            "versions": versions_of(*modules),
            "params": params.model_dump(mode="json") if params else None,
            "made_from": {name: digest.result() for name, digest in sources.items()},
            "made": {name: digest.result() for name, digest in products.items()},
            **facts,
        }
    write_text(path, json.dumps(manifest, indent=1, allow_nan=False) + "\n")


def numbered(paths: Iterable[Path]) -> dict[str, Path]:
    """Return paths by their number, for ``made_from`` where none has a name."""
    return {str(number): path for number, path in enumerate(paths)}


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest; raises ValueError naming the file where it is not one."""
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: is not JSON ({error}), expected a manifest") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece: it has its name only when it is whole."""
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's relative names and bytes in sorted order."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(f for f in path.rglob("*") if f.is_file()):
        if file.name == ".snakemake_timestamp":
            continue
        digest.update(f"{file.relative_to(path).as_posix()} {digest_of(file)}\n".encode())
    return digest.hexdigest()
