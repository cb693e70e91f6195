"""The options of a report, and the texts that it shows."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypedDict

import typer

from isthmus.cli.console import warn
from isthmus.cli.inputs import Json, Overwrite
from isthmus.cli.outputs import WRITTEN
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.cli.inputs import Inputs
    from isthmus.evaluate import Evaluation
    from isthmus.spaces.texts import NamedRows

__all__ = ["EvaluationOptions", "PageOptions", "ReportOption", "ShownTexts", "texts_of"]

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
            help="Texts of the items, for the queries that lose most, with id and text: .jsonl, "
            ".json, .csv, .tsv, Parquet, Arrow or ORC; or .txt with one a line for each row of "
            "OLD.",
            rich_help_panel=_REPORT,
        ),
    ] = None
    query_texts: Annotated[
        Path | None,
        typer.Option(
            help="Texts of the queries, where they are not items: a file as for --texts, or .txt "
            "with one a line for each row of --queries-old.",
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

    def check_rows(self, inputs: Inputs) -> None:
        """Refuse, before any work is spent, files of more or fewer lines than rows."""
        from isthmus.spaces.texts import check_texts

        for given, rows in ((self.texts, inputs.items), (self.query_texts, inputs.asked)):
            if given is not None:
                check_texts(given, rows)

    def shown_texts(self, evaluation: Evaluation, inputs: Inputs) -> ShownTexts:
        """The texts that the page of an evaluation shows.

        Args:
            evaluation: whose worst queries are shown.
            inputs: that it was made of. Where queries are apart from the items, equal ids need
                not mean equal texts.
        """
        items = {name for q in evaluation.worst for name in (q.answer, q.found) if name is not None}
        asked = {q.id for q in evaluation.worst}
        return texts_of(self.texts, self.query_texts, items, asked, inputs)


def texts_of(
    texts: Path | None,
    query_texts: Path | None,
    items: Set[str],
    asked: Set[str],
    inputs: Inputs,
) -> ShownTexts:
    """The texts of the items and queries that a page shows, by their ids.

    A file that has none of them is told.
    """
    return {
        "texts": {} if texts is None else _known(texts, items | asked, inputs.items),
        "query_texts": _known(query_texts, asked, inputs.asked)
        if query_texts is not None
        else None
        if inputs.own_queries is None
        else {},
    }


def _known(path: Path, wanted: Set[str], rows: NamedRows) -> dict[str, str]:
    from isthmus.spaces.texts import read_texts

    found = read_texts(path, wanted, rows)
    if wanted and not found:
        warn(
            f"warning: {path} has no text for any of the {len(wanted):,} ids that are shown, such "
            f"as '{min(wanted)}'. Write them as the vectors have them"
        )
    return found
