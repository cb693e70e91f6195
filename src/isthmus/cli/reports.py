"""The options of a report, and the texts that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from isthmus.cli.inputs import Json, Overwrite
from isthmus.cli.outputs import WRITTEN
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.evaluate import Evaluation

__all__ = ["EvaluationOptions", "PageOptions", "ReportOption", "ShownTexts"]

_REPORT = "ReportOption"

ReportOption = Annotated[
    Path | None,
    typer.Option(
        help="Also write the result as one self-contained HTML file with plots (extra report).",
        rich_help_panel=_REPORT,
    ),
    WRITTEN,
]


class ShownTexts(TypedDict):
    """Keyword arguments of `write_evaluation_report` and `write_fit_report`."""

    texts: dict[str, str]
    query_texts: dict[str, str] | None


@dataclass(frozen=True)
class PageOptions:
    """Where a result goes: a terminal, a program, a page."""

    report: ReportOption = None
    overwrite: Overwrite = False
    as_json: Json = False

    def check(self) -> None:
        """Refuse, before any work is spent, a page that cannot be written."""
        if self.report is not None:
            from isthmus.report import check_report

            check_report(self.report, overwrite=self.overwrite)


@dataclass(frozen=True)
class EvaluationOptions(PageOptions):
    """Where an evaluation goes, how much of it, and the texts that its page shows."""

    texts: Annotated[
        Path | None,
        typer.Option(
            help="Texts of the items, for the queries that lose most: .jsonl with id and text, "
            ".tsv with id and text, or .txt with one a row.",
            rich_help_panel=_REPORT,
        ),
    ] = None
    query_texts: Annotated[
        Path | None,
        typer.Option(
            help="Texts of the queries, where they are not items: a file as for --texts.",
            rich_help_panel=_REPORT,
        ),
    ] = None
    all_arms: Annotated[
        bool,
        typer.Option(
            "--all-arms",
            help="Show every way that was measured, every metric and every comparison; by default "
            "the old model, the bridge, what is recommended and full re-embedding.",
        ),
    ] = False

    def check(self, *, texts_are_read: bool = False) -> None:
        """Refuse a page that cannot be written, and texts that cannot be read, before any work.

        Args:
            texts_are_read: also without a page.
        """
        from isthmus.spaces.texts import check_texts

        super().check()
        for option, given in (("--texts", self.texts), ("--query-texts", self.query_texts)):
            if given is None:
                continue
            if self.report is None and not texts_are_read:
                raise InputError(
                    "texts are shown in a report, and none was asked for",
                    where=option,
                    mend="Give --report out.html",
                )
            check_texts(given)

    def shown_texts(self, evaluation: Evaluation, *, own_queries: bool) -> ShownTexts:
        """The texts that the page of an evaluation shows.

        Args:
            evaluation: whose worst queries are shown.
            own_queries: whether queries are apart from the items, so that equal ids need not mean
                equal texts.
        """
        from isthmus.spaces.texts import read_texts

        items = {name for q in evaluation.worst for name in (q.answer, q.found) if name is not None}
        asked = {q.id for q in evaluation.worst}
        return {
            "texts": {} if self.texts is None else read_texts(self.texts, items | asked),
            "query_texts": read_texts(self.query_texts, asked)
            if self.query_texts is not None
            else {}
            if own_queries
            else None,
        }
