"""``isthmus plan`` and ``isthmus migrate`` typed on a LanceDB table of real texts."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import Bridge

pytest.importorskip("lancedb", reason="needs lancedb: pip install 'isthmus[lance]'")
pytest.importorskip("onnxruntime", reason="needs onnxruntime: pip install 'isthmus[demo]'")
pytest.importorskip("tokenizers", reason="needs tokenizers: pip install 'isthmus[demo]'")

from isthmus.cli.app import main
from isthmus.demo import load_corpus
from isthmus.encoders import open_encoder
from isthmus.stores import create_store

N = 420
OLD, NEW = "package:wordllama-256", "package:paraphrase-minilm-l3"
STORE = "lancedb://db#docs"
PLANNED = (
    "--old", OLD, "--new", NEW, "--queries", "log.jsonl", "-o", "plan.json", "--price", "0.02",
    "--assume-rows", "100M",
)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table and a log of queries."""
    folder = tmp_path_factory.mktemp("migrate")
    corpus, old = load_corpus(N), open_encoder(OLD)
    create_store(
        f"lancedb://{folder}/db#docs",
        list(corpus.ids),
        {"vector": old.encode(corpus.documents)},
        {"text": list(corpus.documents), "kind": list(corpus.classes)},
    ).close()
    lines = [
        json.dumps({"query": query, "clicked": [item]})
        for query, item in list(zip(corpus.queries, corpus.ids, strict=True))[:120]
    ]
    (folder / "log.jsonl").write_text("\n".join(lines))
    before = sorted(str(p) for p in (folder / "db").rglob("*"))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as out:
        patch.chdir(folder)
        patch.setenv("ISTHMUS_CACHE", str(folder.parent / "cache"))
        patch.setattr(sys, "argv", ["isthmus", "plan", STORE, *PLANNED])
        with pytest.raises(SystemExit) as left:
            main()
    assert left.value.code in (0, None), out.getvalue()
    (folder / "plan.txt").write_text(out.getvalue())
    assert sorted(str(p) for p in (folder / "db").rglob("*")) == before
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it; we are in it, and vectors are cached for all of these tests."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("ISTHMUS_CACHE", str(made.parent / "cache"))
    return tmp_path / "here"


@pytest.fixture
def migrate(here: Path, cli: Any) -> Any:
    """``isthmus migrate VERB plan.json ...`` on this copy of the store."""
    return lambda verb, *rest, plan="plan.json": cli("migrate", verb, plan, *rest, "--store", STORE)


def test_a_plan_says_what_will_happen_and_changes_nothing(here, cli):
    shown = Path("plan.txt").read_text()
    for said in (
        "verdict: ", "steps, and what is sent:", "docs__new", "100,000,000 items (assumed)",
        "of disk for the new vectors", "expected while it fills", "what needs a person:",
        "docs_live",
    ):  # fmt: skip
        assert said in shown, said
    plan = json.loads(Path("plan.json").read_text())
    values = [point["value"] for point in plan["curve"]]
    # filling never costs quality: no step is shown to be below keeping the old model
    assert all(point["high"] >= 0 for point in plan["curve"])
    assert values[-1] >= plan["kept"] - 0.05
    # every query of the log chooses or judges, each behind a map that has not seen it
    fit = Bridge.load("plan.bridge").provenance.fit
    assert fit is not None and fit.cross_fitted
    cli("plan", STORE, "--old", OLD, "--new", NEW).refused("exists already")


def test_run_search_cut_over_watch_and_roll_back(migrate):
    done = migrate("status")
    assert "nothing was begun" in done.out
    done = migrate("run")
    assert done.code == 0, done
    assert "state: full" in done.out
    assert f"filled: {N} of {N} items (100.0%)" in done.out
    assert "isthmus migrate cutover" in done.err
    migrate("run").refused("begun before", "isthmus migrate resume")
    assert migrate("resume", "--rate", "1000").code == 0
    before = migrate("search", "a small dog", "-k", "3", "--json").json
    assert len(before["results"]) == 3
    done = migrate("cutover", "--json")
    assert done.code == 0, done
    assert done.json["state"] == "cut over"
    assert done.json["quality"][0]["metric"] == "recall@10"
    for model in ("new", "old"):
        found = migrate("search", "a small dog", "-k", "3", "--model", model, "--json").json
        assert found["way"] == "new queries on re-embedded items"
        assert len(found["results"]) == 3
    done = migrate("watch", "--looks", "2", "--every", "0")
    assert done.code == 0, done
    assert done.out.count("no loss is shown") == 2
    done = migrate("rollback")
    assert f"{N} items have, bit for bit, the vectors they had" in done.out
    migrate("rollback").refused("rolled back already")
    migrate("clean").refused("only what is wholly cut over")


