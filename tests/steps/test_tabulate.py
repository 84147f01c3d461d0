import csv
import html
import json
import math
import re

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from pipeline_steps import gather, tabulate
from pipeline_steps.metrics.confusion import scores
from pipeline_steps.presentation.counts import read_counts
from pipeline_steps.presentation.depth_tables import PREDICTED
from pipeline_steps.presentation.transfer import rivals
from pipeline_steps.study.cells import Cell
from pipeline_steps.study.transfer import Learner, Target, Transfer

TABLES = (
    *("overall", "differences", "classes", "confusion", "scenes", "strata", "calibration"),
    *("reliability", "cost", "depth", "depth_classes"),
)
SCORES = ("miou", "kappa", "oa", "aa", "block_miou")
OVERALL = ["experiment", "seeds", *(name + end for name in SCORES for end in ("", "_sd"))]
NAMES = ["roof", "road"]
EMPTY = [[0, 0], [0, 0]]
GOOD, FAIR = [[3, 1], [0, 4]], [[2, 2], [0, 4]]
"""OA 7/8 and 6/8; kappa 3/4 and 1/2; IoU 3/4, 4/5 and 2/4, 4/6."""


def counted(
    folder,
    experiment,
    seed,
    scene,
    matrix,
    names=NAMES,
    fold=None,
    blocks=None,
    rims=None,
    confidence=None,
    depth=None,
    **strata,
):
    """Write the counts of one map, as ``score`` does."""
    run = f"seed-{seed}" + ("" if fold is None else f"-fold-{fold}")
    file = folder / experiment / run / f"{scene}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    found = {"experiment": experiment, "seed": seed, "fold": fold, "scene": scene}
    found |= {"classes": names, "rims": rims, "confidence": confidence, "depth": depth}
    found["blocks"] = [{"counts": np.array(one).tolist()} for one in blocks or [matrix]]
    strata = {"all": matrix} | strata
    file.write_text(
        json.dumps(found | {"strata": {k: np.array(m).tolist() for k, m in strata.items()}})
    )
    return file


NOWHERE = Transfer(targets=(), learners=())


def made(
    folder,
    counts,
    qualities=(),
    digits=3,
    leaks=(),
    divided=(),
    cells=(),
    models=(),
    transfer=NOWHERE,
    corruptions=(),
    **settings,
):
    """Tabulate; ``leaks`` are what ``check`` measured, ``divided`` the manifests of divisions."""
    tables, findings, splits = folder / "tables", folder / "findings.json", []
    findings.write_text(json.dumps({"leaks": list(leaks)}))
    for number, facts in enumerate(divided):
        splits.append(folder / f"division-{number}.json")
        splits[-1].write_text(json.dumps(facts))
    params = tabulate.Params(digits=digits, **settings)
    gather.run(counts, list(corruptions), list(qualities), folder / "gather")
    inputs = (
        *gather.places_in(folder / "gather"),
        splits,
        list(models),
        folder / "benchmarks",
        findings,
    )
    tabulate.run(*inputs, tables, list(cells), transfer, params)
    return tables


