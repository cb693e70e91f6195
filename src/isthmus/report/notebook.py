"""Results in a notebook: the answer and its table as a piece of HTML, and figures of plotly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

from isthmus.adapters.budget.curve_reading import LearningCurve
from isthmus.bridge import Bridge
from isthmus.diagnose import Diagnosis
from isthmus.errors import InputError, missing_extra
from isthmus.evaluate import Evaluation
from isthmus.report.blocks import Figure, Headline, TextTable
from isthmus.report.diagnosis import diagnosis_headline, side_table
from isthmus.report.diagnosis_figures import diagnosis_figures, similarity_figures
from isthmus.report.evaluation import answer_of, arms_table
from isthmus.report.evaluation_figures import evaluation_figures
from isthmus.report.fit_figures import candidate_figures, curve_figure
from isthmus.report.layers import grid_figures, grid_headline
from isthmus.report.write import page_environment, page_style
from isthmus.similarity import Comparison, Grid

__all__ = ["figures_of", "html_of", "plot_of"]

_VARIABLE = re.compile(r"(--[\w-]+):\s*([^;]+);")


def figures_of(result: Any) -> dict[str, Figure]:
    """The plots of a result by name, the most telling first.

    Raises:
        InputError: for a result without any.
    """
    return {figure.key: figure for figure in _figures(result)}


def plot_of(result: Any, name: str | None = None) -> Any:
    """One plot of a result as a ``plotly.graph_objects.Figure``, in the light colours of pages.

    Raises:
        InputError: if there is no such plot.
        MissingExtraError: without plotly.
    """
    if find_spec("plotly") is None:
        raise missing_extra("plotly", "report", "a plot")
    from plotly import graph_objects

    figures = figures_of(result)
    if not figures or (name is not None and name not in figures):
        raise InputError(
            f"there is no plot '{name}' of this {type(result).__name__}",
            where="plot",
            mend=f"There are: {', '.join(figures) or 'none'}",
        )
    figure = next(iter(figures.values())) if name is None else figures[name]
    colours = dict(_VARIABLE.findall(page_style().partition("}")[0]))
    layout = _coloured(figure.layout, colours)
    title = {"text": figure.title, "font": {"size": 15}, "x": 0, "xref": "paper"}
    top = layout.get("margin", {}).get("t", 10) + 40
    layout |= {"title": title, "height": figure.height + 40, "paper_bgcolor": colours["--surface"]}
    layout["margin"] = {**layout.get("margin", {}), "t": top}
    return graph_objects.Figure([_coloured(t, colours) for t in figure.traces], layout)


def html_of(result: Any) -> str:
    """The answer of a result and its chief table, as HTML without scripts; all text is escaped."""
    headline, table = _summary(result)
    made = page_environment(**{"notebook.html.jinja": _TEMPLATE})
    return made.get_template("notebook.html.jinja").render(answer=headline, table=table)


_TEMPLATE = """{%- from "blocks.html.jinja" import table_of -%}
<div style="border-left: 4px solid #888; padding: .2em 1em">
<p><b>{{ answer.question }} {{ answer.short }}</b><br>{{ answer.sentence }}</p>
{% if table %}{{ table_of(table) }}{% endif %}
</div>
"""


def _figures(result: Any) -> Iterator[Figure]:
    if isinstance(result, Evaluation):
        yield from evaluation_figures(result)
    elif isinstance(result, Bridge):
        if result.evidence is not None:
            yield from evaluation_figures(result.evidence)
        yield from candidate_figures(result.tried, result.taken)
    elif isinstance(result, Diagnosis):
        yield from diagnosis_figures(result)
    elif isinstance(result, LearningCurve):
        yield curve_figure(result)
    elif isinstance(result, Comparison):
        yield from similarity_figures(result)
    elif isinstance(result, Grid):
        yield from grid_figures(result)


def _summary(result: Any) -> tuple[Headline, TextTable | None]:
    if isinstance(result, Bridge):
        named = " to ".join(result.names)
        if result.evidence is None:
            recipe = str(result.recipe or "composed or inverted")
            return Headline(f"A {result.kind} bridge,", named, recipe, "plain"), None
        return answer_of(result.evidence), arms_table(result.evidence)
    if isinstance(result, Evaluation):
        return answer_of(result), arms_table(result)
    if isinstance(result, Diagnosis):
        return diagnosis_headline(result), side_table(result)
    if isinstance(result, LearningCurve):
        figure = curve_figure(result)
        return Headline(figure.title, "", result.answer, "plain"), figure.table
    if isinstance(result, Comparison):
        tables = [figure.table for figure in similarity_figures(result)]
        rows = tuple(row for table in tables for row in table.rows)
        shown = TextTable(tables[0].caption, tables[0].headings, rows) if tables else None
        asked = f"{len(result)} measures over {result.n:,} pairs"
        return Headline("How alike are the two spaces?", "", f"{asked}.", "plain"), shown
    return grid_headline(result), next(iter(grid_figures(result))).table


def _coloured(value: Any, colours: dict[str, str]) -> Any:
    """Colours that figures name as ``var(--name)``, as the style sheet has them."""
    if isinstance(value, str):
        named = re.fullmatch(r"var\((--[\w-]+)\)", value)
        return colours[named[1]].strip() if named else value
    if isinstance(value, dict):
        return {key: _coloured(inner, colours) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_coloured(inner, colours) for inner in value]
    return value
