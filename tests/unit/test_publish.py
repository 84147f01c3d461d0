import itertools
import os

import pytest

from pipeline_steps.study.publish import begun, publishing, release, remove


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_has_its_name_only_when_the_block_is_over(tmp_path):
    final = tmp_path / "deep" / "map.tif"

    with publishing(final) as (partial,):
        partial.write_text("whole")
        assert not final.exists()
        assert partial.parent == final.parent

    assert final.read_text() == "whole"
    assert names(final.parent) == ["map.tif"]


def test_files_and_folders_are_published_together(tmp_path):
    with publishing(tmp_path / "a.json", tmp_path / "b.zarr") as (file, folder):
        file.write_text("a")
        folder.mkdir()
        (folder / "c").write_text("c")

    assert (tmp_path / "a.json").read_text() == "a"
    assert (tmp_path / "b.zarr" / "c").read_text() == "c"
    assert names(tmp_path) == ["a.json", "b.zarr"]


def test_after_a_failure_nothing_has_the_final_name_and_nothing_is_left(tmp_path):
    with (
        pytest.raises(RuntimeError, match="out of disk"),
        publishing(tmp_path / "a.json", tmp_path / "b.zarr") as (file, folder),
    ):
        file.write_text("half")
        folder.mkdir()
        (folder / "c").write_text("c")
        raise RuntimeError("out of disk")

    assert names(tmp_path) == []


def test_after_an_interrupt_nothing_has_the_final_name(tmp_path):
    with pytest.raises(KeyboardInterrupt), publishing(tmp_path / "a.json") as (file,):
        file.write_text("half")
        raise KeyboardInterrupt

    assert names(tmp_path) == []


def test_old_output_is_replaced_as_a_whole(tmp_path):
    (tmp_path / "a.json").write_text("old")
    (tmp_path / "b.zarr").mkdir()
    (tmp_path / "b.zarr" / "old").write_text("old")

    with publishing(tmp_path / "a.json", tmp_path / "b.zarr") as (file, folder):
        file.write_text("new")
        folder.mkdir()
        (folder / "new").write_text("new")

    assert (tmp_path / "a.json").read_text() == "new"
    assert names(tmp_path / "b.zarr") == ["new"]


def test_old_output_stays_after_a_failure(tmp_path):
    (tmp_path / "a.json").write_text("old")

    with pytest.raises(RuntimeError), publishing(tmp_path / "a.json") as (file,):
        file.write_text("half")
        raise RuntimeError

    assert (tmp_path / "a.json").read_text() == "old"


def test_nothing_is_published_where_one_part_was_not_written(tmp_path):
    (tmp_path / "a.json").write_text("old")

    finals = (tmp_path / "a.json", tmp_path / "b.json")
    missing = pytest.raises(ValueError, match=r"b\.json\.partial: was not written")
    with missing, publishing(*finals) as (file, _):
        file.write_text("new")

    assert names(tmp_path) == ["a.json"]
    assert finals[0].read_text() == "old"


def test_what_a_killed_run_left_is_removed_first(tmp_path):
    (tmp_path / "b.zarr.partial").mkdir()
    (tmp_path / "b.zarr.partial" / "stale").write_text("stale")

    with publishing(tmp_path / "b.zarr") as (folder,):
        assert not folder.exists()
        folder.mkdir()

    assert names(tmp_path / "b.zarr") == []


def test_remove_takes_files_folders_and_what_is_not_there(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "deep").mkdir(parents=True)

    for name in ("file", "folder", "gone"):
        remove(tmp_path / name)

    assert names(tmp_path) == []


def test_remove_takes_a_link_and_leaves_what_it_points_to(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")

    remove(tmp_path / "link")

    assert names(tmp_path) == ["folder"]


FINALS = ("a.tif", "b.zarr", "c.json")


def step(folder, made):
    """Make what is not there yet in a folder of work, and release it."""
    work = begun(folder / "work.partial", ["key"])
    for name in FINALS:
        if not (work / name).exists():
            made.append(name)
            (work / name).mkdir() if name == "b.zarr" else (work / name).write_text(name)
    for name in ("0", "1"):
        (work / "b.zarr" / name).write_text(name)
    release(work, *(folder / name for name in FINALS))


def contents(folder):
    return {f.relative_to(folder): f.read_text() for f in folder.rglob("*") if f.is_file()}


@pytest.mark.parametrize("call", ["link", "replace", "unlink", "rmdir"])
def test_a_release_that_is_killed_anywhere_is_gone_on_with(tmp_path, monkeypatch, call):
    step(tmp_path / "whole", [])
    expected, real, kills = contents(tmp_path / "whole"), getattr(os, call), 0

    for number in itertools.count():
        folder, again, calls = tmp_path / str(number), [], itertools.count()

        def killed(*arguments, calls=calls, number=number, **more):
            if next(calls) == number:
                raise KeyboardInterrupt
            return real(*arguments, **more)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, killed)
            try:
                step(folder, [])
                break
            except KeyboardInterrupt:
                kills += 1
        stood = (folder / "work.partial" / "key.json").exists()
        # as Snakemake does before it runs a step again
        for name in FINALS:
            remove(folder / name)
        step(folder, again)

        assert contents(folder) == expected
        assert again == ([] if stood else list(FINALS))
        # nothing is lost before all is published
        assert stood or call in ("unlink", "rmdir")

    assert kills > 1 and names(folder) == sorted(FINALS)


def test_where_a_file_can_have_but_one_name_it_is_copied(tmp_path, monkeypatch):
    def refused(*_):
        raise OSError("not supported")

    step(tmp_path / "whole", [])
    monkeypatch.setattr(os, "link", refused)
    step(tmp_path / "copied", [])

    assert contents(tmp_path / "copied") == contents(tmp_path / "whole")


def test_what_lies_there_of_an_earlier_release_is_replaced_as_a_whole(tmp_path):
    step(tmp_path, [])
    (tmp_path / "b.zarr" / "old").write_text("old")

    step(tmp_path, [])

    assert names(tmp_path / "b.zarr") == ["0", "1"]
