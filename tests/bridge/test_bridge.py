"""A bridge in use: mapping, recognising, composing, inverting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.bridge import Bridge, Fitting, assess, fit
from isthmus.bridge.card import card
from isthmus.bridge.provenance import Provenance
from isthmus.errors import ContractError, InputError, WrongSpaceError
from isthmus.evaluate import Judging
from isthmus.spaces.pairs import Pairs

# ---- mapping -----------------------------------------------------------------------------------


def test_rows_and_single_vectors_agree(bridge: Bridge, world: Any) -> None:
    x = world.seen("x", world.latent(50))
    rows = bridge.transform(x)
    single = np.stack([bridge.transform(v) for v in x])
    np.testing.assert_allclose(single, rows, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    for part in (x[:1], x[:7], x[20:]):
        start = 20 if len(part) == 30 else 0
        np.testing.assert_allclose(
            bridge.transform(part), rows[start : start + len(part)], atol=1e-6
        )


@pytest.mark.parametrize(("dtype", "out"), [("f2", "f4"), ("f4", "f4"), ("f8", "f8")])
def test_dtypes(bridge: Bridge, world: Any, dtype: str, out: str) -> None:
    x = world.seen("x", world.latent(50))
    mapped = bridge.transform(x.astype(dtype))
    assert mapped.dtype == np.dtype(out)
    assert bridge.transform(x[0].astype(dtype)).dtype == np.dtype(out)
    np.testing.assert_allclose(mapped, bridge.transform(x), atol=5e-3 if dtype == "f2" else 1e-5)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries(bridge: Bridge, world: Any, library: str) -> None:
    xp = pytest.importorskip(library)
    x = world.seen("x", world.latent(50))
    expected = bridge.transform(x)
    mapped = bridge.transform(xp.asarray(x))
    assert type(mapped) is type(xp.asarray(x))
    np.testing.assert_allclose(np.asarray(mapped), expected, atol=1e-5)
    one = bridge.transform(xp.asarray(x[0]))
    assert tuple(one.shape) == (24,)
    np.testing.assert_allclose(np.asarray(one), expected[0], atol=1e-5)


def test_the_input_is_not_changed(bridge: Bridge, world: Any) -> None:
    x = world.seen("x", world.latent(50))
    before = x.copy()
    bridge.transform(x)
    bridge.transform(x[3])
    np.testing.assert_array_equal(x, before)
    x.flags.writeable = False
    bridge.transform(x)


def test_no_rows_are_no_rows(bridge: Bridge) -> None:
    assert bridge.transform(np.empty((0, 24), np.float32)).shape == (0, 24)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda x: x[..., :-1], "23 wide, expected 24"),
        (
            lambda x: np.where(np.arange(24) == 3, np.nan, x).astype("f4"),
            "row 0: the row holds nan",
        ),
        (
            lambda x: np.where(np.arange(24) == 3, np.inf, x).astype("f4"),
            "row 0: the row holds inf",
        ),
        (lambda x: np.zeros_like(x), "row 0: the row is all zeros"),
        (lambda x: (100 * x).astype(int), "dtype int64"),
        (lambda x: x.astype(object), "dtype object"),
        (lambda x: x.astype(complex), "dtype complex128"),
    ],
)
def test_unusable_vectors_are_refused(
    bridge: Bridge, world: Any, spoil: Any, message: str, single: bool, check: bool, known: bool
) -> None:
    x = world.seen("x", world.latent(40))
    if known:
        bridge.transform(x)
    with pytest.raises(InputError, match=message):
        bridge.transform(spoil(x[0] if single else x), check=check)


def test_a_zero_vector_is_refused_by_a_map_with_an_offset_too(
    make_world: Callable[..., Any],
) -> None:
    pairs, _ = make_world().upgrade()
    bridge = fit(pairs, recipe="center | procrustes | unit_norm")
    bridge.transform(pairs.head(40).x)
    for x in (np.zeros(24, np.float32), np.zeros((2, 24), np.float32)):
        with pytest.raises(InputError, match="all zeros"):
            bridge.transform(x)


def test_torch_vectors_of_another_model_are_refused_too(bridge: Bridge, world: Any) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(WrongSpaceError):
        bridge.transform(torch.asarray(_rotated(world, world.seen("x", world.latent(100)))))


def test_something_else_than_rows_is_refused(bridge: Bridge) -> None:
    with pytest.raises(InputError, match=r"shape \(2, 3, 24\)"):
        bridge.transform(np.ones((2, 3, 24), np.float32))


# ---- recognising -------------------------------------------------------------------------------


def _rotated(world: Any, x: np.ndarray) -> np.ndarray:
    return x @ np.linalg.qr(world.rng.standard_normal((24, 24)))[0].astype(np.float32)


def test_one_vector_alone_mostly_tells_that_it_is_foreign(
    bridge: Bridge, world: Any, make_world: Callable[..., Any]
) -> None:
    z = world.latent(300)
    x = world.seen("x", z)
    mine = bridge.source_profile
    assert mine is not None
    for foreign in (make_world(seed=99).seen("x", z), _rotated(world, x)):
        assert np.mean([mine.is_foreign(row[None, :]) for row in foreign]) > 0.85
    assert np.mean([mine.is_foreign(row[None, :]) for row in x]) < 0.15


@pytest.mark.parametrize("n", [5, 300])
def test_vectors_of_another_model_are_refused_at_first_use(
    bridge: Bridge, world: Any, make_world: Callable[..., Any], n: int
) -> None:
    z = world.latent(n)
    x = world.seen("x", z)
    other = make_world(seed=99).seen("x", z)
    for foreign in (other, _rotated(world, x), x[:, world.rng.permutation(24)]):
        with pytest.raises(WrongSpaceError, match="do not come from new"):
            bridge.transform(foreign)
    with pytest.raises(WrongSpaceError, match=r"old, the target of this bridge: it runs the other"):
        bridge.transform(world.seen("y", z))
    with pytest.raises(WrongSpaceError):
        bridge.transform(other[0])
    # a refusal does not count as having recognised
    with pytest.raises(WrongSpaceError):
        bridge.transform(other)
    bridge.transform(other, check=False)
    bridge.transform(x)


def test_drifted_vectors_of_the_right_model_are_accepted(bridge: Bridge, world: Any) -> None:
    z = world.latent(400)
    topics = z.copy()
    topics[:, :3] += 3  # one region of the space
    short = 0.3 * z
    noisy = z + 0.5 * world.rng.standard_normal(z.shape)
    for drifted in (world.near(z), topics, short, noisy):
        fresh = bridge.unproven()
        fresh.transform(world.seen("x", drifted))
        fresh.recognise(2 * world.seen("x", drifted))  # cosine: length says nothing


def test_only_the_first_rows_are_compared(
    bridge: Bridge, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isthmus.spaces.profile import Profile

    asked: list[int] = []
    is_foreign = Profile.is_foreign
    monkeypatch.setattr(
        Profile, "is_foreign", lambda f, rows: asked.append(len(rows)) or is_foreign(f, rows)
    )
    for _ in range(3):
        bridge.transform(world.seen("x", world.latent(10)))
    assert asked == [10]
    bridge.unproven().transform(world.seen("x", world.latent(7)))
    assert asked == [10, 7]


# ---- inverse -----------------------------------------------------------------------------------


def test_the_inverse_undoes_the_bridge(make_world: Callable[..., Any]) -> None:
    world = make_world()
    pairs, queries = world.upgrade(metric="l2")
    bridge = fit(pairs, queries=queries, recipe="ridge(alpha=1e-6)")
    back = bridge.inverse()
    assert (back.kind, back.source, back.target) == ("corpus", bridge.target, bridge.source)
    x = world.seen("x", world.latent(100))
    np.testing.assert_allclose(back.transform(bridge.transform(x), check=False), x, atol=1e-3)
    # it knows its own side, and its canaries changed sides with it
    back.recognise(world.seen("y", world.latent(100)))
    with pytest.raises(WrongSpaceError, match="new, the target of this bridge"):
        back.unproven().transform(x)
    assert back.canary is not None
    assert bridge.canary is not None
    np.testing.assert_array_equal(back.canary.source, bridge.canary.target)
    assert back.evidence is None


def test_the_inverse_under_cosine_gives_unit_vectors_back(make_world: Callable[..., Any]) -> None:
    world = make_world()
    z = world.latent(1500)
    x, y = (
        v / np.linalg.norm(v, axis=1, keepdims=True)
        for v in (world.seen("x", z), world.seen("y", z))
    )
    for recipe in ("procrustes | unit_norm", "center | ridge(alpha=0.001) | unit_norm"):
        bridge = fit(Pairs(x, y), recipe=recipe)
        back = bridge.inverse().transform(bridge.transform(x[:50]), check=False)
        np.testing.assert_allclose(back, x[:50], atol=1e-3)


@pytest.mark.parametrize("dx", [16, 32])
def test_a_bridge_that_narrows_has_no_inverse(make_world: Callable[..., Any], dx: int) -> None:
    pairs, _ = make_world(dx, 24).upgrade(metric="l2")
    bridge = fit(pairs, recipe="ridge(alpha=1e-6)")
    if dx > 24:
        with pytest.raises(InputError, match="no inverse: it loses information"):
            bridge.inverse()
    else:
        x = pairs.head(20).x
        back = bridge.inverse().transform(bridge.transform(x), check=False)
        np.testing.assert_allclose(back, x, atol=1e-3)


# ---- compose -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def steps(make_world: Callable[..., Any]) -> tuple[Any, Bridge, Bridge, Pairs, Pairs]:
    """A world of three models, a ← b ← c, with bridges c → b and b → a on the same items."""
    first, second = make_world(24, 20, rng=1), make_world(28, 24, rng=2)
    second.basis["y"], second.mean["y"] = first.basis["x"], first.mean["x"]
    z = first.rng.standard_normal((1500, 28))
    asked = z + 0.3 * first.rng.standard_normal(z.shape)

    def seen(model: str, z: np.ndarray) -> np.ndarray:
        if model == "c":
            return second.seen("x", z)
        return first.seen("x" if model == "b" else "y", z[:, :24])

    def pairs(source: str, target: str) -> tuple[Pairs, Pairs]:
        return tuple(Pairs(seen(source, v), seen(target, v)) for v in (z, asked))

    bridges = []
    for source, target in (("c", "b"), ("b", "a")):
        items, queries = pairs(source, target)
        # a part of the items is spared by both, so that the two together can be judged
        spared = Fitting(cross_fit=False, source=source, target=target)
        bridges.append(fit(items, queries=queries, fitting=spared))
    return seen, bridges[0], bridges[1], *pairs("c", "a")


def test_composed_bridges_map_as_one_after_the_other(steps: Any) -> None:
    seen, upper, lower, *_ = steps
    both = upper.compose(lower)
    assert (both.source, both.target) == (upper.source, lower.target)
    x = seen("c", np.random.default_rng(8).standard_normal((200, 28)))
    step_by_step = lower.transform(upper.transform(x, check=False), check=False)
    np.testing.assert_allclose(both.transform(x), step_by_step, atol=1e-5)
    with pytest.raises(WrongSpaceError):
        both.unproven().transform(x[:, ::-1].copy())


def test_composed_maps_are_one_product_where_no_norm_stands_between(
    make_world: Callable[..., Any],
) -> None:
    pairs, _ = make_world().upgrade(metric="l2")
    there = fit(pairs, recipe="procrustes(scale=true)")
    back = fit(Pairs(pairs.target, pairs.source, metric="l2"), recipe="center | ridge(alpha=0.01)")
    both = there.compose(back)
    assert [type(stage) for stage in both.chain.stages] == [Affine]
    x = pairs.head(50).x
    np.testing.assert_allclose(
        both.transform(x), back.transform(there.transform(x)), atol=1e-5, rtol=1e-5
    )
    # a unit norm between two maps without offset goes too; one that cannot go is kept
    turn = Chain([RowNorm(), Affine(np.eye(24)[::-1]), RowNorm()])
    under_cosine = [replace(b, chain=turn, canary=None) for b in (there, back)]
    assert under_cosine[0].compose(under_cosine[1]).chain.products == 1


def test_a_composed_bridge_is_judged_on_what_neither_fit_has_seen(steps: Any) -> None:
    _, upper, lower, items, queries = steps
    both = upper.compose(lower)
    assert both.evidence is None
    evidence = assess(both, items, queries=queries)
    share = items.split(upper.provenance.fits[0].shares).counts["test"]
    assert evidence.n_queries == share < 200
    assert evidence.arms["bridge"].metrics["recall@10"].value > 0.5
    assert assess(both, items, queries=queries, all_rows=True).n_queries == 1500
    # the parts of another seed overlap with the rows of the first fit
    other = fit(Pairs(items.source, items.target), fitting=Fitting(seed=3))
    mixed = replace(both, provenance=Provenance(composed_of=(upper.provenance, other.provenance)))
    with pytest.raises(InputError, match=r"split differently.*--all"):
        assess(mixed, items, queries=queries)


def test_unrelated_bridges_do_not_compose(steps: Any, make_world: Callable[..., Any]) -> None:
    _, upper, lower, *_ = steps
    with pytest.raises(
        ContractError, match=r"ends in 20 dimensions under cosine, the second .* 28"
    ):
        lower.compose(upper)
    stranger = fit(make_world(24, 24, seed=77).upgrade()[0])
    with pytest.raises(WrongSpaceError, match="do not look like new"):
        upper.compose(stranger)
    lengths = fit(make_world(24, 24, seed=77).upgrade(metric="l2")[0])
    with pytest.raises(ContractError, match="under cosine, the second starts from 24 under l2"):
        upper.compose(lengths)


# ---- trust and scores --------------------------------------------------------------------------


def test_trust_comes_with_the_mapped_vectors(trusted: Bridge, world: Any) -> None:
    x = world.seen("x", world.latent(300))
    mapped, trust = trusted.transform(x, return_trust=True)
    np.testing.assert_array_equal(mapped, trusted.transform(x))
    np.testing.assert_array_equal(trust, trusted.trust(x))
    assert (trust.shape, trust.dtype) == ((300,), np.float32)
    assert np.ptp(trust) > 0.01
    one, of_one = trusted.transform(x[3], return_trust=True)
    assert one.shape == (24,)
    assert of_one == pytest.approx(trust[3], abs=1e-4)
    assert trusted.transform(x[:0], return_trust=True)[1].shape == (0,)


def test_trust_in_other_libraries_and_dtypes(trusted: Bridge, world: Any) -> None:
    x = world.seen("x", world.latent(50))
    expected = trusted.transform(x, return_trust=True)[1]
    for dtype, tolerance in (("f2", 0.02), ("f8", 1e-3)):
        mapped, trust = trusted.transform(x.astype(dtype), return_trust=True)
        assert trust.dtype == mapped.dtype
        np.testing.assert_allclose(trust, expected, atol=tolerance)
    torch = pytest.importorskip("torch")
    mapped, trust = trusted.transform(torch.asarray(x), return_trust=True)
    assert type(trust) is type(mapped) is torch.Tensor
    np.testing.assert_allclose(trust.numpy(), expected, atol=1e-4)


def test_trust_is_refused_as_vectors_are(trusted: Bridge, world: Any) -> None:
    x = world.seen("x", world.latent(50))
    bridge = replace(trusted, trust=None, thresholds=None)
    with pytest.raises(InputError, match="this bridge has no model of trust"):
        bridge.transform(x, return_trust=True)
    with pytest.raises(InputError, match="this bridge knows no thresholds"):
        bridge.calibrate_scores(np.array([0.5]))
    with pytest.raises(WrongSpaceError):
        trusted.transform(_rotated(world, x), return_trust=True)
    x[3] = np.nan
    with pytest.raises(InputError, match="row 3"):
        trusted.transform(x, return_trust=True)
    with pytest.raises(InputError, match=r"scores, position \[1\]: the score is nan"):
        trusted.calibrate_scores(np.array([0.5, np.nan]))


def test_scores_are_calibrated(trusted: Bridge) -> None:
    scores = np.linspace(-1, 1, 20, dtype=np.float32).reshape(4, 5)
    calibrated = trusted.calibrate_scores(scores)
    assert (calibrated.shape, calibrated.dtype) == ((4, 5), np.float32)
    assert (np.diff(calibrated.reshape(-1)) > 0).all()


def test_another_map_has_neither_trust_nor_calibrated_scores(trusted: Bridge) -> None:
    assert trusted.trust is not None
    for same in (trusted.unproven(), trusted.with_evidence(trusted.evidence)):
        assert same.trust is trusted.trust
        assert same.thresholds is trusted.thresholds
    square = replace(trusted, chain=Chain([Affine(np.eye(24))]), canary=None)
    for other in (square.inverse(), square.compose(square)):
        assert other.trust is None
        assert other.thresholds is None


# ---- the value ---------------------------------------------------------------------------------


def test_evidence_can_be_replaced_and_nothing_else(bridge: Bridge) -> None:
    assert bridge.evidence is not None
    other = bridge.evidence.model_copy(update={"n_queries": 7})
    changed = bridge.with_evidence(other)
    assert changed.evidence is other
    assert changed.chain is bridge.chain
    with pytest.raises(AttributeError):
        bridge.evidence = None  # type: ignore[misc]


def test_the_text_names_both_sides_and_the_verdict(bridge: Bridge) -> None:
    assert bridge.evidence is not None
    assert str(bridge) == f"Bridge(query: new (24) → old (24), {bridge.evidence.verdict})"
    bare = replace(bridge, evidence=None, chain=Chain([Affine(np.eye(24))]))
    assert str(bare) == "Bridge(query: new (24) → old (24), not evaluated)"


def test_a_map_for_search_alone_says_so(upgrade: tuple[Pairs, Pairs]) -> None:
    pairs, _ = upgrade
    for recipe, alone in (("unit_norm | csa | unit_norm", True), ("procrustes", False)):
        bridge = fit(pairs, recipe=recipe, judging=Judging(limits=None))
        assert bridge.search_only == alone
        assert ("for search alone" in card(bridge)) == alone
