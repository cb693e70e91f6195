"""An evaluation as a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from isthmus.evaluate import Evaluation, GateResult, WorstQuery
from isthmus.evaluate.arms import words_of
from isthmus.report.blocks import (
    Block,
    Card,
    Cards,
    Commands,
    Headline,
    Items,
    Page,
    Prose,
    Section,
    TextTable,
    Tile,
)
from isthmus.report.evaluation_figures import arm_name, evaluation_figures
from isthmus.report.plots import fixed, number, shortened, span
from isthmus.report.robustness import robustness_sections
from isthmus.report.write import write_page

__all__ = ["answer_of", "arms_table", "evaluation_sections", "write_evaluation_report"]

_MOST_TEXT, _MOST_CARDS = 240, 8


def write_evaluation_report(
    evaluation: Evaluation,
    path: str | Path,
    *,
    title: str = "Evaluation",
    gates: Sequence[GateResult] = (),
    texts: Mapping[str, str] | None = None,
    query_texts: Mapping[str, str] | None = None,
    commands: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write an evaluation as one self-contained HTML file, with plots.

    Args:
        evaluation: from `isthmus.assess`, `isthmus.fit` or `evaluate_upgrade`.
        path: of the file.
        title: of the page.
        gates: conditions and whether they hold, from `check_gates`.
        texts: of items, by id as text, for the queries that lose most.
        query_texts: of queries; looked for among ``texts`` if None.
        commands: what to type next, shown as given.
        overwrite: replace a file that exists.

    Raises:
        MissingExtraError: without plotly (extra ``report``).
        OutputError: if ``path`` exists and ``overwrite`` is false, or cannot be written.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import Trial, from_ids
        >>> from isthmus.report import write_evaluation_report
        >>> from isthmus.ways import evaluate_upgrade
        >>> old = np.random.default_rng(0).standard_normal((200, 8)).astype(np.float32)
        >>> same = from_ids(range(200), range(200))
        >>> trial = Trial(old, old, old, old, query_bridged=old, relevance=same)
        >>> write_evaluation_report(evaluate_upgrade(trial), "evaluation.html", title="A test")
    """
    page = Page(
        title=title,
        subtitle=subtitle_of(evaluation),
        answer=answer_of(evaluation, gates),
        sections=tuple(evaluation_sections(evaluation, gates, texts, query_texts, commands)),
    )
    write_page(page, path, overwrite=overwrite)


def subtitle_of(found: Evaluation) -> str:
    """The number of queries and the kind of evidence, in a line under the title."""
    left_out = f", {found.n_unanswerable:,} without an answer left out"
    kind = (
        "known answers"
        if found.evidence_kind == "relevance"
        else "agreement with the old model alone"
    )
    return (
        f"{found.n_queries:,} unseen queries{left_out if found.n_unanswerable else ''}, "
        f"{found.n_gallery:,} items; judged by {kind}, {found.primary}; seed {found.seed}"
    )


def answer_of(found: Evaluation, gates: Sequence[GateResult] = ()) -> Headline:
    """May the models be swapped?"""
    tone, short = found.verdict.answer
    failed = [gate for gate in gates if not gate.passed]
    if failed:
        tone = "bad"
        if found.verdict.serves:
            short = f"Not by the gates: {len(failed)} of {len(gates)} failed."
    return Headline(
        question="May the models be swapped?",
        short=short,
        sentence=f"Verdict: {found.verdict}. {found.reason[0].upper()}{found.reason[1:]}."
        if not found.reason.startswith(found.primary)
        else f"Verdict: {found.verdict}. {found.reason}.",
        tone=tone,
        tiles=tuple(_tiles(found, gates)),
    )


def _tiles(found: Evaluation, gates: Sequence[GateResult]) -> Iterator[Tile]:
    agreement = found.evidence_kind == "agreement"
    titles = {"old": "old model", "bridge": "bridge", "new": "re-embedded"}
    if agreement:
        # the old model agrees with itself
        titles = {"bridge": "bridge", "new": "re-embedded (other results, not worse ones)"}
    for name, title in titles.items():
        if name in found.arms:
            e = found.arms[name].metrics[found.primary]
            yield Tile(
                f"{found.primary}, {title}", fixed(e.value or 0.0), f"{e.low:.3f} to {e.high:.3f}"
                if e.low is not None
                else "",
            )  # fmt: skip
    chosen = found.recommended
    if chosen is not None and chosen not in ("bridge", "new", "old"):
        e = found.arms[chosen].metrics[found.primary]
        yield Tile(f"{found.primary}, recommended", fixed(e.value or 0.0), arm_name(found, chosen))
    kept = found.arms[found.judged].retention
    if kept is not None and kept.value is not None:
        yield Tile(
            "retention of the bridge" if found.judged == "bridge" else "retention, recommended",
            f"{kept.value:.0%}",
            "" if kept.low is None else f"{kept.low:.0%} to {kept.high:.0%}",
        )
    if gates:
        passed = sum(gate.passed for gate in gates)
        yield Tile("gates passed", f"{passed} of {len(gates)}")


