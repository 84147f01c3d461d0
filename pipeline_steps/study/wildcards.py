"""Regular expressions of names, which Snakemake matches with the files of every job."""

import re
from collections.abc import Collection, Iterable


def one_of(names: Iterable[str]) -> str:
    """Return what matches these names and nothing else; as long as they are together."""
    return "|".join(map(re.escape, names)) or "(?!)"


def part_of(known: Collection[str], names: Iterable[str], form: str) -> str:
    """Return what matches ``names`` and no other name that is ``known``, in short.

    Names that are not known it matches too, if they have ``form``: whoever uses it has to refuse
    them. So where nearly all are meant it names the few others, and never grows with all: each of
    a study's jobs reads it, and would take the longer the more of them there are.
    """
    chosen = set(names)
    others = [name for name in known if name not in chosen]
    if len(others) >= len(chosen):
        return one_of(sorted(chosen))
    return f"(?!(?:{one_of(others)})(?:/|$)){form}"
