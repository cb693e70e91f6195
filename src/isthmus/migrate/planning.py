"""A plan made: the store, the encoders and the ways measured, and nothing changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isthmus.artefact import check_place
from isthmus.bridge import Bridge, Fitting, ModelChange, StoreSample, fit_sample, sample_store
from isthmus.bridge.check_encoder import check_encoder
from isthmus.bridge.fitting import CROSS_FITTED
from isthmus.bridge.live_order import found_most
from isthmus.bridge.packing import KIND
from isthmus.bridge.unseen_sample import unseen_sample
from isthmus.encoders import Encoder, PrecomputedEncoder
from isthmus.errors import IsthmusError
from isthmus.evaluate import Judging
from isthmus.files import check_output, together
from isthmus.migrate.backfill import TOKEN
from isthmus.migrate.curve import FEWEST_QUERIES, Curve, serving_curve
from isthmus.migrate.filling_order import POPULARITY
from isthmus.migrate.plan import (
    Artefact,
    AskedQueries,
    Canaries,
    CurvePoint,
    Estimated,
    Model,
    Plan,
    Serving,
    Target,
)
from isthmus.migrate.plan_checks import (
    Names,
    check_not_new,
    checked_store,
    grants_needed,
    target_of,
)
from isthmus.migrate.plan_mapped import MAPPED, check_mapped, corpus_bridge, map_rate
from isthmus.migrate.quality import answered
from isthmus.migrate.steps import by_hand, steps_of, verdict_of
from isthmus.progress import Progress, silent
from isthmus.scale.encoding import DividedEncoder
from isthmus.spaces.query_log import QueryLog
from isthmus.stores import Store
from isthmus.ways.search import Columns, Search
from isthmus.ways.way import Recall, Way

__all__ = ["PlanOptions", "Planned", "PlannedModels", "check_places", "make_plan"]

_PAIRS = 3000
_MOST_ASKED = 200
_CANARIES = 16
_POPULAR_SHARE = 0.25
_FEW_RESAMPLES = 200  # nothing is chosen by the evidence of the bridge back


@dataclass(frozen=True)
class PlannedModels:
    """The encoders and how they were spelled; ``old`` is None where it is gone.

    Example:
        >>> from isthmus.encoders import open_encoder
        >>> from isthmus.migrate import PlannedModels
        >>> new = "static:new.safetensors"
        >>> PlannedModels(open_encoder(new), new).old is None
        True
    """

    new: Encoder
    new_spelling: str
    old: Encoder | None = None
    old_spelling: str | None = None


@dataclass(frozen=True)
class Planned:
    """A plan, and the bridges that were fitted for it by the folders that they belong in.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.migrate import Plan, Planned
        >>> Planned(Plan.load(Path("plan.json")), fitted={}).save(Path("copy.json"))
    """

    plan: Plan
    fitted: dict[Path, Bridge]

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the plan with its bridges: all of them, or none.

        Raises:
            OutputError: if one exists and ``overwrite`` is false, or cannot be written.
        """
        with together():
            self.plan.save(path, overwrite=overwrite)
            for place, bridge in self.fitted.items():
                bridge.save(place, overwrite=overwrite)


@dataclass(frozen=True)
class PlanOptions:
    """What a person may choose.

    Attributes:
        bridge: folder of a bridge of queries, else one is fitted on a sample; or of a corpus
            bridge, where the texts of the items are gone, so that the old vectors are mapped.
        alias: the name that applications read; by default the collection's with ``_live`` behind.
        new_column: by default ``new``.
        pairs: items that are sampled.
        rows: the number of items to reckon with; by default those of the store.
        price: of a million tokens.
        seed: of the samples.

    Example:
        >>> from isthmus.migrate import PlanOptions
        >>> PlanOptions(alias="docs_live", price=0.02).pairs
        3000
    """

    bridge: str | Path | None = None
    alias: str | None = None
    new_column: str = "new"
    pairs: int = _PAIRS
    rows: int | None = None
    price: float | None = None
    seed: int = 0


