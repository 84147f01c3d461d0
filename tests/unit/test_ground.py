import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline_steps.rasters.ground import Ground
from pipeline_steps.rasters.windows import Window

HEIGHT, WIDTH = 200, 240
Y, X = np.mgrid[:HEIGHT, :WIDTH]
SLOPE = 5 + 0.01 * Y - 0.02 * X
ROOFS = {8: Window(60, 60, 15, 15), 4: Window(20, 120, 12, 15), 30: Window(120, 180, 25, 15)}


def learned(kind, field, window=40.0, cuts=()):
    """Return the ground under a field that is shown in pieces."""
    ground = Ground(kind, *field.shape, window)
    top = 0
    for piece in np.split(field.astype(np.float32), sorted(cuts)):
        ground.look(top, piece)
        top += len(piece)
    y, x = np.nonzero(np.isfinite(field))
    ground.settle(y, x, field[y, x])
    return ground


def under(ground, height=HEIGHT, width=WIDTH):
    y, x = np.ogrid[:height, :width]
    return ground.at(y, x)


def town():
    field = SLOPE.copy()
    for height, roof in ROOFS.items():
        field[roof.slices] += height
    return field


@pytest.mark.parametrize("field", [town(), np.full((3, 240), np.nan)])
def test_none_takes_nothing_off(field):
    ground = learned("none", field)

    assert under(ground) == 0


@pytest.mark.parametrize("noise", [0, 0.05, 0.3])
@pytest.mark.parametrize("share", [0, 0.2, 1 / 3])
@pytest.mark.parametrize("tallest", [3, 12])
def test_a_plane_is_found_although_a_third_of_the_pixels_are_roofs(noise, share, tallest):
    rng = np.random.default_rng(0)
    blocks = np.zeros((HEIGHT // 10) * (WIDTH // 10))
    blocks[: int(share * blocks.size)] = rng.uniform(3, tallest, int(share * blocks.size))
    blocks = rng.permutation(blocks).reshape(HEIGHT // 10, -1)
    field = SLOPE + np.kron(blocks, np.ones((10, 10))) + noise * rng.normal(size=SLOPE.shape)

    found = under(learned("plane", field))

    assert np.abs(found - SLOPE).max() < 1e-3 + 0.1 * noise


@pytest.mark.parametrize("unknown", [X + Y > 250, X > 60, (X - 100) ** 2 + Y**2 < 9000])
def test_a_plane_is_told_by_what_is_known(unknown):
    found = under(learned("plane", np.where(unknown, np.nan, town())))

    np.testing.assert_allclose(found, SLOPE, atol=1e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (1, 300), (5, 1)])
@pytest.mark.parametrize("kind", ["plane", "morphological"])
def test_fields_too_small_for_a_plane_have_a_ground_that_is_a_number(kind, shape):
    field = np.ones(shape) * 3

    found = np.broadcast_to(under(learned(kind, field), *shape), shape)

    assert np.isfinite(found).all()
    assert (np.abs(found - 3) < 1e-3).all() or (found == 0).all()


@pytest.mark.parametrize("kind", ["plane", "morphological"])
def test_a_field_of_which_nothing_is_known_has_no_ground(kind):
    found = under(learned(kind, np.full((HEIGHT, WIDTH), np.nan)))

    assert not np.any(found)


UNKNOWN = {
    "nothing": np.zeros((HEIGHT, WIDTH), bool),
    "a corner": X + Y > 290,
    "a side": X > 200,
    "a hole": (np.abs(Y - 100) < 30) & (np.abs(X - 110) < 20),
    "the first rows": Y < 17,
    "here and there": np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.3,
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_flat_roofs_stand_above_a_sloping_ground_at_their_height(what):
    field = np.where(UNKNOWN[what], np.nan, town())

    above = field - under(learned("morphological", field))

    for height, roof in ROOFS.items():
        seen = above[roof.slices][~UNKNOWN[what][roof.slices]]
        assert np.abs(seen - height).max(initial=0) < 0.3


@pytest.mark.parametrize("what", UNKNOWN)
def test_bare_ground_is_about_0_high_beside_what_is_unknown_too(what):
    """A cell of which nothing is known, taken for tall, would raise the ground around it."""
    field = np.where(UNKNOWN[what], np.nan, town())
    bare = (town() == SLOPE) & ~UNKNOWN[what]

    above = field - under(learned("morphological", field))

    # at the very edge the smoothing sees half a window only
    assert np.abs(above[bare]).max() < 0.8
    assert np.abs(above[bare]).mean() < 0.2


@pytest.mark.parametrize("window", [3, 8, 12, 25, 60])
@pytest.mark.parametrize(("share", "height"), [(0.5, (9.9, 10)), (1.25, (0, 6)), (4, (0, 0.1))])
def test_what_is_wider_than_the_window_is_ground_and_what_is_narrower_is_not(window, share, height):
    """What is little wider is blurred with what is beside it."""
    side = max(1, int(share * window))
    field = np.zeros((400, 400))
    field[96 : 96 + side, 96 : 96 + side] = 10

    above = field - under(learned("morphological", field, window), 400, 400)

    low, high = height
    assert low - 1e-3 <= above[96 + side // 2, 96 + side // 2] <= high + 1e-3


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 90),
    st.integers(1, 50),
    st.sets(st.integers(1, 89)),
    st.sampled_from([3.0, 16.0, 37.0]),
    st.sampled_from([0, 0.2]),
)
def test_rows_in_pieces_of_any_height_give_the_same_ground(height, width, cuts, window, unknown):
    rng = np.random.default_rng([height, width])
    field = rng.normal(size=(height, width))
    field[rng.random(field.shape) < unknown] = np.nan

    pieces = learned("morphological", field, window, [cut for cut in cuts if cut < height])

    whole = learned("morphological", field, window)
    np.testing.assert_array_equal(under(pieces, height, width), under(whole, height, width))


@pytest.mark.parametrize("kind", ["plane", "morphological"])
def test_the_ground_is_the_same_asked_for_at_once_or_in_parts(kind):
    ground = learned(kind, town())

    whole, (y, x) = under(ground), np.ogrid[57:93, :WIDTH]

    np.testing.assert_allclose(ground.at(y, x), whole[57:93], atol=1e-9)
    np.testing.assert_allclose(ground.at(Y[5:7], X[5:7]), whole[5:7], atol=1e-9)
