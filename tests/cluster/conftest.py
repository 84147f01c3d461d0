"""A SLURM for the tests of this folder; where none can be had, they say why they skip."""

import pytest

from tests.cluster.slurm import MissingError, running


@pytest.fixture(scope="session")
def slurm(tmp_path_factory):
    try:
        with running(tmp_path_factory.mktemp("cluster")) as found:
            yield found
    except MissingError as error:
        pytest.skip(str(error))
