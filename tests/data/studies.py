"""The demo study made tiny, and Snakemake to run it with."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("Snakefile", "workflow", "pipeline_steps", "config", "envs")


def copied(folder: Path) -> Path:
    """Copy what a run needs of the project."""
    folder.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)
    return folder


def tiny_study() -> dict:
    """Return the demo's config, with two experiments of a few steps on scenes of 96 pixels."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    config["synthesize"] = {"size": 96, "gsd": 2.0}
    config["adapt"] |= {"steps": 4, "batch": 2, "crop": 32}
    config["depth"] |= {"window": 32}
    config["train"] |= {"steps": 4, "batch": 2, "crop": 32, "report_every": 2}
    config["predict"] |= {"window": 64}
    chosen = ("depthseg", "elevation")
    experiments = config["experiments"]
    config["experiments"] = {name: experiments[name] | {"seeds": [0]} for name in chosen}
    return config


def write_study(folder: Path, config: dict, rows: list[str]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    header = "scene\timage\tlabels\televation\tsplit"
    (folder / "scenes.tsv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return folder / "study.yaml"


def row(name: str, split: str) -> str:
    files = (f"{name}/{layer}.tif" for layer in ("image", "labels", "elevation"))
    return "\t".join([name, *files, split])


TINY_ROWS = [row("east", "train"), row("harbour", "test")]


def environment() -> dict[str, str]:
    """Return an environment where this Python comes first and no GPU makes a difference."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"PATH": path, "CUDA_VISIBLE_DEVICES": ""}


def command(source: Path, study: Path, *more: str) -> list[str]:
    # tiny networks, as the demo's are
    profile = str(source / "workflow" / "profiles" / "demo")
    return [
        *(sys.executable, "-m", "snakemake", "--cores", "2", "--workflow-profile", profile),
        *("--snakefile", str(source / "Snakefile"), "--configfile", str(study)),
        *("--directory", str(study.parent), *more),
    ]


def snakemake(
    source: Path,
    study: Path,
    *more: str,
    before: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess:
    """Run a study in its own folder; status and what was printed come back.

    ``before`` is a command that runs it, ``env`` has further variables of its environment.
    """
    return subprocess.run(
        [*before, *command(source, study, *more)],
        env=environment() | dict(env or {}),
        capture_output=True,
        text=True,
    )


def without_network() -> list[str]:
    """Return a command that runs another where there is no network at all; [] if none can."""
    alone = ["unshare", "--map-root-user", "--net"]
    try:
        is_able = subprocess.run([*alone, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        is_able = False
    return alone if is_able else []


def stale(
    source: Path, study: Path, *more: str, env: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Return how many jobs of each rule would run, by a dry run."""
    done = snakemake(source, study, "-n", *more, env=env)
    assert done.returncode == 0, done.stderr
    if "Nothing to be done" in done.stdout + done.stderr:
        return {}
    stats = (done.stdout + done.stderr).split("Job stats:")[1].split("Reasons:")[0]
    jobs = {match[1]: int(match[2]) for match in re.finditer(r"^(\w+) +(\d+)$", stats, re.M)}
    return {rule: count for rule, count in jobs.items() if rule not in ("all", "total")}
