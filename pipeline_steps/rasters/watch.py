"""Whether stores stay as they were while they are read."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path


def watched(stores: Iterable[Path]) -> Callable[[], None]:
    """Return what raises ValueError once a file of a store is not what it was at this call.

    To Zarr a chunk whose file is gone is one that was never written: it would be read as empty.
    """
    before = {store: _files(store) for store in stores}

    def look() -> None:
        for store, files in before.items():
            if _files(store) != files:
                raise ValueError(f"{store}: changed while it was read, expected it to stay")

    return look


def _files(store: Path) -> set[tuple[str, int, int]]:
    """Return every file of a store, with its size and time of change; none where it is gone."""
    found = set()
    for folder, _, names in os.walk(store):
        for name in names:
            file = os.path.join(folder, name)
            try:
                facts = os.stat(file)
            except FileNotFoundError:
                continue
            found.add((file, facts.st_size, facts.st_mtime_ns))
    return found
