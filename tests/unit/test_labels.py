from collections import Counter

import numpy as np
from pydantic import TypeAdapter

from pipeline_steps.rasters.labels import NOT_A_LABEL, WORDS, Codebook, class_counts
from pipeline_steps.study.params.base import LabelValue

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


def test_a_colour_within_the_tolerance_means_the_same_as_the_nearest():
    book = Codebook([(RED,), (BLUE,)], [GREY], IGNORE, tolerance=60)

    encoded = book.encode(picture([(190, 9, 60), (200, 0, 0), (61, 0, 200), (150, 120, 160)]))

    np.testing.assert_array_equal(encoded, [[0, 0, IGNORE, IGNORE]])
    assert book.unlisted == {(61, 0, 200): 1}


def test_of_two_colours_within_the_tolerance_the_nearer_counts_and_the_same_above_all():
    book = Codebook([((0, 0, 0),), ((9, 9, 9),)], [], IGNORE, tolerance=127)

    encoded = book.encode(picture([(4, 4, 4), (5, 5, 5), (0, 0, 0), (9, 9, 9), (0, 8, 8)]))

    np.testing.assert_array_equal(encoded, [[0, 1, 0, 1, 0]])


def test_values_have_no_tolerance():
    book = Codebook([(10,), (20,)], [], IGNORE, tolerance=127)

    np.testing.assert_array_equal(book.encode(np.array([[10, 11, 20]])), [[0, IGNORE, 1]])
    assert book.unlisted == {11: 1}


def test_words_and_values_may_mean_one_class_and_a_number_in_letters_is_a_value():
    book = Codebook([("house", 3), ("road", "-7", "12")], ["hedge"], IGNORE)
    words = ("road", "house", "hedge", "12", "boat", "boat")

    encoded = book.encode(np.array([[book.code(word) for word in words], [3, -7, 12, 4, 4, 4]]))

    assert encoded[0].tolist() == [1, 0, IGNORE, 1, IGNORE, IGNORE]
    assert encoded[1].tolist() == [0, 1, 1, IGNORE, IGNORE, IGNORE]
    assert book.unlisted == {"boat": 2, 4: 3}


def test_what_is_no_label_is_ignored_in_silence():
    book = Codebook([(0,), (1,)], [], IGNORE)

    np.testing.assert_array_equal(book.encode(np.array([[NOT_A_LABEL, 1]])), [[IGNORE, 1]])
    assert not book.unlisted


def test_no_value_that_a_class_may_have_says_that_there_is_no_label_or_stands_for_a_word():
    limits = TypeAdapter(LabelValue).json_schema()

    assert limits["minimum"] > WORDS
    assert not limits["minimum"] <= NOT_A_LABEL <= limits["maximum"]


def test_the_files_nodata_is_ignored_in_silence_unless_it_is_a_class():
    book = Codebook([(0,), (1,)], [], IGNORE)

    np.testing.assert_array_equal(book.encode(np.array([[0, 9, 1]]), 9.0), [[0, IGNORE, 1]])
    np.testing.assert_array_equal(book.encode(np.array([[0, 1, 1]]), 0.0), [[0, 1, 1]])
    assert not book.unlisted


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
    counts = class_counts([[2**32, i] for i in (1, 5)])

    assert counts.tolist() == [2**33, 6]
    assert counts.dtype == np.int64
