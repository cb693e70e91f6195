"""How often and after what delay a request to a server is made again."""

from __future__ import annotations

import email.utils
import time
from dataclasses import dataclass

import numpy as np

from isthmus.errors import InputError, ServiceError

__all__ = ["Refused", "Retry", "Transient", "retry_after"]


class Refused(ServiceError):
    """A request that the server will not do as it is, such as one with too many texts, or a text
    that is too long: a part of it may be done."""


class Transient(Exception):
    """A failure that may pass: the same request can be made again.

    Attributes:
        what: one clause that names the failure.
        wait: seconds the server asks to wait, if it says.
        charged: whether the server may have done, and counted, the work.
    """

    def __init__(self, what: str, *, wait: float | None = None, charged: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.wait = wait
        self.charged = charged


@dataclass(frozen=True)
class Retry:
    """Bounded attempts with exponential back-off and full jitter.

    Before attempt ``i + 1`` a request waits ``u · min(most, first · 2^i)`` seconds with ``u``
    uniform in [0, 1), so that clients that failed together do not come back together (Brooker
    2015, "Exponential Backoff And Jitter"), and never less than the server asks for.

    Attributes:
        attempts: requests made in all, at least 1.
        first: seconds, the widest first delay.
        most: seconds, the longest delay; a server that asks for more is taken at its word and the
            request given up.
        seed: of the jitter.

    Example:
        >>> Retry(attempts=2).delay(2, Transient("busy"), Retry().rng()) is None
        True
    """

    attempts: int = 6
    first: float = 0.5
    most: float = 60.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.attempts < 1 or self.first < 0 or self.most < 0:
            raise InputError(
                f"{self} cannot be followed",
                mend="At least one attempt, and delays that are not negative",
            )

    def rng(self) -> np.random.Generator:
        """A new generator for the jitter."""
        return np.random.default_rng(self.seed)

    def delay(self, failures: int, failure: Transient, rng: np.random.Generator) -> float | None:
        """Seconds to wait after the given number of ``failures``; None to give up."""
        if failures >= self.attempts or (failure.wait or 0.0) > self.most:
            return None
        jitter = rng.random() * min(self.most, self.first * 2.0 ** (failures - 1))
        return max(jitter, failure.wait or 0.0)


def retry_after(header: str | None) -> float | None:
    """The seconds of an HTTP ``Retry-After``, a number or a date (RFC 9110, section 10.2.3).

    Returns None for an absent or unreadable one.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if np.isfinite(seconds) else None
