"""The network alone, on a batch that lies in memory: what no contestant can be faster than."""

import time

import torch

from tests.benchmarks.peers.measuring import Job, contest
from tests.benchmarks.peers.networks import Forward

SECONDS, MOST = 3, 100
"""Batches are repeated for so long, but no oftener."""


def work(job: Job, forward: Forward) -> dict[str, int]:
    """Return how many windows there were."""
    pixels = torch.rand(job.batch, 3, job.window, job.window)
    begin, count = time.perf_counter(), 0
    while count < 2 or (time.perf_counter() - begin < SECONDS and count < MOST):
        forward(pixels)
        forward.wait()
        count += 1
    return {"windows": count * job.batch}


if __name__ == "__main__":
    contest(work, Forward)
