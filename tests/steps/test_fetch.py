import hashlib
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import save
from safetensors.torch import load_file

from pipeline_steps.fetch import run
from pipeline_steps.models.teacher import load_teacher
from pipeline_steps.study.manifest import digest_of
from pipeline_steps.study.params.fetch import Model
from tests.data.hub import TOKEN, Hub, Repository
from tests.data.studies import TINY_ROWS, copied, snakemake, tiny_study, write_study
from tests.steps.conftest import TEACHER, model_files

ROOT = Path(__file__).resolve().parents[2]


def fetch(folder: Path, params: Model) -> Path:
    run("tiny", *model_files(folder), params)
    return folder


def test_an_architecture_becomes_a_model_that_loads_and_is_the_same_each_time(tmp_path):
    one, two = (fetch(tmp_path / name, TEACHER) for name in ("one", "two"))

    assert load_teacher(one, 1.0).multiple == 4
    assert digest_of(one / "model.safetensors") == digest_of(two / "model.safetensors")


def test_a_folder_is_taken_over_bit_for_bit(tmp_path):
    source = fetch(tmp_path / "source", TEACHER)
    copy = fetch(tmp_path / "copy", Model(source=str(source)))

    assert digest_of(copy / "model.safetensors") == digest_of(source / "model.safetensors")
    made = json.loads((copy / "manifest.json").read_text())["made"]
    assert made["model.safetensors"] == digest_of(source / "model.safetensors")


def test_how_the_input_is_normalised_is_taken_over_or_imagenets(tmp_path):
    own = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    source = fetch(tmp_path / "source", TEACHER)
    stated = json.loads((source / "preprocessor_config.json").read_text())
    assert stated["image_mean"] == [0.485, 0.456, 0.406]

    (source / "preprocessor_config.json").write_text(json.dumps(own))
    copy = fetch(tmp_path / "copy", Model(source=str(source)))
    assert load_teacher(copy, 1.0).image_std.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])

    (source / "preprocessor_config.json").unlink()
    fetch(tmp_path / "copy", Model(source=str(source)))  # what was there before does not stay
    assert load_teacher(copy, 1.0).image_mean[0, 0, 0, 0] == pytest.approx(0.485)


def test_a_folder_without_weights_is_refused_with_what_it_holds(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "config.json").write_text("{}")
    (tmp_path / "source" / "weights.onnx").write_bytes(b"onnx")

    with pytest.raises(ValueError, match=r"holds config\.json, weights\.onnx, expected model"):
        fetch(tmp_path / "copy", Model(source=str(tmp_path / "source")))

    assert not list((tmp_path / "copy").rglob("*"))


def test_a_folder_without_a_config_is_refused(tmp_path):
    source = fetch(tmp_path / "source", TEACHER)
    (source / "config.json").unlink()

    with pytest.raises(ValueError, match=r"model\.safetensors.*, expected config\.json"):
        fetch(tmp_path / "copy", Model(source=str(source)))


def test_one_file_is_taken_with_the_config_beside_it(tmp_path):
    source = fetch(tmp_path / "source", TEACHER)
    file = (source / "model.safetensors").rename(source / "best.safetensors")
    digest = digest_of(file)

    copy = fetch(tmp_path / "copy", Model(source=str(file), sha256={"best.safetensors": digest}))

    assert digest_of(copy / "model.safetensors") == digest
    assert load_teacher(copy, 1.0).multiple == 4
    assert manifest_of(copy)["sha256"]["best.safetensors"] == digest


def test_a_file_of_a_folder_is_chosen_by_its_name(tmp_path):
    source = fetch(tmp_path / "source", TEACHER)
    (source / "other.safetensors").write_bytes((source / "model.safetensors").read_bytes())
    (source / "model.safetensors").write_bytes(b"cut")

    copy = fetch(tmp_path / "copy", Model(source=str(source), file="other.safetensors"))

    assert load_teacher(copy, 1.0).multiple == 4


def test_truncated_weights_are_refused(tmp_path):
    source = fetch(tmp_path / "source", TEACHER)
    weights = source / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"model\.safetensors: cannot be read"):
        fetch(tmp_path / "copy", Model(source=str(source)))


