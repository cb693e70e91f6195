"""``isthmus fit``."""

from __future__ import annotations

import html
import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bridge import Bridge, Fitting, fit
from isthmus.spaces.pairs import Pairs


def test_it_writes_what_python_fits(cli: Any, here: Path, queries: Any, fitted: Any) -> None:
    done = cli("fit", "old.npy", "new.npy", "-o", "a.bridge", *queries)
    assert done.code == 0, done.err
    assert f"recipe: {fitted.recipe}" in done.out
    assert str(fitted.evidence) in done.out
    fitted.save(here / "b.bridge")
    for file in (here / "b.bridge").iterdir():
        assert (here / "a.bridge" / file.name).read_bytes() == file.read_bytes()


def test_json_alone_is_on_stdout(cli: Any, here: Path, queries: Any, fitted: Any) -> None:
    done = cli(
        "fit", "old.npy", "new.npy", "-o", "b", *queries, "--json", "--gate", "recall@10>0.1"
    )
    assert done.code == 0
    assert done.json["recipe"] == str(fitted.recipe)
    assert done.json["evidence"] == json.loads(fitted.evidence.to_json())
    (gate,) = done.json["gates"]
    assert gate["passed"] is True
    assert gate["condition"] == "recall@10>0.1"


def test_a_gate_decides_the_exit_code(cli: Any, here: Path, queries: Any) -> None:
    done = cli("fit", "old.npy", "new.npy", "-o", "b", *queries, "--gate", "recall@10>0.1",
               "--gate", "recall@10>=1.1")  # fmt: skip
    assert done.code == 1
    assert "pass  recall@10>0.1" in done.out
    assert "FAIL  recall@10>=1.1" in done.out
    assert Bridge.load(here / "b").kind == "query"


@pytest.mark.parametrize("kind", ["query", "corpus"])
def test_the_kind_decides_the_direction(
    cli: Any, here: Path, data: dict[str, np.ndarray], kind: str
) -> None:
    done = cli("fit", "old.npy", "new.npy", "-o", "b", "--kind", kind, "--recipe", "procrustes",
               "--old-name", "ada", "--new-name", "acme/mini@4f2", "--seed", "3")  # fmt: skip
    assert done.code == 0
    bridge = Bridge.load(here / "b")
    assert bridge.kind == kind
    spaces = (bridge.source, bridge.target) if kind == "query" else (bridge.target, bridge.source)
    assert [(s.name, s.model, s.revision) for s in spaces] == [
        ("acme/mini", "acme/mini", "4f2"),
        ("ada", "ada", None),
    ]
    assert str(bridge.recipe) == "procrustes"
    assert bridge.provenance.fits[0].seed == 3
    source, target = ("new", "old") if kind == "query" else ("old", "new")
    expected = fit(
        Pairs(data[source], data[target]),
        kind=kind,  # type: ignore[arg-type]
        recipe="procrustes",
        fitting=Fitting(seed=3),
    )
    np.testing.assert_array_equal(bridge.transform(data[source]), expected.transform(data[source]))


