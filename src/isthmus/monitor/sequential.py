"""A test that may be looked at after every observation: betting on a bounded mean.

Against the hypothesis that values in [0, 1] have a mean of at most ``m`` one bets, at each value
``x``, a share ``λ ≤ 1/m`` of the money on ``x > m``: the money multiplies by ``1 + λ (x − m)``.
While the hypothesis holds, no strategy makes money in expectation, so the chance that it ever
grows ``1/α``-fold is at most ``α``, however often one looks (Ville's inequality).

The money is spread over a fixed grid of shares, and over the times at which betting begins: most of
what is bet today was not lost yesterday, so that a bound which is broken after a long good time is
noticed almost as soon as one that is broken from the start.

Sources: Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, JRSS B
86 (2024), sections 4 and B; the mixture over starts is that of Shin, Ramdas and Rinaldo,
*E-detectors*, NEJSDS 2 (2024), with weights that sum to 1, so that it stays an e-process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from isthmus.errors import InputError

__all__ = ["Direction", "MeanTest"]

Direction = Literal["at most", "at least"]
"""What the hypothesis says of the mean: it is at most the bound, or at least."""

_SHARES = np.geomspace(0.002, 0.95, 24)
"""Stakes, as shares of the largest one that cannot lose more than everything."""
_BLOCK = 4096
_WEIGHTS_SUM = 2.10975
"""Above the sum of ``1 / (k ln² k)`` over all k from 2 on."""
_FIELDS = {"bound", "direction", "alpha", "n", "total", "most", "started", "log_wealth"}


def _nothing() -> NDArray[np.float64]:
    return np.full(len(_SHARES), -np.inf)


@dataclass
class MeanTest:
    """Money against "the mean of values in [0, 1] is at most (at least) ``bound``".

    The values may depend on each other; what is tested is their mean given all before.  `update`
    may be called with any number of values at a time: each is looked at.

    Args:
        bound: strictly between 0 and 1.
        direction: what the hypothesis says.
        alpha: the chance of an alarm, ever, while it holds.

    Raises:
        InputError: for a bound or a chance outside (0, 1).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> test = MeanTest(0.9, "at least", alpha=0.01)
        >>> test.update(rng.random(2000) < 0.93)
        False
        >>> test.update(rng.random(300) < 0.7)
        True
    """

    bound: float
    direction: Direction
    alpha: float = 0.01
    n: int = 0
    total: float = 0.0
    most: float = 0.0
    """The largest natural logarithm that the money ever had."""
    started: float = 0.0
    """The part of the money whose betting has begun."""
    log_wealth: NDArray[np.float64] = field(default_factory=_nothing)
    """The logarithm of the money of the bets that have begun, by stake of the grid."""

    def __post_init__(self) -> None:
        for name in ("bound", "alpha"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{getattr(self, name)} is not between 0 and 1", where=name)

    def update(self, values: NDArray[Any]) -> bool:
        """Bet on each of ``values (n,)`` and look after each: whether there is, or was, an alarm.

        Raises:
            InputError: for values outside [0, 1].
        """
        x = np.asarray(values, dtype=np.float64).reshape(-1)
        if len(x) and not (x.min() >= 0 and x.max() <= 1):
            raise InputError("the values of a bounded mean lie in [0, 1]", where="values")
        gain, room = (x - self.bound, self.bound)
        if self.direction == "at least":
            gain, room = -gain, 1 - self.bound
        for start in range(0, len(gain), _BLOCK):
            self._bet(gain[start : start + _BLOCK], room)
        self.total += float(x.sum())
        return self.alarm

    def _bet(self, gain: NDArray[np.float64], room: float) -> None:
        begun = np.arange(self.n + 2, self.n + 2 + len(gain), dtype=np.float64)
        log_weights = -np.log(_WEIGHTS_SUM * begun * np.log(begun) ** 2)
        stakes = np.log1p(gain[:, None] * (_SHARES / room))
        growth = np.cumsum(stakes, axis=0)
        # what begins at a value is bet on that value already
        brought = np.concatenate([self.log_wealth[None], log_weights[:, None] - growth + stakes])
        path = np.logaddexp.accumulate(brought, axis=0)[1:] + growth
        started = self.started + np.cumsum(np.exp(log_weights))
        self.log_wealth, self.started = path[-1].copy(), float(started[-1])
        self.n += len(gain)
        self.most = max(self.most, float(_money(path, started).max()))

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value now: of the money, having begun with 1."""
        return float(_money(self.log_wealth[None], np.array([self.started]))[0])

    @property
    def alarm(self) -> bool:
        """Whether the money ever stood at ``1/α`` or more."""
        return bool(self.most >= -np.log(self.alpha))

    @property
    def p(self) -> float:
        """The anytime-valid p-value: 1 over the most money there was."""
        return float(min(1.0, np.exp(-self.most)))

    @property
    def mean(self) -> float | None:
        """The mean of the values so far; None before the first."""
        return self.total / self.n if self.n else None

    def as_state(self) -> dict[str, Any]:
        """JSON from which `of_state` goes on."""
        return {
            "bound": self.bound,
            "direction": self.direction,
            "alpha": self.alpha,
            "n": self.n,
            "total": self.total,
            "most": self.most,
            "started": self.started,
            "log_wealth": self.log_wealth.tolist() if self.n else [],
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> MeanTest:
        """What `as_state` gave.

        Raises:
            InputError: for anything else.
        """
        try:
            n, wealth = int(state["n"]), np.array(state["log_wealth"], np.float64)
            if wealth.shape != ((len(_SHARES),) if n else (0,)) or not np.isfinite(wealth).all():
                raise ValueError("another grid")
            if state["direction"] not in ("at most", "at least") or set(state) != _FIELDS:
                raise ValueError("other fields")
            rest = {
                name: float(state[name]) for name in ("bound", "alpha", "total", "most", "started")
            }
            return cls(
                direction=state["direction"], n=n, log_wealth=wealth if n else _nothing(), **rest
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no state of a test ({error})") from error


def _money(log_wealth: NDArray[np.float64], started: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of all money: what was bet ``(n, shares)``, and what has not begun ``(n,)``."""
    bet = logsumexp(log_wealth, axis=1) - np.log(len(_SHARES))
    return np.asarray(np.logaddexp(bet, np.log1p(-np.minimum(started, 1 - 1e-12))), np.float64)
