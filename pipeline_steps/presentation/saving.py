"""Figures as files: PNG to look at, PDF and SVG to print."""

from collections.abc import Iterable
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

STEADY = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
TEXT = {"pdf.fonttype": 42, "svg.fonttype": "none", "svg.hashsalt": "steady"}


def save(figure: Figure, path: Path, dpi: int, formats: Iterable[str] = ()) -> None:
    """Write ``figure`` as ``path`` with ``.png`` behind its name, and ``pdf`` or ``svg`` if wished.

    Text stays text in those, and no clock is in any: equal figures, equal bytes.
    """
    figure.savefig(path.with_name(f"{path.name}.png"), dpi=dpi)
    # all has its place by now; to find it takes longer than to draw
    figure.set_layout_engine("none")
    with rc_context(TEXT):
        for kind in formats:
            file = path.with_name(f"{path.name}.{kind}")
            figure.savefig(file, dpi=2 * dpi, metadata=STEADY[kind])
