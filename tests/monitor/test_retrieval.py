"""Canary queries: what they find at later looks is held against the first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isthmus.encoders import PrecomputedEncoder
from isthmus.errors import InputError
from isthmus.monitor import CanaryQueries, Watch, ask
from isthmus.monitor.observations import Observations
from isthmus.registry import parse_bound
from isthmus.spaces.query_log import read_query_log
from isthmus.stores import MemoryStore
from isthmus.ways import Recall, Search, Way

from .test_watch import bridge as bridge


def test_the_share_of_known_answers_among_the_first_is_asked_of_the_search(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        '{"query": "a", "clicked": ["a", "b"]}\n{"query": "b", "clicked": ["c"]}\n{"query": "c"}\n'
    )
    rows = np.eye(3, dtype=np.float32) + 0.1
    store = MemoryStore(["a", "b", "c"], {"old": rows})
    encoder = PrecomputedEncoder(rows, ids=["a", "b", "c"], name="m")
    search = Search(Way(recall=Recall(kind="old")), store, old=encoder)
    log = read_query_log(tmp_path / "log.jsonl")
    assert ask(search, log, k=1) == {"a": 1.0, "b": 0.0}  # one of two answers is all that fits
    assert ask(search, log, k=3) == {"a": 1.0, "b": 1.0}


def test_a_loss_against_the_first_look_and_a_broken_bound_are_alarms() -> None:
    first = {f"query {n}": float(n % 4 > 0) for n in range(40)}
    asked = CanaryQueries((parse_bound("retrieval >= 0.7"),))
    look = asked.look(first)
    assert (look.hit, look.first, look.alarms, look.lost) == (0.75, 0.75, (), ())
    worse = {**first, "query 1": 0.0}
    look = asked.look(worse)
    assert look.lost == ("query 1",)
    assert look.alarms == ("canary queries find 0.725 of their answers, 0.750 at the first look",)
    assert asked.look(dict.fromkeys(first, 0.5)).alarms[0].endswith("retrieval >= 0.7")
    assert asked.look(dict.fromkeys(first, 1.0)).alarms == ()
    with pytest.raises(InputError, match="not the canary queries of the first look"):
        asked.look({"other": 1.0})
    with pytest.raises(InputError, match="no canary queries with answers"):
        CanaryQueries().look({})


def test_it_is_kept_between_looks_and_rolls_back(bridge, tmp_path: Path) -> None:
    watch = Watch(bridge, bounds=["retrieval >= 0.2"])
    first = {f"query {n}": 1.0 for n in range(10)}
    assert watch.result(None, watch.asked.look(first)).recommended[0] == "nothing"
    watch.save(tmp_path / "state")
    again = Watch.load(tmp_path / "state", bridge)
    found = again.result(None, again.asked.look(dict.fromkeys(first, 0.1)))
    assert found.recommended[0] == "roll back"
    assert len(found.alarms) == 2
    assert found.as_dict()["retrieval"]["broken"] == ("retrieval >= 0.2",)


def test_trust_is_calibrated_over_the_newest_answers(bridge, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    watch = Watch(bridge)
    sure = rng.random(400)
    pairs = tuple(zip(sure.tolist(), (rng.random(400) < sure).astype(float), strict=True))
    watch.update(Observations("1", trust=pairs[:40]))
    assert watch.result().calibration is None
    watch.update(Observations("2", trust=pairs[40:]))
    watch.save(tmp_path / "state")
    found = Watch.load(tmp_path / "state", bridge).result().calibration
    assert found is not None
    assert found.rows == 400
    assert found.error < 0.08
    lied = Watch(bridge)
    lied.update(Observations("1", trust=tuple((0.95, float(n % 2)) for n in range(200))))
    found = lied.result().calibration
    assert found is not None
    assert found.error > 0.3
    assert found.temperature > 2
