"""What a plan says to people: its steps with what is sent for them, and its verdict."""

from __future__ import annotations

from collections.abc import Sequence

from isthmus.migrate.plan import CurvePoint, Estimated, Target
from isthmus.stores import Store
from isthmus.stores.neighbours import KeptAlike

_INDEXED_DIMS = 2000  # of pgvector's type vector
_HALVED_DIMS = 4000  # as halfvec
_AS_HALVES = " (as halfvec)"
__all__ = ["by_hand", "steps_of", "verdict_of"]


def steps_of(
    store: Store, target: Target, estimated: Estimated, listed: tuple[str, int], mapped: bool
) -> tuple[tuple[str, str], ...]:
    """What will happen, and the statements or calls that are sent.

    ``listed`` is the order of the items that come first, and their number; ``mapped`` says that the
    old vectors are mapped, because the texts are gone.
    """
    postgres = target.store.startswith(("postgresql", "postgres"))
    t, new, dim = target.collection, target.new_column, target.new_dim
    if postgres:
        schema = store.describe().schema
        space = f"{schema}." if schema else ""
        t, alias_name = f"{space}{t}", f"{space}{target.alias}"
        side = f"{t}__{new}"
        make = f"CREATE TABLE {side} (id PRIMARY KEY REFERENCES {t} ON DELETE CASCADE, {new} vector({dim}))"  # noqa: E501
        put = f"COPY to a temporary table; INSERT INTO {side} ... ON CONFLICT DO UPDATE"
        alias = f"CREATE VIEW {alias_name} AS SELECT ... FROM {t}"
        swap = f"BEGIN; CREATE OR REPLACE VIEW {alias_name} AS SELECT ... FROM {t} JOIN {side}; COMMIT (dropped first where the width changes; its readers keep their rights)"  # noqa: E501
        told, halves, _ = (target.index or "").partition(_AS_HALVES)
        kind, _, options = told.partition(" ")
        chosen = f" WITH ({options.replace(' ', ', ')})" if options else ""
        indexed = f"({new}::halfvec({dim}))" if halves or dim > _INDEXED_DIMS else new
        build = f"CREATE INDEX CONCURRENTLY ON {side} USING {kind} ({indexed}){chosen}"
        keep = f"INSERT INTO {space}isthmus_ledger"
    else:
        make = f"a second collection '{target.alias_new}', made when the first vectors are put"
        settings = store.kept_like() if isinstance(store, KeptAlike) else ""
        make += f", with the settings of '{t}' ({settings})" if settings else ""
        put = f"upsert into '{target.alias_new}' by id: vectors of {dim} dimensions and the payload"
        alias = f"isthmus-aliases.json: {target.alias} -> {target.alias_old}"
        swap = f"isthmus-aliases.json: {target.alias} -> {target.alias_new} (compare, then rename)"
        keep = "a line appended to the journal's file beside the collection"
        build = f"create_index('{new}') of '{target.alias_new}'"
        if target.store.startswith("qdrant"):
            alias, swap = (f"alias {target.alias} -> {n}" for n in (t, target.alias_new))
        elif target.store.startswith("sqlite"):
            alias, anew = (
                f"CREATE VIEW {target.alias} AS SELECT ... FROM {n}" for n in (t, target.alias_new)
            )
            swap = f"BEGIN IMMEDIATE; DROP VIEW {target.alias}; {anew}; COMMIT"
            keep = "INSERT INTO isthmus_ledger"
    order, number = listed
    first = f"{number:,} items by {order} first; then " if number else ""
    what = "OLD VECTORS MAPPED BY THE CORPUS BRIDGE" if mapped else "texts"
    before = "asked of the old model" if mapped else "answered from the old vectors, by the bridge"
    seconds = estimated.rows / estimated.encode_rate
    return (
        ("planned: record the plan and what fills each column", keep),
        (f"prepared: hash every old vector; make room for the new ones; {target.alias}",
         f"{make}; {alias}"),
        (f"bridging: queries are {before}", "nothing"),
        (f"filling: {first}all others in the order of the store, "
         f"{estimated.rows:,} {what} in about {_time(seconds)}; both columns are searched as one",
         put),
        ("full: passes over all items until nothing is missing or was edited"
         + ("" if target.index is None else f"; an index as the old vectors have ({target.index})"),
         "reads" if target.index is None else f"reads; {build}"),
        ("cut over: the plan's queries on the live index once more, then one step", swap),
        ("cleaned: what is needed to go back is forgotten; until then isthmus migrate rollback",
         "the notes about old vectors are removed"),
    )  # fmt: skip


