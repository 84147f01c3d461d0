"""A table in four forms: CSV for machines, Markdown, LaTeX and HTML for people."""

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline_steps.study.manifest import write_text


def write_table(
    path: Path, table: pd.DataFrame, note: str, digits: int, hidden: Collection[str] = ()
) -> None:
    """Write ``table`` as ``path`` with four suffixes, ``note`` below the one in Markdown.

    People are spared the columns ``hidden``, get numbers of so many ``digits`` behind the point,
    and see a mean beside its standard deviation, the column of its name with ``_sd`` behind it.
    """
    shown = _readable(table.drop(columns=list(hidden)), digits)
    write_text(path.with_suffix(".csv"), table.to_csv(index=False))
    words = shown.map(lambda word: word.replace("|", "\\|").replace("<", "&lt;"))
    markdown = words.to_markdown(index=False, disable_numparse=True)
    write_text(path.with_suffix(".md"), f"{markdown}\n\n{note}\n")
    write_text(path.with_suffix(".html"), shown.to_html(index=False, border=0) + "\n")
    latex = (
        shown.style.hide(axis="index").format(escape="latex").format_index(escape="latex", axis=1)
    )
    write_text(path.with_suffix(".tex"), latex.to_latex(hrules=True).replace("±", r"$\pm$"))


def note_of(path: Path) -> str:
    """Return what stands below a table that ``write_table`` wrote as ``path``, of any suffix."""
    return path.with_suffix(".md").read_text(encoding="utf-8").rpartition("\n\n")[2].strip()


def _readable(table: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Return a table of words: numbers rounded, each mean joined with its ± sd."""
    shown = pd.DataFrame(index=table.index)
    for name in table.columns:
        if name.endswith("_sd"):
            continue
        column = table[name]
        if column.dtype.kind != "f":
            shown[name] = column.astype(str)
            continue
        words = column.map(lambda x: "–" if np.isnan(x) else f"{x:.{digits}f}")
        if f"{name}_sd" in table:
            spread = table[f"{name}_sd"]
            words += spread.map(lambda x: "" if np.isnan(x) else f" ± {x:.{digits}f}")
        shown[name] = words
    return shown
