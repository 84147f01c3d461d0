"""Every stage, killed, out of disk, without permission, and over what was damaged before it.

Whatever is done to it, a stage ends in an error that names a file of the study, or with the bytes
of an undisturbed run. Every fault is a parameter, so pytest's numbers count them.
"""

import multiprocessing
import random
import re
import shutil
import stat
import sys
import time
import zlib

import pytest

from tests.data import faults
from tests.data.disks import room
from tests.data.faults import STAGES, digests, forget, partials, powerless

READ_BY = {
    "tile/town/image.zarr": "strata",
    "tile/town/labels.zarr": "strata",
    "tile/town/elevation.zarr": "strata",
    "tile/town/valid.zarr": "strata",
    "depth/tiny/town/depth.zarr": "train",
    "strata/town/strata.zarr": "score",
    "tile/town/manifest.json": "strata",
    "stretch/stretch.json": "depth",
    "fetch/tiny/config.json": "depth",
    "fetch/tiny/model.safetensors": "depth",
    "fetch/tiny/preprocessor_config.json": "depth",
    "fetch/tiny/manifest.json": "depth",
    "depth/tiny/town/manifest.json": "train",
    "depth/tiny/town/quality.json": "gather",
    "train/plain/seed-0/model.safetensors": "predict",
    "train/plain/seed-0/manifest.json": "predict",
    "bundle/plain/model.safetensors": "map",
    "bundle/plain/bundle.json": "map",
    "predict/plain/seed-0/town/classes.tif": "score",
    "predict/plain/seed-0/town/confidence.tif": "score",
    "strata/town/manifest.json": "score",
    "score/plain/seed-0/town.json": "gather",
    "corrupt/plain/seed-0/town.json": "gather",
    "gather/counts.jsonl": "tabulate",
    "gather/corruptions.jsonl": "tabulate",
    "gather/qualities.jsonl": "tabulate",
    "check/findings.json": "tabulate",
}
"""What a study makes, and a stage that reads it."""

SHARD = {"tile/town/image.zarr": "0/c/0/0/0"}
"""Where the store's pixels lie; that of `valid` has none, since all ground has data."""

PLACE = rf"\b({'|'.join(STAGES)})/"

DAMAGES = ("flipped 1", "flipped 2", "flipped last", "cut", "empty", "gone")


def _cases():
    for artifact, stage in READ_BY.items():
        parts = [""]
        if artifact.endswith(".zarr"):
            shard = [] if "valid" in artifact else [SHARD.get(artifact, "0/c/0/0")]
            parts = ["/zarr.json", "/0/zarr.json", *(f"/{one}" for one in shard)]
        for part in parts:
            for damage in DAMAGES:
                yield pytest.param(artifact + part, damage, stage, id=f"{artifact}{part}-{damage}")


CASES = list(_cases())
HARMLESS = {f"{stage}/plain/seed-0/town/manifest.json" for stage in ("score", "corrupt")}
HARMLESS |= {"check/manifest.json"}
"""Manifests that tell of a file which is read, and are not read for what they say."""