@pytest.mark.parametrize("kind", ["query", "corpus"])
@pytest.mark.parametrize("suffix", [".npy", ".txt", ".csv"])
def test_labels_follow_the_rows_of_the_old_side(
    cli: Any, here: Path, data: dict[str, np.ndarray], suffix: str, kind: str
) -> None:
    """Also where the new side holds the items in another order."""
    labels = np.repeat(np.arange(60), 25)
    order = np.random.default_rng(1).permutation(1500)
    centres = np.random.default_rng(2).standard_normal((60, 24)).astype(np.float32)
    old, new = (data[side] + centres[labels] for side in ("old", "new"))
    np.save("old.npy", old)
    np.save("new.npy", new[order])
    np.save("old.ids.npy", np.arange(1500))
    np.save("new.ids.npy", order)
    np.save("labels.npy", labels)
    Path("labels.txt").write_text("\n".join(map(str, labels)))
    Path("labels.csv").write_text(
        "class,id\n"
        + "".join(f"{labels[i]},{i}\n" for i in np.random.default_rng(3).permutation(1500))
    )
    done = cli("fit", "old.npy", "new.npy", "-o", "b", "--labels", f"labels{suffix}", "--json",
               "--kind", kind, "--primary", "mrr")  # fmt: skip
    assert done.code == 0, done.err
    evidence = done.json["evidence"]
    assert evidence["evidence_kind"] == "relevance"
    assert evidence["primary"] == "mrr"
    assert evidence["arms"]["old"]["metrics"]["mrr"]["value"] > 0.5
    assert evidence["arms"]["new"]["metrics"]["mrr"]["value"] > 0.5
    Path("labels.txt").write_text("\n".join(map(str, labels[:-1])))
    cli("fit", "old.npy", "new.npy", "-o", "c", "--labels", "labels.txt").refused(
        "labels.txt: the labels have shape (1499,), expected (1500,)", "each row of old.npy"
    )


def test_qrels_and_ids_from_files(cli: Any, here: Path, data: dict[str, np.ndarray]) -> None:
    names = [f"doc-{i}" for i in range(1500)]
    Path("ids.txt").write_text("\n".join(names))
    for side in ("old", "new"):
        Path(f"q_{side}.ids.txt").write_text("\n".join(f"q{i}" for i in range(1500)))
    Path("qrels.tsv").write_text("".join(f"q{i}\t0\tdoc-{i}\t1\n" for i in range(1500)))
    done = cli("fit", "old.npy", "new.npy", "-o", "b", "--ids", "ids.txt", "--json",
               "--queries-old", "q_old.npy", "--queries-new", "q_new.npy",
               "--qrels", "qrels.tsv")  # fmt: skip
    assert done.code == 0, done.err
    assert done.json["evidence"]["arms"]["bridge"]["metrics"]["recall@10"]["value"] > 0.7
    assert Bridge.load(here / "b").canary.ids[0] in names


@pytest.mark.parametrize(
    ("options", "texts"),
    [
        (["--kind", "both"], ["'both' is no kind of bridge"]),
        (["--metric", "hamming"], ["unknown metric 'hamming'", "cosine, dot or l2"]),
        (["--recipe", "procrusted"], ["unknown step 'procrusted'", "Did you mean 'procrustes'"]),
        (["--recipe", "ridge(alpha=big)"], ["'alpha=big' in 'ridge'"]),
        (["--primary", "recall"], ["recall"]),
        (["--primary", "mrr"], ["--primary says how queries or labels judge"]),
        (["--gate", "retention"], ["gate 'retention': the condition cannot be read"]),
        (["--gate", "verdict in (perhaps)"], ["'perhaps' is not a verdict"]),
        (["--queries-old", "q_old.npy"], ["only one was given", "--queries-new"]),
        (["--qrels", "q.tsv"], ["--qrels judges queries"]),
        (["--labels", "nowhere.txt"], ["nowhere.txt: there is no such file"]),
        (["--labels", "old.npy"], ["the labels have shape (1500, 24)"]),
        (["--queries-old", "q_old.npy", "--queries-new", "q_new.npy", "--labels", "old.npy"],
         ["queries and labels are two ways to judge"]),
        (["--ids", "ids.csv"], ["the file of ids does not exist"]),
    ],
)  # fmt: skip
def test_options_that_cannot_be_used(
    cli: Any, here: Path, options: list[str], texts: list[str]
) -> None:
    cli("fit", "old.npy", "new.npy", "-o", "b", *options).refused(*texts)
    assert not [p for p in here.iterdir() if p.name.startswith("b")]