def make_plan(
    store: Store,
    models: PlannedModels,
    output: str | Path,
    *,
    log: QueryLog | None = None,
    options: PlanOptions | None = None,
    progress: Progress = silent,
) -> Planned:
    """Measure the store and both models, and fit the bridges that the plan serves by.

    Args:
        store: opened at the collection, whose column holds the old model's vectors.
        models: both encoders.
        output: where the plan will be saved, and beside it the bridges.
        log: what people ask, and what they clicked.
        options: what is to be otherwise than usual.
        progress: told about rows and texts.

    Raises:
        InputError: for a store that cannot be moved: without texts, with vectors missing, with
            double ids; or a name that is taken.
        WrongSpaceError: for an encoder that did not fill the store, or a store that holds the new
            model's vectors already.
        StoreError: as the store.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.encoders import open_encoder
        >>> from isthmus.migrate import PlannedModels, PlanOptions, make_plan
        >>> from isthmus.stores import open_store
        >>> old, new = "static:old.safetensors", "static:new.safetensors"
        >>> models = PlannedModels(open_encoder(new), new, open_encoder(old), old)
        >>> with open_store("lancedb://db#docs.old") as store:
        ...     planned = make_plan(store, models, Path("other/plan.json"))
        >>> planned.plan.target.alias
        'docs_live'
    """
    chosen = options or PlanOptions()
    held = store.describe()
    old_column = store.column
    count = store.count()
    mapped = corpus_bridge(held, chosen.bridge, models.new, models.old, log)
    scan_rate = checked_store(
        store, held, count, old_column, models.new, progress, mapped=mapped is not None
    )
    names = Names(chosen.new_column, chosen.alias, mapped is not None)
    target = target_of(store, held, count, old_column, models.new.dim, names)
    change = ModelChange(models.new, models.old, mapped)
    sample = sample_store(
        store,
        change,
        pairs=min(chosen.pairs, count),
        log=log if models.old is not None else None,
        column=old_column,
        seed=chosen.seed,
        progress=progress,
    )
    if mapped is None:
        check_not_new(sample, models.new, store.url)
        made_rate = _encode_rate(models.new, sample)
    else:
        mapped.recognise(sample.old, where=store.url)
        made_rate = map_rate(mapped, sample)
    bridges = _bridges(sample, change, Path(output), chosen, progress)
    bridge = bridges.serving
    if bridge is not None and bridge.fill_order is not None:
        bridge.fill_order.array(held.key)  # refused now, not when the index is filled
    curve = serving_curve(
        sample, bridge, old_runs=models.old is not None, seed=chosen.seed, mapped_by=mapped
    )
    if mapped is not None:
        check_mapped(curve, store.url)
    search_ms, asked, popular = _asked(store, target, bridge, models, sample, curve)
    estimated = _estimated(sample, target, chosen, (scan_rate, made_rate, search_ms))
    points, kept = _points(curve)
    verdict = verdict_of(points, kept, estimated, old_runs=models.old is not None)
    what = (_order_name(curve), len(popular)), mapped is not None
    plan = Plan(
        target=target,
        new=_model(models.new, models.new_spelling),
        old=None if models.old is None else _model(models.old, models.old_spelling or ""),
        bridge=bridges.artefact,
        back=bridges.back,
        mapped_by=bridges.mapped_by,
        serving=Serving(recall=curve.recall, joins=curve.joins),
        order=(*((_order_name(curve),) if popular else ()), "scan"),
        popular=popular,
        order_why="" if curve.order is None else curve.order.why,
        orders=() if curve.order is None else curve.order.curves,
        queries=asked,
        canaries=_canaries(models.new, sample),
        curve=points,
        kept=kept,
        estimated=estimated,
        steps=steps_of(store, target, estimated, *what),
        by_hand=by_hand(target, grants_needed(store), old_runs=models.old is not None,
                        judged=bool(asked.texts), mapped=mapped is not None),
        verdict=verdict if mapped is None else f"{MAPPED} {verdict}",
    )  # fmt: skip
    fitted = bridges.fitted
    return Planned(plan.signed(), fitted)


