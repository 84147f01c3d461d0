"""A results folder as the stages before ``report`` leave it, small and drawn."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline_steps import gather, report, tabulate, tile
from pipeline_steps.rasters.raster import Grid
from pipeline_steps.rasters.store import new_array, open_array
from pipeline_steps.rasters.writing import write_raster
from pipeline_steps.study.about import About
from pipeline_steps.study.classes import IGNORE, ClassCode, ClassLook
from pipeline_steps.study.prompts import Prompts
from pipeline_steps.study.transfer import Transfer
from tests.steps.conftest import division, stretch_file, tile_arguments

TEMPLATE = Path(__file__).resolve().parents[2] / "workflow" / "report" / "page" / "index.html.jinja"

LOOKS = [
    ClassLook(name="roof", color="#c81e1e"),
    ClassLook(name="road", color="#1e1ec8"),
    ClassLook(name="tree", color="#1ec81e"),
]
HALVES = np.repeat([[0, 1]], 64, 0).repeat(32, 1).astype(np.uint8)


def written(path, array, dtype=np.uint8):
    bands = array if array.ndim == 3 else array[None]
    write_raster(path, bands.astype(dtype), Grid(*bands.shape[1:], None, (1, 0, 0, 0, 1, 0)))
    return path


TABLES = ("overall", "classes", "confusion", "depth", "differences", "reliability")
SURE = np.zeros((101, 2), int)
SURE[80] = 1, 3
"""Pixels by confidence: four of 80 %, three of them right."""


NOWHERE = Transfer(targets=(), learners=())
"""A study without domains."""


class Results:
    """A results folder as the stages before leave it, and the report of it."""

    def __init__(self, folder, looks=LOOKS):
        self.folder, self.looks = folder, looks
        self.tiles, self.depths, self.maps, self.histories, self.counts = [], [], [], [], []
        self.splits, self.limits, self.prompts, self.qualities = [], None, [], []
        self.panels, self.confidences, self.models, self.weights = [], [], [], []
        self.corruptions = []

    def scene(self, name, *labels, image=128, dtype=np.uint8, elevation=()):
        """Tile a scene of one raster, or of many."""
        sources = self.folder / "sources" / name
        for stem, one in zip("abc", labels, strict=False):
            written(sources / f"{stem}.tif", np.full((3, *one.shape), image), dtype)
            written(sources / "labels" / f"{stem}.tif", one)
        for stem, one in zip("abc", elevation, strict=False):
            written(sources / "elevation" / f"{stem}.tif", one, np.float32)
        stem = "*" if len(labels) > 1 else "a"
        files = [sources / f"{stem}.tif", sources / "labels" / f"{stem}.tif"]
        files += [sources / "elevation" / f"{stem}.tif"] if elevation else []
        arguments = tile_arguments(self.folder / "tile" / name, name, *files)
        codes = [ClassCode(name=look.name, value=i) for i, look in enumerate(self.looks)]
        tile.run(**arguments | {"classes": codes, "params": tile.Params(ignore_labels=(99,))})
        self.tiles.append(arguments["manifest"])
        return self

    def division(self, scene, *codes, tested=(), **facts):
        """Leave what ``split`` says of a scene: the parts of its rasters' blocks, row by row."""
        folder = self.folder / "split" / scene
        self.splits.append(division(folder, scene, *codes, counts={"test": tested}, **facts))
        return self

    def depth(self, teacher, scene, *fields):
        """Write a teacher's depth of every raster of a scene."""
        folder = self.folder / "depth" / teacher / scene
        for index, field in enumerate(fields):
            new_array(folder / "depth.zarr", index, field.shape, "float16", 0, 32)[:] = field
        self.depths.append(folder / "manifest.json")
        params = {"window": 518, "overlap": 0.25, "gsd": 0.5, "ground": "none"}
        facts = {"code": "c0de" * 4, "params": params, "arithmetic": "cpu", "versions": {}}
        facts |= {"made_from": {f"../../../fetch/{teacher}-net/manifest.json": "f00d" * 16}}
        self.depths[-1].write_text(json.dumps(facts))
        return self

    def quality(self, teacher, scene, spearman=None, auc_tall=None):
        """Leave what ``depth`` measured."""
        measured = {"spearman": spearman, "auc_tall": auc_tall, "classes": {}}
        self.qualities.append(self.folder / "depth" / teacher / scene / "quality.json")
        self.qualities[-1].parent.mkdir(parents=True, exist_ok=True)
        facts = {"teacher": teacher, "scene": scene, "rasters": [measured]}
        self.qualities[-1].write_text(json.dumps(facts))
        return self

    def prompted(self, experiment, teacher=None, **facts):
        """Say what prompts an experiment's network: nothing, or a teacher's depth."""
        facts = {"is_prompted": teacher is not None, "teacher": teacher} | facts
        self.prompts.append(Prompts(experiment=experiment, **facts))
        return self

    def map(self, experiment, scene, *guesses, run="seed-0"):
        """Write a scene's map, its counts, and once the training's history."""
        folder = self.folder / "predict" / experiment / run / scene
        self.maps.append(folder / "classes" if len(guesses) > 1 else folder / "classes.tif")
        for name, guess in zip("abc", guesses, strict=False):
            file = self.maps[-1] / f"{name}.tif" if len(guesses) > 1 else self.maps[-1]
            written(file, guess)
        history = self.folder / "train" / experiment / run / "history.csv"
        history.parent.mkdir(parents=True, exist_ok=True)
        depth = (",ssim_loss", ",0.5", ",0.4") if experiment == "deep" else ("", "", "")
        rows = ("step,lr,loss,cross_entropy", "20,0.1,1.5,1.0", "40,0.1,1.2,0.8")
        history.write_text("".join(f"{a}{b}\n" for a, b in zip(rows, depth, strict=True)))
        if history not in self.histories:
            self.histories.append(history)
            self.panels.append(history.parent / "panels")
            self.panels[-1].mkdir()
            for step in (20, 40) if experiment == "deep" else ():
                picture = Image.new("RGB", (64, 32), (step, 200, 0))
                picture.save(self.panels[-1] / f"step-{step:06d}.png")
        self._trained(history.parent, experiment)
        counts = self.folder / "score" / experiment / f"{scene}.json"
        counts.parent.mkdir(parents=True, exist_ok=True)
        blocks = [
            one for index, guess in enumerate(guesses) for one in self._halves(scene, index, guess)
        ]
        empty = np.zeros((len(self.looks),) * 2, int)
        matrix = sum((np.array(one["counts"]) for one in blocks), empty).tolist()
        facts = {"experiment": experiment, "seed": 0, "fold": None, "scene": scene}
        facts |= {"strata": {"all": matrix}, "blocks": blocks, "rims": None}
        facts |= {"confidence": SURE.tolist(), "depth": None}
        counts.write_text(json.dumps(facts | {"classes": [look.name for look in self.looks]}))
        self.counts.append(counts)
        return self

    def sure(self, experiment, scene, percent, run="seed-0"):
        """Write the confidence of a scene's map, in per cent."""
        file = self.folder / "predict" / experiment / run / scene / "confidence.tif"
        self.confidences.append(written(file, percent))
        return self

    def _halves(self, scene, index, guess):
        """Count the upper and the lower half of a map as a block each."""
        truth = open_array(self.folder / "tile" / scene / "labels.zarr", index)[:]
        half, (height, width) = truth.shape[0] // 2, truth.shape
        blocks, many = [], len(self.looks)
        for top, rows in ((0, half), (half, height - half)):
            pairs = [one[top : top + rows].ravel() for one in (truth, guess)]
            known = (pairs[0] != IGNORE) & (pairs[1] != IGNORE)
            matrix = np.zeros((many, many), int)
            np.add.at(matrix, (pairs[0][known], pairs[1][known]), 1)
            place = {"raster": index, "y": top, "x": 0, "height": rows, "width": width}
            if matrix.any():
                blocks.append(place | {"counts": matrix.tolist()})
        return blocks

    def _trained(self, folder, experiment):
        """Leave the manifest of a training, as far as the report reads it."""
        encoder = {"name": f"{experiment}'s encoder"}
        params = {"steps": 40, "batch": 2, "crop": 32, "teacher": "low"}
        params["network"] = {"model": "depthseg", "encoder": encoder, "prompter": True}
        facts = {"code": "c0de" * 4, "versions": {"torch": "9.9"}, "params": params}
        facts["made_from"] = {"../../../tile/centre/manifest.json": "beef" * 16}
        facts |= {"made": {"model.safetensors": "f00d" * 16}, "parameters": {"encoder": [9, 3]}}
        file = folder / "manifest.json"
        file.write_text(json.dumps(facts))
        if file not in self.models:
            self.models.append(file)

    def report(self, template=TEMPLATE, **params):
        """Draw the report; return its page and its folder of figures."""
        tables = self.folder / "tabulate"
        findings = self.folder / "findings.json"
        findings.write_text('{"leaks": []}')
        gather.run(self.counts, self.corruptions, self.qualities, self.folder / "gather")
        inputs = (
            *gather.places_in(self.folder / "gather"),
            [],
            [],
            self.folder / "benchmarks",
            findings,
        )
        tabulate.run(*inputs, tables, [], NOWHERE, tabulate.Params())
        page, figures = self.folder / "report" / "index.html", self.folder / "report" / "figures"
        report.run(
            self.tiles,
            self.depths,
            self.maps,
            self.confidences,
            self.counts,
            self.corruptions,
            self.models,
            self.weights,
            self.histories,
            self.panels,
            [
                tables / f"{name}.csv"
                for name in (*TABLES, *(["corruptions"] if self.corruptions else []))
            ],
            self.splits,
            stretch_file(self.folder, self.limits),
            page,
            figures,
            template,
            self.looks,
            self.prompts,
            About(files=("town.yaml", "more.yaml"), learned=("centre",), watched=("hill",)),
            report.Params(**({"dpi": 50, "formats": ()} | params)),
        )
        return page, figures
