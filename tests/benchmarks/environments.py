"""Processes of contestants: each by the Python that has what it needs."""

import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.measuring import Job
from tests.data.studies import ROOT

log = logging.getLogger(__name__)

REQUIREMENTS = ROOT / "envs" / "peers.txt"
PEERS = ("torchgeo", "monai", "rastervision")
"""Contestants that have an environment of their own, which they share."""


def peers_python(folder: Path) -> Path:
    """Return the Python that has all peers; make its environment where ``folder`` has it not."""
    python, stamp = folder.absolute() / "bin" / "python", folder / "installed"
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == digest:
        return python
    log.info("%s: has not what %s says, is made anew", folder, REQUIREMENTS.relative_to(ROOT))
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, folder], check=True)
    install = [*uv, "pip", "install", "--python", python, "-r", REQUIREMENTS]
    subprocess.run(install, check=True, env=os.environ | {"UV_COMPILE_BYTECODE": "1"})
    # last, so that an interrupted installation is done again
    stamp.write_text(digest)
    return python


def run(script: str, job: Job, folder: Path) -> dict[str, Any]:
    """Do one job in a process of its own and return what it took.

    All processes have the same number of threads, which sleep while they wait, and the same, small
    block cache of GDAL: by default it is a share of the machine's memory.
    """
    python = peers_python(folder) if script in PEERS else sys.executable
    settings = {
        "OMP_NUM_THREADS": str(job.threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GDAL_CACHEMAX": "128",
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [python, "-m", f"tests.benchmarks.peers.{script}", job.text()],
        cwd=ROOT,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])
