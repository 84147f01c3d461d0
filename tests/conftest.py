"""What all tests share: where real data lies, and that it is never skipped where it is there."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
# threads that wait for others shall not spin: beside a second process that costs several-fold
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# a worker and all that it starts keep to one core: networks that share cores slow each other down
if worker := os.environ.get("PYTEST_XDIST_WORKER"):
    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_setaffinity") else []
    if own:
        os.sched_setaffinity(0, {own[int(worker.removeprefix("gw")) % len(own)]})

ROOT = Path(__file__).resolve().parents[1]
REAL = ROOT.parent / "shared" / "data"


@pytest.fixture
def real_data() -> Path:
    if not REAL.is_dir():
        pytest.skip("no ../shared/data here")
    return REAL


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.skipped and item.get_closest_marker("real") and REAL.is_dir():
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped, although {REAL} exists"
    return report
