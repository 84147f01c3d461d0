"""What figures of scores show, whatever the tables hold."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from pipeline_steps.presentation.ablation import ablation_figure
from pipeline_steps.presentation.charts import difference_chart

BEYOND = pd.DataFrame(
    {
        "score": "miou",
        "experiment": ["a", "b", "c"],
        "baseline": "bare",
        "difference": [0.1, 0.2, 0.3],
        # that of `a` lies above its estimate, that of `c` is not known
        "low": [0.12, 0.1, np.nan],
        "high": [0.15, 0.3, np.nan],
    }
)


def lines(axis):
    """Return the ends of all horizontal lines that are drawn, by their height."""
    found = {}
    for collection in axis.collections:
        for segment in collection.get_segments():
            if len(segment) and not np.isnan(segment).any():
                found[float(segment[0, 1])] = tuple(segment[:, 0])
    return found


def test_an_interval_is_drawn_from_low_to_high_wherever_its_estimate_lies(tmp_path):
    figure = difference_chart(BEYOND)
    figure.savefig(tmp_path / "figure.png", dpi=40)

    (axis,) = figure.axes
    assert lines(axis) == {0: pytest.approx((0.12, 0.15)), 1: pytest.approx((0.1, 0.3))}
    points = [line for line in axis.lines if line.get_marker() == "o"]
    assert points[0].get_xdata() == pytest.approx([0.1, 0.2, 0.3])


def test_an_ablations_interval_need_not_hold_its_difference(tmp_path):
    table = pd.DataFrame(
        {
            "grid": "g",
            "size": ["512", "1024"],
            "seeds": 2,
            "miou": [0.5, 0.6],
            "miou_sd": [0.01, np.nan],
            "delta_miou": [np.nan, 0.1],
            "delta_low": [np.nan, 0.12],
            "delta_high": [np.nan, 0.15],
        }
    )

    figure = ablation_figure(table)
    figure.savefig(tmp_path / "figure.png", dpi=40)

    left, right = figure.axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["512", "1024"]
    assert lines(right) == {1: pytest.approx((0.12, 0.15))}


def test_names_are_text_whatever_stands_in_them(tmp_path):
    table = BEYOND.replace({"a": "$x_1$", "bare": "$\\frac{$"})

    figure = difference_chart(table)
    figure.savefig(tmp_path / "figure.png", dpi=40)

    shown = [text for text in figure.findobj(Text) if "$" in text.get_text()]
    assert len(shown) >= 2 and not any(text.get_parse_math() for text in shown)