def test_a_partial_cut_over_says_how_to_go_on(migrate):
    assert migrate("run", "--until", "50%").code == 0
    done = migrate("cutover", "--partial")
    assert done.code == 0, done
    assert "to fill the rest: isthmus migrate resume plan.json" in " ".join(done.err.split())
    migrate("cutover").refused("cut over in part", "isthmus migrate resume")
    migrate("clean").refused("isthmus migrate resume")
    assert "state: full" in migrate("resume").out
    assert "back with: isthmus migrate rollback" in migrate("cutover").err


def test_workers_share_the_encoding_and_one_is_killed_meanwhile(
    here, cli, migrate, monkeypatch, tmp_path
):
    pytest.importorskip("distributed", reason="needs Dask: pip install 'isthmus[dask]'")
    from isthmus.scale.dask import Dask
    from isthmus.stores import open_store
    from isthmus.stores.beside import with_second_column

    class LosesOne(Dask):
        """A cluster of this machine, of which a worker is killed once it has encoded something."""

        killed = 0

        def _outcome(self, handle):
            if not self.killed and self._client.nthreads():
                LosesOne.killed += 1
                os.kill(next(iter(self._client.run(os.getpid).values())), signal.SIGKILL)
            return super()._outcome(handle)

    def opened(name):
        assert name == "dask:2"
        return LosesOne(workers=2)

    monkeypatch.setenv("ISTHMUS_CACHE", str(tmp_path / "empty"))
    paused = migrate("run", "--engine", "threads:1", "--rate", "100000", "--max-money", "0")
    assert paused.code == 0, paused
    told = paused.err.strip().splitlines()[-1]
    words = shlex.split(told.removeprefix("go on with: isthmus "))
    assert words[:3] == ["migrate", "resume", "plan.json"]
    words[words.index("threads:1")] = "dask:2"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("isthmus.scale.open_engine", opened)
        done = cli(*words)
    assert done.code == 0, done
    assert LosesOne.killed == 1
    status = migrate("status", "--json").json
    assert (status["filled"], status["encoded"]) == (N, N)
    corpus = load_corpus(N)
    with open_store(STORE) as store:
        rows = with_second_column(store, "new").fetch(np.array(corpus.ids), column="new")
    right = open_encoder(NEW).encode(corpus.documents)
    np.testing.assert_allclose(rows.vectors, right, atol=1e-5)
    migrate("resume", "--engine", "dusk:2").refused("is no engine")


def test_a_plan_measures_the_model_on_workers_and_goes_on_with_them(here, cli):
    told = cli(
        "plan", STORE, *PLANNED[:4], "-o", "again.json", "--pairs", "120", "--engine", "threads:2"
    )
    assert told.code == 0, told
    assert (
        told.err.strip()
        .splitlines()[-1]
        .endswith("isthmus migrate run again.json --engine threads:2")
    )
    cli("plan", STORE, "--new", "openai:m@http://localhost:1", "-o", "p.json", "--engine",
        "threads:2").refused("one account of what is spent")  # fmt: skip


