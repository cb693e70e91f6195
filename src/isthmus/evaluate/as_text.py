"""An evaluation as lines of text, fitted to a width: the ways that matter first, all if asked."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from isthmus.evaluate.arms import ARMS, of_role
from isthmus.evaluate.horizon import horizon_sentences

if TYPE_CHECKING:
    from isthmus.evaluate.bootstrap import Estimate
    from isthmus.evaluate.evaluation import Evaluation

__all__ = ["Line", "distinct_metrics", "evaluation_lines"]

LineStyle = Literal["plain", "heading", "good", "caution", "bad", "quiet"]

_NARROWEST = 60
_LAST_COLUMN = 22  # of characters: the narrowest column of prices
_MARK, _NO_MARK = "* ", "  "


@dataclass(frozen=True)
class Line:
    """One line, and the colour that a terminal may give it; the words say the same."""

    text: str
    tone: LineStyle = "plain"


def evaluation_lines(found: Evaluation, *, width: int, all_arms: bool) -> list[Line]:
    """The lines of an evaluation.

    Args:
        found: the evaluation.
        width: characters of a line; what is wider is wrapped, down to 60.
        all_arms: whether every arm, metric and comparison is shown; by default the old model, the
            bridge, what is recommended and full re-embedding.
    """
    width = max(width, _NARROWEST)
    lines = [Line(part) for part in _wrapped(_head(found), width)]
    names = found.shown if all_arms else _chief(found)
    lines += [Line(""), *_arms(found, names, width)]
    if all_arms:
        lines += [Line(""), *_metrics(found, width)]
    below = _below(found, names)
    told = [text for text in (below, found.lower_estimate) if text]
    told += [*_comparisons(found, all_arms=all_arms), *_absent(found)]
    if told:
        lines += [Line(""), *(Line(x, "quiet") for text in told for x in _wrapped(text, width))]
    for notice in found.notices:
        lines += [Line(""), *(Line(x, "caution") for x in _wrapped(f"notice: {notice}", width))]
    lines.append(Line(""))
    tone, _ = found.verdict.answer
    lines.append(Line(f"verdict: {found.verdict}", tone))
    lines += [Line(part) for part in _wrapped(found.reason, width, indent="  ")]
    return lines


def distinct_metrics(found: Evaluation) -> tuple[list[str], str]:
    """The metrics without those that repeat another one for every arm, and a note that says so.

    The first is the one that decides.  With one answer to each query recall@1 is CMC@1, and the
    mean reciprocal rank is the mean average precision.
    """
    kept: list[str] = []
    equal: dict[str, str] = {}
    values: dict[str, tuple[float | None, ...]] = {}
    for metric in dict.fromkeys((found.primary, *found.metrics)):
        mine = (found.chance[metric], *(arm.metrics[metric].value for arm in found.arms.values()))
        same = next((name for name in kept if _equal(values[name], mine)), None)
        if same is not None and found.evidence_kind == "relevance":
            equal[metric] = same
        else:
            kept.append(metric)
            values[metric] = mine
    told = " and ".join(f"{metric} is {same}" for metric, same in equal.items())
    return kept, f"{told} here, for every way" if told else ""


def _equal(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """Whether two metrics are the same number everywhere, but for the order of their sums."""
    return all(
        a is b if a is None or b is None else abs(a - b) < 1e-9
        for a, b in zip(one, other, strict=True)
    )


def _chief(found: Evaluation) -> list[str]:
    wanted = {"old", "bridge", "new", found.judged}
    return [name for name in found.shown if name in wanted]


def _head(found: Evaluation) -> str:
    text = (
        f"{found.n_queries:,} queries, {found.n_gallery:,} gallery items, evidence: "
        f"{found.evidence_kind}"
    )
    if found.n_unanswerable:
        text += f" ({found.n_unanswerable:,} queries without relevant items left out)"
    return text


def _arms(found: Evaluation, names: Sequence[str], width: int) -> Iterator[Line]:
    arms = [found.arms[name] for name in names]
    primary = found.primary
    spans = [str(arm.metrics[primary]) for arm in arms]
    columns = {
        f"{_NO_MARK}way": [_marked(found, name) for name in names],
        f"{primary}, {found.level:.0%} interval": spans,
    }
    # a difference to the old model says nothing where its own results are the standard
    if found.evidence_kind == "relevance":
        columns["minus old"] = [
            _signed(arm.to_old) if name != "old" else ""
            for name, arm in zip(names, arms, strict=True)
        ]
    if any(arm.gallery is not None for arm in arms):
        columns["gallery"] = [f"{arm.gallery or found.n_gallery:,}" for arm in arms]
    if any(arm.price is not None for arm in arms):
        columns["price"] = ["" if arm.price is None else str(arm.price) for arm in arms]
    if "minus old" in columns and _width(columns) > width:
        # the difference to the old model has its own interval
        spans[:] = [span.partition(" [")[0] for span in spans]
        first, _, *others = columns
        columns = {name: columns.get(name, spans) for name in (first, primary, *others)}
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    tones: list[LineStyle] = ["good" if name == found.recommended else "plain" for name in names]
    if len(names) == len(found.shown):
        rows.append([f"{_NO_MARK}chance", f"{found.chance[primary]:.3f}"])
        rows[-1] += [""] * (len(columns) - 2)
        tones.append("quiet")
    yield from _table(list(columns), rows, tones, width)


def _marked(found: Evaluation, name: str) -> str:
    return (_MARK if name == found.recommended else _NO_MARK) + (found.arms[name].label or name)


def _width(columns: Mapping[str, Sequence[str]]) -> int:
    return sum(max(map(len, (name, *cells))) + 2 for name, cells in columns.items()) - 2


def _metrics(found: Evaluation, width: int) -> Iterator[Line]:
    shown, note = distinct_metrics(found)
    if len(shown) > 1:
        rows = [
            [
                _marked(found, name),
                *(f"{found.arms[name].metrics[m].value or 0.0:.3f}" for m in shown),
            ]
            for name in found.shown
        ]
        rows.append([_NO_MARK + "chance", *(f"{found.chance[metric]:.3f}" for metric in shown)])
        tones: list[LineStyle] = ["plain"] * len(rows)
        yield from _table([_NO_MARK + "every metric", *shown], rows, tones, width)
    if note:
        yield from (Line(part, "quiet") for part in _wrapped(note, width))


def _comparisons(found: Evaluation, *, all_arms: bool) -> Iterator[str]:
    """What the arms keep of a full re-embedding: of the judged one alone, or of every way."""
    compared = ["bridge", *found.strategies] if all_arms else [found.judged]
    if all_arms and found.judged not in (*compared, *of_role("bound")):
        compared.append(found.judged)
    for name in compared:
        arm = found.arms[name]
        told = {"retention": arm.retention, "update gain": arm.update_gain}
        values = ", ".join(f"{what} {value}" for what, value in told.items() if value is not None)
        if values and arm.to_old_at_once is not None:
            values += f", minus old beside all that compete {_signed(arm.to_old_at_once)}"
        # of the old model's own results nothing that finds others can be kept
        if values and found.evidence_kind == "relevance":
            yield f"{name}: {values}"
    rows = found.rule.horizon.rows
    for name in found.shown if all_arms else _chief(found):
        arm = found.arms[name]
        if arm.in_index is not None and rows is not None:
            yield (
                f"{name}: at {arm.gallery or found.n_gallery:,} of your {rows:,} items "
                f"{arm.metrics[found.primary].value:.3f}; expected at full size {arm.in_index}"
            )
    yield from horizon_sentences(found)
    if found.luck is not None:
        gain = found.arms[found.judged].to_old
        assert gain is not None and gain.value is not None
        yield (
            f"expected of {found.judged} on fresh queries: {gain.value - found.luck:+.3f} minus "
            f"old, since {found.luck:.3f} is the luck of being the best of several"
        )
    if all_arms:
        for other in sorted(found.overlap, key=list(ARMS).index):
            yield f"bridge, overlap@{found.overlap_k} with {other}: {found.overlap[other]}"


def _absent(found: Evaluation) -> Iterator[str]:
    reasons: dict[str, list[str]] = {}
    for name, why in found.absent.items():
        reasons.setdefault(why, []).append(name)
    for why, names in sorted(reasons.items()):
        yield f"no {', '.join(sorted(names))}: {why}"


def _below(found: Evaluation, names: Sequence[str]) -> str:
    """What stands under the table: what the mark is, and what was left out."""
    told: list[str] = []
    if found.recommended in names:
        told.append("* recommended")
    if found.evidence_kind == "agreement":
        told.append(
            f"{found.primary} says how much of the old model's results each way keeps, not which "
            "is better"
        )
    left_out = len(found.shown) - len(names)
    if left_out:
        told.append(f"{left_out} more, and all metrics: --all-arms (all_arms=True)")
    return "; ".join(told)


def _signed(estimate: Estimate | None) -> str:
    if estimate is None or estimate.value is None:
        return ""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:+.3f}"
    return estimate.signed


def _table(
    heading: Sequence[str], rows: Sequence[Sequence[str]], tones: Sequence[LineStyle], width: int
) -> Iterator[Line]:
    """Aligned columns; the last one is wrapped within its own width where it does not fit.

    Where even that is too little, it stands on a line of its own under its row.
    """
    *fixed, last = (max(map(len, column)) for column in zip(heading, *rows, strict=True))
    indent = sum(fixed) + 2 * len(fixed)
    under = indent + min(last, _LAST_COLUMN) > width
    room = width - (len(_NO_MARK) + 2 if under else indent)

    def written(cells: Sequence[str]) -> Iterator[str]:
        padded = [cell.ljust(size) for cell, size in zip(cells[:-1], fixed, strict=True)]
        first = "  ".join(padded)
        parts = textwrap.wrap(cells[-1], room, break_on_hyphens=False)
        if under:
            yield first.rstrip()
            yield from (f"{_NO_MARK}  {part}" for part in parts if cells[-1] != "none")
            return
        yield f"{first}  {parts[0] if parts else ''}".rstrip()
        yield from (" " * indent + part for part in parts[1:])

    yield from (Line(part, "heading") for part in written(heading))
    for row, tone in zip(rows, tones, strict=True):
        yield from (Line(part, tone) for part in written(row))


def _wrapped(text: str, width: int, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent or "  ",
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
