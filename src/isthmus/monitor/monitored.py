"""What a look at the traffic found, and what it recommends."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from isthmus.encoders import CanaryCheck
from isthmus.evaluate.calibration import CalibrationReport
from isthmus.monitor.retrieval import Retrieval
from isthmus.monitor.score_calibration import ScoreReport
from isthmus.monitor.two_sample import SampleDifference

__all__ = ["Advice", "Monitored", "TestResult"]

_SMALLEST_P = 1e-99
_MOSTLY = 0.5
Advice = str
"""``nothing``, ``refit`` or ``roll back``."""


@dataclass(frozen=True)
class TestResult:
    """One test as it stands.

    Example:
        >>> from isthmus.monitor import TestResult
        >>> test = TestResult("hit", "hit >= 0.8", 500, 0.7, p=0.0004, alpha=0.01, alarm=True)
        >>> test.p_as_text
        '0.0004'
    """

    name: str
    hypothesis: str
    n: int
    mean: float | None
    p: float
    """The p-value, valid at every look: 1 over the largest bet that was won (`MeanTest`)."""
    alpha: float
    alarm: bool

    @property
    def p_as_text(self) -> str:
        """``p`` for people; it is never 0, however strong the evidence."""
        return f"below {_SMALLEST_P:.0e}" if self.p < _SMALLEST_P else f"{self.p:.2g}"


@dataclass(frozen=True)
class Monitored:
    """What a look found.

    Example:
        >>> import numpy as np
        >>> import isthmus
        >>> from isthmus.monitor import Observations, Watch
        >>> new = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> bridge = isthmus.fit(isthmus.Pairs(new, new[:, ::-1].copy()), recipe="procrustes")
        >>> watch = Watch(bridge, bounds=["hit >= 0.8"], reference=new[:150])
        >>> watch.update(Observations("400", hit=((0.0, None),) * 400))
        >>> found = watch.result()
        >>> found.alarms, found.recommended[0]
        (('bound hit >= 0.8 is broken',), 'roll back')
    """

    rows: int
    """Vectors that were looked at since the watch began."""
    results: int
    """Answers, likewise."""
    tests: tuple[TestResult, ...]
    difference: SampleDifference | None
    """Effect sizes of the newest rows against the reference."""
    baseline: int
    """Rows of the stream itself that became the reference; 0 where one was given."""
    canary: CanaryCheck | None
    foreign: bool
    """Whether rows came that another model made, by the bridge's fingerprint."""
    retrieval: Retrieval | None
    """What canary queries found; None where none were asked."""
    calibration: CalibrationReport | None
    """Calibration of trust, over the newest answers of which it is known whether it came true."""
    scores: ScoreReport | None
    """What passes translated thresholds, beside what passes the old ones."""
    history: tuple[tuple[int, str, float], ...]
    """After how many observations which test had how much evidence, as a power of ten."""
    untested: tuple[str, ...] = ()
    """Bounds that were stated, and of which no value came: nothing is known of them."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is wrong, the gravest first."""
        found = [
            f"bound {t.hypothesis} is broken" for t in self.tests if t.alarm and not _drifts(t)
        ]
        if self.retrieval is not None:
            found = [*self.retrieval.alarms, *found]
        if self.canary is not None and not self.canary.same:
            found.insert(0, f"canary: {self.canary}")
        if self.foreign:
            found.insert(0, "vectors of another model came, by the bridge's fingerprint")
        drifting = [t.name for t in self.tests if t.alarm and _drifts(t)]
        return (
            *found,
            *(f"{name} drifted away from the reference" for name in dict.fromkeys(drifting)),
        )

    @property
    def recommended(self) -> tuple[Advice, str]:
        """What to do, and why."""
        if self.foreign or (self.canary is not None and not self.canary.same):
            return "roll back", (
                "the model that answers is not the one of the fit: go back to what served before, "
                "and fit a bridge for the model that answers now"
            )
        broken = [t.hypothesis for t in self.tests if t.alarm and not _drifts(t)]
        if broken:
            return "roll back", f"live results break {' and '.join(broken)}"
        if self.retrieval is not None and self.retrieval.alarms:
            return "roll back", self.retrieval.alarms[0]
        if self.alarms and self.difference is not None and self.difference.repeated > _MOSTLY:
            return "nothing", (
                f"{self.difference.repeated:.0%} of the newest vectors are one and the same, which "
                "is a probe, a retry or a robot and no new demand: keep it out of the log, and "
                "begin another watch"
            )
        if self.lengths_alone:
            return "refit", (
                "only the lengths of vectors have changed, and no bound is broken: see first "
                "whether they are still normalised as they were; where cosine compares them, "
                "nothing else is to be done"
            )
        if self.alarms:
            return "refit", (
                "what is asked has changed, and no bound is broken: fit again on a few new pairs, "
                "staying near the running bridge (isthmus fit --prior)"
            )
        if self.untested:
            return "nothing", (
                f"nothing is known of {' and '.join(self.untested)}, and nothing else differs from "
                "the reference by more than chance"
            )
        return "nothing", self.unknown or "nothing differs from the reference by more than chance"

    @property
    def unknown(self) -> str | None:
        """Why the tests can say nothing yet; None where they can."""
        if not any(test.n for test in self.tests) and self.canary is self.retrieval is None:
            if self.results:
                return "nothing was looked at: no bound is of the answers that came"
            return "nothing was looked at: no line held a vector, an answer, trust or scores"
        if self.rows and not any(_drifts(test) for test in self.tests):
            return (
                "no bound is broken; the first vectors of the stream become its reference, and "
                f"{self.rows:,} are too few to look for drift"
            )
        return None

    @property
    def lengths_alone(self) -> bool:
        """Whether only lengths of vectors drift, and no bound is broken."""
        return {test.name for test in self.tests if test.alarm} == {"length"}

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        action, why = self.recommended
        return {
            "alarm": bool(self.alarms),
            "alarms": list(self.alarms),
            "untested": list(self.untested),
            "recommended": action,
            "why": why,
            "rows": self.rows,
            "results": self.results,
            "baseline": self.baseline,
            "tests": [asdict(test) for test in self.tests],
            "difference": None if self.difference is None else asdict(self.difference),
            "canary": None if self.canary is None else self.canary.as_dict(),
            "foreign": self.foreign,
            "retrieval": None if self.retrieval is None else asdict(self.retrieval),
            "calibration": None
            if self.calibration is None
            else self.calibration.model_dump(mode="json"),
            "scores": None if self.scores is None else asdict(self.scores),
        }


def _drifts(test: TestResult) -> bool:
    return test.hypothesis.startswith("mean rank of ")
