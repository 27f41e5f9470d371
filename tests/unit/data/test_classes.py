import numpy as np

from clusterlab.data.classes import from_names, from_numbers


def test_names_are_numbered_alphabetically():
    labels = from_names(["dog", "ape", "dog", "cat"])
    assert labels.names == ("ape", "cat", "dog")
    assert labels.values.tolist() == [2, 0, 2, 1]


def test_an_unknown_class_is_minus_one_and_has_no_name():
    labels = from_names([None, "dog", "ape", None])
    assert (labels.names, labels.values.tolist()) == (("ape", "dog"), [-1, 1, 0, -1])


def test_numbers_with_gaps_become_contiguous_and_negative_ones_unknown():
    labels = from_numbers(np.array([7, 3, -1, 7, -5], dtype=np.int16))
    assert labels.names == ("3", "7")
    assert labels.values.tolist() == [1, 0, -1, 1, -1]
    assert labels.values.dtype == np.int64


def test_numbers_that_are_all_unknown_have_no_names():
    labels = from_numbers(np.full(2, -1))
    assert (labels.names, labels.values.tolist()) == ((), [-1, -1])
