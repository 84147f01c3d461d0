"""Show that long work goes on: a bar on a terminal, plain lines in a log."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)
T = TypeVar("T")


def track(
    work: Iterable[T], total: int, what: str, unit: str = "it", every: float = 10
) -> Iterator[T]:
    """Yield ``work`` while showing rate and remaining time, in a log every ``every`` seconds."""
    if sys.stderr.isatty():
        yield from tqdm(work, total=total, desc=what, unit=f" {unit}")
        return
    start = said = time.monotonic()
    for done, item in enumerate(work):
        yield item
        now = time.monotonic()
        if now - said >= every or done + 1 == total:
            said, rate = now, (done + 1) / max(now - start, 1e-9)
            left = (total - done - 1) / rate
            log.info(
                "%s: %d of %d %s, %.1f/s, %.0f s left", what, done + 1, total, unit, rate, left
            )
