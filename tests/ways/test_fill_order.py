from __future__ import annotations

import pytest
from pydantic import ValidationError

from isthmus.errors import InputError
from isthmus.ways.fill_order import MOST_LISTED, FillOrder, counted_order


def test_what_is_found_most_comes_first_as_often_as_it_is_asked() -> None:
    found = [(["a", "b", ""], 1.0), (["c", "b"], 1.0), (["c"], 5.0), (["d"], 1.0)]
    order = counted_order(found, 4)
    assert order is not None
    assert (order.ids, order.queries) == (("c", "b", "a", "d"), 4)
    assert counted_order([(["", ""], 1.0)], 1) is None
    assert counted_order([([-1, 7], 1.0)], 1) == FillOrder(ids=(7,), queries=1)


def test_a_list_made_before_leads_and_nothing_stands_twice() -> None:
    before = FillOrder(ids=("z", "b"), queries=9)
    order = counted_order([(["b", "a"], 1.0)], 1, first=before, most=3)
    assert order is not None and (order.ids, order.queries) == (("z", "b", "a"), 10)
    cut = counted_order([(["b", "a"], 1.0)], 1, first=before, most=1)
    assert cut is not None and cut.ids == ("z",)
    assert counted_order([(range(MOST_LISTED + 5), 1.0)], 1).ids[-1] == MOST_LISTED - 1  # type: ignore[union-attr]


def test_it_is_read_as_it_was_written() -> None:
    for ids in (("1", "b"), (1, 2**60), ()):
        order = FillOrder(ids=ids, queries=2)
        described, tensors = order.pack()
        assert FillOrder.unpack(described, tensors) == order


@pytest.mark.parametrize(
    "ids", [["a", "a"], ["a", 1], [1.5], [None], list(range(MOST_LISTED + 1)), "ab"]
)
def test_what_is_no_list_is_refused(ids: object) -> None:
    with pytest.raises(ValidationError):
        FillOrder.unpack({"ids": ids, "queries": 1, "order": "popularity"}, {})


def test_ids_of_another_kind_are_refused() -> None:
    assert FillOrder(ids=(3, 1), queries=1).array("int").tolist() == [3, 1]
    assert FillOrder(ids=("3",), queries=1).array("uuid").tolist() == ["3"]
    with pytest.raises(InputError, match="of the kind 'int'"):
        FillOrder(ids=("3",), queries=1).array("int")
    with pytest.raises(InputError, match="of the kind 'str'"):
        FillOrder(ids=(3,), queries=1).array("str")
