from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import ContractError
from isthmus.spaces.compatibility import CLAUSES, check_compatible, next_version, required_bump
from isthmus.spaces.contract import Faults, Ranges, Space
from isthmus.spaces.guard import enforce

BASE = Space(
    name="catalogue",
    version="1.2.0",
    model="minilm",
    revision="c0ffee",
    layer="pooler",
    modality="text",
    dim=2,
    metric="dot",
    ranges=Ranges(norm_min=0.5, norm_max=2.0, component_min=(-2, -2), component_max=(2, 2)),
    faults=Faults(non_finite="repair", out_of_range="repair", wrong_dtype="repair"),
)


def broken(consumer: Space, producer: Space) -> list[str]:
    return [violation.clause for violation in check_compatible(consumer, producer).violations]


@st.composite
def contracts(draw: st.DrawFn) -> Space:
    normalised = draw(st.booleans())
    metric = draw(st.sampled_from(["cosine", "dot", "l2"]))
    bound = None if normalised else draw(st.sampled_from([None, 1.5, 2.0]))
    sides = draw(st.sampled_from([None, (1.0, 1.0), (3.0, 1.0)]))
    responses = st.sampled_from(["reject", "flag", "repair"])
    possible = bound is not None or sides is not None
    return Space(
        name=draw(st.sampled_from("ab")),
        version=draw(st.sampled_from(["0.1.0", "0.2.0", "1.0.0", "1.1.0-rc.1", "1.1.0", "2.0.0"])),
        model=draw(st.sampled_from([None, "m", "n"])),
        layer=draw(st.sampled_from([None, "l"])),
        dim=2,
        dtype=draw(st.sampled_from(["float16", "float32", "float64"])),
        metric=metric,
        normalised=normalised,
        ranges=Ranges(norm_max=bound, component_max=sides),
        faults=Faults(
            wrong_dtype=draw(responses),
            non_finite=draw(responses),
            zero=draw(st.sampled_from(["reject", "flag"])) if metric == "cosine" else None,
            not_normalised=draw(responses) if normalised else None,
            out_of_range=draw(st.sampled_from(["reject", "flag"])) if possible else None,
        ),
    )


@given(contracts())
def test_every_contract_accepts_itself(space):
    answer = check_compatible(space, space)
    assert answer
    assert answer.compatible
    assert required_bump(space, space) == "none"
    answer.require()


VERSIONS = [
    # consumer, producer, violated clauses
    ("1.2.0", "1.2.0", []),
    ("1.2.0", "1.3.0", []),
    ("1.2.9", "1.2.3", []),
    ("1.2.0", "1.1.0", ["version.minor"]),
    ("1.2.0", "2.2.0", ["version.major"]),
    ("2.2.0", "1.2.0", ["version.major"]),
    ("1.2.0", "1.3.0-rc.1", ["version.prerelease"]),
    ("1.2.0", "1.1.0-rc.1", ["version.minor", "version.prerelease"]),
    ("1.2.0-rc.1", "1.2.0-rc.2", []),
    ("1.2.0-rc.2", "1.2.0-rc.1", ["version.prerelease"]),
    ("1.2.0-rc.1", "1.2.0", []),
    ("1.2.0-rc.1", "1.3.0-rc.2", ["version.prerelease"]),
    ("0.2.0", "0.2.7", []),
    ("0.2.0", "0.3.0", ["version.minor"]),
    ("0.2.0", "1.2.0", ["version.major"]),
    ("1.2.0+a", "1.2.0+b", []),
]


@pytest.mark.parametrize(("consumer", "producer", "clauses"), VERSIONS)
def test_versions(consumer, producer, clauses):
    assert broken(BASE.revise(version=consumer), BASE.revise(version=producer)) == clauses