def evaluation_sections(
    found: Evaluation,
    gates: Sequence[GateResult],
    texts: Mapping[str, str] | None,
    query_texts: Mapping[str, str] | None,
    commands: Sequence[str],
    further: Sequence[Section] = (),
) -> Iterator[Section]:
    """The sections that every page with an evaluation has, ``further`` ones before the queries."""
    if found.notices:
        yield Section("What to know about these data", (Items(found.notices),))
    if gates:
        yield Section(
            "Gates",
            (
                Cards(
                    tuple(
                        Card(
                            "passed" if gate.passed else "failed",
                            "good" if gate.passed else "bad",
                            _gate_title(gate.condition),
                            (f"Found: {gate.found}",),
                        )
                        for gate in gates
                    )
                ),
            ),
        )
    if commands:
        yield Section("What to do next", (Commands(tuple(commands)),))
    yield Section("Ways to serve", (arms_table(found), *_absent(found)))
    yield Section("Plots", tuple(evaluation_figures(found, gates)))
    yield from robustness_sections(found.robustness)
    yield from further
    if found.worst:
        yield Section(
            f"Queries {_changed(found)} most: {words_of(found.judged)}",
            _worst(found, texts or {}, query_texts),
        )


def _gate_title(condition: str) -> str:
    return "the new model is put to work" if condition.startswith("verdict in") else condition


def arms_table(found: Evaluation) -> TextTable:
    """Every way to serve, with its intervals and its price."""
    agreement = found.evidence_kind == "agreement"
    rows: list[tuple[str, ...]] = []
    marked: set[str] = set()
    for name in found.shown:
        arm = found.arms[name]
        shown = arm_name(found, name)
        if name == found.recommended:
            marked.add(shown)
        rows.append(
            (
                shown,
                span(arm.metrics[found.primary]),
                *([] if agreement else [span(arm.to_old), span(arm.retention)]),
                "-" if arm.price is None else str(arm.price),
            )
        )
    others = ["-"] if agreement else ["-", "-", "-"]
    rows.append(("chance", fixed(found.chance[found.primary]), *others))
    lower = found.lower_estimate
    return TextTable(
        f"With {found.level:.0%} intervals over queries"
        + ("; the recommended way is marked" if marked else "")
        + ". The price is what comes on top of encoding the query by the new model"
        + (f". {lower[0].upper()}{lower[1:]}" if lower else ""),
        (
            "way to serve",
            found.primary,
            *([] if agreement else ["minus the old model", "retention"]),
            "price",
        ),
        tuple(rows),
        marked=frozenset(marked),
        terms=True,
    )


def _absent(found: Evaluation) -> Iterator[Prose]:
    reasons: dict[str, list[str]] = {}
    for name, why in found.absent.items():
        reasons.setdefault(why, []).append(words_of(name))
    for why, names in reasons.items():
        yield Prose(f"Not measured, since {why}: {'; '.join(names)}.")


def _worst(
    found: Evaluation, texts: Mapping[str, str], query_texts: Mapping[str, str] | None
) -> tuple[Block, ...]:
    asked = texts if query_texts is None else query_texts
    first, others = found.worst[:_MOST_CARDS], found.worst[_MOST_CARDS:]
    both, agreement = "new" in first[0].values, found.evidence_kind == "agreement"
    against = "the better of the old and the new model" if both else "the old model"
    blocks: list[Block] = [
        Prose(f"Against {against}, by {found.primary}; the worst first."),
        Cards(
            tuple(
                _query(
                    query,
                    texts,
                    asked,
                    f"{query.loss:.0%} other results"
                    if agreement
                    else f"loses {number(query.loss, 2)}",
                )
                for query in first
            )
        ),
    ]
    if others:
        ranked = [arm for arm in first[0].values if any(arm in q.ranks for q in others)]
        blocks.append(
            TextTable(
                f"{len(others)} more",
                (
                    "query",
                    "less by" if agreement else "loses",
                    *(f"rank, {_ranked(arm)}" for arm in ranked),
                ),
                tuple(
                    (
                        shortened(asked.get(q.id, q.id), 120),
                        number(q.loss, 2),
                        *(f"{q.ranks[arm]:,}" if arm in q.ranks else "-" for arm in ranked),
                    )
                    for q in others
                ),
                folded=True,
            )
        )
    return tuple(blocks)


def _query(
    query: WorstQuery, texts: Mapping[str, str], asked: Mapping[str, str], badge: str
) -> Card:
    text = asked.get(query.id)
    lines: list[str] = []
    if query.answer is not None:
        which = "Expected" if query.answers == 1 else f"Expected, one of {query.answers:,}"
        lines.append(f"{which}: {_item(query.answer, texts)}")
    if query.found is not None:
        lines.append(f"Found first: {_item(query.found, texts)}")
    facts = [("query", query.id)] if text is not None else []
    ranks = [(f"rank, {_ranked(arm)}", f"{rank:,}") for arm, rank in query.ranks.items()]
    return Card(
        badge=badge,
        tone="plain",
        title=query.id if text is None else shortened(text, _MOST_TEXT),
        lines=tuple(lines),
        facts=(*ranks, *facts),
    )


def _changed(found: Evaluation) -> str:
    """What happens to the queries shown; other results than the old model's are not a loss."""
    return "whose results change" if found.evidence_kind == "agreement" else "that lose"


def _ranked(arm: str) -> str:
    return {"old": "old model", "new": "re-embedded"}.get(arm, words_of(arm))


def _item(name: str, texts: Mapping[str, str]) -> str:
    text = texts.get(name)
    return name if text is None else f"{shortened(text, _MOST_TEXT)} ({name})"
