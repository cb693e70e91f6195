"""The one call: values against independent definitions, streaming, and bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import FoldMoments, Moments
from isthmus.similarity import MEASURES, MOMENT_KEEP, Comparison, RowSampling, compare
from isthmus.spaces.pairs import Pairs

CCA = ("mean_cca", "yanai", "svcca", "pwcca")
FAST = {"sampling": RowSampling(k=5, permutations=5)}


def test_every_measure_is_compared_with_a_definition(definitions: Any) -> None:
    assert set(definitions) == set(MEASURES)


def test_agrees_with_the_definition(case: Any, definitions: Any) -> None:
    x, y = case
    found = compare(x, y, **FAST)
    assert list(found) == list(MEASURES)
    for name, result in found.items():
        if len(x) <= x.shape[1] and name in CCA:
            assert result.value is None or name == "svcca"
        if result.value is None:
            assert len(x) <= x.shape[1], name
            continue
        exact = 1e-9 if abs(x).max() < 1e3 else 2e-6  # a mean of 10⁴ spreads costs four digits
        assert result.value == pytest.approx(definitions[name](x, y), abs=exact, rel=exact), name


def test_float32_rows_lose_only_rounding(case: Any, definitions: Any) -> None:
    x, y = (side.astype(np.float32) for side in case)
    found = compare(x, y, **FAST)
    wide = [side.astype(np.float64) for side in (x, y)]
    for name, result in found.items():
        if result.value is not None:
            assert result.value == pytest.approx(definitions[name](*wide), abs=3e-5), name
        else:
            assert name in CCA and len(x) <= x.shape[1]


@pytest.mark.parametrize("kind", ["torch", "float16", "memory map", "pairs", "file"])
def test_accepts(kind: str, pair: Any, tmp_path: Any) -> None:
    x, y = (side.astype(np.float32) for side in pair(120, 6, 4, 0))
    if kind == "float16":
        x, y = x.astype(np.float16), y.astype(np.float16)
    expected = compare(x.astype(np.float32), y.astype(np.float32), **FAST)
    if kind == "torch":
        torch = pytest.importorskip("torch")
        x, y = torch.from_numpy(x), torch.from_numpy(y)
    elif kind in ("memory map", "file"):
        for name, side in (("x", x), ("y", y)):
            np.save(tmp_path / f"{name}.npy", side)
        x, y = tmp_path / "x.npy", tmp_path / "y.npy"
        if kind == "memory map":
            x, y = (np.load(path, mmap_mode="r") for path in (x, y))
    elif kind == "pairs":
        x, y = Pairs(x, y), None
    found = compare(x, y, **FAST)
    assert found.to_json() == expected.to_json()


def test_ids_pair_the_rows(pair: Any) -> None:
    x, y = pair(120, 6, 4, 0)
    order = np.random.default_rng(0).permutation(120)
    from isthmus.spaces.readers import open_vectors

    joined = Pairs(
        open_vectors(x, ids=np.arange(120)), open_vectors(y[order], ids=order), metric="l2"
    )
    assert compare(joined, **FAST).to_json() == compare(x, y, **FAST).to_json()


def test_moments_accumulated_elsewhere_give_the_same_values(pair: Any) -> None:
    x, y = pair(300, 6, 4, 0)
    whole = compare(x, y, measures="moments")
    parts = [
        Moments.of(x[a:b], y[a:b], keep=MOMENT_KEEP) for a, b in ((0, 7), (7, 250), (250, 300))
    ]
    merged = compare(parts[1] + parts[0] + parts[2])
    folds = FoldMoments(6, 4, 5, keep=MOMENT_KEEP)
    for start in range(0, 300, 37):
        rows = slice(start, start + 37)
        folds.update(np.arange(300)[rows], x[rows], y[rows])
    in_batches = compare(folds)
    for name, result in whole.items():
        assert merged[name].value == pytest.approx(result.value, rel=1e-10), name
        assert in_batches[name].value == pytest.approx(result.value, rel=1e-10), name
        assert in_batches[name].low == pytest.approx(result.low, rel=1e-7), name
        assert merged[name].low is None
    assert merged["rsa"].value is None
    assert "rows" in (merged["rsa"].reason or "")


def test_results_carry_what_is_needed_to_judge_them(pair: Any) -> None:
    x, y = pair(300, 6, 4, 0)
    for name, result in compare(x, y, sampling=RowSampling(k=5, permutations=20)).items():
        declared = MEASURES[name]
        assert result.definition == declared.definition
        assert (result.n, result.dx, result.dy) == (300, 6, 4)
        assert result.higher_is_closer == declared.higher_is_closer
        assert result.null is not None
        assert result.null.p < 0.06
        assert result.null.sd > 0
        assert result.low is not None
        assert result.high is not None
        assert result.low < result.value < result.high
        assert (result.null.mean < result.low) == declared.higher_is_closer
        assert result.preprocessing


def test_unrelated_sides_are_at_chance() -> None:
    rng = np.random.default_rng(11)
    found = compare(rng.standard_normal((400, 12)), rng.standard_normal((400, 9)))
    for name, result in found.items():
        assert result.null is not None
        assert result.null.p > 0.02, name
        assert abs(result.value - result.null.mean) < 3 * result.null.sd, name


def test_equal_sides_are_as_close_as_can_be(pair: Any) -> None:
    x, _ = pair(200, 6, 4, 0)
    for name, result in compare(x, x.copy(), **FAST).items():
        nearly = 1e-7 if name.startswith(("procrustes", "gulp")) else 1e-9
        assert result.value == pytest.approx(MEASURES[name].at_identity, abs=nearly), name


def test_prints_and_saves(pair: Any) -> None:
    x, y = pair(30, 6, 40, 0)
    found = compare(x, y, **FAST)
    text = str(found)
    assert "30 pairs" in text
    assert "no mean_cca: 30 rows cannot be judged in 6 and" in text
    assert "in 40 dimensions are too few" in text
    again = Comparison.from_json(found.to_json())
    assert again == found
    assert list(again) == list(found)
    assert "linear_cka" in str(found["linear_cka"])


def test_more_dimensions_than_rows_are_refused_or_said() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((30, 40)), rng.standard_normal((30, 50))
    found = compare(x, y, **FAST)
    for name in ("mean_cca", "yanai", "pwcca"):
        assert found[name].value is None
        with pytest.raises(InputError, match="1 whatever the data"):
            compare(x, y, measures=name)
    # fewer principal components than rows carry 99 % of the variance, and chance is all there is
    assert found["svcca"].null.p > 0.02
    assert any("chance alone reaches 0.9" in w for w in found["svcca"].warnings)
    # as few rows leave the biased measures high: the result says so
    assert found["linear_cka"].value > 0.4
    assert any("chance alone reaches" in w for w in found["linear_cka"].warnings)
    assert abs(found["debiased_cka"].value) < 0.2
    assert found["linear_cka"].null.p > 0.02
    half = compare(x[:, :18], y[:, :18], measures=["mean_cca"])["mean_cca"]
    assert any("7 of 18 correlations are 1" in w for w in half.warnings)


def test_dead_constant_and_doubled_columns_change_nothing(pair: Any) -> None:
    x, y = (side.astype(np.float32) for side in pair(300, 6, 4, 0))
    more = np.column_stack([x, np.full((300, 2), 7.25, np.float32), np.zeros((300, 1), np.float32)])
    plain = compare(x, y, measures="moments")
    for name, result in compare(more, y, measures="moments").items():
        assert result.value == pytest.approx(plain[name].value, abs=1e-5), name
    doubled = compare(np.column_stack([x, x[:, 2]]), y, measures=["mean_cca", "yanai"])
    assert doubled["mean_cca"].value == pytest.approx(plain["mean_cca"].value, abs=1e-5)
    assert doubled["mean_cca"].details["rank_x"] == 6


def test_scales_at_the_ends_of_the_range(pair: Any) -> None:
    x, y = pair(100, 5, 4, 0)
    plain = compare(x, y, **FAST)
    for scale in (1e-30, 1e30):
        for name, result in compare(x * scale, y / scale, **FAST).items():
            assert result.value == pytest.approx(plain[name].value, abs=1e-9), name
    single = [side.astype(np.float32) for side in (x, y)]
    plain = compare(*single, **FAST)
    for scale in (1e9, 1e20, 1e-20, 1e-30):
        for name, result in compare(np.float32(scale) * single[0], single[1], **FAST).items():
            wanted = plain[name]
            assert result.value == pytest.approx(wanted.value, abs=1e-4), (scale, name)
            assert (result.low is None) == (wanted.low is None), (scale, name)
            if wanted.low is not None:
                assert result.low == pytest.approx(wanted.low, abs=1e-3), (scale, name)


def test_bad_input_is_named(pair: Any) -> None:
    x, y = pair(50, 5, 4, 0)
    with pytest.raises(InputError, match="50 rows and target has 49"):
        compare(x, y[:49])
    with pytest.raises(InputError, match=r"2 pair\(s\)"):
        compare(x[:2], y[:2])
    for first, second in ((x[:, 0], y), (x, y[:, 0]), (x[:, 0], y[:, 0])):
        with pytest.raises(InputError, match=r"\(n, d\)|2-D|shape"):
            compare(first, second)
    for measures in ("all", "moments", "rows", "mutual_knn"):
        with pytest.raises(InputError, match=r"2 pair\(s\)"):
            compare(x[:2], y[:2], measures=measures)
        for bad in (np.nan, np.inf, -np.inf):
            broken = x.copy()
            broken[17, 3] = bad
            with pytest.raises(InputError, match="row 17"):
                compare(broken, y, measures=measures)
        column = x.copy()
        column[:, 2] = np.nan
        with pytest.raises(InputError, match=r"source, row \d+"):
            compare(column, y, measures=measures)
    with np.errstate(over="ignore"):
        overflowed = (x * 1e6).astype(np.float16)
    with pytest.raises(InputError, match="row 0: .* inf"):
        compare(overflowed, y)
    for constant in (np.ones_like(x), np.full((50, 5), 1e-3, np.float32), np.zeros_like(x)):
        for measures in ("all", "moments", "linear_cka"):
            with pytest.raises(InputError, match="x: all rows are the same"):
                compare(constant, y, measures=measures)
    with pytest.raises(InputError, match="1 and 49"):
        compare(x, y, measures="mutual_knn", sampling=RowSampling(k=50))
    assert compare(x, y, sampling=RowSampling(k=50))["mutual_knn"].value is None
    with pytest.raises(InputError, match="'cosines' is unknown"):
        compare(x, y, measures="cosines")
    with pytest.raises(InputError, match="two sides"):
        compare(x)
    with pytest.raises(InputError, match="quantised codes"):
        compare((x * 9).astype(int), y)


def test_rows_without_direction_leave_the_other_measures(pair: Any) -> None:
    x, y = pair(60, 5, 4, 0)
    x[7] = 0
    found = compare(x, y, **FAST)
    assert "row of zeros" in (found["mutual_knn"].reason or "")
    assert "all equal" in (found["rsa"].reason or "")
    assert found["linear_cka"].value is not None
    flat = compare(x[:, :1], y, **FAST)
    assert "all equal" in (flat["rsa"].reason or "")


@pytest.mark.parametrize("n", [3, 4, 5, 8, 12])
def test_a_handful_of_rows(n: int, pair: Any) -> None:
    x, y = pair(n, 2, 2, 1)
    for result in compare(x, y, **FAST).values():
        assert (result.value is None) == (result.reason is not None)
        if result.value is not None:
            assert np.isfinite(result.value)


def test_the_sample_bounds_what_rows_are_held(pair: Any) -> None:
    x, y = pair(500, 5, 4, 0)
    few = RowSampling(rows=100, k=5, permutations=5)
    found = compare(x, y, sampling=few)
    assert found["rsa"].n == found["mutual_knn"].n == 100
    assert found["linear_cka"].n == found.n == 500
    assert compare(x, y, sampling=few, seed=1)["rsa"].value != found["rsa"].value


def test_the_same_seed_gives_the_same_bytes(pair: Any) -> None:
    x, y = pair(200, 5, 4, 0)
    assert compare(x, y, **FAST).to_json() == compare(x, y, **FAST).to_json()


def test_progress_is_told(pair: Any) -> None:
    x, y = pair(60, 5, 4, 0)
    calls: list[Any] = []
    compare(x, y, progress=lambda *call: calls.append(call), **FAST)
    assert calls[0] == ("reading pairs", 60, 60)
    assert calls[-1] == ("compare", len(MEASURES), len(MEASURES))
