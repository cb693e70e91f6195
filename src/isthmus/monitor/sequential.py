"""A test that may be looked at after every observation: betting on a bounded mean.

Against the hypothesis that values in [0, 1] have a mean of at most ``m`` one bets, at each value
``x``, a share ``λ ≤ 1/m`` of the money on ``x > m``: the money multiplies by ``1 + λ (x − m)``.
While the hypothesis holds, no strategy makes money in expectation, so the chance that it ever
grows ``1/α``-fold is at most ``α``, however often one looks (Ville's inequality).  The money is
spread over a fixed grid of shares, so that no share must be chosen.

Source: Waudby-Smith and Ramdas, *Estimating means of bounded random variables by betting*, JRSS B
86 (2024), sections 4 and B; the grid is a discrete mixture as in their section 4.3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from isthmus.errors import InputError

__all__ = ["MeanTest", "Side"]

Side = Literal["at most", "at least"]
"""What the hypothesis says of the mean: it is at most the bound, or at least."""

_SHARES = np.geomspace(0.002, 0.95, 24)
"""Of the largest stake that cannot lose more than everything."""
_BLOCK = 4096


@dataclass
class MeanTest:
    """Money against "the mean of values in [0, 1] is at most (at least) ``bound``".

    The values may depend on each other; what is tested is their mean given all before.  `update`
    may be called with any number of values at a time: each is looked at.

    Args:
        bound: strictly between 0 and 1.
        side: what the hypothesis says.
        alpha: the chance of an alarm, ever, while it holds.

    Raises:
        InputError: for a bound or a chance outside (0, 1).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> test = MeanTest(0.9, "at least", alpha=0.01)
        >>> test.update(rng.random(2000) < 0.93)
        False
        >>> test.update(rng.random(2000) < 0.8)
        True
    """

    bound: float
    side: Side
    alpha: float = 0.01
    n: int = 0
    total: float = 0.0
    log_wealth: NDArray[np.float64] | None = None
    """Of each share of the grid."""
    most: float = 0.0
    """The largest natural logarithm that the money ever had."""

    def __post_init__(self) -> None:
        for name in ("bound", "alpha"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{getattr(self, name)} is not between 0 and 1", where=name)
        if self.log_wealth is None:
            self.log_wealth = np.zeros(len(_SHARES))

    def update(self, values: NDArray[Any]) -> bool:
        """Bet on each of ``values (n,)`` and look after each: whether there is, or was, an alarm.

        Raises:
            InputError: for values outside [0, 1].
        """
        x = np.asarray(values, dtype=np.float64).reshape(-1)
        if len(x) and not (x.min() >= 0 and x.max() <= 1):
            raise InputError("the values of a bounded mean lie in [0, 1]", where="values")
        assert self.log_wealth is not None
        gain, room = (x - self.bound, self.bound)
        if self.side == "at least":
            gain, room = -gain, 1 - self.bound
        self.n += len(x)
        self.total += float(x.sum())
        for start in range(0, len(gain), _BLOCK):
            stakes = np.log1p(gain[start : start + _BLOCK, None] * (_SHARES / room))
            path = np.cumsum(stakes, axis=0) + self.log_wealth
            self.log_wealth = path[-1].copy()
            self.most = max(self.most, float(_mixed(path).max()))
        return self.alarm

    @property
    def log_e(self) -> float:
        """The natural logarithm of the e-value now: of the money, having begun with 1."""
        assert self.log_wealth is not None
        return float(_mixed(self.log_wealth[None, :])[0])

    @property
    def alarm(self) -> bool:
        """Whether the money ever stood at ``1/α`` or more."""
        return self.most >= -np.log(self.alpha)

    @property
    def p(self) -> float:
        """The anytime-valid p-value: 1 over the most money there was."""
        return float(min(1.0, np.exp(-self.most)))

    @property
    def mean(self) -> float | None:
        """Of the values so far; None before the first."""
        return self.total / self.n if self.n else None

    def as_state(self) -> dict[str, Any]:
        """JSON from which `of_state` goes on."""
        assert self.log_wealth is not None
        return {
            "bound": self.bound,
            "side": self.side,
            "alpha": self.alpha,
            "n": self.n,
            "total": self.total,
            "most": self.most,
            "log_wealth": self.log_wealth.tolist(),
        }

    @classmethod
    def of_state(cls, state: Mapping[str, Any]) -> MeanTest:
        """What `as_state` gave.

        Raises:
            InputError: for anything else.
        """
        try:
            wealth = np.array(state["log_wealth"], np.float64)
            if wealth.shape != _SHARES.shape or not np.isfinite(wealth).all():
                raise ValueError("another grid")
            if state["side"] not in ("at most", "at least") or set(state) != _FIELDS:
                raise ValueError("other fields")
            rest = {name: float(state[name]) for name in ("bound", "alpha", "total", "most")}
            return cls(side=state["side"], n=int(state["n"]), log_wealth=wealth, **rest)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is no state of a test ({error})") from error


def _mixed(log_wealth: NDArray[np.float64]) -> NDArray[np.float64]:
    """The logarithm of the mean over the grid ``(n, shares)``."""
    return np.asarray(logsumexp(log_wealth, axis=1) - np.log(len(_SHARES)), np.float64)


_FIELDS = {"bound", "side", "alpha", "n", "total", "most", "log_wealth"}
