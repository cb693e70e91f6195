"""The options that say what a live index is compared with: two models, and what people ask."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.console import say
from isthmus.cli.model_options import KeyEnv, NewModel, OldModel
from isthmus.cli.option_groups import option_name
from isthmus.cli.reports import ShownTexts
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.bridge import Bridge, ModelChange, StoreSample
    from isthmus.progress import Progress
    from isthmus.spaces.query_log import QueryLog
    from isthmus.stores import Store

__all__ = [
    "StoreOptions",
    "check_cut_offs",
    "judged_live",
    "open_sample",
    "read_asked",
    "refuse_file_options",
    "sampled_texts",
]

_FEW = 0.1  # of the index: a smaller sample says little about all of it
_STORE = "A live index (OLD is the URL of a store)"


@dataclass(frozen=True)
class StoreOptions:
    """How a live index is sampled, and what may be spent on it."""

    old_model: OldModel = None
    new_model: NewModel = None
    pair_count: Annotated[
        int | None,
        typer.Option(
            "--pairs",
            min=2,
            help="Items that are sampled beside those that were clicked, and encoded by the new "
            "model; 4000 by default, or, with queries, so many that sample and clicked items are "
            "at most a fourth of the index and 5000, and no query must be held out.",
            rich_help_panel=_STORE,
        ),
    ] = None
    query_log: Annotated[
        Path | None,
        typer.Option(
            "--queries",
            help="A log of queries with the ids that were clicked: .jsonl, .json, .csv, .tsv, "
            "Parquet, Arrow or ORC, or .txt with a query on each line. Or texts of queries by id, "
            "with --qrels.",
            rich_help_panel=_STORE,
        ),
    ] = None
    max_queries: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Queries that are encoded by both models; 1000 by default, by how often they are "
            "asked.",
            rich_help_panel=_STORE,
        ),
    ] = None
    max_items: Annotated[
        int | None,
        typer.Option(
            min=0, help="Texts sent to endpoints, both models together.", rich_help_panel=_STORE
        ),
    ] = None
    max_tokens: Annotated[
        int | None,
        typer.Option(
            min=0, help="Tokens sent to endpoints, both models together.", rich_help_panel=_STORE
        ),
    ] = None
    key_env: KeyEnv = None

    def refuse(self) -> None:
        """Refuse every option that was given: the input is not a store.

        Raises:
            InputError: naming the first one.
        """
        for field in fields(self):
            if getattr(self, field.name) is not None:
                raise InputError(
                    "this says how a live index is sampled, and OLD is not the URL of a store",
                    where=option_name(type(self), field.name),
                    mend="Give a URL such as lancedb://folder#table.column, or leave it out",
                )


def refuse_file_options(given: Mapping[str, object]) -> None:
    """Refuse options that speak of files where the input is a store.

    Raises:
        InputError: naming the first one.
    """
    for option, value in given.items():
        if value is not None:
            raise InputError(
                "this belongs to two files of vectors, and OLD is the URL of a store",
                where=option,
                mend="Leave it out: items, texts and ids are read from the store, and --new names "
                "the new model",
            )


def check_cut_offs(metrics: Sequence[str]) -> None:
    """Refuse, before any work is spent, a metric that the first results of an index cannot show.

    Raises:
        InputError: for a metric without a cut-off, or with one that is too deep.
    """
    from isthmus.bridge.live_run import DEPTH
    from isthmus.evaluate import parse_metric

    for name in metrics:
        metric = parse_metric(name)
        if metric.k is None or metric.k > DEPTH:
            raise InputError(
                f"on a live index {DEPTH} results of each query are looked at, and '{name}' needs "
                "more",
                mend=f"Write {metric.metric.name}@{DEPTH}",
            )


def sampled_texts(sample: StoreSample) -> ShownTexts:
    """The texts that a report shows."""
    queries = sample.queries
    return {
        "texts": dict(zip(map(str, sample.ids.tolist()), sample.texts, strict=True)),
        "query_texts": None
        if queries is None
        else dict(zip(queries.ids.tolist(), queries.texts, strict=True)),
    }


def read_asked(queries: Path | None, qrels: Path | None) -> QueryLog | None:
    """What people ask of an index and what they clicked; or texts by id, judged by ``qrels``.

    Raises:
        InputError: for a file that cannot be read, or judgements of no queries.
    """
    import numpy as np

    from isthmus.spaces.qrels import read_qrels
    from isthmus.spaces.query_log import read_query_log

    log = None if queries is None else read_query_log(queries)
    if qrels is None:
        return log
    if log is None:
        raise InputError("--qrels judges queries", mend="Give their texts with --queries")
    # as strings, as the log has them; the store says later what its ids are
    judged = read_qrels(qrels, query_ids=log.ids, item_ids=np.array([""]), as_written=True)
    return replace(log, clicked={q: judged[q] for q in log.ids.tolist() if q in judged})


@contextmanager
def open_sample(
    url: str,
    options: StoreOptions,
    *,
    qrels: Path | None,
    seed: int,
    progress: Progress,
) -> Generator[tuple[Store, ModelChange, StoreSample]]:
    """Open the store and the encoders, and encode a sample; what is to be known is said.

    The store is closed at the end.

    Raises:
        InputError: as `sample_store`; and if there is no new model.
    """

    from isthmus.bridge import ModelChange, sample_store
    from isthmus.encoders import SpendCap, Spending, open_encoder
    from isthmus.stores import open_store

    if options.new_model is None:
        raise InputError(
            "there is no new model to compare the index with",
            where="--new",
            mend="Name it, as in --new st:all-MiniLM-L6-v2",
        )
    log = read_asked(options.query_log, qrels)
    if log is not None:
        say(repr(log))
    spending = Spending(
        SpendCap(max_items=options.max_items, max_tokens=options.max_tokens), options.key_env
    )
    with open_store(url) as store:
        models = ModelChange(
            new=open_encoder(options.new_model, spending=spending, progress=progress),
            old=None
            if options.old_model is None
            else open_encoder(options.old_model, spending=spending, progress=progress),
        )
        sample = sample_store(
            store,
            models,
            pairs=options.pair_count,
            log=log,
            most_queries=options.max_queries or 1000,
            seed=seed,
            progress=progress,
        )
        for note in sample.notes:
            say(note)
        asked = "" if sample.queries is None else f", and {len(sample.queries):,} queries"
        say(f"{len(sample):,} of {sample.count:,} items sampled{asked}")
        yield store, models, sample


def judged_live(
    bridge: Bridge,
    store: Store,
    models: ModelChange,
    sample: StoreSample,
    progress: Progress,
) -> Bridge:
    """The bridge with evidence from the live index, where its kind can be judged there.

    And with the list of what to re-embed first, where there are queries to count.
    """
    from isthmus.bridge import judge_live, live_order, with_live_evidence
    from isthmus.bridge.live_trust import live_trust

    if bridge.kind != "query":
        say("a corpus bridge is judged on the sample: no store holds its mapped vectors yet")
        return bridge
    live = judge_live(bridge, store, sample, models, progress=progress)
    if len(sample) < _FEW * sample.count:
        say(
            f"the sample is {len(sample) / sample.count:.2%} of the index, less than a tenth: what "
            "the new model would find in all of it is a rough estimate"
        )
    order = live_order(bridge, store, sample)
    if order is not None:
        say(
            f"{len(order.ids):,} items that {order.queries:,} queries find or click come first "
            "where a part is re-embedded: isthmus plan --bridge takes the list over"
        )
    trust = live_trust(bridge, store, sample)
    if trust is not bridge.trust:
        say(f"trust in single vectors is calibrated among all {sample.count:,} items")
    return replace(with_live_evidence(bridge, live), fill_order=order, trust=trust)
