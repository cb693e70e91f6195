"""A probe of the target, asked about rows that neither it nor the bridge has seen."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus import Bridge, Pairs, fit
from isthmus.bridge.probe import probe
from isthmus.errors import InputError

from .test_consume import Data


@pytest.fixture(scope="module")
def data() -> Any:
    return Data()


@pytest.fixture(scope="module")
def bridge(data: Any) -> Bridge:
    return fit(Pairs(data.new, data.old), recipe="unit_norm | procrustes | unit_norm")


def test_a_probe_is_asked_about_the_test_part_of_the_fit(data: Any, bridge: Bridge) -> None:
    linear = pytest.importorskip("sklearn.linear_model")
    pairs = Pairs(data.new, data.old, labels=data.classes)
    found = probe(bridge, pairs)
    counts = pairs.split(bridge.provenance.fits[0].shares).counts
    assert (found.linear.learned_on, found.linear.rows) == (counts["fit"], counts["test"])
    split = pairs.split(bridge.provenance.fits[0].shares)
    known, asked = split["fit"].sample(9999, seed=0), split["test"].sample(9999, seed=0)
    theirs = linear.RidgeClassifierCV(alphas=np.logspace(-4, 4, 9)).fit(known.y, known.labels)
    assert found.linear.own.value == pytest.approx(theirs.score(asked.y, asked.labels), abs=0.03)
    through = theirs.score(bridge.transform(asked.x), asked.labels)
    assert found.linear.bridged.value == pytest.approx(through, abs=0.03)
    theirs = theirs.fit(known.x, known.labels)
    assert found.linear.source is not None
    at = theirs.score(asked.x, asked.labels)
    assert found.linear.source.value == pytest.approx(at, abs=0.03)
    assert found.concepts is not None
    assert len(found.concepts.concepts) == 4
    assert min(c.cosine for c in found.concepts.concepts) > 0.9


def test_without_classes_there_is_nothing_to_probe(data: Any, bridge: Bridge) -> None:
    with pytest.raises(InputError, match="learned from classes"):
        probe(bridge, Pairs(data.new, data.old))
