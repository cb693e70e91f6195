"""A fitted bridge as a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from isthmus.adapters.budget.curve_reading import LearningCurve
from isthmus.adapters.select import RULE
from isthmus.bridge import Bridge
from isthmus.errors import InputError
from isthmus.evaluate import GateResult
from isthmus.report.blocks import Figure, Page, Prose, Section, TextTable
from isthmus.report.evaluation import answer_of, evaluation_sections, subtitle_of
from isthmus.report.fit_figures import candidate_figures, curve_figure, threshold_figures
from isthmus.report.plots import fixed, number, shortened
from isthmus.report.write import write_page
from isthmus.ways.trust import Trust

__all__ = ["write_fit_report"]


def write_fit_report(
    bridge: Bridge,
    path: str | Path,
    *,
    curve: LearningCurve | None = None,
    gates: Sequence[GateResult] = (),
    texts: Mapping[str, str] | None = None,
    query_texts: Mapping[str, str] | None = None,
    commands: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write a bridge and its evidence as one self-contained HTML file, with plots.

    Args:
        bridge: with evidence, from `isthmus.fit`.
        path: of the file.
        curve: how the map settles as pairs are added, from `learning_curve`; left out if None.
        gates: conditions and whether they hold, from `check_gates`.
        texts: of items, by id as text, for the queries that lose most.
        query_texts: of queries; looked for among ``texts`` if None.
        commands: what to type next, shown as given.
        overwrite: replace a file that exists.

    Raises:
        InputError: for a bridge without evidence.
        MissingExtraError: without plotly (extra ``report``).
        OutputError: if ``path`` exists and ``overwrite`` is false, or cannot be written.

    Example:
        >>> import numpy as np
        >>> import isthmus
        >>> from isthmus.report import write_fit_report
        >>> old = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> bridge = isthmus.fit(isthmus.Pairs(old[:, ::-1].copy(), old), recipe="procrustes")
        >>> write_fit_report(bridge, "fit.html", commands=["isthmus inspect my.bridge"])
    """
    evidence = bridge.evidence
    if evidence is None:
        raise InputError(
            "this bridge was never evaluated",
            where="bridge",
            mend="Judge it with isthmus.assess, and keep the result with bridge.with_evidence",
        )
    source, target = (shortened(space.name, 60) for space in (bridge.source, bridge.target))
    page = Page(
        title=f"Bridge from {source} to {target}",
        subtitle=f"A {bridge.kind} bridge, {bridge.source.dim:,} to {bridge.target.dim:,} "
        f"dimensions, {bridge.source.metric}; {subtitle_of(evidence)}",
        answer=answer_of(evidence, gates),
        sections=tuple(
            evaluation_sections(
                evidence, gates, texts, query_texts, commands, tuple(_further(bridge, curve))
            )
        ),
    )
    write_page(page, path, overwrite=overwrite)


def _further(bridge: Bridge, curve: LearningCurve | None) -> Iterator[Section]:
    figures: list[Figure] = list(candidate_figures(bridge.tried, bridge.taken))
    if curve is not None:
        figures.append(curve_figure(curve))
    if bridge.recipe is not None:
        yield Section("The map", (Prose(f"Recipe: {bridge.recipe}. Taken is {RULE}."),))
    if figures:
        yield Section("How it was chosen, and how it settles", tuple(figures))
    shown = tuple(threshold_figures(bridge))
    if shown:
        yield Section("What its scores mean", shown)
    tables = (*_errors(bridge), *_trust(bridge), *_provenance(bridge))
    if tables:
        yield Section("Calibration, trust and provenance", tables)


def _errors(bridge: Bridge) -> Iterator[TextTable]:
    found = bridge.thresholds
    if found is None:
        return
    yield TextTable(
        f"Thresholds of the old model in every way, with their errors on {found.queries:,} unseen "
        "queries",
        ("way", "keeps", "old", "new", "the old one lets through", "the new one more by"),
        tuple(
            (way, keep, fixed(t.old), fixed(t.new or 0.0), f"{t.kept:.1%}", str(t.error))
            for way in found.ways
            for keep in found.keeps(way)
            for t in found.examples(way, keep)
        ),
        folded=True,
    )


def _among(trust: Trust) -> str:
    return "" if trust.searched is None else f"; calibrated among {trust.searched:,} items"


def _trust(bridge: Bridge) -> Iterator[TextTable | Prose]:
    if bridge.trust is None:
        return
    levels = bridge.trust.control.levels()
    told = (
        f"How far single vectors can be trusted ({bridge.trust.control}; after the search: "
        f"{bridge.trust.search_control}{_among(bridge.trust)})"
    )
    if all(level.threshold is None for level in levels):
        yield Prose(
            f"{told}: no threshold of trust holds on unused rows what it promises, from "
            f"{levels[0].probability:.0%} to {levels[-1].probability:.0%}."
        )
        return
    yield TextTable(
        f"{told}: rows at or above a threshold of trust find the old model's first result with the "
        "probability asked for",
        ("probability", "threshold of trust", "rows kept", "seen on unused rows"),
        tuple(
            (
                f"{level.probability:.0%}",
                "none holds" if level.threshold is None else number(level.threshold),
                "-" if level.threshold is None else f"{level.kept:.0%}",
                "-" if level.held_out is None else f"{level.held_out:.0%}",
            )
            for level in levels
        ),
    )


def _provenance(bridge: Bridge) -> Iterator[TextTable]:
    provenance = bridge.provenance.to_json()
    found = provenance.get("fit", provenance)
    rows = tuple((name.replace("_", " "), _written(value)) for name, value in sorted(found.items()))
    if rows:
        yield TextTable("Where it comes from", ("what", "value"), rows, folded=True)


def _written(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