def read(tables, name):
    """Return the rows of a table as they stand in the CSV file."""
    with (tables / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def body(file):
    """Return a table without what stands below it."""
    end = "</table>" if file.suffix == ".html" else r"\end{tabular}"
    text, found, _ = file.read_text(encoding="utf-8").partition(end)
    return text + found


def one(values):
    (row,) = values
    return row


@pytest.fixture
def two_seeds(tmp_path):
    return [counted(tmp_path, "deep", seed, "town", m) for seed, m in enumerate((GOOD, FAIR))]


def test_every_table_comes_as_csv_markdown_latex_and_html(tmp_path, two_seeds):
    tables = made(tmp_path, two_seeds)

    expected = {f"{name}.{kind}" for name in TABLES for kind in ("csv", "md", "tex", "html")}
    assert {file.name for file in tables.iterdir()} == expected | {"manifest.json"}
    assert all(file.read_text(encoding="utf-8").strip() for file in tables.iterdir())


def test_scores_are_means_over_seeds_with_the_standard_deviation_of_a_sample(tmp_path, two_seeds):
    row = one(read(made(tmp_path, two_seeds), "overall"))

    assert list(row) == OVERALL
    assert (row["experiment"], row["seeds"]) == ("deep", "2")
    root = math.sqrt(2)  # two values d apart have a sample's deviation of d / √2
    expected = {
        "oa": (13 / 16, 1 / 8 / root),
        "kappa": (5 / 8, 1 / 4 / root),
        "miou": ((31 / 40 + 7 / 12) / 2, (31 / 40 - 7 / 12) / root),
    }
    for name, (mean, sd) in expected.items():
        assert float(row[name]) == pytest.approx(mean, abs=1e-12)
        assert float(row[f"{name}_sd"]) == pytest.approx(sd, abs=1e-12)


def test_the_deviation_of_three_seeds_is_a_samples_too(tmp_path):
    matrices = [[[9, 1], [0, 0]], [[8, 2], [0, 0]], [[4, 6], [0, 0]]]
    counts = [counted(tmp_path, "deep", seed, "a", m) for seed, m in enumerate(matrices)]

    row = one(read(made(tmp_path, counts), "overall"))

    assert float(row["oa"]) == pytest.approx(0.7)
    assert float(row["oa_sd"]) == pytest.approx(math.sqrt((0.04 + 0.01 + 0.09) / 2))


def test_one_seed_has_no_deviation(tmp_path):
    tables = made(tmp_path, [counted(tmp_path, "deep", 0, "town", GOOD)])

    row = one(read(tables, "overall"))
    assert not any(row[name] for name in OVERALL if name.endswith("_sd"))
    assert float(row["oa"]) == 7 / 8
    for name in ("overall", "classes", "scenes", "strata"):
        assert "±" not in body(tables / f"{name}.html")
        assert "pm" not in body(tables / f"{name}.tex")


def test_counts_are_summed_over_scenes_before_any_score_is_taken(tmp_path):
    small, large = [[1, 0], [1, 0]], [[40, 0], [20, 40]]
    counts = [
        counted(tmp_path, "deep", 0, "small", small),
        counted(tmp_path, "deep", 0, "large", large),
    ]

    tables = made(tmp_path, counts)

    row = one(read(tables, "overall"))
    assert float(row["oa"]) == pytest.approx(81 / 102)
    assert float(row["miou"]) == pytest.approx((41 / 62 + 40 / 61) / 2)
    scenes = {row["scene"]: row for row in read(tables, "scenes")}
    assert list(scenes) == ["small", "large"]
    assert float(scenes["small"]["oa"]) == pytest.approx(1 / 2)
    assert float(scenes["large"]["oa"]) == pytest.approx(80 / 100)


def test_an_ensemble_of_all_seeds_is_one_run(tmp_path, two_seeds):
    tables = made(tmp_path, [*two_seeds, counted(tmp_path, "mean", None, "town", GOOD)])

    row = read(tables, "overall")[1]
    assert (row["experiment"], row["seeds"], row["miou_sd"]) == ("mean", "1", "")


def test_scenes_are_summed_within_a_seed_and_never_over_seeds(tmp_path):
    parts = {
        (0, "a"): [[1, 1], [0, 0]],
        (0, "b"): [[2, 0], [0, 4]],
        (1, "a"): FAIR,
        (1, "b"): EMPTY,
    }
    counts = [counted(tmp_path, "deep", *key, matrix) for key, matrix in parts.items()]

    row = one(read(made(tmp_path, counts), "overall"))

    assert row["seeds"] == "2"
    assert float(row["oa"]) == pytest.approx(13 / 16)
    assert float(row["oa_sd"]) == pytest.approx(1 / 8 / math.sqrt(2))


def test_folds_are_summed_to_one_seed_whether_they_share_a_scene_or_not(tmp_path):
    parts = {
        (0, 0, "a"): [[2, 0], [0, 1]],
        (0, 0, "both"): [[1, 1], [0, 0]],
        (0, 1, "both"): [[0, 0], [2, 1]],
        (1, 0, "a"): GOOD,
        (1, 1, "both"): EMPTY,
    }
    counts = [
        counted(tmp_path, "deep", seed, scene, matrix, fold=fold)
        for (seed, fold, scene), matrix in parts.items()
    ]

    tables = made(tmp_path, counts)

    row = one(read(tables, "overall"))
    assert row["seeds"] == "2"
    assert float(row["oa"]) == pytest.approx((5 / 8 + 7 / 8) / 2)
    assert float(row["oa_sd"]) == pytest.approx((7 / 8 - 5 / 8) / math.sqrt(2))
    classes = {row["class"]: row for row in read(tables, "classes")}
    assert (classes["roof"]["support"], classes["road"]["support"]) == ("4", "4")
    scenes = {row["scene"]: row for row in read(tables, "scenes")}
    assert scenes.keys() == {"a", "both"}
    assert float(scenes["a"]["oa"]) == pytest.approx((1 + 7 / 8) / 2)


def test_scores_agree_with_scikit_learn(tmp_path):
    rng = np.random.default_rng(0)
    names = ["a", "b", "c", "d"]
    truth = rng.choice(4, 3000, p=[0.5, 0.3, 0.15, 0.05])
    counts, expected, by_class = [], [], []
    for seed in range(3):
        guess = np.where(rng.random(3000) < 0.4 + 0.2 * seed, truth, rng.integers(0, 4, 3000))
        for scene, part in (("x", slice(0, 700)), ("y", slice(700, None))):
            matrix = metrics.confusion_matrix(truth[part], guess[part], labels=range(4))
            counts.append(counted(tmp_path, "deep", seed, scene, matrix, names))
        expected.append(
            {
                "miou": metrics.jaccard_score(truth, guess, average="macro"),
                "kappa": metrics.cohen_kappa_score(truth, guess),
                "oa": metrics.accuracy_score(truth, guess),
            }
        )
        precision, recall, f1, support = metrics.precision_recall_fscore_support(truth, guess)
        iou = metrics.jaccard_score(truth, guess, average=None)
        by_class.append({"iou": iou, "f1": f1, "precision": precision, "recall": recall})

    tables = made(tmp_path, counts)

    row = one(read(tables, "overall"))
    for name in ("miou", "kappa", "oa"):
        values = pd.Series([scores[name] for scores in expected])
        assert float(row[name]) == pytest.approx(values.mean(), rel=1e-12)
        assert float(row[f"{name}_sd"]) == pytest.approx(values.std(), rel=1e-9)
    for k, row in enumerate(read(tables, "classes")):
        assert (row["class"], int(row["support"])) == (names[k], support[k])
        for name in ("iou", "f1", "precision", "recall"):
            values = pd.Series([scores[name][k] for scores in by_class])
            assert float(row[name]) == pytest.approx(values.mean(), rel=1e-12)
            assert float(row[f"{name}_sd"]) == pytest.approx(values.std(), rel=1e-9)


def test_classes_have_a_row_each_for_every_experiment(tmp_path, two_seeds):
    counts = [*two_seeds, counted(tmp_path, "bare", 0, "town", FAIR)]

    rows = read(made(tmp_path, counts), "classes")

    scores = ("iou", "f1", "precision", "recall")
    pairs = [column for score in scores for column in (score, f"{score}_sd")]
    assert list(rows[0]) == ["experiment", "class", *pairs, "support"]
    assert [(row["experiment"], row["class"]) for row in rows] == [
        ("deep", "roof"),
        ("deep", "road"),
        ("bare", "roof"),
        ("bare", "road"),
    ]
    assert float(rows[0]["iou"]) == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert float(rows[0]["recall"]) == pytest.approx((3 / 4 + 2 / 4) / 2)
    assert float(rows[0]["precision"]) == 1
    assert float(rows[3]["precision"]) == pytest.approx(4 / 6)
    assert [row["support"] for row in rows] == ["4"] * 4


def test_a_class_that_is_nowhere_is_left_out_and_shown_as_nothing(tmp_path):
    matrix = [[3, 1, 0], [0, 4, 0], [0, 0, 0]]
    tables = made(tmp_path, [counted(tmp_path, "deep", 0, "a", matrix, ["a", "b", "gone"])])

    row = read(tables, "classes")[2]
    assert (row["class"], row["iou"], row["recall"], row["support"]) == ("gone", "", "", "0")
    assert float(one(read(tables, "overall"))["miou"]) == pytest.approx((3 / 4 + 4 / 5) / 2)
    assert "nan" not in (tables / "classes.html").read_text(encoding="utf-8").lower()


def test_experiments_keep_the_order_of_their_counts(tmp_path):
    names = ["zebra", "ape", "mule"]
    counts = [counted(tmp_path, name, 0, scene, GOOD) for name in names for scene in ("b", "a")]

    tables = made(tmp_path, counts)

    assert [row["experiment"] for row in read(tables, "overall")] == names
    assert [(row["scene"], row["experiment"]) for row in read(tables, "scenes")] == [
        (scene, name) for scene in ("b", "a") for name in names
    ]
    text = (tables / "overall.md").read_text(encoding="utf-8")
    assert text.index("zebra") < text.index("ape") < text.index("mule")


def test_strata_have_their_own_scores_and_tell_how_many_pixels_they_are(tmp_path):
    counts = [
        counted(tmp_path, name, seed, scene, matrix, boundary=[[0, 1], [0, 1]])
        for name in ("deep", "bare")
        for seed, matrix in enumerate((GOOD, FAIR))
        for scene in ("a", "b")
    ]

    rows = read(made(tmp_path, counts), "strata")

    assert list(rows[0]) == ["stratum", *OVERALL[:-2], "pixels"]
    assert [(row["stratum"], row["experiment"], row["pixels"]) for row in rows] == [
        ("all", "deep", "16"),
        ("all", "bare", "16"),
        ("boundary", "deep", "4"),
        ("boundary", "bare", "4"),
    ]
    assert float(rows[0]["oa"]) == pytest.approx(13 / 16)
    assert (float(rows[2]["oa"]), float(rows[2]["oa_sd"])) == (0.5, 0)


def test_a_stratum_without_pixels_is_shown_as_nothing(tmp_path):
    counts = [counted(tmp_path, "deep", 0, "a", GOOD, boundary=EMPTY)]

    tables = made(tmp_path, counts)

    row = read(tables, "strata")[1]
    assert (row["miou"], row["kappa"], row["oa"], row["pixels"]) == ("", "", "", "0")
    assert "nan" not in (tables / "strata.md").read_text(encoding="utf-8").lower()


MEASURES = (
    *("windows", "window_px", "disagreement_before", "disagreement"),
    *("seam_unblended", "seam", "low", "high"),
    *("spearman", "auc_tall", "delta1", "aligned_mae_m", "constant_mae_m"),
    *("aligned_rmse_m", "constant_rmse_m", "least_mae_m", "median_mae_m"),
)


def quality(folder, teacher, scene, *rasters):
    """Write what ``depth`` says of a scene: each raster's measures, and those of its classes."""
    file = folder / f"{teacher}-{scene}.json"
    rasters = [{"name": f"{n}", "classes": {}} | one for n, one in enumerate(rasters)]
    file.write_text(json.dumps({"teacher": teacher, "scene": scene, "rasters": rasters}))
    return file


def of_class(pixels, height, rho, mae, rmse):
    names = ("pixels", "mean_height_m", "spearman", "aligned_mae_m", "aligned_rmse_m")
    return dict(zip(names, (pixels, height, rho, mae, rmse), strict=True))


def test_depth_is_a_mean_over_the_rasters_that_have_a_measure(tmp_path):
    rasters = [dict.fromkeys(MEASURES, 1.0), dict.fromkeys(MEASURES, 0.5) | {"spearman": None}]
    blind = dict.fromkeys(MEASURES) | {"seam": 2.0}
    files = [
        quality(tmp_path, "net", "town", *rasters),
        quality(tmp_path, "net", "new", blind),
    ]

    tables = made(tmp_path, [counted(tmp_path, "deep", 0, "a", GOOD)], files)

    town, new = read(tables, "depth")
    assert list(town) == ["teacher", "scene", "rasters", *MEASURES]
    assert (town["teacher"], town["scene"], town["rasters"]) == ("net", "town", "2")
    assert float(town.pop("spearman")) == 1
    assert {float(town[measure]) for measure in MEASURES if measure in town} == {0.75}
    assert (float(new["seam"]), new["spearman"], new["auc_tall"]) == (2, "", "")


def test_elevation_as_the_teacher_has_no_windows(tmp_path, two_seeds):
    measures = {name: 1.0 for name in MEASURES if "window" not in name and "disagree" not in name}

    tables = made(tmp_path, two_seeds, [quality(tmp_path, "elevation", "town", measures)])

    row = one(read(tables, "depth"))
    assert [name for name in MEASURES if not row[name]] == [
        *("windows", "window_px", "disagreement_before", "disagreement")
    ]


def test_readers_are_spared_columns_of_depth_that_the_csv_file_keeps(tmp_path, two_seeds):
    tables = made(
        tmp_path, two_seeds, [quality(tmp_path, "net", "town", dict.fromkeys(MEASURES, 0.5))]
    )

    for kind in ("md", "html", "tex"):
        text = (tables / f"depth.{kind}").read_text(encoding="utf-8").replace("\\_", "_")
        shown = text.partition("\n\n")[0] if kind == "md" else text
        assert "spearman" in shown and "aligned_rmse_m" in shown and "delta1" in shown
        assert "window_px" not in shown and "disagreement_before" not in shown
    assert {"window_px", "disagreement_before"} <= read(tables, "depth")[0].keys()


def test_classes_are_weighted_by_their_pixels_over_all_scenes_of_a_teacher(tmp_path, two_seeds):
    small = {"classes": {"road": of_class(100, 0.0, None, 0.5, 0.5)}}
    both = {
        "roof": of_class(300, 6.0, 0.2, 2.0, 3.0),
        "road": of_class(300, 1.0, 0.6, 1.5, 2.5),
    }
    large = {"classes": {"roof": of_class(100, 10.0, 0.6, 4.0, 5.0)}}
    files = [
        quality(tmp_path, "net", "town", small, {"classes": both}),
        quality(tmp_path, "net", "new", large),
        quality(tmp_path, "other", "new", large),
    ]

    rows = read(made(tmp_path, two_seeds, files), "depth_classes")

    assert [(row["teacher"], row["class"], row["pixels"]) for row in rows] == [
        ("net", "roof", "400"),
        ("net", "road", "400"),
        ("other", "roof", "100"),
    ]
    roof, road, _ = ({name: float(x) for name, x in list(row.items())[2:]} for row in rows)
    expected = of_class(400, 7.0, 0.3, 2.5, math.sqrt((3 * 9 + 25) / 4))
    assert roof == pytest.approx(expected)
    # the ρ of a class that is flat in one raster is that of the others
    assert road == pytest.approx(of_class(400, 0.75, 0.6, 1.25, math.sqrt((0.25 + 3 * 6.25) / 4)))


def test_tables_of_depth_have_notes_of_their_own(tmp_path, two_seeds):
    tables = made(tmp_path, two_seeds)

    notes = {
        name: (tables / f"{name}.md").read_text(encoding="utf-8").rpartition("\n\n")[2]
        for name in ("overall", "depth", "depth_classes")
    }
    assert "scale and shift of least squares" in notes["depth"]
    assert "least error that any scale and shift gives" in notes["depth"]
    assert "weighted by its pixels" in notes["depth_classes"]
    assert len(set(notes.values())) == 3


def test_a_study_without_depth_has_an_empty_table_of_depth(tmp_path, two_seeds):
    tables = made(tmp_path, two_seeds)

    assert read(tables, "depth") == []
    assert "spearman" in (tables / "depth.html").read_text(encoding="utf-8")


def test_a_mean_and_its_deviation_are_joined_and_rounded_for_people(tmp_path, two_seeds):
    tables = made(tmp_path, two_seeds, digits=4)

    text = {kind: (tables / f"overall.{kind}").read_text() for kind in ("md", "tex", "html", "csv")}
    assert "| 0.8125 ± 0.0884 |" in text["md"]
    assert "<td>0.8125 ± 0.0884</td>" in text["html"]
    assert r"0.8125 $\pm$ 0.0884" in text["tex"]
    assert "0.0883883476483" in text["csv"]
    for kind in ("md", "tex", "html"):
        assert "_sd" not in text[kind] and r"\_sd" not in text[kind]


def test_html_and_latex_keep_as_many_digits_as_asked(tmp_path):
    counts = [counted(tmp_path, "deep", 0, "a", [[1, 1], [1, 1]])]

    tables = made(tmp_path, counts, digits=6)

    assert "<td>0.500000</td>" in (tables / "overall.html").read_text()
    assert "& 0.500000 " in (tables / "overall.tex").read_text()


def test_the_note_tells_how_it_was_counted_and_what_a_constant_map_would_score(tmp_path):
    counts = [
        counted(tmp_path, "deep", 0, "a", [[3, 1], [0, 4]]),
        counted(tmp_path, "deep", 0, "b", [[0, 0], [6, 6]]),
    ]

    tables = made(tmp_path, counts)

    note = (tables / "overall.md").read_text(encoding="utf-8").rpartition("\n\n")[2]
    assert "summed over all test scenes" in note
    assert "± is the standard deviation over seeds" in note
    assert "Predicting 'road' everywhere: mIoU 0.400, OA 0.800." in note


def note_of(tables):
    return (tables / "overall.md").read_text(encoding="utf-8").rpartition("\n\n")[2].strip()


MEASURED = {"shared_m2": None, "nearest_m": None, "continuing": None, "same": None, "pair": None}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"shared_m2": 0.0, "nearest_m": 12.5}, "0 m² shared, nearest 12.5 m"),
        ({"shared_m2": 1234.5, "nearest_m": 0.0}, "1234.5 m² shared, nearest 0 m"),
        (
            {"continuing": 3, "same": 1},
            "4 pairs of images without georeference continue one another",
        ),
        (
            {"shared_m2": 0.0, "nearest_m": 7.0, "continuing": 0, "same": 0},
            "0 m² shared, nearest 7 m, 0 pairs of images without georeference continue one another",
        ),
        ({}, "not comparable"),
    ],
)
def test_the_note_tells_what_training_and_test_share(tmp_path, two_seeds, found, words):
    leak = {"between": "train and test"} | MEASURED | found

    note = note_of(made(tmp_path, two_seeds, leaks=[leak]))

    assert note.endswith(f" Leak: train and test: {words}.")


