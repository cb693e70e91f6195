"""``isthmus threshold``, ``isthmus consumers`` and groups of queries."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_a_threshold_is_translated_for_every_way(cli: Any, bridge: Path, fitted: Any) -> None:
    done = cli("threshold", "0.7", "--bridge", bridge)
    assert done.code == 0
    assert "keeping the share of answers: with the old model" in done.out
    assert "keeping the precision: with the old model" in done.out
    told = cli("threshold", "0.7", "--bridge", bridge, "--json").json
    assert {t["way"] for t in told["thresholds"]} == set(fitted.thresholds.ways)
    found = fitted.threshold(0.7, "bridge", "precision")
    assert {t["new"] for t in told["thresholds"] if (t["way"], t["keep"]) == ("bridge", "precision")
            } == {found.new}  # fmt: skip
    one = cli("threshold", "0.7", "--bridge", bridge, "--way", "new", "--keep", "share", "--json")
    assert [(t["way"], t["keep"]) for t in one.json["thresholds"]] == [("new", "share")]
    assert "error on unseen queries" in done.out
    beyond = cli("threshold", 9, "--bridge", bridge).out
    # one sentence for all the ways that it holds for, within the width of a terminal
    assert beyond.count("no threshold for bridge, ") == 2 and "it is known for" in beyond
    assert max(map(len, beyond.splitlines())) <= 100
    cli("threshold", "0.7", "--bridge", bridge, "--keep", "recall").refused("not 'recall'")
    cli("threshold", "0.7", "--bridge", bridge, "--way", "x").refused("for the way 'x'")


HEADS = """
import numpy as np

class Side:
    classes_ = np.array(["left", "right"])
    def predict(self, X):
        return self.classes_[(np.asarray(X)[:, 0] > 0.1).astype(int)]
    def decision_function(self, X):
        return np.asarray(X)[:, 0] - 0.1

def side():
    return Side()
"""


def test_a_consumer_is_judged_and_limits_are_held(
    cli: Any, bridge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("heads_of_a_test.py").write_text(HEADS)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    old = np.load("old.npy")
    Path("sides.txt").write_text("".join("right\n" if r else "left\n" for r in old[:, 0] > 0.1))
    given = [bridge, "old.npy", "new.npy", "--estimator", "heads_of_a_test:side"]
    done = cli("consumers", *given, "--answers", "sides.txt", "--json")
    assert done.code == 0
    arms = done.json["arms"]
    assert arms["own"]["metrics"]["accuracy"]["value"] == 1
    lost = 1 - arms["bridge"]["metrics"]["accuracy"]["value"]
    assert arms["bridge"]["negative_flips"]["value"] == pytest.approx(lost)
    failed = cli("consumers", *given, "--answers", "sides.txt", "--max-loss", "0", "--max-flips", 0)
    assert failed.code == 1
    assert failed.out.count("FAIL  bridge:") == 2
    made = cli("consumers", *given, "--head-bridge", "head.bridge")
    assert made.code == 0
    assert "head bridge:" in made.out
    assert cli("apply", "head.bridge", "new.npy", "mapped.npy").code == 0
    unknown = cli("consumers", *given, "--max-loss", "0.1")
    assert unknown.code == 1
    assert "no loss can be measured without answers" in unknown.out


RERANKER = """
import numpy as np

class Near:
    def score(self, queries, items):
        items = items / np.linalg.norm(items, axis=2, keepdims=True)
        return np.einsum("nd,nkd->nk", queries, items)

