from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.evaluate.relevance import Relevance, from_ids, from_labels, from_pairs


def as_lists(relevance):
    return [part.tolist() for part in np.split(relevance.indices, relevance.indptr[1:-1])]


def test_from_ids():
    relevance = from_ids(["b", "x", "a"], np.array(["a", "b", "c"]))
    assert as_lists(relevance) == [[1], [], [0]]
    assert relevance.answerable.tolist() == [True, False, True]
    assert as_lists(relevance.of(relevance.answerable)) == [[1], [0]]


def test_from_pairs_counts_a_repeated_pair_once():
    relevance = from_pairs([1, 2], [10, 11, 12], [(2, 12), (2, 10), (1, 11), (2, 10)])
    assert as_lists(relevance) == [[1], [0, 2]]
    assert relevance.counts.tolist() == [1, 2]


def test_nothing_relevant_at_all():
    assert as_lists(from_ids([1], [2])) == [[]]
    assert as_lists(from_pairs([1], [2], [])) == [[]]


@given(
    query_labels=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    gallery_labels=st.lists(st.integers(0, 4), min_size=1, max_size=12),
    leave_out=st.booleans(),
    kept=st.integers(0, 2**12 - 1),
)
def test_from_labels_by_definition(query_labels, gallery_labels, leave_out, kept):
    exclude = np.arange(len(query_labels)) % len(gallery_labels) if leave_out else None
    relevance = from_labels(np.array(query_labels), np.array(gallery_labels), exclude=exclude)
    expected = [
        [
            item
            for item, other in enumerate(gallery_labels)
            if other == label and (exclude is None or exclude[query] != item)
        ]
        for query, label in enumerate(query_labels)
    ]
    assert as_lists(relevance) == expected
    mask = np.array([bool(kept >> q & 1) for q in range(len(query_labels))])
    if mask.any():
        assert as_lists(relevance.of(mask)) == [
            row for row, keep in zip(expected, mask, strict=True) if keep
        ]


def test_leave_one_out_by_string_labels():
    labels = np.array(["cat", "dog", "cat"])
    assert as_lists(from_labels(labels, labels, exclude=np.arange(3))) == [[2], [], [0]]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: from_ids([1], [5, 6, 5]), "ids, row 0: the id 5 occurs again in row 2"),
        (lambda: from_pairs([1], [2], [(1, 2), (1, 3)]), "qrels, row 1: .*does not exist"),
        (lambda: from_labels(np.ones((2, 2)), np.ones(2)), "one per row"),
    ],
)
def test_faulty_ids(make, message):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("indptr", "indices", "message"),
    [
        ([0, 2], [0], "row pointers"),
        ([0, 1], [7], "outside the gallery"),
        ([0, 2], [1, 0], "must ascend"),
        ([0, 2, 3], [1, 1, 0], "must ascend"),
        ([0, 0, 2], [1, 1], "must ascend"),
    ],
)
def test_rows_that_are_not_compressed(indptr, indices, message):
    with pytest.raises(InputError, match=message):
        Relevance(np.array(indptr), np.array(indices), 5)


@given(
    query_labels=st.lists(st.integers(0, 4), min_size=1, max_size=6),
    gallery_labels=st.lists(st.integers(0, 4), min_size=1, max_size=8),
    data=st.data(),
)
def test_which_of_the_found_items_are_relevant(query_labels, gallery_labels, data):
    queries, gallery = np.array(query_labels), np.array(gallery_labels)
    item = st.integers(-1, len(gallery) - 1)
    found = np.array([[data.draw(item) for _ in range(3)] for _ in query_labels])
    expected = [
        [i >= 0 and bool(gallery[i] == label) for i in row]
        for row, label in zip(found, query_labels, strict=True)
    ]
    assert from_labels(queries, gallery).among(found).tolist() == expected
