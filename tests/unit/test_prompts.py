import pytest
import yaml

from pipeline_steps.study.config import load
from pipeline_steps.study.paths import Paths
from pipeline_steps.study.prompts import Prompts
from tests.data.studies import tiny_study
from tests.data.tiling import write_table

ROWS = [
    {"scene": name, "split": split}
    | {layer: f"{name}-{layer}.tif" for layer in ("image", "labels", "elevation")}
    for name, split in (("east", "train"), ("west", "test"))
]


@pytest.fixture
def prompts(tmp_path):
    """A function that gives the prompts of a study of these experiments' overrides of `train`."""

    def found(**trains):
        config = tiny_study() | {"data_root": str(tmp_path)}
        del config["synthesize"]
        config["experiments"] = {name: {"train": train} for name, train in trains.items()}
        for row in ROWS:
            for layer in ("image", "labels", "elevation"):
                (tmp_path / row[layer]).write_text("")
        write_table(tmp_path, *ROWS)
        study = tmp_path / "study.yaml"
        study.write_text(yaml.safe_dump(config))
        return Paths(load(config, [str(study)])).prompts()

    return found


def test_every_experiment_tells_what_prompts_it(prompts):
    found = prompts(
        plain={"network": {"prompter": False}},
        label={"teacher": "town"},
        fed={"teacher": "elevation", "network": {"depth": "fed"}},
        truth={"teacher": "elevation"},
    )

    assert found == [
        Prompts(experiment="plain", is_prompted=False),
        Prompts(experiment="label", is_prompted=True, teacher="town"),
        Prompts(
            experiment="fed", is_prompted=True, teacher="elevation", is_elevation=True, is_fed=True
        ),
        Prompts(experiment="truth", is_prompted=True, teacher="elevation", is_elevation=True),
    ]


def test_a_teacher_whose_loss_has_no_weight_prompts_nothing_unless_it_is_fed(prompts):
    control, fed = prompts(
        control={"teacher": "town", "depth_weight": 0},
        fed={"teacher": "town", "depth_weight": 0, "network": {"depth": "fed"}},
    )

    assert control == Prompts(experiment="control", is_prompted=True)
    assert fed == Prompts(experiment="fed", is_prompted=True, teacher="town", is_fed=True)


def test_depth_that_a_network_without_prompter_would_be_fed_is_not(prompts):
    (found,) = prompts(plain={"network": {"prompter": False, "depth": "fed"}})

    assert found == Prompts(experiment="plain", is_prompted=False)


def test_depth_that_is_fed_and_learned_counts_as_fed(prompts):
    (found,) = prompts(both={"teacher": "town", "network": {"depth": "both"}})

    assert found == Prompts(experiment="both", is_prompted=True, teacher="town", is_fed=True)


def test_depth_that_is_not_the_scene_s_teaches_nothing(prompts):
    found = prompts(
        constant={"teacher": "town", "depth_control": "constant"},
        shuffled={"teacher": "town", "depth_control": "shuffled"},
        fed={"teacher": "town", "depth_control": "constant", "network": {"depth": "fed"}},
    )

    assert found == [
        Prompts(experiment=name, is_prompted=True) for name in ("constant", "shuffled", "fed")
    ]


def test_a_network_that_knows_no_depth_is_prompted_by_none(prompts):
    (found,) = prompts(unet={"network": {"model": "baseline"}})

    assert found == Prompts(experiment="unet", is_prompted=False)