def test_another_checksum_is_refused(tmp_path):
    source = fetch(tmp_path / "source", TEACHER)
    params = Model(source=str(source), sha256={"model.safetensors": "0" * 64})
    with pytest.raises(ValueError, match=r"SHA-256 is [0-9a-f]{64}, expected 0{64}"):
        fetch(tmp_path / "copy", params)


def test_a_hub_out_of_reach_ends_with_the_command_that_fetches(tmp_path):
    with pytest.raises(ValueError, match=r"snakemake --cores 1 results/fetch/tiny/manifest\.json"):
        fetch(tmp_path / "copy", Model(source="someone/something"))


@pytest.mark.parametrize("source", ["/no/such/folder", "weights/depth_anything_v2_vits.pth", "net"])
def test_what_is_neither_here_nor_an_id_is_named(tmp_path, source):
    with pytest.raises(ValueError, match=f"^{source}: is no folder and no file"):
        fetch(tmp_path / "copy", Model(source=source))


def test_a_manifest_says_what_a_model_is(tmp_path):
    source = fetch(tmp_path / "source", TEACHER)
    drawn = manifest_of(source)
    assert (drawn["source"], drawn["revision"], drawn["sha256"]) == (None, None, {})
    assert drawn["license"].startswith("none needed")

    copied = manifest_of(fetch(tmp_path / "copy", Model(source=str(source), gives="height")))
    assert (copied["model"], copied["source"], copied["revision"]) == ("tiny", "source", None)
    assert (copied["license"], copied["gives"]) == ("unknown", "height")
    assert set(copied["sha256"]) == {"model.safetensors", "config.json", "preprocessor_config.json"}
    assert copied["sha256"]["config.json"] == digest_of(source / "config.json")


def test_moving_the_folder_of_weights_makes_the_same_manifest(tmp_path):
    source = fetch(tmp_path / "here" / "weights", TEACHER)
    before = manifest_of(fetch(tmp_path / "copy", Model(source=str(source))))

    there = source.rename(tmp_path / "weights")

    assert manifest_of(fetch(tmp_path / "copy", Model(source=str(there)))) == before
    assert str(tmp_path) not in json.dumps(before)
    assert before["source"] == before["params"]["source"] == "weights"


def test_the_licence_is_known_by_the_file_that_is_chosen(tmp_path, caplog):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "config.json").write_text("{}")
    torch.save({"a": torch.zeros(2)}, tmp_path / "weights" / "depth_anything_v2_vitl.pth")
    params = Model(source=str(tmp_path / "weights"), file="depth_anything_v2_vitl.pth")

    assert manifest_of(fetch(tmp_path / "copy", params))["license"] == "CC-BY-NC-4.0"
    assert "fetch.models.tiny: CC-BY-NC-4.0: not for commercial use" in caplog.text


# A hub on loopback

WEIGHTS = save({"a": np.random.default_rng(0).random(300_000)})
"""2.4 MB in the hub's format; fetching asks no more of them."""

SUM = hashlib.sha256(WEIGHTS).hexdigest()

LAYOUT = {
    "README.md": b"a card",
    "config.json": b'{"model_type": "dinov2"}',
    "model.safetensors": WEIGHTS,
    "preprocessor_config.json": b"{}",
    "pytorch_model.bin": b"p" * 20_000,
}


@pytest.fixture
def hub():
    with Hub() as hub:
        hub.repositories["someone/net"] = Repository(dict(LAYOUT), card={"license": "mit"})
        yield hub


