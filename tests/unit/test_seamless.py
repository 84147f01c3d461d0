import itertools
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from pipeline_steps.metrics.depth import height_quality, seam
from pipeline_steps.rasters import town
from pipeline_steps.rasters.blending import lines
from pipeline_steps.rasters.ledger import Ledger
from pipeline_steps.rasters.seamless import Field
from pipeline_steps.rasters.windows import padded, starts

SIZE, OVERLAP, BATCH = 16, 0.25, 3


def quietly(work, steps):
    return work


def picture(height, width, seed=0):
    """Return a smooth picture in [0, 1]."""
    noise = np.random.default_rng([seed, height, width]).normal(size=(3, height, width))
    smooth = gaussian_filter(noise, (0, 2, 2)) * 2
    return (smooth + 0.5).clip(0, 1).astype(np.float32)


class Network:
    """Sees the mean of a picture's bands, and something of the batch that a window is in.

    ``shown`` are the batches that it was started on. It fails when it is started for the
    ``dies``-th time.
    """

    def __init__(self, dies=None, last_words=False):
        self.shown, self.dies, self.last_words = [], dies, last_words

    def __call__(self, pixels):
        assert pixels.dtype == np.float32 and pixels.shape[1:] == (3, SIZE, SIZE)
        is_last = len(self.shown) == self.dies
        if is_last and not self.last_words:
            raise KeyboardInterrupt
        self.shown.append(pixels.copy())
        place = np.arange(len(pixels), dtype=np.float32) * 0.01 + 0.1 * len(pixels)

        def said():
            if is_last:
                raise KeyboardInterrupt
            return pixels.mean(axis=1) + place[:, None, None]

        return said


def field(file, pixels, valid=None, overlap=OVERLAP, **more):
    return Field(pixels, valid, SIZE, overlap, Ledger(file, SIZE), **more)


def rows_of(found, weighting="hann"):
    return np.concatenate(list(found.rows(weighting)))


def undisturbed(folder, pixels, valid=None):
    """Return the ledger's bytes and the rows of a run that nothing went wrong in."""
    found = field(folder / "undisturbed", pixels, valid)
    found.listen(Network(), BATCH, quietly)
    found.align()
    return (folder / "undisturbed").read_bytes(), rows_of(found)


def in_time(call, seconds=20):
    """Call in a thread, since what hangs should fail; raise what it raises."""
    caught = []

    def calling():
        try:
            call()
        except BaseException as error:
            caught.append(error)

    worker = threading.Thread(target=calling, daemon=True)
    worker.start()
    worker.join(seconds)
    assert not worker.is_alive(), "it hangs"
    if caught:
        raise caught[0]


# --- what the network is shown --------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(50, 70), (16, 16), (17, 16), (16, 90), (100, 16)])
def test_all_windows_are_shown_once_in_order_and_last_the_whole_scene(tmp_path, height, width):
    pixels, network = picture(height, width), Network()
    found = field(tmp_path / "a", pixels)

    found.listen(network, BATCH, quietly)

    expected = [pixels[(..., *window.slices)] for window in found.windows]
    batches = [len(batch) for batch in network.shown]
    windows = np.concatenate(network.shown)[: len(expected)]
    np.testing.assert_array_equal(windows, expected)
    whole = [] if len(expected) == 1 else [1]
    rest = [len(expected) % BATCH] if len(expected) % BATCH else []
    assert batches == [BATCH] * (len(expected) // BATCH) + rest + whole
    assert found.is_complete


def means_over_cells(pixels, cell):
    rows, columns = (range(0, length, cell) for length in pixels.shape[1:])
    return np.array(
        [[pixels[:, y : y + cell, x : x + cell].mean((1, 2)) for x in columns] for y in rows]
    ).transpose(2, 0, 1)


@pytest.mark.parametrize(("height", "width"), [(50, 70), (5, 300), (33, 17), (130, 20), (20, 1100)])
def test_the_coarse_image_is_the_mean_over_cells_of_the_scene(tmp_path, height, width):
    pixels, network = picture(height, width), Network()

    field(tmp_path / "a", pixels).listen(network, BATCH, quietly)

    means = means_over_cells(pixels, -(-max(height, width) // SIZE))
    assert max(means.shape[1:]) <= SIZE
    np.testing.assert_allclose(network.shown[-1], padded(means, SIZE)[None], atol=1e-6)


def test_without_an_anchor_the_whole_scene_is_not_shown(tmp_path):
    pixels, network = picture(50, 70), Network()
    found = field(tmp_path / "a", pixels, is_anchored=False)

    found.listen(network, BATCH, quietly)

    assert sum(map(len, network.shown)) == len(found.windows)
    assert found.is_complete


def test_windows_without_data_are_never_shown_and_their_ground_is_0(tmp_path):
    pixels, valid = picture(90, 70), np.zeros((90, 70), np.uint8)
    valid[20:40, 30:60] = 1
    valid[70, 3] = 1
    pixels[:, valid == 0] = 0
    network = Network()
    found = field(tmp_path / "a", pixels, valid)

    found.listen(network, BATCH, quietly)
    found.align()

    assert all(valid[window.slices].any() for window in found.windows)
    windows = np.concatenate(network.shown[:-1])
    assert len(windows) == len(found.windows)
    assert (windows.reshape(len(windows), -1) > 0).any(axis=1).all()
    seen = np.zeros((90, 70), bool)
    for window in found.windows:
        seen[window.slices] = True
    assert not seen.all() and seen[valid > 0].all()
    for weighting in ("hann", "nearest"):
        rows = rows_of(found, weighting)
        assert rows.shape == (90, 70)
        assert (rows[~seen] == 0).all() and (rows[valid > 0] > 0).all()


def test_a_scene_without_any_data_is_shown_to_nobody(tmp_path):
    network = Network()
    found = field(tmp_path / "a", picture(50, 70), np.zeros((50, 70), np.uint8))

    assert found.is_complete
    found.listen(network, BATCH, quietly)

    assert network.shown == []
    assert found.align() == (0, 0)
    assert not rows_of(found).any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 300), (300, 5), (7, 9), (16, 15)])