near = Near()
"""


def test_a_reranker_orders_what_the_bridge_finds(
    cli: Any, bridge: Path, queries: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("reranker_of_a_test.py").write_text(RERANKER)
    monkeypatch.syspath_prepend(str(Path.cwd()))
    given = ["consumers", bridge, "old.npy", "new.npy", "--estimator", "reranker_of_a_test:near"]
    cli(*given).refused("a reranker orders what is found for queries")
    cli(*given, *queries, "--head-bridge", "h").refused("judged by what answers queries")
    found = cli(*given, *queries, "--candidates", 5, "--retrained", given[-1], "--json")
    assert found.code == 0, found.err
    told = found.json
    assert (told["kind"], told["known_answers"]) == ("reranker", True)
    assert set(told["arms"]) == {"own", "bridge", "naive", "retrained"}
    mrr = {name: arm["metrics"]["mrr"]["value"] for name, arm in told["arms"].items()}
    assert mrr["bridge"] > mrr["own"] - 0.05
    assert mrr["naive"] < mrr["bridge"] - 0.1
    failed = cli(*given, *queries, "--max-loss", "-0.5")
    assert failed.code == 1
    assert "FAIL  bridge: it may lose" in failed.out
    Path("heads_of_a_test_2.py").write_text(HEADS)
    cli(*given[:-1], "heads_of_a_test_2:side", *queries).refused("queries are for a reranker")


def test_a_probe_is_asked_through_the_bridge(cli: Any, bridge: Path) -> None:
    old = np.load("old.npy")
    Path("sides.txt").write_text("".join("right\n" if r else "left\n" for r in old[:, 0] > 0.1))
    given = ("probe", bridge, "old.npy", "new.npy", "--labels", "sides.txt")
    done = cli(*given)
    assert done.code == 0, done.err
    assert "linear probe of 2 classes" in done.out
    assert "directions of 2 concepts" in done.out
    told = cli(*given, "--json").json
    assert told["linear"]["own"]["value"] > 0.9
    assert told["linear"]["bridged"]["value"] > 0.8
    assert not told["broken"]
    failed = cli(*given, "--max-loss", "0")
    assert failed.code == 1
    assert "FAIL  it may lose" in failed.out


def test_groups_of_queries_are_told_apart(cli: Any, bridge: Path, queries: tuple[str, ...]) -> None:
    asked = len(np.load("q_old.npy"))
    Path("groups.txt").write_text("".join("de\n" if i % 3 else "fr\n" for i in range(asked)))
    given = ["evaluate", bridge, "old.npy", "new.npy", *queries, "--groups", "groups.txt"]
    done = cli(*given)
    assert "groups of queries" in done.out
    told = cli(*given, "--json").json["evidence"]["fairness"]
    assert {g["name"] for g in told["groups"]} == {"de", "fr"}
    assert sum(g["n_queries"] for g in told["groups"]) > 50


def test_cards_and_what_differs_between_two(
    cli: Any, bridge: Path, fitted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("card", bridge).out == (bridge / "CARD.md").read_text().rstrip() + "\n"
    fitted.inverse().save(Path("back.bridge"))
    told = cli("card", "--diff", bridge, "back.bridge", "--json").json["changes"]
    assert {c["what"]: c["after"] for c in told}["verdict"] == "not evaluated"
    assert (
        "contracts:\n  source name: new -> old" in cli("card", "--diff", bridge, "back.bridge").out
    )
    assert cli("card", "--diff", bridge, bridge).out == "nothing differs\n"
    assert cli("publish", bridge, "docs", "-r", "reg", "--create").code == 0
    assert cli("publish", "back.bridge", "docs", "-r", "reg").code == 0
    digest = cli("list", "docs", "-r", "reg", "--json").json[0]["version"]
    given = ["--diff", f"docs@sha256:{digest[:12]}", "docs", "-r", "reg", "--json"]
    assert cli("card", *given).json["changes"] == told
    monkeypatch.setenv("ISTHMUS_REGISTRY", "reg")
    assert cli("card", "--diff", bridge, "docs", "--json").json["changes"] == told
    cli("card", "--diff", bridge).refused("a difference is between two")


def test_a_version_is_held_against_the_one_before(
    cli: Any, bridge: Path, queries: tuple[str, ...]
) -> None:
    recipe = ("--recipe", "unit_norm | low_rank(rank=2) | unit_norm")
    kept = ("--gate", "recall@10>=0", "-o", "worse.bridge")
    assert cli("fit", "old.npy", "new.npy", *queries, *recipe, *kept).code == 0
    given = ["old.npy", "new.npy", *queries, "--gate", "recall@10>=0"]
    same = cli("evaluate", bridge, *given, "--against", bridge, "--margin", "0.05")
    assert same.code == 0
    assert "no loss beyond the margin" in " ".join(same.out.split())
    lost = cli("evaluate", "worse.bridge", *given, "--against", bridge)
    told = " ".join(lost.out.split())
    if "change -" in told:
        assert (lost.code, "cannot be ruled out" in told) == (1, True)
    labels = cli("evaluate", bridge, "old.npy", "new.npy", "--against", bridge)
    labels.refused("without relevance two versions cannot be compared")