@pytest.mark.parametrize(("nearest", "words"), [(32.0, "32 m"), (None, "an unknown distance")])
def test_the_note_tells_how_far_apart_blocks_are(tmp_path, two_seeds, nearest, words):
    leaks = [{"between": f"train and test of fold {n}"} | MEASURED for n in range(2)]
    divided = [{"scene": "town", "nearest_m": nearest}]

    note = note_of(made(tmp_path, two_seeds, leaks=leaks, divided=divided))

    assert note.endswith(
        " Leak: train and test of fold 0: not comparable; train and test of fold 1: not comparable;"
        f" town: blocks of training and test at least {words} apart."
    )


def test_a_study_that_measured_no_leak_says_nothing_of_it(tmp_path, two_seeds):
    assert "Leak" not in note_of(made(tmp_path, two_seeds))


@pytest.mark.parametrize("scenes", [9, 10])
def test_blocks_are_kept_only_where_they_are_what_is_resampled(tmp_path, scenes):
    rng, counts = np.random.default_rng(0), []
    for number in range(scenes):
        blocks = rng.integers(1, 50, (5, 2, 2))
        matrix = blocks.sum(axis=0).tolist()
        counts.append(counted(tmp_path, "deep", 0, f"s{number}", matrix, blocks=blocks.tolist()))

    gather.run(counts, [], [], tmp_path / "gather")
    found = read_counts(gather.places_in(tmp_path / "gather")[0], "auto")

    assert {len(one["blocks"]) for one in found} == {5 if scenes == 9 else 1}
    for one, file in zip(found, counts, strict=True):
        assert (one["blocks"].sum(axis=0) == one["strata"]["all"]).all()
        told = [block["counts"] for block in json.loads(file.read_text())["blocks"]]
        assert one["block_mious"] == pytest.approx([scores(np.array(m)).miou for m in told])


