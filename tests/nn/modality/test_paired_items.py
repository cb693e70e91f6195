import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from isthmus.errors import InputError
from isthmus.nn.modality.paired_items import match_items


def test_rows_pair_one_by_one_without_ids():
    items = match_items(3, 3, None, None)
    assert items.paired == 3 and list(items.x) == list(items.y) == [0, 1, 2]


def test_items_with_both_modalities_come_first():
    items = match_items(4, 3, ["c", "a", "a", "only x"], np.array(["a", "only y", "c"]))
    assert items.paired == 2
    assert list(items.x) == [0, 1, 1, 2] and list(items.y) == [1, 3, 0]
    assert list(items.paired_x) == [0, 1, 2] and list(items.paired_y) == [0, 2]


def test_pairs_are_all_rows_of_one_item_up_to_the_limit():
    items = match_items(3, 5, [7, 8, 9], [7, 7, 8, 7, 5])
    left, right = items.pairs(most=10, seed=0)
    assert list(zip(left, right, strict=True)) == [(0, 0), (0, 1), (0, 3), (1, 2)]
    left, right = items.pairs(most=2, seed=0)
    assert list(left) == [0, 0, 1] and set(right[:2]) < {0, 1, 3}


def test_target_means_are_means_by_item():
    items = match_items(2, 3, ["a", "b"], ["b", "a", "b"])
    means = items.target_means(np.array([[1.0, 0.0], [5.0, 5.0], [3.0, 2.0]]))
    np.testing.assert_allclose(means, [[5.0, 5.0], [2.0, 1.0]])


def test_folds_are_of_equal_size_and_follow_the_seed():
    items = match_items(11, 11, None, None)
    folds = items.folds(3, seed=1)
    assert sorted(np.bincount(folds)) == [3, 4, 4]
    several = match_items(7, 3, [0, 0, 1, 1, 2, 2, 9], [0, 1, 2])
    together = several.folds(3, seed=0)
    assert together[6] == -1 and (together[0:6:2] == together[1:6:2]).all()
    assert sorted(together[:6]) == [0, 0, 1, 1, 2, 2]
    apart = several.folds(2, seed=0, known_items=True)
    assert apart[6] == -1 and sorted(apart[:6]) == [0, 0, 0, 1, 1, 1]
    assert (folds == items.folds(3, seed=1)).all() and (folds != items.folds(3, seed=2)).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((3, 4, None, None), "3 and 4 rows"),
        ((0, 4, None, None), "the new modality has no rows"),
        ((4, 0, None, None), "the frozen space has no rows"),
        ((2, 2, ["a", "b"], None), "one side only"),
        ((2, 2, ["a", "b"], ["a"]), "1 ids for 2 rows"),
        ((2, 2, ["a", "b"], ["c", "d"]), "no item has both"),
    ],
)
def test_what_does_not_pair_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        match_items(*arguments)
