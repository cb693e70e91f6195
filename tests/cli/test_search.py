"""``isthmus search`` on a LanceDB table, with encoders whose weights come with packages."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lancedb", reason="needs lancedb: pip install 'isthmus[lance]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'isthmus[demo]'")
pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'isthmus[demo]'")

from isthmus import Pairs, fit
from isthmus.bridge import Bridge, Fitting, ModelChange, fit_sample, sample_store
from isthmus.demo import load_corpus
from isthmus.encoders import CachedEncoder, open_encoder
from isthmus.errors import WrongSpaceError
from isthmus.spaces.query_log import read_query_log
from isthmus.stores import MemoryStore, create_store, open_store
from isthmus.ways import FixedDepth, Recall, Rescore, Way

N, QUERIES = 700, 400
OLD, NEW, OTHER = (
    f"package:{name}" for name in ("wordllama-256", "paraphrase-minilm-l3", "all-minilm-l6-int8")
)
STORE = "lancedb://db#docs.v"
BOTH = ("--old", OLD, "--new", NEW)


@pytest.fixture(scope="module")
def corpus() -> Any:
    return load_corpus(N)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, corpus: Any) -> Path:
    """A folder with the table ``docs``, a log, and the bridge ``b`` between the two models."""
    folder = tmp_path_factory.mktemp("search")
    models = ModelChange(CachedEncoder(open_encoder(NEW)), open_encoder(OLD))
    assert models.old is not None
    store = create_store(
        f"lancedb://{folder}/db#docs.v",
        list(corpus.ids),
        {"v": models.old.encode(corpus.documents)},
        {"text": list(corpus.documents), "kind": list(corpus.classes)},
    )
    lines = [
        json.dumps({"query": query, "clicked": [item]})
        for query, item in zip(corpus.queries[:QUERIES], corpus.ids, strict=False)
    ]
    (folder / "log.jsonl").write_text("\n".join(lines))
    sample = sample_store(
        store, models, pairs=600, log=read_query_log(folder / "log.jsonl"), most_queries=QUERIES
    )
    bridge = fit_sample(sample, models)
    # whatever these few queries would have chosen
    mixed = Recall(kind="mixed", alpha=0.5)
    rescore = Rescore(depth=FixedDepth(k=20), weight=0.3, scale=1.5)
    ways = {"mixed": Way(recall=mixed), "mixed_rescore": Way(recall=mixed, rescore=rescore)}
    replace(bridge, ways={**bridge.ways, **ways}).save(folder / "b")
    store.close()
    asked = corpus.queries[-20:]
    np.save(folder / "q_old.npy", models.old.encode(asked, kind="query"))
    np.save(folder / "q_new.npy", models.new.encode(asked, kind="query"))
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; we are in it, and nothing is cached."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "here"


def run(cli: Any, *arguments: object, way: str = "mixed_rescore") -> Any:
    done = cli("search", STORE, *arguments, "--bridge", "b", "--way", way)
    assert done.code == 0, done.err
    return done


def test_what_is_printed_is_what_search_answers(cli: Any, here: Path, corpus: Any) -> None:
    text = corpus.queries[5]
    found = run(cli, text, *BOTH, "-k", 4, "--json", "--explain").json
    bridge = Bridge.load("b")
    with open_store(STORE) as store:
        search = bridge.search(store, "mixed_rescore", old=open_encoder(OLD), new=open_encoder(NEW))
        answer = search([text], 4)
        assert [r["id"] for r in found["results"]] == answer.ids[0].tolist()
        np.testing.assert_allclose([r["score"] for r in found["results"]], answer.scores[0])
        payload = store.payload(answer.ids[0])
    assert [r["text"] for r in found["results"]] == [p["text"] for p in payload]
    assert [r["payload"] for r in found["results"]] == [{"kind": p["kind"]} for p in payload]
    assert found["way"] == "mixed_rescore" and found["query"] == text
    assert found["described"] == str(bridge.ways["mixed_rescore"])
    assert answer.price.encoded == 0  # the command had them encoded, and the cache has them


def test_explained_who_recalled_what_and_what_was_encoded(
    cli: Any, here: Path, corpus: Any
) -> None:
    text = corpus.queries[8]
    first = run(cli, text, *BOTH, "-k", 6, "--json", "--explain").json
    again = run(cli, text, *BOTH, "-k", 6, "--json", "--explain").json
    most = Bridge.load("b").ways["mixed_rescore"].price.encodings
    assert first["price"]["rescored"] == first["price"]["encoded"] <= most
    assert (again["price"]["rescored"], again["price"]["encoded"]) == (
        first["price"]["rescored"],
        0,
    )
    assert {r["vector"] for r in first["results"]} == {"encoded now"}
    assert {r["vector"] for r in again["results"]} == {"cache"}
    recalled = {
        way: [r["id"] for r in run(cli, text, *BOTH, "-k", N, "--json", way=way).json["results"]]
        for way in ("mixed", "old", "bridge")
    }
    for result in first["results"]:
        assert recalled["mixed"].index(result["id"]) + 1 == result["recall"]["rank"]
        for way, name in (("old", "old"), ("bridge", "bridged")):
            rank = result["recall"]["alone"][name]
            place = recalled[way].index(result["id"]) + 1
            assert rank == place or (rank is None and place > first["price"]["rescored"])
    shown = run(cli, text, *BOTH, "-k", 2, "--explain").out
    for said in ("way: mixed queries, then rescored", "recalled ", "old query alone", "new vector:",
                 "trust 0.", "from the cache", "0 encoded now"):  # fmt: skip
        assert said in shown, shown


def test_the_second_column_is_read_and_filled(cli: Any, here: Path, corpus: Any) -> None:
    with open_store(STORE) as store:
        store.add_column("fresh", 384)
        ids = np.array(corpus.ids[:300])
        store.put(ids, open_encoder(NEW).encode(corpus.documents[:300]), column="fresh")
    given = (corpus.queries[3], *BOTH, "--new-column", "fresh", "--json", "--explain")
    found = run(cli, *given).json
    price, early = found["price"], set(corpus.ids[:300])
    assert price["from_second_column"] + price["encoded"] == price["rescored"]
    assert price["from_second_column"] > 0 and price["encoded"] > 0
    for result in found["results"]:
        assert (result["vector"] == "second column") == (result["id"] in early)
    assert run(cli, *given).json["price"]["from_second_column"] == price["rescored"]
    with open_store(STORE) as store:
        assert store.filled("fresh") == 300 + price["encoded"]


def test_many_queries_are_lines_of_json(cli: Any, here: Path, corpus: Any) -> None:
    texts = list(corpus.queries[-20:])
    Path("q.txt").write_text("\n".join(texts) + "\n\n")
    by_text = run(cli, "--queries", "q.txt", *BOTH, "-k", 3)
    lines = [json.loads(line) for line in by_text.out.splitlines()]
    assert [line["query"] for line in lines] == texts
    by_vector = run(
        cli, "--vectors-old", "q_old.npy", "--vectors-new", "q_new.npy", "--new", NEW, "-k", 3
    )
    others = [json.loads(line) for line in by_vector.out.splitlines()]
    assert [line["query"] for line in others] == list(range(20))
    assert [[r["id"] for r in line["results"]] for line in others] == [
        [r["id"] for r in line["results"]] for line in lines
    ]
    Path("q.jsonl").write_text(json.dumps({"q": texts[0]}) + "\n" + json.dumps({"q": texts[1]}))
    some = run(cli, "--queries", "q.jsonl", *BOTH, "-k", 3, "--explain").out.splitlines()
    assert [[r["id"] for r in json.loads(line)["results"]] for line in some] == [
        [r["id"] for r in line["results"]] for line in lines[:2]
    ]
    assert json.loads(some[0])["price"]["new_queries"] == 1


def test_the_recommended_way_is_run_and_needs_only_its_models(
    cli: Any, here: Path, corpus: Any
) -> None:
    bridge = Bridge.load("b")
    assert bridge.evidence is not None
    evidence = bridge.evidence.model_copy(update={"recommended": "bridge"})
    replace(bridge, evidence=evidence).save(here / "r")
    # the old encoder is not opened: there is no such file
    command = ("search", STORE, corpus.queries[0], "--bridge", "r", "--new", NEW, "--old", "onnx:x")
    done = cli(*command, "--json")
    assert done.code == 0, done.err
    assert done.json["way"] == "bridge"
    assert done.json == run(cli, corpus.queries[0], "--new", NEW, "--json", way="bridge").json


def test_a_cascade_ends_where_its_budget_does(cli: Any, here: Path, corpus: Any) -> None:
    capped = run(cli, corpus.queries[2], *BOTH, "--max-encodings", 3, "--json", "--explain").json
    assert capped["price"]["encoded"] == 3 and "3 encodings" in capped["early"]
    done = run(cli, corpus.queries[4], *BOTH, "--budget-ms", 0)
    assert "rescoring ended early: 0 ms were allowed" in done.out


def test_bad_usage(cli: Any, here: Path, corpus: Any) -> None:
    base = ("--bridge", "b", "--way", "mixed_rescore")

    def refused(*arguments: object, said: tuple[str, ...]) -> None:
        cli("search", *arguments).refused(*said)

    refused("lancedb://db#dosc.v", "x", *BOTH, *base, said=("Did you mean 'docs'?",))
    refused("lancedb://db#docs.w", "x", *BOTH, *base, said=("vector column 'w'", "v"))
    refused("lancdb://db#docs.v", "x", *BOTH, *base, said=("Did you mean 'lancedb'?",))
    refused(STORE, "x", *BOTH, *base, "--new-column", "nwe", said=("vector column 'nwe'",))
    refused(STORE, "x", *BOTH, "--bridge", "b", "--way", "mixd", said=("Did you mean 'mixed'?",))
    refused(STORE, "x", *BOTH, "--bridge", "c", said=("c: ",))
    refused(STORE, *BOTH, *base, said=("nothing is asked",))
    refused(STORE, " ", *BOTH, *base, said=("the text is blank",))
    refused(STORE, "x", *BOTH, *base, "--queries", "q.txt", said=("in two ways",))
    refused(STORE, "--queries", "absent.txt", *BOTH, *base, said=("no such file",))
    refused(STORE, "--queries", "absent.jsonl", *BOTH, *base, said=("no such file",))
    refused(STORE, "x", "--new", NEW, *base, said=("--old is not given", "--way rescore"))
    refused(STORE, "x", "--old", OLD, *base, said=("--new is not given", "--way old"))
    refused(STORE, "x", *base, said=("--old and --new are not given",))
    refused(
        STORE, "--vectors-new", "q_new.npy", "--new", NEW, *base,
        said=("--vectors-old is not given",),
    )  # fmt: skip
    refused(
        STORE, "--vectors-new", "q_new.npy", "--vectors-old", "q_old.npy", *base,
        said=("--new is not given", "--way"),
    )  # fmt: skip
    np.save("few.npy", np.load("q_old.npy")[:3])
    refused(
        STORE, "--vectors-new", "q_new.npy", "--vectors-old", "few.npy", "--new", NEW, *base,
        said=("few.npy has 3 queries", "q_new.npy has 20"),
    )  # fmt: skip
    way = next(n for n, w in Bridge.load("b").ways.items() if w.part is not None)
    refused(
        STORE, "x", *BOTH, "--bridge", "b", "--way", way, said=("--new-column", "--way ")
    )  # fmt: skip


def test_a_way_that_is_absent_says_why(cli: Any, here: Path) -> None:
    bridge = Bridge.load("b")
    assert bridge.evidence is not None
    ways = {name: way for name, way in bridge.ways.items() if name != "mixed"}
    absent = {"mixed": "the old encoder does not run"}
    evidence = bridge.evidence.model_copy(update={"absent": absent})
    replace(bridge, ways=ways, evidence=evidence).save(here / "c")
    cli("search", STORE, "x", *BOTH, "--bridge", "c", "--way", "mixed").refused(
        "no way 'mixed': the old encoder does not run", "It has"
    )


def test_another_model_than_the_bridges_is_refused(cli: Any, here: Path) -> None:
    def refused(old: str, new: str, *said: str) -> None:
        command = ("search", STORE, "x", "--bridge", "b", "--way", "mixed")
        cli(*command, "--old", old, "--new", new).refused(*said)

    refused(OLD, OTHER, "all-MiniLM-L6-v2-int8 is not the new model", "canary", "cosine")
    refused(NEW, NEW, "384 dimensions", "the old model", "256")
    refused(OLD, OLD, "256 dimensions", "the new model", "384")


def test_short_texts_of_the_right_model_are_not_taken_for_another_ones(corpus: Any) -> None:
    new, old = open_encoder(OTHER), open_encoder(NEW)
    texts = {str(i): text for i, text in enumerate(corpus.documents)}
    rows = [model.encode(list(texts.values())) for model in (new, old)]
    pairs = Pairs(*rows, ids=list(texts))
    bridge = fit(pairs, recipe="procrustes", fitting=Fitting(canary_items=texts))
    profile, canary = bridge.source_profile, bridge.canary
    assert profile is not None and canary is not None and canary.items is not None
    odd = ["a", "x", "the", "?", "ok", "help", "i", "yes", "e", "no"]
    assert np.mean([profile.is_foreign(new.encode([text], kind="query")) for text in odd]) > 0.3
    store = MemoryStore(vectors={"old": rows[1]})
    # without texts to encode again the vectors decide
    for known in (canary, replace(canary, items=None)):
        for text in odd[:4] if known.items is None else odd:
            search = replace(bridge, canary=known).unproven().search(store, "bridge", new=new)
            assert search([text], k=3).ids.shape == (1, 3)
            # vectors by themselves are judged whatever was asked before
            with pytest.raises(WrongSpaceError):
                search(np.ones((1, new.dim), np.float32), k=3)


def test_texts_that_are_gone(cli: Any, here: Path, corpus: Any) -> None:
    rows = open_encoder(OLD).encode(corpus.documents)
    create_store("lancedb://bare#docs.v", list(corpus.ids), {"v": rows}).close()
    command = ("search", "lancedb://bare#docs.v", corpus.queries[0], *BOTH, "--bridge", "b")
    cli(*command, "--way", "mixed_rescore").refused("the texts of the items are gone")
    done = cli(*command, "--way", "mixed", "-k", 2)
    assert done.code == 0 and corpus.documents[0] not in done.out


def test_a_server_that_is_gone_is_one_sentence_without_its_password(cli: Any, here: Path) -> None:
    pytest.importorskip("psycopg")
    url = "postgresql://me:hunter2@127.0.0.1:1/db#docs.v"
    done = cli("search", url, "x", *BOTH, "--bridge", "b", "--way", "mixed")
    done.refused("127.0.0.1")
    assert "hunter2" not in done.err


# ---- a real PostgreSQL -------------------------------------------------------------------------


def _filled(url: str, name: str, here: Path, corpus: Any) -> str:
    """A table of the corpus, whose last ten items have no vector."""
    source = open_store(STORE)
    vectors = source.fetch(np.array(corpus.ids), column="v").vectors
    ids = list(corpus.ids)
    with create_store(f"{url}#{name}.v", ids, {"v": vectors}) as made:
        assert made.count() == len(ids)
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"update {name} set v = null where id = any(%s)", [ids[-10:]])
    source.close()
    return f"{url}#{name}.v"


def test_what_goes_wrong_on_a_server_is_one_sentence(
    cli: Any, here: Path, corpus: Any, postgres: str
) -> None:
    psycopg = pytest.importorskip("psycopg")
    url = postgres
    store = _filled(url, "searched", here, corpus)
    asked = ("--vectors-old", "q_old.npy", "--bridge", "b", "--way", "old", "-k", 3)
    done = cli("search", store, *asked)
    assert done.code == 0, done.err
    found = [[r["id"] for r in json.loads(line)["results"]] for line in done.out.splitlines()]
    local = [json.loads(line) for line in cli("search", STORE, *asked).out.splitlines()]
    lost = set(corpus.ids[-10:])
    expected = [[r["id"] for r in line["results"]] for line in local]
    # items without a vector are found by nobody, and all others as elsewhere
    assert not lost & {item for items in found for item in items}
    assert any(lost & set(items) for items in expected) or found == expected
    cli("search", store.replace(".v", ".w"), *asked).refused("no vector column 'w'")
    cli("search", store.replace("searched", "serached"), *asked).refused("searched")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("create table mixed_widths (id text primary key, v vector)")
        connection.execute("insert into mixed_widths values ('a', '[1,2]'), ('b', '[1,2,3]')")
        connection.execute("create role stranger login password 'hunter2'")
    cli("search", f"{url}#mixed_widths.v", *asked).refused("mixed")
    other = url.replace("postgres:", "stranger:hunter2", 1)
    done = cli("search", f"{other}#searched.v", *asked)
    done.refused("searched")
    assert "hunter2" not in done.err


def test_a_server_that_is_killed_while_it_is_searched(
    cli: Any, here: Path, corpus: Any, own_postgres: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from isthmus.stores.pgvector import PgVectorStore

    store = _filled(own_postgres.get_uri(), "killed", here, corpus)
    search = PgVectorStore.search

    def after_its_end(self: Any, *given: Any, **named: Any) -> Any:
        search(self, *given, **named)  # so that a connection is open
        own_postgres.cleanup()
        return search(self, *given, **named)

    monkeypatch.setattr(PgVectorStore, "search", after_its_end)
    asked = ("--vectors-old", "q_old.npy", "--bridge", "b", "--way", "old")
    cli("search", store, *asked).refused("does not answer")


def test_an_index_of_another_width_is_refused(cli: Any, here: Path, corpus: Any) -> None:
    rows = np.load("q_new.npy")
    create_store("lancedb://wide#docs.v", np.arange(20), {"v": rows}).close()
    command = ("search", "lancedb://wide#docs.v", "x", *BOTH, "--bridge", "b", "--way", "mixed")
    cli(*command).refused("256", "384")


@pytest.fixture
def served(here: Path) -> Any:
    pytest.importorskip("uvicorn", reason="a sidecar needs uvicorn: pip install 'isthmus[serve]'")
    program = "from isthmus.cli.app import main; main()"
    arguments = ("serve", STORE, "--bridge", "b", "--way", "mixed_rescore", *BOTH, "--port", "0")
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), process.communicate()
    yield url
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (143, ""), err
    assert "Traceback" not in err


def test_what_is_served_is_what_is_searched(cli: Any, here: Path, corpus: Any, served: str) -> None:
    text = corpus.queries[5]
    expected = run(cli, text, *BOTH, "-k", 4, "--json").json
    asked = json.dumps({"queries": [text], "k": 4}).encode()
    with urllib.request.urlopen(f"{served}/search", asked, timeout=60) as answer:
        (found,) = json.loads(answer.read())["answers"]
    assert [hit["id"] for hit in found["results"]] == [hit["id"] for hit in expected["results"]]
    # an application that asked an endpoint asks this one
    mapped = open_encoder(f"openai:old@{served}/v1").encode([text], kind="query")
    new = open_encoder(NEW).encode([text], kind="query")
    np.testing.assert_allclose(mapped, Bridge.load("b").transform(new), atol=1e-5)


def test_what_cannot_be_served_is_refused(cli: Any, here: Path) -> None:
    cli("serve", "--bridge", "b").refused("queries are encoded by the new model", "--new")
    cli("serve", "--bridge", "b", "--new", NEW, "--host", "0.0.0.0").refused(
        "other machines would reach this without a token", "ISTHMUS_SERVE_TOKEN"
    )
    cli("serve", "--bridge", "b", "--new", OTHER, "--port", 0).refused("b", "all-MiniLM-L6")