@pytest.fixture
def step(hub, tmp_path):
    """A function that starts the step as the workflow does, in a process of its own."""

    def start(offline="0", token=None, **params):
        flags = ("config", "weights", "preprocessor", "manifest")
        files = zip(flags, model_files(tmp_path / "net"), strict=True)
        environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": offline}
        environment |= {"HF_HOME": str(tmp_path / "home"), "NO_PROXY": "127.0.0.1,localhost"}
        environment |= {"HF_TOKEN": token or "", "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
        command = [sys.executable, "-m", "pipeline_steps.fetch", "--model", "net"]
        command += [word for flag, file in files for word in (f"--{flag}", str(file))]
        command += ["--params", json.dumps({"source": "someone/net"} | params)]
        return subprocess.Popen(
            command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
        )

    return start


@pytest.fixture
def ended(step, tmp_path):
    """A function that runs the step to its end, and returns what it said and the last line."""

    def run(succeeds=True, **params):
        process = step(**params)
        said = process.communicate(timeout=60)[1]
        assert (process.returncode == 0) == succeeds, said
        return said, said.splitlines()[-1]

    return run


def manifest_of(folder):
    return json.loads((folder / "manifest.json").read_text())


def downloads(hub, method="GET"):
    """The names of files that were asked for."""
    return [
        path.rpartition("/")[2]
        for asked, path, _ in hub.asked
        if asked == method and "/resolve/" in path
    ]


def test_a_model_id_becomes_the_hubs_files_at_the_commit_that_the_branch_means(
    hub, ended, tmp_path
):
    said, _ = ended()

    net, commit = tmp_path / "net", hub.repositories["someone/net"].commit
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        assert (net / name).read_bytes() == LAYOUT[name]
    assert {f.name for f in net.iterdir()} == {f.name for f in model_files(net)}
    assert set(downloads(hub)) == {"config.json", "model.safetensors", "preprocessor_config.json"}
    assert all(commit in path for _, path, _ in hub.asked if "/resolve/" in path)
    facts = manifest_of(net)
    assert (facts["source"], facts["revision"]) == ("someone/net", commit)
    assert facts["sha256"]["model.safetensors"] == SUM
    assert f"revision: {commit}" in said and f'"model.safetensors": "{SUM}"' in said


def test_the_lines_to_pin_a_model_are_yaml_that_a_study_takes(hub, ended):
    said, _ = ended()

    lines = [line for line in said.splitlines() if line.startswith("      ")]
    pinned = yaml.safe_load("\n".join(lines))
    assert pinned.keys() == {"revision", "sha256"}
    Model(source="someone/net", **pinned)
    assert "not pinned" not in ended(**pinned)[0]


def test_pinning_what_was_fetched_downloads_nothing_and_makes_the_same_manifest(
    hub, ended, tmp_path
):
    ended()
    before = (tmp_path / "net" / "manifest.json").read_bytes()
    hub.asked.clear()

    ended(revision=hub.repositories["someone/net"].commit, sha256={"model.safetensors": SUM})

    assert hub.asked == []
    assert (tmp_path / "net" / "manifest.json").read_bytes() == before


@pytest.mark.parametrize("folder", ["", "small/nets/"])
def test_a_pinned_model_that_is_fetched_already_needs_no_hub(hub, ended, tmp_path, folder):
    files = {f"{folder}{name}": data for name, data in LAYOUT.items()}
    hub.repositories["someone/net"] = Repository(files, card={"license": "cc-by-nc-4.0"})
    file = f"{folder}model.safetensors"
    pinned = {"revision": hub.repositories["someone/net"].commit, "sha256": {file: SUM}}
    pinned |= {"file": file} if folder else {}
    ended(**pinned)
    manifest = tmp_path / "net" / "manifest.json"
    before = manifest.read_text()
    # as other code would have written it
    manifest.write_text(json.dumps(json.loads(before) | {"code": "0" * 64}))
    hub.__exit__()

    said, _ = ended(offline="1", **pinned)

    assert manifest.read_text() == before
    assert "cc-by-nc-4.0: not for commercial use" in said
    assert (tmp_path / "net" / "model.safetensors").read_bytes() == WEIGHTS
    assert (tmp_path / "net" / "config.json").read_bytes() == LAYOUT["config.json"]


@pytest.mark.parametrize("change", ["weights", "revision", "file", "source"])
def test_what_is_not_here_as_it_is_pinned_is_asked_of_the_hub(hub, ended, tmp_path, change):
    pinned = {"revision": hub.repositories["someone/net"].commit}
    ended(**pinned)
    if change == "weights":
        with (tmp_path / "net" / "model.safetensors").open("ab") as file:
            file.write(b"more")
    others = {"revision": "f" * 40, "file": "pytorch_model.bin", "source": "someone/other"}
    hub.__exit__()

    _, last = ended(False, **pinned | {k: v for k, v in others.items() if k == change})

    assert "cannot be fetched (ConnectError), expected the hub to be reachable" in last


def test_another_checksum_than_what_is_here_has_is_an_error(hub, ended):
    pinned = {"revision": hub.repositories["someone/net"].commit}
    ended(**pinned)

    _, last = ended(False, sha256={"model.safetensors": "0" * 64}, **pinned)

    assert last.endswith(f"model.safetensors: SHA-256 is {SUM}, expected {'0' * 64}")


def test_what_is_converted_is_converted_anew(hub, ended):
    pickled = io.BytesIO()
    torch.save({"a": torch.zeros(2)}, pickled)
    files = {"config.json": b"{}", "pytorch_model.bin": pickled.getvalue()}
    hub.repositories["someone/net"] = Repository(files)
    pinned = {"revision": hub.repositories["someone/net"].commit}
    ended(**pinned)
    hub.asked.clear()

    ended(**pinned)

    assert downloads(hub) == ["pytorch_model.bin"]


def test_a_pinned_revision_is_fetched_where_the_branch_has_moved_on(hub, ended, tmp_path):
    old = hub.repositories["someone/net"]
    ended(revision=old.commit)
    assert manifest_of(tmp_path / "net")["revision"] == old.commit

    weights = save({"b": np.zeros(9000)})
    hub.repositories["someone/net"] = Repository(LAYOUT | {"model.safetensors": weights}, "f" * 40)
    ended()
    assert manifest_of(tmp_path / "net")["revision"] == "f" * 40
    assert (tmp_path / "net" / "model.safetensors").read_bytes() == weights

    assert f"has no revision {old.commit}" in ended(False, revision=old.commit)[1]


def test_a_cut_connection_is_taken_up_where_it_ended(hub, ended, tmp_path):
    hub.cuts = [1_000_001, 7]

    ended()

    # each part begins where the one before ended: no byte comes twice
    assert [part for _, *part in hub.sent] == [
        [0, 1_000_001],
        [1_000_001, 1_000_008],
        [1_000_008, len(WEIGHTS)],
    ]
    assert digest_of(tmp_path / "net" / "model.safetensors") == SUM


def test_a_download_that_is_killed_goes_on_in_the_next_run(hub, step, ended, tmp_path):
    hub.stalls_after = 1_500_000
    process = step()
    folder = tmp_path / "net" / "download.partial" / hub.repositories["someone/net"].commit
    deadline = time.monotonic() + 30
    while not hub.sent or (folder / "model.safetensors").stat().st_size < hub.stalls_after:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.communicate()
    hub.stalls_after = None
    hub.resume.set()
    assert not (tmp_path / "net" / "model.safetensors").exists()

    ended()

    assert [part for _, *part in hub.sent] == [[0, 1_500_000], [1_500_000, len(WEIGHTS)]]
    assert digest_of(tmp_path / "net" / "model.safetensors") == SUM
    assert not (tmp_path / "net" / "download.partial").exists()


def test_what_was_downloaded_of_another_commit_is_dropped(hub, ended, tmp_path):
    old = tmp_path / "net" / "download.partial" / ("e" * 40)
    old.mkdir(parents=True)
    (old / "model.safetensors").write_bytes(b"old")

    ended()

    assert [part for _, *part in hub.sent] == [[0, len(WEIGHTS)]]


def test_a_server_that_knows_no_ranges_sends_everything_anew(hub, ended, tmp_path):
    hub.cuts, hub.ignores_ranges = [1_000_001], True

    ended()

    assert digest_of(tmp_path / "net" / "model.safetensors") == SUM


@pytest.mark.slow
def test_a_hub_that_goes_away_leaves_what_has_come_and_says_the_command(hub, ended, tmp_path):
    hub.cuts = [1_000_000, 0, 0, 0, 0, 0]

    _, last = ended(False)

    part = tmp_path / "net" / "download.partial" / hub.repositories["someone/net"].commit
    assert (part / "model.safetensors").stat().st_size == 1_000_000
    assert "someone/net: cannot be fetched (model.safetensors: nothing more comes), exp" in last
    assert "run `snakemake --cores 1 results/fetch/net/manifest.json` where there is in" in last
    assert not (tmp_path / "net" / "model.safetensors").exists()
    ended()
    assert hub.sent[-1][1:] == (1_000_000, len(WEIGHTS))


def test_a_wrong_checksum_is_an_error_and_the_download_is_not_kept(hub, ended, tmp_path):
    _, last = ended(False, sha256={"model.safetensors": "0" * 64})

    assert last == (
        f"error: fetch: someone/net/model.safetensors: SHA-256 is {SUM}, expected {'0' * 64}"
    )
    assert not list((tmp_path / "net").iterdir())


def test_bytes_that_changed_on_their_way_are_an_error_without_any_stated_checksum(
    hub, ended, tmp_path
):
    hub.corrupts = True

    _, last = ended(False)

    assert "someone/net/model.safetensors: SHA-256 is " in last
    assert last.endswith(f"expected {SUM}")
    assert not list((tmp_path / "net").iterdir())


def test_a_checksum_of_a_file_that_is_not_fetched_is_an_error(hub, ended):
    _, last = ended(False, sha256={"pytorch_model.bin": "0" * 64})

    assert f"someone/net/pytorch_model.bin: SHA-256 is missing, expected {'0' * 64}" in last


@pytest.mark.parametrize("token", [None, "hf_stranger"])
def test_a_gated_model_says_what_opens_it(hub, ended, token):
    hub.repositories["someone/net"].is_gated = True

    _, last = ended(False, token=token)

    assert f"is gated, expected its licence to be accepted on {hub.url}/someone/net and" in last
    assert "HF_TOKEN to be set" in last and "results/fetch/net/manifest.json" in last


def test_a_token_opens_a_gated_model_and_is_shown_to_no_other_host(hub, ended, tmp_path):
    hub.repositories["someone/net"].is_gated = True

    ended(token=TOKEN)

    assert digest_of(tmp_path / "net" / "model.safetensors") == SUM
    shown = [path for _, path, headers in hub.asked if TOKEN in str(headers)]
    assert shown and not [path for path in shown if path.startswith("/cdn")]


@pytest.mark.parametrize("token", [None, "hf_someone"])
def test_a_repository_that_is_not_there_is_named(hub, ended, token):
    _, last = ended(False, source="someone/nothing", token=token)

    assert f"someone/nothing: is not found, expected {hub.url}/someone/nothing to be" in last


def test_a_revision_that_is_not_there_is_named(hub, ended):
    assert "someone/net: has no revision v9, expected" in ended(False, revision="v9")[1]


def test_a_repository_without_weights_is_refused_with_what_it_holds(hub, ended):
    hub.repositories["someone/net"] = Repository(
        {"README.md": b"", "best.pth": b"", "config.json": b"{}"}
    )

    _, last = ended(False)

    assert "someone/net: holds README.md, best.pth, config.json, expected model.safetens" in last
    assert downloads(hub) == []
    _, last = ended(False, file="last.pth")
    assert last.endswith("expected last.pth")


def test_a_hub_that_does_not_answer_is_said_to_be_out_of_reach(hub, ended):
    hub.__exit__()

    _, last = ended(False)

    assert "someone/net: cannot be fetched (ConnectError), expected the hub to be reachable" in last
    assert "results/fetch/net/manifest.json` where there is internet" in last


@pytest.mark.parametrize(
    "answers, words",
    [
        ((503, "busy"), "the hub answers 503"),
        ((403, "no"), "may not be read"),
        ((200, "<html>log in first</html>"), "does not answer as a hub does"),
    ],
)
def test_a_hub_in_trouble_and_what_is_no_hub_are_said(hub, ended, answers, words):
    hub.answers = answers

    _, last = ended(False)

    assert words in last and "results/fetch/net/manifest.json` where there is internet" in last


def test_offline_nothing_is_asked(hub, ended):
    _, last = ended(False, offline="1")

    assert "cannot be fetched (OfflineModeIsEnabled)" in last and hub.asked == []


def test_the_workflow_is_offline_but_for_fetch():
    rules = {file.stem: file.read_text() for file in (ROOT / "workflow/rules").glob("*.smk")}

    assert "shell.prefix(exported(HF_HUB_OFFLINE=1" in rules["common"]
    assert {name for name, text in rules.items() if "HF_HUB_OFFLINE=0" in text} == {"fetch"}


@pytest.mark.parametrize(
    "source, card, licence",
    [
        ("someone/net", {"license": "cc-by-nc-4.0"}, "cc-by-nc-4.0"),
        ("someone/net", {"license": "other", "license_name": "own-license"}, "own-license"),
        ("someone/net", None, "unknown"),
        ("facebook/dinov2-small", {"license": "apache-2.0"}, "Apache-2.0"),
    ],
)
def test_the_licence_is_the_known_one_or_the_one_on_the_card(
    hub, ended, tmp_path, source, card, licence
):
    hub.repositories[source] = Repository(dict(LAYOUT), card=card)

    said, _ = ended(source=source)

    assert manifest_of(tmp_path / "net")["license"] == licence
    aloud = f"fetch.models.net: {licence}: not for commercial use" in said
    assert aloud == ("-nc-" in licence)


def test_a_hub_that_has_only_a_pickle_gives_safetensors(hub, ended, tmp_path):
    tensors, pickled = {"a": torch.rand(4000), "b": torch.rand(2, 3)}, io.BytesIO()
    torch.save(tensors, pickled)
    files = {"config.json": b'{"model_type": "x"}', "pytorch_model.bin": pickled.getvalue()}
    hub.repositories["someone/net"] = Repository(files)

    ended()

    fetched = load_file(tmp_path / "net" / "model.safetensors")
    assert fetched.keys() == tensors.keys()
    assert all(torch.equal(fetched[name], tensors[name]) for name in tensors)
    assert (tmp_path / "net" / "config.json").read_bytes() == files["config.json"]
    assert "image_mean" in (tmp_path / "net" / "preprocessor_config.json").read_text()
    digest = hashlib.sha256(pickled.getvalue()).hexdigest()
    assert manifest_of(tmp_path / "net")["sha256"]["pytorch_model.bin"] == digest


@pytest.mark.parametrize("folder", ["small", "nets/small"])
def test_a_hubs_file_is_fetched_by_its_name_below_a_folder(hub, ended, tmp_path, folder):
    files = {f"{folder}/{name}": data for name, data in LAYOUT.items()}
    hub.repositories["someone/net"] = Repository(files)

    ended(file=f"{folder}/model.safetensors", sha256={f"{folder}/model.safetensors": SUM})

    assert digest_of(tmp_path / "net" / "model.safetensors") == SUM
    assert (tmp_path / "net" / "config.json").read_bytes() == LAYOUT["config.json"]


# The rule


@pytest.fixture
def workflow(hub, tmp_path, monkeypatch):
    """A function that lets Snakemake fetch the model, as the table's row says; what it printed."""
    source = copied(tmp_path / "project")
    for name, value in (("HF_ENDPOINT", hub.url), ("NO_PROXY", "127.0.0.1,localhost")):
        monkeypatch.setenv(name, value)

    def run(succeeds=True, **row):
        config = tiny_study()
        config["fetch"]["models"]["net"] = {"source": "someone/net"} | row
        study = write_study(tmp_path / "study", config, TINY_ROWS)
        done = snakemake(source, study, "results/fetch/net/manifest.json")
        assert (done.returncode == 0) == succeeds, done.stderr
        return done.stdout + done.stderr

    return run


@pytest.mark.slow
def test_the_workflow_says_aloud_what_is_not_for_commerce_and_keeps_what_it_has(
    hub, workflow, tmp_path
):
    hub.repositories["someone/net"].card = {"license": "cc-by-nc-4.0"}
    fetched = tmp_path / "study" / "results" / "fetch" / "net"

    assert "fetch.models.net: cc-by-nc-4.0: not for commercial use" in workflow()
    manifest = (fetched / "manifest.json").read_bytes()
    hub.asked.clear()
    workflow(revision=manifest_of(fetched)["revision"], sha256={"model.safetensors": SUM})
    assert (fetched / "manifest.json").read_bytes() == manifest
    assert hub.asked == []

    hub.__exit__()
    said = workflow(succeeds=False, gives="height")
    assert "cannot be fetched (ConnectError), expected the hub to be reachable: run `snak" in said
    assert digest_of(fetched / "model.safetensors") == SUM
    assert (fetched / "manifest.json").read_bytes() == manifest


@pytest.mark.slow
def test_a_local_file_that_is_exchanged_is_fetched_anew(workflow, tmp_path):
    (tmp_path / "mine").mkdir()
    file, config = tmp_path / "mine" / "net.safetensors", tmp_path / "mine" / "config.json"
    for number in (1, 2):
        file.write_bytes(save({"a": np.full(9, number)}))
        config.write_text("{}")
        workflow(source=str(file))
        fetched = tmp_path / "study" / "results" / "fetch" / "net"
        assert (fetched / "model.safetensors").read_bytes() == file.read_bytes()
