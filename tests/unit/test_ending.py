import os

from pipeline_steps.study.ending import say_errors, say_results


def test_the_table_and_the_places_are_told(tmp_path, capsys):
    for name in ("tabulate/overall.md", "report/index.html", "predict/map.tif"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("| table |")

    say_results(str(tmp_path))

    said = capsys.readouterr().err
    assert "| table |" in said
    assert f"report: {tmp_path / 'report' / 'index.html'}" in said
    assert f"maps: {tmp_path / 'predict'}" in said


def test_without_results_nothing_is_said(tmp_path, capsys):
    say_results(str(tmp_path / "gone"))

    assert capsys.readouterr().err == ""


def test_errors_of_this_run_alone_are_repeated_with_their_log(tmp_path, capsys):
    texts = {"new": "a line\nerror: tile: a.tif: broken\n", "fine": "done\n", "old": "error: x\n"}
    for name, text in texts.items():
        (tmp_path / "tile").mkdir(exist_ok=True)
        path = tmp_path / "tile" / f"{name}.log"
        path.write_text(text)
        os.utime(path, (100, 100) if name == "old" else (300, 300))

    say_errors(str(tmp_path), since=200)

    assert capsys.readouterr().err == (
        f"error: tile: a.tif: broken ({tmp_path / 'tile' / 'new.log'})\n"
    )


def test_an_error_is_found_above_what_torchrun_says_of_it(tmp_path, capsys):
    (tmp_path / "train.log").write_text("error: train: no pixel\nRoot Cause:\n======\n")

    say_errors(str(tmp_path), since=0)

    assert capsys.readouterr().err.startswith("error: train: no pixel (")
