"""A plan made: the store, the encoders and the ways measured, and nothing changed."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from isthmus.artefact import check_place
from isthmus.bridge import Bridge, ModelChange, StoreSample, fit_sample, sample_store
from isthmus.bridge.check_encoder import check_encoder
from isthmus.bridge.live_order import found_most
from isthmus.bridge.packing import KIND
from isthmus.encoders import Encoder, PrecomputedEncoder
from isthmus.errors import InputError, IsthmusError, WrongSpaceError
from isthmus.evaluate import Judging
from isthmus.files import check_output, together
from isthmus.migrate.backfill import TOKEN
from isthmus.migrate.curve import Curve, serving_curve
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
from isthmus.migrate.quality import answered
from isthmus.migrate.steps import by_hand, steps_of, verdict_of
from isthmus.progress import Progress, silent
from isthmus.spaces.query_log import QueryLog
from isthmus.stores import Collection, Store
from isthmus.ways.search import Columns, Search
from isthmus.ways.way import Recall, Way

__all__ = ["PlanOptions", "Planned", "PlannedModels", "absolute", "check_places", "make_plan"]

_PAIRS = 3000
_MOST_QUERIES = 600
_MOST_ASKED = 200
_CANARIES = 16
_POPULAR_SHARE = 0.25
_FEW_RESAMPLES = 200  # nothing is chosen by the evidence of the bridge back
_FILES = ("lancedb", "chroma", "qdrant", "faiss", "parquet", "file")


@dataclass(frozen=True)
class PlannedModels:
    """The encoders and how they were spelled; ``old`` is None where it is gone."""

    new: Encoder
    new_spelling: str
    old: Encoder | None = None
    old_spelling: str | None = None


@dataclass(frozen=True)
class Planned:
    """A plan, and the bridges that were fitted for it by the folders that they belong in."""

    plan: Plan
    fitted: dict[Path, Bridge]

    def save(self, path: Path, *, overwrite: bool = False) -> None:
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
        bridge: folder of a bridge of queries; one is fitted on a sample if it is None.
        alias: the name that applications read; by default the collection's with ``_live`` behind.
        new_column: by default ``new``.
        pairs: items that are sampled.
        rows: the number of items to reckon with; by default those of the store.
        price: of a million tokens.
        seed: of the samples.
    """

    bridge: Path | None = None
    alias: str | None = None
    new_column: str = "new"
    pairs: int = _PAIRS
    rows: int | None = None
    price: float | None = None
    seed: int = 0


