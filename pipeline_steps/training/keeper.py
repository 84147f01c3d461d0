"""Keep a training on disk, so that one that was killed goes on where it was."""

import logging
import os
import signal
import time
from pathlib import Path
from types import FrameType

import torch

from pipeline_steps.training.loop import Training

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.pt"
"""What a training is kept in, in its folder."""

EVERY = 120.0
"""Seconds between two checkpoints."""

TERMINATED = 128 + signal.SIGTERM
"""Status of a process that was asked to end, as shells have it."""


class Keeper:
    """Saves a training to ``file`` after a step, every so often and before SIGTERM ends it.

    Of several devices the first saves and ends: weights and optimiser are the same on all of them,
    and were they to end after different steps, they would wait for each other.
    """

    def __init__(self, file: Path, every: float | None = None) -> None:
        self.file, self.every = file, EVERY if every is None else every
        self._saved, self._is_asked = time.monotonic(), False

    def __enter__(self) -> "Keeper":
        self._before = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def resume(self, training: Training) -> None:
        """Go on from the file, if there is one."""
        if self.file.is_file():
            training.load_state_dict(torch.load(self.file, map_location="cpu", weights_only=True))
            log.info("goes on from step %d", training.done)

    def __call__(self, training: Training) -> None:
        """Save if it is time; end the process if it was asked to."""
        is_time = time.monotonic() - self._saved >= self.every
        is_over = self._is_asked and training.fabric.global_rank == 0
        if is_time or is_over:
            self.save(training)
        if is_over:
            log.info("stopped by SIGTERM after step %d; started again it goes on", training.done)
            raise SystemExit(TERMINATED)

    def save(self, training: Training) -> None:
        """Write the checkpoint; the one before it stays until the new one is whole."""
        training.check()
        if training.fabric.global_rank == 0:
            partial = self.file.with_name(self.file.name + ".partial")
            try:
                with partial.open("wb") as file:
                    torch.save(training.state_dict(), file)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(partial, self.file)
            except OSError as error:
                partial.unlink(missing_ok=True)
                raise OSError(error.errno, error.strerror, str(self.file)) from error
        self._saved = time.monotonic()

    def _ask(self, _: int, __: FrameType | None) -> None:
        self._is_asked = True
