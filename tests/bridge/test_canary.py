"""Canaries: is this the very model of the fit?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.bridge import Bridge, Canary, Fitting, fit
from isthmus.errors import WrongSpaceError


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
    canary = fit(Pairs(x, y, ids=names), fitting=Fitting(canary_items=texts)).canary
    assert canary is not None
    assert canary.named
    rows = [names.index(name) for name in canary.ids]
    assert len(rows) == 8
    np.testing.assert_array_equal(canary.source, x[rows])
    np.testing.assert_array_equal(canary.target, y[rows])
    assert canary.items == tuple(texts[name] for name in canary.ids)
    assert fit(Pairs(x, y, ids=names), fitting=Fitting(canary_items={})).canary.items is None


def test_row_numbers_are_no_names(bridge: Bridge) -> None:
    assert bridge.canary is not None
    assert not bridge.canary.named
