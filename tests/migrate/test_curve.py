"""What judges a plan: every query the full index, unseen ones what lies between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus import open_vectors
from isthmus.adapters.cross_fitted import CrossFitted
from isthmus.bridge import Fitting, ModelChange, StoreSample, fit, fit_sample, sample_store
from isthmus.encoders import PrecomputedEncoder
from isthmus.errors import GateError
from isthmus.evaluate import Judging
from isthmus.migrate.curve import SHARES, serving_curve
from isthmus.migrate.plan_mapped import check_mapped
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.query_log import QueryLog
from isthmus.stores import MemoryStore

N, ASKED, DIM = 400, 300, 48
IDS = np.arange(N)


def _rows(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)


def _recall(queries: np.ndarray, items: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Whether the answer of each query is among the first ten, by the cosine."""
    unit = items / np.linalg.norm(items, axis=1, keepdims=True)
    scores = queries @ unit.T
    own = scores[np.arange(len(queries)), answers]
    return ((scores > own[:, None]).sum(axis=1) < 10).astype(np.float64)


@pytest.fixture(scope="module")
def sample() -> tuple[StoreSample, ModelChange]:
    """An index whose queries the new model places somewhat better than the old one."""
    meaning, noise = _rows(0), _rows(1, ASKED)
    turn = np.linalg.qr(_rows(2, DIM))[0]
    names = [f"q{n}" for n in range(ASKED)]

    def by(spread: float, way: np.ndarray, name: str) -> PrecomputedEncoder:
        asked = meaning[:ASKED] + spread * noise
        return PrecomputedEncoder(
            meaning @ way, name=name, ids=[str(i) for i in IDS],
            queries=open_vectors(asked @ way, ids=names),
        )  # fmt: skip

    models = ModelChange(by(2.6, turn, "new"), by(3.0, np.eye(DIM), "old"))
    log = QueryLog(
        np.array(names), tuple(names), np.ones(ASKED), {f"q{n}": [str(n)] for n in range(ASKED)}
    )
    store = MemoryStore(np.array([str(i) for i in IDS]), {"v": meaning})
    return sample_store(store, models, pairs=N, log=log), models


def test_the_full_index_is_judged_by_every_query_whatever_the_bridge_has_seen(sample) -> None:
    rows, models = sample
    asked = np.array([int(rows.clicked[name][0]) for name in rows.queries.ids.tolist()])
    place = {int(item): at for at, item in enumerate(rows.ids.tolist())}
    answers = np.array([place[n] for n in asked.tolist()])
    old = _recall(rows.old_queries, rows.old, answers)
    new = _recall(rows.new_queries, rows.new, answers)
    held_out = fit_sample(rows, models, recipe="procrustes")
    own = held_out.chain
    half_seen = replace(held_out, out_of_fold=CrossFitted((own, own), seed=3))
    bare = replace(held_out, evidence=None, out_of_fold=None)
    for bridge in (held_out, half_seen, bare, None):
        curve = serving_curve(rows, bridge, old_runs=True)
        share, value, gain = curve.points[-1]
        assert share == 1.0
        assert curve.kept == pytest.approx(old.mean(), abs=2e-3)
        assert value == pytest.approx(new.mean(), abs=2e-3)
        assert gain.value == pytest.approx(new.mean() - old.mean(), abs=2e-3)
        assert gain.low is not None and gain.high is not None
        # as wide as 300 queries are, not as 60 would be
        width = 2 * 1.96 * (new - old).std() / np.sqrt(ASKED)
        assert gain.high - gain.low == pytest.approx(width, rel=0.25)
        assert [s for s, _, _ in curve.points] == [0.0, *SHARES]
        for _, told, over in curve.points:
            assert over.value is not None
            assert told == pytest.approx(curve.kept + over.value, abs=2e-3)


def test_it_is_judged_where_the_bridge_has_seen_all_queries(sample) -> None:
    rows, models = sample
    bridge = fit_sample(rows, models, recipe="procrustes")
    (fit_record,) = bridge.provenance.fits
    every = {name: float(name == "fit") for name in fit_record.shares}
    seen = fit_record.model_copy(update={"shares": every})
    all_seen = replace(
        bridge, out_of_fold=None, provenance=bridge.provenance.model_copy(update={"fit": seen})
    )
    curve = serving_curve(rows, all_seen, old_runs=True)
    assert curve.points == serving_curve(rows, bridge, old_runs=True).points[-1:]
    assert curve.kept is not None


def test_mapped_vectors_are_judged_by_items_that_their_map_has_not_seen() -> None:
    """A map that has learned its items by heart finds them; that says nothing about the others."""
    old, new = _rows(0), _rows(1)  # two models that agree on nothing
    by_heart = fit(
        Pairs(old[:60], new[:60], ids=[str(i) for i in IDS[:60]], metric="cosine"), kind="corpus",
        recipe="ridge(alpha=1e-6)", judging=Judging(resamples=50), fitting=Fitting(),
    )  # fmt: skip
    names = [f"q{n}" for n in range(ASKED)]
    blurred = old[:ASKED] + 2.5 * _rows(3, ASKED)
    models = ModelChange(
        PrecomputedEncoder(new, name="new", ids=[str(i) for i in IDS],
                           queries=open_vectors(new[:ASKED], ids=names)),
        PrecomputedEncoder(old, name="old", ids=[str(i) for i in IDS],
                           queries=open_vectors(blurred, ids=names)),
        mapped=by_heart,
    )  # fmt: skip
    store = MemoryStore(np.array([str(i) for i in IDS]), {"v": old})

    def curve_of(asked: int):
        log = QueryLog(
            np.array(names[:asked]), tuple(names[:asked]), np.ones(asked),
            {f"q{n}": [str(n)] for n in range(asked)},
        )  # fmt: skip
        rows = sample_store(store, models, pairs=N, log=log)
        return serving_curve(rows, None, old_runs=True, mapped_by=by_heart), rows

    curve, rows = curve_of(ASKED)
    flattered = serving_curve(rows, None, old_runs=True)
    assert flattered.points[-1][1] > curve.points[-1][1] + 0.05
    # of the sixty queries whose items the map was fitted on, those held out are too few
    few, rows = curve_of(55)
    assert serving_curve(rows, None, old_runs=True).points
    assert few.points == () and few.kept is None
    with pytest.raises(GateError, match="answers the bridge was not fitted on"):
        check_mapped(few, "docs")
