import shutil
import sys
import time

STARTED = time.time()

sys.path.insert(0, workflow.basedir)

from pipeline_steps.study.asked import USAGE, asked_of
from pipeline_steps.study.commands import exported, python_on
from pipeline_steps.study.config import load
from pipeline_steps.study.ending import say_errors, say_results
from pipeline_steps.study.errors import StudyError
from pipeline_steps.study.fingerprint import fingerprint
from pipeline_steps.study.needs import Needs
from pipeline_steps.study.params.base import as_json
from pipeline_steps.study.paths import Paths, map_names
from pipeline_steps.study.plan import plan_of
from pipeline_steps.study.runs import Run
from pipeline_steps.study.scenes import NAME as SCENE
from pipeline_steps.study.teachers import ELEVATION
from pipeline_steps.study.wildcards import one_of, part_of

if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config/config.yaml"


try:
    asked = asked_of(config)
    study = load(config, [str(file) for file in workflow.configfiles])
except StudyError as error:
    sys.exit(f"error: {error}")

paths = Paths(study)


# Only `fetch` may use the internet, and says so itself. Threads of torch that wait for the next layer
# give their core to those that read and write, after half a millisecond and not only after ten.
here = {"PYTHONPATH": workflow.basedir, "SCENE_TABLE": study.table, "SCENE_ROOT": study.root}
shell.prefix(exported(HF_HUB_OFFLINE=1, GOMP_SPINCOUNT=10000, **here))

# Two networks can exhaust one GPU, so where no limit is stated one runs at a time; a job of a cluster
# has what it was given.
if "gpu" not in workflow.global_resources and not workflow.remote_exec:
    workflow.register_resource("gpu", 1)

# On a CPU a network takes all cores; beside a GPU a few, which leaves the rest to other jobs.
NETWORK_THREADS = 4 if shutil.which("nvidia-smi") else 64


# what a job asks for, by its stage and scene
needs = Needs(study, "results/check/findings.json")


# `--cache` shares networks and pseudo-depth with other studies: links to files take their place. A job
# of a cluster sees no stage but its own, and Snakemake digests no store: manifests tell what it takes.
SHARES = workflow.workflow_settings.cache is not None
kept = str if SHARES else update
store = (lambda path: []) if SHARES and workflow.remote_exec else ancient


def share(stage):
    """Let results of a stage come from elsewhere, if any may: no benchmark can tell their time."""
    if SHARES:
        workflow.get_rule(stage)._benchmark = None


def scene_of(names):
    """A regular expression of these scenes, and of names that no scene has."""
    return part_of(study.scenes, names, SCENE.pattern)


def of_scene(path):
    """The path for a scene of the table; any other name ends the run with a word on it."""
    return lambda wildcards: path.format(scene=study.scene(wildcards.scene).name)


wildcard_constraints:
    scene=SCENE.pattern,
    experiment=one_of(study.experiments),
    teacher=one_of(study.teachers),
    model=one_of(study.config.fetch.models),
    run=r"(seeds|seed-\d+)(-fold-\d+)?",


def params_for(stage):
    """The stage's own config section."""
    return as_json(getattr(study.config, stage))


LOOKS = as_json([c.look for c in study.config.classes])


def map_files(folder, outputs, many=False):
    """The maps of a scene, or where it has many images folders of them."""
    files = [f"{folder}/{name}" for name in map_names(outputs, many)]
    return [file if file.endswith(".tif") else directory(file) for file in files]


def of_asked(get):
    """What `map` is asked on the command line; where that is nothing, one line says what to ask."""
    return lambda wildcards: get(asked) if asked else sys.exit(f"error: map: expected {USAGE}")


def network_code(step):
    """The step's fingerprint with the networks that the experiment names."""
    return lambda wildcards: fingerprint(
        f"pipeline_steps.{step}",
        *(f"pipeline_steps.models.{name}" for name in study.models(wildcards.experiment)),
    )


def seen(*parts):
    """The scenes of these splits that a training sees in a run."""
    return lambda wildcards: study.seen(
        wildcards.experiment, *parts, fold=Run.named(wildcards.run).fold
    )


# A run learns from the first, its losses are watched on the second; a teacher learns from the last.
learned, watched, used = seen("train"), seen("val"), seen("train", "val")
taught = lambda wildcards: study.taught(wildcards.teacher)


def given(flag, files):
    """A flag with its file, where there is one."""
    return [flag, *files] if files else []


def splits(scenes):
    """The divisions of those scenes that are divided."""
    return expand("results/split/{scene}/manifest.json", scene=study.divided(scenes))


def tiles(scenes):
    return expand("results/tile/{scene}/manifest.json", scene=scenes)


def tile_stores(scenes, *names):
    return ancient(expand("results/tile/{scene}/{name}.zarr", scene=scenes, name=names))


def depths(teacher, scenes):
    return expand("results/depth/{teacher}/{scene}/manifest.json", teacher=teacher, scene=scenes)


def depths_of(scenes):
    """The experiment's pseudo-depth of scenes, where its network has a use for it."""

    of = lambda wildcards: study.trainings[wildcards.experiment]
    return lambda w: depths(of(w).teacher, scenes(w)) if of(w).network.prompter else []


def of_members(file):
    """This file of every training whose network predicts."""
    return lambda wildcards: [
        f"{folder}/{file}" for folder in paths.members(wildcards.experiment, wildcards.run)
    ]


def fed_to(wildcards):
    """The pseudo-depth of the scene for each network that is fed one when it predicts."""
    fed = study.fed(wildcards.experiment, Run.named(wildcards.run))
    return [path for teacher in fed for path in depths(teacher, [wildcards.scene])]


# Its limit of jobs a second wakes the scheduler every second, once for each job that has ended.
onstart:
    if workflow.local_exec:
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    say_results("results", asked and asked.folder)


onerror:
    say_errors("logs", STARTED)