def make_plan(
    store: Store,
    models: PlannedModels,
    output: Path,
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
    """
    chosen = options or PlanOptions()
    held = store.describe()
    old_column = store.column
    count = store.count()
    scan_rate = _checked(store, held, count, old_column, models, progress)
    target = _target(store, held, count, old_column, models, chosen)
    sample = sample_store(
        store,
        ModelChange(models.new, models.old),
        pairs=min(chosen.pairs, count),
        log=log if models.old is not None else None,
        most_queries=_MOST_QUERIES,
        column=old_column,
        seed=chosen.seed,
        progress=progress,
    )
    _check_not_new(sample, models.new, store.url)
    encode_rate = _encode_rate(models.new, sample)
    place, place_back = _places(output)
    bridge = _serving_bridge(sample, models, chosen, progress)
    if bridge.fill_order is not None:
        bridge.fill_order.array(held.key)  # refused now, not when the index is filled
    back = _bridge_back(sample, models, chosen, progress)
    fitted = {} if chosen.bridge is not None else {place: bridge}
    if back is not None:
        fitted[place_back] = back
    curve = serving_curve(sample, bridge, old_runs=models.old is not None, seed=chosen.seed)
    serving = Serving(recall=curve.recall, joins=curve.joins)
    search_ms, asked, popular = _asked(store, target, bridge, models, sample, curve)
    estimated = _estimated(sample, target, chosen, (scan_rate, encode_rate, search_ms))
    points, kept = _points(curve)
    plan = Plan(
        target=target,
        new=_model(models.new, models.new_spelling),
        old=None if models.old is None else _model(models.old, models.old_spelling or ""),
        bridge=Artefact.of(bridge, place)
        if chosen.bridge is None
        else Artefact.at(chosen.bridge, "query"),
        back=None if back is None else Artefact.of(back, place_back),
        serving=serving,
        order=(*((_order_name(curve),) if popular else ()), "scan"),
        popular=popular,
        order_why="" if curve.order is None else curve.order.why,
        orders=() if curve.order is None else curve.order.curves,
        queries=asked,
        canaries=_canaries(models.new, sample),
        curve=points,
        kept=kept,
        estimated=estimated,
        steps=steps_of(store, target, estimated, (_order_name(curve), len(popular))),
        by_hand=by_hand(target, old_runs=models.old is not None, judged=bool(asked.texts)),
        verdict=verdict_of(points, kept, estimated),
    )
    return Planned(plan.signed(), fitted)


def absolute(url: str) -> str:
    """A store's URL with its folder or file made absolute; others as they are."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        path, hash_, name = url.partition("#")
        return f"{Path(path).resolve()}{hash_}{name}"
    if scheme not in _FILES:
        return url
    end = min((i for i in (rest.find("?"), rest.find("#")) if i >= 0), default=len(rest))
    place = rest[:end]
    if ":" in place or not Path(place).exists():
        return url
    return f"{scheme}://{Path(place).resolve()}{rest[end:]}"


def _checked(
    store: Store,
    held: Collection,
    count: int,
    column: str,
    models: PlannedModels,
    progress: Progress,
) -> float:
    """Refuse what cannot be moved; returns the rows a second that were read."""
    where = held.where or store.url
    by_id = isinstance(models.new, PrecomputedEncoder)
    if not count:
        raise InputError("the collection is empty: there is nothing to move", where=where)
    if not by_id and not held.has_texts:
        raise InputError(
            "the texts of the items are gone: the new model has nothing to encode",
            where=where,
            mend="Name the payload field that holds them, as in ?text=FIELD; without texts only a "
            "bridge can serve the new model (isthmus fit)",
        )
    if not held.capabilities.writable:
        raise InputError("this store is only read", where=where, mend="Copy it into another one")
    if not held.capabilities.aliases:
        raise InputError(
            "this store has no aliases: nothing can be cut over in one step",
            where=where,
            mend="Open a local folder, or a server that has them",
        )
    fields = [] if by_id or held.text_field is None else [held.text_field]
    began = time.monotonic()
    seen = 0
    for part in store.scan(column=column, fields=fields):
        assert part.present is not None
        if not part.present.all():
            row = int(np.argmin(part.present))
            raise InputError(
                f"item '{part.ids[row]}' has no vector in column '{column}'",
                where=where,
                mend="Encode it with the old model, or delete it",
            )
        for name in fields:
            texts = part.payload[name]
            blank = next((i for i, t in enumerate(texts) if t is None or not str(t).strip()), None)
            if blank is not None:
                raise InputError(
                    f"item '{part.ids[blank]}' has no text to encode",
                    where=where,
                    mend="Give it a text, or delete it",
                )
        seen += len(part)
        progress("reading", seen, count)
    return seen / max(time.monotonic() - began, 1e-6)


def _target(
    store: Store,
    held: Collection,
    count: int,
    column: str,
    models: PlannedModels,
    options: PlanOptions,
) -> Target:
    from isthmus.stores.beside import BesideStore, with_second_column

    found = held.column(column)
    second = with_second_column(store, options.new_column)
    if options.new_column == column or options.new_column in held.fields:
        raise InputError(
            f"'{options.new_column}' is the name of another column",
            where="--new-column",
            mend="Choose another one",
        )
    there = options.new_column in second.describe().columns
    filled = second.filled(options.new_column) if there else 0
    if filled:
        raise InputError(
            f"'{options.new_column}' holds {filled:,} vectors already",
            where=held.where or store.url,
            mend="Choose another name with --new-column, or roll that migration back",
        )
    if isinstance(second, BesideStore):
        alias_old, alias_new = held.name, second.beside
    else:
        alias_old, alias_new = f"{held.name}.{column}", f"{held.name}.{options.new_column}"
    stem, dot, suffix = held.name.partition(".")
    alias = options.alias or f"{stem}_live{dot}{suffix}"
    stands = store.alias(alias)
    if stands is not None:
        same = stands in (alias_old, held.name)
        if not same:
            raise InputError(
                f"the alias '{alias}' stands for '{stands}'",
                where=held.where or store.url,
                mend="Name another one with --alias",
            )
        alias_old = stands
    return Target(
        store=absolute(_without_password(store.url)),
        collection=held.name,
        count=count,
        text_field=held.text_field,
        old_column=column,
        old_dim=found.dim,
        metric=found.metric,
        new_column=options.new_column,
        new_dim=models.new.dim,
        alias=alias,
        alias_old=alias_old,
        alias_new=alias_new,
    )


def _without_password(url: str) -> str:
    """The user stays; the password is read from the environment again."""
    return url.replace(":***@", "@")


def _check_not_new(sample: StoreSample, new: Encoder, where: str) -> None:
    if sample.old.shape[1] != sample.new.shape[1]:
        return
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (sample.old, sample.new))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if float(np.median(np.einsum("nd,nd->n", a, b) / np.maximum(norms, 1e-300))) >= 0.98:
        raise WrongSpaceError(
            f"the column holds vectors of {new.name} already",
            where=where,
            mend="There is nothing to migrate",
        )