def _encode_rate(new: Encoder, sample: StoreSample) -> float:
    """Texts a second, past the cache where there is one."""
    if isinstance(new, PrecomputedEncoder):
        return 1e6
    inner: Encoder = getattr(new, "encoder", new)
    workers = inner.workers if isinstance(inner, DividedEncoder) else 0
    texts = list(sample.texts[: 64 * max(workers, 1)])
    if workers:
        inner.encode(texts, kind="document")  # each loads the model with its first texts
    began = time.monotonic()
    inner.encode(texts, kind="document")
    return len(texts) / max(time.monotonic() - began, 1e-6)


def check_places(output: Path, options: PlanOptions, *, overwrite: bool) -> None:
    """Refuse, before any work is spent, places that a plan and its bridges cannot be written to.

    Raises:
        OutputError: naming the first of them.
    """
    check_output(output, overwrite=overwrite)
    for place in _places(output)[options.bridge is not None :]:
        check_place(place, KIND, overwrite=overwrite)


def _places(output: Path) -> tuple[Path, Path]:
    """The folders of the bridge to serve by, and of the one back."""
    return output.with_name(f"{output.stem}.bridge"), output.with_name(f"{output.stem}.back.bridge")


class _Bridges(NamedTuple):
    """The bridges of a plan, and those that were fitted for it, by the folders they belong in."""

    serving: Bridge | None
    artefact: Artefact | None
    back: Artefact | None
    fitted: dict[Path, Bridge]
    mapped_by: Artefact | None = None


def _bridges(
    sample: StoreSample,
    change: ModelChange,
    output: Path,
    options: PlanOptions,
    progress: Progress,
) -> _Bridges:
    """What serves new queries before the cut-over, and old ones behind it."""
    place, place_back = _places(output)
    if change.mapped is not None:
        assert options.bridge is not None
        applied = Artefact.at(Path(options.bridge), "corpus")
        return _Bridges(None, None, applied, {}, applied)
    bridge = _serving_bridge(sample, change, options, progress)
    back = _bridge_back(sample, change, options, progress)
    fitted = {} if options.bridge is not None else {place: bridge}
    if back is not None:
        fitted[place_back] = back
    return _Bridges(
        bridge,
        Artefact.of(bridge, place)
        if options.bridge is None
        else Artefact.at(Path(options.bridge), "query"),
        None if back is None else Artefact.of(back, place_back),
        fitted,
    )


def _serving_bridge(
    sample: StoreSample, change: ModelChange, options: PlanOptions, progress: Progress
) -> Bridge:
    """The bridge of queries that was given, or one that is fitted."""
    if options.bridge is None:
        # every query then chooses how to serve, each behind a map that has not seen it
        cross_fit = len(sample) <= CROSS_FITTED and len(sample.queries or ()) >= FEWEST_QUERIES
        fitting = Fitting(seed=options.seed, cross_fit=cross_fit or None)
        return fit_sample(sample, change, fitting=fitting, progress=progress)
    given = Bridge.load(options.bridge)
    check_encoder(given, change.new, "new")
    if change.old is not None:
        check_encoder(given, change.old, "old")
    return given


def _bridge_back(
    sample: StoreSample, change: ModelChange, options: PlanOptions, progress: Progress
) -> Bridge | None:
    """What maps new vectors to the old space, where it can be fitted."""
    try:
        return fit_sample(
            sample,
            change,
            kind="corpus",
            recipe="ridge",
            judging=Judging(resamples=_FEW_RESAMPLES),
            fitting=Fitting(seed=options.seed),
            progress=progress,
        )
    except IsthmusError:
        return None


