import pytest

from pipeline_steps.study.publish import publishing, remove


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
