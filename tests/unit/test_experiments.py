"""What a grid promises: the product of its axes, each a plain experiment with a speaking name."""

import json
from pathlib import Path

import pytest
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from pipeline_steps.study.cells import Cell
from pipeline_steps.study.config import load
from pipeline_steps.study.docs import MANUAL, ROOT
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.variants import BUILT_IN

CONFIG = ROOT / "config"
DEMO, PRETRAINED = CONFIG / "config.yaml", CONFIG / "studies" / "_pretrained.yaml"


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """A function that loads the demo with one entry of `experiments`, and more sections."""
    monkeypatch.chdir(tmp_path)

    def make(entry, **sections):
        study = load_configfile(str(DEMO)) | sections
        study["scenes"] = str(CONFIG / "scenes.tsv")
        study["experiments"] = {"g": entry} | study.pop("beside", {})
        file = tmp_path / "study.yaml"
        file.write_text(json.dumps(study))
        return load(study, [str(file)])

    return make


def refused(grid, entry, **sections):
    with pytest.raises(StudyError) as caught:
        grid(entry, **sections)
    return str(caught.value).rpartition("study.yaml: ")[2]


def test_a_grid_is_the_product_of_its_axes_in_their_order(grid):
    found = grid({"seeds": [4], "grid": {"scales": ["all", "no8"], "parts": ["neither", "both"]}})

    names = ["g-all-neither", "g-all-both", "g-no8-neither", "g-no8-both"]
    assert list(found.trainings) == names
    assert [run.seed for run in found.runs("g-no8-both")] == [4]
    assert found.cells()[2] == Cell(
        experiment="g-no8-neither", grid="g", values={"scales": "no8", "parts": "neither"}
    )
    network = found.trainings["g-no8-neither"].network
    assert (network.scales, network.adapter, network.prompter) == ((4, 16, 32), False, False)


def test_values_lie_over_what_the_entry_overrides_and_later_axes_over_earlier(grid):
    variants = {"a": {"x": {"lr": 0.1, "clip": 1.5}}, "b": {"y": {"clip": 2.5}}}
    entry = {"train": {"lr": 0.2, "steps": 9}, "grid": {"a": ["x"], "b": ["y"]}}

    training = grid(entry, variants=variants).trainings["g-x-y"]

    assert (training.lr, training.clip, training.steps) == (0.1, 2.5, 9)
    assert training.batch == grid({}).trainings["g"].batch


def test_a_study_s_own_variants_are_laid_over_the_built_in_ones(grid):
    variants = {"encoder": {"S": {"network": {"encoder": {"frozen": False}}}}}

    network = grid({"grid": {"encoder": ["S", "L"]}}, variants=variants).trainings["g-S"].network

    assert network.encoder.name == "vit_small_patch14_dinov2.lvd142m"
    assert (network.encoder.frozen, network.encoder.arguments, network.widths) == (
        False,
        None,
        None,
    )


def test_a_study_without_a_grid_has_no_cells(grid):
    assert grid({}).cells() == []


@pytest.mark.parametrize(
    "entry, sections, words",
    [
        (
            {"grid": {"part": ["both"]}},
            {},
            "experiments.g.grid has axis 'part', expected one of enc",
        ),
        (
            {"grid": {"parts": ["both", "XL"]}},
            {},
            "experiments.g.grid.parts has 'XL', expected one of neither, adapter, prompter, both",
        ),
        ({"grid": {"parts": []}}, {}, "experiments.g.grid.parts is '[]', expected"),
        ({"grid": {"parts": [1]}}, {}, "experiments.g.grid.parts.0 is '1', expected string"),
        ({"grid": {}}, {}, "experiments.g.grid is '{}', expected"),
        ({"grid": {"a b": ["x"]}}, {}, "experiments.g.grid.a b"),
        (
            {"grid": {"parts": ["both", "both"]}},
            {},
            "experiments.g.grid gives 'g-both' a second time, expected distinct names",
        ),
        (
            {"grid": {"parts": ["both"]}},
            {"beside": {"g-both": {}}},
            "experiments.g-both gives 'g-both' a second time, expected distinct names",
        ),
        (
            {"grid": {"seeds": ["x"]}},
            {"variants": {"seeds": {"x": {}}}},
            "experiments.g.grid has axis 'seeds', expected no name of a table's column",
        ),
        (
            {"grid": {"a": ["x"]}},
            {"variants": {"a": {"x": {"stepz": 1}}}},
            "variants.a.x.stepz is not a key, expected one of",
        ),
        (
            {"train": {"stepz": 1}, "grid": {"parts": ["both"]}},
            {},
            "experiments.g.train.stepz is not a key, expected one of",
        ),
        (
            {"train": {"network": {"decoder": "linear"}}, "grid": {"parts": ["adapter"]}},
            {},
            "experiments.g-adapter.train.network: decoder is linear, expected adapter: false",
        ),
        (
            {"train": {"teacher": None}, "grid": {"parts": ["both"]}},
            {},
            "experiments.g-both.train.teacher is null, expected a teacher for the prompter",
        ),
        ({"grid": {"a": ["x"]}}, {"variants": {"a": {"x": 5}}}, "variants.a.x is '5', expected"),
    ],
)
def test_a_grid_that_cannot_be_is_refused_in_one_line(grid, entry, sections, words):
    text = refused(grid, entry, **sections)

    assert text.startswith(words) and "\n" not in text


