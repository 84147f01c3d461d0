"""Say in one line what is wrong with a study, and where."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails


class StudyError(ValueError):
    """A study that cannot be run; its text names file, key, value and what was expected."""


def in_one_line(error: ValidationError, under: str = "") -> str:
    """Return the first trouble of ``error`` as "key is value, expected …"."""
    first, more = error.errors()[0], error.error_count() - 1
    key = ".".join(
        [*under.split("."), *map(str, first["loc"])] if under else map(str, first["loc"])
    )
    return _sentence(key or "it", first) + (f" (and {more} more)" if more else "")


def _sentence(key: str, trouble: ErrorDetails) -> str:
    if trouble["type"] == "extra_forbidden":
        return f"{key} is not a key, expected one of those that config/README.md lists"
    if trouble["type"] == "missing":
        return f"{key} is missing, expected a value"
    if trouble["type"] == "value_error":
        return f"{key}: {trouble['msg'].removeprefix('Value error, ')}"
    if trouble["type"] == "json_invalid":
        return f"{key} is not JSON ({trouble['ctx']['error']}), expected JSON"
    text = trouble["msg"].replace("Input should be ", "").removeprefix("a valid ")
    value = str(trouble["input"])
    shown = value if len(value) <= 60 else value[:57] + "..."
    return f"{key} is {shown!r}, expected {text}"
