"""The Dubai study on its real imagery, with a small budget."""

import json

import pandas as pd
import pytest
import rasterio
import yaml
from PIL import Image

from tests.conftest import REAL
from tests.data.studies import ROOT, snakemake

pytestmark = [pytest.mark.real, pytest.mark.slow]

STUDIES = ROOT / "config" / "studies"


@pytest.fixture(scope="module")
def dubai(tmp_path_factory):
    """The folder of the study, run to its end with a third of its training."""
    if not REAL.is_dir():
        pytest.skip("no ../shared/data here")
    folder = tmp_path_factory.mktemp("dubai")
    config = yaml.safe_load((STUDIES / "dubai.yaml").read_text())
    config["data_root"] = str(REAL / "dubai")
    config["train"]["steps"] = 160
    (folder / "dubai.tsv").write_text((STUDIES / "dubai.tsv").read_text())
    (folder / "dubai.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    done = snakemake(ROOT, folder / "dubai.yaml")
    assert done.returncode == 0, done.stderr
    return folder


def test_what_is_trained_beats_the_majority_class_on_the_held_out_tile(dubai):
    tables = dubai / "results" / "tabulate"
    overall = pd.read_csv(tables / "overall.csv").set_index("experiment")
    classes = pd.read_csv(tables / "classes.csv")
    support = classes[classes["experiment"] == "plain"]["support"]
    majority = support.max() / support.sum() / (support > 0).sum()
    assert set(overall.index) == {"plain", "depthseg"}
    assert overall.loc["plain", "miou"] >= majority + 0.15


def test_every_image_of_the_tile_has_a_map_of_its_size(dubai):
    maps = dubai / "results" / "predict" / "plain" / "seed-0" / "tile_5" / "classes"
    images = sorted((REAL / "dubai" / "tile_5" / "images").glob("*.jpg"))
    assert len(images) == len(list(maps.glob("*.tif"))) == 9
    for image in images:
        with rasterio.open(image) as source, rasterio.open(maps / f"{image.stem}.tif") as target:
            assert target.shape == source.shape
            assert target.crs is None


def test_stray_colours_are_counted_and_belong_to_no_class(dubai):
    facts = json.loads((dubai / "results" / "tile" / "tile_5" / "manifest.json").read_text())
    stray, unlabelled = 0, 0
    table = {(226, 169, 41), (132, 41, 246), (110, 193, 228), (60, 16, 152), (254, 221, 58)}
    for path in sorted((REAL / "dubai" / "tile_5" / "masks").glob("*.png")):
        with Image.open(path) as mask:
            colours = mask.convert("RGB").getcolors(2**24)
        stray += sum(n for n, rgb in colours if rgb not in table | {(155, 155, 155)})
        unlabelled += sum(n for n, rgb in colours if rgb == (155, 155, 155))
    pixels = sum(r["height"] * r["width"] for r in facts["rasters"])

    assert sum(facts["unlisted"].values()) == stray > 0
    assert sum(facts["label_counts"]) == pixels - stray - unlabelled
