from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from isthmus.errors import ContractError, InputError, OutputError
from isthmus.spaces.contract import SCHEMA_PATH, Faults, Ranges, Space, schema_text
from isthmus.spaces.guard import enforce
from isthmus.spaces.ranges import MeasuredRanges

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
LABELS = st.none() | st.text(min_size=1, max_size=5)


@st.composite
def contracts(draw: st.DrawFn) -> Space:
    dim = draw(st.integers(1, 4))
    normalised = draw(st.booleans())
    metric = draw(st.sampled_from(["cosine", "dot", "l2"]))
    low, high = sorted(draw(st.tuples(NUMBERS, NUMBERS)), key=abs)
    ranges = Ranges(
        norm_min=None if normalised else abs(low),
        norm_max=None if normalised else abs(high),
        component_min=draw(st.none() | st.just((-1.5,) * dim)),
        norm_quantiles=((0.5, abs(low)), (0.9, abs(high))),
        mean_first=draw(st.none() | st.lists(NUMBERS, max_size=8).map(tuple)),
    )
    responses = st.sampled_from(["reject", "flag", "repair"])
    strict = st.sampled_from(["reject", "flag"])
    faults = Faults(
        wrong_dtype=draw(responses),
        non_finite=draw(responses),
        zero=draw(strict) if metric == "cosine" else None,
        not_normalised=draw(responses) if normalised else None,
    )
    return Space(
        name=draw(st.text(min_size=1)),
        version=draw(st.sampled_from(["0.1.0", "1.0.0", "2.3.4-rc.1+b"])),
        model=draw(LABELS),
        revision=draw(LABELS),
        layer=draw(LABELS),
        modality=draw(LABELS),
        dim=dim,
        dtype=draw(st.sampled_from(["float16", "float32", "float64"])),
        metric=metric,
        normalised=normalised,
        ranges=ranges,
        faults=faults,
    )


@given(contracts())
def test_json_gives_the_contract_back_and_is_canonical(space):
    text = space.to_json()
    again = Space.from_json(text)
    assert again == space
    assert again.to_json() == text
    assert hash(again) == hash(space)
    assert text == json.dumps(
        json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False
    )
    assert space.fingerprint == hashlib.sha256(text.encode()).hexdigest()


def test_the_fingerprint_is_stable_and_sees_every_field():
    space = Space(name="a", dim=3, metric="cosine")
    # Pinned: a change here breaks every fingerprint that was ever stored.
    assert space.to_json() == (
        '{"dim":3,"dtype":"float32","faults":{"non_finite":"reject","wrong_dtype":"repair",'
        '"wrong_width":"reject","zero":"reject"},"metric":"cosine","name":"a","normalised":false,'
        '"ranges":{},"version":"1.0.0"}'
    )
    assert space.fingerprint == hashlib.sha256(space.to_json().encode()).hexdigest()
    changes = [
        {"name": "b"},
        {"version": "1.0.1"},
        {"model": "m"},
        {"revision": "r"},
        {"layer": "l"},
        {"modality": "text"},
        {"dim": 4},
        {"dtype": "float16"},
        {"metric": "dot"},
        {"normalised": True},
        {"ranges": {"norm_max": 2.0}},
        {"faults": {"non_finite": "flag"}},
    ]
    fingerprints = {space.revise(**change).fingerprint for change in changes}
    assert len(fingerprints | {space.fingerprint}) == len(changes) + 1


def test_minus_zero_is_zero():
    plus, minus = (
        Space(name="a", dim=1, metric="dot", ranges=Ranges(component_min=(zero,)))
        for zero in (0.0, -0.0)
    )
    assert plus.fingerprint == minus.fingerprint


def test_a_contract_is_frozen():
    space = Space(name="a", dim=3, metric="dot")
    with pytest.raises(ValidationError, match="frozen"):
        space.dim = 4  # type: ignore[misc]


def test_responses_are_filled_in_where_the_fault_can_occur():
    plain = Space(name="a", dim=2, metric="l2").faults
    assert (plain.zero, plain.not_normalised, plain.out_of_range) == (None, None, None)
    full = Space(
        name="a", dim=2, metric="cosine", normalised=True, ranges=Ranges(component_max=(1, 1))
    ).faults
    assert (full.zero, full.not_normalised, full.out_of_range) == ("reject", "reject", "flag")


