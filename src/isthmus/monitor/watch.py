"""The monitor: live traffic against a bridge's contract, its evidence and a policy's bounds.

All tests may be looked at after every row; together they raise a false alarm, ever, with a chance
of at most the ``alpha`` that is stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus import artefact
from isthmus.bridge import Bridge
from isthmus.encoders import CanaryCheck
from isthmus.errors import InputError
from isthmus.evaluate.calibration import calibration_report
from isthmus.monitor.drift import FEWEST_REFERENCE, Drift
from isthmus.monitor.monitored import Monitored, TestResult
from isthmus.monitor.observations import Observations
from isthmus.monitor.retrieval import CanaryQueries, Retrieval
from isthmus.monitor.score_calibration import ScoreCalibration
from isthmus.monitor.sequential import MeanTest
from isthmus.registry import Bound, parse_bound
from isthmus.spaces.contract import Space
from isthmus.spaces.enforce import faults_of
from isthmus.spaces.profile import Profile
from isthmus.tensors import Tensors

__all__ = ["Watch"]

KIND = "monitor"
"""The kind of artefact."""
DEFAULT_BOUNDS = (
    "refused <= 0.01",
    "overconfidence <= 0.1",
    "scores.lenient <= 0.1",
    "scores.strict <= 0.1",
)
_FOREIGN = 8
"""Rows of a batch from which on its fingerprint is looked at."""
_DRIFT_SHARE = 0.5
"""Share of the allowed false alarms for drift; the bounds share the rest."""
_MOST_HISTORY = 2000
_MOST_BELIEVED, _FEWEST_BELIEVED = 5000, 50
"""Answers whose trust came true or not, for its calibration."""
_RETRIEVAL = "retrieval"
_SHIFTS = {"scores.lenient": 1, "scores.strict": -1}


class Watch:
    """A monitor that is fed, looked at, saved and taken up again.

    Args:
        bridge: whose traffic it is.
        side: whether the vectors are those that the bridge maps (``source``), or those of its
            target.
        bounds: of the monitored metrics: ``hit``, ``hit.GROUP``, ``gap.GROUP`` (how much worse a
            group is answered than the others), ``refused`` (vectors that break the contract),
            ``overconfidence`` (trust minus how often it came true), ``scores.lenient`` (the share
            of first results that passes translated thresholds, minus the share that passes the old
            ones by the old model's scores) and ``scores.strict`` (the contrary), ``retrieval``
            (what canary queries find).
        reference: vectors ``(n, d)`` of the healthy stream; without them the first ``baseline``
            rows of the stream itself.
        baseline: rows of the stream that become the reference where none is given.
        alpha: the chance of any false alarm, ever.
        way: the name of the arm that serves; by default the recommended one.

    Raises:
        InputError: for a bound that cannot be read, or too small a reference.

    Example:
        >>> import numpy as np
        >>> import isthmus
        >>> from isthmus.monitor import Observations, Watch
        >>> new = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> bridge = isthmus.fit(isthmus.Pairs(new, new[:, ::-1].copy()), recipe="procrustes")
        >>> watch = Watch(bridge, reference=new[:150])
        >>> watch.update(Observations("150", vectors=new[150:]))
        >>> watch.result().recommended[0]
        'nothing'
    """

    def __init__(
        self,
        bridge: Bridge,
        *,
        side: str = "source",
        bounds: Sequence[str] = DEFAULT_BOUNDS,
        reference: NDArray[Any] | None = None,
        baseline: int = 1000,
        alpha: float = 0.01,
        way: str | None = None,
    ) -> None:
        if baseline < FEWEST_REFERENCE:
            raise InputError(f"a baseline has {FEWEST_REFERENCE} rows or more", where="baseline")
        self.space, self._profile = _side(bridge, side)
        self.side = side
        self._map = bridge.chain.digest()
        self._trust = bridge.trust if side == "source" else None
        self._unit = self.space.metric == "cosine"
        self.alpha, self.baseline = alpha, baseline
        self.rows = self.results = 0
        self.cursor: str | None = None
        self.foreign = False
        self.history: list[tuple[int, str, float]] = []
        self._gathered = np.empty((0, self.space.dim), np.float32)
        self.own_reference = reference is None
        self.expected: tuple[str, ...] = ()
        stated = [parse_bound(bound) for bound in bounds]
        parsed = [bound for bound in stated if bound.name != _RETRIEVAL]
        self.asked = CanaryQueries(tuple(b for b in stated if b.name == _RETRIEVAL))
        self._believed = np.empty((0, 2), np.float32)
        self.scores = ScoreCalibration(bridge, way)
        each = alpha * (1 - _DRIFT_SHARE) / max(1, len(parsed))
        self._bounds = {str(b): (b, MeanTest(*_tested(b), alpha=each)) for b in parsed}
        self._waiting: dict[str, list[list[float]]] = {
            str(b): [[], []] for b in parsed if b.name.startswith("gap.")
        }
        self.drift = None if reference is None else self._drift(reference)

    @property
    def bounds(self) -> tuple[str, ...]:
        """All that are held."""
        return (*self._bounds, *map(str, self.asked.bounds))

    def expect(self, bounds: Sequence[str]) -> None:
        """Say for which bounds there must be values: `result` names those that have none.

        Raises:
            InputError: for a bound that is not held.
        """
        named = [str(parse_bound(bound)) for bound in bounds]
        if missing := set(named) - {*self.bounds}:
            raise InputError(f"the watch does not hold {' and '.join(sorted(missing))}")
        self.expected = tuple(dict.fromkeys((*self.expected, *named)))

    def _drift(self, reference: NDArray[Any]) -> Drift:
        return Drift(reference, unit=self._unit, alpha=self.alpha * _DRIFT_SHARE)

    def update(self, seen: Observations) -> None:
        """Look at some more of the traffic.

        Raises:
            InputError: for vectors of another width.
        """
        if seen.vectors is not None and len(seen.vectors):
            self._look_at(seen.vectors)
        if seen.hit:
            self.results += len(seen.hit)
            for bound, test in self._bounds.values():
                if bound.name == "hit":
                    test.update(np.array([hit for hit, _ in seen.hit]))
                elif bound.name.startswith("hit."):
                    group = bound.name.removeprefix("hit.")
                    test.update(np.array([hit for hit, g in seen.hit if g == group]))
                elif bound.name.startswith("gap."):
                    self._compare(str(bound), test, seen.hit)
        said = self._said(seen)
        if len(said):
            newest = np.concatenate([self._believed, said.astype(np.float32)])
            self._believed = newest[-_MOST_BELIEVED:]
            for bound, test in self._bounds.values():
                if bound.name == "overconfidence":
                    test.update((said[:, 0] - said[:, 1] + 1) / 2)
        shifts = self.scores.update(seen.scores)
        for bound, test in self._bounds.values():
            if bound.name in _SHIFTS:
                test.update((_SHIFTS[bound.name] * shifts + 1) / 2)
        self.cursor = seen.cursor
        self._remember()

    def _look_at(self, vectors: NDArray[Any]) -> None:
        healthy = self._healthy(vectors)
        self.rows += len(vectors)
        for bound, test in self._bounds.values():
            if bound.name == "refused":
                test.update(~healthy)
        rows = vectors[healthy]
        if len(rows) >= _FOREIGN and self._profile is not None and self._profile.is_foreign(rows):
            self.foreign = True
        if self.drift is None:
            self._gathered = np.concatenate([self._gathered, np.asarray(rows, np.float32)])
            if len(self._gathered) < self.baseline:
                return
            self.drift = self._drift(self._gathered[: self.baseline])
            rows, self._gathered = self._gathered[self.baseline :], self._gathered[:0]
        self.drift.update(rows)

    def _healthy(self, vectors: NDArray[Any]) -> NDArray[np.bool_]:
        """Which rows the contract does not refuse."""
        healthy: NDArray[np.bool_] = np.array(np.isfinite(vectors).all(axis=1))
        for faulty in faults_of(vectors, self.space, where="live vectors"):
            # under cosine a norm plays no part in a search
            plain = faulty.fault == "not_normalised" and self.space.metric == "cosine"
            if faulty.response == "reject" and not plain:
                healthy[faulty.rows] = False
        return healthy

    def _compare(self, key: str, test: MeanTest, hits: Sequence[tuple[float, str | None]]) -> None:
        """Pair each answer of a group with one of the others, in their order."""
        group = key.partition(" ")[0].removeprefix("gap.")
        own, others = self._waiting[key]
        own += [hit for hit, g in hits if g == group]
        others += [hit for hit, g in hits if g != group]
        n = min(len(own), len(others))
        if n:
            test.update((np.array(others[:n]) - np.array(own[:n]) + 1) / 2)
            del own[:n], others[:n]

    def _said(self, seen: Observations) -> NDArray[np.float64]:
        """Trust and whether it came true ``(n, 2)``; the bridge says what the log does not."""
        told: list[float] | None = None
        if seen.trusted is not None and self._trust is not None:
            told = np.asarray(self._trust(seen.trusted), np.float64).tolist()
        found: list[tuple[float, float]] = []
        at = 0
        for trust, same in seen.trust:
            if trust is None:
                if told is None:
                    continue
                trust, at = told[at], at + 1
            found.append((trust, same))
        return np.array(found, np.float64).reshape(-1, 2)

    def _remember(self) -> None:
        n = self.rows + self.results
        money = {key: test.most for key, (_, test) in self._bounds.items()}
        if self.drift is not None:
            for (name, _), test in self.drift.tests.items():
                money[name] = max(money.get(name, 0.0), test.most)
        self.history += [(n, name, round(value / np.log(10), 3)) for name, value in money.items()]
        if len(self.history) > _MOST_HISTORY:
            self.history = (
                self.history[: -_MOST_HISTORY // 2 : 2] + self.history[-_MOST_HISTORY // 2 :]
            )

    def result(
        self, canary: CanaryCheck | None = None, retrieval: Retrieval | None = None
    ) -> Monitored:
        """What the traffic so far says, beside a canary and canary queries that were asked now."""
        tests = [
            TestResult(b.name, key, t.n, _told(b, t.mean), t.p, t.alpha, t.alarm)
            for key, (b, t) in self._bounds.items()
        ]
        if self.drift is not None:
            for (name, side), t in self.drift.tests.items():
                words = f"mean rank of {name} is {side} {t.bound:.3f}"
                tests.append(TestResult(name, words, t.n, t.mean, t.p, t.alpha, t.alarm))
        tested = {test.hypothesis for test in tests if test.n}
        if retrieval is not None:
            tested |= set(map(str, self.asked.bounds))
        return Monitored(
            self.rows,
            self.results,
            tuple(tests),
            None if self.drift is None else self.drift.difference(),
            self.baseline if self.own_reference and self.drift is not None else 0,
            canary,
            self.foreign,
            retrieval,
            calibration_report(*self._believed.T)
            if len(self._believed) >= _FEWEST_BELIEVED
            else None,
            self.scores.report(),
            tuple(self.history),
            tuple(bound for bound in self.expected if bound not in tested),
        )

    # ---- disk ----------------------------------------------------------------------------------

    @staticmethod
    def check_place(path: str | Path) -> None:
        """Refuse, before any work is spent, a folder that `save` could not write or replace.

        Raises:
            OutputError: as `isthmus.artefact.check_place`.
        """
        artefact.check_place(Path(path), KIND, overwrite=True)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder from which `load` goes on; see `isthmus.artefact`.

        Raises:
            OutputError: as `isthmus.artefact.write`.
        """
        drift, tensors = (None, {}) if self.drift is None else self.drift.as_state()
        content = {
            "space": self.space.fingerprint,
            "map": self._map,
            "side": self.side,
            "alpha": self.alpha,
            "baseline": self.baseline,
            "own_reference": self.own_reference,
            "rows": self.rows,
            "results": self.results,
            "cursor": self.cursor,
            "foreign": self.foreign,
            "history": [list(entry) for entry in self.history],
            "expected": list(self.expected),
            "bounds": [[key, test.as_state()] for key, (_, test) in self._bounds.items()],
            "waiting": self._waiting,
            "drift": drift,
            "scores": self.scores.as_state(),
            "asked": {"bounds": [str(b) for b in self.asked.bounds], "first": self.asked.first},
        }
        held = {
            "gathered": self._gathered,
            "believed": self._believed,
            **artefact.prefixed("drift", tensors),
        }
        artefact.write(Path(path), KIND, content, held, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path, bridge: Bridge, *, side: str | None = None) -> Watch:
        """What `save` wrote, for the same bridge; by default for the side that it watches.

        Raises:
            InputError: for anything else: what one bridge found says nothing of another.
        """
        with artefact.read(Path(path), KIND) as stored:
            found = cls._unpacked(stored.content, stored.tensors, bridge, side)
            own, content = found.space.fingerprint, stored.content
            what = "vectors of another contract" if content["space"] != own else "another bridge"
            # states did not always say whose they are
            if content["space"] != own or content.get("map", found._map) != found._map:
                raise InputError(
                    f"it watches {what}",
                    where=str(path),
                    mend="Give the bridge that it was begun with, or begin another watch (--state)",
                )
            return found

    @classmethod
    def _unpacked(
        cls, content: Mapping[str, Any], tensors: Tensors, bridge: Bridge, side: str | None
    ) -> Watch:
        asked = content["asked"]
        bounds = [*(key for key, _ in content["bounds"]), *asked["bounds"]]
        # states did not always say it
        is_target = content["space"] == bridge.target.fingerprint != bridge.source.fingerprint
        own = content.get("side", "target" if is_target else "source")
        found = cls(
            bridge,
            side=own if side is None else side,
            bounds=bounds,
            baseline=int(content["baseline"]),
            alpha=float(content["alpha"]),
            way=content["scores"]["way"],
        )
        found.scores.restore(content["scores"])
        found.own_reference = bool(content["own_reference"])
        found.rows, found.results = int(content["rows"]), int(content["results"])
        found.cursor = content["cursor"]
        found.foreign = bool(content["foreign"])
        stated = (bound for bound in found.bounds if bound not in DEFAULT_BOUNDS)
        found.expect(content.get("expected", [*stated]))
        found.history = [(int(n), str(name), float(v)) for n, name, v in content["history"]]
        found._bounds = {
            key: (parse_bound(key), MeanTest.of_state(state)) for key, state in content["bounds"]
        }
        found._waiting = {
            key: [[float(v) for v in side] for side in sides]
            for key, sides in content["waiting"].items()
        }
        found._gathered, found._believed = tensors["gathered"], tensors["believed"]
        found.asked = CanaryQueries(found.asked.bounds, first=asked["first"])
        if content["drift"] is not None:
            found.drift = Drift.of_state(content["drift"], tensors.under("drift"))
        return found


def _side(bridge: Bridge, side: str) -> tuple[Space, Profile | None]:
    if side == "source":
        return bridge.source, bridge.source_profile
    if side == "target":
        return bridge.target, bridge.target_profile
    raise InputError(f"a bridge has no side '{side}'", mend="Use source or target")


def _tested(bound: Bound) -> tuple[float, Any]:
    """The mean that is tested, and the side of the hypothesis."""
    mean = (bound.bound + 1) / 2 if _signed(bound) else bound.bound
    return mean, "at least" if bound.sign == ">=" else "at most"


def _told(bound: Bound, mean: float | None) -> float | None:
    return None if mean is None else 2 * mean - 1 if _signed(bound) else mean


def _signed(bound: Bound) -> bool:
    """Whether it is of a difference, from -1 to 1, and not of a share."""
    return bound.name in ("overconfidence", *_SHIFTS) or bound.name.startswith("gap.")
