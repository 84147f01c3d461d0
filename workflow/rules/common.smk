import json
import os
import re
import shlex
import sys
import time

STARTED = time.time()

sys.path.insert(0, workflow.basedir)
# Only `fetch` may use the internet, and says so itself.
root = shlex.quote(str(workflow.basedir)).replace("{", "{{").replace("}", "}}")
shell.prefix(f"export HF_HUB_OFFLINE=1 PYTHONPATH={root}; ")

from pipeline_steps.study.config import ELEVATION, load
from pipeline_steps.study.ending import say_errors, say_results
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.fingerprint import fingerprint
from pipeline_steps.study.scenes import sidecars_of

try:
    study = load(config, [str(file) for file in workflow.configfiles])
except StudyError as error:
    sys.exit(f"error: {error}")

# Two networks can exhaust one GPU, so where no limit is stated one runs at a time.
if "gpu" not in workflow.global_resources:
    workflow.register_resource("gpu", 1)


def grown(amount):
    """What a job asks for, and half as much again each time it is tried anew."""
    return lambda wildcards, attempt: int(amount * (1 + attempt) / 2)


def one_of(names):
    """A regular expression that matches these names and nothing else."""
    return "|".join(map(re.escape, names)) or "(?!)"


wildcard_constraints:
    scene=one_of(study.scenes),
    experiment=one_of(study.trainings),
    teacher=one_of([ELEVATION, *study.config.adapt.teachers, *study.config.fetch.models]),
    model=one_of(study.config.fetch.models),
    seed=r"\d+",


def as_json(value):
    """Parameters as canonical JSON: what a step gets, and what makes it stale."""
    if isinstance(value, (list, tuple)):
        return json.dumps([v.model_dump(mode="json") for v in value], sort_keys=True)
    return json.dumps(value.model_dump(mode="json"), sort_keys=True)


def params_for(stage):
    """The stage's own config section."""
    return as_json(getattr(study.config, stage))


CODES = as_json([c.code for c in study.config.classes])
LOOKS = as_json([c.look for c in study.config.classes])


def network_code(step):
    """The step's fingerprint with the one network that the experiment names."""
    return lambda wildcards: fingerprint(
        f"pipeline_steps.{step}",
        f"pipeline_steps.models.{study.trainings[wildcards.experiment].network.model}",
    )


def every_file(*kinds):
    """The table's files of some kinds, of every scene."""
    return [f for scene in study.scenes.values() for kind in kinds for f in getattr(scene, kind)]


def files_of(*kinds):
    """The scene's images, labels or elevation."""
    return lambda wildcards: [
        f for kind in kinds for f in getattr(study.scenes[wildcards.scene], kind)
    ]


def sidecars(files):
    """What GDAL reads beside rasters: masks, world files, and its own notes on georeference."""
    return [beside for file in files for beside in sidecars_of(file)]


def tiles(scenes):
    return expand("results/tile/{scene}/manifest.json", scene=scenes)


def tile_stores(scenes, *names):
    return ancient(expand("results/tile/{scene}/{name}.zarr", scene=scenes, name=names))


def taught_scenes():
    """The training scenes that have elevation; never a test scene."""
    return [name for name in study.split("train") if study.scenes[name].elevation]


def depths(teacher, scenes):
    return expand("results/depth/{teacher}/{scene}/manifest.json", teacher=teacher, scene=scenes)


def teacher_of(wildcards):
    """The manifest of a fetched or adapted teacher; elevation needs none."""
    if wildcards.teacher == ELEVATION:
        return []
    stage = "adapt" if wildcards.teacher in study.config.adapt.teachers else "fetch"
    return f"results/{stage}/{wildcards.teacher}/manifest.json"


def base_of(wildcards):
    model = study.config.adapt.teachers[wildcards.teacher]
    return f"results/fetch/{model}/manifest.json"


def depths_of(*splits):
    """The experiment's pseudo-depth, where its network has a use for it."""

    def inputs(wildcards):
        training = study.trainings[wildcards.experiment]
        return depths(training.teacher, study.split(*splits)) if training.network.prompter else []

    return inputs


def encoder_of(wildcards):
    weights = study.trainings[wildcards.experiment].network.encoder.weights
    return f"results/fetch/{weights}/manifest.json" if weights else []


def fed_to(wildcards):
    """The pseudo-depth of the scene that a network is fed when it predicts."""
    training = study.trainings[wildcards.experiment]
    is_fed = training.network.prompter and training.network.depth == "fed"
    return depths(training.teacher, [wildcards.scene]) if is_fed else []


def map_of(experiment, seed, scene):
    """A GeoTIFF, or for a scene of many images a folder of them."""
    name = "classes" if study.scenes[scene].is_folder else "classes.tif"
    return f"results/predict/{experiment}/seed-{seed}/{scene}/{name}"


def maps(scenes, first_seed=False):
    return [
        map_of(name, seed, scene)
        for name, experiment in study.config.experiments.items()
        for seed in experiment.seeds[: 1 if first_seed else None]
        for scene in scenes
    ]


def per_training(pattern):
    return [
        path
        for name, experiment in study.config.experiments.items()
        for path in expand(pattern, experiment=name, seed=experiment.seeds, allow_missing=True)
    ]


def local_files_of_model(wildcards):
    """The files of a model that lies in a folder, so that exchanging them is seen."""
    folder = study.config.fetch.models[wildcards.model].source or ""
    return (
        [f"{folder}/{name}" for name in sorted(os.listdir(folder))] if os.path.isdir(folder) else []
    )


onsuccess:
    say_results("results")


onerror:
    say_errors("logs", STARTED)
