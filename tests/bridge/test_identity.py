"""Fingerprints and canaries: whose vectors are these?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus.bridge import Bridge, Canary, Fingerprint, fit
from isthmus.errors import WrongSpaceError


@pytest.mark.parametrize("unit", [False, True])
def test_the_score_is_one_at_home_and_as_announced_elsewhere(world: Any, unit: bool) -> None:
    x = world.seen("x", world.latent(4000))
    mine = Fingerprint.of(x[:2000], unit=unit)
    assert mine is not None
    assert 0.7 < mine.typical < 1.3
    assert mine.score(x[2000:]) == pytest.approx(mine.typical, rel=0.15)
    turned = x[2000:] @ np.linalg.qr(world.rng.standard_normal((24, 24)))[0]
    assert 0.2 * mine.foreign < mine.score(turned) < 5 * mine.foreign
    assert mine.is_foreign(turned)
    assert not mine.is_foreign(x[2000:])


def test_a_space_without_empty_directions_has_no_fingerprint_to_speak_of() -> None:
    """White vectors look alike under every rotation: nothing must be refused."""
    rng = np.random.default_rng(0)
    white = Fingerprint.of(rng.standard_normal((3000, 24)), unit=False)
    assert white is not None
    assert not white.conclusive
    assert not white.is_foreign(100 * rng.standard_normal((50, 24)))


def test_too_few_or_constant_rows_have_none() -> None:
    rng = np.random.default_rng(0)
    assert Fingerprint.of(rng.standard_normal((39, 8)), unit=False) is None
    assert Fingerprint.of(np.ones((100, 8)), unit=False) is None
    assert Fingerprint.of(rng.standard_normal((40, 8)), unit=False) is not None


def test_fewer_rows_than_dimensions_refuse_no_row_of_their_own(
    make_world: Callable[..., Any],
) -> None:
    world = make_world(64, 64)
    few = Fingerprint.of(world.seen("x", world.latent(60)), unit=True)
    assert few is not None
    assert not few.is_foreign(world.seen("x", world.latent(500)))


def test_constant_columns_and_a_large_mean_do_not_matter(world: Any) -> None:
    x = world.seen("x", world.latent(2000)).astype(np.float64)
    x[:, 3] = 7
    mine = Fingerprint.of(x[:1000], unit=False)
    assert mine is not None
    assert not mine.is_foreign(x[1000:])
    assert mine.is_foreign(np.roll(x[1000:], 1, axis=1))


# ---- canaries ----------------------------------------------------------------------------------


@pytest.fixture
def canary(rng: np.random.Generator) -> Canary:
    source = rng.standard_normal((3, 6)).astype(np.float32)
    return Canary(("a", "b", "c"), source, source[:, :4], ("text a", "text b", "text c"))


def test_the_right_vectors_pass_up_to_quantisation(canary: Canary) -> None:
    assert canary.check(dict(zip("abc", canary.source, strict=True))) == pytest.approx(1)
    rough = dict(zip("abc", (canary.source * 3).astype(np.float16), strict=True))
    assert 0.999 < canary.check(rough) <= 1
    assert canary.check({}) == 1
    assert canary.check({"elsewhere": np.zeros(2)}) == 1


def test_another_vector_is_refused_by_name(canary: Canary) -> None:
    wrong = {"a": canary.source[0], "b": -canary.source[1], "c": canary.source[2]}
    with pytest.raises(WrongSpaceError, match=r"canary 'b': its vector has cosine -1\.000"):
        canary.check(wrong)
    for broken in (np.full(6, np.nan), np.zeros(6)):
        with pytest.raises(WrongSpaceError, match="canary 'c'"):
            canary.check({"c": broken})
    with pytest.raises(WrongSpaceError, match=r"canary 'a': the vector is 5 wide, .* expects 6"):
        canary.check({"a": np.ones(5)})
    near = canary.source[0] + 0.3 * np.abs(canary.source[0])
    assert canary.check({"a": near}, least=0.5) < 1
    with pytest.raises(WrongSpaceError):
        canary.check({"a": near}, least=0.9999)


def test_items_can_be_encoded_again(canary: Canary) -> None:
    asked: list[Any] = []

    def encode(texts: Any) -> np.ndarray:
        asked.append(tuple(texts))
        return canary.source

    assert canary.verify(encode) == pytest.approx(1)
    assert asked == [("text a", "text b", "text c")]
    with pytest.raises(WrongSpaceError):
        canary.verify(lambda _: canary.source[::-1])
    bare = Canary(canary.ids, canary.source, canary.target)
    with pytest.raises(WrongSpaceError, match="stores no canary items"):
        bare.verify(encode)


def test_a_fit_keeps_canaries_of_its_own_items(world: Any) -> None:
    z = world.latent(800)
    names = [f"item {i}" for i in range(800)]
    x, y = world.seen("x", z), world.seen("y", z)
    from isthmus.spaces.pairs import Pairs

    texts = {name: f"the text of {name}" for name in names}
    canary = fit(Pairs(x, y, ids=names), canary_items=texts).canary
    assert canary is not None
    assert canary.named
    rows = [names.index(name) for name in canary.ids]
    assert len(rows) == 8
    np.testing.assert_array_equal(canary.source, x[rows])
    np.testing.assert_array_equal(canary.target, y[rows])
    assert canary.items == tuple(texts[name] for name in canary.ids)
    assert fit(Pairs(x, y, ids=names), canary_items={}).canary.items is None


def test_row_numbers_are_no_names(bridge: Bridge) -> None:
    assert bridge.canary is not None
    assert not bridge.canary.named
