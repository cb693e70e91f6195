"""A live index moved to another model, told step by step with the quality that readers had."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from isthmus.demo.corpus import load_corpus
from isthmus.demo.own_folder import claim, renew
from isthmus.encoders import CachedEncoder, all_minilm_l6_int8, paraphrase_minilm_l3
from isthmus.errors import InputError
from isthmus.migrate.backfill import Limits
from isthmus.migrate.migration import Migration
from isthmus.migrate.models import Models
from isthmus.migrate.planning import PlannedModels, PlanOptions, make_plan
from isthmus.migrate.serving import LiveSearch
from isthmus.plain_text import plain_line
from isthmus.progress import Progress, silent
from isthmus.spaces.query_log import read_query_log
from isthmus.stores import create_store, open_store
from isthmus.ways.search import Columns, Search
from isthmus.ways.way import Recall, Way

__all__ = ["STORES", "tell_migration"]

STORES = ("lancedb", "pgvector", "chroma", "qdrant", "sqlite")
PAGE = "migration.html"
_LOG, _PLAN = "log.jsonl", "plan.json"
TEXTS = 3000
_OWN = ("db", _LOG, f"{_PLAN}*", f".{_PLAN}*", "plan.bridge*", "plan.back.bridge*", f"{PAGE}*")
_QUERIES = 600
_SHARES = (0.1, 0.25, 0.5, 0.75)


def tell_migration(
    folder: Path,
    *,
    say: Callable[[str], None],
    store: str = "lancedb",
    texts: int = TEXTS,
    progress: Progress = silent,
) -> list[tuple[str, float]]:
    """Plan, bridge, fill, cut over and roll back, on real texts and two real models.

    Args:
        folder: the index is made in its folder ``migration``, and replaces the one there.
        say: prints a line.
        store: one of `STORES`, or the URL of a table of PostgreSQL that is not there yet; for
            ``pgvector`` a server is started, and stopped at the end.
        texts: how many.
        progress: told about texts and rows.

    Returns:
        Recall at 10 of queries that chose nothing, at each step.

    Raises:
        InputError: for another store.
        OutputError: for a folder that holds what no demo wrote, or a table that is there.
        MissingExtraError: if the extra ``demo``, or that of the store, is not installed.
    """
    place = folder / "migration"
    with _at(store, place) as url:
        claim(folder)
        renew(place, _OWN)
        told = _told(url, place, say=say, texts=texts, progress=progress)
        if store == "pgvector":
            say("   the server was started for this, and is stopped with its table")
        return told


def _told(
    url: str, place: Path, *, say: Callable[[str], None], texts: int, progress: Progress
) -> list[tuple[str, float]]:
    corpus = load_corpus(texts)
    old, new = CachedEncoder(paraphrase_minilm_l3()), CachedEncoder(all_minilm_l6_int8())
    ids, queries = np.array(corpus.ids), list(corpus.queries)
    rows = old.encode(corpus.documents, progress=progress)
    create_store(url, ids, {"vector": rows}, {"text": list(corpus.documents)}).close()
    lines = [json.dumps({"query": q, "clicked": [i]}) for q, i in
             zip(queries[:_QUERIES], corpus.ids, strict=False)]  # fmt: skip
    (place / _LOG).write_text("\n".join(lines))
    held_out, right = queries[-_QUERIES:], ids[-_QUERIES:]
    asked = {"new": new.encode(held_out, kind="query"), "old": old.encode(held_out, kind="query")}
    told: list[tuple[str, float]] = []

    def tell(step: str, found: np.ndarray) -> None:
        told.append((step, float((found == right[:, None]).any(axis=1).mean())))
        say(f"   {step:46} {told[-1][1]:.3f}")

    index_at = plain_line(url)
    say(f"\n{texts:,} texts in {index_at}; recall@10 of {_QUERIES} queries that chose nothing:\n")
    with open_store(url) as index:
        columns = Columns("vector")
        kinds: tuple[Literal["old", "naive"], ...] = ("old", "naive")
        for kind, words in zip(kinds, ("the old model", "the naive swap"), strict=True):
            search = Search(Way(recall=Recall(kind=kind)), index, columns=columns)
            tell(words, search(asked, 10).ids)  # pyright: ignore[reportArgumentType]
        models = PlannedModels(
            new, "package:all-minilm-l6-int8", old, "package:paraphrase-minilm-l3"
        )  # fmt: skip
        path = place / _PLAN
        log = read_query_log(place / _LOG)
        planned = make_plan(index, models, path, log=log, options=PlanOptions(), progress=progress)
        planned.save(path)
        plan = planned.plan
        migration = Migration(plan, path, index, Models(new, old), progress)
        live = LiveSearch(plan, index, new=new, old=old, refresh=0)

        def read(step: str) -> None:
            tell(step, live(asked, 10).ids)  # pyright: ignore[reportArgumentType]

        read(f"planned, nothing filled ({plan.serving.recall.kind})")
        for number, share in enumerate(_SHARES):
            migration.run(Limits(share=share), resume=number > 0)
            read(f"{live.standing().share:.0%} filled, both columns searched as one")
        migration.run(resume=True)
        read("full")
        migration.cut_over()
        read("cut over")
        tell("cut over, for callers with the old model", live({"old": asked["old"]}, 10).ids)
        restored = migration.rollback()
        tell("rolled back, the old model", live({"old": asked["old"]}, 10).ids)
    say(f"\n   {restored}")
    say(f"   plan and journal: {plain_line(f'{path}, {path}.journal')}")
    if find_spec("plotly") is not None:
        from isthmus.report.migration import write_migration_steps

        write_migration_steps(told, place / PAGE, asked=len(held_out), restored=str(restored))
        say(f"   plot: {plain_line(str(place / PAGE))}")
    return told


@contextmanager
def _at(store: str, place: Path) -> Generator[str]:
    """Where the index is made: in the demo's folder, or in a database."""
    if store == "pgvector":
        from isthmus.demo.own_postgres import postgres_server

        with postgres_server() as server:
            yield f"{server.get_uri()}#documents"
        return
    if store in STORES:
        yield f"{store}://{place.resolve()}/db#documents"
        return
    scheme, _, rest = store.partition("://")
    if scheme in ("postgresql", "postgres") and rest.partition("#")[2]:
        yield store
        return
    raise InputError(
        f"the demo has no store '{store}'",
        where="--store",
        mend=f"Choose one of {', '.join(STORES)}, or give the URL of a table to make, such as "
        "postgresql://user@host/database#documents",
    )