ODD = ["a_b & 50 % of $x^2$", "<b>wild</b> {#}~\\", "“Grün”, 'é'", "[1] *|"]


def test_odd_class_names_are_escaped(tmp_path):
    counts = [counted(tmp_path, "deep", 0, "a", np.eye(4, dtype=int), ODD)]

    tables = made(tmp_path, counts)

    assert [row["class"] for row in read(tables, "classes")] == ODD
    page = (tables / "classes.html").read_text(encoding="utf-8")
    assert "<b>" not in page
    assert re.findall(r"<td>deep</td>\s*<td>(.*?)</td>", page) == [
        html.escape(name, quote=False) for name in ODD
    ]
    tex = (tables / "classes.tex").read_text(encoding="utf-8")
    assert r"a\_b \& 50 \% of \$x\textasciicircum{}2\$ & 1.000" in tex
    assert r"wild\textless{}/b\textgreater{} \{\#\}\textasciitilde{}\textbackslash{} & 1" in tex
    assert r"{[}1{]} {*}\textbar{} & 1.000" in tex
    assert "“Grün”" in (tables / "classes.md").read_text(encoding="utf-8")


def test_no_row_of_latex_begins_with_what_the_end_of_the_last_would_take(tmp_path, two_seeds):
    reported = tuple({"name": name, "miou": 0.5} for name in ("[7] a paper", "* another"))

    tables = made(tmp_path, two_seeds, reported=reported)

    rows = body(tables / "overall.tex").split("\\\\\n")
    assert not any(row.lstrip().startswith(("[", "*")) for row in rows)
    assert "{[}7{]} a paper & as reported" in body(tables / "overall.tex")


