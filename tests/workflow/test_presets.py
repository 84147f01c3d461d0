"""The studies of real data sets, each on a replica of what its makers hand out."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import zarr
from snakemake.common.configfile import load_configfile
from snakemake.utils import update_config

from pipeline_steps import check, tile
from pipeline_steps.study.classes import IGNORE
from pipeline_steps.study.config import Loaded, load
from pipeline_steps.study.corruptions import corruptions, tried
from pipeline_steps.study.paths import Paths
from pipeline_steps.study.plan import plan_of
from tests.data.replicas import REPLICAS, write

STUDIES = Path(__file__).resolve().parents[2] / "config" / "studies"
OWN_DATA = {"dubai", "demo_shift"}
"""What has a test of its own, on the real thing."""


@dataclasses.dataclass(frozen=True)
class Preset:
    """A preset that was loaded on its replica, and what the replica says of its labels."""

    study: Loaded
    truth: dict[str, Counter[str]]
    folder: Path
    name: str

    def scenes(self) -> list[str]:
        """Return the first scene of each split of each domain."""
        kinds = {(s.split, s.domain): name for name, s in reversed(self.study.scenes.items())}
        return list(kinds.values())


def laid(name, folder, *overlays):
    """Load the preset with pretrained weights on its replica, with more files laid over it."""
    files = [STUDIES / f"{one}.yaml" for one in (name, "_pretrained", *overlays)]
    config = {}
    for file in files:
        update_config(config, load_configfile(str(file)))
    config["data_root"] = str(folder / "data")
    return load(config, [str(file) for file in files])


def on_its_replica(name, folder):
    """Write the replica of a preset, and load the preset with pretrained weights on it."""
    truth = write(name, folder / "data")
    return Preset(laid(name, folder), truth, folder, name)


@pytest.fixture(scope="module", params=[name for name in REPLICAS if not name.startswith("_")])
def preset(request, tmp_path_factory):
    return on_its_replica(request.param, tmp_path_factory.mktemp(request.param))


def checked(preset):
    """Run the step ``check``; return what it found."""
    config, folder = preset.study.config, preset.folder
    check.run(
        table=Path(preset.study.table),
        root=preset.study.root,
        findings=folder / "findings.json",
        record=folder / "record.json",
        text=folder / "check.txt",
        readings=preset.study.readings,
        models=config.fetch,
        split=config.split,
        plan=plan_of(preset.study),
        params=config.check,
    )
    return json.loads((folder / "findings.json").read_text())


def tiled(preset, scene):
    """Run the step ``tile`` on one scene; return its manifest and its arrays by store."""
    reading, folder = preset.study.reading(scene), preset.folder / scene
    stores = {name: folder / f"{name}.zarr" for name in ("image", "labels", "valid", "elevation")}
    tile.run(
        scene=scene,
        table=Path(preset.study.table),
        root=preset.study.root,
        **stores,
        manifest=folder / "manifest.json",
        classes=reading.classes,
        params=reading.tile,
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    arrays = {
        name: [group[str(i)][:] for i in range(len(manifest["rasters"]))]
        for name, group in ((name, zarr.open_group(s, mode="r")) for name, s in stores.items())
    }
    return manifest, arrays


def test_every_preset_has_a_replica():
    presets = {file.stem for file in STUDIES.glob("*.yaml") if not file.stem.startswith("_")}
    assert presets - OWN_DATA == {name for name in REPLICAS if not name.startswith("_")}


def test_a_preset_knows_every_scene_and_every_class_of_its_data(preset):
    study = preset.study

    assert set(study.scenes) == set(preset.truth)
    everywhere = sum(preset.truth.values(), Counter())
    assert {c.name for c in study.config.classes} == set(everywhere)
    for name, scene in study.scenes.items():
        assert (scene.split == "predict") == (not scene.labels), name


def test_a_preset_has_something_to_learn_from_and_something_to_show(preset):
    splits = {scene.split for scene in preset.study.scenes.values()}
    assert "blocks" in splits or {"train", "test"} <= splits


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("potsdam", {"train": 24, "test": 14}),
        ("vaihingen", {"train": 16, "test": 17}),
        ("flair", {"train": 32, "val": 8, "test": 10}),
    ],
)
def test_an_official_split_by_scenes_has_its_sizes(name, sizes):
    rows = (STUDIES / f"{name}.tsv").read_text().splitlines()[1:]
    assert Counter(row.split("\t")[-1] for row in rows) == sizes


def test_a_preset_compares_depth_with_the_same_network_without_it(preset):
    trainings = preset.study.trainings

    assert trainings["depthseg"].network.encoder.weights == "dinov2-small"
    assert trainings["depthseg"].teacher == "depth-anything-v2-small"
    assert not trainings["frozen"].network.prompter and not trainings["frozen"].network.adapter
    has_elevation = all(scene.elevation for scene in preset.study.scenes.values())
    assert ("elevation" in trainings) == has_elevation


def test_ablations_controls_and_baselines_lie_over_any_preset(preset):
    has_elevation = all(scene.elevation for scene in preset.study.scenes.values())
    controls = "_controls_elevation" if has_elevation else "_controls"

    files = ("_depthseg_table2", controls, "_scales", "_baselines", "_depthforge", "_corruptions")
    found = laid(preset.name, preset.folder, *files)

    counts = Counter(cell.grid for cell in found.cells())
    expected = {"table2": 12, "controls": 9 if has_elevation else 6, "scales": 5, "baseline": 6}
    expected["forge"] = 2
    assert counts == expected
    # nothing starts from random weights, and the study's own experiments are there still
    assert all(one.network.encoder.weights for one in found.trainings.values())
    assert preset.study.trainings.items() <= found.trainings.items()
    # one control is fed what a teacher made of the clean image
    assert set(found.experiments) - set(tried(found)) >= {"controls-fed"}
    assert {scene for _, _, scene in corruptions(found)} == set(found.split("test"))


def test_checking_has_nothing_against_a_preset_on_its_data(preset):
    found = checked(preset)

    assert {row["scene"] for row in found["scenes"]} == set(preset.truth)
    assert [one for one in found["findings"] if one["level"] == "error"] == []


def test_town_and_country_of_loveda_are_domains_that_are_learned_from_and_tested(tmp_path):
    found = Paths(on_its_replica("loveda", tmp_path).study).transfer()

    assert [one.domain for one in found.targets] == ["rural", "urban"]
    assert {one.source for one in found.learners} == {("rural", "urban")}
    assert all(one.scenes == (f"{one.domain}_val",) for one in found.targets)


@pytest.mark.parametrize(
    ("name", "source", "targets"),
    [
        ("dgss_gta", "gta5", ["cityscapes", "bdd100k", "mapillary"]),
        (
            "dgss_cityscapes",
            "cityscapes",
            ["cityscapes", "fog", "night", "rain", "snow", "bdd100k", "mapillary"],
        ),
    ],
)
def test_a_protocol_of_street_scenes_learns_from_one_domain_and_tests_all(
    name, source, targets, tmp_path
):
    write(name, tmp_path / "data")
    found = Paths(laid(name, tmp_path, "_depthforge")).transfer()

    assert [one.domain for one in found.targets] == targets
    assert all(len(one.classes) == 19 for one in found.targets)
    # both systems and their baselines
    assert {one.source for one in found.learners} == {(source,)}
    names = {one.experiment for one in found.learners}
    assert names == {"frozen", "depthseg", "forge-tokens", "forge-depthforge"}


ACROSS = {
    "_dg_loveda": ("loveda", ["rural", "urban"]),
    "_dg_potsdam_vaihingen": ("potsdam", ["potsdam", "vaihingen"]),
    "_dg_flair": ("flair", ["north_east", "south_east", "south_west", "west"]),
    "_dg_openearthmap": (
        "openearthmap",
        ["africa", "asia", "europe", "north_america", "oceania", "south_america"],
    ),
}
"""Files to lay over a preset: the preset, and the domains that are sources and targets."""


def test_every_study_across_domains_is_tried():
    assert {file.stem for file in STUDIES.glob("_dg_*.yaml")} == set(ACROSS)


@pytest.mark.parametrize("overlay", ACROSS)
def test_a_study_across_domains_has_four_systems_of_every_source_on_every_target(overlay, tmp_path):
    name, domains = ACROSS[overlay]
    truth = write(overlay if overlay in REPLICAS else name, tmp_path / "data")
    study = laid(name, tmp_path, "_depthforge", overlay)
    preset = Preset(study, truth, tmp_path, name)

    assert list(study.experiments) == [
        f"across-{source}-{network}"
        for source in domains
        for network in ("frozen", "depthseg", "tokens", "depthforge")
    ]
    found = Paths(study).transfer()
    assert sorted(one.domain for one in found.targets) == domains
    assert all(study.trainings[name].domains for name in study.experiments)
    for scene in preset.scenes():
        assert_labels_are_those_written(preset, scene, *tiled(preset, scene))
    assert [one for one in checked(preset)["findings"] if one["level"] == "error"] == []


def assert_labels_are_those_written(preset, scene, manifest, arrays):
    names = [c.name for c in preset.study.config.classes]
    labels = np.concatenate([array.ravel() for array in arrays["labels"]])
    found = np.bincount(labels, minlength=256)
    expected = [preset.truth[scene][name] for name in names]
    assert found[: len(names)].tolist() == expected, scene
    assert found[IGNORE] == labels.size - sum(expected), scene
    assert manifest["label_counts"] == expected, scene


def test_tiling_finds_the_labels_that_were_written_and_no_others(preset):
    bands = len(preset.study.config.tile.bands)
    for scene in preset.scenes():
        manifest, arrays = tiled(preset, scene)

        assert_labels_are_those_written(preset, scene, manifest, arrays)
        assert all(array.shape == (bands, 64, 64) for array in arrays["image"])
        assert all(array.all() for array in arrays["valid"])
        if preset.study.scenes[scene].elevation:
            assert np.isfinite(arrays["elevation"]).all()


def test_the_faults_of_potsdam_cost_a_column_of_heights_and_no_label(tmp_path):
    preset = on_its_replica("potsdam", tmp_path)

    for scene in ("4_12", "6_7"):
        manifest, arrays = tiled(preset, scene)
        assert_labels_are_those_written(preset, scene, manifest, arrays)
        assert not manifest["unlisted"]

    _, arrays = tiled(preset, "3_13")
    is_known = np.isfinite(arrays["elevation"][0])
    assert is_known[:, :-1].all() and not is_known[:, -1].any()
