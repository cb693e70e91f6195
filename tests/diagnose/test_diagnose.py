"""What a diagnosis must catch, and what it must not say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus import Pairs
from isthmus.adapters import Recipe
from isthmus.diagnose import THRESHOLDS, Diagnosis, Relation, Severity, diagnose
from isthmus.errors import InputError

EXPECTED: dict[str, tuple[Relation, set[str]]] = {
    "two_models": (Relation.LINEAR, set()),
    "identical": (Relation.IDENTICAL, {"identical"}),
    "rotation": (Relation.SAME_SPACE, {"rotation"}),
    "rotation_and_noise": (Relation.SAME_SPACE, {"rotation"}),
    "rotation_of_unit_rows": (Relation.SAME_SPACE, {"rotation", "row_lengths"}),
    "rotation_into_wider": (Relation.SAME_SPACE, {"rotation"}),
    "rescale": (Relation.SAME_SPACE, {"rescale"}),
    "dimension_rescale": (Relation.SAME_SPACE, {"dimension_rescale"}),
    "offset": (Relation.SAME_SPACE, {"offset"}),
    "permutation": (Relation.SAME_SPACE, {"permutation"}),
    "permutation_and_noise": (Relation.SAME_SPACE, {"permutation"}),
    "sign_flips": (Relation.SAME_SPACE, {"sign_flips"}),
    "anisotropic": (Relation.LINEAR, {"anisotropic"}),
    "collapsed": (Relation.LINEAR, {"collapsed"}),
    "rank_collapse": (Relation.LINEAR, {"rank_collapse", "duplicated_dimensions"}),
    "wrong_pairing": (Relation.MISPAIRED, {"wrong_pairing"}),
    "moved_by_two_rows": (Relation.MISPAIRED, {"wrong_pairing"}),
    "partly_wrong_pairing": (Relation.LINEAR, {"partly_wrong_pairing"}),
    "int8": (Relation.SAME_SPACE, {"quantised_copy"}),
    "binary": (Relation.LINEAR, {"quantised_copy"}),
    "unrelated": (Relation.UNRELATED, {"unrelated", "dominant_dimension"}),
    "cubic_warp": (Relation.NONLINEAR, {"nonlinear"}),
    "float16_overflow": (Relation.LINEAR, {"float16_overflow"}),
    "float16_saturated": (Relation.LINEAR, {"float16_overflow"}),
    "float16_precision": (Relation.LINEAR, {"float16_precision", "collapsed"}),
    "float16_copy": (Relation.SAME_SPACE, {"same_frame"}),
    "negated": (Relation.SAME_SPACE, {"sign_flips"}),
    "whitened": (Relation.LINEAR, {"linear_image"}),
    "principal_components": (Relation.SAME_SPACE, {"linear_image", "offset"}),
    "another_prefix": (Relation.LINEAR, {"used_otherwise"}),
    "cut_texts": (Relation.LINEAR, {"used_otherwise"}),
    "another_model_in_a_part": (Relation.LINEAR, {"unchanged_rows"}),
    "int8_of_each_dimension": (Relation.SAME_SPACE, {"quantised_copy", "dimension_rescale"}),
    "int8_wrapped": (Relation.LINEAR, {"quantised_wrapped"}),
    "uint8": (Relation.SAME_SPACE, {"quantised_copy", "offset", "collapsed", "rescale"}),
    "padded_behind": (Relation.SAME_SPACE, {"zero_padded", "dead_dimensions"}),
    "truncated": (Relation.SAME_SPACE, {"truncated"}),
    "zero_padded": (Relation.SAME_SPACE, {"truncated", "dead_dimensions"}),
    "dead_and_doubled": (Relation.LINEAR, {"dead_dimensions", "duplicated_dimensions"}),
}
ONLY_NEW = {
    *("anisotropic", "collapsed", "rank_collapse", "quantised_copy", "float16_overflow"),
    *("float16_precision", "truncated", "dead_dimensions", "duplicated_dimensions"),
    "dominant_dimension",
}


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", EXPECTED)
def test_each_condition_is_named_and_nothing_else(diagnosed: Any, kind: str) -> None:
    found: Diagnosis = diagnosed(kind)
    relation, names = EXPECTED[kind]
    assert found.relation is relation, str(found)
    assert {f.name for f in found.findings} == names, str(found)
    assert len(found.findings) == len(names)
    for finding in found.findings:
        if finding.name in ONLY_NEW:
            assert finding.side == "new"
        assert finding.meaning and finding.remedy and finding.measure


@pytest.mark.parametrize("seed", range(1, 7))
def test_two_healthy_models_raise_no_alarm(make_pair: Any, seed: int) -> None:
    found = diagnose(*make_pair("two_models", seed), sample=250, seed=seed)
    assert found.relation is Relation.LINEAR
    assert found.findings == ()
    assert "no findings: both spaces are healthy" in str(found)


def test_two_healthy_models_of_unequal_widths(make_pair: Any) -> None:
    found = diagnose(*make_pair("two_widths"), sample=300)
    assert (found.relation, found.findings) == (Relation.LINEAR, ())


@pytest.mark.parametrize("seed", range(1, 4))
@pytest.mark.parametrize("kind", ["wrong_pairing", "unrelated"])
def test_chance_is_chance_under_any_seed(make_pair: Any, kind: str, seed: int) -> None:
    found = diagnose(*make_pair(kind, seed), sample=250, seed=seed)
    assert found.relation is EXPECTED[kind][0]
    assert found.recipe is None


def test_shuffled_rows_of_two_models_are_refused(make_pair: Any) -> None:
    found = diagnose(*make_pair("wrong_pairing_of_two_models"), sample=300)
    assert found.relation in (Relation.MISPAIRED, Relation.UNRELATED)
    assert found.findings[0].severity is Severity.CRITICAL
    assert found.recipe is None
    assert any("another order" in text for text in found.not_established)


def test_numbers_behind_the_findings(diagnosed: Any, make_pair: Any) -> None:
    assert diagnosed("rescale").finding("rescale").value == pytest.approx(3, rel=1e-3)
    x, y = make_pair("offset")
    spread = y.astype(np.float64).var(axis=0).sum() ** 0.5
    expected = np.linalg.norm((y - x).mean(axis=0)) / spread
    assert diagnosed("offset").finding("offset").value == pytest.approx(expected, rel=1e-3)
    assert diagnosed("moved_by_two_rows").measured.shift == 2
    lost = diagnosed("partly_wrong_pairing").finding("partly_wrong_pairing")
    assert lost.low < 0.24 < lost.high  # a quarter, of whom some fall in place by chance
    half = diagnosed("float16_overflow")
    _, overflown = make_pair("float16_overflow")
    rows = int(np.isinf(overflown).any(axis=1).sum())
    assert half.finding("float16_overflow").value == rows == half.y.infinite
    assert half.n == 600 - rows
    truncated = diagnosed("truncated").finding("truncated")
    assert "first 16 dimensions of old" in truncated.meaning


def test_a_remedy_fits_what_was_found(diagnosed: Any, make_pair: Any) -> None:
    assert "subtract the zero point" in diagnosed("uint8").finding("quantised_copy").remedy
    assert "no map is needed" in diagnosed("int8").finding("quantised_copy").remedy
    assert "to 32 dimensions" in diagnosed("padded_behind").finding("zero_padded").remedy
    kept = diagnose(*make_pair("truncated_at_a_dead_dimension"), names=("old", "new"), sample=300)
    assert "cut old to 16 dimensions" in kept.finding("truncated").remedy
    assert "only the others differ" in diagnosed("another_model_in_a_part").findings[0].meaning
    assert "the same vectors, and others" in diagnosed("cut_texts").findings[0].meaning
    turned = diagnosed("negated").finding("sign_flips")
    assert "32 of 32 dimensions changed sign" in turned.meaning


def test_bytes_read_in_the_wrong_order_are_told(make_pair: Any) -> None:
    x, y = make_pair("two_models")
    swapped = np.nan_to_num(x.byteswap(), nan=0.0, posinf=0.0, neginf=0.0)
    with pytest.raises(InputError, match="another byte order or type gives such numbers"):
        diagnose(swapped, y)


def test_the_permutation_itself_is_found(diagnosed: Any, make_pair: Any) -> None:
    x, y = make_pair("permutation")
    maps = diagnosed("permutation").measured.maps
    np.testing.assert_allclose(y[:, list(maps.order)], x)
    assert maps.negated == ()
    flips = diagnosed("sign_flips").measured.maps
    assert flips.order == tuple(range(32))
    assert flips.negated == tuple(range(0, 32, 3))
    assert diagnosed("rotation").measured.maps.order is None


def test_lengths_matter_only_where_the_metric_reads_them(make_pair: Any) -> None:
    cosine, distance = (
        diagnose(*make_pair("warp"), metric=metric, sample=300) for metric in ("cosine", "l2")
    )
    assert (cosine.relation, distance.relation) == (Relation.SAME_SPACE, Relation.NONLINEAR)
    assert [f.name for f in cosine.findings] == ["row_lengths"]
    assert [f.name for f in distance.findings] == ["row_lengths"]
    x, _ = make_pair("rescale")
    lengths = np.exp(np.random.default_rng(0).standard_normal((len(x), 1)))
    for one, other in ((lengths * x, _unit(x)), (_unit(x), lengths * x)):
        dotted = diagnose(one, other, metric="dot", sample=300)
        assert {f.name for f in dotted.findings} - {"rescale"} == {"row_lengths"}
        assert dotted.finding("row_lengths").severity is Severity.WARNING
    rescaled = [
        diagnose(*make_pair("rescale"), metric=metric, sample=100).finding("rescale") for metric in
        ("cosine", "dot")
    ]  # fmt: skip
    assert [f and f.severity for f in rescaled] == [Severity.NOTE, Severity.WARNING]


# ---- the recipe --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", EXPECTED)
def test_the_recipe_is_one_that_fit_reads(diagnosed: Any, kind: str) -> None:
    found: Diagnosis = diagnosed(kind)
    nothing = {Relation.IDENTICAL, Relation.MISPAIRED, Relation.UNRELATED}
    assert (found.recipe is None) == (found.relation in nothing)
    assert found.recipe_reason
    if found.recipe is not None:
        assert str(Recipe.parse(found.recipe)) == found.recipe


@pytest.mark.parametrize(
    "kind",
    [
        *("rotation_of_unit_rows", "offset", "permutation", "dimension_rescale", "rescale"),
        *("negated", "int8_of_each_dimension", "whitened"),
    ],
)
def test_the_recipe_repairs_what_was_found(diagnosed: Any, make_pair: Any, kind: str) -> None:
    from isthmus import fit

    x, y = make_pair(kind)
    bridge = fit(Pairs(x, y), recipe=diagnosed(kind).recipe)
    mapped = np.asarray(bridge.chain(x), dtype=np.float64)
    one, other = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (mapped, y))
    assert (one * other).sum(axis=1).min() > 0.999


def test_a_common_direction_is_centred_away(diagnosed: Any) -> None:
    for kind in ("anisotropic", "collapsed"):
        assert diagnosed(kind).recipe.startswith("center | unit_norm | center | ")


# ---- the result --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["two_models", "truncated", "wrong_pairing", "float16_overflow"])
def test_json_and_back(diagnosed: Any, kind: str) -> None:
    found: Diagnosis = diagnosed(kind)
    text = found.to_json()
    assert "NaN" not in text and "Infinity" not in text
    again = Diagnosis.from_json(text)
    assert again == found
    assert again.to_json() == text
    assert str(again) == str(found)
    assert str(again.comparison) == str(found.comparison)


def test_it_prints_the_verdict_the_findings_and_the_recipe(diagnosed: Any) -> None:
    found: Diagnosis = diagnosed("collapsed")
    text = str(found)
    assert f"verdict: linear ({found.verdict})" in text
    assert "critical: collapsed (new): " in text
    assert f"recipe: {found.recipe}" in text
    assert "- whether your classes survive: no labels were given" in text
    assert all(str(f) in text for f in found.findings)


def test_the_gravest_finding_comes_first(make_pair: Any) -> None:
    x, y = make_pair("dead_and_doubled")
    y = y.copy()
    y[7, 1] = np.nan
    found = diagnose(x, y, names=("old", "new"), sample=200)
    order = list(Severity)
    ranks = [order.index(f.severity) for f in found.findings]
    assert ranks == sorted(ranks)
    assert found.findings[0].name == "non_finite"


def test_equal_inputs_and_seed_give_equal_bytes(make_pair: Any) -> None:
    x, y = make_pair("two_models")
    one = diagnose(x, y, sample=120, seed=4).to_json()
    assert diagnose(x, y, sample=120, seed=4).to_json() == one
    assert diagnose(x, y, sample=120, seed=5).to_json() != one


def test_the_data_for_a_report_are_there(diagnosed: Any) -> None:
    found: Diagnosis = diagnosed("two_models")
    drawn = found.projection
    assert drawn is not None
    assert len(drawn.ids) == len(drawn.x) == len(drawn.y) == 300
    gaps = np.linalg.norm(np.array(drawn.x) - np.array(drawn.y), axis=1)
    assert np.median(gaps) < 0.5 * np.std(np.array(drawn.y))  # partners lie beside each other
    overlap = found.measured.overlap
    assert overlap is not None
    assert sum(overlap.histogram) == overlap.n
    assert overlap.mean == pytest.approx(
        sum(i * c for i, c in enumerate(overlap.histogram)) / overlap.n / overlap.k
    )
    for side in (found.x, found.y):
        assert len(side.spectrum.eigenvalues) == side.dim
        assert side.hubness is not None and sum(side.hubness.histogram) == side.hubness.n
        assert sum(side.norms.counts) == found.sampled
    assert found.comparison["linear_cka"].value == found.similarities["linear_cka"].value
    assert len(found.comparison) == 15


def test_thresholds_are_those_declared(diagnosed: Any) -> None:
    assert all(bound.reason for bound in THRESHOLDS.values())
    declared = {bound.value for bound in THRESHOLDS.values()}
    for kind in EXPECTED:
        for finding in diagnosed(kind).findings:
            if finding.name not in ("identical", "row_lengths") and finding.threshold:
                assert finding.threshold in declared


def test_the_input_is_left_as_it_was(make_pair: Any) -> None:
    x, y = make_pair("rotation")
    before = x.tobytes(), y.tobytes()
    x.flags.writeable = y.flags.writeable = False
    diagnose(x, y, sample=100)
    assert (x.tobytes(), y.tobytes()) == before


# ---- inputs ------------------------------------------------------------------------------------


def test_pairs_arrays_maps_and_tensors_agree(make_pair: Any, tmp_path: Any) -> None:
    x, y = make_pair("two_models")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    options = {"sample": 100, "seed": 2}
    whole = diagnose(x, y, **options).measured
    assert diagnose(Pairs(x, y), **options).measured == whole
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert diagnose(mapped, tmp_path / "y.npy", **options).measured == whole
    torch = pytest.importorskip("torch")
    tensors = diagnose(torch.tensor(x), torch.tensor(y), **options).measured
    assert tensors.maps is not None and whole.maps is not None
    assert tensors.maps.linear.value == pytest.approx(whole.maps.linear.value, abs=1e-5)


def test_rows_are_joined_by_id(make_pair: Any, tmp_path: Any) -> None:
    x, y = make_pair("rotation")
    order = np.random.default_rng(5).permutation(len(y))
    y = y[order].copy()
    y[3, 2], y[4] = np.inf, 0
    for name, rows, ids in (("x", x, np.arange(len(x))), ("y", y, order)):
        np.savez(tmp_path / f"{name}.npz", vectors=rows, ids=ids)
    found = diagnose(tmp_path / "x.npz", tmp_path / "y.npz", sample=200)
    assert found.relation is Relation.SAME_SPACE
    assert found.n == len(x) - 2
    assert (found.y.infinite, found.y.zero, found.x.infinite) == (1, 1, 0)
    assert {f.name for f in found.findings} == {"rotation", "non_finite", "zero_rows"}


def test_labels_are_carried_across(make_pair: Any) -> None:
    x, y = make_pair("two_models")
    axis = np.linalg.svd(x - x.mean(0), full_matrices=False)[2][0]
    labels = np.where((x - x.mean(0)) @ axis > 0, "high", "low")
    found = diagnose(Pairs(x, y, labels=labels), sample=300)
    concepts = found.measured.concepts
    assert concepts is not None
    assert concepts.source == "labels"
    assert {c.name for c in concepts.concepts} == {"high", "low"}
    assert concepts.transferred > 0.8
    assert not any("no labels" in text for text in found.not_established)


def test_a_modality_gap_is_judged_where_modalities_differ(make_pair: Any) -> None:
    x, y = make_pair("rotation_and_noise")
    y = y + 3 * x.std() * np.eye(32, dtype=np.float32)[0] * 5
    assert diagnose(x, y, sample=100).measured.modality is None
    found = diagnose(x, y, sample=100, modalities=("image", "text"))
    assert found.finding("modality_gap") is not None
    assert diagnose(x, y, sample=100, modalities=("text", "text")).measured.modality is None


def test_progress_and_bounded_samples(make_pair: Any) -> None:
    calls: list[tuple[str, int, int | None]] = []
    found = diagnose(
        *make_pair("two_models"), sample=120, progress=lambda *call: calls.append(call)
    )
    assert found.sampled == 120
    assert any("a sample of 120 of 600" in text for text in found.not_established)
    assert ("reading pairs", 600, 600) in calls
    assert ("diagnose", 5, 5) in calls


# ---- bad input ---------------------------------------------------------------------------------


def rows(n: int, d: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d)).astype(np.float32)


def _with(value: float, column: Any = slice(None), row: Any = slice(None)) -> np.ndarray:
    changed = rows(60, 4)
    changed[row, column] = value
    return changed


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "n mismatch": (lambda: diagnose(rows(9, 3), rows(8, 3)), "9 rows and target has 8"),
    "two pairs": (lambda: diagnose(rows(2, 3), rows(2, 3)), "needs at least 3"),
    "one-dimensional": (lambda: diagnose(rows(9, 1)[:, 0], rows(9, 1)), r"shape \(9,\)"),
    "one side": (lambda: diagnose(rows(9, 3)), "two sides are needed"),
    "a NaN column": (
        lambda: diagnose(rows(60, 4), _with(np.nan, 2)),
        r"column\(s\) \[2\] hold no finite number",
    ),
    "all zero": (lambda: diagnose(rows(60, 4), _with(0)), "60 are zero"),
    "all equal": (lambda: diagnose(rows(60, 4), _with(0.1)), "target: all rows are equal"),
    "all overflown": (
        lambda: diagnose(rows(60, 4), _with(np.inf).astype(np.float16)),
        "do not fit float16",
    ),
    "too long": (lambda: diagnose(rows(60, 4), 1e15 * rows(60, 4)), "largest number is"),
    "too short": (lambda: diagnose(1e-20 * rows(60, 4), rows(60, 4)), "largest number is"),
    "integers": (lambda: diagnose(rows(60, 4).astype(int), rows(60, 4)), "dtype int64"),
    "labels": (lambda: diagnose(Pairs(rows(9, 3), rows(9, 3), labels=["a"])), "labels have shape"),
    "two metrics": (
        lambda: diagnose(Pairs(rows(9, 3), rows(9, 3)), metric="dot"),
        "already hold both sides",
    ),
    "sample": (lambda: diagnose(rows(9, 3), rows(9, 3), sample=2), "too small"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_sentence(case: str) -> None:
    call, message = BAD[case]
    with pytest.raises(InputError, match=message):
        call()


@pytest.mark.parametrize("n", [3, 4, 7, 30, 49])
def test_few_pairs_leave_the_relation_open(n: int) -> None:
    found = diagnose(rows(n, 8), rows(n, 5, 1))
    assert found.relation is Relation.UNDETERMINED
    assert found.recipe is None
    assert any("at least 50 are needed" in text for text in found.not_established)
    assert Diagnosis.from_json(found.to_json()) == found


def test_thin_data_are_said_to_be_thin() -> None:
    x = rows(80, 64)
    found = diagnose(x, x @ np.linalg.qr(rows(64, 64, 1))[0])
    assert found.relation is not Relation.UNDETERMINED
    assert any("1.2 pairs per dimension" in text for text in found.not_established)
    assert found.recipe is not None and "procrustes" in found.recipe


@pytest.mark.parametrize(
    "case",
    {
        "one column each": (rows(90, 1), rows(90, 1, 1)),
        "one column varies": (np.hstack([rows(90, 1), np.ones((90, 5), np.float32)]), rows(90, 6)),
        "few distinct rows": (np.repeat(rows(3, 5), 30, axis=0), rows(90, 5)),
        "repeated pairs": (np.repeat(rows(18, 5), 5, axis=0), np.repeat(rows(18, 5, 1), 5, axis=0)),
        "one-hot": (np.eye(9, dtype=np.float32)[np.arange(90) % 9], rows(90, 9)),
        "a constant column": (rows(90, 4), np.c_[rows(90, 3), np.full(90, 2, np.float32)]),
    }.items(),
    ids=lambda case: case[0],
)
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_degenerate_data_never_end_in_nan(case: Any, metric: Any) -> None:
    found = diagnose(*case[1], metric=metric)
    assert Diagnosis.from_json(found.to_json()) == found


def test_shared_order_of_ties_is_no_agreement() -> None:
    found = diagnose(rows(300, 1), rows(300, 1, 1))
    assert found.relation in (Relation.MISPAIRED, Relation.UNRELATED)


def test_a_few_texts_embedded_again_are_the_same_model(rng):
    then = rng.standard_normal((8, 16)).astype(np.float32)
    now = then + rng.normal(0, 1e-6, then.shape).astype(np.float32)
    assert diagnose(then, now).relation is Relation.IDENTICAL
    assert diagnose(then, now + 0.1).relation is Relation.UNDETERMINED
