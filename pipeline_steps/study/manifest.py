"""Manifests: what an artifact is, and what it was made from.

No clock and no host in them: equal work, equal bytes.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pipeline_steps.study.fingerprint import fingerprint, versions_of
from pipeline_steps.study.params.base import StageParams

MANIFESTS = ("manifest.json", "bundle.json", "map.json")
"""What a manifest can be called; the last two leave their study, or never had one."""

SEAL = ',\n "seal": "'
NO_SEAL = b"no seal"

Digests = Mapping[Path, str]
"""SHA-256 by path."""


def write_manifest(
    path: Path,
    *modules: str,
    params: StageParams | None,
    made_from: Iterable[Path],
    made: Iterable[Path],
    sources: Mapping[str, Path] = MappingProxyType({}),
    work: Path | None = None,
    **facts: Any,
) -> None:
    """Write the manifest of the artifacts ``made``, last of all and in one piece.

    ``modules`` are the step and whatever model it was told to use. The SHA-256 of files and stores
    is kept: of ``made_from`` and ``made`` by the way to them from the manifest's folder, so that
    it holds wherever a study lies; of ``sources``, which are the user's, by the names given.
    ``work`` is the folder where what was made waits for its place, and the manifest with it.
    """
    with ThreadPoolExecutor() as pool:
        # large scenes take long to hash: beside each other, and beside the fingerprint
        read = {one: pool.submit(digest_of, one) for one in made_from}
        given = {name: pool.submit(digest_of, source) for name, source in sources.items()}
        new = {one: pool.submit(digest_of, work / one.name if work else one) for one in made}
        manifest = {
            "step": modules[0].rpartition(".")[2],
            "code": fingerprint(*modules),
            "versions": versions_of(*modules),
            "params": params.model_dump(mode="json") if params else None,
        }
        read, given, new = ({k: d.result() for k, d in some.items()} for some in (read, given, new))
    manifest |= {
        "sources": given,
        "made_from": {_way(path, one): digest for one, digest in read.items()},
        "made": {_way(path, one): digest for one, digest in new.items()},
        "lineage": lineage_of(read, *given.values(), *new.values()),
        **facts,
    }
    write_text(work / path.name if work else path, sealed(manifest))


def _way(manifest: Path, path: Path) -> str:
    return Path(os.path.relpath(path, manifest.parent)).as_posix()


def sealed(facts: Mapping[str, Any]) -> str:
    """Return a manifest's text, whose last line is the digest of all before, which tells damage."""
    body = json.dumps(facts, indent=1, allow_nan=False).removesuffix("\n}")
    return f'{body}{SEAL}{hashlib.sha256(body.encode()).hexdigest()}"\n}}\n'


def seal_of(path: Path) -> tuple[str, str]:
    """Return the digest of a manifest's text, and what its last line says that it is."""
    body, found, last = path.read_bytes().rpartition(SEAL.encode())
    said = last.removesuffix(b'"\n}\n') if found else NO_SEAL
    return hashlib.sha256(body).hexdigest(), said.decode(errors="replace")


def lineage_of(made_from: Digests, *own: str) -> str:
    """Return one digest of files and of all that these come from, beside digests of one's ``own``.

    Equal results on equal inputs have an equal one: names, code and versions count nowhere. Raises
    ValueError naming a file that is not what a manifest tells of it.
    """
    found = set(own)
    for path, digest in made_from.items():
        manifest = manifest_of(path)
        facts = read_manifest(manifest) if manifest else {}
        _compare(path, digest, facts.get("made", {}).get(_way(manifest or path, path), digest))
        found.add(facts.get("lineage", digest))
    return hashlib.sha256("\n".join(sorted(found)).encode()).hexdigest()


def _compare(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise ValueError(f"{path}: SHA-256 is {found}, expected {expected}, as it was written")


def manifest_of(path: Path) -> Path | None:
    """Return the manifest that tells of a file or a folder, and of a manifest itself; or None."""
    if path.name in MANIFESTS:
        return path
    return next((place for place in places_of(path) if _way(place, path) in _made(place)), None)


def places_of(path: Path) -> list[Path]:
    """Return where a manifest can be: beside what it tells of, or in a folder of its stem."""
    folders = path.parent, path.parent / path.stem
    return [folder / name for folder in folders for name in MANIFESTS]


def _made(path: Path) -> Mapping[str, str]:
    """Return what a manifest says that was made; nothing where it is none of ours."""
    try:
        return dict(json.loads(path.read_bytes())["made"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def read_manifest(path: Path) -> dict[str, Any]:
    """Return a manifest, or a file in JSON that one tells of.

    Raises ValueError naming the file where it is not one, or not what it was.
    """
    facts, (found, said) = parsed(path), seal_of(path)
    if said != NO_SEAL.decode():
        _compare(path, found, said)
    elif path.name not in MANIFESTS:
        intact([path])
    return facts


def read_made(manifest: Path) -> dict[str, Any]:
    """Return a manifest once every file that it tells of, as of weights, is what it was.

    Stores are not looked at: they tell of damage themselves.
    """
    facts = read_manifest(manifest)
    made = {manifest.parent / way: digest for way, digest in facts.get("made", {}).items()}
    for path, digest in made.items():
        if not path.is_dir():
            _compare(path, digest_of(path), digest)
    return facts


def intact(paths: Iterable[Path]) -> list[str]:
    """Return the digests of files and stores, and of manifests with the files that they tell of.

    Raises ValueError naming one that is not what the manifest that tells of it says.
    """
    digests = {path: digest_of(path) for path in paths}
    for path in digests:
        if path.name in MANIFESTS:
            read_made(path)
    lineage_of(digests)
    return list(digests.values())


def parsed(path: Path) -> dict[str, Any]:
    """Return what a manifest tells, intact or not; raises ValueError where it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON ({error}), expected a manifest") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece: it has its name only when it is whole."""
    write_lines(path, [text])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write ``lines``, which bring their own ends, as `write_text` writes a text."""
    partial = path.with_name(path.name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(lines)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's relative names and bytes in sorted order."""
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    # what is shared among studies is a folder of links
    below = os.walk(path, followlinks=True)
    for file in sorted(Path(folder, name) for folder, _, names in below for name in names):
        if file.name == ".snakemake_timestamp":
            continue
        digest.update(f"{file.relative_to(path).as_posix()} {digest_of(file)}\n".encode())
    return digest.hexdigest()
