"""What the benchmark of prediction counts on: windows alike, probabilities, seams, ratios."""

import json

import numpy as np
import pytest
import torch

from pipeline_steps.rasters.windows import starts
from tests.benchmarks.figures import BEGIN, END, summary, write_markdown
from tests.benchmarks.peers.measuring import Job
from tests.benchmarks.peers.networks import Edge, Stub
from tests.benchmarks.seams import seam


def job(window=518, overlap=104):
    return Job("", "", "", "stub", "", window, overlap, 4, 1, "fp32")


@pytest.mark.parametrize("size", [518, 519, 1036, 2048, 8192])
def test_peers_have_the_windows_of_ours(size):
    assert job().starts(size) == starts(size, 518, 104 / 518)


@pytest.mark.parametrize("network", [Stub, Edge])
def test_what_costs_nothing_still_gives_probabilities_that_depend_on_pixels(network):
    torch.manual_seed(0)
    said = network(32)(torch.rand(2, 3, 32, 32)).detach()

    assert said.shape == (2, 6, 32, 32)
    assert said.min() >= -1e-6
    torch.testing.assert_close(said.sum(1), torch.ones(2, 32, 32))
    assert len(said.argmax(1).unique()) > 1


def test_a_step_at_a_line_is_a_seam_and_one_elsewhere_is_none():
    ramp = np.tile(np.arange(64), (64, 1))
    stepped = ramp + 10 * (ramp >= 32)

    def change(a, b):
        return np.abs(a - b)

    assert seam(ramp, [[], [32]], change) == pytest.approx(125 / 62)
    assert seam(stepped, [[], [32]], change) > 10 * seam(stepped, [[], [31]], change)
    assert seam(np.zeros((8, 8)), [[4], [4]], change) is None


def rows():
    """Two rounds of one case: the network takes a second a window, ours half of naive's rest."""
    one = {"network": "stub", "size": 1024, "peak_rss_gb": 1.0, "versions": {"torch": "1"}}
    for number in range(2):
        yield one | {"contestant": "bare", "windows": 2, "seconds": 2, "cpu_s": 2, "round": number}
        for name, windows, seconds, cpu, rss in (
            ("tile", None, 1, 1, 0.1),
            ("ours", 4, 5, 6, 0.2),
            ("naive", 4, 10, 8, 0.8),
        ):
            took = {"seconds": seconds, "cpu_s": cpu, "work_rss_gb": rss, "round": number}
            row = one | {"contestant": name} | took
            yield row if windows is None else row | {"windows": windows}


def test_ratios_leave_out_the_network_and_are_given_with_and_without_tiling():
    found = summary(list(rows()))

    assert found["overhead_to_best_peer"] == 0.5
    assert found["overhead_with_tile_to_best_peer"] == 0.75
    assert found["rss_to_best_peer"] == 0.25
    assert found["throughput_to_best_peer"] == 2
    assert found["throughput_to_network"] == 0.8
    assert found["rss_growth"] is None


def test_memory_grows_by_what_ours_runs_alone():
    alone = {"network": "stub", "size": 4096, "contestant": "ours", "round": 0, "cpu_s": 9}
    alone |= {"seconds": 9, "windows": 4, "peak_rss_gb": 1.5, "work_rss_gb": 0.7}
    bare = alone | {"contestant": "bare"}

    assert summary([*rows(), bare, alone])["rss_growth"] == 1.5


def test_a_table_takes_the_marked_place_and_no_other(tmp_path):
    runs = list(rows())
    machine = {"processor": "x", "cores": 2, "memory_gib": 1, "gpu": None, "python": "3"}
    found = summary(runs) | {"runs": runs, "machine": machine | {"versions": {}}}
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")

    write_markdown(page, json.loads(json.dumps(found)))

    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| stub" in text
    (tmp_path / "other.md").write_text("no place")
    with pytest.raises(ValueError, match="no marks"):
        write_markdown(tmp_path / "other.md", found)