BASE = {"name": "a", "dim": 2, "metric": "dot"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": 0}, "dim: Input should be greater than 0"),
        ({"dim": "2"}, "dim: Input should be a valid integer"),
        ({"metric": "euclid"}, "metric: Input should be 'cosine', 'dot' or 'l2'"),
        ({"version": "1.2"}, "version: '1.2' is not a semantic version such as '1.2.0'"),
        ({"dtype": "int8"}, "dtype: Input should be 'float16', 'float32' or 'float64'"),
        ({"normalised": 1}, "normalised: Input should be a valid boolean"),
        ({"name": ""}, "name: String should have at least 1 character"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
        (
            {"faults": {"wrong_width": "repair"}},
            "faults.wrong_width: rows of the wrong width cannot be answered with 'repair': they do "
            "not fit into the space; only 'reject' is possible",
        ),
        (
            {"metric": "cosine", "faults": {"zero": "repair"}},
            "faults.zero: a row of zeros cannot be repaired: nothing tells which direction it had",
        ),
        (
            {"faults": {"zero": "reject"}},
            "faults: zero is set to 'reject', but zero rows are ordinary points unless the metric "
            "is cosine",
        ),
        (
            {"faults": {"not_normalised": "repair"}},
            "faults: not_normalised is set to 'repair', but the space is not normalised",
        ),
        (
            {"faults": {"out_of_range": "flag"}},
            "faults: out_of_range is set to 'flag', but ranges sets no bound",
        ),
        (
            {
                "normalised": True,
                "ranges": {"component_max": [1, 1]},
                "faults": {"out_of_range": "repair"},
            },
            "faults: out_of_range cannot be repaired in a normalised space: a clipped row has no "
            "unit norm",
        ),
        (
            {"normalised": True, "ranges": {"norm_max": 1.0}},
            "ranges: every row of a normalised space has norm 1: leave norm_min and norm_max out",
        ),
        ({"ranges": {"component_min": [1]}}, "component_min has 1 numbers, but dim is 2"),
        ({"ranges": {"norm_min": 2, "norm_max": 1}}, "norm_min 2 is greater than norm_max 1"),
        ({"ranges": {"norm_min": -1}}, "ranges.norm_min: Input should be greater than or equal"),
        ({"ranges": {"norm_min": float("nan")}}, "ranges.norm_min: Input should be a finite"),
        (
            {"ranges": {"component_min": [0, 3], "component_max": [1, 2]}},
            "component 1: the minimum 3 exceeds 2",
        ),
        (
            {"ranges": {"component_min": [0, 3], "component_max": [1]}},
            "component_min has 2 numbers and component_max 1",
        ),
        (
            {"ranges": {"norm_quantiles": [[0.5, 2], [0.4, 3]]}},
            "norm_quantiles must rise, in the share and the norm",
        ),
        ({"ranges": {"norm_quantiles": [[1.5, 2]]}}, "the share 1.5 is not between 0 and 1"),
    ],
)
def test_impossible_contracts_are_refused_with_the_reason(fields, message):
    with pytest.raises(ValidationError):
        Space.model_validate(BASE | fields)
    text = json.dumps(BASE | fields)
    if "NaN" in text:
        return
    with pytest.raises(ContractError) as error:
        Space.from_json(text, where="a.json")
    assert message in str(error.value)
    assert error.value.where == "a.json"
    assert error.value.mend is not None
    assert "space.schema.json" in error.value.mend


def test_every_fault_of_a_file_is_named_at_once(tmp_path):
    path = tmp_path / "space.json"
    path.write_text('{"name":"a","dim":-1,"metric":"x","version":"1"}')
    with pytest.raises(ContractError) as error:
        Space.load(path)
    assert str(error.value).startswith(f"{path}: ")
    for field in ("dim: ", "metric: ", "version: "):
        assert field in error.value.what


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[]", b"null"])
def test_what_is_no_contract_is_refused(tmp_path, content):
    path = tmp_path / "space.json"
    path.write_bytes(content)
    with pytest.raises(ContractError, match=r"space\.json: "):
        Space.load(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ContractError, match=r"none\.json: the contract cannot be read: No such"):
        Space.load(tmp_path / "none.json")
    with pytest.raises(ContractError, match="the contract cannot be read"):
        Space.load(tmp_path)


def test_save_and_load(tmp_path):
    space = Space(name="é", dim=3, metric="cosine", model="m", modality="text")
    path = tmp_path / "space.json"
    space.save(path)
    assert Space.load(path) == space
    assert hashlib.sha256(path.read_bytes()).hexdigest() == space.fingerprint
    with pytest.raises(OutputError, match="exists already"):
        space.save(path)
    space.revise(dim=4).save(path, overwrite=True)
    assert Space.load(path).dim == 4


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_data_keep_the_contract_that_describes_them(rng, metric, normalise, dtype):
    x = rng.standard_normal((9000, 6)) * 3 + 1
    x[0] *= 100
    x = (x / np.linalg.norm(x, axis=1, keepdims=True) if normalise else x).astype(dtype)
    space = Space.describe(x, "a", metric, component_bounds=True, model="m")
    assert enforce(x, space).clean
    assert (space.dim, space.dtype, space.model) == (6, np.dtype(dtype).name, "m")
    assert space.normalised == normalise
    assert space.ranges.mean_norm == pytest.approx(
        np.linalg.norm(x.astype(np.float64).mean(axis=0)), rel=1e-6
    )
    norms = np.linalg.norm(x.astype(np.float64), axis=1)
    quantiles = dict(space.ranges.norm_quantiles or ())
    assert quantiles[0.5] == pytest.approx(np.median(norms), rel=1e-5)
    if not normalise:
        assert space.ranges.norm_max == pytest.approx(norms.max() * 2, rel=1e-5)
        assert not enforce(x.astype(np.float64) * 20, space).clean


