"""Conditions an evaluation must meet, written as text, for people and for CI."""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from dataclasses import dataclass

from isthmus.errors import InputError
from isthmus.evaluate.arms import ARMS, Verdict
from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.evaluation import Arm, Evaluation
from isthmus.evaluate.metrics import parse_metric

__all__ = [
    "DEFAULT_GATES",
    "Gate",
    "GateResult",
    "asks_robustness",
    "check_gates",
    "metrics_of",
    "parse_gate",
]

DEFAULT_GATES = (f"verdict in ({', '.join(answer for answer in Verdict if answer.serves)})",)

_COMPARISONS = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
_COMPARISON = re.compile(
    r"\s*(?:(?P<arm>[a-z_]+)\.)?(?P<name>[a-z][a-z0-9_]*(?:@[0-9]+)?)\s*(?P<sign>>=|<=|>|<)"
    r"\s*(?P<bound>[-+]?[0-9]*\.?[0-9]+(?:[eE][-+]?[0-9]+)?)\s*"
)
_VERDICT = re.compile(r"\s*verdict\s+in\s*\((?P<answers>[^()]+)\)\s*")


_COMPARED = ("retention", "update_gain", "to_old")
_ROBUSTNESS = "robustness"


@dataclass(frozen=True)
class Gate:
    """One condition: either a comparison ``[arm.]name sign bound`` or the verdicts allowed."""

    condition: str
    arm: str | None = None
    """None for the arm that the evidence recommends, or the bridge where it recommends none."""
    name: str = "verdict"
    sign: str = "in"
    bound: float = 0.0
    verdicts: frozenset[Verdict] = frozenset()


@dataclass(frozen=True)
class GateResult:
    """Whether a condition holds, and the value that decided it, as text.

    Example:
        >>> GateResult("recall@10 >= 0.8", True, "0.85").passed
        True
    """

    condition: str
    passed: bool
    found: str

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.condition}  (found {self.found})"


def parse_gate(text: str) -> Gate:
    """Read a condition.

    ``[arm.]name >= number``, with ``>=``, ``>``, ``<=`` or ``<``: the name is ``retention``,
    ``update_gain``, ``to_old`` (the difference to the old model) or a metric such as
    ``recall@10``; the arm is the recommended one if not given, or ``bridge`` where none is.
    ``robustness.NAME``: how much the recommended way changes under a condition such as ``noise``,
    ``int8`` or ``out_of_domain``, or the ``worst`` of them.  Or ``verdict in (answer, answer)``.
    Raises `InputError` for anything else.

    Example:
        >>> gate = parse_gate("bridge.recall@10 >= 0.8")
        >>> gate.arm, gate.name, gate.sign, gate.bound
        ('bridge', 'recall@10', '>=', 0.8)
    """
    if match := _COMPARISON.fullmatch(text):
        if match["arm"] == _ROBUSTNESS:
            return _gate(text, match)
        if match["name"] not in _COMPARED and not match["name"].startswith("overlap@"):
            parse_metric(match["name"])
        if match["arm"] and match["arm"] not in ARMS:
            raise InputError(
                f"there is no arm '{match['arm']}'",
                where=f"gate {text!r}",
                mend=f"The arms are: {', '.join(ARMS)}",
            )
        return _gate(text, match)
    if match := _VERDICT.fullmatch(text):
        answers = [answer.strip() for answer in match["answers"].split(",")]
        unknown = [answer for answer in answers if answer not in set(Verdict)]
        if not unknown:
            return Gate(text.strip(), verdicts=frozenset(Verdict(answer) for answer in answers))
        raise InputError(
            f"{unknown[0]!r} is not a verdict",
            where=f"gate {text!r}",
            mend=f"The verdicts are: {', '.join(Verdict)}",
        )
    raise InputError(
        "the condition cannot be read",
        where=f"gate {text!r}",
        mend='Write for example "retention>=0.95", "rescore.recall@10>=0.8" or '
        '"verdict in (use the bridge, bridge and rescore)"',
    )


def _gate(text: str, match: re.Match[str]) -> Gate:
    return Gate(
        text.strip(), match["arm"] or None, match["name"], match["sign"], float(match["bound"])
    )


def asks_robustness(conditions: Iterable[str]) -> bool:
    """Whether a condition is about robustness, which then has to be measured."""
    return any(parse_gate(condition).arm == _ROBUSTNESS for condition in conditions)


def metrics_of(conditions: Iterable[str]) -> list[str]:
    """The metrics that conditions speak of, to be measured."""
    gates = [parse_gate(condition) for condition in conditions]
    named = [gate.name for gate in gates if gate.arm != _ROBUSTNESS]
    return [n for n in named if n not in (*_COMPARED, "verdict") and not n.startswith("overlap@")]


def check_gates(
    evaluation: Evaluation, conditions: Iterable[str] = DEFAULT_GATES
) -> list[GateResult]:
    """Hold every condition against ``evaluation``.

    A lower bound must be met by the low end of the interval, an upper bound by its high end.
    What is undefined, was not measured, or has no interval, fails.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import MeasuredArm, Measurement, weigh
        >>> from isthmus.evaluate.price import Price
        >>> hits = (np.arange(200) % 5 > 0).astype(float)[:, None]
        >>> arms = {
        ...     "old": MeasuredArm(hits),
        ...     "bridge": MeasuredArm(hits, Price()),
        ...     "control": MeasuredArm(0 * hits),
        ... }
        >>> measured = Measurement(
        ...     "relevance", arms, ("recall@1",), "recall@1", {"recall@1": 0.01}, 200, 100
        ... )
        >>> [gate.passed for gate in check_gates(weigh(measured), ["bridge.recall@1 >= 0.7"])]
        [True]
    """
    return [_check(evaluation, parse_gate(condition)) for condition in conditions]


def _check(evaluation: Evaluation, gate: Gate) -> GateResult:
    if gate.sign == "in":
        return GateResult(
            gate.condition, evaluation.verdict in gate.verdicts, str(evaluation.verdict)
        )
    if gate.arm == _ROBUSTNESS:
        held = evaluation.robustness
        condition = None if held is None else held.named(gate.name)
        if condition is None:
            return GateResult(gate.condition, False, "nothing: it was not measured")
        return _compared(gate, condition.change, f"{condition.name}: ")
    arm = gate.arm or evaluation.judged
    if arm not in evaluation.arms:
        why = evaluation.absent.get(arm, "it was not measured")
        return GateResult(gate.condition, False, f"nothing: {why}")
    estimate = _named(evaluation.arms[arm], gate)
    if estimate is None:
        known = ", ".join(f"{arm}.{name}" for name in evaluation.arms[arm].metrics)
        what = f"it was not measured; known: {known}" if known else "it was not measured"
        return GateResult(gate.condition, False, f"nothing: {what}")
    whose = f"{arm}: " if gate.arm is None and arm != "bridge" else ""
    return _compared(gate, estimate, whose)


def _compared(gate: Gate, estimate: Estimate, whose: str) -> GateResult:
    """By the careful end of the interval."""
    end = estimate.low if gate.sign in (">=", ">") else estimate.high
    passed = end is not None and _COMPARISONS[gate.sign](end, gate.bound)
    return GateResult(gate.condition, passed, f"{whose}{estimate}")


def _named(arm: Arm, gate: Gate) -> Estimate | None:
    comparisons = {
        "retention": arm.retention,
        "update_gain": arm.update_gain,
        "to_old": arm.to_old,
    }
    if gate.name in comparisons:
        return comparisons[gate.name]
    return arm.metrics.get(gate.name)
