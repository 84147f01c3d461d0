import numpy as np
import pytest
import torch
from torch import nn

from pipeline_steps.training.augment import Augmentation
from pipeline_steps.training.crops import Crops, Drawing
from pipeline_steps.training.fabric import new_fabric
from pipeline_steps.training.features import drawn, features_of
from pipeline_steps.training.layers import Layers

CROP = 32


class Encoder(nn.Module):
    """Four taps of an image, each a coarse view of it times a number."""

    def __init__(self, dies=None, gain=1.0):
        super().__init__()
        self.seen, self.dies, self.gain = [], dies, gain

    def forward(self, image):
        if len(self.seen) == self.dies:
            raise KeyboardInterrupt
        self.seen.append(len(image))
        coarse = nn.functional.avg_pool2d(image, 8)
        return [self.gain * factor * coarse for factor in (1, 2, 3, 4)]


def crops(count, seed=0, turns=True, features=None):
    rng = np.random.default_rng(0)
    image = rng.random((3, 80, 56), np.float32)
    labels = rng.integers(0, 3, (80, 56), np.uint8)
    how = (CROP, count, seed, Augmentation(turns=turns), 255)
    return Crops([Layers(image, labels)], *how, True, Drawing(positions="grid"), features)


def kept(folder, some, encoder):
    return features_of(some, encoder, folder, 4, new_fabric("fp32"), lambda work, _: work)


def test_a_crop_of_features_has_what_the_encoder_says_of_its_image(tmp_path):
    features = kept(tmp_path, crops(20), Encoder())

    for number in range(20):
        cached, plain = crops(20, features=features)[number], crops(20)[number]
        assert "image" not in cached and cached["taps"].dtype == torch.float16
        expected = torch.stack(Encoder()(plain["image"][None]), 1)[0]
        torch.testing.assert_close(cached["taps"].float(), expected, rtol=1e-3, atol=1e-3)
        assert torch.equal(cached["labels"], plain["labels"])


def test_every_crop_that_is_drawn_is_seen_once_and_no_other(tmp_path):
    few, all_of_them, encoder = crops(5), crops(2000), Encoder()

    features = kept(tmp_path / "few", few, encoder)
    kept(tmp_path / "all", all_of_them, whole := Encoder())

    variants = {few.variant_of(number) for number in range(5)}
    assert sum(encoder.seen) == len(variants) == len(drawn(few))
    assert sum(whole.seen) == all_of_them.variants == len(drawn(all_of_them))
    others = next(n for n in range(few.variants) if n not in variants)
    assert not features[others].any()


@pytest.mark.parametrize("dies", [0, 1, 3])
def test_what_a_killed_run_has_seen_is_not_seen_again(tmp_path, dies):
    some, again = crops(40), Encoder()
    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "a", some, Encoder(dies))

    features = kept(tmp_path / "a", some, again)

    whole = Encoder()
    expected = kept(tmp_path / "b", some, whole)
    np.testing.assert_array_equal(features[:], expected[:])
    assert len(again.seen) == len(whole.seen) - dies


def test_features_too_large_for_float16_are_refused(tmp_path):
    with pytest.raises(ValueError, match="expected at most 65504"):
        kept(tmp_path, crops(5), Encoder(gain=1e6))
