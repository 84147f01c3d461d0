"""The tiny study, run once from a copy of the source that a test may edit."""

from pathlib import Path

import pytest

from tests.data.studies import (
    TINY_ROWS,
    copied,
    snakemake,
    tiny_study,
    without_network,
    write_study,
)


@pytest.fixture(scope="session")
def source(tmp_path_factory) -> Path:
    return copied(tmp_path_factory.mktemp("project") / "depthseg")


@pytest.fixture(scope="session")
def finished(tmp_path_factory, source) -> Path:
    """The folder of the tiny study, run once to its end, where it can be without any network."""
    study = write_study(tmp_path_factory.mktemp("tiny study"), tiny_study(), TINY_ROWS)
    done = snakemake(source, study, before=without_network())
    assert done.returncode == 0, done.stderr
    return study.parent