def test_describe_reads_torch_and_bfloat16(rng):
    torch = pytest.importorskip("torch")
    x = rng.standard_normal((30, 4)).astype(np.float32)
    assert Space.describe(torch.from_numpy(x), "a", "dot") == Space.describe(x, "a", "dot")
    half = Space.describe(torch.from_numpy(x).to(torch.bfloat16), "a", "dot")
    assert half.dtype == "float32"


def test_describe_refuses_data_that_describe_nothing(rng):
    x = rng.standard_normal((9000, 4))
    with pytest.raises(InputError, match="space 'a': there are no rows to describe"):
        Space.describe(x[:0], "a", "dot")
    x[8500] = 0
    with pytest.raises(InputError, match="space 'a', row 8500: the row is all zeros"):
        Space.describe(x, "a", "cosine")
    assert Space.describe(x, "a", "dot").ranges.norm_min == 0
    with pytest.raises(ContractError, match=r"row 0: the row has norm .* 8992 of 9000 rows"):
        Space.describe(x, "a", "dot", normalised=True)
    x[8600, 1] = np.nan
    with pytest.raises(InputError, match="row 8600: the row holds nan in component 1"):
        Space.describe(x, "a", "dot")


def test_from_numbers_takes_plain_numbers():
    space = Space.from_numbers(
        "a",
        9,
        "dot",
        measured=MeasuredRanges(
            norm_quantiles={0.999: 4.0, 0.001: 2.0, 0.5: 3.0},
            norm_slack=1.5,
            mean=np.arange(9.0),
            component_max=[1.0] * 9,
        ),
        modality="audio",
        faults=Faults(out_of_range="repair"),
    )
    assert space.ranges.norm_quantiles == ((0.001, 2.0), (0.5, 3.0), (0.999, 4.0))
    assert space.ranges.norm_min == pytest.approx(2 / 1.5)
    assert space.ranges.norm_max == pytest.approx(6.0)
    assert space.ranges.mean_first == (0, 1, 2, 3, 4, 5, 6, 7)
    assert space.faults.out_of_range == "repair"
    with pytest.raises(ContractError, match=r"the mean has shape \(2,\), expected \(9,\)"):
        Space.from_numbers("a", 9, "dot", measured=MeasuredRanges(mean=[1.0, 2.0]))
    with pytest.raises(InputError, match=r"norm_slack is 0\.5, expected 1 or more"):
        MeasuredRanges(norm_slack=0.5)
    with pytest.raises(ContractError, match="ranges: component_max has 2 numbers, but dim is 9"):
        Space.from_numbers("a", 9, "dot", measured=MeasuredRanges(component_max=[1.0, 2.0]))


def test_revise_drops_responses_to_faults_that_no_longer_occur_and_keeps_the_others():
    space = Space(
        name="a",
        dim=2,
        metric="cosine",
        normalised=True,
        faults=Faults(zero="flag", not_normalised="repair", non_finite="flag"),
    )
    changed = space.revise(metric="l2").faults
    assert (changed.zero, changed.not_normalised, changed.non_finite) == (None, "repair", "flag")
    assert space.revise(version="1.0.1").faults == space.faults
    with pytest.raises(ContractError, match="zero is set to 'flag', but"):
        space.revise(metric="l2", faults={"zero": "flag"})


def test_the_published_schema_is_that_of_the_model():
    assert json.loads(SCHEMA_PATH.read_text(encoding="utf-8")) == json.loads(schema_text()), (
        "Run: python -c 'from isthmus.spaces.contract import *; "
        "SCHEMA_PATH.write_text(schema_text())'"
    )


@given(contracts())
def test_contracts_keep_the_published_schema(space):
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(space.to_json()), json.loads(SCHEMA_PATH.read_text()))


def test_the_schema_names_every_field_and_what_it_means():
    schema = json.loads(schema_text())
    assert set(schema["properties"]) == set(Space.model_fields)
    assert schema["required"] == ["name", "dim", "metric"]
    assert schema["additionalProperties"] is False
    definitions = [schema, *schema["$defs"].values()]
    for name, field in ((n, f) for d in definitions for n, f in d["properties"].items()):
        assert field.get("description"), name
