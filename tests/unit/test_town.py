import dataclasses

import numpy as np
import pytest

from pipeline_steps.rasters.town import (
    BUILDING,
    CLASSES,
    GRASS,
    PLAZA,
    ROAD,
    SOIL,
    TREE,
    WATER,
    Look,
    Town,
    draw,
    render,
)

SIZE, GSD = 320, 0.5


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def town():
    return draw(SIZE, GSD, 0.8, rng())


def test_a_town_has_the_size_and_types_that_are_promised(town):
    assert town.labels.shape == town.height.shape == (SIZE, SIZE)
    assert town.albedo.shape == (SIZE, SIZE, 3)
    assert (town.labels.dtype, town.height.dtype) == (np.uint8, np.float32)
    assert town.albedo.dtype == np.float32
    assert town.labels.max() < len(CLASSES)
    assert town.albedo.min() >= 0 and town.albedo.max() <= 1


def test_one_seed_draws_one_town(town):
    again, other = draw(SIZE, GSD, 0.8, rng()), draw(SIZE, GSD, 0.8, rng(1))

    for field in dataclasses.fields(Town):
        layer = getattr(town, field.name)
        np.testing.assert_array_equal(layer, getattr(again, field.name))
        assert (layer != getattr(other, field.name)).any()


def test_only_buildings_and_trees_stand_above_the_ground():
    for seed in range(3):
        town = draw(SIZE, GSD, 0.5, rng(seed))
        assert (town.height[np.isin(town.labels, (ROAD, PLAZA, GRASS, WATER, SOIL))] == 0).all()
        assert (town.height[town.labels == BUILDING] >= 3).all()
        assert (town.height[town.labels == TREE] > 0.5).all()


def test_towns_hold_every_class():
    seen = set()
    for seed in range(4):
        seen |= set(np.unique(draw(SIZE, GSD, 0.5, rng(seed)).labels))

    assert seen == set(range(len(CLASSES)))


def test_shared_materials_make_roofs_look_like_plazas():
    def apart(shared):
        towns = [draw(SIZE, GSD, shared, rng(seed)) for seed in range(4)]
        means = [
            np.concatenate([t.albedo[t.labels == kind] for t in towns]).mean(0)
            for kind in (BUILDING, PLAZA)
        ]
        return np.abs(means[0] - means[1]).mean()

    assert apart(1.0) < 0.5 * apart(0.0)


def test_a_picture_is_three_bytes_a_pixel_and_repeats_with_its_seed(town):
    picture = render(town, GSD, rng(5))

    assert picture.shape == (3, SIZE, SIZE) and picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, render(town, GSD, rng(5)))
    assert (picture != render(town, GSD, rng(6))).any()


def test_what_is_tall_casts_a_shadow_beside_itself():
    flat = Town(
        np.full((80, 80), GRASS, np.uint8),
        np.zeros((80, 80), np.float32),
        np.full((80, 80, 3), 0.5, np.float32),
    )
    height = flat.height.copy()
    height[35:45, 35:45] = 8
    tower = dataclasses.replace(flat, height=height)

    darker = render(flat, GSD, rng(2)).mean(0) - render(tower, GSD, rng(2)).mean(0)

    ground = np.ones((80, 80), bool)
    ground[32:48, 32:48] = False
    shadow = (darker > 30) & ground
    # 8 m under a sun of 32 to 58 degrees: 5 to 13 m of shadow behind a tower of 5 m
    assert 5 * 3 < shadow.sum() * GSD**2 < 7.1 * 13
    assert np.abs(darker[ground & ~shadow]).mean() < 3


def seen(town, **look):
    return render(town, GSD, rng(1), Look(**look)).astype(int)


def change(town, kind, **look):
    """Return by how much a class looks brighter than under the usual look, in bands."""
    where = town.labels == kind
    return (seen(town, **look) - seen(town))[:, where].mean(1)


def test_the_usual_look_is_that_of_a_town_without_one(town):
    np.testing.assert_array_equal(seen(town), render(town, GSD, rng(1)))


def test_a_low_sun_casts_longer_shadows_the_same_way(town):
    usual, low = (seen(town, **look).mean(0) for look in ({}, {"sun": (12, 14)}))
    ground = town.height == 0

    dark = [(picture[ground] < 60).mean() for picture in (usual, low)]
    assert dark[1] > 1.5 * dark[0]
    # what lay in the shadow of a higher sun on the same side lies in that of a lower one
    assert (low[ground & (usual < 45)] < 80).mean() > 0.8


def test_in_autumn_trees_are_redder_and_roofs_as_ever(town):
    red, green, _ = change(town, TREE, season="autumn")
    assert red - green > 30
    assert np.abs(change(town, BUILDING, season="autumn")).max() < 1


def test_in_winter_snow_lies_on_meadows_more_than_on_roads(town):
    assert change(town, GRASS, season="winter").min() > 40
    assert (
        change(town, GRASS, season="winter").mean() > 3 * change(town, ROAD, season="winter").mean()
    )


def test_haze_takes_contrast_and_keeps_the_order(town):
    clear, hazy = seen(town), seen(town, haze=0.5)

    assert hazy.std() < 0.65 * clear.std()
    assert np.corrcoef(clear.ravel(), hazy.ravel())[0, 1] > 0.9


def test_another_sensor_shifts_each_band_its_own_way_and_is_noisier(town):
    red, green, _ = change(town, GRASS, response=(1.5, 0.8, 1.0))
    assert red < -10 and green > 5

    def rough(**look):
        return np.diff(seen(town, **look), axis=1)[:, town.labels[1:] == ROAD].var()

    added = rough(noise=0.05) - rough()
    assert added == pytest.approx(2 * 255**2 * (0.05**2 - 0.012**2), rel=0.15)
