import errno
import os
import signal

import pytest
import torch
from torch import nn

from pipeline_steps.training.fabric import new_fabric
from pipeline_steps.training.keeper import TERMINATED, Keeper
from pipeline_steps.training.loop import Recipe, Training
from pipeline_steps.training.optimiser import adamw


def begun():
    torch.manual_seed(0)
    net = nn.Linear(3, 1)

    def loss_of(net, batch):
        return {"loss": ((net(batch["x"]) - 1) ** 2).mean()}

    return Training(new_fabric("fp32"), net, adamw(net, 0.1, 0), loss_of, Recipe(lambda _: 1, 1, 5))


def data(steps, first=0):
    for step in range(first, steps):
        yield {"x": torch.full((2, 3), float(step))}


def weights(training):
    return torch.cat([value.ravel() for value in training.result().values()])


def test_a_kept_training_goes_on_where_it_was(tmp_path):
    whole, first, second = begun(), begun(), begun()
    whole.run(data(12), 12)
    with Keeper(tmp_path / "a", every=0) as keeper:
        first.run(data(7), 12, after=keeper)

    with Keeper(tmp_path / "a") as keeper:
        keeper.resume(second)
    second.run(data(12, second.done), 12)

    assert torch.equal(weights(whole), weights(second))


def test_without_a_checkpoint_a_training_begins_at_the_start(tmp_path):
    training = begun()

    with Keeper(tmp_path / "a") as keeper:
        keeper.resume(training)

    assert training.done == 0


def test_a_checkpoint_is_written_every_so_often_and_not_after_every_step(tmp_path):
    training = begun()
    with Keeper(tmp_path / "a", every=1e9) as keeper:
        training.run(data(3), 3, after=keeper)

    assert not list(tmp_path.iterdir())


def test_asked_to_end_it_ends_after_the_step_with_a_checkpoint_of_it(tmp_path):
    training, again, steps = begun(), begun(), []

    def asked(number, keeper):
        steps.append(number)
        if len(steps) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return keeper(number)

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, Keeper(tmp_path / "a", every=1e9) as keeper:
        training.run(data(9), 9, after=lambda training: asked(training, keeper))

    assert ended.value.code == TERMINATED == 143
    assert signal.getsignal(signal.SIGTERM) == before
    keeper.resume(again)
    assert again.done == len(steps) == 4


def test_where_the_disk_is_full_the_checkpoint_before_stays_and_the_file_is_named(
    tmp_path, monkeypatch
):
    training, again = begun(), begun()
    keeper = Keeper(tmp_path / "a", every=0)
    training.run(data(3), 3, after=keeper)

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"No space left on device: '{tmp_path / 'a'}'"):
        training.run(data(5, 3), 5, after=keeper)

    assert [file.name for file in tmp_path.iterdir()] == ["a"]
    keeper.resume(again)
    assert again.done == 3
