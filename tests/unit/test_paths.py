import pytest
import yaml

from pipeline_steps.study.config import load
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.paths import Paths
from tests.data.studies import tiny_study
from tests.data.tiling import write_table

FILES = ("image.tif", "labels.tif", "elevation.tif")


def row(name, split, **changes):
    image, labels, elevation = (f"{name}/{file}" for file in FILES)
    return {
        "scene": name,
        "split": split,
        "image": image,
        "labels": labels,
        "elevation": elevation,
    } | changes


@pytest.fixture
def paths(tmp_path):
    """A function that writes a study of scenes with empty files and returns its paths."""

    def make(*rows, **sections):
        for one in rows:
            folder = tmp_path / one["scene"]
            folder.mkdir()
            for file in (*FILES, "terrain.tif", "1.tif", "2.tif", "1.png", "2.png"):
                (folder / file).write_text("")
        config = tiny_study() | {"data_root": str(tmp_path)} | sections
        del config["synthesize"]
        write_table(tmp_path, *rows)
        study = tmp_path / "study.yaml"
        study.write_text(yaml.safe_dump(config))
        return Paths(load(config, [str(study)]))

    return make


def test_the_files_of_a_scene_are_its_layers_and_what_lies_beside_them(paths, tmp_path):
    rows = [row("a", "train", terrain="a/terrain.tif"), row("b", "test")]
    found = paths(*rows)
    for name in ("a/image.tfw", "a/labels.tif.aux.xml", "b/image.tfw", "a/other.tfw"):
        (tmp_path / name).write_text("")

    names = {file.removeprefix(f"{tmp_path}/") for file in found.files_of(["a"])}

    layers = {f"a/{file}" for file in (*FILES, "terrain.tif")}
    assert names == layers | {"a/image.tfw", "a/labels.tif.aux.xml"}


def test_what_is_told_of_a_study_are_its_files_and_what_trainings_see(paths):
    parts = {"a": "train", "b": "val", "c": "test", "d": "train"}
    rows = [row(*one) for one in parts.items()]

    about = paths(*rows).about(["/home/someone/town.yaml", "over/more.yaml"])

    assert about.files == ("town.yaml", "more.yaml")
    assert (about.learned, about.watched) == (("a", "d"), ("b",))


def test_a_list_of_images_is_one_of_the_files(paths, tmp_path):
    many = {"image": "a/*.tif", "labels": "a/*.png", "elevation": "", "list": "chosen.txt"}
    (tmp_path / "chosen.txt").write_text("2.tif\n")
    study = tiny_study()["experiments"]["depthseg"]

    found = paths(row("a", "train", **many), adapt={}, experiments={"plain": study | PLAIN})

    names = [file.removeprefix(f"{tmp_path}/") for file in found.files_of(["a"])]
    assert names == ["a/2.tif", "a/2.png", "chosen.txt"]


PLAIN = {"train": {"network": {"prompter": False}}}


def test_the_map_of_one_image_is_a_file_and_of_many_a_folder(paths):
    many = {"image": "b/?.tif", "labels": "b/*.png", "elevation": "b/?.tif"}
    found = paths(row("a", "train"), row("b", "test", **many))

    folder = "results/predict/depthseg/seed-0"
    assert found.map_of("depthseg", "seed-0", "a") == f"{folder}/a/classes.tif"
    assert found.map_of("depthseg", "seed-0", "b") == f"{folder}/b/classes"


def test_the_maps_of_a_scene_are_all_that_the_study_asks_for(paths):
    many = {"image": "b/?.tif", "labels": "b/*.png", "elevation": "b/?.tif"}
    asked = {"outputs": ["entropy", "probabilities"]}
    found = paths(row("a", "train"), row("b", "test", **many), predict=asked)

    one, other = (found.maps_of("depthseg", "seed-0", scene) for scene in "ab")

    folder = "results/predict/depthseg/seed-0"
    names = ["classes.tif", "entropy.tif", "probabilities.zarr"]
    assert one == [f"{folder}/a/{name}" for name in names]
    assert other == [f"{folder}/b/{name.partition('.')[0]}" for name in names]


def test_every_training_has_its_losses_maps_and_counts(paths):
    rows = [row("a", "train"), row("b", "test"), row("c", "predict")]
    chosen = {"depthseg": {"seeds": [0, 3]}, "other": {"seeds": [1]}}

    found = paths(*rows, experiments=chosen)

    trainings = [("depthseg", 0), ("depthseg", 3), ("other", 1)]
    names = [f"{name}/seed-{seed}" for name, seed in trainings]
    assert found.histories() == [f"results/train/{name}/history.csv" for name in names]
    assert found.maps(["c"]) == [f"results/predict/{name}/c/classes.tif" for name in names]
    assert found.counts() == [f"results/score/{name}/b.json" for name in names]
    told = [f"results/score/{name}/b/manifest.json" for name in names]
    assert found.manifests_of(found.counts()) == told


def folded(paths):
    rows = [row(name, "folds") for name in "abc"]
    experiments = {"plain": {"seeds": [0], **PLAIN}}
    return paths(*rows, split={"folds": 3}, adapt={}, experiments=experiments)


def test_with_folds_every_scene_is_counted_once(paths):
    counts = folded(paths).counts()

    assert sorted(file[-6:-5] for file in counts) == ["a", "b", "c"]
    assert {file.split("/")[3] for file in counts} == {f"seed-0-fold-{k}" for k in range(3)}


