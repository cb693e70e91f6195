"""``isthmus fit`` on a live index: a LanceDB table, and encoders behind a real endpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lancedb", reason="needs lancedb: pip install 'isthmus[lance]'")
pytest.importorskip("httpx", reason="needs httpx: pip install 'isthmus[http]'")

from tests.bridge.hashed_encoders import HashedEncoder
from tests.encoders.embedding_server import EmbeddingServer, embedding_server

from isthmus.bridge import Bridge
from isthmus.encoders.canary import CANARY
from isthmus.stores import create_store

N, DIM = 900, 16


class TwoModels(EmbeddingServer):
    """Answers as ``old`` or as ``new``, by the model that is asked for."""

    def reply(self, asked: dict[str, Any]) -> dict[str, Any]:
        rows = HashedEncoder(asked["model"], DIM).encode(asked["input"])
        return {
            "data": [{"index": n, "embedding": row.tolist()} for n, row in enumerate(rows)],
            "model": asked["model"],
            "usage": {"total_tokens": sum(len(t.split()) for t in asked["input"])},
        }


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(f"w{w}" for w in rng.integers(0, 300, size=5)) for _ in range(N)]


@pytest.fixture
def here(tmp_path: Path, texts: list[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the table ``docs`` and the log ``log.jsonl``; we are in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    rows = HashedEncoder("old", DIM).encode(texts)
    ids = np.array([f"d{n}" for n in range(N)])
    create_store("lancedb://db#docs.v", ids, {"v": rows}, payload={"text": texts}).close()
    np.save("new.npy", HashedEncoder("new", DIM).encode(texts))
    Path("new.ids.txt").write_text("".join(f"{i}\n" for i in ids))
    lines = [
        {"query": " ".join(texts[n].split()[:3]), "clicked": [f"d{n}"], "at": 17}
        for n in range(0, N, 3)
    ]
    lines.append({"query": "w1 w2", "clicked": ["gone"]})
    Path("log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


@pytest.fixture
def server() -> Iterator[EmbeddingServer]:
    with embedding_server(TwoModels) as running:
        yield running


def both(server: EmbeddingServer) -> tuple[str, ...]:
    return ("--old", f"openai:old@{server.url}", "--new", f"openai:new@{server.url}")


STORE = "lancedb://db#docs.v"


def test_from_an_index_and_a_log_to_a_bridge(
    cli: Any, here: Path, server: EmbeddingServer, texts: list[str]
) -> None:
    done = cli("fit", STORE, *both(server), "--queries", "log.jsonl", "--pairs", 400,
               "--key-env", "MY_KEY", "-o", "b", "--json")  # fmt: skip
    assert done.code == 0, done.err
    assert "QueryLog(301 queries asked 301 times, 301 with clicks)" in done.err
    assert "1 clicked ids are not in the index" in done.err
    assert "700 of 900 items sampled, and 300 queries" in done.err
    bridge = Bridge.load(here / "b")
    assert (bridge.source.model, bridge.target.model) == ("new", "old")
    assert (bridge.source.revision, bridge.target.revision) == ("new", "old")
    evidence = done.json["evidence"]
    assert evidence["n_queries"] > 10 and evidence["n_gallery"] == N
    galleries = {name: arm["gallery"] for name, arm in evidence["arms"].items()}
    assert galleries.pop("new") == 700 and set(galleries.values()) == {N}
    sampled = bridge.provenance.fits[0].sampled_evidence
    assert sampled.gallery <= 700 and set(sampled.arms) >= {"old", "bridge", "new"}
    asked = [r for r in server.requests if r["model"] == "new"]
    encoded = [t for r in asked for t in r["input"] if t != CANARY]
    recalled = N - 700  # at the most: cascades encode what they recall, once
    assert len(encoded) == len(set(encoded)) <= 400 + 300 + 300 + recalled
    old = [t for r in server.requests if r["model"] == "old" for t in r["input"] if t != CANARY]
    assert len(old) == 16 + 300
    assert "very-secret" not in done.err + done.out
    assert not [f for f in here.rglob("*") if f.is_file() and b"very-secret" in f.read_bytes()]

    # what to re-embed first is in the artefact, and leads the plan
    order = bridge.fill_order
    assert order is not None and 0 < order.queries < 300 - evidence["n_queries"] + 1
    assert f"{len(order.ids)} items that {order.queries} queries find or click" in done.err
    planned = cli("plan", STORE, *both(server), "--bridge", "b", "--key-env", "MY_KEY",
                  "--pairs", 60, "-o", "plan.json")  # fmt: skip
    assert planned.code == 0, planned.err
    popular = json.loads(Path("plan.json").read_text())["popular"]
    assert popular == list(order.ids[: N // 4]) and len(popular) == N // 4

    before = len(server.requests)
    again = cli("fit", STORE, *both(server), "--queries", "log.jsonl", "--pairs", 400, "-o", "c")
    assert again.code == 0, again.err
    assert len(server.requests) == before + 2  # who are you? everything else is in the cache
    for file in (here / "b").iterdir():
        assert (here / "c" / file.name).read_bytes() == file.read_bytes()


def test_qrels_beside_the_texts_of_queries(
    cli: Any, here: Path, server: EmbeddingServer, texts: list[str]
) -> None:
    """As BEIR keeps them."""
    queries = [{"_id": f"q{n}", "text": " ".join(texts[n].split()[:3])} for n in range(0, N, 3)]
    Path("queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    Path("test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(0, N, 3))
    )
    given = ("--queries", "queries.jsonl", "--qrels", "test.tsv", "--pairs", 300)
    judged = ("--primary", "mrr@50", "--gate", "mrr@50>0.01")
    done = cli("fit", STORE, *both(server), *given, *judged, "-o", "b")
    assert done.code == 0, done.err
    assert "300 queries" in done.err


def test_vectors_that_exist_already_need_no_encoder(cli: Any, here: Path) -> None:
    done = cli("fit", STORE, "--new", "vectors:new.npy", "--pairs", 500, "-o", "b",
               "--report", "out.html")  # fmt: skip
    assert done.code == 0, done.err
    assert "500 of 900 items sampled" in done.err
    assert "900" in done.out and "estimated on 500 items" in done.out
    assert Bridge.load(here / "b").target.name == "old"
    assert (here / "out.html").stat().st_size > 1000


def test_a_cap_ends_a_run_before_it_is_passed_and_keeps_what_was_paid(
    cli: Any, here: Path, server: EmbeddingServer
) -> None:
    command = ("fit", STORE, *both(server), "--pairs", 400, "-o", "b")
    cli(*command, "--max-items", 100).refused("would pass the cap", "--max-items")
    sent = [t for r in server.requests for t in r["input"] if t != CANARY]
    assert len(sent) <= 100
    done = cli(*command)
    assert done.code == 0, done.err
    after = [t for r in server.requests for t in r["input"] if t != CANARY]
    assert len(after) == len(set(after)) + 16 <= 16 + N  # old and new encode 16 texts alike


def test_a_wrong_old_model_is_refused(cli: Any, here: Path, server: EmbeddingServer) -> None:
    done = cli("fit", STORE, "--old", f"openai:new@{server.url}",
               "--new", f"openai:new@{server.url}", "-o", "b")  # fmt: skip
    done.refused("not those of new", "Name the model that filled the index")
    assert not (here / "b").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((STORE,), ("--new", "no new model")),
        ((STORE, "--new", "opnai:x"), ("Did you mean 'openai:MODEL@URL'",)),
        ((STORE, "--new", "openai:new@http://127.0.0.1:9/v1", "--kind", "both"), ("no kind",)),
        ((STORE, "new.npy", "--new", "vectors:new.npy"), ("NEW", "belongs to two files")),
        ((STORE, "--new", "vectors:new.npy", "--labels", "a.txt"), ("--labels",)),
        ((STORE, "--new", "vectors:new.npy", "--primary", "mrr"), ("Give --queries",)),
        ((STORE, "--new", "vectors:new.npy", "--qrels", "a"), ("--queries",)),
        ((STORE, "--new", "vectors:new.npy", "--gate", "mrr>0.1"), ("Write mrr@100",)),
        ((STORE, "--new", "vectors:new.npy", "--gate", "recall@200>0.1"), ("Write recall@100",)),
        ((STORE, "--new", "vectors:new.npy", "--queries", "absent.csv"), ("no such file",)),
        ((STORE, "--new", "vectors:new.npy", "--queries", "log.jsonl"), ("Give --old",)),
        (("lancedb://db#dosc.v", "--new", "vectors:new.npy"), ("docs",)),
        (("lancedb://db#docs.w", "--new", "vectors:new.npy"), ("v",)),
        (("new.npy",), ("NEW", "missing")),
        (("new.npy", "new.npy", "--new", "vectors:new.npy"), ("--new", "not the URL")),
        (("new.npy", "new.npy", "--pairs", "40"), ("--pairs", "not the URL")),
        (("new.npy", "new.npy", "--max-items", "0"), ("--max-items", "not the URL")),
    ],
)
def test_bad_usage(cli: Any, here: Path, arguments: tuple[str, ...], said: tuple[str, ...]) -> None:
    cli("fit", *arguments, "-o", "b").refused(*said)
    assert not (here / "b").exists()