@pytest.mark.parametrize(
    ("change", "clauses"),
    [
        ({"name": "other"}, ["name"]),
        ({"model": "mpnet"}, ["model"]),
        ({"model": None}, ["model"]),
        ({"revision": "f00"}, ["revision"]),
        ({"layer": None}, ["layer"]),
        ({"modality": "image"}, ["modality"]),
        ({"metric": "l2"}, ["metric"]),
        ({"dtype": "float16"}, []),
        ({"dtype": "float64"}, ["dtype"]),
        ({"ranges": BASE.ranges.model_copy(update={"norm_max": 3.0})}, ["ranges.norm"]),
        ({"ranges": BASE.ranges.model_copy(update={"norm_max": 1.5})}, []),
        ({"ranges": BASE.ranges.model_copy(update={"norm_min": None})}, ["ranges.norm"]),
        (
            {"ranges": BASE.ranges.model_copy(update={"component_min": (-3, -2)})},
            ["ranges.component"],
        ),
        ({"ranges": BASE.ranges.model_copy(update={"component_min": (-1, -1)})}, []),
        ({"ranges": BASE.ranges.model_copy(update={"mean_norm": 9.0})}, []),
        ({"ranges": Ranges()}, ["ranges.norm", "ranges.component"]),
        ({"faults": Faults(out_of_range="repair", non_finite="reject")}, []),
        (
            {"faults": Faults(out_of_range="flag", non_finite="flag", wrong_dtype="flag")},
            ["faults.wrong_dtype", "faults.non_finite", "faults.out_of_range"],
        ),
    ],
)
def test_each_clause_alone(change, clauses):
    assert broken(BASE, BASE.revise(**change)) == clauses


def test_a_unit_norm_that_is_required_must_be_promised():
    unit = Space(name="a", dim=2, metric="dot", normalised=True)
    loose = Space(name="a", dim=2, metric="dot")
    assert broken(unit, loose) == ["normalised"]
    assert broken(loose, unit) == []


def test_a_producer_that_normalises_keeps_bounds_about_one():
    unit = Space(name="a", dim=2, metric="dot", normalised=True)
    for low, high, clauses in [(0.5, 2.0, []), (1.5, 2.0, ["ranges.norm"])]:
        bounded = Space(name="a", dim=2, metric="dot", ranges=Ranges(norm_min=low, norm_max=high))
        assert broken(bounded, unit) == clauses
    components = Ranges(component_min=(-1.1, -1.1), component_max=(1.1, 1.1))
    assert broken(Space(name="a", dim=2, metric="dot", ranges=components), unit) == []


def test_cosine_and_dot_are_the_same_on_unit_vectors_only():
    cosine = Space(name="a", dim=2, metric="cosine")
    dot = Space(name="a", dim=2, metric="dot")
    unit = Space(name="a", dim=2, metric="dot", normalised=True)
    assert broken(cosine, unit) == []
    assert broken(cosine, dot) == ["metric", "faults.zero"]
    assert broken(dot, cosine) == ["metric"]
    assert broken(cosine, unit.revise(metric="l2")) == ["metric"]


def test_a_consumer_that_rejects_other_dtypes_accepts_only_its_own():
    strict = Space(name="a", dim=2, metric="dot", faults=Faults(wrong_dtype="reject"))
    assert broken(strict, strict.revise(dtype="float16")) == ["dtype"]


def test_zero_rows_that_a_consumer_cannot_meet():
    cosine = Space(name="a", dim=2, metric="cosine")
    flags = cosine.revise(faults=Faults(zero="flag"))
    assert broken(cosine, flags) == ["faults.zero"]
    assert broken(flags, cosine) == []
    # A normalised dot space has no zero rows; one that lets them pass as cosine rows does.
    unit = Space(name="a", dim=2, metric="dot", normalised=True)
    leaky = Space(name="a", dim=2, metric="cosine", normalised=True, faults=Faults(zero="flag"))
    assert broken(unit, leaky) == ["faults.zero"]


