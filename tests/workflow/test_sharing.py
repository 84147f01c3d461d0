"""Networks and pseudo-depth are computed once for studies that share a cache, wherever they lie."""

import json
import shutil
import subprocess
import sys

import pytest

from tests.data.studies import copied, environment, row, snakemake, tiny_study, write_study
from tests.workflow.test_trouble import write_scene

pytestmark = pytest.mark.slow

TEACHER = "tiny-depth-anything"
FETCHED = f"results/fetch/{TEACHER}/manifest.json"
DEPTH = f"results/depth/{TEACHER}/{{}}/manifest.json"
GOOD = DEPTH.format("good")


def study_over(folder, data, scene="good", **sections):
    """Write a study of the scenes in ``data``, of which the first is called ``scene``."""
    config = tiny_study() | {"data_root": str(data)}
    del config["synthesize"]
    config["depth"] |= {"backend": "torch"}
    for section, keys in sections.items():
        config[section] = config.get(section, {}) | keys
    rows = [row("good", "train").replace("good", scene, 1), row("other", "test")]
    return write_study(folder, config, rows)


def made(source, study, cache, depth=GOOD, how=()):
    """Make one scene's pseudo-depth; return which stages have run, by the logs that they leave."""
    shutil.rmtree(study.parent / "logs", ignore_errors=True)
    shared = {"SNAKEMAKE_OUTPUT_CACHE": str(cache)}
    done = snakemake(source, study, "--cache", "fetch", "depth", *how, "--", depth, env=shared)
    assert done.returncode == 0, done.stderr
    logs = study.parent / "logs"
    # where nothing has run Snakemake leaves an empty one
    return {log.relative_to(logs).parts[0] for log in logs.glob("*/**/*.log") if log.stat().st_size}


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A study that has filled a cache, and the cache."""
    folder = tmp_path_factory.mktemp("first")
    for name in ("good", "other"):
        write_scene(folder / "data" / name)
    cache = tmp_path_factory.mktemp("cache")
    study = study_over(folder / "study", folder / "data")
    assert made(copied(folder / "depthseg"), study, cache) == {"fetch", "tile", "depth"}
    return study.parent, cache


def test_another_study_in_another_checkout_takes_them_from_the_cache(tmp_path, first):
    theirs, cache = first
    shutil.copytree(theirs.parent / "data", tmp_path / "elsewhere")
    source = copied(tmp_path / "checkout")
    sections = {"train": {"lr": 0.001}, "predict": {"overlap": 0.5}, "tabulate": {"digits": 2}}
    study = study_over(tmp_path / "runs" / "mine", tmp_path / "elsewhere", **sections)

    assert made(source, study, cache) == {"tile"}

    for file in (FETCHED, GOOD):
        assert (study.parent / file).read_bytes() == (theirs / file).read_bytes()
    # every byte is what the manifests say
    lineage = [sys.executable, "-m", "pipeline_steps.lineage", GOOD, "--verify", "--data-root"]
    found = subprocess.run(
        [*lineage, str(tmp_path / "elsewhere")],
        cwd=study.parent,
        env=environment() | {"PYTHONPATH": str(source)},
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    # and what is changed in one study leaves the other's alone
    before = (theirs / GOOD).read_bytes()
    config = {**sections, "depth": {"overlap": 0.5}}
    changed = study_over(tmp_path / "runs" / "mine", tmp_path / "elsewhere", **config)
    assert made(source, changed, cache) == {"depth"}
    assert json.loads((study.parent / GOOD).read_text())["params"]["overlap"] == 0.5
    assert (theirs / GOOD).read_bytes() == before


def test_a_scene_of_another_name_is_not_taken_for_this_one(tmp_path, first):
    theirs, cache = first
    study = study_over(tmp_path / "study", theirs.parent / "data", scene="renamed")

    ran = made(theirs.parent / "depthseg", study, cache, DEPTH.format("renamed"))

    assert ran == {"tile", "depth"}
    facts = json.loads((study.parent / DEPTH.format("renamed")).read_text())
    assert facts["scene"] == "renamed"


def test_jobs_of_a_cluster_share_as_well(tmp_path, first):
    theirs, cache = first
    source = theirs.parent / "depthseg"
    # as in a job: it knows one rule, and what comes before lies there
    job = ["--mode", "remote", "--allowed-rules", "depth", "--force", "--nolock"]
    study = study_over(tmp_path / "study", theirs.parent / "data", tabulate={"digits": 2})
    assert made(source, study, cache) == {"tile"}

    assert made(source, theirs / "study.yaml", cache, how=job) == {"depth"}
    assert made(source, study, cache, how=job) == set()

    assert (study.parent / GOOD).read_bytes() == (theirs / GOOD).read_bytes()