def damage_file(file, damage):
    """Do to a file what ``damage`` says, the same each time."""
    data = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
        return
    if damage.startswith("flipped"):
        rng = random.Random(zlib.crc32(f"{file.name} {damage}".encode()))
        place = len(data) - 1 if damage == "flipped last" else rng.randrange(len(data))
        data[place] ^= 1 << rng.randrange(8)
    size = {"cut": len(data) // 2, "empty": 0}.get(damage, len(data))
    file.write_bytes(data[:size])


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study, every stage of which was run."""
    root = tmp_path_factory.mktemp("faults") / "study"
    faults.make(root)
    return root


@pytest.fixture
def copy(tmp_path, study):
    return shutil.copytree(study, tmp_path / "study")


def results(root, stage):
    """Return digests of what a stage made, but for its manifest, which tells of what was read."""
    return {k: v for k, v in digests(root, stage).items() if not k.endswith("manifest.json")}


def test_at_least_a_hundred_and_fifty_damages_are_tried():
    assert len({case.id for case in CASES}) == len(CASES) >= 150


@pytest.mark.parametrize("file, damage, stage", CASES)
def test_what_was_damaged_is_an_error_or_makes_no_difference(copy, study, file, damage, stage):
    before = results(study, stage)
    forget(copy, stage)
    damage_file(copy / file, damage)

    try:
        faults.run(copy, stage)
    except (ValueError, OSError) as error:
        # of two files that do not agree any more either may be named
        assert re.search(PLACE, str(error))
        assert not list(partials(copy))
    else:
        assert results(copy, stage) == before


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", sorted(HARMLESS))
def test_a_manifest_beside_what_is_read_makes_no_other_tables(copy, study, file, damage):
    forget(copy, "tabulate")
    damage_file(copy / file, damage)

    try:
        faults.run(copy, "tabulate")
    except ValueError as error:
        assert file in str(error)
    else:
        assert results(copy, "tabulate") == results(study, "tabulate")


# disturbances while a stage runs


def run_beside(stage, root, is_powerless=False):
    """Run a stage in a process; status 3 is an error as bad input ends in."""
    if is_powerless:
        powerless()
    try:
        faults.run(root, stage)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(3)


@pytest.fixture(scope="module")
def started():
    """Start a stage in a process that has its imports already, so that kills meet work."""
    context = multiprocessing.get_context("forkserver")
    networks = ("depth_anything.modeling_depth_anything", "dinov2.modeling_dinov2")
    late = [f"transformers.models.{name}" for name in networks]
    late += ["pipeline_steps.models.runner", "pipeline_steps.models.depthseg", "torch._dynamo"]
    context.set_forkserver_preload(["tests.data.faults", *late])

    def start(*arguments):
        process = context.Process(target=run_beside, args=arguments)
        process.start()
        return process

    return start


@pytest.fixture(scope="module")
def lengths(study, started, tmp_path_factory):
    """Seconds that every stage takes in a process of its own."""
    root, found = shutil.copytree(study, tmp_path_factory.mktemp("timed") / "study"), {}
    for stage in STAGES:
        forget(root, stage)
        begin = time.monotonic()
        process = started(stage, root)
        process.join()
        found[stage] = time.monotonic() - begin
        assert process.exitcode == 0
    return found


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.4, 0.8])
@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_was_killed_ends_with_the_same_bytes(
    copy, study, started, lengths, stage, share
):
    forget(copy, stage)
    process = started(stage, copy)
    process.join(share * lengths[stage])
    process.kill()
    process.join()

    forget(copy, stage)
    again = started(stage, copy)
    again.join()

    assert again.exitcode == 0
    assert digests(copy, stage) == digests(study, stage)
    assert not list(copy.rglob("*.partial"))


@pytest.mark.parametrize("share", [0, 0.9])
@pytest.mark.parametrize("stage", STAGES)
def test_a_disk_that_is_full_is_an_error_and_nothing_wrong_has_a_name(copy, study, stage, share):
    before, files = digests(study, stage), [copy / name for name in STAGES[stage].made]
    largest = max(f.stat().st_size for name in files for f in (name, *name.rglob("*")))
    forget(copy, stage)

    with pytest.raises(Exception), room(int(share * largest)):  # noqa: B017
        faults.run(copy, stage)

    left = {name: found for name, found in digests(copy, stage).items() if found is not None}
    assert left.items() < before.items()
    assert not list(partials(copy))
    faults.run(copy, stage)
    assert digests(copy, stage) == before


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_a_folder_that_may_not_be_written_is_an_error(copy, study, started, stage):
    forget(copy, stage)
    folders = {(copy / name).parent for name in STAGES[stage].made}
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)

    process = started(stage, copy, True)
    process.join()

    for folder in folders:
        folder.chmod(stat.S_IRWXU)
    assert process.exitcode == 3
    assert set(digests(copy, stage).values()) == {None}
    faults.run(copy, stage)
    assert digests(copy, stage) == digests(study, stage)
