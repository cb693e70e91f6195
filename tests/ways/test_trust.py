"""Trust in mapped vectors: it separates, it is calibrated, its thresholds hold on other rows."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist
from tests.ridge_world import DIM, RidgeWorld

from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.errors import InputError
from isthmus.evaluate import top_k
from isthmus.spaces.profile import Profile
from isthmus.ways.fit_trust import HeldOutRows, fit_trust
from isthmus.ways.risk import area_under_curve
from isthmus.ways.trust import Trust

D = 24


class World:
    """Rows of two kinds, told apart by their first component: the map is good for one of them."""

    def __init__(self, metric: str = "cosine", noise: float = 0.9, seed: int = 1) -> None:
        rng = np.random.default_rng(seed)
        self.rng, self.metric, self.noise = rng, metric, noise
        self.turn = np.linalg.qr(rng.standard_normal((D, D)))[0]
        self.gallery = self.rows(1500) @ self.turn.astype(np.float32)
        self.chain = Chain([Affine(self.turn)])
        if metric == "cosine":
            self.chain = Chain([RowNorm(), Affine(self.turn), RowNorm()])

    def rows(self, n: int) -> np.ndarray:
        x = self.rng.standard_normal((n, D))
        x[:, 0] = np.where(self.rng.random(n) < 0.5, -3, 3) + 0.3 * x[:, 0]
        return x.astype(np.float32)

    def held_out(self, n: int) -> HeldOutRows:
        x = self.rows(n)
        hard = np.where(x[:, :1] > 0, self.noise, 0.1)
        y = (x + hard * self.rng.standard_normal(x.shape)) @ self.turn
        return HeldOutRows(x, y.astype(np.float32), self.gallery)

    def preserved(self, rows: HeldOutRows) -> np.ndarray:
        found, true = (
            top_k(v, rows.gallery, 1, metric=self.metric, exclude=rows.exclude).indices[:, 0]
            for v in (self.chain(rows.source), rows.target)
        )
        return found == true

    def fit(self, n: int = 600, calibrate: int = 1000, verify: int = 1000) -> Trust:
        profile = Profile.of_rows(self.rows(2000), unit=self.metric == "cosine")
        parts = [self.held_out(m) if m else None for m in (n, calibrate, verify)]
        return fit_trust(self.chain, profile, *parts, metric=self.metric)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def trust(world: World) -> Trust:
    return world.fit()


@pytest.fixture(scope="module")
def fresh(world: World, trust: Trust) -> HeldOutRows:
    return world.held_out(2000)


# ---- what it says ------------------------------------------------------------------------------


def test_it_tells_the_good_vectors_from_the_bad(
    world: World, trust: Trust, fresh: HeldOutRows
) -> None:
    kept = world.preserved(fresh)
    said = trust(fresh.source)
    assert area_under_curve(said, kept) > 0.75
    good = fresh.source[:, 0] < 0
    assert said[good].min() > said[~good].max()
    assert said[good].mean() == pytest.approx(kept[good].mean(), abs=0.06)
    assert said[~good].mean() == pytest.approx(kept[~good].mean(), abs=0.06)
    assert trust.control.area == pytest.approx(area_under_curve(said, kept), abs=0.05)
    assert trust.control.error < 0.06


def test_a_threshold_keeps_its_promise_on_other_rows(
    world: World, trust: Trust, fresh: HeldOutRows
) -> None:
    kept = world.preserved(fresh)
    said = trust(fresh.source)
    base = kept.mean()
    for level in trust.levels((0.6, 0.75)):
        assert level.probability > base
        above = said >= level.threshold
        assert above.mean() == pytest.approx(level.kept, abs=0.05)
        assert 0.2 < above.mean() < 0.8
        assert kept[above].mean() > level.probability - 0.03
        assert level.held_out > level.probability - 0.04
    assert trust.threshold(0.999) is None


def test_the_first_two_scores_tell_more(world: World, trust: Trust, fresh: HeldOutRows) -> None:
    kept = world.preserved(fresh)
    said = trust(fresh.source)
    found = top_k(world.chain(fresh.source), world.gallery, 5, metric="cosine")
    after = trust.after_search(said, found.scores)
    assert area_under_curve(after, kept) > area_under_curve(said, kept) + 0.03
    threshold = trust.search_control.threshold(0.85)
    above = after >= threshold
    assert above.mean() > 0.1
    assert kept[above].mean() > 0.82
    # a clearer first result is never trusted less
    scores = np.column_stack([np.full(50, 0.8), 0.8 - np.linspace(0, 0.3, 50)])
    assert (np.diff(trust.after_search(np.full(50, 0.6), scores)) >= 0).all()


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_vectors_unlike_all_others_are_trusted_less_the_farther_they_are(metric: Any) -> None:
    world = World(metric)
    trust = world.fit(400, 400, 0)
    x = world.rows(200)
    x[:, 0] = -3
    away = x.copy()
    if metric == "cosine":
        # no row of the fit points nearly along the third axis
        farther = []
        for pull in (0, 8, 16, 64):
            away = x.copy()
            away[:, 2] = pull
            farther.append(trust(away).mean())
    else:
        farther = [trust(s * x).mean() for s in (1, 3, 6, 50)]
    assert farther == sorted(farther, reverse=True)
    assert farther[-1] < 0.75 * farther[0]
    for coefficient, sign in zip(trust.coefficients[1:], (-1, -1, 1, 1), strict=True):
        assert sign * coefficient >= 0


def test_numbers_of_any_size_give_a_probability() -> None:
    for metric in ("cosine", "l2"):
        world = World(metric)
        trust = world.fit(200, 200, 0)
        x = world.rows(6)
        for scale in (1e-30, 1e-18, 1e18, 1e25, 3e37):
            said = trust(x * np.float32(scale))
            assert ((said >= 0) & (said <= 1)).all(), (metric, scale)
        if metric == "l2":
            assert trust(x * np.float32(1e25)).max() < 1e-3
        assert np.isfinite(trust(np.zeros((1, D), np.float32))).all()


# ---- shapes and libraries ----------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_rows_single_vectors_dtypes_and_libraries_agree(metric: Any) -> None:
    world = World(metric)
    trust = world.fit(200, 200, 0)
    x = world.rows(5000)
    said = trust(x)
    assert (said.shape, said.dtype) == ((5000,), np.float32)
    np.testing.assert_allclose(trust(x[4100:4110]), said[4100:4110], atol=1e-4)
    assert trust(x[7]) == pytest.approx(said[7], abs=1e-4)
    assert np.shape(trust(x[7])) == ()
    assert trust(x[:0]).shape == (0,)
    assert trust(x.astype("f8")).dtype == np.float64
    np.testing.assert_allclose(trust(x.astype("f8")), said, atol=2e-3)
    np.testing.assert_allclose(trust(x[:50].astype("f2")), said[:50], atol=2e-2)
    for library in ("torch", "array_api_strict"):
        xp = pytest.importorskip(library)
        other = trust(xp.asarray(x))
        assert type(other) is type(xp.asarray(x))
        assert other.dtype == xp.float32
        np.testing.assert_allclose(np.asarray(other), said, atol=1e-4)
        assert float(trust(xp.asarray(x[7]))) == pytest.approx(said[7], abs=1e-4)


def test_equal_inputs_give_equal_models() -> None:
    one, other = (World().fit(200, 200, 100) for _ in range(2))
    assert json.dumps(one.pack()[0]) == json.dumps(other.pack()[0])
    for name, tensor in one.pack()[1].items():
        np.testing.assert_array_equal(other.pack()[1][name], tensor)


# ---- data that say little ----------------------------------------------------------------------


def constant(trust: Trust, x: np.ndarray) -> float:
    said = np.unique(trust(x))
    assert len(said) == 1
    return float(said[0])


def test_a_map_that_keeps_every_result_gives_one_trust() -> None:
    world = World(noise=0.1)
    exact = world.held_out(300)
    exact = replace(exact, target=world.chain(exact.source))  # the residual is constant: none
    profile = Profile.of_rows(world.rows(2000), unit=True)
    trust = fit_trust(world.chain, profile, exact, *exact.halves(), metric="cosine")
    assert constant(trust, exact.source) > 0.99
    assert trust.control.constant
    assert trust.threshold(0.9) == pytest.approx(constant(trust, exact.source))
    assert trust.levels((0.9,))[0].held_out == 1


def test_a_map_that_keeps_none_gives_no_trust() -> None:
    world = World()
    rows = world.held_out(300)
    other = replace(rows, target=-world.chain(rows.source))
    profile = Profile.of_rows(world.rows(2000), unit=True)
    trust = fit_trust(world.chain, profile, other, *other.halves(), metric="cosine")
    assert constant(trust, rows.source) < 0.02
    assert trust.threshold(0.5) is None


def test_a_constant_residual_is_no_obstacle() -> None:
    world = World()
    rows = world.held_out(400)
    shift = np.zeros(D, np.float32)
    shift[3] = 1.0
    mapped = world.chain(rows.source)
    moved = replace(rows, target=mapped + shift)
    profile = Profile.of_rows(world.rows(2000), unit=False)
    trust = fit_trust(world.chain, profile, moved, *moved.halves(), metric="l2")
    said = trust(rows.source)
    assert np.isfinite(said).all()
    assert trust.coefficients[2] == 0


@pytest.mark.parametrize("n", [1, 2, 39])
def test_few_rows_give_one_cautious_trust(n: int) -> None:
    world = World()
    trust = world.fit(n, n, n)
    inside = world.rows(2000)
    raw = trust.raw(inside)
    np.testing.assert_array_equal(trust.coefficients[1:], 0)
    assert ((trust(inside) > 0.0) & (trust(inside) < 1)).all()
    # one value, for all that lie no farther out than the few rows
    within = raw == raw.max()
    assert len(np.unique(trust(inside)[within])) == 1
    assert trust.threshold(0.99) is None


def test_one_query_is_split_into_one_and_none() -> None:
    one = World().held_out(1)
    first, second = one.halves()
    assert (len(first), len(second)) == (1, 0)
    world = World()
    profile = Profile.of_rows(world.rows(500), unit=True)
    trust = fit_trust(world.chain, profile, one, first, second, metric="cosine")
    assert trust.control.verified == ()
    assert trust.levels()[0].held_out is None


def test_halves_share_no_row_and_lose_none() -> None:
    rows = World().held_out(101)
    rows = replace(rows, exclude=np.arange(101))
    first, second = rows.halves(seed=3)
    assert (len(first), len(second)) == (51, 50)
    both = np.concatenate([first.exclude, second.exclude])
    assert sorted(both.tolist()) == list(range(101))
    np.testing.assert_array_equal(first.source, rows.source[first.exclude])
    assert first.exclude.tolist() != rows.halves(seed=4)[0].exclude.tolist()


def test_rows_that_were_fitted_on_do_not_lower_it() -> None:
    told, plain, true = [], [], []
    model = Chain([Affine(np.eye(DIM))])
    for seed in range(6):
        world = RidgeWorld(seed)
        x, y, mapped, maps, fitted = world.folded(150)
        profile = Profile.of_rows(x, unit=False)
        for values, known in ((told, fitted), (plain, None)):
            rows = HeldOutRows(x, y, y, None, mapped, known)
            trust = fit_trust(model, profile, rows, rows, metric="l2")
            values.append(float(np.mean(trust(x))))
        asked, answers = world.drawn(600)
        _, others = world.drawn(149)
        for one in maps:
            moved = asked @ one
            own = np.linalg.norm(moved - answers, axis=1)
            true.append(np.mean(own[:, None] < cdist(moved, others).min(axis=1, keepdims=True)))
    assert np.mean(plain) < np.mean(true) - 0.04
    assert np.mean(told) == pytest.approx(np.mean(true), abs=0.03)


def test_an_item_does_not_find_itself() -> None:
    world = World("l2")
    y = world.gallery
    rows = HeldOutRows((y @ world.turn.T).astype(np.float32), y, y, np.arange(len(y)))
    trust = fit_trust(
        world.chain,
        Profile.of_rows(rows.source, unit=False),
        rows,
        *rows.halves(),
        metric="l2",
    )
    assert trust.control.base > 0.99  # its neighbour is kept, though not itself
    off = replace(rows, source=np.roll(rows.source, 1, axis=0))
    other = fit_trust(
        world.chain, Profile.of_rows(off.source, unit=False), off, *off.halves(), metric="l2"
    )
    assert other.control.base < 0.1


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda r: replace(r, source=np.where(np.arange(D) == 2, np.nan, r.source)), "row 0"),
        (lambda r: replace(r, source=np.where(np.arange(60)[:, None] == 9, 0, r.source)), "row 9"),
        (lambda r: replace(r, target=np.where(np.arange(60)[:, None] == 4, 0, r.target)), "row 4"),
        (lambda r: replace(r, gallery=r.gallery[:1]), "single item"),
        (lambda r: replace(r, gallery=r.gallery[:2], exclude=np.zeros(60, int)), "single item"),
        (lambda r: r.select(np.empty(0, dtype=int)), "no rows to"),
    ],
    ids=["nan", "zero source", "zero target", "one item", "one other item", "none"],
)
@pytest.mark.parametrize("part", [0, 1])
def test_rows_that_cannot_be_used(spoil: Any, says: str, part: int) -> None:
    world = World()
    profile = Profile.of_rows(world.rows(500), unit=True)
    parts = [world.held_out(60), world.held_out(60)]
    parts[part] = spoil(parts[part])
    with pytest.raises(InputError, match=says):
        fit_trust(world.chain, profile, *parts, metric="cosine")


def test_results_that_cannot_be_used(trust: Trust) -> None:
    two = np.full(2, 0.5)
    for scores, says in (
        (np.ones((2, 1)), r"k of 2 or more"),
        (np.ones(2), "k of 2 or more"),
        (np.ones((3, 2)), "k of 2 or more"),
        (np.array([[0.9, 0.8], [np.nan, 0.1]]), "scores, row 1: a value is not finite"),
    ):
        with pytest.raises(InputError, match=says):
            trust.after_search(two, scores)
    with pytest.raises(InputError, match="trust, row 0"):
        trust.after_search(np.array([np.nan, 0.5]), np.ones((2, 2)))
    # tied results are as unclear as results can be
    assert trust.after_search(two, np.ones((2, 2))).max() < 0.5


# ---- files -------------------------------------------------------------------------------------


def test_it_comes_back_from_its_parts(trust: Trust, fresh: HeldOutRows) -> None:
    described, tensors = trust.pack()
    again = Trust.unpack(json.loads(json.dumps(described)), tensors, trust.profile)
    np.testing.assert_array_equal(again(fresh.source), trust(fresh.source))
    assert again.levels() == trust.levels()
    assert again.search_control.levels() == trust.search_control.levels()
    scores = np.column_stack([np.linspace(0.5, 0.9, 30), np.full(30, 0.5)])
    said = np.linspace(0, 1, 30)
    np.testing.assert_array_equal(
        again.after_search(said, scores), trust.after_search(said, scores)
    )


DAMAGE = [
    lambda d, t: d.update(reach=float("nan")),
    lambda d, t: d.update(reach=-1),
    lambda d, t: d.update(margin_floor="x"),
    lambda d, t: d.update(coefficients=[0.0] * 4),
    lambda d, t: d.update(coefficients=[float("inf")] * 5),
    lambda d, t: d.update(search_coefficients=None),
    lambda d, t: d.update(control={}),
    lambda d, t: d.pop("search_control"),
    lambda d, t: t.pop("weights"),
    lambda d, t: t.update(more=np.zeros(1, np.float32)),
    lambda d, t: t.update(weights=t["weights"] * np.nan),
    lambda d, t: t.update(weights=t["weights"][1:]),
    lambda d, t: t.update(ranges=t["ranges"].T),
    lambda d, t: t.update(curve=t["curve"][:, ::-1]),
    lambda d, t: t.update(search_curve=t["search_curve"] * 2),
]


@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_parts_that_were_changed(trust: Trust, damage: Any) -> None:
    described, tensors = trust.pack()
    damage(described, tensors)
    with pytest.raises((ValueError, KeyError, TypeError)):
        Trust.unpack(described, tensors, trust.profile)


# ---- one vector --------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "l2"])
@pytest.mark.parametrize("n", [600, 30])
def test_one_vector_is_trusted_as_much_alone_as_among_others(metric: str, n: int) -> None:
    world = World(metric)
    trust = world.fit(n)
    x = world.rows(200)
    rows = np.concatenate([x, 50 * x, 1e-6 * x, x + 3, -x])
    alone = [trust.one(row) for row in rows]
    assert all(one is not None and one.dtype == np.float32 for one in alone)
    np.testing.assert_allclose(np.array(alone), trust(rows), rtol=2e-4, atol=1e-6)


def test_a_vector_that_the_quick_way_cannot_tell_about_is_left_to_the_other(trust: Trust) -> None:
    for number in (0.0, np.nan, np.inf, 1e30):
        assert trust.one(np.full(D, number, np.float32)) is None


def test_a_profile_far_from_the_origin_is_left_to_the_other(world: World) -> None:
    rows = world.rows(2000) + 1000
    far = Profile.of_rows(rows, unit=False)
    model = fit_trust(world.chain, far, *(world.held_out(300) for _ in range(2)), metric="l2")
    assert model.one(rows[0]) is None
    assert 0 <= float(model(rows[0])) <= 1
