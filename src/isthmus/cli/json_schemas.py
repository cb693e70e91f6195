"""The JSON schema of what a command prints under ``--json``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

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
from isthmus.errors import InputError

__all__ = ["VERSION", "json_schema", "known_schemas"]

VERSION = "v1"
"""Within it fields may be added, and none are renamed, removed or given another meaning."""

_DRAFT = "https://json-schema.org/draft/2020-12/schema"


def known_schemas() -> tuple[str, ...]:
    """The commands whose results have a schema, and ``error``, which all share."""
    return tuple(sorted(_SCHEMAS))


def json_schema(command: str, *, closed: bool = False) -> Schema:
    """The schema of a command's result.

    Args:
        command: its name, or ``error``.
        closed: refuse fields that this version does not name, as its own tests do; a program that
            reads results of later versions too is to pass over them.

    Raises:
        InputError: for a command without one.
    """
    if command not in _SCHEMAS:
        raise InputError(
            f"there is no schema of '{command}'", mend=f"There are: {', '.join(known_schemas())}"
        )
    schema = _SCHEMAS[command]()
    found: Schema = {
        "$schema": _DRAFT,
        "$id": f"isthmus/{VERSION}/{command.replace(' ', '-')}.json",
        **cast(Schema, schema if closed else _open(schema)),
    }
    return found


def _open(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_open(part) for part in cast(list[Any], schema)]
    if not isinstance(schema, dict):
        return schema
    parts = cast(Schema, schema)
    return {
        name: _open(part)
        for name, part in parts.items()
        if not (name == "additionalProperties" and part is False)
    }


# ---- parts of several ---


def _gates() -> Schema:
    return listed(object_of(condition=TEXT, passed=FLAG, found=TEXT))


def _tried() -> Schema:
    return listed(object_of(recipe=TEXT, score=NUMBER, squared_error=maybe(NUMBER)))


def _release(**further: Schema) -> Schema:
    return object_of(
        name=TEXT,
        version=TEXT,
        kind=TEXT,
        bytes=COUNT,
        files=by_name(TEXT),
        metadata=by_name(TEXT),
        published=object_of(at=TEXT, by=TEXT, note=TEXT),
        aliases=listed(TEXT),
        deprecated=maybe(TEXT),
        signers=listed(TEXT),
        **further,
    )


# ---- commands ----------------------------------------------------------------------------------


def _error() -> Schema:
    return object_of(error=object_of(kind=TEXT, what=TEXT, where=maybe(TEXT), mend=maybe(TEXT)))


def _fit() -> Schema:
    from isthmus.evaluate import Evaluation

    return of_models(
        {"evidence": Evaluation},
        lambda refs: object_of(
            bridge=TEXT, recipe=TEXT, tried=_tried(), evidence=refs["evidence"], gates=_gates()
        ),
    )


def _evaluate() -> Schema:
    from isthmus.evaluate import Evaluation
    from isthmus.evaluate.regression import Regression

    return of_models(
        {"evidence": Evaluation, "regression": Regression},
        lambda refs: object_of(
            evidence=refs["evidence"], gates=_gates(), regression=maybe(refs["regression"])
        ),
    )


def _diagnose() -> Schema:
    from isthmus.diagnose import Diagnosis

    return Diagnosis.model_json_schema(mode="serialization")


def _budget() -> Schema:
    from isthmus.evaluate import Estimate

    def build(refs: dict[str, Schema]) -> Schema:
        found = refs["estimate"]
        ids = listed({"type": ["string", "integer"]})
        return object_of(
            recipe=TEXT,
            metric=TEXT,
            budgets=listed(COUNT),
            quality=listed(found),
            doubling=found,
            asymptote=found,
            enough=found,
            encode=listed(object_of(documents=COUNT, queries=COUNT)),
            answer=TEXT,
            next=maybe(ids),
        )

    return of_models({"estimate": Estimate}, build)


def _threshold() -> Schema:
    from isthmus.ways.thresholds import TranslatedThreshold

    return of_models(
        {"one": TranslatedThreshold},
        lambda refs: object_of(recommended=maybe(TEXT), thresholds=listed(refs["one"])),
    )


def _consumers() -> Schema:
    from isthmus.evaluate.consumers import ConsumerReport

    schema = ConsumerReport.model_json_schema(mode="serialization")
    schema["properties"]["broken_limits"] = listed(TEXT)
    schema["required"] = [*schema["required"], "broken_limits"]
    return schema


def _probe() -> Schema:
    from isthmus.evaluate.probes import ConceptStability, LinearProbe

    return of_models(
        {"linear": LinearProbe, "concepts": ConceptStability},
        lambda refs: object_of(
            linear=refs["linear"], concepts=maybe(refs["concepts"]), broken=FLAG
        ),
    )


def _card() -> Schema:
    change = object_of(section=TEXT, what=TEXT, before=maybe(TEXT), after=maybe(TEXT))
    return {"oneOf": [object_of(card=TEXT), object_of(changes=listed(change))]}


def _inspect() -> Schema:
    return object_of(
        kind=TEXT,
        format=COUNT,
        digest=TEXT,
        content={"type": "object"},
        tensors=by_name({"type": "array"}),
        texts=by_name({}),
    )


def _entry() -> Schema:
    from isthmus.registry import Entry

    return Entry.model_json_schema(mode="serialization")


def _promote() -> Schema:
    from isthmus.registry import Entry, Judged

    return of_models(
        {"entry": Entry, "judged": Judged},
        lambda refs: {
            "oneOf": [refs["entry"], object_of(promoted={"const": False}, judged=refs["judged"])]
        },
    )


def _show() -> Schema:
    from isthmus.registry import Entry, Review

    return of_models(
        {"entry": Entry, "review": Review},
        lambda refs: _release(logs=by_name(listed(refs["entry"])), reviews=listed(refs["review"])),
    )


def _approve() -> Schema:
    from isthmus.registry import Review

    return Review.model_json_schema(mode="serialization")


def _diff() -> Schema:
    return object_of(
        files=listed(TEXT),
        tensors=listed(TEXT),
        content=listed(object_of(path=TEXT, before={}, after={})),
    )


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


def _demo() -> Schema:
    from isthmus.evaluate import Evaluation

    steps = listed(object_of(**{"step": TEXT, "recall@10": NUMBER}))
    return of_models({"evidence": Evaluation}, lambda refs: {"oneOf": [refs["evidence"], steps]})


_SCHEMAS: dict[str, Callable[[], Schema]] = {
    "error": _error,
    "diagnose": _diagnose,
    "budget": _budget,
    "fit": _fit,
    "evaluate": _evaluate,
    "apply": lambda: object_of(output=TEXT, rows=COUNT, dim=COUNT),
    "moments": lambda: object_of(output=TEXT, parts=COUNT, read=COUNT),
    "inspect": _inspect,
    "card": _card,
    "threshold": _threshold,
    "consumers": _consumers,
    "probe": _probe,
    "publish": _entry,
    "push": lambda: object_of(repository=TEXT, commit=TEXT),
    "pull": lambda: object_of(folder=TEXT, kind=TEXT, digest=TEXT),
    "list": lambda: {"anyOf": [listed(TEXT), listed(_release())], "type": "array"},
    "show": _show,
    "diff": _diff,
    "verify": lambda: listed(_release()),
    "promote": _promote,
    "rollback": _entry,
    "sign": _release,
    "deprecate": _release,
    "approve": _approve,
    "check": lambda: object_of(passed=FLAG, conditions=_gates()),
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
    "demo": _demo,
    "gc": lambda: object_of(objects=COUNT, bytes=COUNT, half_written=COUNT),
}
