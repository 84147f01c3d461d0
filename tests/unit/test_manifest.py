import hashlib
import json

import pytest

from pipeline_steps.study.fingerprint import fingerprint
from pipeline_steps.study.manifest import digest_of, read_manifest, write_manifest, write_text
from pipeline_steps.study.params.score import Params

STEP = "pipeline_steps.study.publish"


def folder_of(path, **files):
    path.mkdir()
    for name, text in files.items():
        (path / name).write_text(text)
    return path


def write(path, **facts):
    source = path.parent / "source.txt"
    source.write_text("what it was made from")
    write_manifest(
        path, STEP, params=Params(), made_from={"text": source}, made={"copy": source}, **facts
    )


def test_a_manifest_tells_what_was_made_from_what_and_how(tmp_path):
    write(tmp_path / "manifest.json", scene="town")

    found = read_manifest(tmp_path / "manifest.json")

    digest = hashlib.sha256(b"what it was made from").hexdigest()
    assert found == {
        "step": "publish",
        "code": fingerprint(STEP),
        "versions": {},
        "params": Params().model_dump(mode="json"),
        "made_from": {"text": digest},
        "made": {"copy": digest},
        "scene": "town",
    }


def test_equal_work_has_equal_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "manifest.json", scene="town")

    first, second = ((tmp_path / name / "manifest.json").read_bytes() for name in ("a", "b"))
    assert first == second


def test_a_fact_that_is_not_a_number_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path / "manifest.json", loss=float("nan"))

    assert [path.name for path in tmp_path.iterdir()] == ["source.txt"]


def test_what_is_no_manifest_is_an_error_that_names_it(tmp_path):
    (tmp_path / "manifest.json").write_text('{"half":')

    with pytest.raises(
        ValueError, match=r"manifest\.json: is not JSON \(.+\), expected a manifest"
    ):
        read_manifest(tmp_path / "manifest.json")


def test_text_is_written_in_one_piece(tmp_path):
    path = tmp_path / "deep" / "a.json"

    write_text(path, "Straße\n")
    write_text(path, "×\n")

    assert path.read_bytes() == "×\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["a.json"]


def test_text_that_cannot_be_written_leaves_the_old_one(tmp_path):
    write_text(tmp_path / "a.json", json.dumps("old"))

    with pytest.raises(UnicodeEncodeError):
        write_text(tmp_path / "a.json", "\ud800")

    assert (tmp_path / "a.json").read_text() == '"old"'


def test_the_digest_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")

    assert digest_of(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def test_the_digest_of_a_folder_is_that_of_its_names_and_bytes(tmp_path):
    base = digest_of(folder_of(tmp_path / "base", one="1", two="2"))

    assert digest_of(folder_of(tmp_path / "same", two="2", one="1")) == base
    assert digest_of(folder_of(tmp_path / "bytes", one="1", two="3")) != base
    assert digest_of(folder_of(tmp_path / "names", one="1", zwei="2")) != base
    assert digest_of(folder_of(tmp_path / "swapped", one="2", two="1")) != base
    assert digest_of(folder_of(tmp_path / "more", one="1", two="2", three="")) != base


def test_the_digest_does_not_see_what_snakemake_leaves(tmp_path):
    folder = folder_of(tmp_path / "a.zarr", one="1")
    before = digest_of(folder)

    (folder / ".snakemake_timestamp").write_text("")

    assert digest_of(folder) == before
