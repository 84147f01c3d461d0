"""Which files a study's stages read and make."""

import hashlib
import json
import os
from collections.abc import Iterable

from pipeline_steps.study.about import About
from pipeline_steps.study.config import Loaded
from pipeline_steps.study.corruptions import corruptions
from pipeline_steps.study.layout import CONFIG, PREPROCESSOR
from pipeline_steps.study.params.base import as_json
from pipeline_steps.study.prompts import Prompts
from pipeline_steps.study.runs import Run
from pipeline_steps.study.scenes import LAYERS
from pipeline_steps.study.sidecars import sidecars_of
from pipeline_steps.study.teachers import ELEVATION
from pipeline_steps.study.transfer import Learner, Target, Transfer


def map_names(outputs: Iterable[str], many: bool) -> list[str]:
    """Return what the maps of a scene are called: files, or of ``many`` images folders."""
    names, ends = ["classes", *outputs], {"probabilities": ".zarr"}
    return names if many else [name + ends.get(name, ".tif") for name in names]


class Paths:
    """Paths of one study, by scene, experiment and run."""

    def __init__(self, study: Loaded) -> None:
        self.study = study

    def goals(self) -> list[str]:
        """Return what a run without any other target is for."""
        tested = ["results/report/index.html"] if self.study.split("test") else []
        new = self.maps(self.study.split("val", "predict"))
        checked = "results/check/findings.json"
        return [checked, *tested, *new, *self.deliveries(), *self.bundles()]

    def files_of(self, scenes: Iterable[str]) -> list[str]:
        """Return the files of scenes, and what GDAL reads beside them, such as masks."""
        found = [self.study.scene(name) for name in scenes]
        files = [file for scene in found for file in scene.files]
        lists = [scene.listed for scene in found if scene.listed]
        return [*files, *(beside for file in files for beside in sidecars_of(file)), *lists]

    def row_of(self, scene: str) -> str:
        """Return a digest of a scene's name and what its row says, wherever its files lie."""
        row = self.study.scene(scene)
        layers = {layer: getattr(row, layer) for layer in ("images", *LAYERS)}
        said = {
            layer: [os.path.relpath(file, self.study.root or ".") for file in files]
            for layer, files in layers.items()
        }
        text = json.dumps([scene, said, row.is_folder, row.raster_names])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def map_of(self, experiment: str, run: str, scene: str) -> str:
        """Return the map of classes: a GeoTIFF, or for a scene of many images a folder of them."""
        return self.maps_of(experiment, run, scene)[0]

    def maps_of(self, experiment: str, run: str, scene: str) -> list[str]:
        """Return all maps that the study asks for, that of the classes first."""
        names = map_names(self.study.config.predict.outputs, self.study.scene(scene).is_folder)
        return [f"results/predict/{experiment}/{run}/{scene}/{name}" for name in names]

    def beside(self, name: str, experiment: str, run: str, scene: str) -> list[str]:
        """Return the map called ``name``, such as ``confidence``, if the study makes such maps."""
        names = ["classes", *self.study.config.predict.outputs]
        pairs = zip(names, self.maps_of(experiment, run, scene), strict=True)
        return [path for mine, path in pairs if mine == name]

    def learned_depth(self, experiment: str, scene: str) -> list[str]:
        """Return what an experiment's network predicts of a scene, if the study maps any depth."""
        training = self.study.trainings.get(experiment)
        if "depth" not in self.study.config.predict.outputs or training is None:
            return []
        if not training.network.prompter or training.network.depth == "fed":
            return []
        return [f"results/depth/{training.teacher}/{scene}/manifest.json"]

    def members(self, experiment: str, run: str) -> list[str]:
        """Return the folders of the trainings whose networks map in a run."""
        found = self.study.members(experiment, Run.named(run))
        return [f"results/train/{name}/{one.name}" for name, one in found]

    def maps(self, scenes: list[str]) -> list[str]:
        """Return the maps of ``scenes`` by every run."""
        runs = self.study.all_runs()
        return [self.map_of(name, run.name, scene) for name, run in runs for scene in scenes]

    def deliveries(self) -> list[str]:
        """Return the folder that a GIS gets of every map, if the study asks for that."""
        if self.study.config.deliver is None:
            return []
        new = self.study.split("val", "predict")
        folders = [
            f"results/deliver/{name}/{run.name}/{scene}"
            for name, run in self.study.all_runs()
            for scene in (*self.study.split("test", fold=run.fold), *new)
        ]
        return list(dict.fromkeys(folders))

    def bundles(self) -> list[str]:
        """Return bundle and export of every training, if the study asks for them."""
        config, files = self.study.config, []
        if config.bundle is not None:
            files.append(("bundle", "bundle.json"))
        if config.export is not None:
            files.append(("export", "manifest.json"))
        return [
            f"results/{stage}/{name}/{run.name}/{file}"
            for stage, file in files
            for name, run in self.study.all_trainings()
        ]

    def first_runs(self) -> list[tuple[str, str, str]]:
        """Return (experiment, run, scene) of the first run of each that is tested on a scene."""
        found: dict[tuple[str, str], str] = {}
        for name, run in self.study.all_runs():
            for scene in self.study.split("test", fold=run.fold):
                found.setdefault((name, scene), run.name)
        return [(name, run, scene) for (name, scene), run in found.items()]

    def histories(self) -> list[str]:
        """Return the losses of every training."""
        return [
            f"results/train/{name}/{run.name}/history.csv"
            for name, run in self.study.all_trainings()
        ]

    def models(self) -> list[str]:
        """Return the manifest of every training."""
        runs = self.study.all_trainings()
        return [f"results/train/{name}/{run.name}/manifest.json" for name, run in runs]

    def panels(self) -> list[str]:
        """Return the pictures that the first training of every experiment took."""
        return [
            f"results/train/{name}/{self.study.runs(name)[0].name}/panels"
            for name in self.study.trainings
        ]

    def counts(self) -> list[str]:
        """Return the confusion counts of every run on each of its test scenes."""
        return [
            self.count_of(name, run.name, scene)
            for name, run in self.study.all_runs()
            for scene in self.study.split("test", fold=run.fold)
        ]

    def count_of(self, experiment: str, run: str, scene: str) -> str:
        """Return the confusion counts of a map."""
        return f"results/score/{experiment}/{run}/{scene}.json"

    def corruptions(self) -> list[str]:
        """Return the confusion counts of corrupted scenes, if the study asks for them."""
        found = corruptions(self.study)
        return [f"results/corrupt/{name}/{run.name}/{scene}.json" for name, run, scene in found]

    def first_corruptions(self) -> list[str]:
        """Return those of them that are of one run: it has met all that others have."""
        found = self.corruptions()
        return [file for file in found if os.path.dirname(file) == os.path.dirname(found[0])]

    def manifests_of(self, files: Iterable[str]) -> list[str]:
        """Return where the manifests of maps, of confusion counts or of depths' quality lie."""
        folders = [
            file.removesuffix(".json")
            if file.startswith(("results/score/", "results/corrupt/"))
            else os.path.dirname(file)
            for file in files
        ]
        return [f"{folder}/manifest.json" for folder in dict.fromkeys(folders)]

    def teacher(self, name: str) -> list[str]:
        """Return the manifest of a fetched or adapted teacher; elevation has none."""
        if name == ELEVATION:
            return []
        stage = "adapt" if self.study.teachers[name].adapt else "fetch"
        return [f"results/{stage}/{name}/manifest.json"]

    def base(self, teacher: str) -> str:
        """Return the manifest of the weights that an adapted teacher begins with."""
        return f"results/fetch/{self.study.teachers[teacher].model}/manifest.json"

    def encoder(self, experiment: str) -> list[str]:
        """Return the manifest of where an encoder's weights come from, if anywhere."""
        training = self.study.trainings[experiment]
        if training.network.has_teachers_encoder:
            return self.teacher(training.teacher)
        weights = training.network.encoder.weights
        return [f"results/fetch/{weights}/manifest.json"] if weights else []

    def depth_encoder(self, experiment: str) -> list[str]:
        """Return the manifest of the teacher whose encoder sees depth for a network, if any."""
        training = self.study.trainings[experiment]
        return self.teacher(training.teacher) if training.network.has_depth_encoder else []

    def encoders(self, experiment: str) -> dict[str, str]:
        """Return the manifests of all weights that a training begins with, and their models."""
        training = self.study.trainings[experiment]
        network, teacher = training.network, self.study.teachers.get(training.teacher)
        lent = teacher.model if teacher else None
        own = lent if network.has_teachers_encoder else network.encoder.weights
        found = dict.fromkeys(self.encoder(experiment), own)
        return found | dict.fromkeys(self.depth_encoder(experiment), lent)

    def stated_licences(self, experiment: str) -> dict[str, str]:
        """Return what the study says of the licences of these weights, by manifest."""
        models = self.study.config.fetch.models
        stated = {path: models[name].license for path, name in self.encoders(experiment).items()}
        return {path: licence for path, licence in stated.items() if licence}

    def local_files(self, model: str) -> list[str]:
        """Return the files of a model that lies here, so that exchanging them is seen."""
        source = self.study.config.fetch.models[model].source or ""
        if os.path.isdir(source):
            files = [f"{source}/{name}" for name in sorted(os.listdir(source))]
            return [file for file in files if os.path.isfile(file)]
        beside = [os.path.join(os.path.dirname(source), name) for name in (CONFIG, PREPROCESSOR)]
        return [f for f in (source, *beside) if os.path.isfile(source) and os.path.isfile(f)]

    def prompts(self) -> list[Prompts]:
        """Return what prompts the network of every experiment."""
        found = []
        for name, training in self.study.trainings.items():
            is_prompted, is_fed = training.network.prompter, training.network.is_fed
            # a loss without weight teaches nothing, nor does depth that is not the scene's
            is_taught = is_prompted and (is_fed or training.depth_weight > 0)
            is_taught = is_taught and training.depth_control == "none"
            teacher = training.teacher if is_taught else None
            facts = {"teacher": teacher, "is_elevation": teacher == ELEVATION}
            facts |= {"is_prompted": is_prompted, "is_fed": is_taught and is_fed}
            found.append(Prompts(experiment=name, **facts))
        return found

    def about(self, files: Iterable[object]) -> About:
        """Return what a study is called that was stated in ``files``, and what trainings see."""
        study, seen = self.study, {"train": {}, "val": {}}
        for name, run in study.all_trainings():
            for part, scenes in seen.items():
                scenes |= dict.fromkeys(study.seen(name, part, fold=run.fold))
        names = tuple(os.path.basename(str(file)) for file in files)
        return About(files=names, learned=tuple(seen["train"]), watched=tuple(seen["val"]))

    def transfer(self) -> Transfer:
        """Return who learned from which domain and which are tested on, if there are any."""
        study, targets = self.study, []
        tested = study.split("test")
        for domain in study.domains(tested):
            scenes = tuple(name for name in tested if study.scenes[name].domain == domain)
            told = tuple(one.name for one in study.readings[domain].classes if one.keys)
            targets.append(Target(domain=domain, scenes=scenes, classes=told))
        return Transfer(targets=tuple(targets), learners=tuple(self._learners() if targets else ()))

    def _learners(self) -> list[Learner]:
        study = self.study
        # what two experiments have in common that differ in their domains alone
        settings = {
            name: as_json(training.model_copy(update={"domains": None}))
            for name, training in study.trainings.items()
        }
        learned = {name: study.seen(name, "train") for name in study.trainings}
        found = []
        for name, planned in study.experiments.items():
            like = [one for one in settings if settings[one] == settings.get(name)]
            members = planned.ensemble or (name,)
            source = tuple(study.domains(scene for one in members for scene in learned[one]))
            at_home: dict[str, str] = {}
            for other in like:
                domains = study.domains(learned[other])
                if len(domains) == 1:
                    at_home.setdefault(domains[0], other)
            system = ", ".join(dict.fromkeys(map(self._system, like))) or name
            found.append(Learner(experiment=name, system=system, source=source, at_home=at_home))
        return found

    def _system(self, experiment: str) -> str:
        """Return an experiment's name, less the values of a grid that choose domains alone."""
        planned = self.study.experiments[experiment]
        if planned.cell is None:
            return experiment
        values = zip(planned.cell.values.values(), planned.layers[1:], strict=True)
        rest = [value for value, (_, layer) in values if layer.keys() != {"domains"}]
        return "-".join([planned.cell.grid, *rest])
