"""Values are the same however a file is cut into pieces, and none is read without an end."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.spaces import json_values as room
from isthmus.spaces.json_values import json_values

PATH = Path("a.json")

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=6)
)
_VALUES = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
_OBJECTS = st.lists(st.dictionaries(st.text(max_size=3), _VALUES, max_size=3), max_size=4)


def _read(text: str) -> list[Any]:
    return [value for value, _ in json_values(io.StringIO(text), PATH)]


@given(
    values=_OBJECTS,
    piece=st.integers(1, 40),
    indent=st.sampled_from([None, 1]),
    between=st.sampled_from(["\n", "", " \r\n\n", "\x1e"]),
    plain=st.booleans(),
)
def test_values_do_not_depend_on_how_they_are_read(
    values: list[Any], piece: int, indent: int | None, between: str, plain: bool
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_PIECE", piece)
        written = [json.dumps(value, indent=indent, ensure_ascii=plain) for value in values]
        assert _read(between.join(written) + between) == values
        assert _read(json.dumps(values, indent=indent, ensure_ascii=plain)) == values


@pytest.mark.parametrize("piece", [1, 3, 1 << 20])
def test_a_list_of_numbers_is_a_value(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_PIECE", piece)
    assert _read("[ 1, 2.5]\n[NaN]\n[-1]\n")[::2] == [[1, 2.5], [-1]]
    assert _read("[[1, 2], [3]]") == [[1, 2], [3]]
    assert _read(' [ ] \n[] {"a": [1e-7, 12345]}') == [{"a": [1e-7, 12345]}]
    assert _read('["a", 12, {}]') == ["a", 12, {}]


@pytest.mark.parametrize("piece", [1, 5, 1 << 20])
@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ('{"a": 1}\n{"a": [0.1, 0.\n{"a": 2}\n', 2, "Expecting"),
        ('{"a": 1}\n\n{"a": "b\n{"a": 2}\n', 3, "Invalid control character"),
        ('{"a": 1}\n{"a": 1', 2, "Expecting"),
        ('{"a": "b', 1, "Unterminated string"),
        ('[{"a": 1}\n{"a": 2}]', 2, "expected a comma or the end of the list, found '{'"),
        ('[{"a": 1},\n', 2, "Expecting value"),
        ('[\n{"a": 1}\n', 3, "the file ends"),
        ('{"a": 1}, {"a": 2}', 1, "Expecting value"),
        ('{"a": 1, "a": 2}', 1, "the key 'a' stands twice"),
        ("tru", 1, "Expecting value"),
        ("[" * 100_000, 1, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_named_by_its_line(
    text: str, line: int, told: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_PIECE", piece if len(text) < 1000 else 1 << 20)
    with pytest.raises(InputError, match=f"^a.json, line {line}: this is not JSON.*{told}"):
        _read(text)


class _Endless(io.TextIOBase):
    """A text that begins somehow and goes on for ever; counts what is read of it."""

    def __init__(self, begin: str, on: str) -> None:
        self._left, self._on = begin, on
        self.given = 0

    def read(self, size: int | None = -1, /) -> str:
        assert size is not None
        assert size >= 0, "an endless text is read whole"
        while len(self._left) < size:
            self._left += self._on * (size // len(self._on) + 1)
        found, self._left = self._left[:size], self._left[size:]
        self.given += size
        return found


@pytest.mark.parametrize(
    ("begin", "on", "told"),
    [
        ('{"id": "', "a", "a text or list has more than 400 characters"),
        ('{"v": [1', ", 0.25", "a text or list has more than 400 characters"),
        ('{"v": [[1]', ", [2, 3]", "the value would take more than 40,000 bytes"),
        ('{"v": [[1]', ", [22222222, 33333333333333333]", "the value has more than 5,000 charac"),
        ("[", "[", "the value would take more than 40,000 bytes"),
        ('{"a"', " ", "a text or list has more than"),
    ],
)
def test_a_value_without_an_end(
    begin: str, on: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = {"PIECE": 64, "LONGEST": 5000, "MOST_MEMORY": 40_000, "LONGEST_PART": 400}
    for name, size in sizes.items():
        monkeypatch.setattr(room, f"_{name}", size)
    text = _Endless(begin, on)
    with pytest.raises(InputError, match=f"a.json, line 1: .*{told}"):
        list(json_values(text, PATH))  # pyright: ignore[reportArgumentType]
    assert text.given <= 2 * 5000


def test_a_list_of_any_length_is_read_value_by_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_PIECE", 64)
    text = _Endless("[", '{"id": 1, "v": [0.5, 1.5]},\n')
    values = json_values(text, PATH)  # pyright: ignore[reportArgumentType]
    for line in range(1, 1000):
        assert next(values) == ({"id": 1, "v": [0.5, 1.5]}, f"a.json, line {line}")
    assert text.given < 64 + 1000 * 28