@pytest.mark.parametrize("weighting", ["hann", "nearest"])
def test_scenes_smaller_than_a_window_work(tmp_path, height, width, weighting):
    pixels = picture(height, width)
    found = field(tmp_path / "a", pixels)

    found.listen(lambda pixels: lambda: pixels.mean(axis=1), BATCH, quietly)
    found.align()

    np.testing.assert_allclose(rows_of(found, weighting), pixels.mean(axis=0), atol=2e-3)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 60), st.integers(1, 60), st.floats(0, 0.8), st.integers(1, 7), st.booleans())
def test_a_network_that_says_what_it_sees_gives_the_scene(height, width, overlap, batch, is_masked):
    pixels = picture(height, width)
    valid = np.ones((height, width), np.uint8)
    valid[height // 2 :, : width // 3] = 0
    with tempfile.TemporaryDirectory() as folder:
        found = field(Path(folder) / "a", pixels, valid if is_masked else None, overlap)

        found.listen(lambda pixels: lambda: pixels.mean(axis=1), batch, quietly)
        found.align()

        for weighting in ("hann", "nearest"):
            told = rows_of(found, weighting)[valid > 0]
            np.testing.assert_allclose(told, pixels.mean(axis=0)[valid > 0], atol=1e-3)


@pytest.mark.parametrize("kept", [0, 4, 12, 100])
def test_progress_counts_the_batches_that_are_left(tmp_path, kept):
    pixels = picture(50, 70)
    field(tmp_path / "a", pixels).listen(Network(), BATCH, quietly)
    found = field(tmp_path / "a", pixels)
    found.ledger.keep(min(kept, len(found.ledger)))
    told = []

    def counting(work, steps):
        told.append(steps)
        yield from work

    network = Network()
    found.listen(network, BATCH, counting)

    assert told == [len(network.shown)]


# --- going on where a killed run was --------------------------------------------------------------

SCENE = (50, 70)
CALLS = -(-4 * 6 // BATCH) + 1


def test_a_run_of_the_scene_below_has_as_many_batches_as_it_takes_it_to_have(tmp_path):
    network = Network()
    field(tmp_path / "a", picture(*SCENE)).listen(network, BATCH, quietly)

    assert len(network.shown) == CALLS


@pytest.mark.parametrize("last_words", [False, True])
@pytest.mark.parametrize("dies", range(CALLS))
def test_killed_after_any_batch_it_goes_on_to_the_same_bytes_and_rows(tmp_path, dies, last_words):
    pixels = picture(*SCENE)
    with pytest.raises(KeyboardInterrupt):
        field(tmp_path / "a", pixels).listen(Network(dies, last_words), BATCH, quietly)
    network, found = Network(), field(tmp_path / "a", pixels)
    assert not found.is_complete

    found.listen(network, BATCH, quietly)
    found.align()

    whole, rows = undisturbed(tmp_path, pixels)
    assert (tmp_path / "a").read_bytes() == whole
    np.testing.assert_array_equal(rows_of(found), rows)
    # all that was finished but for what was under way is not done again
    assert len(network.shown) <= CALLS - max(0, dies - 1)


@pytest.mark.parametrize("share", [0, 0.1, 0.37, 0.5, 0.93, 0.999, 1])
def test_cut_off_at_any_byte_it_goes_on_to_the_same_bytes(tmp_path, share):
    pixels = picture(*SCENE)
    whole, rows = undisturbed(tmp_path, pixels)
    (tmp_path / "a").write_bytes(whole[: int(share * len(whole))])
    found = field(tmp_path / "a", pixels)

    found.listen(Network(), BATCH, quietly)
    found.align()

    assert (tmp_path / "a").read_bytes() == whole
    np.testing.assert_array_equal(rows_of(found), rows)


def test_listening_once_more_changes_nothing(tmp_path):
    pixels, network = picture(*SCENE), Network()
    found = field(tmp_path / "a", pixels)
    found.listen(Network(), BATCH, quietly)
    whole = (tmp_path / "a").read_bytes()

    found.listen(network, BATCH, quietly)

    assert (tmp_path / "a").read_bytes() == whole
    assert len(network.shown) <= 1 and found.is_complete


def test_a_coarse_look_more_or_less_does_not_make_the_windows_anew(tmp_path):
    pixels, network = picture(*SCENE), Network()
    field(tmp_path / "a", pixels, is_anchored=False).listen(Network(), BATCH, quietly)

    for is_anchored in (True, False, True):
        found = field(tmp_path / "a", pixels, is_anchored=is_anchored)
        found.listen(network, BATCH, quietly)
        assert found.is_complete

    assert (tmp_path / "a").read_bytes() == undisturbed(tmp_path, pixels)[0]
    assert all(len(batch) == 1 for batch in network.shown)


class Bad(Network):
    """Says what is no number in one of its windows."""

    def __call__(self, pixels):
        number = sum(map(len, self.shown))
        said = super().__call__(pixels)

        def spoilt():
            values = said()
            if number <= 7 < number + len(values):
                values[7 - number, 3, 3] = np.nan
            return values

        return spoilt


def test_a_window_that_is_no_number_is_an_error_every_time_and_nothing_takes_its_place(tmp_path):
    """What follows is under way when it is found out."""
    pixels = picture(*SCENE)
    for _ in range(3):
        found = field(tmp_path / "a", pixels)
        network = Bad()
        network.shown = [np.zeros(len(found.ledger) // BATCH * BATCH)]
        with found.ledger, pytest.raises(ValueError, match="depth in window 7 is nan"):
            found.listen(network, BATCH, quietly)
        assert len(found.ledger) == 7

    found = field(tmp_path / "a", pixels)
    found.listen(Network(), BATCH, quietly)

    assert (tmp_path / "a").read_bytes() == undisturbed(tmp_path, pixels)[0]


@pytest.mark.parametrize("fails", range(CALLS))
def test_after_one_batch_that_could_not_be_written_it_goes_on_to_the_same_bytes(
    tmp_path, monkeypatch, fails
):
    pixels = picture(*SCENE)
    written, append = [], Ledger.append

    def full(self, values):
        written.append(values)
        if len(written) == fails + 1:
            raise OSError("no space left")
        append(self, values)

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "append", full)
        with pytest.raises(OSError, match="no space left"):
            field(tmp_path / "a", pixels).listen(Network(), BATCH, quietly)

    field(tmp_path / "a", pixels).listen(Network(), BATCH, quietly)

    assert (tmp_path / "a").read_bytes() == undisturbed(tmp_path, pixels)[0]


# --- what goes wrong comes out --------------------------------------------------------------------


class Broken:
    """A picture of which some window cannot be read."""

    def __init__(self, pixels, fails):
        self.pixels, self.shape, self.left = pixels, pixels.shape, fails

    def __getitem__(self, index):
        self.left -= 1
        if self.left < 0:
            raise OSError("the disk is gone")
        return self.pixels[index]


@pytest.mark.parametrize("fails", [0, 1, 7, 23, 24])
def test_an_error_in_reading_comes_out_as_itself_and_leaves_no_thread(tmp_path, fails):
    before, broken = threading.active_count(), Broken(picture(*SCENE), fails)
    found = field(tmp_path / "a", broken)

    with pytest.raises(OSError, match="the disk is gone"):
        in_time(lambda: found.listen(Network(), BATCH, quietly))

    assert threading.active_count() == before


@pytest.mark.parametrize("last_words", [False, True])
@pytest.mark.parametrize("dies", [0, 1, 4, CALLS - 1])
def test_an_error_in_the_network_comes_out_as_itself_and_leaves_no_thread(
    tmp_path, dies, last_words
):
    before, found = threading.active_count(), field(tmp_path / "a", picture(*SCENE))

    with pytest.raises(KeyboardInterrupt):
        in_time(lambda: found.listen(Network(dies, last_words), BATCH, quietly))

    assert threading.active_count() == before


@pytest.mark.parametrize("fails", [0, 1, 4, CALLS - 1])
def test_an_error_in_writing_comes_out_as_itself_and_leaves_no_thread(tmp_path, monkeypatch, fails):
    before, found = threading.active_count(), field(tmp_path / "a", picture(*SCENE))
    written, append = itertools.count(), Ledger.append

    def full(self, values):
        if next(written) == fails:
            raise OSError("no space left")
        append(self, values)

    monkeypatch.setattr(Ledger, "append", full)
    with pytest.raises(OSError, match="no space left"):
        in_time(lambda: found.listen(Network(), BATCH, quietly))

    assert threading.active_count() == before


def test_what_shows_progress_may_stop_it_too(tmp_path):
    before, found = threading.active_count(), field(tmp_path / "a", picture(*SCENE))

    def stopping(work, steps):
        yield from itertools.islice(work, 2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        in_time(lambda: found.listen(Network(), BATCH, stopping))

    assert threading.active_count() == before


def test_nothing_leaves_a_thread_when_all_goes_well(tmp_path):
    before, found = threading.active_count(), field(tmp_path / "a", picture(*SCENE))

    found.listen(Network(), BATCH, quietly)
    found.align()
    next(found.rows("hann"))

    assert threading.active_count() == before


# --- one field of what windows say ----------------------------------------------------------------


def moody(sees, seed=5):
    """Return a network that says what it ``sees`` in a scale and with a shift of each window's own.

    Scales are from 0.5 to 2, shifts as large as what there is to see.
    """
    rng = np.random.default_rng(seed)

    def running(pixels):
        said = sees(pixels)
        scales = np.exp(rng.uniform(np.log(0.5), np.log(2), len(said)))
        shifts = rng.uniform(-1, 1, len(said))
        moved = said * scales[:, None, None] + shifts[:, None, None]
        return lambda: moved.astype(np.float32)

    return running


def tells(values, truth):
    return np.corrcoef(values.ravel(), truth.ravel())[0, 1]


@pytest.mark.parametrize("overlap", [0.1, 0.25, 0.6])
@pytest.mark.parametrize("is_anchored", [False, True])
def test_windows_in_scales_of_their_own_become_one_field(tmp_path, overlap, is_anchored):
    pixels = picture(120, 90)
    found = field(tmp_path / "a", pixels, None, overlap, is_anchored=is_anchored)
    found.listen(moody(lambda pixels: pixels.mean(axis=1)), BATCH, quietly)

    raw = rows_of(found)
    before, after = found.align()

    assert before > 0.5 and after < 0.005 * before
    assert found.disagreement() == after
    truth = pixels.mean(axis=0)
    assert tells(raw, truth) < 0.9
    assert tells(rows_of(found), truth) > 0.9999


NO_DATA = 50


def raving(pixels):
    """See the mean of bands, and what comes to mind where there is no data, or a little of it."""
    means = pixels.mean(axis=1)
    rng = np.random.default_rng(int(1e6 * float(means.mean())))
    return np.where(means > 1, rng.uniform(0, 90, means.shape), means)


def test_what_a_window_says_where_there_is_no_data_spoils_nothing(tmp_path):
    pixels, valid = picture(120, 90), np.ones((120, 90), np.uint8)
    valid[np.add.outer(np.arange(120), np.arange(90)) > 150] = 0
    valid[40:44] = 0
    pixels[:, valid == 0] = NO_DATA
    found = field(tmp_path / "a", pixels, valid, 0.4)
    found.listen(moody(raving), BATCH, quietly)

    before, after = found.align()

    assert after < 0.01 * before
    for half in (slice(0, 40), slice(44, None)):
        is_valid = valid[half] > 0
        assert tells(rows_of(found)[half][is_valid], pixels.mean(axis=0)[half][is_valid]) > 0.999


@pytest.mark.parametrize("is_masked", [False, True])
def test_the_coarse_look_ties_windows_that_share_no_data(tmp_path, is_masked):
    """Where a cell has pixels without data, the coarse look tells nothing of it."""
    size = 32
    pixels, valid = picture(60, 64), np.ones((60, 64), np.uint8)
    if is_masked:
        valid[:, 30:35] = 0
        valid[10, :] = 0
        pixels[:, valid == 0] = NO_DATA
    truth = pixels.mean(axis=0)
    found = Field(pixels, valid, size, 0, Ledger(tmp_path / "a", size))
    found.listen(moody(raving), BATCH, quietly)

    raw = rows_of(found)
    found.align()

    assert tells(raw[valid > 0], truth[valid > 0]) < 0.9
    assert tells(rows_of(found)[valid > 0], truth[valid > 0]) > 0.999


# --- the promise: no seams ------------------------------------------------------------------------

TOWN, WINDOW, GSD = 1024, 128, 0.5


def teacher(pixels):
    """See height smoothed, and with it some brightness that it takes for height.

    Smoothing ends at a window's edge, so windows differ a little there, as any network's do.
    """
    return gaussian_filter(0.95 * pixels[:, 0] + 0.05 * pixels[:, 1], (0, 2, 2))


@pytest.fixture(scope="module")
def drawn():
    """Return a town's height in metres, and height and brightness as a picture."""
    rng = np.random.default_rng(0)
    found = town.draw(TOWN, GSD, 0.5, rng)
    brightness = town.render(found, GSD, rng)[1] / np.float32(255)
    height = found.height / np.percentile(found.height, 99.5)
    return found.height, np.stack([height, brightness, height]).astype(np.float32)


def looked_at(folder, drawn, running, is_aligned):
    """Return disagreement, and by weighting the seam metric and the quality of the field."""
    height, pixels = drawn
    with Ledger(folder / "windows", WINDOW) as ledger:
        found = Field(pixels, None, WINDOW, 0.25, ledger)
        found.listen(running, 4, quietly)
        after = found.align()[1] if is_aligned else found.disagreement()
        results = {"disagreement": after}
        for weighting in ("hann", "nearest"):
            values = rows_of(found, weighting)
            edges = lines(starts(TOWN, WINDOW, 0.25), WINDOW, weighting)
            few = values.ravel()[::7], height.ravel()[::7]
            results[weighting] = height_quality(*few, np.zeros(few[0].shape), [])
            results[weighting]["seam"] = seam(values, edges, edges)
    return results


@pytest.fixture(scope="module")
def looks(drawn, tmp_path_factory):
    """Return what comes of the teacher in one scale, of moods, and of moods aligned."""
    runs = {
        "steady": (lambda pixels: lambda: teacher(pixels), False),
        "steady, aligned": (lambda pixels: lambda: teacher(pixels), True),
        "moody": (moody(teacher), False),
        "moody, aligned": (moody(teacher), True),
    }
    return {
        name: looked_at(tmp_path_factory.mktemp("town"), drawn, *run) for name, run in runs.items()
    }


def test_overlapping_windows_disagree_by_less_than_2_percent_of_what_they_did(looks):
    assert looks["moody"]["disagreement"] > 1
    assert looks["moody, aligned"]["disagreement"] < 0.02 * looks["moody"]["disagreement"]


def test_stitched_hard_the_aligned_windows_show_no_seam(looks):
    """A blend hides what does not fit; here each pixel is its nearest window's."""
    assert looks["moody"]["nearest"]["seam"] > 3
    assert looks["moody, aligned"]["nearest"]["seam"] <= 1.05


@pytest.mark.parametrize("weighting", ["hann", "nearest"])
@pytest.mark.parametrize("other", ["steady", "steady, aligned"])
def test_the_field_tells_height_as_well_as_if_there_had_been_no_moods(looks, other, weighting):
    found, steady = looks["moody, aligned"][weighting], looks[other][weighting]

    assert found["spearman"] > steady["spearman"] - 0.01
    for name in ("aligned_mae_m", "least_mae_m"):
        assert found[name] < steady[name] + 0.01 * steady["constant_mae_m"]
    # nor is it easy to tell height as badly as that
    assert steady["spearman"] > 0.6 and steady["aligned_mae_m"] < 0.2 * steady["constant_mae_m"]


def test_blending_alone_hides_seams_but_loses_height(looks):
    plain, aligned = looks["moody"]["hann"], looks["moody, aligned"]["hann"]

    assert plain["spearman"] < aligned["spearman"] - 0.3
    assert plain["aligned_mae_m"] > 4 * aligned["aligned_mae_m"]
    # it does hide them: the metric across windows' edges does not tell
    assert plain["seam"] < aligned["seam"] < 1.05
