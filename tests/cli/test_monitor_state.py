"""``isthmus monitor --state``: nothing that is asked is ignored, and no bound goes untested."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import artefact


def write_log(path: str, rows: np.ndarray, hit: float, **more: object) -> None:
    Path(path).write_text(
        "".join(json.dumps({"vector": row.tolist(), "hit": hit, **more}) + "\n" for row in rows)
    )


POLICY = '[stages.production]\nbounds = ["hit >= 0.8", "gap.de <= 0.1"]\nalpha = 0.02\n'
BOUNDS = ("--bound", "hit >= 0.8", "--bound", "gap.de <= 0.1")


@pytest.fixture
def watch(cli: Any, bridge: Path, data: Any) -> tuple[Any, ...]:
    """A watch that was begun with every option."""
    rows = data["q_new"][:50]
    write_log("log.jsonl", rows, 1, group="de")
    with Path("log.jsonl").open("a") as file:
        file.write('{"hit": 1}\n' * 50)
    Path("policy.toml").write_text(POLICY)
    Path("other.toml").write_text(POLICY.replace("0.8", "0.9"))
    Path("fewer.toml").write_text(POLICY.replace(', "gap.de <= 0.1"', ""))
    Path("alpha.toml").write_text(POLICY.replace("0.02", "0.03"))
    np.save("few.npy", data["q_new"][:400])
    look = ("monitor", "log.jsonl", "--bridge", bridge, "--state", "watch")
    begun = cli(
        *look, "--policy", "policy.toml", "--reference", "q_new.npy", "--baseline", "200",
        "--side", "source", "--way", "bridge",
    )  # fmt: skip
    assert begun.code == 0, begun
    return look


@pytest.mark.parametrize(
    "same",
    [
        (),
        ("--policy", "policy.toml"),
        BOUNDS,
        (*BOUNDS, "--bound", "refused <= 0.01"),
        ("--bound", "hit>=0.80", "--bound", "gap.de  <=  .1"),
        ("--alpha", "0.02"),
        ("--reference", "q_new.npy"),
        ("--baseline", "200"),
        ("--side", "source"),
        ("--way", "bridge"),
    ],
    ids=lambda same: " ".join(same) or "nothing",
)
def test_what_the_state_holds_may_be_said_again(
    cli: Any, watch: tuple[Any, ...], same: tuple[str, ...]
) -> None:
    again = cli(*watch, *same, "--json")
    assert again.code == 0, again
    assert (again.json["rows"], again.json["results"]) == (50, 100)
    assert {"hit >= 0.8", "gap.de <= 0.1"} <= {t["hypothesis"] for t in again.json["tests"]}


@pytest.mark.parametrize(
    ("other", "own", "asked"),
    [
        (("--bound", "hit >= 0.99"), "holds hit >= 0.8", "hit >= 0.99"),
        ((*BOUNDS, "--bound", "hit.fr >= 0.5"), "no bound of 'hit.fr'", "hit.fr >= 0.5"),
        ((*BOUNDS, "--bound", "refused <= 0.2"), "holds refused <= 0.01", "refused <= 0.2"),
        (("--bound", "hit >= 0.8"), "holds gap.de <= 0.1 as well", "only hit >= 0.8"),
        (("--bound", "retrieval >= 0.8"), "no bound of 'retrieval'", "retrieval >= 0.8"),
        (("--policy", "other.toml"), "holds hit >= 0.8", "hit >= 0.9"),
        (("--policy", "fewer.toml"), "holds gap.de <= 0.1 as well", "only hit >= 0.8"),
        (("--policy", "alpha.toml"), "holds alpha 0.02", "0.03"),
        (("--alpha", "0.01"), "holds alpha 0.02", "0.01"),
        (("--reference", "few.npy"), "holds other vectors", "few.npy"),
        (("--baseline", "1000"), "a baseline of 200", "1000"),
        (("--side", "target"), "vectors of the source", "target"),
        (("--way", "mixed"), "holds the way 'bridge'", "'mixed'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_it_does_not_hold_is_refused(
    cli: Any, watch: tuple[Any, ...], other: tuple[str, ...], own: str, asked: str
) -> None:
    before = Path("watch/monitor.json").read_bytes()
    option = other[-2]
    refused = cli(*watch, *other)
    refused.refused(f"{option}: the watch in watch", own, f"{asked} is asked", "another --state")
    refused.refused(f"Leave {option} out")
    assert Path("watch/monitor.json").read_bytes() == before


def test_a_reference_cannot_take_the_place_of_a_baseline(cli: Any, bridge: Path) -> None:
    watch = ("monitor", "q_new.npy", "--bridge", bridge, "--state", "watch")
    assert cli(*watch).code == 0
    cli(*watch, "--reference", "q_new.npy").refused("--reference", "the first 1000 vectors")


def test_the_side_is_that_of_the_state(cli: Any, bridge: Path) -> None:
    watch = ("monitor", "old.npy", "--bridge", bridge, "--state", "watch")
    assert cli(*watch, "--side", "target").code == 0
    again = cli(*watch, "--json")
    assert again.code == 0 and again.json["rows"] == 1500


def test_a_rotated_log_is_told_and_read(cli: Any, watch: tuple[Any, ...], data: Any) -> None:
    Path("log.jsonl").rename("log.1.jsonl")
    write_log("log.jsonl", data["q_new"][50:250], 0)
    found = cli(*watch, "--json")
    assert found.code == 1 and found.json["alarms"] == ["bound hit >= 0.8 is broken"]
    assert (found.json["rows"], found.json["results"]) == (250, 300)
    (notice,) = found.json["notices"]
    assert "log.jsonl does not begin with the 100 lines" in notice and notice in found.err
    assert cli(*watch, "--json").json["notices"] == []


def test_a_state_that_was_written_before_goes_on(
    cli: Any, watch: tuple[Any, ...], data: Any
) -> None:
    """Such a state holds a number of lines, and neither its side nor which bounds were stated."""
    with artefact.read(Path("watch"), "monitor") as stored:
        content = {k: v for k, v in stored.content.items() if k not in ("side", "expected")}
        tensors = {name: stored.tensors[name] for name in [*stored.tensors]}
    content["cursor"] = content["cursor"].split()[0]
    artefact.write(Path("watch"), "monitor", content, tensors, overwrite=True)
    with Path("log.jsonl").open("a") as file:
        file.write('{"hit": 1}\n')
    found = cli(*watch, *BOUNDS, "--json")
    assert found.code == 0 and found.json["results"] == 101
    assert "which 100 lines were read before" in found.json["notices"][0]
    assert cli(*watch, "--json").json["notices"] == []


@pytest.mark.parametrize("name", ["bad.jsonl.gz", "bad.ndjson", "bad.json", "bad.JSONL"])
def test_a_log_breaks_its_bound_however_it_is_kept(
    cli: Any, bridge: Path, data: Any, name: str
) -> None:
    write_log("bad.jsonl", data["q_new"][:200], 0)
    text = Path("bad.jsonl").read_bytes()
    if name == "bad.json":
        text = json.dumps([json.loads(line) for line in text.splitlines()]).encode()
    Path(name).write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
    found = cli("monitor", name, "--bridge", bridge, "--bound", "hit >= 0.8", "--json")
    assert found.code == 1 and found.json["alarms"] == ["bound hit >= 0.8 is broken"]
    assert (found.json["rows"], found.json["results"]) == (200, 200)


@pytest.mark.parametrize(
    "bound",
    [
        "hit >= 0.8",
        "hit.de >= 0.8",
        "gap.de <= 0.1",
        "overconfidence <= 0.1",
        "scores.lenient <= 0.1",
        "retrieval >= 0.8",
    ],
)
@pytest.mark.parametrize("stated", ["--bound", "--policy"])
def test_a_bound_that_nothing_tested_is_told(
    cli: Any, bridge: Path, stated: str, bound: str
) -> None:
    Path("p.toml").write_text(f'[stages.production]\nbounds = ["{bound}"]\n')
    watch = ("monitor", "q_new.npy", "--bridge", bridge)
    option = (stated, bound if stated == "--bound" else "p.toml")
    for state in ((), ("--state", "watch")):
        found = cli(*watch, *state, *option)
        assert found.code == 1, found
        assert f"NOT TESTED {bound}: no value came" in " ".join(found.out.split())
    # a look that leaves the options out is of the same bounds
    told = cli(*watch, "--state", "watch", "--json")
    assert told.code == 1 and told.json["untested"] == [bound] and not told.json["alarm"]
    assert f"nothing is known of {bound}" in told.json["why"]
    # what is held without being stated needs no values
    assert cli(*watch).code == 0


def test_vectors_that_are_stated_are_missed_too(cli: Any, bridge: Path) -> None:
    Path("log.jsonl").write_text('{"hit": 1}\n' * 20)
    watch = ("monitor", "log.jsonl", "--bridge", bridge)
    assert cli(*watch).code == 0
    found = cli(*watch, "--bound", "refused <= 0.01", "--state", "watch", "--json")
    assert found.code == 1 and found.json["untested"] == ["refused <= 0.01"]
    assert cli(*watch, "--state", "watch", "--json").json["untested"] == ["refused <= 0.01"]


def test_a_page_does_not_say_yes_where_nothing_was_tested(cli: Any, bridge: Path) -> None:
    pytest.importorskip("plotly")
    watch = ("monitor", "q_new.npy", "--bridge", bridge, "--report", "watch.html")
    assert cli(*watch, "--bound", "hit >= 0.8").code == 1
    assert "Not known: there are bounds that nothing tested." in Path("watch.html").read_text()


def test_a_stage_without_its_policy_is_refused(cli: Any, bridge: Path) -> None:
    found = cli("monitor", "q_new.npy", "--bridge", bridge, "--stage", "canary")
    assert found.code != 0 and "--stage: a stage is one of a policy" in found.err