def test_what_was_edited_or_cannot_be_is_refused_in_one_sentence(here, migrate):
    plan = json.loads(Path("plan.json").read_text())
    migrate("cutover").refused("not begun")
    migrate("rollback").refused("not begun")
    migrate("resume").refused("nothing to resume")
    migrate("run", plan="nothing.json").refused("no such plan")
    (here / "edited.json").write_text(json.dumps({**plan, "verdict": "splendid"}))
    migrate("run", plan="edited.json").refused("the plan was edited")
    (here / "junk.json").write_text("[")
    migrate("run", plan="junk.json").refused("no plan")
    migrate("run", "--until", "soon").refused("neither a time nor a share")
    migrate("run", "--new", "package:all-minilm-l6-int8").refused(
        "is not the new model of this plan"
    )
    shutil.move(here / "db", here / "gone")
    migrate("resume").refused("there is no folder")


def test_stores_that_cannot_be_moved(here, cli):
    def refused(*texts: str, new: str = NEW) -> None:
        cli("plan", "lancedb://db#bad", "--old", OLD, "--new", new, "-o", "p.json").refused(*texts)
        assert not Path("p.json").exists()

    both = ("--old", OLD, "--new", NEW, "-o", "p.json")
    cli("plan", "lancedb://db#dcos", *both).refused("Did you mean 'docs'?")
    cli("plan", "lancedb://db#docs.vectr", *both).refused("vector column")
    cli("plan", STORE, "--old", NEW, "--new", OLD, "-o", "p.json").refused("384 dimensions")
    cli("plan", STORE, "--new", OLD, "-o", "p.json").refused("already")
    rows, ids = np.eye(5, 256, dtype=np.float32), [1, 2, 3, 4, 5]
    create_store("lancedb://db#bad", ids, {"vector": rows}).close()
    refused("the texts of the items are gone")
    for texts, told in (
        (["a", " ", "c", "d", "e"], "item '2' has no text"),
        (["a", "b", "c", "d", "e"], "the vectors stored here are not those of"),
    ):
        shutil.rmtree("db/bad.lance")
        create_store("lancedb://db#bad", ids, {"vector": rows}, {"text": texts}).close()
        refused(told)
    texts = {"text": ["a", "c", "d", "e"]}
    with create_store("f.parquet", [1, 3, 4, 5], {"vector": rows[:4]}, texts) as store:
        store.add(np.array([2]), {}, {"text": ["b"]})
    cli("plan", "f.parquet", "--new", NEW, "-o", "p.json").refused("item '2' has no vector")


def test_bridges_beside_a_plan_are_not_overwritten_unasked(here, cli):
    held = Path("plan.bridge/bridge.json").read_bytes()
    # its bridges would stand where those of plan.json are
    cli("plan", STORE, "--old", OLD, "--new", NEW, "-o", "plan").refused("plan.bridge")
    assert Path("plan.bridge/bridge.json").read_bytes() == held
    assert not Path("plan").exists()


def test_a_new_model_that_finds_less_fails_the_gate_and_sets_off_the_alarm(here, migrate, posted):
    from isthmus.migrate import Plan
    from isthmus.stores import open_store
    from isthmus.ways.search import Columns, Search
    from isthmus.ways.way import Recall, Way

    plan = Plan.load(Path("plan.json"))
    with open_store(STORE) as store:
        old = Search(Way(recall=Recall(kind="old")), store, columns=Columns("vector"),
                     old=open_encoder(OLD))  # fmt: skip
        found = old(list(plan.queries.texts), 10).ids.tolist()
    # what the old model finds is right, and nothing else
    asked = {"clicked": tuple(map(tuple, found)), "before": (1.0,) * len(found)}
    worse = plan.model_copy(update={"queries": plan.queries.model_copy(update=asked)}).signed()
    worse.save(Path("worse.json"))
    assert migrate("run", plan="worse.json").code == 0
    failed = migrate("cutover", plan="worse.json")
    assert failed.code == 1
    assert failed.err.splitlines()[-1].startswith("error: ")
    assert "measured below the old one" in failed.err
    assert "state: full" in migrate("status", plan="worse.json").out
    address, got = posted
    alarm = migrate(
        "watch", "--looks", "3", "--every", "0", "--rollback", "--webhook", address,
        plan="worse.json",
    )  # fmt: skip
    assert alarm.code == 1
    assert alarm.out.count("ALARM: below the old model") == 1
    assert [told["rolled_back"]["untouched"] for told in got] == [N]
    assert "state: rolled back" in migrate("status", plan="worse.json").out


