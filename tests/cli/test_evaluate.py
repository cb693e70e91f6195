"""``isthmus evaluate``: the gates of continuous integration."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.chain import Affine, Chain, RowNorm
from isthmus.bridge import fit
from isthmus.spaces.pairs import Pairs


@pytest.fixture
def fresh(here: Path, make_upgrade: Callable[..., dict[str, np.ndarray]]) -> tuple[str, ...]:
    """Items and queries that no fit has seen, in place of those of the fit."""
    for name, rows in make_upgrade(seed=9).items():
        np.save(here / f"{name}.npy", rows)
    return ("old.npy", "new.npy", "--queries-old", "q_old.npy", "--queries-new", "q_new.npy")


def test_the_data_of_the_fit_give_its_evidence_again(
    cli: Any, bridge: Path, queries: Any, fitted: Any
) -> None:
    done = cli("evaluate", bridge, "old.npy", "new.npy", *queries)
    assert str(fitted.evidence) in done.out
    every = cli("evaluate", bridge, "old.npy", "new.npy", *queries, "--all", "--json")
    assert every.json["evidence"]["n_queries"] == 1500


def test_a_verdict_without_the_queries_of_the_fit_does_not_differ_silently(
    cli: Any, bridge: Path, queries: Any
) -> None:
    said = "agreement with the old model's results alone, and its verdict can differ"
    bare = cli("evaluate", bridge, "old.npy", "new.npy", "--json")
    assert bare.json["evidence"]["evidence_kind"] == "agreement" and said in bare.err
    judged = cli("evaluate", bridge, "old.npy", "new.npy", *queries, "--json")
    assert judged.json["evidence"]["evidence_kind"] == "relevance" and said not in judged.err


def test_fresh_data_are_judged_on_every_row(cli: Any, bridge: Path, fresh: Any) -> None:
    done = cli("evaluate", bridge, *fresh, "--json")
    assert done.json["evidence"]["n_queries"] == 1500
    (gate,) = done.json["gates"]
    assert gate["condition"].startswith("verdict in (use the bridge, bridge and rescore, mix")


def test_a_right_map_passes_and_wrong_ones_fail(
    cli: Any, here: Path, bridge: Path, fitted: Any, fresh: Any, data: Any
) -> None:
    right = cli("evaluate", bridge, *fresh)
    assert right.code == 0, right
    assert "pass  verdict in" in right.out
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((24, 24)))[0]
    random = Chain([RowNorm(), Affine(turn), RowNorm()])
    replace(fitted, chain=random).save(here / "random.bridge")
    order = np.random.default_rng(1).permutation(1500)
    shuffled = fit(Pairs(data["new"], data["old"][order]))
    shuffled.save(here / "shuffled.bridge")
    for name in ("random", "shuffled"):
        done = cli("evaluate", f"{name}.bridge", *fresh)
        assert done.code == 1, name
        assert "FAIL  verdict in" in done.out
        assert cli("evaluate", f"{name}.bridge", *fresh, "--gate", "retention>=0.9").code == 1
    assert cli("evaluate", bridge, *fresh, "--gate", "retention>=0.9").code == 0


def test_shuffled_pairs_do_not_pass_either(cli: Any, bridge: Path, fresh: Any) -> None:
    """The map is right; the data are misaligned."""
    rows = np.load("old.npy")
    np.save("old.npy", np.random.default_rng(0).permutation(rows))
    done = cli("evaluate", bridge, *fresh)
    assert done.code == 1
    assert "the rows of the two sides are not of the same items" in " ".join(done.out.split())


def test_bridges_and_data_that_do_not_belong_together(
    cli: Any, here: Path, bridge: Path, data: Any
) -> None:
    cli("evaluate", bridge, "new.npy", "old.npy").refused("old.npy: these vectors look like old")
    np.save("narrow.npy", data["new"][:, 1:])
    cli("evaluate", bridge, "old.npy", "narrow.npy").refused(
        "narrow.npy, row 0: the vectors are 23 wide, expected 24"
    )
    cli("evaluate", bridge, "narrow.npy", "new.npy").refused(
        "narrow.npy: the vectors are 23 wide, the target of the bridge has 24"
    )
    turn = np.linalg.qr(np.random.default_rng(3).standard_normal((24, 24)))[0].astype(np.float32)
    np.save("turned.npy", data["new"] @ turn)
    cli("evaluate", bridge, "old.npy", "turned.npy").refused(
        "turned.npy: these vectors do not come"
    )
    np.save("turned.npy", data["old"] @ turn)
    cli("evaluate", bridge, "turned.npy", "new.npy").refused(
        "turned.npy: these vectors do not come"
    )


def test_a_fit_judged_by_labels_says_that_agreement_is_another_question(
    cli: Any, here: Path, data: Any
) -> None:
    classes = np.argmax(data["old"][:, :4], axis=1)
    np.save(here / "classes.npy", classes)
    pairs = ("old.npy", "new.npy")
    assert cli("fit", *pairs, "-o", "l.bridge", "--labels", "classes.npy").code == 0
    without = cli("evaluate", "l.bridge", *pairs)
    assert without.code == 0
    assert "another question is asked, that of agreement" in without.err
    assert "gate:" not in without.out
    # who is shown the result alone is told too
    assert "another question is asked" in " ".join(without.out.split())
    asked = cli("evaluate", "l.bridge", *pairs, "--gate", "bridge.recall@10>=0.999")
    assert asked.code == 1 and "another question" in asked.err
    again = cli("evaluate", "l.bridge", *pairs, "--labels", "classes.npy")
    assert "another question" not in again.err and "gate:" in again.out


def test_gates_are_read_before_anything_else(cli: Any, here: Path) -> None:
    cli("evaluate", "none", "a", "b", "--gate", "good").refused("gate 'good': the condition")
    cli("evaluate", "none", "a", "b").refused("none: there is nothing here")


def test_what_a_gate_names_is_measured(cli: Any, bridge: Path, queries: Any) -> None:
    command = ("evaluate", bridge, "old.npy", "new.npy")
    done = cli(*command, *queries, "--gate", "recall@7>0.1", "--json")
    assert done.code == 0, done.err
    assert "recall@7" in done.json["evidence"]["metrics"]
    assert done.json["gates"][0]["found"] == "{value:.3f} [{low:.3f}, {high:.3f}]".format(
        **done.json["evidence"]["arms"]["bridge"]["metrics"]["recall@7"]
    )
    # without queries there is nothing to retain
    unjudged = cli(*command, "--gate", "retention>=0.9")
    assert unjudged.code == 1
    assert "it was not measured" in unjudged.out


@pytest.mark.parametrize("gate", ["novelty>0", "bridgehead.retention>0", "recall@0>1", "recall>0"])
def test_a_gate_on_what_does_not_exist(cli: Any, here: Path, gate: str) -> None:
    cli("evaluate", "none", "a", "b", "--gate", gate).refused()
    cli("fit", "none", "none", "-o", "b", "--gate", gate).refused()
    assert not (here / "b").exists()


@pytest.mark.skipif(find_spec("plotly") is None, reason="reports need plotly")
def test_a_report_is_written_also_where_a_gate_fails(
    cli: Any, here: Path, bridge: Path, queries: Any
) -> None:
    command = ("evaluate", bridge, "old.npy", "new.npy", *queries, "--gate", "recall@10>2")
    done = cli(*command, "--report", "out.html", "--json")
    assert done.code == 1
    assert done.json["gates"][0]["passed"] is False
    page = html.unescape((here / "out.html").read_text(encoding="utf-8"))
    assert "Evaluation of my.bridge" in page
    assert done.json["evidence"]["reason"] in re.sub(r"</?span[^>]*>", "", page)  # terms are marked
    assert "recall@10>2" in page
    cli(*command, "--report", "out.html").refused("out.html", "exists already")
    assert cli(*command, "--report", "out.html", "--overwrite").code == 1


def test_the_figures_of_an_index_say_what_to_expect_of_it(
    cli: Any, bridge: Path, fresh: Any
) -> None:
    done = cli("evaluate", bridge, *fresh, "--horizon", "rows=100000")
    assert "of your 100,000 items" in " ".join(done.out.split())
    wrong = cli("evaluate", bridge, *fresh, "--horizon", "row=100000")
    assert wrong.code == 2
    assert "no figure 'row'" in wrong.err


def test_robustness_of_the_recommended_way_is_asked_by_a_gate(
    cli: Any, bridge: Path, queries: Any
) -> None:
    gates = ("--gate", "robustness.worst>=-0.5", "--gate", "robustness.binary>=0.5")
    found = cli("evaluate", bridge, "old.npy", "new.npy", *queries, *gates)
    assert found.code == 1
    assert "robustness of" in found.out
    assert "pass  robustness.worst>=-0.5" in found.out
    assert "FAIL  robustness.binary>=0.5" in found.out


def test_queries_made_in_other_ways(cli: Any, bridge: Path, queries: Any) -> None:
    np.save("other.npy", np.roll(np.load("q_new.npy"), 1, axis=0))
    lines = [f'{{"id": {i}, "text": "{i}"}}' for i in range(len(np.load("q_new.npy")))]
    Path("q.jsonl").write_text("\n".join(lines))
    given = ("evaluate", bridge, "old.npy", "new.npy", *queries)
    # as a document the text of a query is the item itself
    model = ("--prefix-model", "vectors:new.npy#queries=q_new.npy")
    cli(*given, *model).refused("the texts of the queries are needed")
    more = (*model, "--query-texts", "q.jsonl", "--query-variant", "rolled=other.npy")
    found = cli(*given, *more, "--json").json["evidence"]["robustness"]
    named = {c["name"]: c for c in found["conditions"]}
    assert {"noise", "masking", "int8", "binary", "matryoshka", "out_of_domain"} < named.keys()
    assert named["rolled"]["change"]["high"] < -0.5  # queries that are those of other items
    assert named["prefix"]["change"]["value"] >= 0
    assert not found["absent"]


@pytest.mark.parametrize(
    ("variant", "told"),
    [("prefix", "a variant is NAME=FILE"), ("Worst=q_new.npy", "no name of a condition"),
     ("short=short.npy", "it has 7 rows")],
)  # fmt: skip
def test_variants_that_cannot_be_asked(
    cli: Any, bridge: Path, queries: Any, variant: str, told: str
) -> None:
    np.save("short.npy", np.load("q_new.npy")[:7])
    given = ("evaluate", bridge, "old.npy", "new.npy", *queries)
    cli(*given, "--query-variant", variant).refused(told)
