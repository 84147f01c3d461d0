"""The tiny study through Snakemake: what it leaves, and what a change makes stale."""

import json
import os
import shutil

import pandas as pd
import pytest
import rasterio

from pipeline_steps.study.ancestry import ancestry_of, checked
from tests.data.contract import CHECK, CONTRACT, DOCS, edited, table
from tests.data.studies import stale, without_network

pytestmark = pytest.mark.slow


def test_ends_with_a_row_for_each_experiment(finished):
    overall = pd.read_csv(finished / "results" / "tabulate" / "overall.csv")
    assert list(overall["experiment"]) == ["depthseg", "elevation"]
    scores = ("miou", "kappa", "oa", "aa", "boundary_iou", "block_miou")
    columns = [name + end for name in scores for end in ("", "_sd")]
    assert list(overall.columns) == ["experiment", "seeds", *columns]


def test_maps_lie_on_the_grid_of_the_image_with_a_colour_table(finished):
    image = finished / "results" / "synthesize" / "harbour" / "image.tif"
    maps = sorted((finished / "results" / "predict").glob("*/seed-0/harbour/classes.tif"))
    assert len(maps) == 2
    for path in maps:
        with rasterio.open(image) as source, rasterio.open(path) as target:
            assert (target.crs, target.transform, target.shape) == (
                source.crs,
                source.transform,
                source.shape,
            )
            assert target.colormap(1)[0][:3] == (200, 55, 45)


def test_leaves_a_page_with_a_figure_of_each_test_scene_and_nothing_half_written(finished):
    report = finished / "results" / "report"
    assert "data:image/png;base64" in (report / "index.html").read_text()
    assert (report / "figures" / "scene_harbour.png").stat().st_size > 10_000
    assert not list((finished / "results").rglob("*partial*"))


@pytest.mark.skipif(not without_network(), reason="needs a namespace of its own (unshare)")
def test_no_stage_needs_a_network(finished):
    # it ran where there was none; a model that is drawn is fetched from nowhere
    assert (finished / "results" / "report" / "index.html").is_file()


def test_a_second_run_has_nothing_to_do(finished, source):
    assert stale(source, finished / "study.yaml") == {}


def test_a_flipped_byte_of_any_file_is_found_along_the_lineage_of_the_report(finished):
    report, results = finished / "results" / "report", finished / "results"
    files = [p for p in results.rglob("*") if p.is_file() and p.name != ".snakemake_timestamp"]
    assert checked(ancestry_of(report))[1] == []
    for file in files:
        before, times = file.read_bytes(), file.stat()
        place = len(before) // 2
        # one that is empty, since nothing was corrupted, gets a byte
        flipped = bytes([before[place] ^ 1]) if before else b"x"
        file.write_bytes(before[:place] + flipped + before[place + 1 :])
        try:
            wrong = [one.path for one in checked(ancestry_of(report))[1]]
        except ValueError as error:
            # without its manifest nothing is known of the report
            assert file == report / "manifest.json", error
            continue
        finally:
            file.write_bytes(before)
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
        assert {file, *file.parents} & set(wrong), file


def test_tables_and_report_carry_one_digest_of_the_study(finished):
    results = finished / "results"
    study = json.loads((results / "tabulate" / "manifest.json").read_text())["study"]

    tables = list((results / "tabulate").glob("*.md"))
    assert tables and all(study in table.read_text() for table in tables)
    assert not [table for table in tables if study in table.with_suffix(".csv").read_text()]
    assert study in (results / "report" / "index.html").read_text()


@pytest.mark.parametrize("edit", CONTRACT, ids=lambda edit: edit.words)
def test_an_edit_makes_just_its_rules_run(finished, source, edit):
    with edited(finished, source, edit) as project:
        found = stale(source, project.study, env=project.environment)

    assert (found if isinstance(edit.rules, dict) else set(found)) == edit.rules


def test_the_manual_has_the_contract():
    """``python -m tests.data.contract`` writes it anew."""
    assert DOCS.read_text(encoding="utf-8").endswith(f"\n\n{table()}\n")
    assert len(CONTRACT) >= 30 and len({edit.words for edit in CONTRACT}) == len(CONTRACT)


def test_what_was_edited_is_put_back(finished, source):
    """After all of them, in whatever order."""
    for edit in CONTRACT:
        with edited(finished, source, edit):
            pass

    assert stale(source, finished / "study.yaml") == {}


def test_a_study_that_is_moved_computes_nothing_anew(finished, source, tmp_path):
    moved = shutil.copytree(finished, tmp_path / "moved")  # with the times of its files
    assert set(stale(source, moved / "study.yaml")) == CHECK
