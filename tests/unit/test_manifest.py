import hashlib
import json

import pytest

from pipeline_steps.study.fingerprint import fingerprint
from pipeline_steps.study.manifest import (
    digest_of,
    lineage_of,
    manifest_of,
    read_manifest,
    seal_of,
    write_manifest,
    write_text,
)
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
    write_manifest(path, STEP, params=Params(), made_from=[source], made=[source], **facts)


def test_a_manifest_tells_what_was_made_from_what_and_how(tmp_path):
    write(tmp_path / "manifest.json", scene="town")

    found = read_manifest(tmp_path / "manifest.json")

    digest = hashlib.sha256(b"what it was made from").hexdigest()
    assert found == {
        "step": "publish",
        "code": fingerprint(STEP),
        "versions": {},
        "params": Params().model_dump(mode="json"),
        "sources": {},
        "made_from": {"source.txt": digest},
        "made": {"source.txt": digest},
        "lineage": hashlib.sha256(digest.encode()).hexdigest(),
        "scene": "town",
        "seal": seal_of(tmp_path / "manifest.json")[1],
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


def made(folder, step, source, text="what was made"):
    """Write something and its manifest; return both."""
    product = folder / "product.txt"
    product.parent.mkdir(parents=True)
    product.write_text(text)
    manifest = folder / "manifest.json"
    write_manifest(manifest, step, params=Params(), made_from=[source], made=[product])
    return product, manifest


def test_equal_results_on_equal_inputs_have_an_equal_lineage(tmp_path):
    source = tmp_path / "source.txt"
    source.write_text("what it was made from")
    first, manifest = made(tmp_path / "a", STEP, source)
    other, _ = made(tmp_path / "b", "pipeline_steps.study.errors", source)

    found = lineage_of({first: digest_of(first)})

    assert found == lineage_of({manifest: digest_of(manifest)})
    assert found == lineage_of({other: digest_of(other)})


def test_another_result_or_another_input_has_another_lineage(tmp_path):
    sources = [tmp_path / "one.txt", tmp_path / "two.txt"]
    for source in sources:
        source.write_text(source.name)
    three = [
        made(tmp_path / "a", STEP, sources[0]),
        made(tmp_path / "b", STEP, sources[1]),
        made(tmp_path / "c", STEP, sources[0], "something else"),
    ]

    assert len({lineage_of({path: digest_of(path)}) for path, _ in three}) == 3


def test_a_manifest_lies_beside_what_it_tells_of_or_in_a_folder_of_its_stem(tmp_path):
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    for file in (one, two):
        file.write_text("{}")
    within = tmp_path / "one" / "manifest.json"
    write_manifest(within, STEP, params=None, made_from=[], made=[one])
    beside = tmp_path / "manifest.json"
    write_manifest(beside, STEP, params=None, made_from=[], made=[two])

    assert [manifest_of(file) for file in (one, two, beside)] == [within, beside, beside]
    assert read_manifest(within)["made"].keys() == {"../one.json"}


@pytest.mark.parametrize("text", ["[1]", "{", '{"made": 3}', '{"made": {"other": ""}}'])
def test_what_is_called_a_manifest_and_is_none_of_ours_tells_of_nothing(tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    (tmp_path / "image.tif").write_text("")

    assert manifest_of(tmp_path / "image.tif") is None


def test_what_waits_for_its_place_is_told_of_as_if_it_were_there(tmp_path):
    source, work = tmp_path / "source.txt", tmp_path / "out" / "work.partial"
    work.mkdir(parents=True)
    for file in (source, work / "map.tif"):
        file.write_text(file.name)
    final = tmp_path / "out"

    asked = {"made_from": [source], "made": [final / "map.tif"], "work": work}
    write_manifest(final / "manifest.json", STEP, params=None, **asked)

    found = read_manifest(work / "manifest.json")
    assert (list(found["made_from"]), list(found["made"])) == (["../source.txt"], ["map.tif"])


@pytest.mark.parametrize("place", [0, 30, -70, -4, -1])
def test_a_seal_tells_whether_a_manifest_is_as_it_was(tmp_path, place):
    path = tmp_path / "manifest.json"
    write(path)
    found, expected = seal_of(path)
    assert found == expected

    text = bytearray(path.read_bytes())
    text[place] ^= 1
    path.write_bytes(text)

    found, expected = seal_of(path)
    assert found != expected