@pytest.mark.parametrize("axis", BUILT_IN)
def test_every_built_in_value_makes_a_training_and_stands_in_the_manual(grid, axis):
    found = grid({"grid": {axis: list(BUILT_IN[axis])}}, variants={})

    assert len(found.trainings) == len(BUILT_IN[axis])
    (row,) = [r for r in MANUAL.read_text().splitlines() if r.startswith(f"| `{axis}` |")]
    assert [value for value in BUILT_IN[axis] if f"`{value}`" not in row] == []


def test_controls_differ_from_the_full_method_in_nothing_but_depth(grid):
    found = grid({"grid": {"control": list(BUILT_IN["control"])}}).trainings
    plain = found["g-none"].model_dump()

    changed = {
        name.removeprefix("g-"): {
            key for key, value in one.model_dump().items() if value != plain[key]
        }
        for name, one in found.items()
    }

    assert changed == {
        "none": set(),
        "lambda0": {"depth_weight"},
        "constant": {"depth_control"},
        "shuffled": {"depth_control"},
        "fed": {"network"},
        "width": {"network"},
        "elevation_label": {"teacher"},
        "elevation_fed": {"teacher", "network"},
        "elevation_both": {"teacher", "network"},
    }


# The files that come along


def laid(*names):
    ours = [one if isinstance(one, Path) else CONFIG / "studies" / f"_{one}.yaml" for one in names]
    files = [CONFIG / "config.yaml", *ours]
    config = {}
    for file in files:
        update_config(config, load_configfile(str(file)))
    return load(config, [str(file) for file in files])


def test_table_two_and_the_controls_lie_over_the_demo():
    found = laid("depthseg_table2", "controls")

    assert [cell.grid for cell in found.cells()] == ["table2"] * 12 + ["controls"] * 6
    assert {one.seeds for one in found.experiments.values() if one.cell} == {(0, 1, 2)}
    sizes = {
        name: found.trainings[f"table2-{name}-both"].network.encoder.arguments["embed_dim"]
        for name in "SBL"
    }
    assert sizes["S"] < sizes["B"] < sizes["L"]
    plain = found.trainings["depthseg"]
    assert found.trainings["table2-B-both"] == found.trainings["controls-none"] == plain


def test_sizes_of_the_encoder_are_an_axis_of_depthforge_too(tmp_path):
    more = tmp_path / "more.yaml"
    more.write_text(
        "experiments: {sizes: {grid: {network: [tokens, depthforge], encoder: [S, L]}}}"
    )

    found = laid("pretrained", "depthforge", more).trainings

    for name in ("tokens", "depthforge"):
        weights = [found[f"sizes-{name}-{size}"].network.encoder.weights for size in "SL"]
        assert weights == ["dinov2-small", "dinov2-large"]


def test_the_controls_with_elevation_take_the_place_of_those_without():
    assert laid("controls_elevation").cells() == laid("controls", "controls_elevation").cells()
    without = [cell.experiment for cell in laid("controls").cells()]
    assert [c.experiment for c in laid("controls_elevation").cells()][: len(without)] == without


def test_each_prompt_is_left_out_once():
    trainings = laid("scales").trainings

    found = [trainings[f"scales-{name}"].network.scales for name in ("all", "no4", "no32")]
    assert found == [(4, 8, 16, 32), (8, 16, 32), (4, 8, 16)]


