"""Classes: how they are written in label files, what they are called, how they look."""

import re
from typing import Annotated

from pydantic import Field, model_validator

from pipeline_steps.study.params.base import LabelValue, LabelWord, Rgb, StageParams

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
    """A class's name, and how label files write it: by values and words, or by colours."""

    name: Annotated[str, Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")]
    """What tables and legends call it."""

    value: Label | Annotated[tuple[Label, ...], Field(min_length=1)] | None = None
    """Label value, or word of a polygon's attribute, or a list of those that mean this class."""

    rgb: Rgb | None = None
    """Label colour, where label files are pictures: [red, green, blue], each 0 to 255."""

    @model_validator(mode="after")
    def _one_kind(self) -> "ClassCode":
        if (self.value is None) == (self.rgb is None):
            raise ValueError(f"class {self.name!r}: expected exactly one of value and rgb")
        return self

    @property
    def keys(self) -> tuple[Key, ...]:
        """Return every value, word or colour that means this class."""
        if self.rgb is not None:
            return (self.rgb,)
        values = self.value if isinstance(self.value, tuple) else (self.value,)
        return tuple(map(plain, values))


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
