"""Calibration of scores: what passes translated thresholds, beside what passes the old ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from isthmus import Bridge, Pairs, fit
from isthmus.bridge import Queries
from isthmus.errors import InputError
from isthmus.monitor import Observations, Watch, read_log
from isthmus.stores import MemoryStore

_D = 12


@pytest.fixture(scope="module")
def world() -> tuple[Bridge, np.ndarray, np.ndarray]:
    """A bridge, and first scores of 400 fresh queries: the old model's, and as served."""
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((_D, _D)))[0]

    def sides(n: int) -> tuple[np.ndarray, np.ndarray]:
        latent = rng.standard_normal((n, _D))
        seen = [latent + noise * rng.standard_normal((n, _D)) for noise in (0.9, 0.3)]
        return seen[0].astype(np.float32), (seen[1] @ turn).astype(np.float32)

    new, old = sides(1500)
    asked = Queries(Pairs(*sides(600)), {i: [i] for i in range(600)})
    bridge = fit(Pairs(new, old), queries=asked, recipe="procrustes")
    assert bridge.thresholds is not None
    store = MemoryStore(vectors={"v": old})
    asked = sides(400)
    k = bridge.thresholds.k
    found = [
        store.search(rows, k, column="v").scores
        for rows in (asked[1], np.asarray(bridge.transform(asked[0])))
    ]
    return bridge, *found


def _seen(old: np.ndarray, served: np.ndarray) -> Observations:
    pairs = zip(old.tolist(), served.tolist(), strict=True)
    return Observations("1", scores=tuple((tuple(o), tuple(s)) for o, s in pairs))


def test_translated_thresholds_hold_on_fresh_queries(
    world: tuple[Bridge, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    bridge, old, served = world
    watch = Watch(bridge, way="bridge")
    watch.update(_seen(old[:200], served[:200]))
    watch.save(tmp_path / "state")
    watch = Watch.load(tmp_path / "state", bridge)
    watch.update(_seen(old[200:], served[200:]))
    told = watch.result().scores
    assert told is not None and (told.way, told.queries) == ("bridge", 400)
    assert told.error < 0.05 and watch.result().alarms == ()
    for row in told.thresholds:
        assert row.by_old == pytest.approx((old >= row.old).mean())
        assert row.by_served == pytest.approx((served >= row.served).mean())
    json.dumps(watch.result().as_dict(), allow_nan=False)


@pytest.mark.parametrize(
    ("factor", "bound"), [(0.8, "scores.strict <= 0.1"), (1.2, "scores.lenient <= 0.1")]
)
def test_a_moved_scale_is_an_alarm(
    factor: float, bound: str, world: tuple[Bridge, np.ndarray, np.ndarray]
) -> None:
    bridge, old, served = world
    watch = Watch(bridge, way="bridge")
    watch.update(_seen(old, factor * served))
    assert watch.result().alarms == (f"bound {bound} is broken",)
    assert watch.result().recommended[0] == "roll back"


def test_scores_come_from_a_log(
    world: tuple[Bridge, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    bridge, old, served = world
    lines = [
        {"scores": s, "old_scores": o}
        for o, s in zip(old[:60].tolist(), served[:60].tolist(), strict=True)
    ]
    lines += [{"scores": [0.5]}, {"scores": [0.5], "old_scores": [0.5]}]
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    watch = Watch(bridge, way="bridge")
    for seen in read_log(log, None):
        watch.update(seen)
    told = watch.result().scores
    # those with fewer results than the thresholds are of are left out
    assert told is not None and told.queries == 60
    log.write_text('{"scores": "high"}\n')
    with pytest.raises(InputError, match="line 1: 'scores' is no list of numbers"):
        list(read_log(log, None))


def test_a_way_without_thresholds_is_refused(
    world: tuple[Bridge, np.ndarray, np.ndarray],
) -> None:
    with pytest.raises(InputError, match="no thresholds are known for the way 'none'"):
        Watch(world[0], way="none")
