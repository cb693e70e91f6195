from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from isthmus.errors import ContractError
from isthmus.spaces.contract import Faults, Space
from isthmus.spaces.guard import Guard, Report, check_vectors, enforce

SPACE = Space(name="a", dim=3, metric="cosine")
LENIENT = SPACE.revise(faults=Faults(non_finite="repair", zero="flag"))


def rows(n: int) -> np.ndarray:
    return np.ones((n, 3), dtype=np.float32)


def test_an_array_is_checked_at_once():
    x = rows(5)
    guard = Guard(SPACE)
    assert guard(x) is x
    assert guard.report == Report(5, ())
    assert guard.report.clean
    assert str(guard.report) == "5 rows: nothing was wrong"
    x[2] = 0
    with pytest.raises(ContractError, match=r"space a 1\.0\.0, row 2: the row is all zeros; 1 of"):
        guard(x)
    assert guard.report.rows == 5  # what was rejected did not pass


def test_an_encoder_under_guard_keeps_its_name_and_its_arguments():
    def encode(texts: list[str], *, scale: float = 1.0) -> np.ndarray:
        """Vectors."""
        return rows(len(texts)) * np.float32(scale)

    guarded = Guard(SPACE)(encode)
    assert guarded.__name__ == "encode"
    assert guarded.__doc__ == "Vectors."
    np.testing.assert_array_equal(guarded(["a", "b"], scale=2.0), 2 * rows(2))
    with pytest.raises(ContractError, match="row 0: the row is all zeros; 2 of these 2 rows"):
        guarded(["a", "b"], scale=0.0)


def test_an_encoder_must_answer_for_every_item():
    guarded = Guard(SPACE, where="my encoder")(lambda texts: rows(2))
    with pytest.raises(ContractError) as error:
        guarded(["a", "b", "c"])
    assert str(error.value) == (
        "my encoder: 2 vectors came back for 3 items. The encoder must return one row for each "
        "item, in their order."
    )


def test_rows_of_a_stream_are_numbered_through_and_counted():
    batches = [rows(4), rows(4), rows(4)]
    batches[1][2] = 0
    batches[2][0] = 0
    batches[2][3, 1] = np.nan
    guard = Guard(LENIENT)
    guarded = guard(batches)
    passed = list(guarded)
    assert passed[0] is batches[0]
    assert passed[2][3].tolist() == [1, 0, 1]
    report = guard.report
    assert report.rows == 12
    assert not report.clean
    assert [(t.fault, t.response, t.count, t.first_row) for t in report.tallies] == [
        ("zero", "flag", 2, 6),
        ("non_finite", "repair", 1, 11),
    ]
    assert str(report) == (
        "12 rows: flagged 2 (zero): first, row 6 is all zeros; "
        "repaired 1 (non_finite): first, row 11 holds nan in component 1"
    )
    list(guarded)  # re-iterable, as the list is
    assert [tally.count for tally in guard.report.tallies] == [4, 2]


def test_a_stream_is_rejected_where_it_breaks_and_not_before():
    batches = [rows(4), rows(4)]
    batches[1][2] = 0
    stream = iter(Guard(SPACE, where="new.parquet")(iter(batches)))
    next(stream)
    with pytest.raises(ContractError, match=r"new\.parquet, row 6: the row is all zeros"):
        next(stream)


def test_lists_of_numbers_become_rows():
    guard = Guard(SPACE)
    for listed in ([[1.0, 2.0, 3.0]], [[1, 0, 0]], [np.ones(3, np.float32)]):
        checked = guard.check(listed)
        assert checked.vectors.dtype == np.float32
        assert checked.clean
    assert guard.check([]).vectors.shape == (0, 3)
    assert guard.report.rows == 3


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ([[1.0, 2.0, 3.0], [1.0, 2.0]], "row 1: the row has 2 components, expected 3"),
        ([[1.0, 2.0]], "row 0: the vectors are 2 wide, expected 3"),
        ([1.0, 2.0, 3.0], r"the vectors have shape \(3,\), expected \(n, 3\)"),
        ([["1", "2", "3"]], "has dtype str"),
        ([[None, 1.0, 2.0]], "has dtype object"),
        ([np.ones(3, np.int8)], "has dtype int8, expected float32"),
        ([[1e300, 1.0, 1.0]], "row 0: the row holds inf in component 0"),
    ],
)
def test_lists_that_are_no_rows_are_refused(listed, message):
    with pytest.raises(ContractError, match=message):
        Guard(SPACE).check(listed)


def test_what_cannot_be_guarded_is_refused():
    with pytest.raises(TypeError, match="an array, a callable or an iterable of arrays, not int"):
        Guard(SPACE)(3)


def test_the_count_is_right_with_several_threads():
    guard = Guard(LENIENT)
    bad = rows(10)
    bad[4] = 0
    threads = [threading.Thread(target=lambda: [guard(bad) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert guard.report.rows == 2000
    assert guard.report.tallies[0].count == 200


@pytest.mark.slow
def test_a_clean_check_costs_about_one_pass(rng):
    x = rng.standard_normal((8192, 768)).astype(np.float32)
    space = Space.describe(x, "a", "cosine")

    def seconds(check) -> float:
        times = []
        for _ in range(9):
            start = time.perf_counter()
            check()
            times.append(time.perf_counter() - start)
        return min(times)

    one_pass = seconds(lambda: np.einsum("ij,ij->i", x, x))
    assert seconds(lambda: enforce(x, space)) < 4 * one_pass + 1e-3
    light = seconds(lambda: check_vectors(x, dim=768, metric="cosine", where="x"))
    assert light < 4 * one_pass + 1e-3
