import importlib.util

import numpy as np
import pytest
import torch
from torch import nn

from pipeline_steps.models.layers import Prediction
from pipeline_steps.models.mapper import Mapped, Mapper, load_mapped

CLASSES, SIZE = 3, 64


class Lopsided(nn.Module):
    """Says otherwise of an image that is flipped or turned: it looks to the left and up."""

    def __init__(self, seed=0, bands=3, has_depth=True):
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(bands, CLASSES + 1, 5, padding=2)
        self.depth_decoder = nn.Identity() if has_depth else None

    def forward(self, image, depth=None):
        x = image if depth is None else torch.cat([image, depth], 1)
        said = self.conv(x) * 5
        found = said[:, CLASSES:].sigmoid() if self.depth_decoder is not None else None
        return Prediction(said[:, :CLASSES], found)


def images(count=2, bands=3, seed=0):
    return np.random.default_rng(seed).random((count, bands, SIZE, SIZE), np.float32)


def mapped(*networks, **more):
    return [Mapped(n, 3, n.depth_decoder is not None, **more).eval() for n in networks]


def mapper(*networks, precision="fp32", **settings):
    return Mapper(networks, CLASSES, precision, 2, **settings)


def said(found, *inputs):
    return found(list(inputs))()


def test_one_network_says_what_it_says():
    network, seen = Lopsided(), images()
    with torch.no_grad():
        expected = network(torch.from_numpy(seen)).logits.softmax(1).numpy()

    found = said(mapper(*mapped(network)), seen)

    assert found.dtype == np.float32 and found.shape == (2, CLASSES, SIZE, SIZE)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_in_bf16_probabilities_are_close_and_still_add_up():
    seen = images()
    exact, found = (said(mapper(*mapped(Lopsided()), precision=p), seen) for p in ("fp32", "bf16"))

    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    # of 8 significant bits
    assert 1e-5 < np.abs(found - exact).max() < 0.05
    assert (found.argmax(1) == exact.argmax(1)).mean() > 0.97


WAYS = [(quarters, flips) for flips in (False, True) for quarters in range(4)]


@pytest.mark.parametrize("quarters, flips", WAYS)
def test_in_turns_a_network_says_the_same_of_a_turned_image(quarters, flips):
    def turn(x):
        return np.ascontiguousarray(np.rot90(x[..., ::-1] if flips else x, quarters, (-2, -1)))

    network, seen = mapped(Lopsided()), images()
    plain, turning = mapper(*network), mapper(*network, turns=True)

    np.testing.assert_allclose(said(turning, turn(seen)), turn(said(turning, seen)), atol=1e-6)
    if (quarters, flips) != (0, False):
        assert np.abs(said(plain, turn(seen)) - turn(said(plain, seen))).max() > 0.05


def test_several_networks_give_their_mean():
    networks, seen = mapped(Lopsided(0), Lopsided(1)), images()
    each = [said(mapper(one), seen) for one in networks]

    found = said(mapper(*networks), seen, seen)

    np.testing.assert_allclose(found, np.mean(each, axis=0), atol=1e-6)


def test_spread_is_the_mean_of_the_sum_of_squares():
    networks, seen = mapped(Lopsided(0), Lopsided(1)), images()
    each = np.stack([said(mapper(one), seen) for one in networks])

    found = said(mapper(*networks, spread=True), seen, seen)

    np.testing.assert_allclose(found[:, -1], (each**2).sum(2).mean(0), atol=1e-6)
    variance = found[:, -1] - (found[:, :CLASSES] ** 2).sum(1)
    np.testing.assert_allclose(variance, each.var(0).sum(1), atol=1e-5)


def test_depth_is_the_mean_over_those_that_predict_it():
    with_depth, without = Lopsided(0), Lopsided(1, has_depth=False)
    seen = images()

    found = said(mapper(*mapped(with_depth, without), depth=True), seen, seen)
    alone = said(mapper(*mapped(with_depth), depth=True), seen)
    none = said(mapper(*mapped(without), depth=True), seen)

    np.testing.assert_array_equal(found[:, -1], alone[:, -1])
    assert np.isnan(none[:, -1]).all() and np.isfinite(none[:, :CLASSES]).all()


def test_at_another_scale_an_image_is_seen_larger():
    sizes = []

    class Seen(Lopsided):
        def forward(self, image, depth=None):
            sizes.append(tuple(image.shape[2:]))
            return super().forward(image, depth)

    found = said(mapper(*mapped(Seen()), scales=(0.5, 1.0, 1.6)), images())

    assert sizes == [(32, 32), (64, 64), (96, 96)]
    assert found.shape == (2, CLASSES, SIZE, SIZE)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("is_constant", [False, True])
def test_a_network_that_is_fed_sees_0_where_depth_is_not_known(is_constant):
    network, seen, depth = Lopsided(bands=4), images(), images(bands=1, seed=1)
    depth[:, :, :8] = np.nan
    known = np.where(np.isnan(depth), 0, 0.5 if is_constant else depth).astype(np.float32)
    with torch.no_grad():
        fed = (torch.from_numpy(seen), torch.from_numpy(known))
        expected = network(*fed).logits.softmax(1).numpy()

    one = mapped(network, is_constant=is_constant)
    found = said(mapper(*one), np.concatenate([seen, depth], 1))

    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.skipif(not importlib.util.find_spec("openvino"), reason="openvino is optional")
def test_openvino_says_what_torch_says():
    seen = images(3)
    network = mapped(Lopsided())

    torchs = said(mapper(*network, depth=True), seen)
    openvinos = said(mapper(*network, depth=True, backend="openvino"), seen)

    np.testing.assert_allclose(openvinos, torchs, atol=1e-4)


def test_compiled_a_network_always_sees_full_batches(monkeypatch):
    counts = []

    def noted(network, **_):
        def run(x):
            counts.append(len(x))
            return network(x)

        return run

    monkeypatch.setattr(torch, "compile", noted)
    one = mapper(*mapped(Lopsided()), compiled=True)

    assert said(one, images(1)).shape == (1, CLASSES, SIZE, SIZE)
    np.testing.assert_allclose(said(one, images(1)), said(mapper(*mapped(Lopsided())), images(1)))
    assert counts == [2, 2]


def test_weights_of_another_network_are_refused(tmp_path):
    from safetensors.torch import save_file

    file = tmp_path / "model.safetensors"
    save_file({"other": torch.zeros(1)}, file)
    settings = {"model": "baseline", "architecture": "unet", "arguments": None}
    settings["encoder"] = {"name": "resnet18", "weights": None, "bands": "rgb"}

    with pytest.raises(ValueError, match=r"model\.safetensors: is of another network"):
        load_mapped(file, settings, CLASSES, "none", False)
