"""A contestant's job, and what it took: free of our package, of torch and of rasterio.

Every contestant is a process: ``python -m tests.benchmarks.peers.<name> JOB``, with a ``Job`` as
JSON. The clock and the count of CPU seconds run from the first look at the sources to the last file
closed: imports and the making of the network are outside, memory beyond imports is not.
"""

import json
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

CLASSES = 6
LIBRARIES = ("monai", "numpy", "rasterio", "rastervision", "timm", "torch", "torchgeo", "zarr")


@dataclass(frozen=True)
class Job:
    """One raster, one network, and where the maps go; ``overlap`` in pixels."""

    image: str
    tiled: str
    out: str
    network: str
    weights: str
    window: int
    overlap: int
    batch: int
    threads: int
    precision: str

    def text(self) -> str:
        """Return the job as an argument of a command."""
        return json.dumps(asdict(self))

    def file(self, name: str) -> Path:
        """Return where a map goes."""
        return Path(self.out) / f"{name}.tif"

    def starts(self, length: int) -> list[int]:
        """Return where windows begin: the last is clamped to the edge, as in our own grid."""
        last = length - self.window
        return [*range(0, last, self.window - self.overlap), last]

    def corners(self, height: int, width: int) -> list[tuple[int, int]]:
        """Return (y, x) of every window, row after row."""
        return [(y, x) for y in self.starts(height) for x in self.starts(width)]


def contest(work: Callable[[Job, Any], None], prepare: Callable[[Job], Any]) -> None:
    """Do the job that the command line names, and print as JSON what it took."""
    job = Job(**json.loads(sys.argv[1]))
    Path(job.out).mkdir(parents=True, exist_ok=True)
    imports, resident, others = _memory("VmHWM"), _memory("VmRSS"), _children()
    _forget_peak()
    ready = prepare(job)
    cpu, begin = _cpu(), time.perf_counter()
    found = work(job, ready) or {}
    seconds, cpu = time.perf_counter() - begin, _cpu() - cpu
    # the largest child is added whole, unless it belongs to the imports, which ask for libraries
    peak = _memory("VmHWM") + (_children() if _children() > others else 0)
    took = {
        "seconds": seconds,
        "cpu_s": cpu,
        "peak_rss_gb": max(imports, peak) / 1e9,
        "work_rss_gb": max(0, peak - resident) / 1e9,
        "versions": _versions(),
    }
    print(json.dumps(took | found))


def _versions() -> dict[str, str]:
    return {
        name: metadata.version(name)
        for name in LIBRARIES
        if name in sys.modules or f"{name}.core" in sys.modules
    }


def _cpu() -> float:
    """Return user and system seconds of this process, its threads and its ended children."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in used)


def _children() -> int:
    """Return bytes of the largest child that has ended."""
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def _memory(key: str) -> int:
    """Return bytes of this process: ``VmRSS`` now, ``VmHWM`` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) * 1024


def _forget_peak() -> None:
    """Let ``VmHWM`` begin anew, which Linux does for a 5."""
    Path("/proc/self/clear_refs").write_text("5")
