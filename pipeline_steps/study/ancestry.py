"""What an artifact was made from, as the manifests beside all that a study makes tell it."""

import dataclasses
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from pipeline_steps.study.manifest import (
    MANIFESTS,
    Digests,
    digest_of,
    manifest_of,
    parsed,
    places_of,
    seal_of,
)

RESULTS = "results"
FINDINGS = "check/findings.json"

NEEDED = ("step", "code", "versions", "params", "sources", "made_from", "made", "lineage")

NOTHING = "nothing"
"""What is found where nothing is."""


class Record(NamedTuple):
    """What a manifest tells; sources are among what something was made from."""

    facts: dict[str, Any]
    made_from: Digests
    made: Digests


class Difference(NamedTuple):
    """Something that is not what a manifest says."""

    path: Path
    found: str
    expected: str


@dataclasses.dataclass(frozen=True)
class Ancestry:
    """An artifact, its manifest and all manifests above it; every path is absolute."""

    artifact: Path
    manifest: Path
    home: Path
    """The folder of the study."""

    records: dict[Path, Record]
    unread: dict[Path, str]
    """Manifests that are not there or cannot be read, and why."""

    told: dict[Path, Path | None]
    """The manifest of everything that something was made from."""

    def shown(self, path: Path) -> str:
        """Return a path as people see it: within the study from its folder."""
        return str(path.relative_to(self.home) if path.is_relative_to(self.home) else path)


def ancestry_of(artifact: Path, data_root: Path | None = None) -> Ancestry:
    """Read all manifests above ``artifact``; the scene table's paths are relative to ``data_root``.

    Where that is not stated `check` has noted it. Raises ValueError where no manifest tells of it.
    """
    artifact = _absolute(artifact)
    manifest, home = _manifest_of(artifact), _home(artifact)
    root, told = data_root or _data_root(home), {artifact: manifest}
    records, unread, pending = {manifest: _record(manifest, root)}, {}, [manifest]
    while pending:
        for path in records[pending.pop()].made_from:
            above = told.setdefault(path, manifest_of(path))
            if above is None or above in records or above in unread:
                continue
            try:
                records[above] = _record(above, root)
            except (OSError, ValueError) as error:
                unread[above] = str(error)
            else:
                pending.append(above)
    return Ancestry(artifact, manifest, home, records, unread, told)


def _absolute(path: str | Path) -> Path:
    return Path(os.path.abspath(path))


def _manifest_of(artifact: Path) -> Path:
    if not artifact.exists():
        raise ValueError(f"{artifact}: nothing is there, expected a file or folder of a study")
    within = (artifact / name for name in MANIFESTS)
    # a file may lie in a store or a folder that was made in one piece
    beside = map(manifest_of, (artifact, *artifact.parents))
    found = next((one for one in (*within, *beside) if one and one.is_file()), None)
    if found is None:
        raise ValueError(f"{artifact}: no manifest tells of it, expected one beside it or in it")
    return found


def _home(artifact: Path) -> Path:
    """Return the folder that has the results; of a map of its own, which has no study, its own."""
    here = [one.parent for one in (artifact, *artifact.parents) if one.name == RESULTS]
    return here[0] if here else artifact.parent


def _data_root(home: Path) -> Path:
    """Return where the study's data lay when it was checked, or the study's folder."""
    findings = home / RESULTS / FINDINGS
    return home / (parsed(findings)["root"] if findings.is_file() else "")


def _record(path: Path, root: Path) -> Record:
    facts = parsed(path)
    missing = [key for key in NEEDED if key not in facts]
    if missing:
        raise ValueError(f"{path}: has no {missing[0]}, expected a manifest of this version")
    places = ("made_from", path.parent), ("sources", root), ("made", path.parent)
    read, given, made = (
        {_absolute(folder / way): digest for way, digest in facts[key].items()}
        for key, folder in places
    )
    return Record(facts, read | given, made)


def checked(ancestry: Ancestry) -> tuple[int, list[Difference]]:
    """Digest everything along an ancestry; return how many things that are, and what differs.

    What a bundle was made from stays behind where it is moved, and is looked at where it is there.
    """
    expected = dict.fromkeys(_expected(ancestry))
    with ThreadPoolExecutor() as pool:
        found = {path: pool.submit(_found, path) for path, _ in expected}
        seals = {path: pool.submit(seal_of, path) for path in ancestry.records}
    wrong = [Difference(path, found[path].result(), digest) for path, digest in expected]
    wrong += [Difference(path, *seal.result()) for path, seal in seals.items()]
    wrong = [one for one in wrong if one.found != one.expected]
    wrong += [Difference(*one, "a manifest") for one in ancestry.unread.items() if one[0].exists()]
    wrong += map(_untold, _without_manifest(ancestry))
    return len(found.keys() | seals.keys()), wrong


def _expected(ancestry: Ancestry) -> Iterator[tuple[Path, str]]:
    for record in ancestry.records.values():
        moved = record.facts["step"] == "bundle"
        yield from (one for one in record.made_from.items() if one[0].exists() or not moved)
        yield from record.made.items()


def _found(path: Path) -> str:
    return digest_of(path) if path.exists() else NOTHING


def _without_manifest(ancestry: Ancestry) -> list[Path]:
    """Return what lies among the results and no manifest tells of, though one does of all there."""
    results = ancestry.home / RESULTS
    untold = (path for path, manifest in ancestry.told.items() if manifest is None)
    return [path for path in untold if path.is_relative_to(results)]


def _untold(path: Path) -> Difference:
    there = next((place for place in places_of(path) if place.is_file()), None)
    if there is None:
        return Difference(path, "no manifest beside it", "one")
    return Difference(there, f"nothing of {path.name}", "what it was made from")