def _asked(
    store: Store,
    target: Target,
    bridge: Bridge | None,
    models: PlannedModels,
    sample: StoreSample,
    curve: Curve,
) -> tuple[float, AskedQueries, tuple[int | str, ...]]:
    """The time of a search, the queries that judge, and the items that come first."""
    columns = Columns(target.old_column)
    most = max(1, int(_POPULAR_SHARE * target.count))
    first = None if bridge is None else bridge.fill_order
    queries = sample.queries
    if queries is None or models.old is None:
        began = time.monotonic()
        for row in sample.old[:20]:
            store.search(row[None, :], 10, column=target.old_column)
        known = () if first is None else first.ids[:most]
        return 1000 * (time.monotonic() - began) / 20, AskedQueries(), known
    old = Search(Way(recall=Recall(kind="old")), store, columns=columns, old=models.old)
    texts = list(queries.texts[:_MOST_ASKED])
    names = queries.ids[:_MOST_ASKED].tolist()
    asked = AskedQueries(
        texts=tuple(texts),
        clicked=tuple(tuple(sample.clicked[name]) for name in names),
    )
    began = time.monotonic()
    before = answered(old, asked)
    search_ms = 1000 * (time.monotonic() - began) / len(texts)
    asked = asked.model_copy(update={"before": tuple(before.tolist())})
    serve = Search(
        Way(recall=curve.recall), store, columns=columns, bridge=bridge, old=models.old,
        new=models.new,
    )  # fmt: skip
    weights = factor = None
    if curve.order is not None and bridge is not None:
        weights = curve.order.weights(sample.old_queries, unseen_sample(bridge, sample))
        factor = curve.order.factor(store, target.old_column)
    order = found_most(
        serve, sample, np.arange(len(queries)), first=first, most=most,
        weights=weights, factor=factor,
    )  # fmt: skip
    return search_ms, asked, () if order is None else order.ids


def _order_name(curve: Curve) -> str:
    return POPULARITY if curve.order is None else curve.order.name


def _estimated(
    sample: StoreSample,
    target: Target,
    options: PlanOptions,
    rates: tuple[float, float, float],
) -> Estimated:
    scan_rate, encode_rate, search_ms = rates
    rows = options.rows or target.count
    characters = float(np.mean([len(t) for t in sample.texts])) if len(sample) else 0.0
    money = None if options.price is None else rows * characters / TOKEN / 1e6 * options.price
    # a second collection holds the texts as well
    beside = not target.store.startswith(("postgresql", "postgres"))
    return Estimated(
        scan_rate=scan_rate,
        encode_rate=encode_rate,
        search_ms=search_ms,
        rows=rows,
        hours=(rows / encode_rate + 3 * rows / scan_rate) / 3600,
        money=money,
        price=options.price,
        disk=int(rows * (4 * target.new_dim + (characters if beside else 24))),
        assumed=options.rows is not None,
    )


def _points(curve: Curve) -> tuple[tuple[CurvePoint, ...], float | None]:
    points = tuple(
        CurvePoint(share=share, value=value, gain=gain.value or 0.0, low=gain.low, high=gain.high)
        for share, value, gain in curve.points
    )
    return points, curve.kept


def _canaries(new: Encoder, sample: StoreSample) -> Canaries:
    if isinstance(new, PrecomputedEncoder):
        return Canaries()
    if not sample.texts[0]:  # the items have none: texts that people ask
        if sample.queries is None or sample.new_queries is None:
            return Canaries()
        texts = tuple(sample.queries.texts[:_CANARIES])
        return Canaries.of(texts, sample.new_queries[:_CANARIES], "query")
    return Canaries.of(tuple(sample.texts[:_CANARIES]), sample.new[:_CANARIES])


def _model(encoder: Encoder, spelling: str) -> Model:
    return Model(
        spelling=spelling, name=encoder.name, revision=encoder.revision, dim=encoder.dim
    )  # fmt: skip
