import math

import pytest
import torch
from torch import nn

from pipeline_steps.training.loop import adamw, cosine, fit, polynomial

CPU = torch.device("cpu")


def toy(steps, seed=0):
    rng = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(16, 3, generator=rng)
        yield {"x": x, "y": x @ torch.tensor([[1.0], [-2.0], [0.5]])}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 1))


def trained(net, data, report_every=10, factor=lambda _: 1.0, clip=1.0, **more):
    def loss_of(batch):
        error = ((net(batch["x"]) - batch["y"]) ** 2).mean()
        return {"loss": error, "half": error / 2}

    return fit(net, adamw(net, 0.02, 0.01), factor, loss_of, data, CPU, clip, report_every, **more)


def test_polynomial_warms_up_peaks_and_ends_near_0():
    factor = polynomial(1000, 100, 0.9)

    assert factor(0) == 0.01
    assert factor(49) == 0.5
    assert factor(99) == factor(100) == 1
    assert factor(550) == pytest.approx(0.5**0.9)
    assert 0 < factor(999) < 0.01
    assert factor(1000) == 0


def test_polynomial_only_rises_and_then_only_falls():
    factors = [polynomial(200, 20, 0.9)(step) for step in range(201)]

    assert factors[:20] == sorted(factors[:20])
    assert factors[20:] == sorted(factors[20:], reverse=True)


def test_warm_up_takes_at_most_a_tenth_of_a_short_training():
    factor = polynomial(50, 1500, 0.9)

    assert factor(4) == factor(5) == 1
    assert factor(49) < 0.1


@pytest.mark.parametrize("steps", [1, 5])
def test_a_training_of_a_few_steps_begins_at_the_peak(steps):
    assert polynomial(steps, 1500, 0.9)(0) == 1


def test_cosine_warms_up_for_a_twentieth_and_falls_from_1_to_0():
    factor = cosine(100)

    assert factor(0) == pytest.approx(1 / 6)
    assert factor(2) == pytest.approx(3 / 6 * (1 + math.cos(math.pi * 0.02)) / 2)
    assert max(factor(step) for step in range(101)) == factor(5) > 0.99
    assert cosine(10)(0) == 1
    assert factor(50) == pytest.approx(0.5)
    assert factor(25) == pytest.approx((1 + math.sqrt(0.5)) / 2)
    assert factor(100) == pytest.approx(0)


def test_norms_and_biases_do_not_decay():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1))

    decayed, others = adamw(net, 0.1, 0.05).param_groups

    assert (decayed["weight_decay"], others["weight_decay"]) == (0.05, 0)
    assert set(decayed["params"]) == {net[0].weight, net[2].weight}
    assert set(others["params"]) == {net[0].bias, net[1].weight, net[1].bias, net[2].bias}


def test_what_is_frozen_is_not_optimised():
    net = network()
    net[0].requires_grad_(False)

    optimised = [p for group in adamw(net, 0.1, 0).param_groups for p in group["params"]]

    assert not set(optimised) & set(net[0].parameters())
    assert len(optimised) == 4


def test_training_reduces_the_loss():
    history = trained(network(), toy(200))

    assert history["loss"].iloc[-1] < 0.1 * history["loss"].iloc[0]


def test_history_has_a_row_every_so_many_steps_and_one_for_the_rest():
    history = trained(network(), toy(25))

    assert history["step"].tolist() == [10, 20, 25]
    assert list(history.columns) == ["step", "lr", "loss", "half"]
    assert (2 * history["half"]).tolist() == pytest.approx(history["loss"].tolist())


def test_history_gives_the_mean_since_the_last_row():
    fine = trained(network(), toy(20), report_every=1)
    coarse = trained(network(), toy(20))

    assert coarse["loss"].tolist() == pytest.approx(
        [fine["loss"][:10].mean(), fine["loss"][10:].mean()], rel=1e-5
    )


def test_history_gives_the_learning_rate_that_the_step_ran_with():
    history = trained(network(), toy(4), report_every=1, factor=lambda step: 1 / (step + 1))

    assert history["lr"].tolist() == pytest.approx([0.02, 0.02 / 2, 0.02 / 3, 0.02 / 4])


def test_validation_stands_beside_the_losses():
    counter = iter(range(9))

    history = trained(network(), toy(25), validate=lambda: {"miou": next(counter)})

    assert history["miou"].tolist() == [0, 1, 2]


def test_a_loss_that_is_not_a_number_ends_the_training():
    data = list(toy(30))
    data[14]["y"][0] = float("nan")
    seen = []

    def watched():
        for step, batch in enumerate(data, 1):
            seen.append(step)
            yield batch

    with pytest.raises(ValueError, match="loss is nan by step 20, expected a finite number"):
        trained(network(), watched())
    assert seen[-1] == 20


def test_equal_seeds_train_equal_networks():
    first, second = network(), network()

    trained(first, toy(20))
    trained(second, toy(20))

    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_gradients_are_clipped():
    net, seen = nn.Linear(3, 1), []
    optimiser = adamw(net, 1e-6, 0)
    optimiser.register_step_pre_hook(
        lambda *_: seen.append(torch.cat([p.grad.ravel() for p in net.parameters()]).norm().item())
    )

    def loss_of(batch):
        return {"loss": 1000 * ((net(batch["x"]) - batch["y"]) ** 2).mean()}

    fit(net, optimiser, lambda _: 1.0, loss_of, toy(5), CPU, clip=0.5, report_every=5)

    assert seen == pytest.approx([0.5] * 5, rel=1e-3)
