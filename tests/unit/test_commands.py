"""Lists that are too long for a command reach it in a file, whatever the names are."""

import os
import shlex
import signal
import subprocess
import sys
import time

import pytest

from pipeline_steps.study.commands import exported

ODD = ["a b", "it's", "new\nline", "-x", "@y", "$(touch harm)", "`touch harm`", "*", "é"]
SHOW = "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())"


def ran(words, folder, after="true", **values):
    """Run a command with words as a list, in a shell as Snakemake starts it; what its file had."""
    prefix = exported(NAME="value", **values).format()
    listed = " ".join(map(shlex.quote, words))
    script = folder / "script.sh"
    show = f"{sys.executable} -c {shlex.quote(SHOW)}"
    script.write_text(f'{prefix} {show} "$(list {listed})"; {after}')
    temporary = folder / "a b"
    temporary.mkdir()
    done = subprocess.run(
        ["bash", script],
        cwd=folder,
        env=os.environ | {"TMPDIR": str(temporary)},
        capture_output=True,
    )
    assert list(temporary.iterdir()) == [] and not (folder / "harm").exists()
    return done


def test_a_list_has_every_word_as_it_is_and_goes_with_the_command(tmp_path):
    done = ran(ODD, tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split("\0") == [*ODD, ""]


def test_a_list_goes_with_a_command_that_fails(tmp_path):
    assert ran(["a"], tmp_path, after="false; echo not here").returncode == 1


def test_a_list_may_be_longer_than_any_command(tmp_path):
    words = [f"results/score/depthseg/seed-0/{number:09}.json" for number in range(60_000)]
    with pytest.raises(OSError, match="too long"):
        subprocess.run(["true", *words])

    done = ran(words, tmp_path)

    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().split("\0")[:-1] == words


def test_values_are_exported_as_they_are(tmp_path):
    done = ran(["a"], tmp_path, after='printf %s "$ROOT"', ROOT="it's {here}; $HOME")

    assert done.stdout.decode() == "a\0it's {here}; $HOME"


def test_a_signal_to_all_processes_does_not_end_the_shell_before_its_step(tmp_path):
    step = (
        "import signal, sys, time, pathlib;"
        "signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.5),"
        " pathlib.Path('saved').touch(), sys.exit(143)));"
        "pathlib.Path('begun').touch(); time.sleep(60)"
    )
    command = f'{exported(NAME="value").format()} {sys.executable} -c "{step}"'
    run = subprocess.Popen(["bash", "-c", command], cwd=tmp_path, start_new_session=True)
    while not (tmp_path / "begun").exists():
        assert run.poll() is None
        time.sleep(0.02)

    os.killpg(run.pid, signal.SIGTERM)

    assert run.wait(30) == 143
    assert (tmp_path / "saved").exists()
