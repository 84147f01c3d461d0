"""What a look at a study finds: how bad it is, where, what, and how it is mended."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from tabulate import tabulate

LEVELS = ("error", "warning", "note")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One finding; ``remedy`` may be empty where ``what`` says what was expected."""

    level: str
    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" + (f"; {self.remedy}" if self.remedy else "")


class Findings(list[Finding]):
    """Findings in the order they were made; the same one counts once."""

    def add(self, level: str, where: object, what: str, remedy: str = "") -> None:
        """Add one finding of ``LEVELS``."""
        one = Finding(level, str(where), " ".join(what.split()), remedy)
        if one not in self:
            self.append(one)

    def raised(self, error: ValueError) -> None:
        """Add what reading a file has raised, as "file: what was found, expected what"."""
        where, _, what = str(error).partition(": ")
        self.add("error", where, what or "cannot be used")

    def of(self, level: str) -> list[Finding]:
        """Return the findings of one level."""
        return [one for one in self if one.level == level]


def shown(rows: Sequence[Mapping[str, Any]], without: Collection[str] = ()) -> str:
    """Return rows of the same keys as a table of plain text, less the columns ``without``."""
    cells = [
        {_heading(key): _cell(value) for key, value in row.items() if key not in without}
        for row in rows
    ]
    return tabulate(cells, headers="keys", disable_numparse=True) + "\n"


def _heading(key: str) -> str:
    return key.replace("_percent", " %").replace("_gb", " GB").replace("_", " ")


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
