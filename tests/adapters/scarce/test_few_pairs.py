"""A few pairs and two pools: better than the pairs alone, and never worse by its own check."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.chain import Chain
from isthmus.adapters.pipeline import fit_chain, fit_front
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.scarce.few_pairs import FewPairsMap, FewPairsOptions, refine_few_pairs
from isthmus.errors import InputError
from isthmus.moments import Moments

FAST: dict[str, Any] = {"pool_rows": 250, "folds": 4}

Make = Callable[..., Any]


def refined(*sides: Any, **options: Any) -> FewPairsMap:
    how = {k: options.pop(k) for k in list(options) if k in FewPairsOptions.__dataclass_fields__}
    return refine_few_pairs(*sides, options=FewPairsOptions(**how), **options)


def top1(mapped: np.ndarray, target: np.ndarray) -> float:
    """Share of the rows whose nearest target row, by cosine, is their own."""
    target = target / np.linalg.norm(target, axis=1, keepdims=True)
    return float(((mapped @ target.T).argmax(axis=1) == np.arange(len(target))).mean())


def pairs_alone(x: np.ndarray, y: np.ndarray) -> Chain:
    recipe = Recipe.parse("unit_norm | center | unit_norm | center | procrustes | unit_norm")

    def moments(on_x: Chain, on_y: Chain) -> Any:
        return Moments.of(on_x(x), on_y(y)).second()

    front = fit_front(recipe.front, moments, cosine=True)
    return fit_chain(recipe, front, moments(front.x, front.y))


def fitted(t: Any, k: int, *, same_items: bool = False, **options: Any) -> FewPairsMap:
    """Fit on the first ``k`` items; items from 800 on stay unseen."""
    rng = np.random.default_rng(5)
    pool_y = rng.permutation(t.y[100:450] if same_items else t.y[450:800])
    return refined(t.x[:k], t.y[:k], t.x[100:450], pool_y, **{**FAST, **options})


@pytest.mark.parametrize(("dx", "dy"), [(24, 24), (24, 32), (32, 24)])
@pytest.mark.parametrize("same_items", [True, False])
def test_pools_do_what_ten_times_the_pairs_would(
    twins: Make, dx: int, dy: int, same_items: bool
) -> None:
    t = twins(1100, dx, dy, noise=0.05)
    found = fitted(t, 8, same_items=same_items)
    unseen = t._replace(x=t.x[800:], y=t.y[800:])
    alone = top1(pairs_alone(t.x[:8], t.y[:8])(unseen.x), unseen.y)
    assert alone < 0.4
    assert top1(found.transform(unseen.x), unseen.y) > 0.85
    assert found.gain.value is not None and found.gain.value > 0.4
    assert found.method != "procrustes"
    assert found.chain.products == 1


def test_the_interval_of_the_gain_is_that_of_paired_outcomes(twins: Make) -> None:
    """Eight resampled pairs hold the truth in 82 to 85 % of draws; twelve show a large gain."""
    t = twins(1100, 24, 32, noise=0.05)
    few, more = (fitted(t, k, same_items=True).gain for k in (8, 12))
    for gain in (few, more):
        assert gain.value is not None and gain.low is not None and gain.high is not None
        assert gain.low < gain.value < gain.high
    assert few.high - few.low > 0.5 and more.low > 0


def test_the_map_ends_in_the_coordinates_of_the_index(twins: Make) -> None:
    t = twins(1100, noise=0.02)
    mapped = fitted(t, 12, same_items=True).transform(t.x[800:])
    np.testing.assert_allclose(np.linalg.norm(mapped, axis=1), 1, atol=1e-5)
    # the twins have common means of their own, which a map between centred frames must put back
    assert np.einsum("ij,ij->i", mapped, t.y[800:]).mean() > 0.97


def test_distances_keep_their_scale_without_cosine(twins: Make) -> None:
    t = twins(1100, noise=0.02)
    t = t._replace(y=7 * t.y + 3)
    found = fitted(t, 12, same_items=True, cosine=False)
    error = ((found.transform(t.x[800:]) - t.y[800:]) ** 2).sum()
    assert error < 0.05 * ((t.y[800:] - t.y[800:].mean(axis=0)) ** 2).sum()


def test_by_its_own_check_it_is_never_worse_than_the_pairs_alone(twins: Make) -> None:
    for seed in range(2):
        t = twins(1100, noise=0.05, seed=seed)
        found = fitted(t, 6 + seed)
        assert found.scores[found.method] >= found.scores["procrustes"]
        assert found.scores[found.method] == max(found.scores.values())


def test_pools_that_mislead_are_not_used(twins: Make) -> None:
    t = twins(1100, noise=0.02)
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((2, 300, 24))
    known = slice(0, 90)
    found = refined(t.x[known], t.y[known], noise[0], noise[1], **FAST)
    assert found.method == "procrustes"
    assert found.pseudo_pairs == found.rounds == 0
    assert found.gain.value == 0
    np.testing.assert_allclose(
        found.transform(t.x[800:]), pairs_alone(t.x[known], t.y[known])(t.x[800:]), atol=1e-5
    )


def test_held_out_scores_are_of_maps_that_did_not_see_the_pair(twins: Make) -> None:
    """Targets of the anchors that mean nothing: a map that had seen them would find them."""
    t = twins(1100, noise=0.02)
    wrong = np.random.default_rng(1).standard_normal((40, 24)).astype(np.float32)
    found = refined(t.x[:40], wrong, t.x[100:300], t.y[300:500], **FAST)
    assert max(found.top1.values()) < 0.15


def test_equal_input_and_seed_give_the_same_map(twins: Make) -> None:
    t = twins(1100)
    a, b = fitted(t, 6), fitted(t, 6)
    np.testing.assert_array_equal(a.transform(t.x), b.transform(t.x))
    assert str(a) == str(b)
    assert a.method in str(a)
    assert "6 pairs" in str(a)


def test_one_to_one_matching_is_tried_up_to_twenty_pairs(twins: Make) -> None:
    t = twins(1100)
    assert "assignment" in fitted(t, 20).scores
    assert "assignment" not in fitted(t, 21).scores


def test_repeated_pairs_count_once(twins: Make) -> None:
    t = twins(1100)
    rows = np.r_[0:6, 0:6, 3]
    found = refined(t.x[rows], t.y[rows], t.x[100:300], t.y[300:500], **FAST)
    assert (found.n_pairs, found.duplicates) == (6, 7)
    with pytest.raises(InputError, match=r"4 distinct pair\(s\) are too few.*align_unpaired"):
        refined(t.x[[0, 1, 2, 3] * 3], t.y[[0, 1, 2, 3] * 3], t.x[100:300], t.y[300:500])
    with pytest.raises(InputError, match="only 1 different items"):
        refined(t.x[[0] * 8], t.y[:8], t.x[100:300], t.y[300:500])


def test_pools_may_be_smaller_than_the_anchors_and_hold_them(twins: Make) -> None:
    t = twins(1100, noise=0.02)
    found = refined(t.x[:60], t.y[:60], t.x[58:64], t.y[55:63], **FAST)
    assert found.pools == (4, 3)
    with pytest.raises(InputError, match="pool_y: no unpaired vector is left besides the anchors"):
        refined(t.x[:60], t.y[:60], t.x[58:64], t.y[:50], **FAST)


def test_two_identical_sides_need_no_map(twins: Make) -> None:
    t = twins(1100)
    found = refined(t.x[:30], t.x[:30], t.x[100:300], t.x[300:500], **FAST)
    assert top1(found.transform(t.x[800:]), t.x[800:]) > 0.99
    assert found.n_pairs == 30


def test_half_precision_is_widened(twins: Make) -> None:
    t = twins(1100)
    x, y = t.x.astype(np.float16), t.y.astype(np.float16)
    found = refined(x[:8], y[:8], x[100:300], y[300:500], **FAST)
    assert found.transform(x[:3]).dtype == np.float32


def test_bad_input_is_refused_with_its_place(twins: Make) -> None:
    t = twins(1100)
    good = (t.x[:8], t.y[:8], t.x[100:300], t.y[300:500])

    def refused(says: str, **changed: np.ndarray) -> None:
        names = ("anchors_x", "anchors_y", "pool_x", "pool_y")
        arguments = [changed.get(n, g) for n, g in zip(names, good, strict=True)]
        with pytest.raises(InputError, match=says):
            refined(*arguments, **FAST)

    with_nan, with_zero = t.x[100:300].copy(), t.x[100:300].copy()
    with_nan[7, 3], with_zero[9] = np.nan, 0
    refused("pool_x, row 7.*nan", pool_x=with_nan)
    refused("pool_x, row 9.*all zeros", pool_x=with_zero)
    refused(
        "anchors_y, row 2.*all zeros", anchors_y=np.where(np.arange(8)[:, None] == 2, 0, good[1])
    )
    refused("anchors_x has 8 rows and anchors_y 7", anchors_y=good[1][:7])
    refused("wide, expected 24", pool_y=np.ones((9, 5), np.float32))
    refused("4 distinct", anchors_x=good[0][:4], anchors_y=good[1][:4])
    refused(r"pool_x: expected an array of shape", pool_x=np.ones(4, np.float32))
    refused("pool_y: no unpaired", pool_y=good[3][:0])
    flat = np.ones((50, 24), np.float32)
    refused("only 1 different items", anchors_y=flat[:8])
    refused("expected float32", pool_x=np.ones((9, 24), np.int64))
    with pytest.raises(InputError, match="at least 1 neighbour"):
        refined(*good, neighbours=0)


def test_a_pool_of_equal_vectors_still_leaves_the_anchors_to_match_by(twins: Make) -> None:
    t = twins(1100)
    flat = np.tile(t.y[700], (50, 1))
    found = refined(t.x[:40], t.y[:40], t.x[100:300], flat, **FAST)
    assert np.isfinite(found.transform(t.x)).all()