def test_every_violated_clause_is_named_and_nothing_else():
    producer = Space(
        name="other",
        version="2.0.0-rc.1",
        model="mpnet",
        revision="f00",
        modality="image",
        dim=3,
        dtype="float64",
        metric="l2",
        faults=Faults(non_finite="flag", wrong_dtype="flag"),
    )
    answer = check_compatible(BASE, producer)
    assert not answer
    assert [violation.clause for violation in answer.violations] == [
        "name",
        "version.major",
        "version.prerelease",
        "model",
        "revision",
        "layer",
        "modality",
        "dim",
        "metric",
        "dtype",
        "ranges.norm",
        "faults.wrong_dtype",
        "faults.non_finite",
    ]
    text = str(answer)
    assert text.startswith("a consumer of catalogue 1.2.0 cannot accept other 2.0.0-rc.1:\n  name")
    assert "dim: expected 2, found 3 (the vectors do not fit)" in text
    assert "layer: expected pooler, found the final output" in text
    assert "ranges.norm: expected norms from 0.5 to 2, found norms from 0 to inf" in text
    with pytest.raises(ContractError) as error:
        answer.require()
    assert error.value.where == "other 2.0.0-rc.1 offered to a consumer of catalogue 1.2.0"
    assert all(str(violation) in error.value.what for violation in answer.violations)


def test_component_violations_name_the_first_and_count():
    wide = BASE.revise(ranges=BASE.ranges.model_copy(update={"component_max": (3.0, 4.0)}))
    (violation,) = check_compatible(BASE, wide).violations
    assert violation.expected == "component 0 from -2 to 2"
    assert violation.found == "from -2 to 3 (2 components differ so)"


def test_the_clauses_can_be_listed():
    assert len({clause.name for clause in CLAUSES}) == len(CLAUSES)
    assert all(clause.rule and clause.why for clause in CLAUSES)
    fields = {clause.name.split(".")[0] for clause in CLAUSES}
    assert fields == set(Space.model_fields)  # no field is forgotten


@given(contracts(), contracts())
def test_rows_that_a_compatible_producer_lets_through_are_accepted(producer, consumer):
    """The outside witness: the guard of the consumer finds nothing in what the producer passes."""
    if not check_compatible(consumer, producer):
        consumer = producer.revise(version=producer.version)
    rng = np.random.default_rng(0)
    for scale in (0.1, 1.0, 1.4):
        x = rng.standard_normal((40, 2))
        x *= scale / (np.linalg.norm(x, axis=1, keepdims=True) if producer.normalised else 1)
        for row in x.astype(producer.dtype):
            try:
                passed = enforce(row[None, :], producer)
            except ContractError:
                continue
            if not passed.flagged.any():
                seen = enforce(passed.vectors, consumer)
                assert {finding.fault for finding in seen.faults} <= {"wrong_dtype"}


@pytest.mark.parametrize(
    ("change", "bump"),
    [
        ({}, "none"),
        ({"version": "7.0.0"}, "none"),
        ({"ranges": BASE.ranges.model_copy(update={"mean_norm": 9.0})}, "patch"),
        ({"dtype": "float16"}, "minor"),
        ({"ranges": BASE.ranges.model_copy(update={"norm_max": 1.5})}, "minor"),
        ({"faults": Faults(out_of_range="repair", non_finite="reject")}, "minor"),
        ({"ranges": BASE.ranges.model_copy(update={"norm_max": 3.0})}, "major"),
        ({"faults": Faults(out_of_range="repair", non_finite="flag")}, "major"),
        ({"revision": "f00"}, "major"),
        ({"name": "other"}, "major"),
        ({"dtype": "float64"}, "major"),
    ],
)
def test_required_bump(change, bump):
    assert required_bump(BASE, BASE.revise(**change)) == bump
    below = {"none": "none", "patch": "patch", "minor": "patch", "major": "minor"}[bump]
    early = BASE.revise(version="0.3.0")
    assert required_bump(early, early.revise(**change)) == below


def test_naming_what_was_unspecified_is_an_addition():
    plain = Space(name="a", dim=2, metric="dot")
    assert required_bump(plain, plain.revise(revision="abc")) == "minor"
    assert required_bump(plain.revise(revision="abc"), plain) == "major"


@given(contracts(), contracts())
def test_the_required_bump_is_what_compatibility_needs(old, new):
    """After the bump, consumers of the old contract accept the new one unless it was breaking."""
    old, new = old.revise(version="1.1.0"), new.revise(name=old.name)
    bump = required_bump(old, new)
    bumped = new.revise(version=next_version(old.version, bump))
    assert check_compatible(old, bumped).compatible == (bump != "major")
