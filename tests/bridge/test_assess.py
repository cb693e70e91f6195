"""Judging a bridge that exists: on fresh data, and on data that may hold items of the fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.bridge import Bridge, SampleSizes, assess, fit
from isthmus.bridge.provenance import Provenance
from isthmus.errors import InputError, WrongSpaceError
from isthmus.evaluate import Judging, Verdict, VerdictRule
from isthmus.spaces.pairs import Pairs


@pytest.mark.parametrize("named", [False, True])
def test_fresh_data_are_judged_on_every_row(make_world: Callable[..., Any], named: bool) -> None:
    """Row numbers of other data are the numbers of other items."""
    world = make_world()

    def upgrade(prefix: str) -> tuple[Pairs, Pairs]:
        z = world.latent(1000)
        ids = [f"{prefix}{i}" for i in range(1000)] if named else None
        return world.pairs(z, ids=ids), world.pairs(world.near(z), ids=ids)

    (items, queries), (fresh, asked) = upgrade("a"), upgrade("b")
    bridge = fit(items, queries=queries)
    evidence = assess(bridge, fresh, queries=asked)
    assert evidence.n_queries == 1000
    assert bridge.evidence is not None
    found, before = (e.arms["bridge"].metrics["recall@10"] for e in (evidence, bridge.evidence))
    assert found.value == pytest.approx(before.value, abs=0.1)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("change", ["none", "labels", "more", "order", "fewer", "rounded"])
def test_items_of_the_fit_are_never_judged(
    make_world: Callable[..., Any], change: str, named: bool
) -> None:
    """Labels or rows added, rows reordered or rounded: the fit's own rows are still known."""
    if not named and change in ("order", "fewer", "rounded"):
        return  # without ids nothing says which item a row is
    world = make_world()
    z = world.latent(1100)
    x, y = world.seen("x", z), world.seen("y", z)
    ids = np.array([f"i{n}" for n in range(1100)])

    def pairs(rows: Any, **options: Any) -> Pairs:
        return Pairs(x[rows], y[rows], ids=ids[rows] if named else None, **options)

    bridge = fit(pairs(slice(1000)))
    if change == "rounded":
        x, y = x.astype(np.float16), y.astype(np.float16)
    rows: Any = {
        "more": slice(1100),
        "order": np.random.default_rng(2).permutation(1000),
        "fewer": slice(0, 900),
    }.get(change, slice(1000))
    labels = np.arange(1000) % 50 if change == "labels" else None
    given = pairs(rows, labels=labels)
    evidence = assess(bridge, given)
    test = given.split(bridge.provenance.fits[0].shares).counts["test"]
    assert evidence.n_queries == test
    assert assess(bridge, given, all_rows=True).n_queries == len(given)


def test_another_model_is_refused_on_either_side(
    bridge: Bridge, world: Any, make_world: Callable[..., Any]
) -> None:
    z = world.latent(500)
    right, other = world, make_world(seed=50)
    x, y = right.seen("x", z), right.seen("y", z)
    for source, target, side in (
        (other.seen("x", z), y, "source: these vectors do not come from new"),
        (x, other.seen("y", z), "target: these vectors do not come from old"),
        (y, x, "source: these vectors look like old"),
    ):
        with pytest.raises(WrongSpaceError, match=side):
            assess(bridge.unproven(), Pairs(source, target))
    with pytest.raises(InputError, match="source, row 0: the vectors are 23 wide, expected 24"):
        assess(bridge, Pairs(x[:, 1:], y))
    with pytest.raises(InputError, match="target: the vectors are 23 wide, the target"):
        assess(bridge, Pairs(x, y[:, 1:]))


def test_a_named_canary_that_changed_is_refused(make_world: Callable[..., Any]) -> None:
    world = make_world()
    z, ids = world.latent(800), [f"i{n}" for n in range(800)]
    x, y = world.seen("x", z), world.seen("y", z)
    bridge = fit(Pairs(x, y, ids=ids))
    assert bridge.canary is not None
    row = ids.index(bridge.canary.ids[2])
    x[row] = x[(row + 1) % 800]
    with pytest.raises(WrongSpaceError, match=f"canary '{ids[row]}'"):
        assess(bridge, Pairs(x, y, ids=ids))
    # without ids, no row is known to be that item
    assess(bridge, Pairs(x, y), all_rows=True)


def test_a_random_map_is_refused(bridge: Bridge, world: Any) -> None:
    turn = np.linalg.qr(np.random.default_rng(4).standard_normal((24, 24)))[0]
    random = replace(bridge, chain=Chain([RowNorm(), Affine(turn), RowNorm()]))
    items, queries = world.upgrade(800)
    evidence = assess(random, items, queries=queries)
    assert evidence.verdict in (Verdict.RE_EMBED, Verdict.KEEP_OLD)
    assert assess(bridge, items, queries=queries).verdict not in (
        Verdict.RE_EMBED,
        Verdict.KEEP_OLD,
    )


def test_the_rule_the_metric_and_the_sizes_are_the_callers(bridge: Bridge, world: Any) -> None:
    items, queries = world.upgrade(800)
    rule = VerdictRule(min_queries=10_000)
    evidence = assess(
        bridge,
        items,
        queries=queries,
        sizes=SampleSizes(test=100, gallery=300),
        judging=Judging(rule=rule, primary="mrr"),
    )
    assert evidence.primary == "mrr"
    assert evidence.n_queries == 100
    assert 300 <= evidence.n_gallery <= 400
    assert evidence.rule == rule
    assert evidence.seed == bridge.provenance.fits[0].seed
    assert evidence.verdict is Verdict.NOT_ENOUGH_EVIDENCE


def test_a_map_without_a_fit_is_judged_on_every_row(bridge: Bridge, world: Any) -> None:
    bare = replace(bridge, provenance=Provenance())
    items, queries = world.upgrade(300)
    assert assess(bare, items, queries=queries).n_queries == 300
    with pytest.raises(InputError, match="no fit is known"):
        assess(bare, items, queries=queries, all_rows=False)
