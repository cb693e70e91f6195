"""The options that bring the same queries made in other ways."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.console import ProgressBar
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.evaluate.robustness import Disturbances
    from isthmus.spaces.texts import NamedRows

__all__ = ["VariantOptions"]

_PANEL = "Robustness"


@dataclass(frozen=True)
class VariantOptions:
    """The same queries made in other ways."""

    query_variant: Annotated[
        list[str] | None,
        typer.Option(
            "--query-variant",
            metavar="NAME=FILE",
            help="The same queries, by the new model, made in another way, such as without their "
            "prefix: vectors with the ids of the queries, or row by row. Repeatable.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    prefix_model: Annotated[
        str | None,
        typer.Option(
            "--prefix-model",
            metavar="ENC",
            help="The new model, as st:NAME, which encodes the queries' texts (--query-texts, or "
            "--texts where items are the queries) with the prefix of documents.",
            rich_help_panel=_PANEL,
        ),
    ] = None

    def check(self, texts: Path | None) -> None:
        """Refuse, before any work is spent, options that miss a part.

        Args:
            texts: of the queries.
        """
        for variant in self.query_variant or ():
            _named(variant)
        if self.prefix_model is not None and texts is None:
            raise InputError(
                "the texts of the queries are needed to encode them otherwise",
                where="--prefix-model",
                mend="Give --query-texts, or --texts where items are the queries",
            )

    def disturbances(
        self, *, wanted: bool, texts: Path | None, queries: str | None, asked: NamedRows
    ) -> Disturbances | None:
        """What the recommended way is to be run under; None where nothing was asked for.

        Args:
            wanted: whether it was asked for otherwise.
            texts: of the queries.
            queries: the new model's vectors of the queries, whose rows variants without ids follow.
            asked: the old model's rows of the queries, which lines of texts follow.
        """
        self.check(texts)
        if not (wanted or self.query_variant or self.prefix_model):
            return None
        from isthmus.evaluate.robustness import Disturbances

        made: dict[str, Callable[[Any], Any]] = {}
        for variant in self.query_variant or ():
            name, path = _named(variant)
            made[name] = _from_file(path, queries)
        if self.prefix_model is not None and texts is not None:
            made["prefix"] = _as_documents(self.prefix_model, texts, asked)
        return Disturbances(variants=made)


def _named(variant: str) -> tuple[str, str]:
    name, equals, path = variant.partition("=")
    if not equals or not path:
        raise InputError("a variant is NAME=FILE", where=f"--query-variant {variant}")
    return name, path


def _from_file(path: str, queries: str | None) -> Callable[[Any], Any]:
    from isthmus.spaces.readers import open_vectors

    opened = open_vectors(path)
    if opened.ids is not None:
        names = opened.ids.tolist()
    else:
        followed = None if queries is None else open_vectors(queries)
        if followed is not None and followed.n != opened.n:
            raise InputError(
                f"it has {opened.n:,} rows, and {queries} has {followed.n:,}", where=path
            )
        known = None if followed is None or followed.ids is None else followed.ids.tolist()
        names = list(range(opened.n)) if known is None else known

    def rows(ids: Any) -> Any:
        import numpy as np

        row = {str(name): at for at, name in enumerate(names)}
        missing = [i for i in ids.tolist() if str(i) not in row]
        if missing:
            raise InputError(f"it has no vector of the query {missing[0]!r}", where=path)
        held = np.asarray(opened.rows(0, opened.n))
        return held[[row[str(i)] for i in ids.tolist()]]

    return rows


def _as_documents(model: str, texts: Path, asked: NamedRows) -> Callable[[Any], Any]:
    from isthmus.encoders import open_encoder
    from isthmus.spaces.texts import check_texts, read_texts

    check_texts(texts, asked)
    progress = ProgressBar()
    encoder = open_encoder(model, progress=progress)

    def rows(ids: Any) -> Any:
        found = read_texts(texts, {str(i) for i in ids.tolist()}, asked)
        missing = [i for i in ids.tolist() if str(i) not in found]
        if missing:
            raise InputError(f"it has no text of the query {missing[0]!r}", where=str(texts))
        shown = [found[str(i)] for i in ids.tolist()]
        encoded = encoder.encode(shown, kind="document", progress=progress)
        progress.close()
        return encoded

    return rows
