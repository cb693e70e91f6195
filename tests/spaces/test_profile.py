"""One profile: whose rows these are, how long they are, and the same after a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.bridge.conftest import World

from isthmus.errors import InputError
from isthmus.spaces.contract import Space
from isthmus.spaces.profile import Profile


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("unit", [False, True])
def test_the_score_is_one_at_home_and_as_announced_elsewhere(world: World, unit: bool) -> None:
    x = world.seen("x", world.latent(4000))
    mine = Profile.of_rows(x[:2000], unit=unit)
    assert mine.typical is not None
    assert 0.7 < mine.typical < 1.3
    # 250 rows are looked at each time, so single scores scatter
    scores = [mine.score(x[start::8]) for start in range(2000, 2008)]
    assert np.mean(scores) == pytest.approx(mine.typical, rel=0.15)
    turned = x[2000:] @ np.linalg.qr(world.rng.standard_normal((24, 24)))[0]
    assert 0.2 * mine.foreign < mine.score(turned) < 5 * mine.foreign
    assert mine.is_foreign(turned)
    assert not mine.is_foreign(x[2000:])


def test_a_space_without_empty_directions_refuses_nothing() -> None:
    """White vectors look alike under every rotation: nothing must be refused."""
    rng = np.random.default_rng(0)
    white = Profile.of_rows(rng.standard_normal((3000, 24)), unit=False)
    assert not white.conclusive
    assert not white.is_foreign(100 * rng.standard_normal((50, 24)))


def test_too_few_or_constant_rows_refuse_nothing() -> None:
    rng = np.random.default_rng(0)
    other = 100 * rng.standard_normal((50, 8))
    for rows in (rng.standard_normal((39, 8)), np.ones((100, 8))):
        few = Profile.of_rows(rows, unit=False)
        assert not few.conclusive
        assert not few.is_foreign(other)
    told = rng.standard_normal((40, 8)) * np.geomspace(1, 0.01, 8)
    assert Profile.of_rows(told[:39], unit=False).typical is None
    assert Profile.of_rows(told, unit=False).typical is not None
    with pytest.raises(InputError, match="needs 2 rows"):
        Profile.of_rows(np.ones((1, 8)), unit=False)


def test_rows_that_are_not_finite_never_pass_the_test(world: World) -> None:
    x = world.seen("x", world.latent(1000))
    mine = Profile.of_rows(x, unit=True)
    assert mine.conclusive
    assert mine.is_foreign(np.full((3, 24), np.nan))


def test_fewer_rows_than_dimensions_refuse_no_row_of_their_own() -> None:
    world = World(64, 64)
    few = Profile.of_rows(world.seen("x", world.latent(60)), unit=True)
    assert not few.is_foreign(world.seen("x", world.latent(500)))


def test_constant_columns_and_a_large_mean_do_not_matter(world: World) -> None:
    x = world.seen("x", world.latent(2000)).astype(np.float64)
    x[:, 3] = 7
    mine = Profile.of_rows(x[:1000], unit=False)
    assert mine.typical is not None
    assert not mine.is_foreign(x[1000:])
    assert mine.is_foreign(np.roll(x[1000:], 1, axis=1))


# ---- the decomposition -------------------------------------------------------------------------


def test_the_spectrum_is_that_of_the_covariance(rng: np.random.Generator) -> None:
    x = rng.standard_normal((39, 12)) * np.geomspace(3, 0.1, 12)  # too few to hold any out
    mine = Profile.of_rows(x, unit=False)
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    np.testing.assert_allclose(mine.spectrum, values[::-1], rtol=1e-4, atol=1e-6)
    for found, expected in ((mine.full, vectors[:, :-8:-1]), (mine.empty, vectors[:, 1::-1])):
        np.testing.assert_allclose(np.abs((found * expected).sum(axis=0)), 1, atol=1e-4)
    np.testing.assert_allclose(mine.mean, x.mean(axis=0), rtol=1e-5, atol=1e-6)
    assert mine.n == 39


@pytest.mark.parametrize(("n", "d"), [(60, 400), (3, 50), (90, 300)])
def test_few_rows_of_a_wide_space_are_decomposed_in_their_span(
    rng: np.random.Generator, n: int, d: int
) -> None:
    rows = (rng.standard_normal((n, d)) * np.linspace(3, 0.1, d) + 1).astype(np.float32)
    found = Profile.of_rows(rows, unit=False)
    seen = rows if n < 40 else np.delete(rows, np.arange(4, n, 5), axis=0)
    values, vectors = np.linalg.eigh(np.cov(seen.T.astype(float), bias=True))
    np.testing.assert_allclose(found.spectrum, np.maximum(values[::-1], 0), atol=1e-4)
    used = min(len(seen) - 1, found.full.shape[1])
    alike = np.abs(np.einsum("ij,ij->j", found.full[:, :used], vectors[:, ::-1][:, :used]))
    np.testing.assert_allclose(alike, 1, atol=1e-3)
    # the last directions are of unit length, and no row uses them
    np.testing.assert_allclose(found.empty.T @ found.empty, np.eye(found.empty.shape[1]), atol=1e-5)
    assert np.abs((seen - seen.mean(axis=0)) @ found.empty).max() < 1e-4


def test_a_rotation_turns_directions_and_leaves_the_spectrum(rng: np.random.Generator) -> None:
    x = rng.standard_normal((400, 12)) * np.geomspace(3, 0.1, 12)
    turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    mine, turned = (Profile.of_rows(rows, unit=True) for rows in (x, x @ turn))
    np.testing.assert_allclose(mine.spectrum, turned.spectrum, rtol=1e-3, atol=1e-6)
    assert mine.typical == pytest.approx(turned.typical, rel=1e-3)
    np.testing.assert_allclose(mine.lengths, turned.lengths, rtol=1e-6)


def test_a_contract_from_a_profile_is_that_of_its_rows(rng: np.random.Generator) -> None:
    x = rng.standard_normal((39, 6)).astype(np.float32)
    mine = Space.from_profile(Profile.of_rows(x, unit=False), "a", "l2")
    described = Space.describe(x, "a", "l2")
    assert mine.ranges.norm_quantiles == described.ranges.norm_quantiles
    assert mine.ranges.norm_max == described.ranges.norm_max
    assert mine.ranges.mean_norm == pytest.approx(described.ranges.mean_norm, rel=1e-5)
    assert not mine.normalised
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert Space.from_profile(Profile.of_rows(unit, unit=True), "a", "cosine").normalised


# ---- files -------------------------------------------------------------------------------------


def packed(rng: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    described, tensors = Profile.of_rows(rng.standard_normal((100, 24)), unit=True).pack()
    return dict(described), {name: tensor.copy() for name, tensor in tensors.items()}


def test_a_profile_is_the_same_after_a_file(rng: np.random.Generator) -> None:
    x = rng.standard_normal((300, 24)) * np.geomspace(1, 0.01, 24)
    mine = Profile.of_rows(x, unit=True)
    again = Profile.unpack(*mine.pack(), 24)
    assert again.score(x[:50]) == mine.score(x[:50])
    assert (again.typical, again.foreign, again.lengths) == (
        mine.typical,
        mine.foreign,
        mine.lengths,
    )
    for one, other in zip(again.coordinates(x), mine.coordinates(x), strict=True):
        np.testing.assert_array_equal(one, other)
    few = replace(mine, typical=None)
    assert Profile.unpack(*few.pack(), 24).typical is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 0),
        ("n", True),
        ("n", 2.5),
        ("unit", 1),
        ("typical", float("nan")),
        ("typical", float("inf")),
        ("typical", -1.0),
        ("typical", 10**400),
        ("lengths", [1.0]),
        ("lengths", [float("nan")] * 7),
        ("mean", np.full(24, np.nan, np.float32)),
        ("mean", np.zeros(23, np.float32)),
        ("spectrum", np.arange(24, dtype=np.float32)),
        ("spectrum", -np.ones(24, np.float32)),
        ("full", np.zeros((24, 0), np.float32)),
        ("empty", np.zeros((24, 25), np.float32)),
        ("empty", np.zeros(24, np.float32)),
        ("other", np.zeros(3, np.float32)),
    ],
)
def test_what_was_changed_is_refused(rng: np.random.Generator, name: str, value: Any) -> None:
    described, tensors = packed(rng)
    (tensors if isinstance(value, np.ndarray) else described)[name] = value
    with pytest.raises((KeyError, TypeError, ValueError, OverflowError)):
        Profile.unpack(described, tensors, 24)


@pytest.mark.parametrize("name", ["n", "unit", "lengths", "typical", "mean", "empty"])
def test_what_is_missing_is_refused(rng: np.random.Generator, name: str) -> None:
    described, tensors = packed(rng)
    (tensors if name in tensors else described).pop(name)
    with pytest.raises(KeyError):
        Profile.unpack(described, tensors, 24)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("value", [0.3, 7e4])
def test_a_spread_of_rounding_size_is_no_spread(unit: bool, value: float) -> None:
    same = np.full((50, 12), value, np.float32)
    profile = Profile.of_rows(same, unit=unit)
    coordinates, rest, distance = profile.coordinates(same)
    assert max(np.abs(coordinates).max(), rest.max(), distance.max()) < 0.02


def test_rows_of_another_model_among_others_are_named() -> None:
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, 97) ** -0.8
    turns = [np.linalg.qr(rng.standard_normal((96, 96)))[0] for _ in range(2)]
    mine, others = (rng.standard_normal((3000, 96)) * spectrum @ turn for turn in turns)
    profile = Profile.of_rows(mine[:2000], unit=False)
    assert not len(profile.strays(mine[2000:]))
    for share in (50, 400):
        mixed = np.concatenate([mine[2000:], others[:share]])
        found = profile.strays(mixed)
        assert np.mean(found >= 1000) > 0.98
        assert len(found) >= 0.95 * share


def test_odd_rows_of_the_same_model_are_not_of_another() -> None:
    """Lengths of many sizes bring some rows past any line, and more of them shortly before it."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, 97) ** -0.8
    rows = rng.standard_normal((4000, 96)) * spectrum
    profile = Profile.of_rows(rows[:2000], unit=False)
    odd = rows[2000:] * rng.lognormal(0.0, 0.5, (2000, 1))
    past = np.mean([profile.is_foreign(row[None]) for row in odd[:500]])
    assert past > 0.03
    assert not len(profile.strays(odd))


