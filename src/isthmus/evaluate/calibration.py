"""Do probabilities mean what they say: calibration error, Brier score, temperature."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from isthmus.array_types import Values
from isthmus.errors import InputError

__all__ = ["CalibrationReport", "calibration_report", "expected_calibration_error", "temperature"]


_MOST_BINS = 15
_ROWS_PER_BIN = 20
_LEAST = 1e-6


class CalibrationReport(BaseModel):
    """How well probabilities are calibrated, and what one temperature would mend.

    Example:
        >>> import numpy as np
        >>> said = np.repeat([0.2, 0.9], 500)
        >>> seen = np.concatenate([np.arange(500) % 5 == 0, np.arange(500) % 10 > 0])
        >>> calibration_report(said, seen).error
        0.0
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rows: int
    error: float
    """Expected calibration error, less what chance adds."""
    brier: float
    """Mean squared distance of probability and outcome; 0.25 for always saying one half."""
    temperature: float
    """Log odds are to be divided by it: above 1 where the probabilities are too sure."""
    error_at_temperature: float
    """The calibration error that would be left; fitted on the same rows."""


def calibration_report(predicted: NDArray[Any], observed: NDArray[Any]) -> CalibrationReport:
    """Judge probabilities ``(n,)`` in [0, 1] by what happened ``(n,)``, 0 or 1.

    Raises:
        InputError: as `expected_calibration_error`.
    """
    p, o = _probabilities(predicted, observed)
    heat = temperature(p, o)
    return CalibrationReport(
        rows=len(p),
        error=expected_calibration_error(p, o),
        brier=float(np.mean((p - o) ** 2)),
        temperature=heat,
        error_at_temperature=expected_calibration_error(_heated(p, heat), o),
    )


def expected_calibration_error(
    predicted: NDArray[Any], observed: NDArray[Any], *, bins: int | None = None
) -> float:
    """Mean distance between probabilities and how often the thing happened, less noise.

    ``Σ_b (n_b / n) |mean predicted − mean observed|`` (Naeini et al. 2015; Guo et al. 2017) over
    bins of equal mass (Nixon et al. 2019); equal predictions share a bin.  Even perfect
    probabilities differ from what happened in a bin by chance: their expected error,
    ``Σ_b √(2 Σ p (1 − p) / π) / n``, is taken off, in squares, since chance and error add up so.
    (Taken off as it is, an error of .10 among 200 rows would read .05.)

    Args:
        predicted: ``(n,)`` probabilities in [0, 1].
        observed: ``(n,)`` 0 and 1.
        bins: at the most; None for one per 20 rows, 15 at the most.

    Raises:
        InputError: for no rows, for shapes that differ, and for values outside [0, 1].

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> said = rng.uniform(size=2000)
        >>> happened = rng.uniform(size=2000) < said**2  # too high by a sixth on average
        >>> round(expected_calibration_error(said, happened), 2)
        0.17
    """
    p, o = _probabilities(predicted, observed)
    most = bins or min(_MOST_BINS, max(1, len(p) // _ROWS_PER_BIN))
    _, place = np.unique(p, return_inverse=True)
    mass = np.bincount(place)
    middle = (np.cumsum(mass) - mass / 2) / len(p)
    bin_of = np.minimum((middle * most).astype(np.int64), most - 1)[place]
    found = float(np.abs(np.bincount(bin_of, weights=p - o)).sum()) / len(p)
    variance = np.bincount(bin_of, weights=p * (1 - p))
    by_chance = float(np.sqrt(2 * variance / np.pi).sum()) / len(p)
    return float(np.sqrt(max(found**2 - by_chance**2, 0.0)))


def temperature(predicted: NDArray[Any], observed: NDArray[Any]) -> float:
    """What log odds are to be divided by to be most likely (Guo et al. 2017), in [0.05, 20].

    Raises:
        InputError: as `expected_calibration_error`.

    Example:
        >>> import numpy as np
        >>> round(temperature(np.full(100, 0.9), np.arange(100) % 10 > 0), 3)
        1.0
    """
    from scipy.optimize import minimize_scalar  # takes long to import

    p, o = _probabilities(predicted, observed)

    def loss(log_heat: float) -> float:
        q = np.clip(_heated(p, float(np.exp(log_heat))), _LEAST, 1 - _LEAST)
        return -float(np.mean(o * np.log(q) + (1 - o) * np.log1p(-q)))

    bound = float(np.log(20))
    found: Any = minimize_scalar(loss, bounds=(-bound, bound), method="bounded")
    return float(np.exp(found.x))


def _heated(p: Values, heat: float) -> Values:
    from scipy.special import expit, logit

    return expit(logit(np.clip(p, _LEAST, 1 - _LEAST)) / heat)


def _probabilities(predicted: NDArray[Any], observed: NDArray[Any]) -> tuple[Values, Values]:
    p, o = (np.asarray(v, dtype=np.float64) for v in (predicted, observed))
    if p.ndim != 1 or p.shape != o.shape:
        raise InputError(f"expected one value a row on both sides, found {p.shape} and {o.shape}")
    if not len(p):
        raise InputError("there are no rows to judge calibration on", mend="Give some")
    for name, values in (("predicted", p), ("observed", o)):
        wrong = ~((values >= 0) & (values <= 1))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise InputError(
                f"the value is {values[row]}, expected one in [0, 1]", where=f"{name}, row {row}"
            )
    return p, o
