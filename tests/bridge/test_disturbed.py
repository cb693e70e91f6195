"""The served way under conditions: each value is that of `Search` over what was disturbed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus import Bridge, Pairs, fit
from isthmus.bridge import assess
from isthmus.bridge.assess import unseen_samples
from isthmus.bridge.card import card
from isthmus.bridge.disturbed import measure_robustness
from isthmus.bridge.held_out_samples import Queries
from isthmus.bridge.whole_index import held_out_parts
from isthmus.evaluate import Evaluation, Judging, WayLimits
from isthmus.evaluate.robustness import Disturbances, binary_rows
from isthmus.stores import MemoryStore
from isthmus.ways import ChosenWays, Search, Way
from isthmus.ways.search import Columns

N, D = 1200, 24
RECIPE = "unit_norm | procrustes | unit_norm"
JUDGING = Judging(resamples=200, limits=None, disturbances=Disturbances())


def made() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    spectrum = np.arange(1, D + 1) ** -0.6
    turn = {m: np.linalg.qr(rng.standard_normal((D, D)))[0] for m in ("old", "new")}
    items = rng.standard_normal((N, D))
    latent = {"": items, "q_": items + 0.35 * rng.standard_normal((N, D))}
    return {
        kind + m: ((z + 0.15 * (m == "old") * rng.standard_normal(z.shape)) * spectrum @ turn[m])
        .astype(np.float32)
        for kind, z in latent.items()
        for m in turn
    }  # fmt: skip


DATA = made()


def sides(kind: str, prefix: str = "") -> Pairs:
    names = ("new", "old") if kind == "query" else ("old", "new")
    return Pairs(*(DATA[prefix + name] for name in names))


@pytest.fixture(scope="module", params=["query", "corpus"])
def bridge(request: Any) -> Bridge:
    kind = request.param
    return fit(sides(kind), queries=sides(kind, "q_"), kind=kind, recipe=RECIPE, judging=JUDGING)


def judged(bridge: Bridge, judging: Judging = JUDGING) -> Evaluation:
    return assess(bridge, sides(bridge.kind), queries=sides(bridge.kind, "q_"), judging=judging)


def test_a_fit_and_an_evaluation_say_the_same_of_the_recommended_way(bridge: Bridge) -> None:
    fitted = bridge.evidence
    again = judged(bridge)
    assert fitted is not None and fitted.robustness is not None and again.robustness is not None
    assert fitted.robustness.way == fitted.judged
    names = [c.name for c in fitted.robustness.conditions]
    assert names == ["noise", "masking", "int8", "binary", "matryoshka", "out_of_domain"]
    assert set(fitted.robustness.absent) == {"prefix"}
    at = fitted.arms[fitted.judged].metrics[fitted.primary].value
    assert fitted.robustness.value == pytest.approx(at, abs=1e-12)
    assert again.robustness == fitted.robustness
    assert Evaluation.from_json(fitted.to_json()) == fitted
    assert "## Robustness" in card(bridge)


def test_the_value_on_a_binary_index_is_that_of_the_served_search(bridge: Bridge) -> None:
    asked = Queries(sides(bridge.kind, "q_"))
    held_out = unseen_samples(bridge, sides(bridge.kind), asked).test_part()
    trial = held_out.trial(bridge.chain, bridge.kind)
    gallery = trial.bridge.gallery
    column = "old" if bridge.kind == "query" else "bridged"
    store = MemoryStore(vectors={"old": trial.gallery_old, column: binary_rows(gallery)})
    columns = Columns("old", None, "bridged" if column == "bridged" else None)
    search = Search(Way(), store, columns=columns)
    queries = {"new": trial.query_new}
    if trial.query_bridged is not None:
        queries["bridged"] = trial.query_bridged
    answers = search(queries, 10).ids
    assert trial.relevance is not None
    right = np.array(
        [
            np.isin(trial.relevance.indices[trial.relevance.rows == q], answers[q]).mean()
            for q in range(trial.n_queries)
        ]
    )
    found = measure_robustness(
        held_out, bridge.chain, bridge.kind,
        way=("bridge", Way()), chosen=ChosenWays(), judging=JUDGING,
    )  # fmt: skip
    binary, int8 = found.named("binary"), found.named("int8")
    assert binary is not None and int8 is not None
    assert binary.value == pytest.approx(right.mean(), abs=1e-12)
    # one bit loses more than eight
    assert (binary.change.value or 0) < (int8.change.value or 0) - 0.01


def test_the_bridge_is_judged_as_in_the_table_of_ways(bridge: Bridge) -> None:
    asked = Queries(sides(bridge.kind, "q_"))
    samples = unseen_samples(bridge, sides(bridge.kind), asked)
    parts = held_out_parts(samples, bridge.kind, bridge.unseen_map(), whole_index=True)
    found = measure_robustness(
        parts.judging, bridge.unseen_map(), bridge.kind,
        way=("bridge", Way()), chosen=ChosenWays(), judging=JUDGING,
    )  # fmt: skip
    assert bridge.evidence is not None
    assert bridge.evidence.among_unfitted is (bridge.kind == "query")
    told = bridge.evidence.arms["bridge"].metrics[bridge.evidence.primary].value
    assert found.value == pytest.approx(told, abs=1e-9)


def test_a_way_that_was_chosen_is_judged_as_in_the_table_of_ways() -> None:
    """Half of the queries in one way, half in another, with and without a condition."""
    rng = np.random.default_rng(0)
    few = [
        Pairs(DATA[q + "new"][:300], DATA[q + "old"][:300] + 0.25 * rng.standard_normal((300, D)))
        for q in ("", "q_")
    ]
    bridge = fit(
        few[0], queries=few[1], recipe=RECIPE, judging=replace(JUDGING, limits=WayLimits())
    )
    evidence = bridge.evidence
    assert evidence is not None and evidence.robustness is not None
    assert evidence.judged in ("mixed_rescore", "old_rescore", "bridge_rescore", "mixed")
    told = evidence.arms[evidence.judged].metrics[evidence.primary].value
    assert evidence.robustness.value == pytest.approx(told, abs=1e-9)
    assert evidence.n_queries == 300 == evidence.robustness.conditions[0].queries


def test_queries_made_in_another_way_are_asked(bridge: Bridge) -> None:
    same = Disturbances(variants={"prefix": lambda asked: DATA["q_new"][asked]})
    rng = np.random.default_rng(0)
    nonsense = rng.standard_normal((N, D)).astype(np.float32)
    other = Disturbances(variants={"prefix": lambda asked: nonsense[asked]})
    values = {}
    for name, disturbances in {"same": same, "other": other}.items():
        found = judged(bridge, replace(JUDGING, disturbances=disturbances)).robustness
        assert found is not None and not found.absent
        condition = found.named("prefix")
        assert condition is not None
        values[name] = condition.change.value
    assert values["same"] == 0
    assert values["other"] < -0.5


def test_without_relevance_it_is_agreement_with_the_undisturbed_old_model(bridge: Bridge) -> None:
    found = assess(bridge, sides(bridge.kind), judging=JUDGING).robustness
    assert found is not None
    assert found.metric == "recall@10"
    assert all(c.to_old.value is not None for c in found.conditions)
    int8 = found.named("int8")
    assert int8 is not None and int8.change.value == pytest.approx(0, abs=0.05)
