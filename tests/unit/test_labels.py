from collections import Counter
from types import SimpleNamespace

import numpy as np

from pipeline_steps.rasters.labels import Codebook, class_counts

IGNORE = 255
RED, BLUE, GREY = (200, 0, 0), (0, 0, 200), (155, 155, 155)


def picture(*rows):
    return np.moveaxis(np.array(rows, np.uint8), -1, 0)


def test_values_become_the_index_of_their_class():
    book = Codebook([(7,), (3,), (1000,)], [], IGNORE)

    encoded = book.encode(np.array([[3, 7], [1000, 3]], np.uint16))

    np.testing.assert_array_equal(encoded, [[1, 0], [2, 1]])
    assert encoded.dtype == np.uint8
    assert not book.unlisted


def test_several_values_mean_one_class():
    book = Codebook([(0,), (1, 5, 9)], [], IGNORE)

    np.testing.assert_array_equal(book.encode(np.array([[9, 0, 5, 1]])), [[1, 0, 1, 1]])


def test_colours_become_the_index_of_their_class():
    book = Codebook([(RED,), (BLUE,)], [GREY], IGNORE)

    encoded = book.encode(picture([BLUE, RED], [GREY, BLUE]))

    np.testing.assert_array_equal(encoded, [[1, 0], [IGNORE, 1]])
    assert not book.unlisted


def test_a_colour_that_differs_in_one_channel_is_another():
    book = Codebook([(RED,), (BLUE,)], [], IGNORE)

    encoded = book.encode(picture([(200, 0, 1), (0, 1, 200), (0, 200, 0)]))

    assert (encoded == IGNORE).all()
    assert book.unlisted == {(200, 0, 1): 1, (0, 1, 200): 1, (0, 200, 0): 1}


def test_ignored_values_are_ignored_in_silence():
    book = Codebook([(1,), (2,)], [0, 99], IGNORE)

    np.testing.assert_array_equal(book.encode(np.array([[0, 1, 99]])), [[IGNORE, 0, IGNORE]])
    assert not book.unlisted


def test_unlisted_values_are_ignored_and_counted_over_all_blocks():
    book = Codebook([(1,), (2,)], [], IGNORE)

    first = book.encode(np.array([[0, 1], [300, 300]]))
    book.encode(np.array([[300, 2]]))

    np.testing.assert_array_equal(first, [[IGNORE, 0], [IGNORE, IGNORE]])
    assert book.unlisted == {0: 1, 300: 3}


def test_description_gives_the_most_frequent_labels_first_and_tells_how_many_more():
    book = Codebook([(RED,)], [], IGNORE)
    found = Counter({(0, 0, i): 10 - i for i in range(7)})

    text = book.describe(found)

    assert text.startswith("has label colours (0, 0, 0) (10 pixels), (0, 0, 1) (9 pixels)")
    assert text.endswith("and 2 more")
    assert Codebook([(1,)], [], IGNORE).describe(Counter({4: 2})) == "has label values 4 (2 pixels)"


def test_class_counts_add_up_over_scenes_above_32_bits():
    scenes = [SimpleNamespace(facts={"label_counts": [2**32, i]}) for i in (1, 5)]

    counts = class_counts(scenes)

    assert counts.tolist() == [2**33, 6]
    assert counts.dtype == np.int64
