from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from isthmus.errors import ContractError
from isthmus.spaces.contract import Faults, Ranges, Space
from isthmus.spaces.enforce import enforce


def space(metric="cosine", dim=4, **fields) -> Space:
    return Space(name="a", dim=dim, metric=metric, **fields)


@pytest.fixture
def x(rng) -> np.ndarray:
    return rng.standard_normal((100, 4)).astype(np.float32)


def test_clean_rows_are_handed_on_without_a_copy(x):
    checked = enforce(x, space(ranges=Ranges(norm_max=50, component_max=(50,) * 4)))
    assert checked.vectors is x
    assert checked.clean
    assert not checked.flagged.any()
    assert not checked.repaired.any()
    assert checked.flagged.shape == (100,)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_no_rows_are_clean(dtype):
    bounded = space(ranges=Ranges(component_max=(1,) * 4), faults=Faults(out_of_range="repair"))
    checked = enforce(np.empty((0, 4), dtype=dtype), bounded)
    assert checked.clean
    assert checked.vectors.shape == (0, 4)
    assert checked.vectors.dtype == np.float32


def spoil(x: np.ndarray, fault: str) -> np.ndarray:
    """Rows 17 and 40 spoiled."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    if fault == "non_finite":
        x[17, 2] = np.nan
        x[40] = np.inf
    elif fault == "zero":
        x[[17, 40]] = 0
    elif fault == "not_normalised":
        x[[17, 40]] *= 3
    elif fault == "norm":
        x[[17, 40]] *= 30
    elif fault == "component":
        x[:, 1] = -np.abs(x[:, 1])
        x[[17, 40], 1] = 0.8
    return x.astype(np.float32)


CASES = {
    "non_finite": ("non_finite", {}, "holds nan in component 2"),
    "zero": ("zero", {}, "is all zeros"),
    "not_normalised": ("not_normalised", {"normalised": True}, "has norm 3, expected 1 ± 0.001"),
    "norm": (
        "out_of_range",
        {"ranges": Ranges(norm_min=0.2, norm_max=5)},
        "has norm 30, expected 0.2 to 5",
    ),
    "component": (
        "out_of_range",
        {"ranges": Ranges(component_max=(2, 0.79999, 2, 2))},
        "holds 0.8 in component 1, expected -inf to 0.79999",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rejected_rows_are_named_counted_and_mended(x, case):
    fault, fields, detail = CASES[case]
    bad = spoil(x, case)
    strict = space(**fields, faults=Faults(**{fault: "reject"}))
    with pytest.raises(ContractError) as error:
        enforce(bad, strict, first_row=1000, where="stream")
    assert error.value.where == "stream, row 1017"
    assert error.value.what == f"the row {detail}; 2 of these 100 rows have this fault"
    assert error.value.mend is not None
    assert f"or set faults.{fault} to 'flag'" in error.value.mend
    assert ("'repair'" in error.value.mend) == (fault != "zero")


@pytest.mark.parametrize("case", CASES)
def test_flagged_rows_pass_unchanged_and_are_counted(x, case):
    fault, fields, detail = CASES[case]
    bad = spoil(x, case)
    checked = enforce(bad, space(**fields, faults=Faults(**{fault: "flag"})), first_row=1000)
    assert checked.vectors is bad
    (finding,) = checked.faults
    assert (finding.fault, finding.response) == (fault, "flag")
    assert (finding.count, finding.first_row, finding.detail) == (2, 1017, detail)
    np.testing.assert_array_equal(finding.rows, [1017, 1040])
    np.testing.assert_array_equal(np.flatnonzero(checked.flagged), [17, 40])
    assert not checked.repaired.any()


def test_repair_of_rows_that_are_not_finite_puts_zeros(x):
    x[17, 2], x[40, 0] = np.nan, -np.inf
    before = x.copy()
    checked = enforce(x, space(faults=Faults(non_finite="repair")))
    np.testing.assert_array_equal(x, before)
    expected = np.where(np.isfinite(before), before, 0)
    np.testing.assert_array_equal(checked.vectors, expected)
    np.testing.assert_array_equal(np.flatnonzero(checked.repaired), [17, 40])


def test_a_repaired_row_is_looked_at_again(x):
    unit = spoil(x, "none")
    unit[3] = np.nan  # becomes zeros
    lenient = space(normalised=True, faults=Faults(non_finite="repair"))
    with pytest.raises(ContractError, match="row 3: the row is all zeros"):
        enforce(unit, lenient)
    unit[3] = [np.nan, 0.6, 0, 0]  # becomes a row of norm 0.6
    with pytest.raises(ContractError, match=r"row 3: the row has norm 0\.6, expected 1"):
        enforce(unit, lenient)
    both = lenient.revise(faults=Faults(non_finite="repair", not_normalised="repair"))
    checked = enforce(unit, both)
    np.testing.assert_allclose(checked.vectors[3], [0, 1, 0, 0], rtol=1e-6)
    assert [finding.fault for finding in checked.faults] == ["non_finite", "not_normalised"]


def test_rows_flagged_as_unusable_are_not_looked_at_further(x):
    unit = spoil(x, "none")
    unit[3], unit[5] = np.nan, 0
    checked = enforce(unit, space(normalised=True, faults=Faults(non_finite="flag", zero="flag")))
    assert [(f.fault, f.rows.tolist()) for f in checked.faults] == [
        ("non_finite", [3]),
        ("zero", [5]),
    ]


def test_renormalising(x):
    x[7] *= 1e30
    checked = enforce(x, space(normalised=True, faults=Faults(not_normalised="repair")))
    norms = np.linalg.norm(checked.vectors.astype(np.float64), axis=1)
    np.testing.assert_allclose(norms, 1, atol=1e-6)
    assert checked.vectors.dtype == np.float32
    np.testing.assert_allclose(
        checked.vectors[0], x[0] / np.linalg.norm(x[0].astype(np.float64)), rtol=1e-6
    )


def test_a_zero_row_cannot_be_renormalised(x):
    x[9] = 0
    unit = space("dot", normalised=True, faults=Faults(not_normalised="repair"))
    with pytest.raises(ContractError) as error:
        enforce(x, unit)
    assert str(error.value) == (
        "space a 1.0.0, row 9: the row has norm 0, expected 1 ± 0.001 after the repair and cannot "
        "be mended; 1 of these 100 rows have this fault. Divide each row by its norm."
    )


def test_repair_of_norms_scales_to_the_nearer_bound():
    x = np.array([[3, 4, 0, 0], [0.3, 0.4, 0, 0], [1, 0, 0, 0]], dtype=np.float32)
    bounded = space(ranges=Ranges(norm_min=0.8, norm_max=2), faults=Faults(out_of_range="repair"))
    checked = enforce(x, bounded)
    np.testing.assert_allclose(
        checked.vectors, [[1.2, 1.6, 0, 0], [0.48, 0.64, 0, 0], [1, 0, 0, 0]], rtol=1e-6
    )
    assert checked.faults[0].rows.tolist() == [0, 1]
    again = enforce(checked.vectors, bounded)
    assert again.clean
    assert again.vectors is checked.vectors


def test_repair_of_components_clips_them_and_leaves_other_rows():
    x = np.array([[3, -4, 0, 0], [0.5, 0.5, 0.5, 0.5]], dtype=np.float32)
    bounded = space(
        "dot",
        ranges=Ranges(component_min=(-1,) * 4, component_max=(1, 2, 3, 4)),
        faults=Faults(out_of_range="repair"),
    )
    checked = enforce(x, bounded)
    np.testing.assert_array_equal(checked.vectors, [[1, -1, 0, 0], [0.5] * 4])
    assert checked.faults[0].rows.tolist() == [0]


def test_a_row_that_no_repair_brings_within_all_bounds_is_rejected():
    # Scaled up to the norm bound, the row leaves the component bound again.
    bounded = space(
        "dot",
        ranges=Ranges(component_max=(1,) * 4, norm_min=1.9),
        faults=Faults(out_of_range="repair"),
    )
    with pytest.raises(ContractError, match=r"row 0: .* after the repair and cannot be mended"):
        enforce(np.array([[5, 0, 0, 0]], dtype=np.float32), bounded)


def test_norms_are_judged_with_the_documented_tolerance():
    unit = space("dot", normalised=True)
    row = np.array([[1, 0, 0, 0]])
    for norm, good in [(0.9995, True), (1.0009, True), (0.9985, False), (1.0015, False)]:
        x = (row * norm).astype(np.float32)
        if good:
            assert enforce(x, unit).clean
        else:
            with pytest.raises(ContractError, match=r"expected 1 ± 0\.001"):
                enforce(x, unit)


def test_unit_rows_stay_unit_in_float16(rng):
    x = rng.standard_normal((500, 768))
    half = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float16)
    assert enforce(half, space(dim=768, dtype="float16", normalised=True)).clean


# ---- the array as a whole


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (4,),
            r"a 1\.0\.0: the vectors have shape \(4,\), expected \(n, 4\)\. Pass a single",
        ),
        ((2, 2, 4), r"the vectors have shape \(2, 2, 4\), expected \(n, 4\)\."),
        ((2, 3), r"row 8: the vectors are 3 wide, expected 4; all of these 2 rows are\. Use the"),
    ],
)
def test_wrong_shapes_are_always_rejected(shape, message):
    with pytest.raises(ContractError, match=message):
        enforce(np.ones(shape, dtype=np.float32), space(), first_row=8)


@pytest.mark.parametrize("response", ["reject", "flag", "repair"])
@pytest.mark.parametrize("dtype", [np.int8, np.bool_, np.complex64, object])
def test_what_is_not_floating_is_always_rejected(response, dtype):
    with pytest.raises(ContractError) as error:
        enforce(np.ones((3, 4), dtype=dtype), space(faults=Faults(wrong_dtype=response)))
    assert str(error.value) == (
        f"space a 1.0.0, row 0: the row has dtype {np.dtype(dtype)}, expected float32; all of "
        "these 3 rows do. Convert them first; integer codes must be multiplied by their scale."
    )


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.dtype(">f4"), np.longdouble])
def test_another_floating_dtype_is_converted_and_reported(x, dtype):
    checked = enforce(x.astype(dtype), space(), first_row=5)
    assert checked.vectors.dtype == np.float32
    assert checked.vectors.dtype.isnative
    np.testing.assert_array_equal(checked.vectors, x.astype(dtype).astype(np.float32))
    (finding,) = checked.faults
    assert (finding.fault, finding.count, finding.first_row) == ("wrong_dtype", 100, 5)
    assert finding.detail.startswith("has dtype ")
    assert finding.detail.endswith(", expected float32")


def test_another_floating_dtype_flagged_or_rejected(x):
    wide = x.astype(np.float64)
    checked = enforce(wide, space(faults=Faults(wrong_dtype="flag")))
    assert checked.vectors is wide
    assert checked.flagged.all()
    with pytest.raises(ContractError) as error:
        enforce(wide, space(faults=Faults(wrong_dtype="reject")))
    assert error.value.what == (
        "the row has dtype float64, expected float32; 100 of these 100 rows have this fault"
    )
    assert "or set faults.wrong_dtype to 'flag' or 'repair'" in (error.value.mend or "")


def test_a_conversion_that_overflows_is_rejected_though_infinite_rows_may_be_flagged(x):
    wide = x.astype(np.float64)
    wide[4] = np.inf
    lenient = space(faults=Faults(non_finite="flag"))
    assert [f.fault for f in enforce(wide, lenient).faults] == ["wrong_dtype", "non_finite"]
    wide[6, 0] = 1e300
    message = "row 6: the row has dtype float64 and a component too large for float32; 1 of these"
    with pytest.raises(ContractError, match=message):
        enforce(wide, lenient)


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_array_libraries_answer_alike(x, library):
    xp = pytest.importorskip(library)
    x[3, 1] = np.nan
    x[5] *= 30
    x[8, 2] = 11
    lenient = space(
        ranges=Ranges(norm_min=0.01, norm_max=12, component_max=(9,) * 4),
        faults=Faults(non_finite="repair", out_of_range="repair"),
    )
    expected = enforce(x, lenient)
    checked = enforce(xp.asarray(x.copy()), lenient)
    assert type(checked.vectors) is type(xp.asarray(x))
    np.testing.assert_allclose(np.asarray(checked.vectors), expected.vectors, rtol=1e-6)
    assert [(f.fault, f.detail, f.rows.tolist()) for f in checked.faults] == [
        (f.fault, f.detail, f.rows.tolist()) for f in expected.faults
    ]
    clean = xp.asarray(np.ones((3, 4), dtype=np.float32))
    assert enforce(clean, lenient).vectors is clean


def test_torch_dtypes(x):
    torch = pytest.importorskip("torch")
    half = torch.from_numpy(x).to(torch.bfloat16)
    checked = enforce(half, space())
    assert checked.vectors.dtype == torch.float32
    assert checked.faults[0].detail == "has dtype bfloat16, expected float32"
    with pytest.raises(ContractError, match="has dtype int8"):
        enforce(torch.ones((2, 4), dtype=torch.int8), space())


FLOATS = st.sampled_from([0.0, 1.0, -0.5, 3.0, 1e-30, 1e30, np.nan, np.inf])
RESPONSES = st.sampled_from(["flag", "repair"])


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 6), st.just(2)), elements=FLOATS),
    RESPONSES,
    RESPONSES,
    RESPONSES,
    st.sampled_from(["cosine", "dot"]),
    st.booleans(),
)
def test_nothing_faulty_passes_in_silence(x, non_finite, other, dtype, metric, normalised):
    """What comes out unflagged keeps the strict contract; what goes in is never changed."""
    ranges = Ranges() if normalised else Ranges(norm_min=0.4, norm_max=2)
    strict = space(metric, 2, normalised=normalised, ranges=ranges)
    mode = "not_normalised" if normalised else "out_of_range"
    lenient = strict.revise(
        faults=Faults(
            non_finite=non_finite,
            wrong_dtype=dtype,
            zero="flag" if metric == "cosine" else None,
            **{mode: other},
        )
    )
    strict = strict.revise(faults=Faults() if normalised else Faults(out_of_range="reject"))
    before = x.copy()
    try:
        checked = enforce(x, lenient)
    except ContractError as error:
        assert "cannot be mended" in error.what
        return
    np.testing.assert_array_equal(x, before)
    passed = np.asarray(checked.vectors)
    assert enforce(passed[~checked.flagged], strict).clean
    changed = ~((passed == before) | (np.isnan(passed) & np.isnan(before))).all(axis=1)
    assert not (changed & ~checked.repaired).any()
    for finding in checked.faults:
        assert finding.count == len(set(finding.rows.tolist())) > 0
        assert finding.first_row == finding.rows.min()
