"""What figures of scores show, whatever the tables hold."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from pipeline_steps.presentation.ablation import ablation_figure
from pipeline_steps.presentation.charts import (
    bars,
    difference_chart,
    learning_curves,
    palette,
    reliability_chart,
)
from pipeline_steps.presentation.tables import read_table

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


SCORED = pd.DataFrame(
    {
        "experiment": ["deep", "$x_1$, table 3 [7]", "l" * 200],
        "source": ["measured", "as reported", "as reported"],
        **{score: [0.5, 0.6, -0.1] for score in ("miou", "kappa", "oa")},
        **{f"{score}_sd": [0.1, np.nan, np.nan] for score in ("miou", "kappa", "oa")},
    }
)


def test_what_others_report_looks_unlike_what_is_measured_and_the_legend_says_so(tmp_path):
    figure = bars(SCORED)
    figure.savefig(tmp_path / "figure.png", dpi=40)

    for axis in figure.axes:
        assert [bool(bar.get_hatch()) for bar in axis.patches] == [False, True, True]
        assert axis.get_xlim()[0] == pytest.approx(-0.1)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["measured", "as reported"]
    names = figure.axes[0].get_yticklabels()
    assert [name.get_text() for name in names][1] == "$x_1$, table 3 [7]"
    assert not any(name.get_parse_math() for name in names)
    assert not bars(SCORED[:1].drop(columns="source")).legends


@pytest.mark.parametrize("count", [1, 10, 11, 60])
def test_no_two_experiments_have_one_colour(count):
    assert len(set(palette(count))) == count


def test_many_experiments_are_told_apart_in_every_figure(tmp_path):
    names, files = [f"e{number}" for number in range(30)], []
    for name in names:
        for run in ("seed-0", "seed-1"):
            files.append(tmp_path / name / run / "history.csv")
            files[-1].parent.mkdir(parents=True)
            files[-1].write_text("step,cross_entropy\n1,0.5\n2,0.4\n")
    bins = pd.DataFrame({"experiment": names, "from": 0.0, "to": 0.1, "pixels": 9})
    bins = bins.assign(confidence=0.05, accuracy=0.5)

    for figure in (learning_curves(files), reliability_chart(bins)):
        figure.savefig(tmp_path / "figure.png", dpi=40)
        colours = {
            line.get_label(): tuple(line.get_color())
            for line in figure.axes[0].lines
            if line.get_label() in names
        }
        assert colours.keys() == set(names) and len(set(colours.values())) == 30
        assert len(figure.legends[0].get_texts()) == 30


def test_values_of_axes_are_words_whatever_they_look_like(tmp_path):
    file = tmp_path / "ablation.csv"
    file.write_text("grid,size,on,seeds,miou\ng,512,,2,0.5\ng,1e3,True,2,0.6\n")

    table = read_table(file)

    assert table["size"].tolist() == ["512", "1e3"] and table["on"].tolist()[1] == "True"
    assert table["miou"].tolist() == [0.5, 0.6]
