"""The options of a report, and the texts that it shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.evaluate import Evaluation

__all__ = ["QueryTexts", "Report", "ShownTexts", "Texts", "check_report_options", "texts_of"]

_REPORT = "Report"

Report = Annotated[
    Path | None,
    typer.Option(
        help="Also write the result as one self-contained HTML file with plots (extra report).",
        rich_help_panel=_REPORT,
    ),
]
Texts = Annotated[
    Path | None,
    typer.Option(
        help="Texts of the items, for the queries that lose most: .jsonl with id and text, .tsv "
        "with id and text, or .txt with one a row.",
        rich_help_panel=_REPORT,
    ),
]
QueryTexts = Annotated[
    Path | None,
    typer.Option(
        help="Texts of the queries, where they are not items: a file as for --texts.",
        rich_help_panel=_REPORT,
    ),
]


class ShownTexts(TypedDict):
    """Keyword arguments of `write_evaluation_report` and `write_fit_report`."""

    texts: dict[str, str]
    query_texts: dict[str, str] | None


def check_report_options(
    report: Path | None, texts: Path | None, query_texts: Path | None, *, overwrite: bool
) -> None:
    """Refuse, before any work is spent, a report that cannot be written or texts not to be read."""
    from isthmus.spaces.texts import check_texts

    if report is None:
        for option, given in (("--texts", texts), ("--query-texts", query_texts)):
            if given is not None:
                raise InputError(
                    "texts are shown in a report, and none was asked for",
                    where=option,
                    mend="Give --report out.html",
                )
        return
    from isthmus.report import check_report

    check_report(report, overwrite=overwrite)
    for given in (texts, query_texts):
        if given is not None:
            check_texts(given)


def texts_of(
    evaluation: Evaluation, texts: Path | None, query_texts: Path | None, *, own_queries: bool
) -> ShownTexts:
    """The texts that the page of an evaluation shows.

    Args:
        evaluation: whose worst queries are shown.
        texts, query_texts: files of items and of queries.
        own_queries: whether queries are apart from the items, so that equal ids need not mean
            equal texts.
    """
    from isthmus.spaces.texts import read_texts

    items = {name for q in evaluation.worst for name in (q.answer, q.found) if name is not None}
    asked = {q.id for q in evaluation.worst}
    return {
        "texts": {} if texts is None else read_texts(texts, items | asked),
        "query_texts": read_texts(query_texts, asked)
        if query_texts is not None
        else {}
        if own_queries
        else None,
    }
