"""The Dubai study on its real imagery, with a small budget."""

import json

import pandas as pd
import pytest
import rasterio
import torch
import yaml
from PIL import Image

from pipeline_steps.models import depthseg
from pipeline_steps.rasters.store import tiled
from pipeline_steps.study.manifest import read_manifest
from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.crops import Crops, batches
from pipeline_steps.training.fabric import new_fabric
from pipeline_steps.training.layers import layers_of
from pipeline_steps.training.loop import Recipe, Training
from pipeline_steps.training.objective import Objective
from pipeline_steps.training.optimiser import adamw, polynomial
from tests.conftest import REAL
from tests.data.studies import ROOT, snakemake

pytestmark = [pytest.mark.real, pytest.mark.slow]

STUDIES = ROOT / "config" / "studies"
STEPS = 200


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


@pytest.fixture(scope="module")
def eight_crops(dubai):
    """Eight crops of Dubai, with what an untrained teacher says of them."""
    tiles = sorted((dubai / "results" / "tile").glob("*/manifest.json"))
    scenes = tiled([tile for tile in tiles if tile.parent.name != "tile_5"], [], read_manifest)
    fields = [dubai / "results" / "depth" / "untrained" / s.name / "depth.zarr" for s in scenes]
    rasters = layers_of(scenes, fields, None, ("train", None), 255)
    crops = Crops(rasters, 128, 8, 0, Augmentation(), 255)
    return next(iter(batches(crops, 8, 0, False)))


@pytest.fixture(scope="module")
def overfitted(dubai, eight_crops):
    """DepthSeg of the study, from random weights, after many looks at the same eight crops."""
    manifest = dubai / "results" / "train" / "depthseg" / "seed-0" / "manifest.json"
    torch.manual_seed(0)
    network = depthseg.build(5, None, json.loads(manifest.read_text())["network"])
    recipe = Recipe(polynomial(STEPS, 20, 0.9), 1.0, report_every=10)
    fabric = new_fabric("auto")
    optimiser = adamw(network, 3e-3, 0.0)
    training = Training(fabric, network, optimiser, Objective(255), recipe)
    return training, training.run([eight_crops] * STEPS, STEPS)


def test_depthseg_learns_eight_crops_by_heart(overfitted, eight_crops):
    training, _ = overfitted
    with training.as_result() as network:
        said = network(eight_crops["image"]).logits.argmax(1)
    is_labelled = eight_crops["labels"] != 255
    right = (said == eight_crops["labels"])[is_labelled].float().mean()
    assert is_labelled.float().mean() > 0.5
    assert right > 0.95


def test_the_ssim_loss_falls_in_the_first_hundred_steps_and_depth_follows(overfitted):
    _, history = overfitted
    assert history["step"][9] == 100
    assert history["ssim_loss"][9] < 0.7 * history["ssim_loss"][0]
    assert history["depth_r"][9] > 0.5


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
