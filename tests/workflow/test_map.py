"""A bundle of the tiny study maps an image elsewhere; what cannot be is refused in one line."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
import rasterio

from tests.data.studies import environment, snakemake

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bundles(finished, source, tmp_path_factory):
    """The bundles of the tiny study's trainings, taken far away from it."""
    made = [f"results/bundle/{name}/seed-0" for name in ("depthseg", "elevation")]
    done = snakemake(source, finished / "study.yaml", *(f"{one}/bundle.json" for one in made))
    assert done.returncode == 0, done.stderr
    folder = tmp_path_factory.mktemp("far away")
    for one in made:
        shutil.move(finished / one, folder / one.split("/")[2])
    return folder


def map_(source, folder, *more, target="map", **config):
    stated = [f"{key}={value}" for key, value in config.items()]
    return subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--cores", "2", *more),
            *("--snakefile", source / "Snakefile", "--directory", folder, target),
            *(["--config", *stated] if stated else []),
        ],
        env=environment(),
        capture_output=True,
        text=True,
    )


def refused(done):
    """Return the one line that says why a run ended."""
    assert done.returncode != 0
    lines = {line.split(" (logs/")[0] for line in done.stderr.splitlines() if "error: " in line}
    assert len(lines) == 1, done.stderr
    assert "Traceback" not in done.stderr
    return lines.pop()


def test_a_new_image_is_mapped_with_a_bundle_alone_as_in_the_study(
    tmp_path, bundles, finished, source
):
    shutil.copy(finished / "results/synthesize/harbour/image.tif", tmp_path / "new town.tif")

    done = map_(
        source, tmp_path / "run", image=tmp_path / "new town.tif", checkpoint=bundles / "depthseg"
    )

    assert done.returncode == 0, done.stderr
    maps = tmp_path / "run" / "results" / "map" / "new_town"
    assert f"maps: {maps}" in done.stderr
    own = finished / "results/predict/depthseg/seed-0/harbour"
    for name in ("classes.tif", "confidence.tif"):
        assert (maps / name).read_bytes() == (own / name).read_bytes()
    assert sorted(f.name for f in (tmp_path / "run/results").iterdir()) == ["map"]
    again = map_(
        source, tmp_path / "run", image=tmp_path / "new town.tif", checkpoint=bundles / "depthseg"
    )
    assert "Nothing to be done" in again.stdout + again.stderr


def test_maps_come_into_the_folder_that_is_stated(tmp_path, bundles, finished, source):
    image = finished / "results/synthesize/east/image.tif"
    asked = {"image": image, "checkpoint": bundles / "depthseg", "out": tmp_path / "my maps"}

    done = map_(source, tmp_path, **asked, outputs="entropy,depth", overlap=0.5)

    assert done.returncode == 0, done.stderr
    found = sorted(f.name for f in (tmp_path / "my maps").iterdir())
    assert found == ["classes.tif", "depth.tif", "entropy.tif", "map.json"]


def test_a_map_is_delivered_when_that_is_the_target(tmp_path, bundles, finished, source):
    image = finished / "results/synthesize/east/image.tif"
    asked = {"image": image, "checkpoint": bundles / "depthseg", "out": tmp_path / "maps"}
    asked |= {"outputs": "confidence,entropy"}

    done = map_(source, tmp_path, target="deliver_map", **asked)

    assert done.returncode == 0, done.stderr
    folder = tmp_path / "maps" / "delivery"
    maps = {"classes.tif", "confidence.tif", "entropy.tif"}
    rest = {"areas.csv", "classes.gpkg", "classes.parquet", "classes.qml", "item.json"}
    rest |= {"manifest.json"}
    names = {file.name for file in folder.iterdir()}
    assert names - {".snakemake_timestamp"} == maps | rest
    assert json.loads((folder / "item.json").read_text())["id"] == "image"
    stated = "{polygons: {minimum_area: 25, files: [gpkg]}, maps: false}"
    again = map_(source, tmp_path, target="deliver_map", **asked, deliver=stated)
    assert again.returncode == 0, again.stderr
    assert "rule map:" not in again.stderr
    names = {file.name for file in folder.iterdir()}
    assert names - {".snakemake_timestamp"} == rest - {"classes.parquet"}


def test_a_map_without_confidence_is_refused_before_it_is_made(tmp_path, bundles, finished, source):
    image = finished / "results/synthesize/east/image.tif"
    asked = {"image": image, "checkpoint": bundles / "depthseg", "outputs": "entropy"}

    line = refused(map_(source, tmp_path, target="deliver_map", **asked))

    assert line == "error: --config: outputs has no confidence, expected it to deliver"
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("target", ["map", "deliver_map"])
def test_without_an_image_one_line_says_what_to_give(tmp_path, source, target):
    line = refused(map_(source, tmp_path, target=target))
    assert line.endswith("map --config image=PATH checkpoint=FOLDER")
    assert not (tmp_path / "results").exists()


def test_what_does_not_fit_is_refused_in_one_line(tmp_path, bundles, finished, source):
    image = finished / "results/synthesize/east/image.tif"
    with rasterio.open(image) as opened:
        profile, pixels = opened.profile, opened.read()
    with rasterio.open(tmp_path / "deep.tif", "w", **profile | {"dtype": "uint16"}) as deep:
        deep.write(pixels.astype(np.uint16))
    plain = bundles / "depthseg"

    gone = refused(map_(source, tmp_path, image=tmp_path / "gone.tif", checkpoint=plain))
    fed = refused(map_(source, tmp_path, image=image, checkpoint=bundles / "elevation"))
    other = refused(map_(source, tmp_path, image=tmp_path / "deep.tif", checkpoint=plain))
    wrong = refused(map_(source, tmp_path, image=image, checkpoint=plain, windw=64))

    assert "gone.tif, where no file is" in gone
    assert "elevation/seed-0 is fed a depth" in fed
    assert "deep.tif: is uint16, expected uint8" in other
    assert "windw is not a key" in wrong
    assert not list(tmp_path.rglob("*.partial"))
