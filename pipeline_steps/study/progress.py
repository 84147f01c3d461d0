"""Show that long work goes on: a bar on the terminal, plain lines in the log."""

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from tqdm import tqdm

log = logging.getLogger(__name__)
T = TypeVar("T")


def track(
    work: Iterable[T], total: int, what: str, unit: str = "it", every: float = 10
) -> Iterator[T]:
    """Yield ``work`` while showing rate and remaining time: on the terminal, where there is one,
    as a bar that goes when it is done, and in the log every ``every`` seconds."""
    with contextlib.ExitStack() as stack:
        screen = stack.enter_context(_terminal())
        shown = tqdm(
            work, what, total, leave=False, file=screen, unit=f" {unit}", disable=screen is None
        )
        yield from _logged(shown, total, what, unit, every)


def _terminal() -> contextlib.AbstractContextManager[TextIO | None]:
    """Open the terminal: Snakemake sends a job's stderr to its log, so that is not where it is."""
    try:
        return open("/dev/tty", "w", encoding="utf-8")
    except OSError:
        return contextlib.nullcontext()


def _logged(work: Iterable[T], total: int, what: str, unit: str, every: float) -> Iterator[T]:
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
