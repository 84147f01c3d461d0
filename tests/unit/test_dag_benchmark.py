"""What the benchmark of the DAG counts on: its studies are finished, and growth is of the jobs."""

import pytest

from tests.benchmarks import dag


def runs(took, empty=1.0):
    """Runs of each size that took so many seconds."""
    return {f"noop {n}": [{"cpu_s": s}] * 2 for n, s in took.items()} | {
        "empty": [{"cpu_s": empty}]
    }


def test_what_takes_the_same_for_each_job_grows_as_the_jobs():
    found = dag._growth(runs({1: 2.0, 2: 11.0, 3: 101.0}), {1: 1, 2: 10, 3: 100}, "cpu_s", "_s")

    assert found == {"growth_s": 1.0, "slope_s": 1.0}


def test_what_takes_more_for_each_job_the_more_there_are_grows_faster():
    found = dag._growth(runs({1: 2.0, 2: 11.0, 3: 1001.0}), {1: 1, 2: 10, 3: 100}, "cpu_s", "")

    assert found == {"growth": 10.0, "slope": 11.0}


def test_one_size_says_nothing_of_growth():
    assert dag._growth(runs({1: 2.0}), {1: 1}, "cpu_s", "") == {"growth": None, "slope": None}


@pytest.mark.slow
def test_a_study_whose_jobs_were_recorded_as_finished_has_nothing_to_do(tmp_path):
    took = {}

    jobs = dag._measure(tmp_path, 2, 1, took)

    # all, check, stretch, fetch, adapt, gather, tabulate, report; tiles, and depth by both
    # teachers; strata of the one that is tested; a training, a map and its counts of each run
    assert jobs == 8 + 2 + 4 + 1 + 3 * dag.EXPERIMENTS * dag.SEEDS
    assert took.keys() == {"fresh 2", "dry 2", "noop 2"}
    assert all(run["peak_rss_gb"] > 0 for some in took.values() for run in some)
