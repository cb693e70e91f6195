"""An index whose texts are gone, moved by a corpus bridge where that is shown to find more."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.databases import url_of
from tests.migrate.conftest import opened

from isthmus.bridge import Fitting, fit
from isthmus.encoders import CallableEncoder
from isthmus.errors import GateError, InputError, WrongSpaceError
from isthmus.evaluate import Judging
from isthmus.migrate import Limits, LiveSearch, Models, Plan, PlanOptions, State, make_plan
from isthmus.migrate.plan_mapped import MAPPED
from isthmus.migrate.planning import PlannedModels
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.query_log import read_query_log
from isthmus.stores import create_store, open_store
from isthmus.stores.beside import holder_of

N, INNER, OLD_DIM, NEW_DIM = 600, 6, 8, 12
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def meanings(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, INNER))


def seen_by(dim: int, seed: int, rows: np.ndarray) -> np.ndarray:
    """What a model makes of meanings."""
    turn = np.random.default_rng(seed).standard_normal((INNER, dim))
    return (rows @ turn).astype(np.float32)


def models_of(*, blurred: float = 0.0) -> Models:
    """The old model understands queries worse than the new one, whose own are ``blurred``."""
    items = meanings(N, 0)

    def asked(dim: int, seed: int, spread: float):
        def encode(texts: list[str]) -> np.ndarray:
            rows = []
            for text in texts:
                number = int(text.split()[1])
                noise = np.random.default_rng([seed, number]).standard_normal(INNER)
                rows.append(items[number] + spread * noise)
            return seen_by(dim, seed, np.array(rows))

        return encode

    return Models(
        CallableEncoder(asked(NEW_DIM, 2, blurred), name="new", revision="2", dim=NEW_DIM),
        CallableEncoder(asked(OLD_DIM, 1, 0.9), name="old", revision="1", dim=OLD_DIM),
    )


@pytest.fixture(scope="module")
def corpus_bridge(tmp_path_factory):
    rows = meanings(1500, 9)
    old, new = seen_by(OLD_DIM, 1, rows), seen_by(NEW_DIM, 2, rows)
    bridge = fit(
        Pairs(old, new, metric="cosine"), kind="corpus", recipe="ridge",
        judging=Judging(resamples=100), fitting=Fitting(),
    )  # fmt: skip
    place = tmp_path_factory.mktemp("corpus") / "bridge"
    bridge.save(place)
    return place


@pytest.fixture(params=["lancedb", "postgresql"])
def url(request, tmp_path):
    url = url_of(request.param, tmp_path, request)
    create_store(
        url, np.arange(N), {"vector": seen_by(OLD_DIM, 1, meanings(N, 0))},
        {"rank": list(range(N))},
    ).close()  # fmt: skip
    return url


@pytest.fixture
def log(tmp_path):
    lines = [json.dumps({"query": f"query {i}", "clicked": [i]}) for i in range(200)]
    (tmp_path / "log.jsonl").write_text("\n".join(lines))
    return read_query_log(tmp_path / "log.jsonl")


def plan_for(url, tmp_path, models, bridge, log) -> Plan:
    with open_store(url) as store:
        return make_plan(
            store, PlannedModels(models.new, "new", models.old, "old"), tmp_path / "plan.json",
            log=log, options=PlanOptions(bridge=bridge),
        ).plan  # fmt: skip


def test_from_the_plan_to_the_way_back(url, tmp_path, corpus_bridge, log):
    models, before, path = models_of(), state_of_vectors(url), tmp_path / "plan.json"
    plan = plan_for(url, tmp_path, models, corpus_bridge, log)
    assert plan.verdict.startswith(MAPPED)
    assert any("OLD VECTORS MAPPED BY THE CORPUS BRIDGE" in step for step, _ in plan.steps)
    assert plan.kept is not None and plan.curve[-1].low is not None
    assert plan.curve[-1].value > plan.kept and plan.curve[-1].low > 0
    assert plan.serving.recall.kind == "old" and plan.target.text_field is None
    with opened(plan, path, models) as migration:
        assert migration.run(Limits(batch=50, share=0.4)) == State.FILLING
        search = LiveSearch(plan, migration.store, new=models.new, old=models.old, refresh=0)
        assert (search([f"query {i}" for i in range(20)], 10).scores > -np.inf).all()
    with opened(plan, path, models) as migration:
        assert migration.run(resume=True) == State.FULL
        assert migration.status().encoded == N  # no vector was mapped twice
        (new,) = [state_of_vectors(url, column="new")]
        true = seen_by(NEW_DIM, 2, meanings(N, 0))
        for number in range(N):
            row = np.frombuffer(new[number], np.float32)
            assert row @ true[number] / np.linalg.norm(row) / np.linalg.norm(true[number]) > 0.999
        gain = migration.cut_over()
        assert gain is not None and gain.low is not None and gain.low > 0
        # an application of the new model adds an item; there is no text to go back by
        mine = seen_by(NEW_DIM, 2, meanings(1, 77))
        second, column = holder_of(migration.store, "new")
        second.add(np.array([N]), {column: mine}, {"rank": [N]})
    with opened(plan, path, models) as migration:
        restored = migration.rollback()
    assert (restored.untouched, restored.mapped, restored.encoded) == (N, 1, 0)
    assert restored.cosine is not None and restored.cosine > 0.999
    assert "median cosine" in str(restored)
    after = state_of_vectors(url)
    assert {n: after[n] for n in range(N)} == before
    row, true = np.frombuffer(after[N], np.float32), seen_by(OLD_DIM, 1, meanings(1, 77))[0]
    assert row @ true / np.linalg.norm(row) / np.linalg.norm(true) > 0.999


def state_of_vectors(url, column="vector"):
    with open_store(url) as store:
        from isthmus.stores.beside import with_second_column

        whole = with_second_column(store, "new")
        return {
            i: row.tobytes()
            for part in whole.scan(column=column)
            for i, row, there in zip(part.ids.tolist(), part.vectors, part.present, strict=True)
            if there
        }


def test_it_is_not_offered_where_it_is_not_shown_to_find_more(url, tmp_path, corpus_bridge, log):
    with pytest.raises(GateError, match="not shown to find more"):
        plan_for(url, tmp_path, models_of(blurred=2.0), corpus_bridge, log)
    few = replace(log, ids=log.ids[:5], texts=log.texts[:5], weights=log.weights[:5],
                  clicked={n: log.clicked[n] for n in log.ids[:5].tolist()})  # fmt: skip
    with pytest.raises(GateError, match="queries are too few"):
        plan_for(url, tmp_path, models_of(), corpus_bridge, few)
    alone = replace(models_of(), old=None)
    for models, given in ((alone, log), (models_of(), None)):
        with pytest.raises(InputError, match="nothing says whether mapped vectors find more"):
            plan_for(url, tmp_path, models, corpus_bridge, given)
    with pytest.raises(InputError, match="give a corpus bridge with --bridge"):
        plan_for(url, tmp_path, models_of(), None, log)


def test_items_with_texts_are_encoded_not_mapped(tmp_path, corpus_bridge, log):
    url = f"lancedb://{tmp_path}/db#texts"
    texts = [f"query {i}" for i in range(N)]
    rows = seen_by(OLD_DIM, 1, meanings(N, 0))
    create_store(url, np.arange(N), {"vector": rows}, {"text": texts}).close()
    with pytest.raises(InputError, match="of which the new model makes true vectors"):
        plan_for(url, tmp_path, models_of(), corpus_bridge, log)


def test_vectors_of_another_model_are_not_mapped(tmp_path, corpus_bridge, log):
    url = f"lancedb://{tmp_path}/db#others"
    rows = seen_by(OLD_DIM, 55, meanings(N, 0)) + np.float32(3)
    create_store(url, np.arange(N), {"vector": rows}).close()
    with pytest.raises(WrongSpaceError):
        plan_for(url, tmp_path, models_of(), corpus_bridge, log)


def test_a_corpus_bridge_that_was_changed_is_refused(tmp_path, corpus_bridge, log):
    import shutil

    url = f"lancedb://{tmp_path}/db#docs"
    create_store(url, np.arange(N), {"vector": seen_by(OLD_DIM, 1, meanings(N, 0))}).close()
    mine = tmp_path / "bridge"
    shutil.copytree(corpus_bridge, mine)
    plan = plan_for(url, tmp_path, models_of(), mine, log)
    (mine / "card.md").write_text("another")
    with (
        pytest.raises(InputError, match="not the one that was planned with"),
        opened(plan, tmp_path / "plan.json", models_of()) as migration,
    ):
        migration.run()
    with open_store(url) as store:
        assert list(store.describe().columns) == ["vector"]
