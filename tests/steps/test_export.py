import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from pipeline_steps import bundle, export
from pipeline_steps.models import exporting
from pipeline_steps.models.mapper import load_mapped
from pipeline_steps.study.params.predict import Params as Predict
from tests.data.studies import ROOT
from tests.steps.conftest import LOOKS, training
from tests.steps.test_train import trained


def bundled(folder, covered, depths, **changes):
    model = trained(folder / "train", covered, training(**changes), depths)
    (folder / "bundle").mkdir()
    bundle.run(
        name="plain/seed-0",
        model=model / "manifest.json",
        tiles=[covered],
        encoders=[],
        weights=folder / "bundle" / "model.safetensors",
        manifest=folder / "bundle" / "bundle.json",
        looks=LOOKS,
        licences={},
        predict=Predict(window=64),
        params=bundle.Params(),
    )
    return folder / "bundle" / "bundle.json"


def exported(folder, model, **params):
    params = export.Params(**params)
    ends = ("onnx", "xml", "bin") if params.openvino else ("onnx",)
    files = [folder / f"model.{end}" for end in ends]
    export.run(model, files, folder / "manifest.json", params)
    return json.loads((folder / "manifest.json").read_text())


@pytest.fixture(scope="module")
def model(tmp_path_factory, covered, height):
    return bundled(tmp_path_factory.mktemp("model"), covered, [height])


@pytest.fixture(scope="module")
def made(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("exported") / "out"
    return folder, exported(folder, model, openvino=True)


def test_other_runtimes_say_what_torch_says(made):
    folder, told = made

    assert set(told["difference"]) == {"onnx", "openvino"}
    assert all(0 <= most < 1e-4 for most in told["difference"].values())
    names = ["manifest.json", "model.bin", "model.onnx", "model.xml"]
    assert sorted(f.name for f in folder.iterdir()) == names


def test_what_wrote_and_ran_it_is_told(made):
    versions = made[1]["versions_beside"]
    assert versions["onnxruntime"] == onnxruntime.__version__
    assert set(versions) == {"onnx", "onnxscript", "onnxruntime", "openvino"}


def test_no_path_of_this_machine_is_in_a_file(made):
    folder, _ = made
    paths = [str(path).encode() for path in (ROOT, Path(torch.__file__).parent, folder)]
    for file in folder.iterdir():
        assert not any(path in file.read_bytes() for path in paths), file.name


def test_a_batch_may_have_any_length(made, model):
    folder, told = made
    facts = json.loads(model.read_text())
    network = load_mapped(
        model.with_name("model.safetensors"), facts["network"], len(LOOKS), "none", False
    )
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    for count in (1, 5):
        images = np.random.default_rng(count).random((count, 3, 64, 64), np.float32)
        (said,) = session.run(None, {told["input"]["name"]: images})
        with torch.inference_mode():
            expected = network(torch.from_numpy(images)).numpy()
        np.testing.assert_allclose(said, expected, atol=1e-4)


def test_the_file_itself_says_what_goes_in_and_what_comes_out(made):
    folder, told = made
    session = onnxruntime.InferenceSession(folder / "model.onnx")
    kept = session.get_modelmeta().custom_metadata_map

    assert [c["name"] for c in json.loads(kept["classes"])] == [look.name for look in LOOKS]
    assert json.loads(kept["input"]) == told["input"]
    assert told["input"]["shape"] == ["batch", 3, 64, 64]
    assert told["input"]["bands"][2] == {"band": 3, "zero": 0.0, "one": 255.0}
    (output,) = session.get_outputs()
    assert output.name == told["output"]["name"]
    assert output.shape[1:] == [7, 64, 64]


@pytest.mark.slow
def test_a_network_that_is_fed_takes_depth_as_one_more_band(tmp_path, covered, height):
    model = bundled(tmp_path, covered, [height], network={"depth": "fed"})
    told = exported(tmp_path / "out", model, window=32)

    assert told["input"]["shape"] == ["batch", 4, 32, 32]
    assert "NaN" in told["input"]["bands"][3]["depth"]


def test_a_network_that_says_something_else_is_not_published(tmp_path, model, monkeypatch):
    monkeypatch.setattr(export, "to_onnx", lambda *_: None)
    monkeypatch.setattr(export, "onnx_says", lambda _: lambda images: np.full((1, 7, 64, 64), 2.0))
    with pytest.raises(
        ValueError, match=r"plain/seed-0: probabilities in onnx differ by 1\.9 from torch's"
    ):
        exported(tmp_path / "out", model)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("package", ["onnxruntime", "openvino"])
def test_a_package_that_is_missing_is_named_with_how_to_install_it(
    tmp_path, model, monkeypatch, package
):
    found = exporting.importlib.util.find_spec
    monkeypatch.setattr(
        exporting.importlib.util, "find_spec", lambda name: None if name == package else found(name)
    )
    with pytest.raises(ValueError, match=rf"export needs {package}.*pip install \"depthseg\["):
        exported(tmp_path / "out", model, openvino=True)
    assert not (tmp_path / "out").exists()