@pytest.mark.parametrize("names", [("baselines",), ("pretrained", "baselines")])
def test_baselines_learn_as_the_study_does_and_have_weights_where_it_has(names):
    found = laid(*names)
    plain = found.trainings["depthseg"].model_dump(exclude={"network"})

    ours = {cell.values["network"]: found.trainings[cell.experiment] for cell in found.cells()}
    assert list(ours) == ["linear", "unet", "deeplabv3plus", "upernet", "segformer", "dpt"]
    assert all(one.model_dump(exclude={"network"}) == plain for one in ours.values())
    linear = ours.pop("linear").network
    assert (linear.decoder, linear.prompter, linear.adapter) == ("linear", False, False)
    assert [one.network.architecture for one in ours.values()] == list(ours)
    has_weights = {bool(one.network.encoder.weights) for one in ours.values()}
    assert has_weights == {len(names) == 2}


@pytest.mark.parametrize("names", [("depthforge",), ("pretrained", "depthforge")])
def test_depthforge_and_its_control_differ_in_depth_alone(names):
    found = laid(*names)
    forge = {
        cell.values["network"]: found.trainings[cell.experiment]
        for cell in found.cells()
        if cell.grid == "forge"
    }

    with_depth, without = (forge[name].model_dump() for name in ("depthforge", "tokens"))
    assert with_depth["network"].pop("tokens") == "shared"
    assert without["network"].pop("tokens") == "plain"
    assert with_depth == without
    has_weights = {bool(one.network.encoder.weights) for one in forge.values()}
    assert has_weights == {len(names) == 2}


@pytest.mark.parametrize("order", [1, -1])
def test_only_models_that_are_used_are_fetched(order):
    found = laid(*("pretrained", "depthseg_table2")[::order])

    used = ["dinov2-small", "dinov2-base", "dinov2-large", "depth-anything-v2-small"]
    assert sorted(found.fetched().models) == sorted(used)
    weights = {cell.values["encoder"]: found.trainings[cell.experiment] for cell in found.cells()}
    assert {name: one.network.encoder.weights for name, one in weights.items()} == {
        "S": "dinov2-small",
        "B": "dinov2-base",
        "L": "dinov2-large",
    }
    assert all(one.network.widths is None for one in weights.values())


def ensemble(grid, members, **sections):
    entry = {"seeds": [3, 5], "grid": {"parts": ["neither", "both"]}}
    return grid(entry, ensembles={"mean": members}, **sections)


def test_an_ensemble_maps_with_every_seed_of_its_experiments_and_trains_nothing(grid):
    found = ensemble(grid, ["g-both", "g-neither"])

    assert list(found.trainings) == ["g-neither", "g-both"]
    assert list(found.experiments) == ["g-neither", "g-both", "mean"]
    (run,) = found.runs("mean")
    names = [(name, one.name) for name, one in found.members("mean", run)]
    assert names == [(name, f"seed-{n}") for name in ("g-both", "g-neither") for n in (3, 5)]
    assert ("mean", run) in found.all_runs()
    assert ("mean", run) not in found.all_trainings()


def test_an_ensemble_is_fed_what_its_networks_are_fed_in_their_order(grid):
    fed = {"seeds": [0, 1], "train": {"network": {"depth": "fed"}}}
    true = {"seeds": [0], "train": {"network": {"depth": "fed"}, "teacher": "elevation"}}

    beside = {"fed": fed, "true": true}
    found = grid({"seeds": [0]}, beside=beside, ensembles={"mean": ["true", "g", "fed"]})

    (run,) = found.runs("mean")
    assert found.fed("mean", run) == ["elevation", "town", "town"]
    assert found.models("mean") == ["depthseg"]


@pytest.mark.parametrize(
    "ensembles, said",
    [
        ({"mean": ["h"]}, "ensembles.mean has 'h', expected experiments: g"),
        ({"a": ["g"], "b": ["a"]}, "ensembles.b has 'a', expected experiments: g"),
        ({"mean": ["g", "g"]}, "ensembles.mean is ['g', 'g'], expected each experiment once"),
        ({"g": ["g"]}, "ensembles.g is an experiment's name too, expected distinct names"),
        ({"mean": []}, "ensembles.mean is '[]', expected have at least 1 item"),
    ],
)
def test_an_ensemble_of_what_is_no_experiment_is_refused(grid, ensembles, said):
    assert refused(grid, {}, ensembles=ensembles).startswith(said)


def test_the_networks_of_an_ensemble_see_the_same_bands(grid):
    network = {"network": {"encoder": {"bands": "all"}}}
    beside, ensembles = {"two": {"train": network}}, {"mean": ["g", "two"]}

    line = refused(grid, {}, beside=beside, ensembles=ensembles)

    assert line == (
        "ensembles.mean: network.encoder.bands are 'rgb' of 'g', 'all' of 'two', expected the same"
    )
