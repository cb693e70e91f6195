"""Ids that name the same items and are written otherwise are told apart from those that do not."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.id_likeness import likeness
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.readers import open_vectors

ROWS = np.random.default_rng(0).standard_normal((40, 4)).astype(np.float32)
UUIDS = [uuid.UUID(int=i + 2**100 + 10) for i in range(40)]

WRITTEN: dict[str, tuple[list[str], Callable[[str], str]]] = {
    "spaces at their ends": ([f"d{i}" for i in range(40)], lambda n: f" {n} "),
    "capital letters": ([f"doc{i}" for i in range(40)], str.upper),
    "zeros in front": ([f"{i}" for i in range(40)], lambda n: n.zfill(4)),
    "'.0' at their ends": ([f"{i}" for i in range(1, 41)], lambda n: n + ".0"),
    "the way a UUID is written": ([str(u) for u in UUIDS], lambda n: uuid.UUID(n).hex),
    "the slashes of paths": ([f"a/{i}.x" for i in range(40)], lambda n: n.replace("/", "\\")),
    "the folder and the suffix of a file": ([f"p{i}" for i in range(40)], "out/{}.jpg".format),
    "characters that are not seen, or their normal form": (
        [f"file{i}" for i in range(40)],
        lambda n: "\u200b" + n.replace("fi", "\ufb01"),
    ),
    "quotes around them": ([f"doc{i}" for i in range(40)], lambda name: f'"{name}"'),
    "'doc-' in front": ([f"{i}" for i in range(40)], lambda name: f"doc-{name}"),
    "'doc:1' in front": ([f"{i}" for i in range(40)], lambda name: f"doc:1{name}"),
    "'_v2' behind": ([f"{i}" for i in range(40)], lambda name: f"{name}_v2"),
    "a part behind '#'": ([f"doc{i}" for i in range(40)], lambda name: f"{name}#0"),
}


@pytest.mark.parametrize("what", WRITTEN)
def test_the_difference_is_named(what: str) -> None:
    names, form = WRITTEN[what]
    others = [form(name) for name in names][::-1]
    assert likeness(names, others) == what
    with pytest.raises(InputError, match="no id in common") as refused:
        Pairs(open_vectors(ROWS, ids=names), open_vectors(ROWS, ids=others))
    assert f"alike but for {what}" in str(refused.value)
    # half of them join, and what is left is told
    mixed = [*names[:20], *(form(name) for name in names[20:])]
    pairs = Pairs(open_vectors(ROWS, ids=names), open_vectors(ROWS, ids=mixed))
    (notice,) = pairs.notices
    assert notice.startswith("20 rows of ") and f"alike but for {what}:" in notice


def test_other_items_are_not_alike() -> None:
    assert likeness([f"a{i}" for i in range(40)], [f"b{i}" for i in range(40)]) is None
    assert likeness([], ["a"]) is None
    left, right = ([f"a{i}" for i in range(20, 40)], [f"c{i}" for i in range(20)])
    pairs = Pairs(
        open_vectors(ROWS, ids=[*map("s{}".format, range(20)), *left]),
        open_vectors(ROWS, ids=[*map("s{}".format, range(20)), *right]),
    )
    assert len(pairs) == 20 and pairs.notices == ()
