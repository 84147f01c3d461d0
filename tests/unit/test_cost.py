"""What experiments cost: from jobs' run times and the manifests of trainings."""

import math

import pytest

from pipeline_steps.presentation.cost import cost_table

HEADER = "s\th:m:s\tmax_rss\tmax_vms\n"


def timed(folder, *jobs):
    """Leave a job's run times as Snakemake writes them, a row each time it was repeated."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{seconds}\t0:00:01\t{megabytes}\t-\n" for seconds, megabytes in jobs]
    folder.write_text(HEADER + "".join(rows))


def trained(gpu_gb=None, **parts):
    return {"parameters": parts, "gpu_gb": gpu_gb}


def test_time_is_the_mean_over_runs_and_memory_the_most(tmp_path):
    timed(tmp_path / "train" / "deep" / "seed-0.tsv", (100, 2000))
    timed(tmp_path / "train" / "deep" / "seed-1.tsv", (120, 3000), (140, 1000))
    for run, seconds in (("seed-0", 5), ("seed-1", 7)):
        for scene in ("harbour", "market"):
            timed(tmp_path / "predict" / "deep" / run / f"{scene}.tsv", (seconds, 1500))
        # mapped, and no test scene
        timed(tmp_path / "predict" / "deep" / run / "new.tsv", (1000, 9000))
    models = {"deep": [trained(4.5, encoder=(22_000_000, 0), decoder=(1_000_000, 1_000_000))]}
    models["deep"].append(trained(6.5, encoder=(22_000_000, 0), decoder=(1_000_000, 1_000_000)))

    runs = {"deep": {run: ["harbour", "market"] for run in ("seed-0", "seed-1")}}
    (row,) = cost_table(models, runs, tmp_path).to_dict("records")

    assert (row["experiment"], row["runs"]) == ("deep", 2)
    assert row["train_s"] == pytest.approx((100 + 130) / 2)
    assert row["train_s_sd"] == pytest.approx(30 / math.sqrt(2))
    assert row["train_gb"] == pytest.approx(3.0)
    assert row["map_s"] == pytest.approx((2 * 5 + 2 * 7) / 2)
    assert row["map_gb"] == pytest.approx(1.5)
    assert (row["parameters_m"], row["trained_m"]) == (23.0, 1.0)
    assert row["gpu_gb"] == 6.5


def test_what_was_not_measured_is_unknown(tmp_path):
    runs = {"bare": {"seed-0": ["town", "port"]}, "together": {"seeds": ["town"]}}
    timed(tmp_path / "predict" / "bare" / "seed-0" / "town.tsv", (5, 1500))

    bare, together = cost_table({"bare": [trained(None, encoder=(9, 3))]}, runs, tmp_path).to_dict(
        "records"
    )

    for row in (bare, together):
        names = ("train_s", "train_gb", "gpu_gb", "map_s", "map_gb")
        assert all(math.isnan(row[name]) for name in names)
    assert bare["trained_m"] == pytest.approx(3e-6)
    assert math.isnan(together["parameters_m"])
