"""What a plan says that will be sent, and what it asks of a person."""

from __future__ import annotations

from typing import Any, cast

import pytest

from isthmus.migrate.plan import Estimated, Target
from isthmus.migrate.steps import by_hand, steps_of
from isthmus.stores import Collection, Store


class Described:
    """A store that says where its collection lies."""

    def __init__(self, schema: str) -> None:
        self.schema = schema

    def describe(self) -> Collection:
        return Collection("docs", "int", {}, schema=self.schema)


def target(**changes: Any) -> Target:
    known: dict[str, Any] = {
        "store": "postgresql://db#docs.v", "collection": "docs", "count": 10, "text_field": "text",
        "old_column": "v", "old_dim": 4, "metric": "cosine", "new_column": "new", "new_dim": 5,
        "alias": "docs_live", "alias_old": "docs.v", "alias_new": "docs.new",
    }  # fmt: skip
    return Target(**(known | changes))


ESTIMATED = Estimated(scan_rate=1, encode_rate=1, search_ms=1, rows=10, hours=1, disk=1)


def sent(target: Target, schema: str = "") -> dict[str, str]:
    store = cast(Store, Described(schema))
    steps = steps_of(store, target, ESTIMATED, ("popularity", 0), mapped=False)
    return {what.partition(":")[0]: how for what, how in steps}


def test_names_are_those_of_the_schema() -> None:
    steps = sent(target(), "shop")
    assert steps["planned"] == "INSERT INTO shop.isthmus_ledger"
    assert "CREATE TABLE shop.docs__new (id PRIMARY KEY REFERENCES shop.docs" in steps["prepared"]
    assert (
        "CREATE OR REPLACE VIEW shop.docs_live AS SELECT ... FROM shop.docs JOIN"
        in steps["cut over"]
    )
    assert "shop" not in " ".join(sent(target()).values())


@pytest.mark.parametrize(
    ("store", "index", "made"),
    [
        ("postgresql://db#docs.v", None, "reads"),
        ("postgresql://db#docs.v", "hnsw",
         "reads; CREATE INDEX CONCURRENTLY ON docs__new USING hnsw (new)"),
        ("postgresql://db#docs.v", "hnsw m=8 ef_construction=40",
         "reads; CREATE INDEX CONCURRENTLY ON docs__new USING hnsw (new) "
         "WITH (m=8, ef_construction=40)"),
        ("lancedb://db#docs.v", "IvfPq", "reads; create_index('new') of 'docs__new'"),
    ],
    ids=["none", "hnsw", "options", "lancedb"],
)  # fmt: skip
def test_the_index_of_the_new_vectors_is_a_step(store: str, index: str | None, made: str) -> None:
    alias_new = "docs.new" if store.startswith("postgres") else "docs__new"
    assert sent(target(store=store, index=index, alias_new=alias_new))["full"] == made


@pytest.mark.parametrize(
    ("dim", "told"),
    [
        (2000, "maintenance_work_mem"),
        (2001, "order by v::halfvec(2001)"),
        (4001, "compares with every row"),
    ],
)
def test_a_person_hears_what_an_index_takes(dim: int, told: str) -> None:
    asked = {"old_runs": True, "judged": True, "mapped": False}
    with_index = by_hand(target(index="hnsw", new_dim=dim), (), **asked)
    assert any(told in line for line in with_index)
    assert not any(told in line for line in by_hand(target(new_dim=dim), (), **asked))


def test_a_person_hears_what_has_to_be_granted() -> None:
    needed = ("GRANT CREATE ON SCHEMA shop TO app",)
    lines = by_hand(target(), needed, old_runs=True, judged=True, mapped=False)
    assert lines[0] == f"Before it runs, somebody who may has to run: {needed[0]}"


@pytest.mark.parametrize("old_runs", [True, False])
def test_a_verdict_without_a_measure_names_what_is_missing_alone(old_runs: bool) -> None:
    from typing import Any, cast

    from isthmus.migrate.steps import verdict_of

    told = verdict_of((), None, cast(Any, None), old_runs=old_runs)
    assert "needs queries with clicks (--queries)" in told
    assert ("--old" in told) != old_runs


def test_what_answers_with_nothing_filled_is_told_beside_what_filling_gains() -> None:
    from isthmus.migrate.plan import CurvePoint, Estimated
    from isthmus.migrate.steps import verdict_of

    estimated = Estimated(scan_rate=1e4, encode_rate=100, search_ms=2, rows=10**4, hours=0.03,
                          disk=10**6)  # fmt: skip

    def told(first: float, low: float) -> str:
        points = (
            CurvePoint(share=0, value=first, gain=first - 0.4, low=low, high=0.4),
            CurvePoint(share=0.5, value=0.55, gain=0.15, low=0.1, high=0.2),
            CurvePoint(share=1, value=0.6, gain=0.2, low=0.1, high=0.3),
        )
        return verdict_of(points, 0.4, estimated, old_runs=True)

    assert told(0.41, -0.1).endswith("better from 50% filled on, after about 50 s")
    assert told(0.5, 0.05).endswith(
        "with nothing filled, what answers meanwhile reaches 0.500 already"
    )
    assert "is not shown to find more" in told(0.61, 0.05)
