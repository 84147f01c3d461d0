"""What a study will cost: jobs, disk and memory, before it runs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated

from pydantic import Field

from pipeline_steps.study.config import Loaded
from pipeline_steps.study.corruptions import corruptions
from pipeline_steps.study.params.base import StageParams
from pipeline_steps.study.params.fetch import Model
from pipeline_steps.study.params.network import Network
from pipeline_steps.study.params.train import Params as Train
from pipeline_steps.study.teachers import Teacher

Count = Annotated[int, Field(ge=0)]
GB = 1e9

SIZES = {
    "tiny": (192, 12),
    "small": (384, 12),
    "base": (768, 12),
    "large": (1024, 24),
    "giant": (1536, 40),
}
"""A word in a ViT's name → its channels and its blocks."""

LIBRARIES_GB = 1.5
"""Memory of Python with torch and its networks, before any pixel."""


class Cached(StageParams):
    """What the features of one training's encoder take on disk, while it trains."""

    crop: Count
    """Height and width of its crops, which overlap by a quarter."""

    bytes: Count
    """For each crop of the grid, in all turns."""

    most: Count
    """In all at most: no crop is kept twice."""


class Planned(StageParams):
    """A network of the study."""

    training: str
    """The first training that has it."""

    network: Network
    """Its settings."""


class Plan(StageParams):
    """What `check` needs to know of a study beside its rasters."""

    jobs: Count
    """Jobs of a run from nothing."""

    fields: Count
    """Teachers that see every scene."""

    runs: Count
    """Trainings and ensembles, each of which maps scenes."""

    classes: Count
    """Classes, whose probabilities are blended."""

    window: Count
    """Height of the windows whose probabilities are blended, in pixels."""

    map_bytes: Annotated[int, Field(ge=1)] = 2
    """Bytes that the maps of one run take for each pixel."""

    map_copies: Annotated[int, Field(ge=1)] = 1
    """How many times they are kept: deliveries have copies."""

    is_stretched: bool
    """Whether the study says what becomes 0 and 1."""

    field_window: Count = 0
    """Height of the windows whose pseudo-depth is blended, in pixels of a scene."""

    field_bytes: Annotated[float, Field(ge=0)] = 0.0
    """Disk for each pixel of a raster while its pseudo-depth is made."""

    cached: tuple[Cached, ...] = ()
    """Trainings that keep features of their encoder, those that differ."""

    networks: tuple[Planned, ...] = ()
    """Networks of the study, those that differ, but for those that have a teacher's encoder."""

    taught: tuple[str, ...] = ()
    """Scenes that an adapted teacher learns from."""


def plan_of(study: Loaded) -> Plan:
    """Return the plan of a study."""
    config, scenes = study.config, list(study.scenes)
    runs, trained = study.all_runs(), study.all_trainings()
    tested = [study.split("test", fold=run.fold) for _, run in runs]
    new = study.split("val", "predict")
    mapped = [{*new, *test} for test in tested]
    teachers = [study.teachers[name] for name in study.teachers_used()]
    adapted = [name for name in study.teachers_needed() if study.teachers[name].adapt]
    networks = [teacher for teacher in teachers if teacher.model]
    once = 1 + len(scenes) + len(study.divided(scenes)) + 1 + len(study.fetched().models)
    once += (len(scenes) if config.synthesize else 0) + len(adapted) + len(_seen(study))
    # the rule `all` counts too
    jobs = once + len(trained) + sum(map(len, mapped)) + sum(map(len, tested)) + 1
    jobs += (sum(map(len, mapped)) if config.deliver else 0) + len(corruptions(study))
    # an export is one of a bundle
    jobs += len(trained) * (bool(config.bundle or config.export) + bool(config.export))
    jobs += 3 + len(study.split("test")) if any(tested) else 0
    kept = [training for training in study.trainings.values() if training.feature_cache]
    cached = [_cached(training, study.teachers, config.fetch.models) for training in kept]
    return Plan(
        jobs=jobs,
        fields=len(teachers),
        runs=len(runs),
        classes=len(config.classes),
        window=config.predict.window,
        map_bytes=1 + sum(_map_bytes(name, len(config.classes)) for name in config.predict.outputs),
        map_copies=2 if config.deliver and config.deliver.maps else 1,
        is_stretched=bool(config.stretch.limits or config.stretch.percentiles),
        field_window=max(map(field_window, networks), default=0),
        field_bytes=max((2 / (1 - one.depth.overlap) ** 2 for one in networks), default=0.0),
        cached=tuple(dict.fromkeys(cached)),
        networks=tuple(_networks(study)),
        taught=tuple(dict.fromkeys(s for name in study.teachers for s in study.taught(name))),
    )


