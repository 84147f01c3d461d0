"""Classes: how they are written in label files, what they are called, how they look."""

import re
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import LabelValue, LabelWord, Rgb, StageParams, Title

IGNORE = 255
"""The class index of pixels that are neither trained on nor scored."""

NUMBER = re.compile(r"-?[0-9]{1,10}")
Label = LabelValue | LabelWord
Key = int | str | tuple[int, int, int]
"""What a label file may say of a pixel: a value, a polygon's word, or a colour."""


def plain(key: Key) -> Key:
    """Return a key as files are compared by: a number in letters is that number."""
    return int(key) if isinstance(key, str) and NUMBER.fullmatch(key) else key


class ClassCode(StageParams):
    """A class's name, and how label files write it: by values and words, by colours or never."""

    name: Annotated[Title, Field(max_length=80)]
    """What tables and legends call it."""

    value: Label | Annotated[tuple[Label, ...], Field(min_length=1)] | None = None
    """Label value, or word of a polygon's attribute, or a list of those that mean this class."""

    rgb: Rgb | None = None
    """Label colour, where label files are pictures: [red, green, blue], each 0 to 255."""

    @model_validator(mode="after")
    def _one_kind(self) -> "ClassCode":
        if self.value is not None and self.rgb is not None:
            raise ValueError(f"class {self.name!r}: has value and rgb, expected one of them")
        return self

    @property
    def keys(self) -> tuple[Key, ...]:
        """Return every value, word or colour that means this class."""
        if self.rgb is not None:
            return (self.rgb,)
        if self.value is None:
            return ()
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        return tuple(map(plain, values))


def check_labels(classes: Sequence[ClassCode], ignored: Sequence[Key], under: str = "") -> None:
    """Raise ValueError where labels do not tell ``classes`` and what is ``ignored`` apart.

    ``under`` is the beginning of their keys.
    """
    names, labelled = [c.name for c in classes], [c for c in classes if c.keys]
    keys = [key for c in labelled for key in c.keys]
    if len(set(names)) < len(names):
        raise ValueError(f"{under}classes: names are {names}, expected each name once")
    if len(set(keys)) < len(keys):
        raise ValueError(f"{under}classes: a value or rgb stands twice, expected each label once")
    if len({c.rgb is None for c in labelled}) > 1:
        raise ValueError(f"{under}classes: some have value and some rgb, expected one kind for all")
    by_colour = any(isinstance(key, tuple) for key in keys)
    if keys and any(isinstance(key, tuple) != by_colour for key in ignored):
        kind = "colours" if by_colour else "values"
        raise ValueError(f"{under}tile.ignore_labels: expected {kind}, as in classes")
    if set(keys) & set(map(plain, ignored)):
        raise ValueError(
            f"{under}tile.ignore_labels: names a label of the classes, expected others"
        )


class ClassLook(StageParams):
    """A class's name and display colour."""

    name: str
    """What tables and legends call it."""

    color: Annotated[str, Field(pattern="^#[0-9a-f]{6}$")]
    """Display colour, `#rrggbb`."""

    @property
    def rgb(self) -> tuple[int, int, int]:
        """Return the display colour as three numbers from 0 to 255."""
        return tuple(bytes.fromhex(self.color[1:]))


class ClassSpec(ClassCode):
    """One class: its name, its labels and its colour."""

    color: Annotated[str, Field(pattern="^#[0-9A-Fa-f]{6}$")] | None = None
    """Display colour, `#rrggbb`; by default the label colour, which `value` classes do not have."""

    @model_validator(mode="after")
    def _has_a_colour(self) -> "ClassSpec":
        if self.color is None and self.rgb is None:
            raise ValueError(f"class {self.name!r} has no color, expected '#rrggbb'")
        return self

    @property
    def code(self) -> ClassCode:
        """Return what a label file's reader must know: a colour change does not concern it."""
        return ClassCode(name=self.name, value=self.value, rgb=self.rgb)

    @property
    def look(self) -> ClassLook:
        """Return what a map's reader must know."""
        color = self.color or "#" + bytes(self.rgb).hex()
        return ClassLook(name=self.name, color=color.lower())
