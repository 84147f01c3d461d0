"""What all config sections share: strict types, no unknown keys, docstrings as descriptions."""

import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Channel = Annotated[int, Field(ge=0, le=255)]
Rgb = tuple[Channel, Channel, Channel]
LabelValue = Annotated[int, Field(ge=-(2**31), le=2**32 - 1)]
PixelValue = Annotated[float, Field(ge=-3.5e38, le=3.5e38)]
"""Any number that a pixel can hold."""

LabelWord = Annotated[str, Field(min_length=1, max_length=200)]
"""What an attribute of a polygon may say."""

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
"""A name that is a folder's, too."""

Title = Annotated[
    str,
    Field(
        min_length=1,
        # first what a spreadsheet takes for a formula; then what a reader does not see, or sees
        # elsewhere: controls, marks of direction, line ends, spaces without width
        pattern=r"^[^\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff=+@-]"
        r"[^\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]*$",
    ),
]
"""What tables call something."""

Percent = Annotated[float, Field(ge=0, le=100)]


class StageParams(BaseModel):
    """A section of the study file; unknown keys are refused and values are never coerced.

    Descriptions are the string below each field. They are docstrings to the
    fingerprint, so rewording one makes nothing stale.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, use_attribute_docstrings=True
    )


def as_json(value: Any) -> str:
    """Return parameters, or a collection of them, as canonical JSON: what a step gets, and what
    makes it stale."""
    return json.dumps(value, default=lambda one: one.model_dump(mode="json"), sort_keys=True)
