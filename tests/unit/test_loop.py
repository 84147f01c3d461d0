import io
import math

import pytest
import torch
from torch import nn

from pipeline_steps.training.fabric import new_fabric
from pipeline_steps.training.loop import DivergenceError, Recipe, Training
from pipeline_steps.training.optimiser import adamw, cosine, polynomial


def toy(steps, seed=0):
    rng = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        x = torch.randn(16, 3, generator=rng)
        yield {"x": x, "y": x @ torch.tensor([[1.0], [-2.0], [0.5]])}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.LayerNorm(8), nn.Linear(8, 1))


def loss_of(net, batch):
    error = ((net(batch["x"]) - batch["y"]) ** 2).mean()
    return {"loss": error, "half": error / 2}


def begun(net, loss_of=loss_of, lr=0.02, **recipe):
    recipe = {"factor": lambda _: 1.0, "clip": 1.0, "report_every": 10} | recipe
    fabric = new_fabric("fp32")
    return Training(fabric, net, adamw(net, lr, 0.01), loss_of, Recipe(**recipe))


def trained(net, data, watch=dict, **more):
    data = list(data)
    return begun(net, **more).run(data, len(data), watch)


def weights(net):
    return torch.cat([value.detach().ravel().float() for value in net.state_dict().values()])


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

    history = trained(network(), toy(25), watch=lambda: {"miou": next(counter)})

    assert history["miou"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(("spoilt", "found"), [("y", "loss is nan"), ("grad", "gradient is")])
def test_what_is_no_number_ends_the_training_at_its_step(spoilt, found):
    data, steps = list(toy(30)), []

    def spoiling(net, batch):
        steps.append(1)
        losses = loss_of(net, batch)
        if spoilt == "grad" and len(steps) == 15:
            # its value is finite, its slope is not
            losses["loss"] = losses["loss"] + torch.sqrt(next(net.parameters()).sum() * 0)
        return losses

    if spoilt == "y":
        data[14]["y"][0] = float("nan")
    with pytest.raises(
        DivergenceError, match=f"{found}.* at step 15, expected a finite number"
    ) as caught:
        trained(network(), data, loss_of=spoiling)
    assert caught.value.step == 15 and len(steps) == 15
    assert "half" in str(caught.value)


def test_equal_seeds_train_equal_networks():
    first, second = network(), network()

    trained(first, toy(20))
    trained(second, toy(20))

    assert torch.equal(weights(first), weights(second))


def test_gradients_are_clipped():
    net, seen = nn.Linear(3, 1), []
    training = begun(
        net, lambda n, b: {"loss": 1000 * ((n(b["x"]) - b["y"]) ** 2).mean()}, lr=1e-6, clip=0.5
    )
    training.optimiser.optimizer.register_step_pre_hook(
        lambda *_: seen.append(torch.cat([p.grad.ravel() for p in net.parameters()]).norm().item())
    )

    training.run(toy(5), 5)

    assert seen == pytest.approx([0.5] * 5, rel=1e-3)


def test_a_batch_in_parts_steps_as_the_whole_does():
    whole, parts = network(), network()

    trained(whole, toy(20))
    history = trained(parts, toy(20), accumulate=4)

    torch.testing.assert_close(weights(whole), weights(parts), rtol=1e-4, atol=1e-5)
    assert history["half"].tolist() == pytest.approx((history["loss"] / 2).tolist())


def test_a_batch_in_parts_is_never_whole_in_the_network():
    seen = []

    def watching(net, batch):
        seen.append(len(batch["x"]))
        return loss_of(net, batch)

    trained(network(), toy(3), loss_of=watching, accumulate=4)

    assert seen == [4] * 12


class Noisy(nn.Module):
    """Has what a network may have: dropout, running statistics, and a part that is frozen."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.Linear(3, 8).requires_grad_(False)
        self.rest = nn.Sequential(nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 1))

    def forward(self, x):
        return self.rest(self.frozen(x))


RECIPES = [{}, {"ema": 0.9}, {"accumulate": 2}, {"patience": 3, "report_every": 3}]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("left", [1, 9, 10, 17, 24, 25])
def test_left_and_gone_on_with_it_ends_bit_for_bit_as_undisturbed(recipe, left):
    data, whole, disturbed = list(toy(25)), Noisy(), Noisy()

    def watch(net):
        return lambda: {"val_loss": float(weights(net)[:40].abs().sum())}

    training = begun(whole, **recipe)
    expected = training.run(data, 25, watch(whole))
    first = begun(disturbed, **recipe)
    first.run(data[:left], 25, watch(disturbed))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    again = Noisy()
    second = begun(again, **recipe)
    second.load_state_dict(torch.load(file, weights_only=True))
    history = second.run([] if second.is_over else data[second.done :], 25, watch(again))

    assert history.equals(expected)
    result, other = training.result(), second.result()
    assert result.keys() == other.keys()
    assert all(torch.equal(result[key], other[key]) for key in result)


def test_a_checkpoint_leaves_out_what_is_frozen():
    training = begun(Noisy())

    assert not any("frozen" in key for key in training.state_dict()["network"])
    assert any("running_mean" in key for key in training.state_dict()["network"])


def test_dropout_differs_from_step_to_step():
    seen, net = [], Noisy()
    net.rest[2].register_forward_hook(lambda *io: seen.append(io[2] == 0))

    trained(net, toy(2))

    assert not torch.equal(*seen)


def test_averaged_weights_are_the_result_and_the_others_are_trained():
    net = network()
    training = begun(net, ema=0.9)
    averaged, decays = weights(net).clone(), [min(0.9, (1 + n) / (10 + n)) for n in range(100)]

    def follow(training):
        decay = decays[training.done - 1]
        averaged.lerp_(weights(training.bare), 1 - decay)

    training.run(toy(100), 100, after=follow)

    result = torch.cat([value.ravel() for value in training.result().values()])
    torch.testing.assert_close(result, averaged, rtol=1e-4, atol=1e-5)
    plain = network()
    trained(plain, toy(100))
    assert torch.equal(weights(net), weights(plain))


def test_without_patience_the_last_weights_are_the_result_with_it_those_of_the_best_row():
    data = list(toy(40))
    losses, kept = [5, 3, 4, 6, 1], []

    def watch(net):
        def measure():
            kept.append(weights(net).clone())
            return {"val_loss": losses[len(kept) - 1]}

        return measure

    net = network()
    training = begun(net, patience=2)
    history = training.run(data, 40, watch(net))

    assert history["step"].tolist() == [10, 20, 30, 40] and training.is_over
    result = torch.cat([value.ravel() for value in training.result().values()])
    assert torch.equal(result, kept[1]) and not torch.equal(result, kept[-1])
    kept.clear()
    last = network()
    training = begun(last)
    training.run(data, 40, watch(last))
    assert torch.equal(torch.cat([v.ravel() for v in training.result().values()]), weights(last))


def test_bf16_arithmetic_leaves_weights_and_losses_in_float32():
    fabric, net = new_fabric("bf16"), network()
    seen = []

    def watching(net, batch):
        said = net(batch["x"])
        seen.append(said.dtype)
        return {"loss": ((said - batch["y"]) ** 2).mean()}

    Training(fabric, net, adamw(net, 0.02, 0), watching, Recipe(lambda _: 1.0, 1.0, 1)).run(
        toy(2), 2
    )

    assert seen == [torch.float32] * 2
    assert all(p.dtype == torch.float32 for p in net.parameters())
