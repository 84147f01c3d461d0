"""Say in one line what is wrong with a study, and where."""

import re

from pydantic import ValidationError
from pydantic_core import ErrorDetails

PYDANTIC = re.compile(
    r"constrained-\w+|tuple\[.*\]|list\[.*\]|function-.*|model-\w+|int|str|\[key\]"
)
"""Names of alternatives, which pydantic puts between the keys of a study."""


class StudyError(ValueError):
    """A study that cannot be run; its text names file, key, value and what was expected."""

    def __str__(self) -> str:
        """Return the text in one line, whatever the study says."""
        return in_a_line(super().__str__())


def in_a_line(text: str) -> str:
    """Return a text in one line, without what would make a terminal do more than show it."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


def in_one_line(error: ValidationError, under: str = "") -> str:
    """Return the first trouble of ``error`` as "key is value, expected …"."""
    first, more = error.errors()[0], error.error_count() - 1
    key = ".".join([*under.split("."), *key_of(error)] if under else key_of(error))
    text = _sentence(key, first) + (f" (and {more} more)" if more else "")
    return in_a_line(text)


def key_of(error: ValidationError) -> list[str]:
    """Return the names that lead to the first trouble, without those pydantic adds of its own."""
    names = map(str, error.errors()[0]["loc"])
    return [name for name in names if not PYDANTIC.fullmatch(name)]


def _sentence(key: str, trouble: ErrorDetails) -> str:
    if trouble["type"] == "extra_forbidden":
        return f"{key} is not a key, expected one of those that config/README.md lists"
    if trouble["type"] == "missing":
        return f"{key} is missing, expected a value"
    if trouble["type"] == "value_error":
        return f"{key}: {trouble['msg'].removeprefix('Value error, ')}".removeprefix(": ")
    if trouble["type"] == "json_invalid":
        return f"it is not JSON ({trouble['ctx']['error']}), expected JSON"
    if trouble["type"] == "union_tag_invalid":
        named = trouble["input"]["model"]
        expected = trouble["ctx"]["expected_tags"].replace("model-", "")
        return f"{key}.model is {str(named)!r}, expected {expected}"
    text = re.sub(r"^\w+ should (be )?(a valid )?", "", trouble["msg"])
    value = trouble["input"]
    shown = "null" if value is None else repr(str(value))
    shown = shown if len(shown) <= 60 else f"{shown[:57]}...'"
    return f"{key or 'it'} is {shown}, expected {text}{_hint(value)}"


def _hint(value: object) -> str:
    """Say how YAML wants a number with an exponent: it takes ``1e-4`` for a word."""
    found = isinstance(value, str) and re.fullmatch(r"([-+]?\d+)(e[-+]?\d+)", value, re.IGNORECASE)
    return f"; YAML reads a number in {found[1]}.0{found[2]}" if found else ""
