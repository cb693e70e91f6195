"""A diagnosis as a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from isthmus.diagnose import THRESHOLDS, Diagnosis, Finding, Relation, Severity
from isthmus.report.blocks import (
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
    Tone,
)
from isthmus.report.diagnosis_figures import diagnosis_figures, measure_name
from isthmus.report.plots import count, fixed, number, shortened, span
from isthmus.report.write import write_page
from isthmus.similarity import Similarity
from isthmus.similarity.null import least_p, p_text
from isthmus.similarity.result import AT_THIS_N

__all__ = ["diagnosis_headline", "side_table", "write_diagnosis_report"]

_ANSWERS: dict[Relation, tuple[Tone, str]] = {
    Relation.IDENTICAL: ("good", "Yes: there is nothing to map."),
    Relation.SAME_SPACE: ("good", "Yes, behind a simple map."),
    Relation.LINEAR: ("plain", "Not as it is; behind a fitted map, perhaps."),
    Relation.NONLINEAR: ("caution", "Perhaps, but a linear map leaves much behind."),
    Relation.WEAK: ("caution", "Hardly: a map carries little over."),
    Relation.MISPAIRED: ("bad", "Not yet: the rows do not go together."),
    Relation.UNRELATED: ("bad", "No: nothing shows that the two are related."),
    Relation.UNDETERMINED: ("caution", "It cannot be said: there are too few pairs."),
}
_TONES: dict[Severity, Tone] = {
    Severity.CRITICAL: "bad",
    Severity.WARNING: "caution",
    Severity.NOTE: "plain",
}


def write_diagnosis_report(
    diagnosis: Diagnosis,
    path: str | Path,
    *,
    commands: Sequence[str] = (),
    overwrite: bool = False,
) -> None:
    """Write a diagnosis as one self-contained HTML file, with plots.

    Args:
        diagnosis: from `isthmus.diagnose.diagnose`.
        path: of the file.
        commands: what to type next, shown as given.
        overwrite: replace a file that exists.

    Raises:
        MissingExtraError: without plotly (extra ``report``).
        OutputError: if ``path`` exists and ``overwrite`` is false, or cannot be written.

    Example:
        >>> import numpy as np
        >>> import isthmus
        >>> from isthmus.report import write_diagnosis_report
        >>> old = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> found = isthmus.diagnose(isthmus.Pairs(old[:, ::-1].copy(), old))
        >>> write_diagnosis_report(found, "diagnosis.html")
    """
    write_page(_page(diagnosis, commands), path, overwrite=overwrite)


def _page(found: Diagnosis, commands: Sequence[str]) -> Page:
    x, y = found.x, found.y
    next_steps: list[Prose | Commands | Items] = [Prose(f"Recipe: {_sentence(found.advice)}")]
    if commands:
        next_steps.append(Commands(tuple(commands)))
    return Page(
        title=f"Diagnosis: {shortened(x.name, 60)} and {shortened(y.name, 60)}",
        subtitle=f"{x.name} ({x.dim:,} wide, {x.dtype}, {x.source}) and {y.name} ({y.dim:,} wide, "
        f"{y.dtype}, {y.source}); {found.n:,} pairs, {found.metric}; {found.sampled:,} sampled "
        f"rows, seed {found.seed}",
        answer=diagnosis_headline(found),
        sections=(
            Section("Findings", _findings(found)),
            Section("What to do next", next_steps),
            Section("What these data do not show", (Items(found.not_established),)),
            Section("Plots", tuple(diagnosis_figures(found))),
            Section("Details", tuple(_details(found))),
        ),
    )


def diagnosis_headline(found: Diagnosis) -> Headline:
    """May the one stand in for the other?"""
    tone, short = _ANSWERS[found.relation]
    grave = [f for f in found.findings if f.severity is Severity.CRITICAL]
    if grave and found.relation not in (Relation.MISPAIRED, Relation.UNRELATED):
        tone = "bad"
        names = ", ".join(dict.fromkeys(f.name.replace("_", " ") for f in grave))
        short = f"Check this first: {names}."
        if not found.can_be_fitted:
            short = f"Not before this is mended: {names}."
    return Headline(
        question=f"May {shortened(found.x.name, 40)} stand in for {shortened(found.y.name, 40)}?",
        short=short,
        sentence=_sentence(f"Relation: {found.relation}; {found.verdict}"),
        tone=tone,
        tiles=tuple(_tiles(found)),
    )


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _tiles(found: Diagnosis) -> Iterator[Tile]:
    measured = found.measured
    if measured.maps is not None and measured.maps.linear.value is not None:
        yield Tile(
            "variance explained by a linear map",
            f"{measured.maps.linear.value:.0%}",
            "of unseen rows",
        )
    if measured.found is not None and measured.found.linear.first.value is not None:
        better = measured.found.better
        yield Tile(
            "unseen partners found first",
            f"{measured.found.linear.first.value:.0%}",
            f"of {better.rows:,}, by chance {number(100 * better.chance, 2)}%",
        )
    if measured.overlap is not None:
        yield Tile(
            f"of {measured.overlap.k} neighbours kept",
            f"{measured.overlap.mean:.0%}",
            f"by chance {number(100 * measured.overlap.chance, 2)}%",
        )
    by_severity = [sum(f.severity is s for f in found.findings) for s in Severity]
    yield Tile(
        "findings",
        str(len(found.findings)),
        ", ".join(f"{n} {s}" for n, s in zip(by_severity, Severity, strict=True) if n)
        or "both spaces are healthy",
    )


def _findings(found: Diagnosis) -> tuple[Prose | Cards, ...]:
    if not found.findings:
        return (Prose("None: both spaces are healthy."),)
    names = (found.x.name, found.y.name)
    return (Cards(tuple(_card(finding, names) for finding in found.findings)),)


def _card(finding: Finding, names: tuple[str, str]) -> Card:
    side = "" if finding.side == "both" else f" ({finding.side})"
    value = number(finding.value)
    if finding.low is not None and finding.high is not None:
        value += f" [{number(finding.low)}, {number(finding.high)}]"
    return Card(
        badge=str(finding.severity),
        tone=_TONES[finding.severity],
        title=f"{finding.name.replace('_', ' ')}{side}",
        lines=(_sentence(_capital(finding.meaning, names)), f"Remedy: {_sentence(finding.remedy)}"),
        facts=((finding.measure, value), ("threshold", number(finding.threshold))),
    )


def _capital(text: str, names: tuple[str, str]) -> str:
    """A sentence with a large first letter, unless it begins with the name of a side."""
    return text if text.startswith(names) else text[0].upper() + text[1:]


def _details(found: Diagnosis) -> Iterator[TextTable]:
    yield side_table(found)
    yield _pair_table(found)
    measures = [
        (
            measure_name(name),
            number(s.value) if s.value is not None else "undefined",
            _interval(s),
            "-" if s.null is None else f"{number(s.null.mean)} ± {number(s.null.sd, 2)}",
            "-" if s.null is None else p_text(s.null.p, s.null.method),
            "more" if s.higher_is_closer else "less",
            f"{s.n:,}",
            "; ".join(s.warnings) if s.value is not None else (s.reason or ""),
        )
        for name, s in found.comparison.items()
    ]
    yield TextTable(
        f"Similarity measures, with what rows in random order give (* {AT_THIS_N}); "
        f"{_floor_note(found)}",
        ("measure", "value", "interval", "by chance", "p", "closer is", "rows", "remarks"),
        tuple(measures),
        folded=True,
    )
    yield TextTable(
        "Which formula each measure is",
        ("measure", "formula", "source", "identifier"),
        tuple(
            (measure_name(name), s.declaration.formula, s.declaration.source, s.definition)
            for name, s in found.comparison.items()
        ),
        folded=True,
    )
    yield TextTable(
        "Every threshold that findings are judged by, and why",
        ("threshold", "value", "why"),
        tuple(
            (name.replace("_", " "), number(t.value), t.reason) for name, t in THRESHOLDS.items()
        ),
        folded=True,
    )


def _interval(found: Similarity) -> str:
    if found.low is None:
        return "-"
    mark = "*" if found.interval_of == "this n" else ""
    return f"[{number(found.low)}, {number(found.high)}]{mark}"


def _floor_note(found: Diagnosis) -> str:
    """What the sign before a p means, where there is one."""
    floors = {
        least_p(s.null.method)
        for s in found.comparison.values()
        if s.null is not None and least_p(s.null.method) is not None
    }
    told = "p is the probability that chance alone comes so close"
    if not floors:
        return told
    return f"{told}; ≤ stands where no random order came so close, and more orders would say more"


def side_table(found: Diagnosis) -> TextTable:
    """What each side is by itself."""
    sides = (found.x, found.y)
    rows: list[tuple[str, ...]] = []

    def add(name: str, *cells: str) -> None:
        rows.append((name, *cells))

    add("dimensions", *(f"{s.dim:,}" for s in sides))
    add("median norm", *(number(s.norms.median) for s in sides))
    for name, attribute in (
        ("mean cosine of different items", "mean_cosine"),
        ("the same, centred", "mean_cosine_centred"),
        ("share of the common mean", "common_mean_share"),
    ):
        add(
            name,
            *("-" if s.isotropy is None else fixed(getattr(s.isotropy, attribute)) for s in sides),
        )
    add("effective rank", *(f"{s.spectrum.effective_rank:.1f}" for s in sides))
    add("participation ratio", *(f"{s.spectrum.participation_ratio:.1f}" for s in sides))
    add("IsoScore", *(f"{s.spectrum.iso_score:.3f}" for s in sides))
    add("dimensions for 95% of the variance", *(str(s.spectrum.components["95%"]) for s in sides))
    add("dead dimensions", *(count(len(s.dimensions.dead)) for s in sides))
    add("dimensions that repeat others", *(count(s.dimensions.redundant) for s in sides))
    add("median excess kurtosis", *(fixed(s.dimensions.kurtosis_median, 2) for s in sides))
    add(
        "hubness skewness",
        *("-" if s.hubness is None else f"{s.hubness.skewness:.2f}" for s in sides),
    )
    add("repeated rows", *(f"{s.repeated:.1%}" for s in sides))
    add("rows set aside", *(count(s.infinite + s.missing + s.zero) for s in sides))
    headings = ("what", *(shortened(s.name, 40) for s in sides))
    return TextTable("Each side by itself", headings, tuple(rows))


def _pair_table(found: Diagnosis) -> TextTable:
    measured = found.measured
    rows: list[tuple[str, ...]] = [
        ("pairs for each dimension", number(measured.pairs_per_dimension)),
        ("distance of the variance profiles", number(measured.profile_distance)),
    ]
    if measured.dimension_correlation is not None:
        rows.append(("correlation of equal dimensions", number(measured.dimension_correlation)))
    if measured.truncation is not None:
        rows.append(("cosine with a truncated copy", number(measured.truncation)))
    if measured.found is not None:
        rows += [
            ("partners found first behind a rotation", span(measured.found.rigid.first)),
            ("partners found first behind a linear map", span(measured.found.linear.first)),
            (
                "place of a partner in the list (chance 0.5)",
                fixed(measured.found.better.mean_place),
            ),
        ]
    if measured.pairing is not None:
        judged = measured.pairing
        what = {"second model": "of a second model", "unchanged": "equal on both sides"}.get(
            judged.kind, "paired wrongly"
        )
        rows.append((f"share of rows {what}", span(judged.share)))
    if measured.clusters is not None:
        agreement = measured.clusters
        rows.append(
            (
                f"agreement of {agreement.clusters} clusters (adjusted Rand, at most "
                f"{agreement.ceiling:.2f})",
                f"{agreement.adjusted_rand:.3f}",
            )
        )
    if measured.concepts is not None:
        rows += [
            (
                f"class directions ({measured.concepts.source}), AUC",
                f"{measured.concepts.native:.3f}",
            ),
            ("the same on mapped rows", f"{measured.concepts.transferred:.3f}"),
        ]
    if measured.modality is not None:
        rows.append(("modality gap over spread", number(measured.modality.relative)))
    return TextTable("The two together", ("what", "value"), tuple(rows))