def test_what_stands_below_a_table_stands_there_in_every_form_for_people(tmp_path):
    counts = [counted(tmp_path, "deep", 0, "a", GOOD, ["a_b", "<c>"])]

    tables = made(tmp_path, counts, pairs=(("a_b", "<c>"),))

    for name in (*TABLES, "pairs"):
        _, digest, note = (tables / f"{name}.md").read_text(encoding="utf-8").split("\n\n")
        page = (tables / f"{name}.html").read_text(encoding="utf-8")
        below = re.findall(r'<p class="note">(.*?)</p>', page.partition("</table>")[2])
        assert [html.unescape(one) for one in below] == [digest, note.strip()]
        tex = (tables / f"{name}.tex").read_text(encoding="utf-8").partition(r"\end{tabular}")[2]
        assert digest in tex and r"\footnotesize" in tex
    assert r"Predicting 'a\_b' everywhere" in (tables / "overall.tex").read_text(encoding="utf-8")


def test_the_best_of_every_class_and_kind_of_ground_is_marked(tmp_path):
    worse = [[4, 0], [4, 0]]
    counts = [
        counted(tmp_path, name, 0, "town", matrix, wet=wet)
        for name, matrix, wet in (
            ("a", GOOD, worse),
            ("b", FAIR, GOOD),
            ("c", worse, FAIR),
        )
    ]

    tables = made(tmp_path, counts)

    def marked(table, score):
        """Return of every row whether it is the best (1), the second (2) or neither (0)."""
        text = body(tables / f"{table}.html")
        place = re.findall(r"<th>(.*?)</th>", text).index(score)
        rows = re.findall(r"<tr>(.*?)</tr>", text.partition("<tbody>")[2], re.DOTALL)
        cells = [re.findall(r"<td>(.*?)</td>", row)[place] for row in rows]
        return [{"<b": 1, "<u": 2}.get(cell[:2], 0) for cell in cells]

    # IoU of the first class 3/4, 2/4 and 4/8, of the second 4/5, 4/6 and 0
    assert marked("classes", "iou") == [1, 1, 2, 2, 2, 0]
    assert marked("classes", "precision") == [0] * 6
    assert marked("strata", "oa") == [1, 2, 0, 0, 1, 2]
    assert marked("scenes", "miou") == [1, 2, 0]


def test_experiments_and_columns_with_underscores_are_escaped_in_latex(tmp_path):
    tables = made(tmp_path, [counted(tmp_path, "deep_seg", 0, "a_b", GOOD)])

    assert r"a\_b & deep\_seg & 1 &" in (tables / "scenes.tex").read_text()
    assert r"aligned\_mae\_m" in (tables / "depth.tex").read_text()


def test_the_same_counts_give_the_same_bytes(tmp_path, two_seeds):
    first = {file.name: file.read_bytes() for file in made(tmp_path, two_seeds).iterdir()}
    again = {file.name: file.read_bytes() for file in made(tmp_path, two_seeds).iterdir()}

    assert first == again


def test_markdown_keeps_digits_and_names_that_look_like_numbers_or_table_rules(tmp_path):
    names = ["1e3", "a|b", "<b>"]
    counts = [counted(tmp_path, "007", 0, "a", np.eye(3, dtype=int), names)]

    tables = made(tmp_path, counts)

    rows = (tables / "overall.md").read_text(encoding="utf-8").splitlines()
    assert [cell.strip() for cell in rows[2].strip("|").split("|")] == [
        *("007", "1"),
        *["1.000"] * 4,
    ]
    classes = (tables / "classes.md").read_text(encoding="utf-8")
    assert "| 1e3 " in classes and r"| a\|b " in classes and "| &lt;b> " in classes


def gridded(folder):
    """Write the counts of two grids of two seeds; return them with what is known of their cells."""
    better = [[4, 0], [0, 4]]
    cells = {
        "t-S-neither": {"encoder": "S", "parts": "neither"},
        "t-S-both": {"encoder": "S", "parts": "both"},
        "t-B-neither": {"encoder": "B", "parts": "neither"},
        "t-B-both": {"encoder": "B", "parts": "both"},
        "c-none": {"control": "none"},
    }
    matrices = {"t-S-neither": FAIR, "t-S-both": GOOD, "t-B-neither": GOOD}
    counts = [
        counted(folder, name, seed, "town", matrices.get(name, better))
        for name in ("plain", *cells)
        for seed in (0, 1)
    ]
    return counts, [
        Cell(experiment=name, grid=name[0], values=values) for name, values in cells.items()
    ]


def test_ablations_have_a_row_for_each_combination_grid_after_grid(tmp_path):
    counts, cells = gridded(tmp_path)

    rows = read(made(tmp_path, counts, cells=cells), "ablation")

    axes = ["encoder", "parts", "control"]
    deltas = ["delta_miou", "delta_miou_sd", "delta_low", "delta_high"]
    assert list(rows[0]) == ["grid", *axes, *OVERALL[1:], *deltas]
    assert [[row[name] for name in ("grid", *axes)] for row in rows] == [
        ["t", "S", "neither", ""],
        ["t", "S", "both", ""],
        ["t", "B", "neither", ""],
        ["t", "B", "both", ""],
        ["c", "", "", "none"],
    ]
    assert [row["seeds"] for row in rows] == ["2"] * 5
    assert float(rows[3]["miou"]) == 1


def test_a_difference_is_to_the_first_value_of_the_last_axis_and_else_the_same(tmp_path):
    counts, cells = gridded(tmp_path)

    tables = made(tmp_path, counts, cells=cells)

    rows = read(tables, "ablation")
    fair, good = (2 / 4 + 4 / 6) / 2, (3 / 4 + 4 / 5) / 2
    assert float(rows[1]["delta_miou"]) == pytest.approx(good - fair)
    assert float(rows[3]["delta_miou"]) == pytest.approx(1 - good)
    assert [row["delta_miou"] for row in rows[::2]] == ["", "", ""]
    assert "same values of the others" in (tables / "ablation.md").read_text(encoding="utf-8")


def test_the_deviation_of_a_difference_is_that_of_both(tmp_path):
    counts = [
        counted(tmp_path, name, seed, "town", matrix)
        for name, matrices in (("c-none", (GOOD, FAIR)), ("c-fed", (FAIR, GOOD)))
        for seed, matrix in enumerate(matrices)
    ]
    cells = [
        Cell(experiment=f"c-{value}", grid="c", values={"control": value})
        for value in ("none", "fed")
    ]

    _, fed = read(made(tmp_path, counts, cells=cells), "ablation")

    assert float(fed["delta_miou"]) == 0
    assert float(fed["delta_miou_sd"]) == pytest.approx(math.sqrt(2) * float(fed["miou_sd"]))


