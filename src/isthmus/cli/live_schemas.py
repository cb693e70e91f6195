"""The schemas of what commands on a live index print: search, plan, migrate, canary and monitor."""

from __future__ import annotations

from collections.abc import Callable

from isthmus.cli.schema_parts import (
    COUNT,
    FLAG,
    NUMBER,
    TEXT,
    Schema,
    by_name,
    listed,
    maybe,
    object_of,
    of_models,
    optional,
)

__all__ = ["LIVE_SCHEMAS"]


def _search() -> Schema:
    return optional(
        object_of(
            query={},
            way=TEXT,
            results=listed(
                optional(
                    object_of(rank=COUNT, id={}, score=maybe(NUMBER)),
                    text=TEXT,
                    payload={"type": "object"},
                    recall=optional(
                        object_of(rank=COUNT, score=NUMBER), alone=by_name(maybe(COUNT))
                    ),
                    vector=TEXT,
                    reembedded=FLAG,
                )
            ),
        ),
        trust=NUMBER,
        early=TEXT,
        described=TEXT,
        price=object_of(
            old_queries=COUNT,
            new_queries=COUNT,
            rescored=COUNT,
            from_second_column=COUNT,
            encoded=COUNT,
            seconds=NUMBER,
        ),
    )


def _plan() -> Schema:
    from isthmus.migrate.plan import Plan

    machine = object_of(
        machine=TEXT,
        count=COUNT,
        fit_hours=NUMBER,
        transform_hours=NUMBER,
        fit_bound=TEXT,
        transform_bound=TEXT,
        dollars=NUMBER,
    )
    on_paper = object_of(
        rows=COUNT,
        dim=COUNT,
        workers=COUNT,
        rates=object_of(pairs=NUMBER, rows=NUMBER),
        fit_reads=NUMBER,
        transform_reads=NUMBER,
        transform_writes=NUMBER,
        machines=listed(machine),
    )
    return of_models({"plan": Plan}, lambda refs: {"oneOf": [refs["plan"], on_paper]})


def _migration() -> Schema:
    return object_of(
        state=maybe(TEXT),
        begun=maybe(TEXT),
        items=COUNT,
        filled=COUNT,
        encoded=COUNT,
        money=maybe(NUMBER),
        rate=maybe(NUMBER),
        seconds_left=maybe(NUMBER),
        paused=maybe(TEXT),
        index=maybe(TEXT),
        quality=listed({"type": "object"}),
        journal=TEXT,
    )


def _found_live() -> Schema:
    one = object_of(id={}, score=NUMBER, text=maybe(TEXT))
    return object_of(query=TEXT, way=TEXT, results=listed(one))


def _restored() -> Schema:
    from dataclasses import fields

    from isthmus.migrate.restore import Restored

    measured = ("cosine", "seconds")
    return object_of(
        **{
            field.name: maybe(NUMBER) if field.name in measured else COUNT
            for field in fields(Restored)
        }
    )


def _checked_canary() -> Schema:
    return object_of(
        same=FLAG,
        model=TEXT,
        recorded=TEXT,
        rounding=NUMBER,
        distances=by_name(maybe(listed(NUMBER))),
    )


def _canary_check() -> Schema:
    unopened = object_of(same={"const": False}, recorded=TEXT, reason=TEXT)
    return {"oneOf": [_checked_canary(), unopened]}


_DIFFERENCE = (
    "mean_shift",
    "covariance_change",
    "repeated",
    "kernel_squared",
    "kernel_p",
    "classifier_accuracy",
    "classifier_p",
)


def _monitor() -> Schema:
    test = object_of(
        name=TEXT,
        hypothesis=TEXT,
        n=COUNT,
        mean=maybe(NUMBER),
        p=NUMBER,
        alpha=NUMBER,
        alarm=FLAG,
    )
    return optional(
        object_of(
            alarm=FLAG,
            alarms=listed(TEXT),
            untested=listed(TEXT),
            notices=listed(TEXT),
            recommended={"enum": ["nothing", "refit", "roll back"]},
            why=TEXT,
            rows=COUNT,
            results=COUNT,
            baseline=COUNT,
            tests=listed(test),
            difference=maybe(object_of(**dict.fromkeys(_DIFFERENCE, NUMBER))),
            canary=maybe(_checked_canary()),
            foreign=FLAG,
            retrieval=maybe(
                object_of(
                    queries=COUNT,
                    hit=NUMBER,
                    first=NUMBER,
                    tolerance=NUMBER,
                    lost=listed(TEXT),
                    broken=listed(TEXT),
                )
            ),
            calibration=maybe(
                object_of(
                    rows=COUNT,
                    **dict.fromkeys(
                        ("error", "brier", "temperature", "error_at_temperature"), NUMBER
                    ),
                )
            ),
            scores=maybe(
                object_of(
                    way=TEXT,
                    queries=COUNT,
                    error=NUMBER,
                    thresholds=listed(
                        object_of(**dict.fromkeys(("old", "served", "by_old", "by_served"), NUMBER))
                    ),
                )
            ),
        ),
        rolled_back=TEXT,
    )


LIVE_SCHEMAS: dict[str, Callable[[], Schema]] = {
    "canary record": lambda: object_of(model=TEXT, revision=TEXT, texts=COUNT, rounding=NUMBER),
    "canary check": _canary_check,
    "monitor": _monitor,
    "search": _search,
    "plan": _plan,
    "migrate run": _migration,
    "migrate resume": _migration,
    "migrate status": _migration,
    "migrate cutover": _migration,
    "migrate search": _found_live,
    "migrate rollback": _restored,
    "migrate watch": lambda: object_of(look=COUNT, value=NUMBER, loss=TEXT, alarm=FLAG),
}
"""The result of each command, by its name."""
