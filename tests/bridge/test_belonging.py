"""A fit notices rows that do not belong together, and says nothing of those that do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bridge import Bridge, Queries, apply, assess, fit
from isthmus.spaces.pairs import Pairs

RECIPE = "unit_norm | procrustes | unit_norm"


def noticed(pairs: Pairs, **more: Any) -> tuple[str, ...]:
    """The notices of a fit, as its evidence holds them."""
    evidence = fit(pairs, recipe=RECIPE, **more).evidence
    assert evidence is not None
    return evidence.notices


def _sides(world: Any, n: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    z = world.latent(n)
    return world.seen("x", z), world.seen("y", z)


def test_rows_that_belong_together_are_not_spoken_of(world: Any) -> None:
    assert noticed(Pairs(*_sides(world))) == ()


@pytest.mark.parametrize("length", [0.01, 1.0, 50.0])
def test_rows_of_any_length_belong_together_under_cosine(length: float) -> None:
    """A mapped row is of unit length, its target of that of its model, far from the origin."""
    rng = np.random.default_rng(0)
    meaning = rng.standard_normal((1000, 24))
    sides = [
        (length * (1 + meaning @ rng.standard_normal((24, 64)) / 3)).astype(np.float32)
        for _ in range(2)
    ]
    assert noticed(Pairs(*sides)) == ()
    mixed = Pairs(sides[0], sides[1][rng.permutation(1000)])
    assert "do not go together" in noticed(mixed)[0]


def test_rows_in_another_order_are_noticed(world: Any) -> None:
    x, y = _sides(world)
    found = noticed(Pairs(x, world.rng.permutation(y)))
    assert len(found) == 1
    assert "do not go together" in found[0]
    assert "--ids" in found[0]


def test_a_twentieth_in_another_order_is_noticed_and_named(world: Any) -> None:
    x, y = _sides(world, 2000)
    part = world.rng.permutation(2000)[:100]
    y[part] = y[np.roll(part, 1)]
    (found,) = noticed(Pairs(x, y))
    assert "are probably paired wrongly" in found
    named = [int(n) for n in re.findall(r"\d+", found.partition("rows (")[2].partition("...")[0])]
    assert set(named) <= set(part.tolist()) and len(named) == 5


def test_half_of_the_rows_moved_by_one_decides_nothing_and_is_noticed() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2000, 48))
    y = x @ np.linalg.qr(rng.standard_normal((48, 48)))[0] + 0.3 * rng.standard_normal(x.shape)
    y[1000:] = np.roll(y[1000:], 1, axis=0)
    evidence = fit(Pairs(x, y), recipe=RECIPE).evidence
    assert evidence is not None and evidence.recommended is None
    assert "are probably paired wrongly" in evidence.reason
    assert "are probably paired wrongly" in evidence.notices[0]


def test_rows_that_were_not_encoded_anew_decide_nothing_and_are_noticed(world: Any) -> None:
    x, y = _sides(world)
    x = x[:, : y.shape[1]].copy()
    y[:300] = x[:300]
    evidence = fit(Pairs(x, y), recipe=RECIPE).evidence
    assert evidence is not None and evidence.recommended is None
    (found,) = evidence.notices
    assert "hold the same vector on both sides" in found and "from both" in found


def test_two_sides_of_one_model_are_noticed(world: Any) -> None:
    x, _ = _sides(world)
    (found,) = noticed(Pairs(x, x.astype(np.float16).astype(np.float32)))
    assert "there is nothing to map" in found


def test_notices_are_saved_and_shown(world: Any, tmp_path: Path) -> None:
    x, y = _sides(world, 2000)
    y[:200] = np.roll(y[:200], 1, axis=0)
    bridge = fit(Pairs(x, y), recipe=RECIPE)
    bridge.save(tmp_path / "b")
    evidence = Bridge.load(tmp_path / "b").evidence
    assert evidence is not None and len(evidence.notices) == 1
    assert "paired wrongly" in str(evidence)
    card = " ".join((tmp_path / "b/CARD.md").read_text("utf-8").split())
    assert "notice: about 1" in card and "paired wrongly" in card


def test_judgements_are_counted_in_an_evaluation_too(world: Any) -> None:
    x, y = _sides(world)
    items = Pairs(x, y, ids=[f"d{i}" for i in range(1000)])
    bridge = fit(items, recipe=RECIPE)
    asked = Pairs(x[:500], y[:500], ids=[f"q{i}" for i in range(500)])
    qrels = {f"q{i}": [f"d{i}", f"gone{i}"] for i in range(500)}
    (found,) = assess(bridge, items, queries=Queries(asked, qrels)).notices
    assert found.startswith("500 of 1,000 judgements name items that are not in the data")


def test_judgements_of_what_is_not_there_are_counted(world: Any) -> None:
    x, y = _sides(world)
    names = [f"d{i}" for i in range(1000)]
    items = Pairs(x, y, ids=names)
    asked = Pairs(x[:500], y[:500], ids=names[:500])
    qrels = {f"d{i}": [f"d{i}", f"gone{i}"] for i in range(400)} | {"lost": ["d1"]}
    found = noticed(items, queries=Queries(asked, qrels))
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


def test_fewer_pairs_than_evidence_needs_are_told_before_the_work(
    world: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def told(*_: object) -> None:
        raise RuntimeError([record.getMessage() for record in caplog.records])

    with pytest.raises(RuntimeError, match=r"of 120 pairs judge, and any evidence needs 50"):
        fit(Pairs(*_sides(world, 120)), recipe=RECIPE, progress=told)
    caplog.clear()
    fit(Pairs(*_sides(world, 800)), recipe=RECIPE)
    assert not caplog.records


def test_queries_and_rows_of_another_model_are_noticed_where_they_are_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rng = np.random.default_rng(3)
    turns = [np.linalg.qr(rng.standard_normal((48, 48)))[0] for _ in range(3)]
    # every model leaves its last directions nearly empty
    one, other, third = (np.where(np.arange(48) < 40, 1, 1e-3)[:, None] * turn for turn in turns)
    hidden = rng.standard_normal((1500, 48))
    items, asked = hidden[:1000], hidden[1000:]
    asked[:, 0] += 0.5
    pairs = Pairs(items @ one, items @ other)
    queries = Pairs(asked @ one, asked @ other, ids=np.arange(500))
    assert not [n for n in noticed(pairs, queries=queries) if "another model" in n]
    some = np.arange(500) % 8 == 5
    mixed = np.where(some[:, None], asked @ third, asked @ one)
    (told,) = [
        n
        for n in noticed(pairs, queries=Pairs(mixed, asked @ other, ids=np.arange(500)))
        if "another model" in n
    ]
    assert "12% of 500 queries of new" in told and "(5, 13, 21, ...)" in told
    bridge = fit(pairs, recipe=RECIPE)
    evidence = assess(bridge, pairs, queries=Pairs(mixed, asked @ other, ids=np.arange(500)))
    assert any("12% of 500 queries of new" in n for n in evidence.notices)
    apply(bridge, asked @ one, tmp_path / "a.npy")
    assert not caplog.records
    apply(bridge, mixed, tmp_path / "b.npy")
    assert "12% of 500 rows of vectors that were looked at" in caplog.text
    assert "(row 5, row 13, row 21, ...)" in caplog.text
