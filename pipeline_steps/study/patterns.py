"""Patterns of file names, and what their wildcards stood for."""

import glob
import os
import re
from collections import Counter
from collections.abc import Iterable

Key = tuple[str, ...]
"""What the wildcards of a pattern stood for."""

WILD = re.compile(r"\*\*/|\*|\?|\[[^]]+\]")


def is_pattern(cell: str) -> bool:
    """Return whether a cell of the table names files by a pattern."""
    return bool(WILD.search(cell))


def matches(pattern: str, root: str) -> dict[tuple[str, ...], str]:
    """Return the files below ``root`` that ``pattern`` matches, in natural order of their names.

    Each key holds what the wildcards stood for. ``**/`` stands for any folders.
    """
    try:
        shape = re.compile(_regular(pattern))
    except re.error:
        # a range such as [z-a], which matches nothing
        return {}
    found: dict[tuple[str, ...], str] = {}
    for name in glob.glob(pattern, root_dir=root or None, recursive=True):
        path = os.path.join(root, name)
        match = shape.fullmatch(name)
        if match is not None and os.path.isfile(path):
            found[match.groups()] = path
    return {key: found[key] for key in sorted(found, key=_natural)}


def _regular(pattern: str) -> str:
    """Return a regular expression with a group for each wildcard."""
    parts, end = [], 0
    for wild in WILD.finditer(pattern):
        parts.append(re.escape(pattern[end : wild.start()]))
        group = {"**/": "((?:[^/]+/)*)", "*": "([^/]*)", "?": "([^/])"}
        parts.append(group.get(wild[0], f"({wild[0].replace('[!', '[^')})"))
        end = wild.end()
    return "".join(parts) + re.escape(pattern[end:])


def partners(keys: Iterable[Key], files: dict[Key, str]) -> dict[Key, str | None]:
    """Return for each key the one of ``files`` whose wildcards stand for the same, if there is one.

    Numbers may differ in leading zeros, so that ``dsm_02_10`` finds ``top_2_10``; where that fits
    several files or several keys, it fits none.
    """
    keys = list(keys)
    asked = Counter(map(_plain, keys))
    alike: dict[Key, list[str]] = {}
    for key, file in files.items():
        alike.setdefault(_plain(key), []).append(file)
    found = {}
    for key in keys:
        loose = alike.get(_plain(key), []) if asked[_plain(key)] == 1 else []
        found[key] = files.get(key) or (loose[0] if len(loose) == 1 else None)
    return found


def _plain(key: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(re.sub(r"\d+", lambda number: str(int(number[0])), text) for text in key)


def _natural(key: tuple[str, ...]) -> list[tuple[str, int]]:
    """Return a sort key in which 2 comes before 10."""
    parts = [part for text in key for part in re.findall(r"(\D*)(\d*)", text)]
    return [(word, int(number or -1)) for word, number in parts]
