"""A table in four forms: CSV for machines, Markdown, LaTeX and HTML for people."""

from collections.abc import Collection, Mapping
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline_steps.study.manifest import write_text

FORMS = (".csv", ".md", ".html", ".tex")

SPECIAL = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "{}$&#%_"},
        # at the beginning of a row these would belong to the end of the last
        **{letter: f"{{{letter}}}" for letter in "[]*"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
        "±": r"$\pm$",
        "ρ": r"$\rho$",
    }
)
"""What LaTeX takes for something else."""

LATEX = {1: "textbf:--rwrap;", 2: "underline:--rwrap;"}
MARKDOWN = {1: ("**", "**"), 2: ("<u>", "</u>")}
HTML = {1: ("<b>", "</b>"), 2: ("<u>", "</u>")}
"""How the best and the second of a column look."""


class Writer:
    """Writes tables into one folder, each with the study's digest below it."""

    def __init__(self, folder: Path, digits: int, study: str) -> None:
        self.folder, self.digits, self.study = folder, digits, study
        self.made: list[Path] = []

    def __call__(
        self,
        name: str,
        table: pd.DataFrame,
        note: str,
        hidden: Collection[str] = (),
        ranked: Collection[str] | Mapping[str, pd.Series] = (),
        by: str | None = None,
    ) -> None:
        """Write a table; see ``write_table``."""
        said = f"The study's digest: {self.study}\n\n{note}"
        write_table(self.folder / name, table, said, self.digits, hidden, ranked, by)
        self.made += [self.folder / f"{name}{form}" for form in FORMS]


def write_table(
    path: Path,
    table: pd.DataFrame,
    note: str,
    digits: int,
    hidden: Collection[str] = (),
    ranked: Collection[str] | Mapping[str, pd.Series] = (),
    by: str | None = None,
) -> None:
    """Write ``table`` as ``path`` with the suffixes ``FORMS``, ``note`` below all but the CSV.

    People are spared the columns ``hidden``, get numbers of so many ``digits`` behind the point,
    and see a mean beside its standard deviation, the column of its name with ``_sd`` behind it. Of
    the columns ``ranked``, where larger is better, the best is bold and the second underlined. A
    mapping says which rows are ranked in each; else all are whose ``source``, if there is that
    column, is "measured". Rows are compared with those that have the same in the column ``by``.
    """
    ranks = _ranks(table, ranked, by)
    shown = _readable(table[[name for name in table if name not in hidden]], digits)
    write_text(path.with_suffix(".csv"), table.to_csv(index=False))
    write_text(path.with_suffix(".md"), f"{_markdown(shown, ranks)}\n\n{note}\n")
    write_text(path.with_suffix(".html"), f"{_html(shown, ranks)}{_html_notes(note)}")
    write_text(path.with_suffix(".tex"), f"{_latex(shown, ranks)}{_latex_notes(note)}")


def read_table(path: Path) -> pd.DataFrame:
    """Return a table of ``tabulate`` from CSV; names may look like numbers, or like nothing."""
    words = ["experiment", "teacher", "scene", "baseline", "class", "truth", "map", "grid"]
    words += ["system", "source", "kind"]
    names = list(pd.read_csv(path, nrows=0))
    if path.stem == "ablation":
        words += names[: names.index("seeds")]
    kinds = dict.fromkeys(words, str)
    return pd.read_csv(path, dtype=kinds, keep_default_na=False, na_values=[""])


def note_of(path: Path) -> str:
    """Return the last that stands below a table that ``write_table`` wrote as ``path``."""
    return path.with_suffix(".md").read_text(encoding="utf-8").rpartition("\n\n")[2].strip()


def html_of(path: Path) -> str:
    """Return a table in HTML that ``write_table`` wrote as ``path``, without what is below it."""
    text = path.with_suffix(".html").read_text(encoding="utf-8")
    return text[text.index("<table") : text.rindex("</table>")] + "</table>"


def _ranks(
    table: pd.DataFrame, ranked: Collection[str] | Mapping[str, pd.Series], by: str | None
) -> pd.DataFrame:
    """Return 1 for the best of a column, 2 for the second, 0 for the rest; equals share a rank."""
    ranks = pd.DataFrame(0, index=table.index, columns=table.columns)
    groups = table[by] if by else pd.Series(0, table.index)
    measured = table["source"] == "measured" if "source" in table else pd.Series(True, table.index)
    for name in ranked:
        own = ranked[name] if isinstance(ranked, Mapping) else measured
        if name in table:
            rivals = table.loc[own, name].groupby(groups[own])
            places = rivals.rank(method="dense", ascending=False)
            is_shown = (places <= 2) & (rivals.transform("size") > 1)
            ranks.loc[own, name] = places.where(is_shown, 0).astype(int)
    return ranks


def _latex(shown: pd.DataFrame, ranks: pd.DataFrame) -> str:
    words = shown.map(_for_latex)
    styled = words.style.hide(axis="index").format_index(_for_latex, axis=1)
    return styled.apply(_look, axis=None, ranks=ranks).to_latex(hrules=True)


def _for_latex(word: str) -> str:
    return word.translate(SPECIAL)


def _latex_notes(note: str) -> str:
    """Return paragraphs in small letters, to stand below a table in its float."""
    said = "\n\n".join(map(_for_latex, note.split("\n\n")))
    return f"\n\\medskip\n{{\\footnotesize\n{said}\\par}}\n"


def _html_notes(note: str) -> str:
    return "".join(f'<p class="note">{_escaped(part)}</p>\n' for part in note.split("\n\n"))


def _look(shown: pd.DataFrame, ranks: pd.DataFrame) -> pd.DataFrame:
    """Return LaTeX's style of every cell."""
    return ranks[shown.columns].map(lambda rank: LATEX.get(rank, ""))


def _markdown(shown: pd.DataFrame, ranks: pd.DataFrame) -> str:
    words = shown.map(lambda word: word.replace("|", "\\|").replace("<", "&lt;"))
    return _marked(words, ranks, MARKDOWN).to_markdown(index=False, disable_numparse=True)


def _html(shown: pd.DataFrame, ranks: pd.DataFrame) -> str:
    words = _marked(shown.map(_escaped), ranks, HTML).rename(columns=_escaped)
    # a part of a page, or opened by itself
    return f'<meta charset="utf-8">\n{words.to_html(index=False, border=0, escape=False)}\n'


def _escaped(word: str) -> str:
    return escape(word, quote=False)


def _marked(
    words: pd.DataFrame, ranks: pd.DataFrame, marks: dict[int, tuple[str, str]]
) -> pd.DataFrame:
    """Return words with the marks of their rank around them."""
    for rank, (before, after) in marks.items():
        marked = words.map(lambda word, a=before, b=after: f"{a}{word}{b}")
        words = words.where(ranks[words.columns] != rank, marked)
    return words


def _readable(table: pd.DataFrame, digits: int) -> pd.DataFrame:
    """Return a table of words: numbers rounded, each mean joined with its ± sd."""
    shown = pd.DataFrame(index=table.index)
    for name in table.columns:
        if name.endswith("_sd"):
            continue
        column = table[name]
        if column.dtype.kind != "f":
            shown[name] = column.map(lambda x: "–" if pd.isna(x) else str(x)).astype(str)
            continue
        words = column.map(lambda x: "–" if np.isnan(x) else f"{x:.{digits}f}")
        if f"{name}_sd" in table:
            spread = table[f"{name}_sd"]
            words += spread.map(lambda x: "" if np.isnan(x) else f" ± {x:.{digits}f}")
        shown[name] = words
    return shown
