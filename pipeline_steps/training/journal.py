"""What is written down while a training goes on: TensorBoard's events, and pictures."""

import logging
from pathlib import Path

from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from pipeline_steps.training.loop import Training
from pipeline_steps.training.panels import Panels

log = logging.getLogger(__name__)

FLAT, SETTLED = 0.01, 100
"""Correlation below which a predicted depth says nothing, and steps after which that is told."""


class Journal:
    """Follows a training: its rows go to TensorBoard in ``events``, its pictures there and to
    ``folder``, as ``step-<n>.png`` after each of ``steps``.
    """

    def __init__(
        self,
        training: Training,
        events: Path | None,
        panels: Panels | None,
        folder: Path,
        steps: set[int],
        teaches_depth: bool = True,
    ) -> None:
        self.panels, self.folder, self.steps = panels, folder, steps
        self.rows, self.may_warn = len(training.rows), teaches_depth
        # what a killed run wrote after its last checkpoint comes again
        again = training.done + 1 if training.done else None
        self.writer = SummaryWriter(events, purge_step=again) if events else None

    def __enter__(self) -> "Journal":
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self.writer:
            self.writer.close()

    def __call__(self, training: Training) -> None:
        """Write down what a step has brought."""
        for row in training.rows[self.rows :]:
            self._row(row)
        has_news = len(training.rows) > self.rows or training.done in self.steps
        self.rows = len(training.rows)
        if training.done in self.steps:
            self._draw(training)
        # before a checkpoint that knows of it: it would not come again
        if has_news and self.writer:
            self.writer.flush()

    def _row(self, row: dict[str, float]) -> None:
        is_flat = abs(row.get("depth_r", 1.0)) < FLAT and row["step"] > SETTLED
        if is_flat and self.may_warn:
            log.warning(
                "step %d: the predicted depth is flat, and its loss has nothing to mend it by; see"
                " train.depth_loss and train.lr",
                row["step"],
            )
            self.may_warn = False
        if self.writer:
            for key, value in row.items():
                if key != "step":
                    self.writer.add_scalar(key, value, int(row["step"]))

    def _draw(self, training: Training) -> None:
        with training.as_result() as network:
            picture = self.panels.draw(network, training.fabric.device)
        file = self._file(training.done)
        Image.fromarray(picture.permute(1, 2, 0).numpy()).save(file)
        if self.writer:
            self.writer.add_image("panel", picture, training.done)

    def _file(self, step: int) -> Path:
        return self.folder / f"step-{step:06d}.png"
