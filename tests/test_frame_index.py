"""Frames whose rows stand in different orders are told by their index, wherever they pair."""

from __future__ import annotations

import numpy as np
import pytest

import isthmus
from isthmus.adapters import Ridge
from isthmus.errors import InputError
from isthmus.frame_index import check_same_index

pd = pytest.importorskip("pandas")

ROWS = np.random.default_rng(0).standard_normal((60, 4)).astype(np.float32)
NAMES = [f"r{i}" for i in range(60)]


def test_rows_that_stand_elsewhere_are_refused_wherever_frames_pair() -> None:
    x, y = pd.DataFrame(ROWS, index=NAMES), pd.DataFrame(ROWS[::-1], index=NAMES[::-1])
    for pair in (isthmus.Pairs, isthmus.compare, Ridge().fit):
        with pytest.raises(InputError, match=r"60 of the 60 rows stand at another place.*\.loc\["):
            pair(x, y)
    assert len(isthmus.Pairs(x, y.loc[x.index])) == 60


@pytest.mark.parametrize(
    ("one", "other", "moved"),
    [
        (NAMES, NAMES, 0),
        (NAMES, [*NAMES[:10], NAMES[11], NAMES[10], *NAMES[12:]], 2),
        (NAMES, [n.upper() for n in NAMES], 0),
        (range(60), list(range(60))[::-1], 0),  # a plain count names no row
        (range(0, 120, 2), range(2, 122, 2), 59),
        (NAMES, ["r0"] * 60, 0),  # what is not unique names no row
    ],
    ids=["same", "two swapped", "other names", "a count", "shifted", "not unique"],
)
def test_only_names_at_another_place_count(one: object, other: object, moved: int) -> None:
    frames = pd.DataFrame(ROWS, index=one), pd.DataFrame(ROWS, index=other)
    if moved:
        with pytest.raises(InputError, match=f"{moved} of the 60"):
            check_same_index(*frames)
    else:
        check_same_index(*frames)


def test_what_has_no_index_is_let_through() -> None:
    frame = pd.DataFrame(ROWS, index=NAMES)
    for other in (ROWS, ROWS.tolist(), "file.npy", frame.iloc[:5], None):
        check_same_index(frame, other)
        check_same_index(other, frame)
