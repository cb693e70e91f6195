"""Moments: exact, and the same however the rows were grouped, merged, subtracted or weighted."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus import artefact
from isthmus.errors import InputError
from isthmus.moments import FoldMoments, Moments

NAMES = [
    *("mean_x", "mean_y", "xx", "xy", "yy", "square_x", "square_y"),
    *("quartic_xx", "quartic_xy", "quartic_yy", "cubic_xx", "cubic_xy", "cubic_yx", "cubic_yy"),
]


def paired(
    n: int, dx: int = 5, dy: int = 3, seed: int = 0, offset: float = 3.0, dtype: Any = np.float64
) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, dx)) * rng.uniform(0.2, 3, dx)
    y = x[:, :1] * rng.standard_normal(dy) + rng.standard_normal((n, dy))
    return (x + offset).astype(dtype), (y - 2 * offset).astype(dtype)


def by_definition(x: np.ndarray, y: np.ndarray, w: np.ndarray | None = None) -> dict[str, Any]:
    x, y = x.astype(np.float64), y.astype(np.float64)
    w = np.ones(len(x)) if w is None else w
    mean_x, mean_y = np.average(x, axis=0, weights=w), np.average(y, axis=0, weights=w)
    cx, cy = x - mean_x, y - mean_y
    a, b = (cx**2).sum(1), (cy**2).sum(1)
    return {
        "mean_x": mean_x,
        "mean_y": mean_y,
        "xx": (cx * w[:, None]).T @ cx,
        "xy": (cx * w[:, None]).T @ cy,
        "yy": (cy * w[:, None]).T @ cy,
        "square_x": w @ cx**2,
        "square_y": w @ cy**2,
        "quartic_xx": w @ (a * a),
        "quartic_xy": w @ (a * b),
        "quartic_yy": w @ (b * b),
        "cubic_xx": (w * a) @ cx,
        "cubic_xy": (w * a) @ cy,
        "cubic_yx": (w * b) @ cx,
        "cubic_yy": (w * b) @ cy,
    }


def assert_equal(m: Moments, expected: Any, tolerance: float = 1e-10) -> None:
    def value(source: Any, name: str) -> Any:
        return source.sum_of(name) if isinstance(source, Moments) else source[name]

    scale_x = np.sqrt(value(expected, "square_x").sum())
    scale_y = np.sqrt(value(expected, "square_y").sum())
    scales = {
        "cubic_xx": scale_x**3,
        "cubic_xy": scale_x**2 * scale_y,
        "cubic_yx": scale_y**2 * scale_x,
        "cubic_yy": scale_y**3,
    }
    for name in NAMES:
        right = value(expected, name)
        scale = scales.get(name, np.abs(right).max())
        assert np.abs(value(m, name) - right).max() <= tolerance * scale, name


def test_agrees_with_the_definition() -> None:
    x, y = paired(400)
    assert_equal(Moments.of(x, y), by_definition(x, y))


def test_weights_are_those_of_repeated_rows() -> None:
    x, y = paired(60)
    w = np.arange(60) % 4
    weighted = Moments.of(x, y, weights=w.astype(float))
    repeated = Moments.of(np.repeat(x, w, axis=0), np.repeat(y, w, axis=0))
    assert_equal(weighted, repeated)
    assert weighted.n == repeated.n == w.sum()
    assert_equal(weighted, by_definition(x, y, w.astype(float)))


@given(
    cuts=st.lists(st.integers(0, 200), max_size=6),
    order=st.randoms(use_true_random=False),
    offset=st.floats(-100, 100),
)
def test_any_grouping_and_order_agree(cuts: list[int], order: Any, offset: float) -> None:
    x, y = paired(200, offset=offset)
    edges = [0, *sorted(cuts), 200]
    parts = [Moments.of(x[a:b], y[a:b]) for a, b in pairwise(edges)]
    order.shuffle(parts)
    while len(parts) > 1:
        i = order.randrange(len(parts) - 1)
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    assert_equal(parts[0], Moments.of(x, y))
    assert parts[0].rows == 200


@given(cut=st.integers(1, 199), offset=st.floats(-100, 100))
def test_subtraction_undoes_merging(cut: int, offset: float) -> None:
    x, y = paired(200, offset=offset)
    rest = Moments.of(x, y) - Moments.of(x[:cut], y[:cut])
    other = Moments.of(x[cut:], y[cut:])
    whole = by_definition(x, y)
    for name in ("xx", "xy", "yy"):
        assert (
            np.abs(rest.sum_of(name) - other.sum_of(name)).max()
            <= 1e-10 * np.abs(whole[name]).max()
        )
    assert rest.rows == 200 - cut


def test_the_norm_profile_merges_and_finds_quantiles() -> None:
    x, y = paired(5000)
    whole = Moments.of(x, y).norms_x
    halves = (Moments.of(x[:1000], y[:1000]) + Moments.of(x[1000:], y[1000:])).norms_x
    assert whole is not None
    assert halves is not None
    np.testing.assert_array_equal(whole.counts, halves.counts)
    np.testing.assert_array_equal(whole.minimum, x.min(0))
    np.testing.assert_array_equal(halves.maximum, x.max(0))
    norms = np.linalg.norm(x, axis=1)
    for q in (0.01, 0.5, 0.99):
        assert whole.quantile(q) == pytest.approx(np.quantile(norms, q), rel=0.02)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mean_of_ten_thousand_spreads_costs_no_precision(dtype: Any) -> None:
    rng = np.random.default_rng(1)
    x = (1e4 + rng.standard_normal((20_000, 8))).astype(dtype)
    y = (x @ rng.standard_normal((8, 4)) - 1e4).astype(dtype)
    m, expected = Moments.of(x, y), by_definition(x, y)
    for name in ("xx", "xy", "yy"):
        scale = np.abs(expected[name]).max()
        assert np.abs(m.sum_of(name) - expected[name]).max() <= 1e-6 * scale, name


def test_float32_rows_lose_only_rounding() -> None:
    x, y = paired(30_000, 32, 16, offset=0.3, dtype=np.float32)
    assert_equal(Moments.of(x, y), by_definition(x, y), tolerance=1e-6)
    in_batches = Moments(32, 16)
    for start in range(0, 30_000, 777):
        in_batches.update(x[start : start + 777], y[start : start + 777])
    assert_equal(in_batches, by_definition(x, y), tolerance=1e-6)


def test_large_values_do_not_overflow_float32() -> None:
    x, y = paired(100, dtype=np.float32)
    m = Moments.of(x * np.float32(1e25), y)
    expected = by_definition(x.astype(np.float64) * 1e25, y)
    np.testing.assert_allclose(m.xx, expected["xx"], rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-20, 1e-25])
def test_small_values_lose_no_digits_in_float32(scale: float) -> None:
    """Squares of these rows are subnormal in float32, or zero."""
    x, y = paired(100, dtype=np.float32)
    m = Moments.of(x * np.float32(scale), y)
    expected = by_definition(x.astype(np.float64) * scale, y)
    for name in ("xx", "xy", "quartic_xx"):
        np.testing.assert_allclose(m.sum_of(name), expected[name], rtol=1e-5)


def test_cubes_do_not_overflow_float32() -> None:
    """Squares of these rows fit float32, their fourth-order sums do not."""
    x, y = paired(100, dtype=np.float32)
    m = Moments.of(x * np.float32(1e14), y)
    expected = by_definition(x.astype(np.float64) * 1e14, y)
    for name in ("quartic_xx", "cubic_xx", "cubic_xy"):
        np.testing.assert_allclose(
            m.sum_of(name), expected[name], rtol=1e-3, atol=1e-4 * np.abs(expected[name]).max()
        )


def test_what_overflows_float64_is_refused() -> None:
    x, y = paired(100)
    with pytest.raises(InputError, match="overflow float64"):
        Moments.of(x * 1e200, y)


def test_keeping_less_gives_the_same_numbers() -> None:
    x, y = paired(100)
    only = Moments.of(x, y, keep={"xy"})
    np.testing.assert_allclose(only.xy, Moments.of(x, y).xy, rtol=1e-12)
    with pytest.raises(InputError, match="'square'"):
        _ = only.second().variance_x
    wider = Moments.of(x, y, keep={"square"})
    np.testing.assert_allclose(wider.second().x.variance, x.var(0), rtol=1e-10)
    y[3, 1] = np.inf
    for keep in ({"xy"}, {"square"}, set[str]()):
        with pytest.raises(InputError, match="y, row 3"):
            Moments.of(x, y, keep=keep)
    with pytest.raises(InputError, match="'xx'"):
        _ = only.xx


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries_stay_where_they_are(library: str) -> None:
    xp = pytest.importorskip(library)
    x, y = paired(300)
    m = Moments(5, 3)
    for rows in (slice(0, 100), slice(100, 300)):
        m.update(xp.asarray(x[rows]), xp.asarray(y[rows]))
    assert type(m._sums["xy"]) is type(xp.asarray(x))
    assert_equal(m, by_definition(x, y))
    w = np.linspace(0, 1, 300)
    weighted = Moments.of(xp.asarray(x), xp.asarray(y), weights=xp.asarray(w))
    assert_equal(weighted, by_definition(x, y, w))
    assert_equal(m + Moments.of(x, y), Moments.of(np.vstack([x, x]), np.vstack([y, y])))
    folds = FoldMoments(5, 3, 3)
    folds.update(np.arange(300), xp.asarray(x), xp.asarray(y))
    assert_equal(folds.total, by_definition(x, y))


def test_saved_moments_come_back_and_merge(tmp_path: Any) -> None:
    x, y = paired(300)
    Moments.of(x[:100], y[:100]).save(tmp_path / "a")
    Moments.of(x[100:], y[100:]).save(tmp_path / "b")
    total = Moments.load(tmp_path / "a") + Moments.load(tmp_path / "b")
    assert_equal(total, Moments.of(x, y))
    assert total.norms_x is not None
    assert total.norms_x.counts.sum() == 300
    Moments.load(tmp_path / "a").save(tmp_path / "again")
    for file in (tmp_path / "a").iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()


def test_saved_moments_of_few_sums_or_no_rows_come_back(tmp_path: Any) -> None:
    x, y = paired(300)
    Moments.of(x, y, keep={"xy"}).save(tmp_path / "a")
    few = Moments.load(tmp_path / "a")
    assert few.keep == {"xy"}
    np.testing.assert_array_equal(few.xy, Moments.of(x, y, keep={"xy"}).xy)
    assert few.norms_x is None
    Moments(5, 3).save(tmp_path / "none")
    assert_equal(Moments.load(tmp_path / "none").update(x, y), Moments.of(x, y))


@pytest.mark.parametrize(
    "change",
    [
        lambda d, t: d.update(dx=4),
        lambda d, t: d.update(dx=0),
        lambda d, t: d.update(dy=2**60),
        lambda d, t: d.update(keep=["all"]),
        lambda d, t: d.update(rows="many"),
        lambda d, t: d.pop("n"),
        lambda d, t: t.update(more=np.zeros(1)),
        lambda d, t: t.update(xx=t["xx"].astype(np.float32)),
        lambda d, t: t.update(xx=t["xx"][:, :-1]),
        lambda d, t: t.pop("norms_x/counts"),
        lambda d, t: t.update({"norms_x/minimum": np.zeros(4)}),
    ],
)
def test_moments_that_were_forged(tmp_path: Any, change: Any) -> None:
    described, tensors = Moments.of(*paired(30)).pack()
    change(described, tensors)
    artefact.write(tmp_path / "a", "set of moments", described, tensors)
    with pytest.raises(InputError, match="a: the set of moments is damaged"):
        Moments.load(tmp_path / "a")


def test_bad_rows_are_named_and_leave_the_sums_untouched() -> None:
    x, y = paired(20_000)
    m = Moments.of(x[:10], y[:10])
    before = m.xx.copy()
    y[15_000, 1] = np.nan
    with pytest.raises(InputError, match=r"y, row 15000: .*NaN"):
        m.update(x, y)
    np.testing.assert_array_equal(m.xx, before)
    assert m.rows == 10
    with pytest.raises(InputError, match="dtype int64"):
        m.update(np.ones((3, 5), dtype=np.int64), y[:3])
    with pytest.raises(InputError, match="widths 5 and 3"):
        m.update(x[:3, :2], y[:3])
    with pytest.raises(InputError, match="3 and 2 rows"):
        m.update(x[:3], y[:2])
    with pytest.raises(InputError, match="weights"):
        m.update(x[:3], y[:3], weights=np.array([1.0, -1.0, 1.0]))
    with pytest.raises(InputError, match="take"):
        _ = m - Moments.of(x[:50], y[:50])


def test_empty_and_single_rows() -> None:
    x, y = paired(5)
    m = Moments(5, 3).update(x[:0], y[:0])
    assert m.rows == 0
    with pytest.raises(InputError, match="no rows"):
        _ = m.xx
    m.update(x[:1], y[:1])
    np.testing.assert_array_equal(m.xx, np.zeros((5, 5)))
    np.testing.assert_allclose(m.mean_x, x[0])


def test_a_mean_that_wanders_between_blocks_costs_no_precision() -> None:
    """The point that a block is taken about is the mean so far, which may be far from its own."""
    rng = np.random.default_rng(2)
    drift = np.repeat([0.0, 3e3, -1e4, 1e4, 1e4], 400)[:, None]
    x = (drift + rng.standard_normal((2000, 6))).astype(np.float32)
    y = (x[:, :3] - drift + 0.1 * rng.standard_normal((2000, 3))).astype(np.float32)
    m = Moments(6, 3)
    for start in range(0, 2000, 250):
        m.update(x[start : start + 250], y[start : start + 250])
    expected = by_definition(x, y)
    for name in ("xx", "xy", "yy", "square_x"):
        scale = np.abs(expected[name]).max()
        assert np.abs(m.sum_of(name) - expected[name]).max() <= 1e-6 * scale, name


def test_chosen_rows_are_those_rows() -> None:
    x, y = paired(3000)
    w = np.random.default_rng(3).uniform(0, 2, 3000)
    which = np.random.default_rng(4).permutation(3000)[:2100]
    for weights in (None, w):
        chosen = Moments(5, 3).update_rows(x, y, which, weights=weights)
        taken = None if weights is None else weights[which]
        assert_equal(chosen, by_definition(x[which], y[which], taken))
    x[which[7], 2] = np.nan
    with pytest.raises(InputError, match=rf"x, row {which[7]}: .*NaN"):
        Moments(5, 3).update_rows(x, y, which)


def test_a_side_without_columns_is_summed_as_nothing() -> None:
    """Moments of one side alone, as the choice of the next items takes them."""
    rows = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    alone = Moments.of(rows, rows[:, :0])
    np.testing.assert_allclose(alone.xx, (rows - rows.mean(0)).T @ (rows - rows.mean(0)), atol=1e-4)
    assert alone.yy.shape == (0, 0)
