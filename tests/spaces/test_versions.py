from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.spaces.versions import SemanticVersion, next_version

# The order that semver.org gives as its example (§11.4), with releases around it.
RISING = [
    "0.9.9",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.2.0",
    "1.10.0",
    "2.0.0-0",
    "2.0.0",
]


def test_precedence_is_that_of_the_standard():
    versions = [SemanticVersion.parse(text) for text in RISING]
    for a, b in itertools.combinations(versions, 2):
        assert a < b
        assert b > a
        assert a != b


def test_build_metadata_do_not_count():
    assert SemanticVersion.parse("1.0.0+a") == SemanticVersion.parse("1.0.0+b")
    assert hash(SemanticVersion.parse("1.0.0+a")) == hash(SemanticVersion.parse("1.0.0"))
    assert SemanticVersion.parse("1.0.0") != "1.0.0"


@pytest.mark.parametrize("text", ["1", "1.0", "v1.0.0", "01.0.0", "1.0.0-01", "1.0.0\n", "", "a"])
def test_what_is_no_semantic_version_is_refused(text):
    with pytest.raises(InputError, match=r"is not a semantic version such as '1\.2\.0'"):
        SemanticVersion.parse(text)


@pytest.mark.parametrize(
    ("version", "bump", "expected"),
    [
        ("1.2.3", "none", "1.2.3"),
        ("1.2.3", "patch", "1.2.4"),
        ("1.2.3", "minor", "1.3.0"),
        ("1.2.3", "major", "2.0.0"),
        ("1.2.3-rc.1", "patch", "1.2.3"),
        ("1.2.3-rc.1", "minor", "1.3.0"),
        ("1.2.0-rc.1", "minor", "1.2.0"),
        ("1.2.0-rc.1", "major", "2.0.0"),
        ("2.0.0-rc.1", "major", "2.0.0"),
        ("0.1.0+build", "patch", "0.1.1"),
    ],
)
def test_next_version(version, bump, expected):
    assert next_version(version, bump) == expected


@given(st.sampled_from(RISING), st.sampled_from(["patch", "minor", "major"]))
def test_a_bump_always_rises(version, bump):
    assert SemanticVersion.parse(next_version(version, bump)) > SemanticVersion.parse(version)