def test_an_output_is_refused_before_work(cli: Any, here: Path) -> None:
    (here / "photos").mkdir()
    (here / "photos" / "a.jpg").write_bytes(b"...")
    cli("fit", "none.npy", "new.npy", "-o", "photos").refused("photos: the output exists already")
    cli("fit", "none.npy", "new.npy", "-o", "photos", "--overwrite").refused(
        "photos: only a bridge is overwritten by a bridge"
    )
    cli("fit", "none.npy", "new.npy", "-o", "old.npy", "--overwrite").refused("old.npy: only a")
    cli("fit", "none.npy", "new.npy", "-o", ".", "--overwrite").refused(
        "the folder that you work in"
    )
    cli("fit", "none.npy", "new.npy", "-o", "a/b").refused("does not exist. Create it first")
    assert (here / "photos" / "a.jpg").exists()


def test_overwrite_replaces_a_bridge(cli: Any, bridge: Path) -> None:
    cli("fit", "old.npy", "new.npy", "-o", bridge, "--recipe", "procrustes").refused(
        "exists already"
    )
    assert (
        cli("fit", "old.npy", "new.npy", "-o", bridge, "--recipe", "procrustes", "--overwrite").code
        == 0
    )
    assert str(Bridge.load(bridge).recipe) == "procrustes"
    assert not [p for p in bridge.parent.iterdir() if "partial" in p.name or "former" in p.name]


def test_the_leaderboard_says_what_chose(cli: Any, here: Path, queries: Any) -> None:
    done = cli("fit", "old.npy", "new.npy", "-o", "a.bridge", *queries)
    assert done.code == 0, done.err
    bridge = Bridge.load(here / "a.bridge")
    tried, fit = bridge.tried, bridge.provenance.fit
    assert any("polish" in one.recipe for one in tried)
    assert f"{len(tried)} maps tried, best by {fit.chosen_by}:" in done.out
    for one in tried[:8]:
        assert f" {one.score:.3f}  {one.recipe}" in done.out


def test_without_the_old_encoder_nothing_that_needs_it_is_offered(
    cli: Any, here: Path, queries: Any
) -> None:
    done = cli("fit", "old.npy", "new.npy", "-o", "a", *queries, "--no-old-encoder", "--json")
    arms = done.json["evidence"]["arms"]
    assert "bridge_rescore" in arms
    assert not {"mixed", "old_rescore", "mixed_rescore"} & set(arms)


def test_a_refit_stays_near_the_bridge_that_runs(cli: Any, here: Path, bridge: Path) -> None:
    for side in ("old", "new"):
        np.save(here / f"few_{side}.npy", np.load(here / f"{side}.npy")[:60])
    done = cli("fit", "few_old.npy", "few_new.npy", "-o", "refit", "--prior", bridge, "--json")
    assert done.code == 0, done.err
    assert "prior_ridge" in done.json["recipe"]
    assert done.json["tried"]
    cli("fit", "old.npy", "new.npy", "-o", "x", "--prior", "nowhere").refused("nowhere")


def next_steps(out: str) -> list[str]:
    return [line.strip() for line in out.partition("\nto go on:\n")[2].splitlines()]


