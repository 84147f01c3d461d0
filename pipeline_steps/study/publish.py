"""Give an artifact its name only when it is whole."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def publishing(*finals: Path) -> Iterator[list[Path]]:
    """Yield one ``*.partial`` path for each of ``finals``; rename them all when the block succeeds.

    Partial files of a killed run are removed first, those of a failed block at its end.
    """
    partials = [final.with_name(final.name + ".partial") for final in finals]
    for partial in partials:
        remove(partial)
        partial.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield partials
        for partial in partials:
            if not partial.exists():
                raise ValueError(f"{partial}: was not written, expected it before publishing")
        for partial, final in zip(partials, finals, strict=True):
            remove(final)
            os.replace(partial, final)
    finally:
        for partial in partials:
            remove(partial)


KEY = "key.json"
"""What says that a folder of work is whole, and what it depends on."""


def begun(folder: Path, key: Any) -> Path:
    """Return a folder for what is being made: empty, unless a killed run left it with this key.

    ``key`` is all that what lies there depends on, as JSON.
    """
    file, text = folder / KEY, json.dumps(key, sort_keys=True)
    if not file.is_file() or file.read_text() != text:
        remove(folder)
        folder.mkdir(parents=True)
        file.write_text(text)
    return folder


def release(folder: Path, *finals: Path) -> None:
    """Give what lies in ``folder``, under the names of ``finals``, its place; remove the rest.

    What is published stays in the folder, too, until all of it is: whoever runs a killed step again
    takes away what it had published, and it goes on with the folder.
    """
    for final in finals:
        twin = folder / f"{final.name}.twin"
        remove(twin)
        _link(folder / final.name, twin)
        remove(final)
        os.replace(twin, final)
    # what is half removed is nothing to go on with
    (folder / KEY).unlink()
    remove(folder)


def _link(source: Path, twin: Path) -> None:
    """Give a file, or all in a folder, a second name, which takes no room."""
    if source.is_dir():
        shutil.copytree(source, twin, copy_function=_link_file)
    else:
        _link_file(source, twin)


def _link_file(source: str | Path, twin: str | Path) -> None:
    try:
        os.link(source, twin)
    except OSError:
        # some file systems know one name for a file only
        shutil.copy2(source, twin)


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
