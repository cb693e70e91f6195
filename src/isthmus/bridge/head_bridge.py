"""A bridge made for one consumer: vectors of the new model that fit the old head.

A map that brings all of a vector near its target spends most of what it can on directions that a
classifier's head never looks at.  Where the head is affine (logistic and ridge regression, linear
support vectors, a scaler before them), it sees ``W z`` alone: its outputs are fitted for themselves
from the new vectors, towards what the head said of the old ones or towards known answers, and the
rest of the vector stays where least squares puts it.  The head is left as it is.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.adapters.chain.affine import Affine
from isthmus.array_types import Values
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.provenance import Provenance
from isthmus.errors import InputError
from isthmus.evaluate.consumers import classes_like, kind_of_consumer, numbers_of

__all__ = ["fit_head_bridge"]

_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_RIDGE = 1e-3
_HELD_BACK = 0.2
_STEPS = 200


class _Head(NamedTuple):
    """``z ↦ z @ weights + offset``, and how its outputs are read."""

    weights: Values
    """``(d, c)``"""
    offset: Values
    """``(c,)``"""
    classes: NDArray[Any] | None
    """None for a regressor."""


def fit_head_bridge(
    bridge: Bridge,
    head: Any,
    new: NDArray[Any],
    old: NDArray[Any],
    answers: NDArray[Any] | None = None,
    *,
    seed: int = 0,
) -> Bridge:
    """A bridge whose mapped vectors make an affine head say what it should.

    Its outputs are fitted by cross-entropy (classifier) or squared error (regressor) with a ridge
    towards those of the least-squares map; how strong, is chosen on a fifth of the rows, and the
    least-squares map is among the candidates.

    Args:
        bridge: whose two spaces it joins.
        head: a classifier or regressor of target vectors, affine in them.
        new: source vectors of the fit ``(n, dx)``.
        old: target vectors of the same items ``(n, dy)``.
        answers: what is right ``(n,)``; None to say what the head says of the target vectors.
        seed: of the rows that are held back.

    Returns:
        A bridge without evidence: judge it on rows that were not given here.

    Raises:
        InputError: for a head that is not affine, and for too few rows.
    """
    if len(new) < 20 or len(new) != len(old):
        raise InputError(f"{len(new)} and {len(old)} rows to fit a head bridge on")
    read = _affine_head(head, old)
    x, y = (np.asarray(v, dtype=np.float64) for v in (new, old))
    wanted = _wanted(head, read, y, answers)
    base = _least_squares(x, y)
    held = np.random.default_rng(seed).permutation(len(x)) < _HELD_BACK * len(x)
    start = base[0] @ read.weights, base[1] @ read.weights + read.offset
    fits = {None: start}
    fits |= {p: _outputs(x[~held], wanted[~held], start, p, read) for p in _PENALTIES}
    losses = {p: _loss(x[held] @ a + b, wanted[held], read) for p, (a, b) in fits.items()}
    best = min(losses, key=lambda p: losses[p])
    outputs = start if best is None else _outputs(x, wanted, start, best, read)
    back = np.linalg.pinv(read.weights)
    matrix = base[0] + (outputs[0] - start[0]) @ back
    offset = base[1] + (outputs[1] - start[1]) @ back
    return replace(
        bridge,
        chain=Chain([Affine(matrix, offset)]).rounded(),
        recipe=None,
        evidence=None,
        tried=(),
        ways={},
        nested_ways={},
        trust=None,
        thresholds=None,
        provenance=Provenance(fit=bridge.provenance.fit),
    )


def _affine_head(head: Any, old: NDArray[Any]) -> _Head:
    """The affine function that a head computes, whatever it is made of."""
    kind = kind_of_consumer(head)
    if kind not in ("classifier", "regressor"):
        raise InputError(f"a head bridge is made for a classifier or a regressor, not for a {kind}")
    asks = head.predict if kind == "regressor" else getattr(head, "decision_function", None)
    if asks is None:
        raise _not_affine(head)
    d = old.shape[1]
    at = np.vstack([np.zeros((1, d)), np.eye(d), np.asarray(old[:50], dtype=np.float64)])
    found = np.asarray(asks(at), dtype=np.float64).reshape(len(at), -1)
    offset, weights = found[0], found[1 : d + 1] - found[0]
    expected = at[d + 1 :] @ weights + offset
    if not np.allclose(expected, found[d + 1 :], rtol=1e-3, atol=1e-3 * np.abs(found).max()):
        raise _not_affine(head)
    return _Head(weights, offset, getattr(head, "classes_", None))


def _not_affine(head: Any) -> InputError:
    return InputError(
        f"this {type(head).__name__} is not affine in the vectors",
        mend="Give a linear head, such as logistic or ridge regression; others take the bridge",
    )


def _wanted(head: Any, read: _Head, old: Values, answers: NDArray[Any] | None) -> Values:
    """What the outputs are to be: probabilities ``(n, c)``, or numbers ``(n, c)``."""
    own = old @ read.weights + read.offset
    if read.classes is None:
        return own if answers is None else numbers_of(np.asarray(answers)).reshape(len(own), -1)
    if answers is None:
        return _probabilities(own)
    said = classes_like(np.asarray(answers), read.classes.dtype)
    if not (known := np.isin(said, read.classes)).all():
        raise InputError(
            f"the head has no class {said[~known][:1].tolist()[0]!r}",
            where="answers",
            mend="Call the classes what the classifier calls them: "
            + ", ".join(map(str, read.classes[:5].tolist())),
        )
    place = np.searchsorted(read.classes, said)
    if own.shape[1] == 1:
        return place[:, None].astype(np.float64)
    return np.eye(own.shape[1])[place]


def _probabilities(outputs: Values) -> Values:
    from scipy.special import expit, softmax

    return expit(outputs) if outputs.shape[1] == 1 else softmax(outputs, axis=1)


def _least_squares(x: Values, y: Values) -> tuple[Values, Values]:
    mean_x, mean_y = x.mean(axis=0), y.mean(axis=0)
    centred = x - mean_x
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / len(gram)
    matrix = scipy.linalg.solve(gram, centred.T @ (y - mean_y), assume_a="pos")
    return matrix, mean_y - mean_x @ matrix


def _outputs(
    x: Values, wanted: Values, start: tuple[Values, Values], penalty: float, read: _Head
) -> tuple[Values, Values]:
    """Affine outputs ``(dx, c)``, ``(c,)`` of least loss, with a ridge towards ``start``."""
    from scipy.optimize import minimize

    scale = np.maximum(x.std(axis=0), 1e-12)
    rows, first = (x - x.mean(axis=0)) / scale, x @ start[0] + start[1]
    d, c = start[0].shape

    def objective(flat: Values) -> tuple[float, Values]:
        moved = flat.reshape(d + 1, c)
        outputs = first + rows @ moved[:-1] + moved[-1]
        gap = (outputs if read.classes is None else _probabilities(outputs)) - wanted
        gradient = np.vstack([rows.T @ gap, gap.sum(axis=0)]) / len(x)
        gradient[:-1] += penalty * moved[:-1]
        value = _loss(outputs, wanted, read) + penalty * float(np.square(moved[:-1]).sum()) / 2
        return value, gradient.ravel()

    found: Any = minimize(
        objective,
        np.zeros((d + 1) * c),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": _STEPS},
    )
    moved = found.x.reshape(d + 1, c)
    matrix = moved[:-1] / scale[:, None]
    return start[0] + matrix, start[1] + moved[-1] - x.mean(axis=0) @ matrix


def _loss(outputs: Values, wanted: Values, read: _Head) -> float:
    from scipy.special import log_softmax

    if read.classes is None:
        return float(np.square(outputs - wanted).sum(axis=1).mean() / 2)
    if outputs.shape[1] == 1:
        return float((np.logaddexp(0, outputs) - wanted * outputs).mean())
    return float(-(wanted * log_softmax(outputs, axis=1)).sum(axis=1).mean())