def test_the_interval_of_a_difference_is_that_of_a_paired_bootstrap(tmp_path):
    """One experiment is better on every block by about as much, though blocks differ widely."""
    random, counts = np.random.default_rng(0), []
    right = random.integers(200, 800, 40)
    for name, gain in (("c-none", 0), ("c-fed", 100)):
        blocks = [[[n + gain, 900 - n - gain], [0, 900]] for n in right.tolist()]
        matrix = np.sum(blocks, axis=0).tolist()
        counts.append(counted(tmp_path, name, 0, "town", matrix, blocks=blocks))
    cells = [
        Cell(experiment=f"c-{value}", grid="c", values={"control": value})
        for value in ("none", "fed")
    ]

    none, fed = read(made(tmp_path, counts, cells=cells), "ablation")

    low, delta, high = (float(fed[name]) for name in ("delta_low", "delta_miou", "delta_high"))
    assert 0 < low < delta < high
    # unpaired, each mIoU alone varies by more than that
    alone = np.std([np.mean(random.choice(right, 40)) / 1800 for _ in range(500)])
    assert high - low < alone
    assert none["delta_low"] == none["delta_high"] == ""


@pytest.mark.parametrize(("units", "is_known"), [(9, False), (10, True)])
def test_of_fewer_than_ten_blocks_there_is_no_interval_and_the_note_says_so(
    tmp_path, units, is_known
):
    random, counts = np.random.default_rng(0), []
    for name in ("bare", "deep"):
        blocks = random.integers(50, 100, (units, 2, 2)).tolist()
        matrix = np.sum(blocks, axis=0).tolist()
        counts.append(counted(tmp_path, name, 0, "town", matrix, blocks=blocks))

    tables = made(tmp_path, counts)

    for row in read(tables, "differences"):
        assert [bool(row[name]) for name in ("difference", "low", "high", "p", "p_holm")] == [
            True,
            *[is_known] * 4,
        ]
    note = (tables / "differences.md").read_text(encoding="utf-8").rpartition("\n\n")[2]
    assert ("empty: 9 blocks are fewer than 10" in note) != is_known
    assert ("nine of ten cases" in note) == is_known


def test_confusions_are_shares_of_the_labels_pixels_over_seeds(tmp_path, two_seeds):
    rows = read(made(tmp_path, two_seeds), "confusion")

    pairs = [(row["truth"], row["map"], float(row["share"]), int(row["pixels"])) for row in rows]
    assert pairs == [
        ("roof", "roof", pytest.approx((3 / 4 + 2 / 4) / 2), 5),
        ("roof", "road", pytest.approx((1 / 4 + 2 / 4) / 2), 3),
        ("road", "roof", 0, 0),
        ("road", "road", 1, 8),
    ]


def test_a_class_that_is_nowhere_labelled_has_no_shares(tmp_path):
    counts = [counted(tmp_path, "deep", 0, "town", [[3, 1], [0, 0]])]

    rows = read(made(tmp_path, counts), "confusion")

    assert [row["share"] for row in rows] == ["0.75", "0.25", "", ""]


def predicted(**known):
    return {**dict.fromkeys(PREDICTED), **known}


def test_predicted_depth_is_the_mean_over_rasters_then_over_seeds(tmp_path):
    seeds = [
        [predicted(teacher_ssim=0.5, spearman=0.2), predicted(teacher_ssim=0.7)],
        [predicted(teacher_ssim=0.8, spearman=0.4), predicted(teacher_ssim=0.8)],
    ]
    counts = [
        counted(tmp_path, "deep", seed, "town", GOOD, depth=rasters)
        for seed, rasters in enumerate(seeds)
    ]
    counts.append(counted(tmp_path, "bare", 0, "town", GOOD))

    row = one(read(made(tmp_path, counts), "depth_predicted"))

    assert (row["experiment"], row["scene"], row["seeds"]) == ("deep", "town", "2")
    assert float(row["teacher_ssim"]) == pytest.approx((0.6 + 0.8) / 2)
    assert float(row["teacher_ssim_sd"]) == pytest.approx(0.2 / math.sqrt(2))
    assert float(row["spearman"]) == pytest.approx(0.3)
    assert row["delta1"] == ""


def test_folds_of_predicted_depth_are_no_seeds(tmp_path):
    counts = [
        counted(tmp_path, "deep", seed, "town", GOOD, fold=fold, depth=[predicted(spearman=value)])
        for (seed, fold), value in {(0, 0): 0.2, (0, 1): 0.4, (1, 0): 0.6, (1, 1): 0.8}.items()
    ]

    row = one(read(made(tmp_path, counts), "depth_predicted"))

    assert row["seeds"] == "2"
    assert float(row["spearman"]) == pytest.approx(0.5)
    assert float(row["spearman_sd"]) == pytest.approx(0.4 / math.sqrt(2))


def test_without_predicted_depth_there_is_no_table_of_it(tmp_path, two_seeds):
    assert not list(made(tmp_path, two_seeds).glob("depth_predicted.*"))


def test_every_table_carries_the_digest_of_the_counts_in_markdown_alone(tmp_path, two_seeds):
    tables = made(tmp_path, two_seeds)

    study = json.loads((tables / "manifest.json").read_text())["study"]
    for name in TABLES:
        text = (tables / f"{name}.md").read_text(encoding="utf-8")
        assert f"\n\nThe study's digest: {study}\n\n" in text
        assert study not in (tables / f"{name}.csv").read_text(encoding="utf-8")


def test_the_studys_digest_is_of_results_and_of_nothing_that_is_printed(tmp_path, two_seeds):
    found = [
        json.loads((made(tmp_path, counts, **asked) / "manifest.json").read_text())["study"]
        for counts, asked in (
            (two_seeds, {}),
            (two_seeds, {"digits": 5, "leaks": []}),
            (two_seeds[:1], {}),
        )
    ]

    assert found[0] == found[1] != found[2]


def test_an_axis_called_source_stays_where_others_figures_are_reported_and_seeds_are_single(
    tmp_path,
):
    cells = [Cell(experiment=f"g-{n}", grid="g", values={"source": n}) for n in ("near", "far")]
    counts = [
        counted(tmp_path, one.experiment, 0, "a", m)
        for one, m in zip(cells, (GOOD, FAIR), strict=True)
    ]

    tables = made(tmp_path, counts, cells=cells, reported=({"name": "a paper", "miou": 0.9},))

    near, far = read(tables, "ablation")
    assert (near["source"], far["source"]) == ("near", "far")
    assert float(far["delta_miou"]) == pytest.approx(7 / 12 - 31 / 40)
    assert far["delta_miou_sd"] == ""


# Transfer


