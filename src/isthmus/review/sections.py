"""The parts of a review that say how good a version is, as blocks of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus.evaluate import GateResult
from isthmus.evaluate.fairness import Fairness
from isthmus.report.blocks import Block, Card, Cards, Figure, Headline, Prose, Section, TextTable
from isthmus.report.evaluation import answer_of, evaluation_sections
from isthmus.report.plots import fixed, span
from isthmus.review.dossier import Dossier

__all__ = ["answer_of_version", "sections_of"]

Stages = Sequence[tuple[str, tuple[GateResult, ...]]]


def answer_of_version(dossier: Dossier) -> Headline | None:
    """May the models be swapped? None without evidence."""
    if dossier.bridge is None or dossier.bridge.evidence is None:
        return None
    return answer_of(dossier.bridge.evidence, dossier.gates)


def sections_of(dossier: Dossier, stages: Stages) -> list[Section]:
    """Gates, the stages of the policy, the ways, groups, and the queries that lose most."""
    found = [
        Section(_stage(stage, gates), (_cards(gates),) if gates else ()) for stage, gates in stages
    ]
    evidence = None if dossier.bridge is None else dossier.bridge.evidence
    if evidence is None:
        return found
    shown = dossier.shown
    sections = evaluation_sections(
        evidence,
        dossier.gates,
        shown.texts,
        shown.query_texts,
        (),
        tuple(_groups(evidence.fairness)),
    )
    # without scripts there are no plots; the tables hold the same numbers
    return [*found, *(s for s in (_without_plots(s) for s in sections) if s.blocks)]


def _stage(name: str, gates: Sequence[GateResult]) -> str:
    missing = sum(not gate.passed for gate in gates)
    return f"Stage {name}: {f'{missing} of {len(gates)} not met' if missing else 'all is met'}"


def _without_plots(section: Section) -> Section:
    blocks: tuple[Block, ...] = tuple(b for b in section.blocks if not isinstance(b, Figure))
    return Section(section.title, blocks)


def _cards(gates: Sequence[GateResult]) -> Cards:
    return Cards(
        tuple(
            Card(
                "passed" if gate.passed else "failed",
                "good" if gate.passed else "bad",
                gate.condition,
                (f"Found: {gate.found}",),
            )
            for gate in gates
        )
    )


def _groups(fairness: Fairness | None) -> Iterator[Section]:
    if fairness is None:
        return
    rows = tuple(
        (
            g.name,
            f"{g.n_queries:,}",
            fixed(g.old),
            fixed(g.judged),
            span(g.change),
            "-" if g.retention is None else f"{g.retention:.0%}",
            "-" if g.amplification is None else span(g.amplification),
        )
        for g in fairness.groups
    )
    yield Section(
        "Groups of queries",
        (
            Prose(
                f"What every group has from {fairness.judged}, the worst first; the intervals hold "
                "together. Farther behind: by how much it lies farther behind all other queries "
                "than with the old model."
            ),
            TextTable(
                "Groups of ten queries or more",
                ("group", "queries", "old", fairness.judged, "change", "retention",
                 "farther behind"),
                rows,
            ),
        ),
    )  # fmt: skip
