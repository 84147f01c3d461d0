"""What the figure of transfer shows: a panel a system, a cell for each source and target."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from pipeline_steps.presentation.transfer_chart import transfer_chart

TABLE = pd.DataFrame(
    {
        "experiment": ["a-near", "a-far", "b-near", "mean"],
        "system": ["a", "a", "b", "mean"],
        "source": ["near", "far", "near", "near+far"],
        "seeds": [2, 2, 2, 1],
        "miou_near": [0.8, 0.3, 0.7, 0.9],
        "miou_near_sd": [0.01, 0.02, 0.01, np.nan],
        "miou_far": [0.4, 0.75, np.nan, 0.6],
        "miou_far_sd": [0.02, 0.01, np.nan, np.nan],
        "drop": [0.35, 0.5, np.nan, np.nan],
        "drop_near": [np.nan, 0.5, np.nan, np.nan],
        "drop_far": [0.35, np.nan, np.nan, np.nan],
    }
)


def panels(table):
    """Return the panels of systems by their title."""
    return {axis.get_title(): axis for axis in transfer_chart(table).axes if axis.get_title()}


def written(axis):
    """Return what is printed in the cells, by row and column."""
    return {
        (round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axis.texts
    }


def outlined(axis):
    rectangles = [one for one in axis.patches if isinstance(one, Rectangle)]
    return {tuple(np.rint(np.array(one.get_center())[::-1]).astype(int)) for one in rectangles}


def test_every_system_is_a_panel_with_its_sources_down_and_the_targets_across():
    found = panels(TABLE)

    assert list(found) == ["a", "b", "mean"]
    for name, sources in {"a": ["near", "far"], "b": ["near"], "mean": ["near+far"]}.items():
        assert [t.get_text() for t in found[name].get_yticklabels()] == sources
        assert [t.get_text() for t in found[name].get_xticklabels()] == ["near", "far"]


def test_cells_print_their_miou_and_what_is_not_known_is_empty():
    found = panels(TABLE)

    assert written(found["a"]) == {
        (0, 0): "0.800",
        (0, 1): "0.400",
        (1, 0): "0.300",
        (1, 1): "0.750",
    }
    assert written(found["b"]) == {(0, 0): "0.700"}


def test_domains_that_were_learned_from_are_outlined():
    found = panels(TABLE)

    assert outlined(found["a"]) == {(0, 0), (1, 1)}
    assert outlined(found["mean"]) == {(0, 0), (0, 1)}


def test_systems_that_learned_from_one_and_the_same_share_a_panel():
    near = TABLE[TABLE["source"] == "near"]

    (axis,) = panels(near).values()

    assert axis.get_title() == "learned from near"
    assert [t.get_text() for t in axis.get_yticklabels()] == ["a", "b"]
    assert written(axis) == {(0, 0): "0.800", (0, 1): "0.400", (1, 0): "0.700"}
    assert outlined(axis) == {(0, 0), (1, 0)}


def test_names_are_taken_as_they_are():
    table = TABLE.replace({"system": {"a": "$a_b$"}, "source": {"near": "$x$"}})
    figure = transfer_chart(table.rename(columns={"miou_near": "miou_$x$"}))

    shown = [t for t in figure.findobj(Text) if "$" in t.get_text()]
    assert len(shown) >= 5 and not any(t.get_parse_math() for t in shown)


@pytest.mark.parametrize("systems", [1, 4, 5, 9])
def test_many_systems_take_several_rows_of_panels(tmp_path, systems):
    table = pd.concat([TABLE[:2].assign(system=f"s{n}") for n in range(systems)])

    figure = transfer_chart(table)
    figure.savefig(tmp_path / "figure.png", dpi=40)

    assert sum(axis.has_data() for axis in figure.axes) >= systems
    assert len({round(axis.get_position().y0, 2) for axis in figure.axes if axis.get_title()}) == (
        -(-systems // 4)
    )


def test_a_table_without_any_score_is_drawn(tmp_path):
    table = TABLE[2:3].assign(miou_near=np.nan)

    transfer_chart(table).savefig(tmp_path / "figure.png", dpi=40)

    assert written(panels(table)["learned from near"]) == {}