def _networks(study: Loaded) -> Iterator[Planned]:
    """Yield every network once; a teacher's encoder is known only when the teacher is there."""
    seen = []
    for name, training in study.trainings.items():
        network = training.network
        is_known = not (network.has_teachers_encoder or network.has_depth_encoder)
        if is_known and network not in seen:
            seen.append(network)
            yield Planned(training=name, network=network)


def _cached(
    training: Train, teachers: Mapping[str, Teacher], models: Mapping[str, Model]
) -> Cached:
    """Return what features take: four taps of the encoder, or of the teacher's, that sees depth,
    those that the encoder's blocks see; two bytes for each of their tokens and channels."""
    encoder = training.network.encoder
    arguments = encoder.arguments or {}
    width, blocks = _size(encoder.name, arguments.get("embed_dim"), arguments.get("depth"))
    taps = 4
    if training.network.has_depth_encoder:
        model = models[teachers[training.teacher].model]
        backbone = (model.architecture or {}).get("backbone_config", {})
        stated = (backbone.get("hidden_size"), backbone.get("num_hidden_layers"))
        width, own = _size(str(model.source).lower(), *stated)
        taps = min(own, blocks)
    tokens = (training.crop // encoder.token_stride) ** 2
    one = taps * 2 * tokens * width
    turns = 8 if training.turns else 1
    most = one * training.steps * training.batch
    return Cached(crop=training.crop, bytes=turns * one, most=most)


def _size(name: str, width: int | None, blocks: int | None) -> tuple[int, int]:
    """Return a ViT's channels and blocks: as stated, or by its name, or as the largest has them."""
    known = next((size for word, size in SIZES.items() if word in name), SIZES["giant"])
    return width or known[0], blocks or known[1]


def _map_bytes(name: str, classes: int) -> int:
    return {"depth": 4, "probabilities": classes}.get(name, 1)


def field_window(teacher: Teacher) -> int:
    """Return the height of a teacher's window in pixels of a scene.

    What `gsd` makes of it depends on the raster, and is left out.
    """
    depth, adapt = teacher.depth, teacher.adapt
    is_own = adapt is None or depth.gsd is not None or depth.resample is not None
    resample = depth.resample if is_own else adapt.resample
    return round(depth.window / (resample or 1))


def _seen(study: Loaded) -> set[tuple[str, str]]:
    """Return the pairs of a teacher and a scene that it sees, to be label, fed or judged."""
    pairs = set()
    for name, training in study.trainings.items():
        if training.network.prompter:
            mapped = ("val", "test", "predict") if training.network.is_fed else ("test",)
            scenes = [*study.seen(name, "train", "val"), *study.split(*mapped)]
            pairs |= {(training.teacher, scene) for scene in scenes}
    return pairs


def disk_gb(plan: Plan, bytes_tiled: int, pixels: int, largest: int) -> float:
    """Return about how much disk a run takes at most, as if nothing were compressed.

    Stores of ``bytes_tiled``, pseudo-depth in two bytes for each of ``pixels`` and teacher, the
    maps of each run, and what lies there while the ``largest`` raster, in pixels, is worked
    at: what a teacher said of it, or drafts of its maps. Weights of networks are left out.
    """
    maps = plan.map_bytes * plan.map_copies * plan.runs
    results = bytes_tiled + pixels * (2 * plan.fields + maps)
    return (results + max(plan.field_bytes, plan.map_bytes) * largest) / GB


def memory_gb(plan: Plan, widths: Iterable[int]) -> float:
    """Return about how much memory the largest job takes: what is blended, in bands of windows."""
    rows = max(plan.classes * plan.window, plan.field_window)
    return LIBRARIES_GB + band_gb(rows, max(widths, default=0))


def band_gb(rows: int, width: int) -> float:
    """Return what a band of a raster takes while it is made: two and a half copies in float32."""
    return 2.5 * 4 * rows * width / GB
