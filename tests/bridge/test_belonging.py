"""A fit notices rows that do not belong together, and says nothing of those that do."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest

from isthmus.bridge import fit
from isthmus.spaces.pairs import Pairs

RECIPE = "unit_norm | procrustes | unit_norm"


def _sides(world: Any, n: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    z = world.latent(n)
    return world.seen("x", z), world.seen("y", z)


def test_rows_that_belong_together_are_not_spoken_of(world: Any) -> None:
    assert fit(Pairs(*_sides(world)), recipe=RECIPE).notices == ()


def test_rows_in_another_order_are_noticed(world: Any) -> None:
    x, y = _sides(world)
    found = fit(Pairs(x, world.rng.permutation(y)), recipe=RECIPE).notices
    assert len(found) == 1
    assert "do not go together" in found[0]
    assert "--ids" in found[0]


def test_a_fifth_in_another_order_is_noticed(world: Any) -> None:
    x, y = _sides(world, 3000)
    part = world.rng.permutation(3000)[:600]
    y[part] = y[np.roll(part, 1)]
    (found,) = fit(Pairs(x, y), recipe=RECIPE).notices
    assert "of the rows are probably mispaired" in found


def test_copies_under_other_ids_are_noticed(world: Any) -> None:
    x, y = _sides(world)
    twice = Pairs(np.concatenate([x, x[:100]]), np.concatenate([y, y[:100]]))
    (found,) = fit(twice, recipe=RECIPE).notices
    share, _, told = found.partition("%")
    assert 15 <= int(share) <= 21  # 200 of 1,100
    assert told.startswith(" of the items stand in the data again")


@pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama has the words")
def test_near_copies_of_real_items_are_noticed_and_other_items_are_not() -> None:
    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import wordllama_256

    x = wordllama_256().encode(list(load_corpus(600).documents))
    y = x[:, :100] + 0  # its first dimensions are a smaller model
    assert not any("stand in the data again" in n for n in fit(Pairs(x, y), recipe=RECIPE).notices)
    again = x[:300] + np.float32(1e-4) * np.random.default_rng(0).standard_normal((300, 256))
    both = np.concatenate([x, again]).astype(np.float32)
    found = fit(Pairs(both, both[:, :100] + 0), recipe=RECIPE).notices
    assert any("stand in the data again" in n for n in found)


def test_judgements_of_what_is_not_there_are_counted(world: Any) -> None:
    x, y = _sides(world)
    names = [f"d{i}" for i in range(1000)]
    items = Pairs(x, y, ids=names)
    asked = Pairs(x[:500], y[:500], ids=names[:500])
    qrels = {f"d{i}": [f"d{i}", f"gone{i}"] for i in range(400)} | {"lost": ["d1"]}
    found = fit(items, queries=asked, qrels=qrels, recipe=RECIPE).notices
    assert [text.partition(" (")[0] for text in found[:2]] == [
        "1 of 401 judged queries are not in the queries",
        "400 of 800 judgements name items that are not in the data",
    ]
    assert "'lost'" in found[0] and "'gone0', 'gone1', 'gone2', ..." in found[1]
    assert found[2] == "100 of 500 queries are not judged, and were left out"


@pytest.mark.parametrize("n", [2, 20])
def test_pairs_of_which_none_judges_are_refused_before_the_work(world: Any, n: int) -> None:
    told: list[str] = []
    with pytest.raises(ValueError, match=rf"of {n} pairs none is held out.*a few hundred"):
        fit(Pairs(*_sides(world, n)), progress=lambda task, *_: told.append(task))
    assert told == []
