"""Print from what, with which code, parameters, weights and versions an artifact was made.

No stage: ``python -m pipeline_steps.lineage results/tabulate/overall.md`` reads what stages left.
"""

import argparse
import importlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from pipeline_steps.study.ancestry import Ancestry, Record, ancestry_of, checked

TOLD = {
    "model": "model",
    "source": "source",
    "revision": "revision",
    "sha256": "original",
    "license": "licence",
    "licence": "licence",
    "networks": "networks",
    "run": "run",
    "arithmetic": "computed",
    "versions_beside": "beside",
    "table": "table",
    "template": "template",
    "study": "study",
}
"""Facts of some manifests that tell what was made from what and how, and what they are called."""


def main(argv: list[str] | None = None) -> None:
    """Run the command line; whatever goes wrong ends with status 1 and one line."""
    parser = argparse.ArgumentParser("python -m pipeline_steps.lineage", description=__doc__)
    parser.add_argument("artifact", type=Path, help="a file or folder below results/")
    parser.add_argument("--params", action="store_true", help="defaults, too")
    parser.add_argument("--data-root", type=Path, help="where the scenes lie, if they were moved")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="the same for programs")
    how.add_argument("--verify", action="store_true", help="compare all digests with the files")
    asked = parser.parse_args(argv)
    try:
        ancestry = ancestry_of(asked.artifact, asked.data_root)
        lines = _verified(ancestry) if asked.verify else _told(ancestry, asked.params, asked.json)
        for line in lines:
            sys.stdout.write(f"{line}\n")
    except BrokenPipeError:
        # whoever reads has seen enough
        sys.stderr.close()
    except (ValueError, OSError) as error:
        sys.exit(f"error: lineage: {' '.join(str(error).split())}")


def _verified(ancestry: Ancestry) -> Iterator[str]:
    """Yield what differs; raises ValueError at the end if anything does."""
    count, wrong = checked(ancestry)
    for path, found, expected in wrong:
        yield f"{ancestry.shown(path)}: found {found}, expected {expected}"
    if wrong:
        raise ValueError(
            f"{ancestry.artifact}: {len(wrong)} digests along its lineage differ, expected none;"
            " what is missing because scenes were moved, --data-root finds"
        )
    yield f"{count} files and stores are what they were"


def _told(ancestry: Ancestry, whole: bool, is_json: bool) -> Iterator[str]:
    if not is_json:
        digest = ancestry.records[ancestry.manifest].made.get(ancestry.artifact)
        return _Tree(ancestry, whole).lines(ancestry.artifact, digest)
    records = {
        ancestry.shown(path): _as_json(ancestry, record, whole)
        for path, record in ancestry.records.items()
    }
    facts = {"artifact": ancestry.artifact, "manifest": ancestry.manifest}
    shown = {name: ancestry.shown(path) for name, path in facts.items()}
    return iter([json.dumps(shown | {"records": records}, indent=1)])


def _as_json(ancestry: Ancestry, record: Record, whole: bool) -> dict[str, Any]:
    facts = {key: record.facts[key] for key in ("step", "code", "versions")}
    facts |= {"params": _params(record, whole)} | {
        k: v for k, v in record.facts.items() if k in TOLD
    }
    made_from = {
        ancestry.shown(path): {"sha256": digest, "manifest": above and ancestry.shown(above)}
        for path, digest in record.made_from.items()
        for above in [ancestry.told[path]]
    }
    made = {ancestry.shown(path): digest for path, digest in record.made.items()}
    return facts | {"lineage": record.facts["lineage"], "made": made, "made_from": made_from}


def _params(record: Record, whole: bool) -> dict[str, Any]:
    """Return what a stage was asked, without defaults; whole where they are not known any more."""
    stated = record.facts["params"] or {}
    try:
        section = importlib.import_module(f"pipeline_steps.study.params.{record.facts['step']}")
        # `fetch` is told one row of the models
        kind = getattr(section, "Model", section.Params)
        asked = kind.model_validate_json(json.dumps(stated))
    except (ImportError, ValidationError):
        return stated
    return stated if whole else asked.model_dump(mode="json", exclude_defaults=True)


def _flat(params: dict[str, Any], under: str = "") -> Iterator[str]:
    for key, value in params.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{under}{key}.")
        else:
            yield f"{under}{key} {json.dumps(value)}"


class _Tree:
    """Writes an ancestry, every manifest once."""

    def __init__(self, ancestry: Ancestry, whole: bool) -> None:
        self.ancestry, self.whole = ancestry, whole
        self.seen: dict[Path, str] = {}

    def lines(self, path: Path, digest: str | None) -> Iterator[str]:
        """Yield the lines of an artifact and of all that it was made from."""
        shown, manifest = self.ancestry.shown(path), self.ancestry.told[path]
        record = self.ancestry.records.get(manifest) if manifest else None
        if record is None:
            lost = "" if manifest is None else "  (its manifest is not here or cannot be read)"
            yield f"{shown}  {digest}{lost}"
        elif manifest in self.seen:
            first = self.seen[manifest]
            yield f"{shown}  (above)" if first == shown else f"{shown}  {digest}  (with {first})"
        else:
            self.seen[manifest] = shown
            yield shown
            last = len(record.made_from) - 1
            for name, value in self._facts(record, path, digest):
                yield f"{'    ' if last < 0 else '│   '}{name:<9} {value}"
            for number, one in enumerate(record.made_from.items()):
                leads = ("├── ", "│   ") if number < last else ("└── ", "    ")
                for row, line in enumerate(self.lines(*one)):
                    yield f"{leads[row > 0]}{line}"

    def _facts(self, record: Record, path: Path, digest: str | None) -> Iterator[tuple[str, str]]:
        facts = record.facts
        if path in record.made:
            yield "sha256", str(digest)
        else:
            for name, one in record.made.items():
                yield "made", f"{one}  {name.name}"
        yield "step", f"{facts['step']}, code {facts['code']}"
        for one in _flat(_params(record, self.whole)):
            yield "param", one
        versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
        yield "versions", versions or "none that compute"
        for key, name in TOLD.items():
            if facts.get(key):
                value = facts[key]
                yield name, value if isinstance(value, str) else json.dumps(value)
        if path == self.ancestry.artifact:
            yield "lineage", facts["lineage"]


if __name__ == "__main__":
    main()