def test_a_few_odd_rows_may_be_of_the_model_and_many_show_another() -> None:
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, 97) ** -0.8
    rows, others = (
        rng.standard_normal((2032, 96)) * scale for scale in (spectrum, rng.permutation(spectrum))
    )
    profile = Profile.of_rows(rows[:2000], unit=False)
    odd = rows[2000:] * (1.3 * (profile.foreign / profile.score(rows)) ** 0.25)
    assert all(profile.may_be(row[None]) for row in odd)
    assert np.mean([profile.is_foreign(row[None]) for row in odd]) > 0.5
    for n in (32, 2000):
        assert profile.is_foreign(others[:n]) and not profile.may_be(others[:n])
        assert profile.may_be(rows[:n])
    # of as many as 32 nothing odd is believed any more
    assert profile.is_foreign(odd) and not profile.may_be(odd)


def test_rows_that_stand_twice_are_not_typical_of_themselves() -> None:
    """A log names a query for every click: its copies say nothing of further queries."""
    rng = np.random.default_rng(0)
    turn = rng.standard_normal((96, 96)) * np.logspace(0, -2, 96)
    rows = (rng.standard_normal((100, 96)) @ turn.T).astype(np.float32)
    once = Profile.of_rows(rows, unit=True)
    twice = Profile.of_rows(np.concatenate([rows, rows[rng.permutation(100)]]), unit=True)
    assert once.typical is not None and twice.typical is not None
    assert twice.typical == pytest.approx(once.typical, rel=0.05)