def test_a_figure_of_each_test_scene_is_of_a_run_that_is_tested_on_it(paths):
    found = folded(paths)

    counted = {file.split("/")[4][0]: file.split("/")[3] for file in found.counts()}
    assert {scene: run for _, run, scene in found.first_runs()} == counted


def test_without_folds_figures_are_of_the_first_seed(paths):
    chosen = {"depthseg": {"seeds": [7, 0]}}

    found = paths(row("a", "train"), row("b", "test"), experiments=chosen)

    assert found.first_runs() == [("depthseg", "seed-7", "b")]


@pytest.mark.parametrize(
    "teacher, manifest",
    [("town", "adapt/town"), ("tiny-depth-anything", "fetch/tiny-depth-anything")],
)
def test_the_teacher_s_encoder_comes_from_where_the_teacher_does(paths, teacher, manifest):
    encoder = {"name": "teacher", "arguments": None}
    train = {"teacher": teacher, "network": {"encoder": encoder}}

    found = paths(row("a", "train"), row("b", "test"), experiments={"own": {"train": train}})

    assert found.encoder("own") == [f"results/{manifest}/manifest.json"]


def test_an_encoder_of_random_weights_comes_from_nowhere(paths):
    found = paths(row("a", "train"), row("b", "test"))

    assert found.encoder("depthseg") == found.teacher("elevation") == []


@pytest.mark.parametrize("is_asked", [False, True])
def test_every_training_is_bundled_if_the_study_asks_for_that(paths, is_asked):
    chosen = {"depthseg": {"seeds": [0, 3]}}
    sections = {"bundle": {}} if is_asked else {}

    found = paths(row("a", "train"), row("b", "test"), experiments=chosen, **sections)

    folders = [f"results/bundle/depthseg/seed-{seed}" for seed in (0, 3)]
    assert found.bundles() == ([f"{folder}/bundle.json" for folder in folders] if is_asked else [])


@pytest.mark.parametrize("lent", [False, True])
def test_a_licence_that_is_stated_is_that_of_the_encoder_s_weights(paths, lent):
    models = tiny_study()["fetch"]["models"]
    models["tiny-depth-anything"]["license"] = "MIT"
    encoder = {"name": "teacher", "arguments": None} if lent else {}
    train = {"teacher": "town", "network": {"encoder": encoder}}
    sections = {"fetch": {"models": models}, "experiments": {"own": {"train": train}}}

    found = paths(row("a", "train"), row("b", "test"), **sections)

    manifest = "results/adapt/town/manifest.json"
    assert found.stated_licences("own") == ({manifest: "MIT"} if lent else {})


FED = {"train": {"network": {"depth": "fed"}}}
BY_HEIGHT = {"train": {"teacher": "elevation", "network": {"depth": "fed"}}}


def tried(paths, **corrupt):
    experiments = {"plain": PLAIN, "fed": FED, "by-height": BY_HEIGHT}
    ensembles = {"blind": ["plain", "by-height"], "seeing": ["plain", "fed"]}
    together = {name: one | {"seeds": [0, 1]} for name, one in experiments.items()}
    rows = [row("a", "train"), row("b", "test"), row("c", "test")]
    sections = {"experiments": together, "ensembles": ensembles} | corrupt
    return paths(*rows, **sections)


def test_who_is_fed_a_depth_of_the_clean_image_is_not_tried_on_corrupted_ones(paths):
    found = tried(paths, corrupt={})

    names = {tuple(one.removesuffix(".json").split("/")[2:]) for one in found.corruptions()}
    runs = [("plain", "seed-0"), ("plain", "seed-1"), ("by-height", "seed-0")]
    runs += [("by-height", "seed-1"), ("blind", "seeds")]
    assert names == {(*run, scene) for run in runs for scene in ("b", "c")}
    assert len(found.corruptions()) == len(names)


def test_scenes_that_are_chosen_are_corrupted_alone_and_without_the_section_none(paths):
    found = tried(paths, corrupt={"scenes": ["c"]})

    assert {one.rpartition("/")[2] for one in found.corruptions()} == {"c.json"}
    assert found.first_corruptions() == ["results/corrupt/plain/seed-0/c.json"]


def test_without_the_section_nothing_is_corrupted(paths):
    found = tried(paths)

    assert found.corruptions() == found.first_corruptions() == []


def test_a_scene_that_is_not_tested_cannot_be_corrupted(paths):
    with pytest.raises(StudyError, match=r"corrupt\.scenes has 'a', expected test scenes: b, c"):
        tried(paths, corrupt={"scenes": ["a"]})


@pytest.mark.parametrize(
    ("corrupt", "words"),
    [
        ({"severities": [5, 1]}, r"severities is \[5, 1\], expected ascending"),
        ({"kinds": ["haze", "haze"]}, r"kinds is \['haze', 'haze'\], expected each once"),
        ({"kinds": ["rain"]}, r"corrupt\.kinds"),
        ({"severities": [6]}, r"corrupt\.severities"),
    ],
)
def test_kinds_and_severities_that_make_no_sense_are_refused(paths, corrupt, words):
    with pytest.raises(StudyError, match=words):
        tried(paths, corrupt=corrupt)
