"""``isthmus check``: a pinned contract against what a producer offers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.console import UNRECOGNISED, ProgressBar, show, show_json, warn
from isthmus.cli.inputs import Json
from isthmus.errors import InputError, ModelChangedError, WrongSpaceError

if TYPE_CHECKING:
    from isthmus.bridge import Bridge
    from isthmus.encoders import Encoder
    from isthmus.registry import Found
    from isthmus.spaces.contract import Space

__all__ = ["check_command"]

_ROWS = 4096


def check_command(
    contract: Annotated[
        Path,
        typer.Argument(
            metavar="CONTRACT",
            help="The contract that a consumer pinned: the JSON file of a space.",
            show_default=False,
        ),
    ],
    producer: Annotated[
        str,
        typer.Argument(
            metavar="PRODUCER",
            help="The JSON file of another contract; the folder of a bridge, whose output is "
            "meant; a model, as st:NAME; a file of vectors; or the URL of a store.",
            show_default=False,
        ),
    ],
    vectors: Annotated[
        str | None,
        typer.Option(
            help="Live vectors that must keep the contract too; of a bridge, vectors that it maps."
        ),
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="Texts, one on a line, that the model encodes for the check."),
    ] = None,
    canary: Annotated[
        Path | None,
        typer.Option(help="What isthmus canary record wrote: the model must still be the same."),
    ] = None,
    former: Annotated[
        Path | None,
        typer.Option(
            metavar="CONTRACT",
            help="The producer's contract before this one: its version must have moved as far as "
            "the change requires.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold what a producer offers against the contract that a consumer pinned.

    Contract against contract: every clause, with the rules of semantic versions. Vectors against
    the contract: width, dtype, faults and ranges. Exit code 1 if anything is broken. Made for CI.

    Examples:

        isthmus check pinned.json theirs.json --former theirs-1.2.json

        isthmus check pinned.json my.bridge --vectors new.npy

        isthmus check pinned.json st:MODEL --texts few.txt --canary c.json
    """
    from isthmus.encoders.open_encoder import SPELLINGS
    from isthmus.registry.contract_check import (
        bump_kept,
        contract_kept,
        contract_of,
        vectors_kept,
    )
    from isthmus.spaces.contract import Space

    pinned = Space.load(contract)
    is_model = producer.partition(":")[0] in SPELLINGS and "://" not in producer
    for option, given, needed in (
        ("--texts", texts, "a model"),
        ("--canary", canary, "a model"),
    ):
        if given is not None and not is_model:
            raise InputError(f"this is asked of {needed}", where=option)
    bridge: Bridge | None = None
    found: list[Found] = []
    if is_model:
        if texts is None and canary is None:
            raise InputError(
                "a model is judged by vectors", where=producer, mend="Give --texts or --canary"
            )
        found = _model(pinned, producer, texts, canary)
    elif Path(producer).is_dir() or Path(producer).suffix.lower() == ".json":
        offered, bridge = contract_of(producer)
        found = contract_kept(pinned, offered)
        if former is not None:
            found.append(bump_kept(Space.load(former), offered))
    else:
        found = vectors_kept(pinned, _rows(producer, None), producer)
    if former is not None and (is_model or not Path(producer).exists()):
        raise InputError("only a contract has a former one", where="--former")
    if vectors is not None:
        found += _kept(pinned, vectors, bridge)
        if bridge is not None and not bridge.recognises:
            warn(f"notice: {UNRECOGNISED.format(bridge.names[0])}")
    passed = all(f.passed for f in found)
    if as_json:
        show_json({"passed": passed, "conditions": [f.model_dump() for f in found]})
    else:
        for f in found:
            show(f"{'pass' if f.passed else 'FAIL'}  {f.condition}  ({f.found})")
    if not passed:
        raise typer.Exit(1)


def _model(pinned: Space, named: str, texts: Path | None, canary: Path | None) -> list[Found]:
    from isthmus.encoders import ModelCanary, open_encoder
    from isthmus.registry import Found
    from isthmus.registry.contract_check import vectors_kept
    from isthmus.spaces.texts import read_lines

    try:
        encoder = open_encoder(named, progress=ProgressBar())
    except ModelChangedError as error:
        return [Found.of("the model is the same", False, error.what)]
    found = [*_named(pinned, encoder)]
    if canary is not None:
        checked = ModelCanary.load(canary).check(encoder)
        found.append(Found.of("the model is the same", checked.same, str(checked)))
    if texts is not None:
        found += vectors_kept(pinned, [encoder.encode(read_lines(texts))], named)
    return found


def _named(pinned: Space, encoder: Encoder) -> Iterator[Found]:
    from isthmus.registry import Found

    for what, wanted, got in (
        ("model", pinned.model, encoder.name),
        ("revision", pinned.revision, encoder.revision),
        ("width", pinned.dim, encoder.dim),
    ):
        if wanted is not None:
            yield Found.of(f"{what} {wanted}", wanted == got, str(got))


def _kept(pinned: Space, vectors: str, bridge: Bridge | None) -> list[Found]:
    from isthmus.registry import Found
    from isthmus.registry.contract_check import vectors_kept

    try:
        return vectors_kept(pinned, _rows(vectors, bridge), vectors)
    except WrongSpaceError as error:
        assert bridge is not None, "only a bridge knows whose vectors it maps"
        return [Found.of(f"the vectors are of {bridge.names[0]}", False, error.what)]


def _rows(named: str, bridge: Bridge | None) -> Iterator[Any]:
    import numpy as np

    from isthmus.spaces.readers import open_vectors
    from isthmus.stores import open_store

    if "://" in named:
        with open_store(named) as store:
            for batch in store.scan(column=store.column):
                if batch.vectors is not None and batch.present is not None:
                    rows = batch.vectors[batch.present]
                    yield rows if bridge is None else bridge.transform(rows)
        return
    opened = open_vectors(named)
    for start in range(0, opened.n, _ROWS):
        rows = np.asarray(opened.rows(start, min(opened.n, start + _ROWS)))
        yield rows if bridge is None else bridge.transform(rows)