def test_the_password_of_a_store_is_repeated_nowhere(here, cli, postgres):
    corpus = load_corpus(200)
    url = f"{postgres.replace('postgres:', 'postgres:S3CRET', 1)}#kept_secret.old"
    assert "S3CRET@" in url, url
    old = open_encoder(OLD).encode(corpus.documents)
    create_store(url, list(corpus.ids), {"old": old}, {"text": list(corpus.documents)}).close()
    asked = ("--old", OLD, "--new", NEW)
    bridge = ("--bridge", "s.bridge")
    at = ("s.json", "--store", url)
    typed = [
        ("fit", url, *asked, "--queries", "log.jsonl", "-o", "s.bridge", "--report", "f.html"),
        ("search", url, "a dog", *bridge, *asked, "--way", "bridge", "--json"),
        ("plan", url, *asked, *bridge, "-o", "s.json", "--report", "p.html", "--pairs", "150"),
        *(("migrate", verb, *at) for verb in ("run", "status", "cutover")),
        ("migrate", "clean", *at, "--drop-old"),
        *(("migrate", verb, *at) for verb in ("status", "rollback", "clean")),
        ("migrate", "search", "s.json", "a dog", "--store", url, "--json"),
        ("monitor", url, *bridge),
        ("diagnose", url, url),
        ("apply", url, url, url),
        ("search", url.replace("kept", "no"), "a dog", *bridge, *asked),
    ]
    done = [cli(*words) for words in typed]
    assert [each.code for each in done[:8]] == [0] * 8, [each.err[-200:] for each in done[:8]]
    assert "migrate cutover s.json --store 'postgresql://postgres:***@" in done[3].err
    assert "migrate rollback s.json --store 'postgresql://postgres:***@" in done[5].err
    # the old vectors are gone, and who looks is answered
    assert "state: cleaned" in done[7].out
    assert "new vectors made so far: 200" in done[7].out
    found = done[10].json
    assert len(found["results"]) == 10, done[10]
    for words, each in zip(typed, done, strict=True):
        assert "S3CRET" not in each.out + each.err, words
    written = [path for path in here.rglob("*") if path.is_file()]
    assert {"s.json", "s.json.journal", "f.html", "p.html"} <= {path.name for path in written}
    for path in written:
        assert b"S3CRET" not in path.read_bytes(), path


@pytest.mark.parametrize("verb", ["resume", "rollback"])
def test_who_is_overtaken_where_locks_hold_nobody_back_writes_nothing_more(migrate, here, verb):
    """Two processes; the second gets in as it does on a file system that keeps no locks."""
    marks = here / "db" / "isthmus-docs-marks"
    typed = ["migrate", "run", "plan.json", "--store", STORE, "--rate", "4"]
    first = subprocess.Popen(
        [sys.executable, "-m", "isthmus", *typed], stderr=subprocess.PIPE, text=True
    )
    try:
        until = time.monotonic() + 60
        while not marks.exists():  # the first batch is noted, and the second is waited for
            assert first.poll() is None and time.monotonic() < until, first.communicate()
            time.sleep(0.05)
        (here / "db" / ".isthmus-docs-journal.run.lock").unlink()
        (here / "elsewhere").mkdir()
        for file in here.glob("plan.*bridge"):
            shutil.copytree(file, here / "elsewhere" / file.name)
        shutil.copy(here / "plan.json", here / "elsewhere")
        done = migrate(verb, "--take-over", plan="elsewhere/plan.json")
        assert done.code == 0, done
        said = first.communicate(timeout=60)[1]
    finally:
        first.kill()
        first.wait()
    assert first.returncode == 2, said
    last = said.splitlines()[-1]
    assert last.startswith("error: db/isthmus-docs-journal: "), said
    assert "taken over by" in last or "another process" in last
    status = migrate("status", "--json", plan="elsewhere/plan.json").json
    resumed = verb == "resume"
    assert status["state"] == ("full" if resumed else "rolled back")
    assert status["filled"] == (N if resumed else 0)
    assert (here / "db" / "docs__new.lance").exists() == resumed