def _encode_rate(new: Encoder, sample: StoreSample) -> float:
    """Texts a second, past the cache where there is one."""
    if isinstance(new, PrecomputedEncoder):
        return 1e6
    inner: Encoder = getattr(new, "encoder", new)
    texts = list(sample.texts[:64])
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


def _serving_bridge(
    sample: StoreSample, models: PlannedModels, options: PlanOptions, progress: Progress
) -> Bridge:
    """The bridge of queries that was given, or one that is fitted."""
    if options.bridge is None:
        change = ModelChange(models.new, models.old)
        return fit_sample(sample, change, seed=options.seed, progress=progress)
    given = Bridge.load(options.bridge)
    if given.kind != "query":
        raise InputError(
            "this is a corpus bridge; queries are served through the migration",
            where=str(options.bridge),
            mend="Give a bridge of kind query",
        )
    check_encoder(given, models.new, "new")
    if models.old is not None:
        check_encoder(given, models.old, "old")
    return given


def _bridge_back(
    sample: StoreSample, models: PlannedModels, options: PlanOptions, progress: Progress
) -> Bridge | None:
    """What maps new vectors to the old space, where it can be fitted."""
    try:
        return fit_sample(
            sample,
            ModelChange(models.new, models.old),
            kind="corpus",
            recipe="ridge",
            judging=Judging(resamples=_FEW_RESAMPLES),
            seed=options.seed,
            progress=progress,
        )
    except IsthmusError:
        return None


def _asked(
    store: Store,
    target: Target,
    bridge: Bridge,
    models: PlannedModels,
    sample: StoreSample,
    curve: Curve,
) -> tuple[float, AskedQueries, tuple[int | str, ...]]:
    """The time of a search, the queries that judge, and the items that come first."""
    columns = Columns(target.old_column)
    most = max(1, int(_POPULAR_SHARE * target.count))
    queries = sample.queries
    if queries is None or models.old is None:
        began = time.monotonic()
        for row in sample.old[:20]:
            store.search(row[None, :], 10, column=target.old_column)
        known = () if bridge.fill_order is None else bridge.fill_order.ids[:most]
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
    if curve.order is not None:
        assert sample.old_queries is not None and sample.new_queries is not None
        bridged = np.asarray(bridge.transform(sample.new_queries), dtype=np.float32)
        weights = curve.order.weights(sample.old_queries, bridged)
        factor = curve.order.factor(store, target.old_column)
    order = found_most(
        serve, sample, np.arange(len(queries)), first=bridge.fill_order, most=most,
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
    return Canaries.of(tuple(sample.texts[:_CANARIES]), sample.new[:_CANARIES])


def _model(encoder: Encoder, spelling: str) -> Model:
    return Model(
        spelling=spelling, name=encoder.name, revision=encoder.revision, dim=encoder.dim
    )  # fmt: skip
