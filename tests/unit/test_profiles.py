"""Profiles say what every line is for, and never put jobs with a GPU into one submission."""

import re

import pytest
import yaml

from tests.data.studies import ROOT

PROFILES = sorted((ROOT / "workflow" / "profiles").glob("*/config.yaml"))
RULES = [file.read_text() for file in (ROOT / "workflow" / "rules").glob("*.smk")]


@pytest.mark.parametrize("file", PROFILES, ids=lambda file: file.parent.name)
def test_every_line_says_what_it_is_for(file):
    lines = [line for line in file.read_text().splitlines() if line.strip()]

    assert lines and not [line for line in lines if "#" not in line]


def groups():
    """Return the group of every rule that has one, with the rule's text."""
    blocks = [
        block for text in RULES for block in re.split(r"^(?=rule |use rule )", text, flags=re.M)
    ]
    found = ((re.search(r'^    group:\n        "(\w+)"', block, re.M), block) for block in blocks)
    return {match[1]: block for match, block in found if match}


def test_the_cluster_bounds_every_group_and_no_job_with_a_gpu_is_in_one():
    profile = yaml.safe_load((ROOT / "workflow" / "profiles" / "slurm" / "config.yaml").read_text())

    assert groups().keys() == profile["group-components"].keys()
    assert not [name for name, rule in groups().items() if "gpu=" in rule]
    assert profile["cores"] and profile["resources"]["mem_mb"]
