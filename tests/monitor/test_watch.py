"""A watch: what breaks a bound is noticed, what to do follows, and it is taken up again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isthmus import Bridge, Pairs, fit
from isthmus.adapters.chain import Affine, Chain
from isthmus.encoders import ModelCanary, PrecomputedEncoder
from isthmus.errors import InputError
from isthmus.monitor import Observations, Watch, read_log, read_vectors, write_monitor_report

D = 8
MODELS = np.random.default_rng(7)
TURN = np.linalg.qr(MODELS.standard_normal((D, D)))[0]
SPREAD = np.arange(1, D + 1) ** -0.7


def rows(n: int, seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal((n, D)) * SPREAD).astype(np.float32)


@pytest.fixture(scope="module")
def bridge() -> Bridge:
    x = rows(900, 0)
    return fit(Pairs(x, (x @ TURN).astype(np.float32)), recipe="procrustes")


def hits(share: float, n: int, seed: int, group: str | None = None) -> Observations:
    found = np.random.default_rng(seed).random(n) < share
    return Observations(str(n), hit=tuple((float(h), group) for h in found))


def test_healthy_traffic_raises_nothing(bridge: Bridge) -> None:
    watch = Watch(bridge, bounds=["hit >= 0.8", "refused <= 0.01"], reference=rows(600, 1))
    watch.update(Observations("1", rows(500, 2)))
    watch.update(hits(0.85, 500, 3))
    found = watch.result()
    assert found.alarms == () and found.recommended[0] == "nothing"
    assert (found.rows, found.results, found.baseline) == (500, 500, 0)
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_broken_bound_is_to_be_rolled_back(bridge: Bridge) -> None:
    watch = Watch(bridge, bounds=["hit >= 0.8"])
    watch.update(hits(0.6, 500, 3))
    found = watch.result()
    assert found.alarms == ("bound hit >= 0.8 is broken",)
    assert found.recommended == ("roll back", "live results break hit >= 0.8")


def test_drift_alone_asks_for_a_new_fit(bridge: Bridge) -> None:
    watch = Watch(bridge, bounds=["hit >= 0.8"], reference=rows(600, 1))
    watch.update(Observations("1", rows(900, 2) + 0.6 * SPREAD.astype(np.float32)))
    watch.update(hits(0.85, 500, 3))
    assert watch.result().recommended[0] == "refit"
    assert "classifier drifted away from the reference" in watch.result().alarms


def test_one_query_over_and_over_is_no_reason_to_fit_again(bridge: Bridge, tmp_path: Path) -> None:
    watch = Watch(bridge, reference=rows(600, 1))
    watch.update(Observations("1", np.repeat(rows(1, 2), 900, axis=0)))
    found = watch.result()
    assert found.difference is not None and found.difference.repeated == 1.0
    assert found.alarms and found.recommended[0] == "nothing"
    assert "100% of the newest vectors are one and the same" in found.recommended[1]
    pytest.importorskip("plotly")
    write_monitor_report(found, tmp_path / "watch.html", name="log")
    assert "Not known: most of it is one query." in (tmp_path / "watch.html").read_text()


def test_decimals_of_a_log_are_no_drift_and_lengths_are_called_lengths(bridge: Bridge) -> None:
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (rows(600, 1), rows(900, 2))]
    cut, longer = (Watch(bridge, reference=unit[0]) for _ in range(2))
    cut.update(Observations("1", np.trunc(unit[1] * 1e5) / np.float32(1e5)))
    assert cut.result().alarms == ()
    longer.update(Observations("1", 2 * unit[1]))
    found = longer.result()
    assert found.alarms == ("length drifted away from the reference",)
    assert "only the lengths of vectors have changed" in found.recommended[1]


def test_a_watch_that_saw_nothing_does_not_say_that_all_is_well(
    bridge: Bridge, tmp_path: Path
) -> None:
    said = {}
    for name, seen in {
        "nothing": Observations("1"),
        "answers": Observations("1", hit=((1.0, None),)),
        "vectors": Observations("1", rows(50, 2)),
    }.items():
        watch = Watch(bridge)
        watch.update(seen)
        action, said[name] = watch.result().recommended
        assert action == "nothing" and "than chance" not in said[name]
        pytest.importorskip("plotly")
        write_monitor_report(watch.result(), tmp_path / f"{name}.html", name=name)
        assert "Not known yet." in (tmp_path / f"{name}.html").read_text()
    assert "no line held a vector" in said["nothing"]
    assert "no bound is of the answers" in said["answers"]
    assert "50 are too few to look for drift" in said["vectors"]


def test_vectors_that_break_the_contract_are_counted(bridge: Bridge) -> None:
    watch = Watch(bridge, bounds=["refused <= 0.01"])
    broken = rows(300, 2)
    broken[::5] = np.nan
    broken[1::50] = 0
    watch.update(Observations("1", broken))
    refused = watch.result().tests[0]
    assert refused.alarm and refused.mean == pytest.approx(66 / 300)


def test_vectors_of_another_model_are_known_by_their_fingerprint(bridge: Bridge) -> None:
    watch = Watch(bridge)
    watch.update(Observations("1", rows(50, 2)))
    assert not watch.result().foreign
    watch.update(Observations("2", rows(50, 2)[:, ::-1].copy()))
    found = watch.result()
    assert found.foreign and found.recommended[0] == "roll back"


def test_groups_are_held_against_their_bounds_and_the_others(bridge: Bridge) -> None:
    watch = Watch(bridge, bounds=["hit.de >= 0.8", "hit.en >= 0.8", "gap.de <= 0.1"])
    for seed in range(4):
        watch.update(hits(0.9, 400, seed, "en"))
        watch.update(hits(0.55, 100, seed + 10, "de"))
    found = {test.name: test for test in watch.result().tests}
    assert found["hit.de"].alarm and found["gap.de"].alarm and not found["hit.en"].alarm
    assert found["gap.de"].n == 400 and found["gap.de"].mean == pytest.approx(0.35, abs=0.1)


def test_trust_that_does_not_come_true(bridge: Bridge) -> None:
    watch = Watch(bridge, bounds=["overconfidence <= 0.1"])
    same = np.random.default_rng(0).random(400) < 0.6
    watch.update(Observations("1", trust=tuple((0.9, float(s)) for s in same)))
    test = watch.result().tests[0]
    assert test.alarm and test.mean == pytest.approx(0.9 - same.mean())
    # where the log does not say it, the bridge does
    asked = rows(200, 5)
    own = Watch(bridge, bounds=["overconfidence <= 0.1"])
    assert bridge.trust is not None
    said = bridge.trust(asked)
    own.update(Observations("1", trust=((None, 0.0),) * 200, trusted=asked))
    assert own.result().tests[0].mean == pytest.approx(float(said.mean()), abs=1e-6)


def test_another_model_behind_the_name(bridge: Bridge) -> None:
    canary = ModelCanary.record(PrecomputedEncoder(rows(5, 0), name="m"), ["0", "1", "2"])
    found = Watch(bridge).result(canary.check(PrecomputedEncoder(rows(5, 1), name="m")))
    assert found.alarms[0].startswith("canary: another model")
    assert found.recommended[0] == "roll back"


def test_a_watch_is_taken_up_again(bridge: Bridge, tmp_path: Path) -> None:
    stream = rows(1500, 2) + np.linspace(0, 0.5, 1500, dtype=np.float32)[:, None]
    once = Watch(bridge, bounds=["hit >= 0.8", "gap.de <= 0.1"], baseline=300)
    paused = Watch(bridge, bounds=["hit >= 0.8", "gap.de <= 0.1"], baseline=300)
    for n, part in enumerate(np.array_split(stream, 6)):
        for watch in (once, paused):
            watch.update(Observations(str(n), part))
            watch.update(hits(0.75, 30, n, "de"))
        paused.save(tmp_path / "watch", overwrite=True)
        paused = Watch.load(tmp_path / "watch", bridge)
    assert paused.cursor == once.cursor == "30"
    a, b = once.result().as_dict(), paused.result().as_dict()
    for mine, theirs in zip(a.pop("tests"), b.pop("tests"), strict=True):
        assert mine.pop("p") == pytest.approx(theirs.pop("p"), rel=1e-6)
        assert mine == theirs
    assert a.pop("difference") == pytest.approx(b.pop("difference"))
    assert a == b and a["baseline"] == 300
    with pytest.raises(InputError, match="another contract"):
        Watch.load(tmp_path / "watch", bridge, side="target")
    other = replace(bridge, chain=Chain([*bridge.chain.stages, Affine(offset=np.ones(D))]))
    with pytest.raises(InputError, match="another bridge"):
        Watch.load(tmp_path / "watch", other)
    bridge.save(tmp_path / "bridge")
    assert Watch.load(tmp_path / "watch", Bridge.load(tmp_path / "bridge")).rows == paused.rows


def test_refusals(bridge: Bridge) -> None:
    for bound in ("speed <= 0.1", "hit", "hit >= 2"):
        with pytest.raises(InputError):
            Watch(bridge, bounds=[bound])
    with pytest.raises(InputError, match="no side"):
        Watch(bridge, side="left")
    with pytest.raises(InputError, match="baseline"):
        Watch(bridge, baseline=5)


def test_a_log_is_read_from_where_it_was_left(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"vector": [1, 2], "hit": 1, "group": "de"}\n{"same": true, "trust": 0.5}\n{"h')
    (seen,) = read_log(log, None)
    assert seen.vectors is not None and seen.vectors.tolist() == [[1, 2]]
    assert (seen.hit, seen.trust) == (((1.0, "de"),), ((0.5, 1.0),))
    log.write_text(log.read_text() + 'it": 0.5}\n')
    (rest,) = read_log(log, seen.cursor)
    assert rest.hit == ((0.5, None),) and rest.vectors is None
    assert not list(read_log(log, rest.cursor))
    for wrong in ('{"hit": 2}', "[]", "x", '{"vector": ["a"]}', '{"same": "yes"}', "[" * 9999):
        log.write_text(wrong + "\n")
        with pytest.raises(InputError, match="line 1"):
            list(read_log(log, None))
    np.save(tmp_path / "v.npy", rows(2500, 0))
    parts = list(read_vectors(str(tmp_path / "v.npy"), None))
    assert [part.cursor.split()[0] for part in parts] == ["1000", "2000", "2500"]