def crossing(*learners, targets=("near", "far"), classes=NAMES):
    """Return who learned where; each target has the scenes `<target>-1` and `<target>-2`."""
    return Transfer(
        targets=tuple(
            Target(domain=name, scenes=(f"{name}-1", f"{name}-2"), classes=tuple(classes))
            for name in targets
        ),
        learners=learners,
    )


def learner(name, *source, **at_home):
    return Learner(experiment=name, system="net", source=source, at_home=at_home)


HOMES = {"near": "n", "far": "f"}
CROSSED = crossing(
    learner("n", "near", **HOMES), learner("f", "far", **HOMES), learner("b", "near", "far")
)
LOW = [[1, 3], [2, 2]]
"""IoU 1/6 and 2/7."""


def crossed(folder, seeds=2):
    """Write counts in which each experiment is good where it learned, and else poor."""
    good = {"n": ["near"], "f": ["far"], "b": ["near", "far"]}
    return [
        counted(folder, name, seed, f"{domain}-{number}", matrix)
        for name, domains in good.items()
        for seed in range(seeds)
        for domain in HOMES
        for number, matrix in ((1, GOOD if domain in domains else LOW), (2, EMPTY))
    ]


def test_transfer_has_a_column_of_miou_for_each_target_and_the_drop_to_learning_there(tmp_path):
    tables = made(tmp_path, crossed(tmp_path), transfer=CROSSED)

    near, far, both = read(tables, "transfer")
    assert list(near) == [
        *("experiment", "system", "source", "seeds", "miou_near", "miou_near_sd"),
        *("miou_far", "miou_far_sd", "unseen", "unseen_sd", "drop", "drop_near", "drop_far"),
    ]
    assert [row["source"] for row in (near, far, both)] == ["near", "far", "near+far"]
    good, low = 31 / 40, (1 / 6 + 2 / 7) / 2
    for row, home, abroad in ((near, "near", "far"), (far, "far", "near")):
        assert float(row[f"miou_{home}"]) == pytest.approx(good)
        assert float(row[f"miou_{abroad}"]) == pytest.approx(low)
        assert float(row["drop"]) == float(row[f"drop_{abroad}"]) == pytest.approx(good - low)
        assert row[f"drop_{home}"] == ""
        assert float(row["unseen"]) == pytest.approx(low)
    assert both["unseen"] == both["unseen_sd"] == ""
    assert (both["drop"], both["drop_near"], both["drop_far"]) == ("", "", "")
    text = (tables / "transfer.md").read_text(encoding="utf-8")
    assert "drop_near" not in text and "system" not in text.partition("\n")[0]
    assert "source is the domains that an experiment learned from" in text


def test_the_drop_is_a_mean_over_targets_where_someone_is_at_home(tmp_path):
    homes = {"near": "n", "far": "f"}
    transfer = crossing(
        learner("n", "near", **homes),
        learner("f", "far", **homes),
        learner("s", "sea", **homes),
        targets=("near", "far", "moon"),
    )
    ious = {"n": (GOOD, LOW), "f": (LOW, FAIR), "s": (LOW, LOW)}
    counts = [
        counted(tmp_path, name, 0, scene, matrix)
        for name, (near, far) in ious.items()
        for scene, matrix in (("near-1", near), ("far-1", far), ("moon-1", LOW))
    ]

    rows = {
        row["experiment"]: row
        for row in read(made(tmp_path, counts, transfer=transfer), "transfer")
    }
    low = (1 / 6 + 2 / 7) / 2
    assert rows["s"]["drop_moon"] == ""
    assert float(rows["s"]["unseen"]) == pytest.approx(low)
    assert float(rows["s"]["drop"]) == pytest.approx((31 / 40 - low + 7 / 12 - low) / 2)


def test_the_best_on_unseen_domains_is_marked_where_all_learned_from_the_same(tmp_path):
    domains = ("near", "far", "moon")
    ious = {"n": (GOOD, LOW, FAIR), "m": (GOOD, FAIR, FAIR)}
    counts = [
        counted(tmp_path, name, seed, f"{domain}-1", matrix)
        for name, matrices in ious.items()
        for seed in (0, 1)
        for domain, matrix in zip(domains, matrices, strict=True)
    ]
    learners = [learner(name, "near") for name in ious]

    tables = made(tmp_path, counts, transfer=crossing(*learners, targets=domains))

    first, second = read(tables, "transfer")
    low, fair = (1 / 6 + 2 / 7) / 2, 7 / 12
    assert float(first["unseen"]) == pytest.approx((low + fair) / 2)
    assert float(second["unseen"]) == pytest.approx(fair)
    assert float(second["unseen_sd"]) == 0.0
    # nobody learned from what is unseen, so no drop is told
    assert "| drop" not in (tables / "transfer.md").read_text()
    assert "**0.583 ± 0.000**" in (tables / "transfer.md").read_text()
    # of other sources it is a mean of other things
    other = crossing(learner("n", "near"), learner("m", "far"), targets=domains)
    tables = made(tmp_path, counts, transfer=other)
    assert not rivals(pd.read_csv(tables / "transfer.csv"), other).keys() & {"unseen"}


def test_counts_of_a_targets_scenes_and_folds_are_summed_for_each_seed(tmp_path):
    parts = {(0, 0, "near-1"): GOOD, (0, 1, "near-2"): LOW, (1, 0, "near-1"): FAIR}
    counts = [
        counted(tmp_path, "n", seed, scene, matrix, fold=fold)
        for (seed, fold, scene), matrix in parts.items()
    ]
    transfer = crossing(learner("n", "near"), targets=("near",))

    row = one(read(made(tmp_path, counts, transfer=transfer), "transfer"))

    # [[4, 4], [2, 6]]: 4 of 10 and 6 of 12
    each = np.array([(4 / 10 + 6 / 12) / 2, 7 / 12])
    assert row["seeds"] == "2"
    assert float(row["miou_near"]) == pytest.approx(each.mean())
    assert float(row["miou_near_sd"]) == pytest.approx(each.std(ddof=1))


def test_the_best_of_those_that_did_not_learn_from_a_target_is_marked(tmp_path):
    sources = {"home": ("near",), "good": ("far",), "low": ("far",), "joint": ("near", "far")}
    transfer = crossing(*(learner(name, *of) for name, of in sources.items()), targets=("near",))
    matrices = {"home": [[9, 0], [0, 9]], "good": GOOD, "low": LOW, "joint": [[9, 1], [0, 9]]}
    counts = [counted(tmp_path, name, 0, "near-1", m) for name, m in matrices.items()]

    tables = made(tmp_path, counts, transfer=transfer)

    text = (tables / "transfer.html").read_text(encoding="utf-8")
    assert re.findall(r"<b>([\d.]+)</b>", text) == [f"{31 / 40:.3f}"]
    assert re.findall(r"<u>([\d.]+)</u>", text) == [f"{(1 / 6 + 2 / 7) / 2:.3f}"]