def by_hand(
    target: Target, needed: Sequence[str], *, old_runs: bool, judged: bool, mapped: bool
) -> tuple[str, ...]:
    """What a person has to do, or should know; ``needed`` are rights that this user lacks."""
    granted = f"Before it runs, somebody who may has to run: {'; '.join(needed)}"
    out = [
        *([granted] if needed else []),
        f"Let the application read '{target.alias}' before the cut-over: that name is moved, "
        f"'{target.collection}' itself stays what it is.",
        "From the cut-over on the application encodes queries and new items by the new model.",
        "The cut-over is a command of its own: isthmus migrate cutover.",
    ]
    if target.index is not None and target.store.startswith("postgres"):
        if target.new_dim > _HALVED_DIMS:
            out.append(
                f"The new vectors have {target.new_dim:,} dimensions, and an index of pgvector "
                f"takes {_HALVED_DIMS:,}: after the cut-over a search compares with every row."
            )
        else:
            out.append(
                "Building the index takes long where it does not fit into maintenance_work_mem: "
                "raise that for the user of the migration."
            )
        if _INDEXED_DIMS < target.new_dim <= _HALVED_DIMS and _AS_HALVES not in target.index:
            name = target.old_column
            out.append(
                f"The new vectors have {target.new_dim:,} dimensions, more than pgvector indexes "
                f"as vector ({_INDEXED_DIMS:,}): they are indexed as halfvec, and the application "
                f"has to order by {name}::halfvec({target.new_dim}) to be answered by that index."
            )
    if not old_runs:
        out.append(
            "The old model is gone: rows added after the cut-over get mapped old vectors at a "
            "rollback, not true ones."
        )
    if mapped:
        out += [
            "Until the index is full, queries are encoded by the old model: keep it running.",
            "Items whose texts turn up again are better encoded by the new model: write their "
            "vectors yourself after the cut-over.",
            "Items added after the cut-over have no text to go back by: a rollback maps their "
            "vectors the other way, and says how well.",
        ]
    if not judged:
        out.append(
            "No queries with clicks were given: neither the plan nor the cut-over can tell whether "
            "the new model finds more (--queries)."
        )
    return tuple(out)


def verdict_of(
    points: Sequence[CurvePoint], kept: float | None, estimated: Estimated, *, old_runs: bool
) -> str:
    """Whether it is worth it, and after how long."""
    if not points or kept is None:
        also = "" if old_runs else ", and the old model (--old)"
        return f"the quality was not measured: that needs queries with clicks (--queries){also}"
    last = points[-1]
    if last.low is not None and last.low > 0:
        return (
            f"migrate: the full index reaches {last.value:.3f} where the old model has {kept:.3f} "
            f"(gain {last.gain:+.3f} [{last.low:+.3f}, {last.high:+.3f}]); "
            f"{_better_from(points, estimated)}"
        )
    if last.high is not None and last.high < 0:
        return (
            f"keep the old model: the full index would reach {last.value:.3f}, the old model has "
            f"{kept:.3f}"
        )
    return (
        f"no gain is shown: {last.value:.3f} against {kept:.3f} "
        f"(gain {last.gain:+.3f} [{last.low:+.3f}, {last.high:+.3f}]); give more queries, or keep "
        "the old model"
    )


def _better_from(points: Sequence[CurvePoint], estimated: Estimated) -> str:
    """From where on more is found than by the old model, and what that is worth without filling."""
    first, last = points[0], points[-1]
    better = next((p for p in points if p.low is not None and p.low > 0), last)
    if better.share > 0:
        seconds = better.share * estimated.rows / estimated.encode_rate
        return (
            f"it is shown to be better from {better.share:.0%} filled on, after about "
            f"{_time(seconds)}"
        )
    told = f"with nothing filled, what answers meanwhile reaches {first.value:.3f} already"
    if first.value < last.value:
        return told
    return f"{told}: filling saves what that takes per query, and is not shown to find more"


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