@pytest.mark.skipif(find_spec("plotly") is None, reason="reports need plotly")
def test_a_report_shows_the_fit_and_the_texts_of_lost_queries(
    cli: Any, here: Path, queries: Any
) -> None:
    lines = [json.dumps({"id": i, "text": f"item number {i}"}) for i in range(1500)]
    (here / "items.jsonl").write_text("\n".join(lines))
    (here / "asked.txt").write_text("".join(f"question {i}\n" for i in range(1500)))
    done = cli(
        "fit", "old.npy", "new.npy", "-o", "b", *queries, "--report", "out.html",
        "--texts", "items.jsonl", "--query-texts", "asked.txt", "--gate", "recall@10>0.1",
        "--recipe", "procrustes", "--recipe", "ridge(alpha=auto)",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert "written: out.html" in done.err
    page = html.unescape((here / "out.html").read_text(encoding="utf-8"))
    found = Bridge.load(here / "b")
    assert found.evidence is not None
    assert found.evidence.reason in re.sub(r"</?span[^>]*>", "", page)  # terms are marked
    assert all(t.recipe in page for t in found.tried)
    assert "How the map settles as pairs are added" in page
    worst = found.evidence.worst[0]
    assert f"question {worst.id}<" in page
    assert f"Expected: item number {worst.answer} ({worst.answer})" in page
    commands = re.findall(r"<code>isthmus (.*?)</code>", page)
    assert commands == [c.removeprefix("isthmus ") for c in next_steps(done.out)]
    assert [c.split()[0] for c in commands[:2]] == ["inspect", "evaluate"]
    again = cli(*shlex.split(commands[1]))  # typed as shown
    assert again.code == 0 and found.evidence.reason in " ".join(again.out.split())


@pytest.mark.skipif(find_spec("plotly") is None, reason="reports need plotly")
def test_a_report_that_cannot_be_written_costs_no_fit(cli: Any, here: Path) -> None:
    fit = ("fit", "nowhere.npy", "new.npy", "-o", "b")
    (here / "out.html").write_text("mine")
    cli(*fit, "--report", "out.html").refused("out.html: the output exists already")
    assert (here / "out.html").read_text() == "mine"
    cli(*fit, "--texts", "a.tsv").refused("--texts", "Give --report out.html")
    cli(*fit, "--query-texts", "a.tsv").refused("--query-texts", "none was asked for")
    cli(*fit, "--report", "x.html", "--texts", "a.tsv").refused("a.tsv: there is no such file")
    for name, told in (("a.csv", "a.csv: expected an id and a text; there are none"),
                       ("a.xlsx", "a.xlsx: texts are read from .jsonl")):  # fmt: skip
        (here / name).touch()
        cli(*fit, "--report", "x.html", "--query-texts", name).refused(told)
    assert not (here / "x.html").exists()


def test_a_bridge_and_its_report_change_together(
    cli, here: Path, fitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that fails leaves the old bridge too, and the result was printed before."""
    pytest.importorskip("plotly")
    from isthmus.errors import OutputError

    arguments = ("fit", "old.npy", "new.npy", "-o", "b", "--recipe", "procrustes")
    assert cli(*arguments, "--report", "r.html").code == 0
    before = {f: f.read_bytes() for f in [here / "r.html", *(here / "b").iterdir()]}

    def fail(*_: object, **__: object) -> None:
        raise OutputError("the disk is full", where="r.html")

    monkeypatch.setattr("isthmus.report.write_fit_report", fail)
    done = cli(*arguments, "--seed", "1", "--report", "r.html", "--overwrite")
    assert done.code == 2
    assert "procrustes" in done.out
    assert "error: r.html: the disk is full" in done.err
    assert {f: f.read_bytes() for f in before} == before
    assert not [f.name for f in here.iterdir() if ".partial-" in f.name]


def test_pools_help_few_pairs_and_are_given_both_or_none(
    cli: Any, here: Path, data: dict[str, np.ndarray], queries: Any
) -> None:
    few = {}
    for name in ("old", "new"):
        np.save(here / f"few_{name}.npy", data[name][:60])
        few[name] = f"few_{name}.npy"
    asked = [f"--queries-{name}" for name in ("old", "new")]
    for name in ("old", "new"):
        np.save(here / f"few_q_{name}.npy", data[f"q_{name}"][:60])
    given = [asked[0], "few_q_old.npy", asked[1], "few_q_new.npy"]
    done = cli("fit", few["old"], few["new"], "-o", "b", *given,
               "--pool-old", "old.npy", "--pool-new", "new.npy")  # fmt: skip
    assert done.code == 0, done.err
    assert "match_pools" in done.out
    alone = cli("fit", few["old"], few["new"], "-o", "c", *given, "--pool-old", "old.npy")
    assert alone.code == 2
    assert "--pool-old and --pool-new" in alone.err