def test_classes_are_compared_as_the_crosswalk_has_them(tmp_path):
    names, rng = ["roof", "road", "tree"], np.random.default_rng(3)
    matrix = rng.integers(1, 50, (3, 3))
    counts = [counted(tmp_path, "n", 0, "near-1", matrix, names)]
    transfer = crossing(learner("n", "far"), targets=("near",), classes=["roof", "tree"])
    crosswalk = {"rest": ("road", "tree"), "roof": ("roof",)}

    tables = made(tmp_path, counts, transfer=transfer, crosswalk=crosswalk)

    pixels = np.repeat(np.indices((3, 3)).reshape(2, 9), matrix.ravel(), axis=1)
    truth, guess = np.array([1, 0, 0])[pixels]
    expected = metrics.jaccard_score(truth, guess, average="macro")
    assert float(one(read(tables, "transfer"))["miou_near"]) == pytest.approx(expected)
    note = (tables / "transfer.md").read_text(encoding="utf-8")
    assert "the classes of the crosswalk, rest: road, tree; roof: roof." in note


def test_a_class_that_a_targets_labels_do_not_know_is_left_out_of_its_mean(tmp_path):
    names, matrix = ["roof", "road", "tree"], [[3, 1, 0], [0, 0, 0], [1, 2, 3]]
    counts = [counted(tmp_path, "n", 0, "near-1", matrix, names)]
    transfer = crossing(learner("n", "far"), targets=("near",), classes=["roof", "tree"])

    row = one(read(made(tmp_path, counts, transfer=transfer), "transfer"))

    # with road, which the map has and the labels cannot have, it would be a third less
    assert float(row["miou_near"]) == pytest.approx((3 / 5 + 3 / 6) / 2)


WORSE, WORST = [[2, 2], [1, 3]], [[1, 3], [2, 2]]


def corrupted(folder, experiment, seed, scene, kinds, left_out=(), fold=None):
    """Write the counts of a corrupted scene, as ``corrupt`` does."""
    file = folder / "corrupt" / experiment / f"{seed}-{fold}" / f"{scene}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    facts = {"experiment": experiment, "seed": seed, "fold": fold, "scene": scene}
    facts |= {"classes": NAMES, "left_out": dict(left_out), "kinds": kinds}
    file.write_text(json.dumps(facts))
    return file


def miou(*matrices):
    matrix = np.sum(matrices, axis=0)
    hit = np.diagonal(matrix)
    return float(np.mean(hit / (matrix.sum(0) + matrix.sum(1) - hit)))


def test_corruptions_have_a_row_for_each_kind_and_experiment_over_seeds(tmp_path):
    counts = [counted(tmp_path, "deep", n, "town", m) for n, m in enumerate((GOOD, FAIR))]
    others = [
        corrupted(tmp_path, "deep", 0, "town", {"haze": {"1": GOOD, "4": WORSE}}),
        corrupted(tmp_path, "deep", 1, "town", {"haze": {"1": WORSE, "4": WORST}}),
    ]

    row = one(read(made(tmp_path, counts, corruptions=others), "corruptions"))

    assert (row["kind"], row["experiment"], row["seeds"]) == ("haze", "deep", "2")
    at = {"clean": [GOOD, FAIR], "1": [GOOD, WORSE], "4": [WORSE, WORST]}
    found = {name: np.array([miou(m) for m in matrices]) for name, matrices in at.items()}
    found["mean"] = (found["1"] + found["4"]) / 2
    for name, values in found.items():
        assert float(row[f"miou_{name}"]) == pytest.approx(values.mean())
        assert float(row[f"miou_{name}_sd"]) == pytest.approx(values.std(ddof=1))
    lost = found["clean"] - found["mean"]
    assert float(row["drop"]) == pytest.approx(lost.mean())
    assert float(row["drop_sd"]) == pytest.approx(lost.std(ddof=1))


def test_clean_and_corrupted_counts_are_summed_over_the_same_scenes_and_folds(tmp_path):
    kinds = {"haze": {"1": WORSE}, "sun": {"1": WORST}}
    places = [("town", 0), ("port", 1), ("mill", 0)]
    matrices = dict(zip(places, (GOOD, FAIR, [[9, 0], [9, 0]]), strict=True))
    counts = [counted(tmp_path, "n", 0, s, m, fold=f) for (s, f), m in matrices.items()]
    lacks = {"sun": "has no elevation"}
    others = [
        corrupted(tmp_path, "n", 0, "town", kinds, fold=0),
        corrupted(tmp_path, "n", 0, "port", {"haze": {"1": GOOD}}, lacks, fold=1),
    ]

    tables = made(tmp_path, counts, corruptions=others)

    rows = {row["kind"]: row for row in read(tables, "corruptions")}
    assert float(rows["haze"]["miou_clean"]) == pytest.approx(miou(GOOD, FAIR))
    assert float(rows["haze"]["miou_1"]) == pytest.approx(miou(WORSE, GOOD))
    assert float(rows["sun"]["miou_clean"]) == pytest.approx(miou(GOOD))
    note = (tables / "corruptions.md").read_text(encoding="utf-8")
    assert "Without sun: port, which has no elevation." in note


def test_the_best_of_each_kind_is_marked_and_who_was_not_tried_is_named(tmp_path):
    of = {"a": {"haze": GOOD, "noise": WORST}, "b": {"haze": WORSE, "noise": FAIR}}
    others = [
        corrupted(tmp_path, name, 0, "town", {kind: {"3": m} for kind, m in kinds.items()})
        for name, kinds in of.items()
    ]
    counts = [counted(tmp_path, name, 0, "town", GOOD) for name in ("a", "b", "fed")]

    tables = made(tmp_path, counts, corruptions=others)

    text = (tables / "corruptions.md").read_text(encoding="utf-8")
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    at = {(row[0], row[1]): row[cells[0].index("miou_3")] for row in cells[2:]}
    assert list(at) == [("haze", "a"), ("haze", "b"), ("noise", "a"), ("noise", "b")]
    assert (
        at["haze", "a"] == f"**{miou(GOOD):.3f}**" and at["noise", "b"] == f"**{miou(FAIR):.3f}**"
    )
    assert at["haze", "b"].startswith("<u>") and at["noise", "a"].startswith("<u>")
    assert "Not tried: fed; when they map they are fed a depth that a network made" in text


def test_without_corruptions_there_is_no_table_of_them(tmp_path, two_seeds):
    assert not (made(tmp_path, two_seeds) / "corruptions.csv").exists()
