"""``isthmus monitor``: exit code 1 on an alarm, a webhook, a page, and an alias rolled back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.chain import Affine, Chain
from isthmus.bridge import Bridge


def log_of(vectors: np.ndarray, hits: np.ndarray) -> str:
    return "".join(
        json.dumps({"vector": v.tolist(), "hit": float(h)}) + "\n"
        for v, h in zip(vectors, hits, strict=True)
    )


def test_a_day_of_traffic(cli: Any, bridge: Path, data: Any, posted: Any) -> None:
    address, got = posted
    rng = np.random.default_rng(0)
    queries = data["q_new"]
    Path("log.jsonl").write_text(log_of(queries[:600], rng.random(600) < 0.9))
    Path("policy.toml").write_text('[stages.production]\nbounds = ["hit >= 0.8"]\nalpha = 0.01\n')
    older = Bridge.load(bridge)
    for n in (1, 2):
        replace(older, source=older.source.revise(revision=f"former {n}")).save(f"{n}.bridge")
    for folder in ("1.bridge", "2.bridge", bridge):
        assert cli("publish", folder, "docs", "-r", "registry", "--create").code == 0
        assert cli("promote", "docs", "production", "-r", "registry").code == 0
    watch = (
        "monitor", "log.jsonl", "--bridge", bridge, "--state", "watch", "--policy", "policy.toml",
        "--reference", "q_new.npy", "--roll-back", "docs@production", "-r", "registry",
        "--webhook", address,
    )  # fmt: skip
    healthy = cli(*watch)
    assert healthy.code == 0 and "recommended: nothing" in healthy.out, healthy
    assert got == []
    # nothing new is nothing seen
    assert cli(*watch, "--json").json["results"] == 600

    with Path("log.jsonl").open("a") as file:
        file.write(log_of(queries[600:900], rng.random(300) < 0.5))
    broken = cli(*watch, "--json", "--report", "watch.html")
    assert broken.code == 1
    told = broken.json
    assert told["recommended"] == "roll back" and told["alarms"] == ["bound hit >= 0.8 is broken"]
    assert "docs@production was rolled back" in told["rolled_back"]
    assert [entry["alarms"] for entry in got] == [told["alarms"]]
    assert "Is the live traffic what the bridge was made for?" in Path("watch.html").read_text()
    log = cli("show", "docs@production", "-r", "registry", "--json").json["logs"]["production"]
    assert log[0]["action"] == "rollback" and "hit >= 0.8" in log[0]["note"]
    # the alarm stands, and what serves since is not what it is about
    again = cli(*watch)
    assert again.code == 1 and "not rolled back: docs@production: it points to another" in again.out
    assert "notice: at an alarm nothing would be rolled back" in again.err
    shown = cli("show", "docs@production", "-r", "registry", "--json").json
    assert shown["logs"]["production"] == log

    # a bridge that is fitted anew does not answer for the one before
    anew = replace(older, chain=Chain([*older.chain.stages, Affine(np.full(older.target.dim, 2))]))
    anew.save(bridge, overwrite=True)
    assert cli("publish", bridge, "docs", "-r", "registry").code == 0
    assert cli("promote", "docs", "production", "-r", "registry").code == 0
    promoted = cli("show", "docs@production", "-r", "registry", "--json").json["logs"]["production"]
    cli(*watch).refused("watch: it watches another bridge", "or begin another watch (--state)")
    shown = cli("show", "docs@production", "-r", "registry", "--json").json
    assert shown["logs"]["production"] == promoted
    begun = cli(*watch, "--state", "watch2", "--json")
    assert begun.json["results"] == 900


def test_vectors_of_another_model(cli: Any, bridge: Path) -> None:
    fine = cli("monitor", "q_new.npy", "--bridge", bridge, "--reference", "q_new.npy")
    assert fine.code == 0, fine
    wrong = cli("monitor", "q_old.npy", "--bridge", bridge, "--json")
    assert wrong.code == 1 and wrong.json["foreign"] and wrong.json["recommended"] == "roll back"
    assert wrong.json["baseline"] == 1000


def test_another_model_behind_the_name(cli: Any, bridge: Path) -> None:
    Path("texts.txt").write_text("0\n1\n2\n")
    assert cli("canary", "record", "vectors:new.npy", "texts.txt", "-o", "c.json").code == 0
    watch = ("monitor", "q_new.npy", "--bridge", bridge, "--canary", "c.json", "--model")
    assert "the same model" in cli(*watch, "vectors:new.npy").out
    changed = cli(*watch, "vectors:old.npy")
    assert changed.code == 1 and "alarm: canary: another model" in changed.out


def test_a_store_is_looked_at_whole(cli: Any, bridge: Path, data: Any) -> None:
    pytest.importorskip("lancedb")
    from isthmus.stores import create_store

    url = "lancedb://db#docs.vector"
    create_store(url, np.arange(1500), {"vector": data["old"]}).close()
    watch = ("monitor", url, "--bridge", bridge, "--reference", "old.npy")
    found = cli(*watch, "--json")
    assert found.code == 0 and found.json["rows"] == 1500, found
    # a query bridge's store holds the target's vectors, not the source's
    assert cli(*watch, "--side", "source", "--json").json["foreign"]
    cli(*watch, "--state", "watch").refused("a store is looked at whole")


def test_a_file_is_watched_from_where_it_was_left(cli: Any, bridge: Path, data: Any) -> None:
    np.save("first.npy", data["old"][:1200])
    watch = ("monitor", "first.npy", "--bridge", bridge, "--side", "target", "--state", "watch")
    assert cli(*watch, "--json").json["rows"] == 1200
    np.save("first.npy", data["old"])
    assert cli(*watch, "--json").json["rows"] == 1500


def test_refusals(cli: Any, bridge: Path, posted: Any) -> None:
    watch = ("monitor", "q_new.npy", "--bridge", bridge)
    cli("monitor", "nothing.jsonl", "--bridge", bridge).refused("no such file")
    cli(*watch, "--bound", "speed <= 0.1").refused("nothing called 'speed' is monitored")
    cli(*watch, "--canary", "c.json").refused("Give both")
    cli(*watch, "--roll-back", "docs").refused("NAME@ALIAS")
    Path("empty").mkdir()
    cli(*watch, "--state", "empty").refused()
    wrong = ("monitor", "q_old.npy", "--bridge", bridge, "--webhook")
    for address in (f"{posted[0]}/fails/secret", "http://127.0.0.1:1/secret"):
        done = cli(*wrong, address)
        assert done.code == 1 and "alarm: " in done.out
        assert "nobody was told: the webhook at 127.0.0.1" in done.err and "secret" not in done.err
    cli(*watch, "--webhook", "ftp://x/secret").refused("a webhook is an http://")
    assert "no registry here" in cli(*watch, "--roll-back", "docs@production", "-r", "no").err


def test_canary_queries_are_asked_of_the_index_at_every_look(cli: Any, bridge: Path) -> None:
    pytest.importorskip("plotly")
    np.save("traffic.npy", np.load("q_new.npy")[:50])
    lines = [json.dumps({"query": str(n), "clicked": [str(n)]}) for n in range(60)]
    Path("asked.jsonl").write_text("\n".join(lines))
    watch = ("monitor", "traffic.npy", "--bridge", bridge, "--state", "watch")
    asked = ("--ask", "asked.jsonl", "--model", "vectors:q_new.npy", "--index")
    cli(*watch, "--ask", "asked.jsonl").refused("a canary is checked with a model")
    cli(*watch, *asked[:4]).refused("canary queries are asked of an index")
    first = cli(*watch, *asked, "old.npy", "--json")
    assert first.code == 0, first.err
    assert first.json["retrieval"]["queries"] == 60
    assert first.json["retrieval"]["hit"] > 0.8
    np.save("shuffled.npy", np.load("old.npy")[::-1])
    later = cli(*watch, *asked, "shuffled.npy", "--report", "watch.html", "--json")
    assert later.code == 1
    assert later.json["recommended"] == "roll back"
    assert len(later.json["retrieval"]["lost"]) == 10
    assert "Canary queries that find less than they did" in Path("watch.html").read_text()
    assert "60 canary queries find" in cli(*watch, *asked, "old.npy").out
