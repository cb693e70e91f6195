"""What earlier runs left, and what a later one may touch."""

from __future__ import annotations

import pytest

from isthmus.errors import OutputError
from isthmus.scale.earlier_runs import EarlierRuns

BEGUN = {"names": ["a", "b"]}
NOTED = {"file": "a"}


def test_a_run_goes_on_where_an_earlier_one_stopped() -> None:
    earlier = EarlierRuns.of(None, [BEGUN, NOTED])
    assert (earlier.complete, earlier.notes) == (False, (NOTED,))
    assert earlier.own == {"a", "b"}
    earlier.check_free(["a", "b", "c"], ["a"], where="out", overwrite=False)


def test_a_complete_output_asks_for_overwrite() -> None:
    earlier = EarlierRuns.of(BEGUN, [])
    with pytest.raises(OutputError, match="out: the output exists already"):
        earlier.check_free(["a"], [], where="out", overwrite=False)
    earlier.check_free(["a"], ["a", "b"], where="out", overwrite=True)


@pytest.mark.parametrize("earlier", [EarlierRuns.of(None, []), EarlierRuns.of(None, [NOTED])])
def test_other_files_alone_are_left_alone(earlier: EarlierRuns) -> None:
    earlier.check_free(["a"], [], where="out", overwrite=False)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"holds other files \('precious'\)"):
            earlier.check_free(["a"], ["precious"], where="out", overwrite=overwrite)


def test_a_name_that_no_run_wrote_is_not_written_over() -> None:
    earlier = EarlierRuns.of(BEGUN, [])
    with pytest.raises(OutputError, match="it also holds 'c', which no earlier run wrote there"):
        earlier.check_free(["a", "c"], ["a", "c", "mine"], where="out", overwrite=True)


@pytest.mark.parametrize(
    "name", ["../a", "/a", "", ".", "..", "a\0", "_manifest.json", "_parts", 1]
)
def test_a_name_that_leads_elsewhere_is_nobodys(name: object) -> None:
    assert EarlierRuns.of({"names": [name, "a"]}, [{"names": name}]).own == {"a"}
