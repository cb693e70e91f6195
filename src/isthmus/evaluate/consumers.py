"""What becomes of whatever eats the vectors, other than a search: does it still work after a swap?

A classifier, a regressor or a clustering was made on the vectors of one model (for rerankers see
`isthmus.evaluate.rerankers`).  It is given, unchanged, vectors that stand in for those: mapped by a
bridge, or of the new model as they are.  What counts is not accuracy alone: an answer that was
right and becomes wrong (a *negative flip*: Yan et al. 2021, "Positive-Congruent Training") hurts
even where as many become right.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from isthmus.array_types import AnyArray, Values
from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Estimate, Resampling, resampled_means
from isthmus.evaluate.calibration import expected_calibration_error

__all__ = [
    "OWN",
    "ConsumerArm",
    "ConsumerKind",
    "ConsumerReport",
    "FittedEstimator",
    "checked_arms",
    "classes_like",
    "flips",
    "judge_consumer",
    "kind_of_consumer",
    "numbers_of",
    "refused",
    "share",
]

ConsumerKind = Literal["classifier", "regressor", "clustering", "reranker"]
OWN = "own"
"""The arm of the vectors that the consumer was made on."""

_DRAWS = 4000
_ARI_DRAWS = 200


@runtime_checkable
class FittedEstimator(Protocol):
    """What scikit-learn calls an estimator: it was fitted on vectors ``(n, d)``."""

    def predict(self, X: AnyArray, /) -> AnyArray:
        """One answer a row."""
        ...


class ConsumerArm(BaseModel):
    """What a consumer does with one kind of vectors.

    ``change`` is the difference of each metric to the arm of its own vectors, on the same rows.

    Example:
        >>> from isthmus.evaluate import Estimate
        >>> ConsumerArm(metrics={"accuracy": Estimate(value=0.9)}).metrics["accuracy"].value
        0.9
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metrics: dict[str, Estimate]
    change: dict[str, Estimate] = Field(default_factory=dict[str, Estimate])
    agreement: Estimate | None = None
    """With the answers from its own vectors: the share of equal answers (classifier), one less
    mean squared difference over variance (regressor), the adjusted Rand index (clustering), or
    the share of equal first results (reranker)."""
    negative_flips: Estimate | None = None
    """Share of rows that were right and are wrong; None where it is not known what is right."""
    positive_flips: Estimate | None = None


class ConsumerReport(BaseModel):
    """A consumer, unchanged, on every kind of vectors that could be given to it.

    Example:
        >>> import numpy as np
        >>> rows = np.random.default_rng(0).standard_normal((300, 2))
        >>> class Sign:
        ...     classes_ = np.array([0, 1])
        ...     def predict(self, X):
        ...         return (X[:, 0] > 0).astype(int)
        >>> found = judge_consumer(Sign(), {"own": rows, "bridge": rows * 2})
        >>> found.kind, found.arms["bridge"].agreement.value
        ('classifier', 1.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ConsumerKind
    rows: int
    """Rows, or queries of a reranker, that no map was fitted on."""
    known_answers: bool
    """Whether it is known what is right."""
    arms: dict[str, ConsumerArm]
    level: float

    def __str__(self) -> str:
        lines = [f"{self.kind}, {self.rows:,} rows that no map was fitted on"]
        for name, arm in self.arms.items():
            told = [f"{metric} {value}" for metric, value in arm.metrics.items()]
            if name != OWN:
                told += [f"change of {m} {e.signed}" for m, e in arm.change.items()]
                told += [
                    f"{what} {value}"
                    for what, value in (
                        ("agreement", arm.agreement),
                        ("negative flips", arm.negative_flips),
                        ("positive flips", arm.positive_flips),
                    )
                    if value is not None
                ]
            lines += [f"{name}:", *(f"  {line}" for line in told)]
        return "\n".join(lines)


def kind_of_consumer(estimator: Any) -> ConsumerKind:
    """What an estimator is, from what it has.

    Raises:
        InputError: for an object that has neither ``predict`` nor ``fit_predict`` nor ``score`` of
            queries and items.

    Example:
        >>> class Middle:
        ...     def predict(self, X):
        ...         return X.mean(axis=1)
        >>> kind_of_consumer(Middle())
        'regressor'
    """
    if hasattr(estimator, "classes_"):
        return "classifier"
    stated = getattr(estimator, "_estimator_type", None)
    if stated == "clusterer" or any(
        hasattr(estimator, name) for name in ("labels_", "cluster_centers_", "fit_predict")
    ):
        return "clustering"
    if callable(getattr(estimator, "predict", None)):
        return "regressor"
    if callable(getattr(estimator, "score", None)):
        return "reranker"
    raise InputError(
        f"a {type(estimator).__name__} is no consumer of vectors",
        mend="It needs predict(X), fit_predict(X), or score(queries, items) for a reranker",
    )


def judge_consumer(
    estimator: Any,
    arms: Mapping[str, AnyArray],
    answers: AnyArray | None = None,
    *,
    others: Mapping[str, tuple[Any, AnyArray]] | None = None,
    resampling: Resampling | None = None,
) -> ConsumerReport:
    """A classifier, regressor or clustering on every kind of vectors.

    Shares and their differences have intervals from a Dirichlet (count + ½) over the cells of
    paired outcomes, which do not vanish where nothing was seen to flip; means have those of the
    paired bootstrap.

    Args:
        estimator: fitted on vectors like those of the arm ``own``.
        arms: vectors ``(n, d)`` of the same rows, by name; ``own`` is among them.
        answers: what is right ``(n,)``: classes, numbers or groups; None for agreement alone.  An
            estimator of several labels has answers ``(n, labels)``, and is right where all are.
        others: further arms with a consumer of their own, such as one that was trained anew: the
            estimator and its vectors of the same rows, by name.
        resampling: of the intervals.

    Raises:
        InputError: for arms that do not fit together, for an estimator that refuses them, for what
            is no consumer, and for answers that are not of the kind that the estimator gives.
    """
    resampling = resampling or Resampling()
    kind = kind_of_consumer(estimator)
    if kind == "reranker":
        raise InputError(
            "a reranker eats queries and items",
            mend="Use isthmus.evaluate.rerankers.judge_reranker",
        )
    given = {name: (estimator, rows) for name, rows in arms.items()} | dict(others or {})
    n = checked_arms({name: rows for name, (_, rows) in given.items()}, answers)
    said = {name: _predicted(e, rows, kind, name) for name, (e, rows) in given.items()}
    if answers is not None:
        answers = _comparable(said[OWN], answers, kind)
    judge = {"classifier": _classified, "regressor": _regressed, "clustering": _clustered}[kind]
    found = {
        name: judge(said[OWN], values, answers, resampling, name == OWN)
        for name, values in said.items()
    }
    if kind == "classifier" and answers is not None:
        found = {name: _with_calibration(arm, *given[name], answers) for name, arm in found.items()}
    return ConsumerReport(
        kind=kind, rows=n, known_answers=answers is not None, arms=found, level=resampling.level
    )


# ---- one kind each -----------------------------------------------------------------------------


def _classified(
    own: AnyArray, said: AnyArray, answers: AnyArray | None, resampling: Resampling, is_own: bool
) -> ConsumerArm:
    agreement = None if is_own else share(_alike(own, said), resampling)
    if answers is None:
        return ConsumerArm(metrics={}, agreement=agreement)
    right, was = _alike(said, answers), _alike(own, answers)
    metrics = {"accuracy": share(right, resampling)}
    if is_own:
        return ConsumerArm(metrics=metrics)
    negative, positive = flips(was, right, resampling)
    draws = _dirichlet([was & ~right, right & ~was, was == right], resampling)
    gap = float(right.mean() - was.mean())
    change = {"accuracy": _interval(gap, draws[:, 1] - draws[:, 0], resampling)}
    return ConsumerArm(
        metrics=metrics, change=change, agreement=agreement,
        negative_flips=negative, positive_flips=positive,
    )  # fmt: skip


def _alike(one: AnyArray, other: AnyArray) -> NDArray[np.bool_]:
    """Rows of which the same is said; of several labels, all of them."""
    return (one.reshape(len(one), -1) == other.reshape(len(other), -1)).all(axis=1)


def _with_calibration(
    arm: ConsumerArm, estimator: Any, rows: AnyArray, answers: AnyArray
) -> ConsumerArm:
    # of several labels, each would have its own
    if not callable(getattr(estimator, "predict_proba", None)) or np.ndim(answers) > 1:
        return arm
    probabilities = np.asarray(estimator.predict_proba(rows), dtype=np.float64)
    best = probabilities.argmax(axis=1)
    right = np.asarray(estimator.classes_)[best] == answers
    sure = np.clip(probabilities[np.arange(len(best)), best], 0.0, 1.0)
    error = Estimate(
        value=expected_calibration_error(sure, right), reason="an expectation, less noise"
    )
    return arm.model_copy(update={"metrics": {**arm.metrics, "calibration error": error}})


def _regressed(
    own: AnyArray, said: AnyArray, answers: AnyArray | None, resampling: Resampling, is_own: bool
) -> ConsumerArm:
    own, said = (np.asarray(v, dtype=np.float64).reshape(len(v), -1) for v in (own, said))
    columns = [np.square(said - own).mean(axis=1), *_spread(own)]
    if answers is not None:
        true = answers.reshape(len(said), -1)
        columns += [np.square(v - true).mean(axis=1) for v in (said, own)]
        columns += _spread(true)
    values = np.column_stack(columns)
    drawn = resampled_means(values, resamples=resampling.resamples, seed=resampling.seed)
    means = np.vstack([values.mean(axis=0), drawn])

    def told(column: Values) -> Estimate:
        return _interval(float(column[0]), column[1:], resampling)

    agreement = None if is_own else told(1 - means[:, 0] / _variance(means[:, 1:3]))
    if answers is None:
        return ConsumerArm(metrics={}, agreement=agreement)
    variance = _variance(means[:, 5:7])
    r2, was = 1 - means[:, 3] / variance, 1 - means[:, 4] / variance
    rmse, rmse_was = np.sqrt(means[:, 3]), np.sqrt(means[:, 4])
    metrics = {"r2": told(r2), "rmse": told(rmse)}
    if is_own:
        return ConsumerArm(metrics=metrics)
    return ConsumerArm(
        metrics=metrics,
        change={"r2": told(r2 - was), "rmse": told(rmse - rmse_was)},
        agreement=agreement,
    )


def _clustered(
    own: AnyArray, said: AnyArray, answers: AnyArray | None, resampling: Resampling, is_own: bool
) -> ConsumerArm:
    rng = np.random.default_rng(resampling.seed)
    draws = min(_ARI_DRAWS, resampling.resamples)
    picked = [rng.integers(0, len(own), len(own)) for _ in range(draws)]

    def told(one: AnyArray, other: AnyArray) -> tuple[float, Values]:
        index = np.array([_rand_index(one[i], other[i]) for i in picked])
        return _rand_index(one, other), index

    agreement = None if is_own else _interval(*told(own, said), resampling)
    if answers is None:
        return ConsumerArm(metrics={}, agreement=agreement)
    now = told(said, answers)
    metrics = {"adjusted rand index": _interval(*now, resampling)}
    if is_own:
        return ConsumerArm(metrics=metrics)
    was = told(own, answers)
    change = _interval(now[0] - was[0], now[1] - was[1], resampling)
    return ConsumerArm(metrics=metrics, change={"adjusted rand index": change}, agreement=agreement)


# ---- numbers -----------------------------------------------------------------------------------


def share(flags: NDArray[np.bool_], resampling: Resampling) -> Estimate:
    """The share of rows ``(n,)`` that have a property, with its interval."""
    draws = _dirichlet([flags, ~flags], resampling)
    return _interval(float(flags.mean()), draws[:, 0], resampling)


def flips(
    was: NDArray[np.bool_], right: NDArray[np.bool_], resampling: Resampling
) -> tuple[Estimate, Estimate]:
    """Shares of rows that were right and are not, and that are right and were not."""
    negative, positive = was & ~right, right & ~was
    return share(negative, resampling), share(positive, resampling)


def _dirichlet(cells: list[NDArray[np.bool_]], resampling: Resampling) -> Values:
    counts = np.array([cell.sum() for cell in cells], dtype=np.float64)
    rng = np.random.default_rng(resampling.seed)
    return rng.dirichlet(counts + 0.5, max(resampling.resamples, _DRAWS))


def _interval(value: float, draws: Values, resampling: Resampling) -> Estimate:
    tail = (1 - resampling.level) / 2
    low, high = np.quantile(draws, [tail, 1 - tail])
    # a share of exactly 0 or 1 lies at the end of its own interval
    return Estimate(value=value, low=min(float(low), value), high=max(float(high), value))


def _spread(values: Values) -> list[Values]:
    return [values.mean(axis=1), np.square(values).mean(axis=1)]


def _variance(moments: Values) -> Values:
    return np.maximum(moments[:, 1] - moments[:, 0] ** 2, 1e-300)


def _rand_index(one: AnyArray, other: AnyArray) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985): 1 for equal partitions, 0 by chance."""
    a, b = (np.unique(v, return_inverse=True)[1] for v in (one, other))
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a, b), 1)

    def pairs(counts: Values) -> float:
        return float((counts * (counts - 1)).sum() / 2)

    both, rows, columns = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    by_chance = rows * columns / max(pairs(np.array([float(len(a))])), 1.0)
    most = (rows + columns) / 2
    return 1.0 if most == by_chance else (both - by_chance) / (most - by_chance)


# ---- checks ------------------------------------------------------------------------------------


def checked_arms(arms: Mapping[str, AnyArray], answers: AnyArray | None) -> int:
    """The number of rows that all arms have; raises InputError where they do not fit together."""
    if OWN not in arms:
        raise InputError(f"the arm '{OWN}' is missing: the vectors that the consumer was made on")
    n = len(arms[OWN])
    if not n:
        raise InputError("there are no rows to judge a consumer on", mend="Hold out more rows")
    for name, rows in arms.items():
        if len(rows) != n:
            raise InputError(f"{len(rows)} rows, but '{OWN}' has {n}", where=f"arm '{name}'")
    if answers is not None and len(answers) != n:
        raise InputError(f"{len(answers)} answers for {n} rows", where="answers")
    return n


def _predicted(estimator: Any, rows: AnyArray, kind: ConsumerKind, arm: str) -> AnyArray:
    asks = estimator.predict if hasattr(estimator, "predict") else estimator.fit_predict
    try:
        said = np.asarray(asks(rows))
    except Exception as error:  # whatever an estimator of somebody raises
        raise refused(kind, error, arm) from error
    if said.shape[:1] != (len(rows),) or (kind == "clustering" and said.ndim != 1):
        raise InputError(
            f"the {kind} gives answers of shape {said.shape} for {len(rows)} rows",
            where=f"arm '{arm}'",
        )
    return said


def _comparable(said: AnyArray, answers: AnyArray, kind: ConsumerKind) -> AnyArray:
    """The answers in the shape of what an estimator says."""
    known = np.asarray(answers)
    if said.reshape(len(said), -1).shape != known.reshape(len(known), -1).shape:
        raise InputError(
            f"answers of shape {known.shape} for a {kind} that gives {said.shape}", where="answers"
        )
    if kind == "classifier":
        known = classes_like(known, said.dtype)
    elif kind == "regressor":
        known = numbers_of(known)
    if kind == "classifier" and (said.dtype.kind in "UO") != (known.dtype.kind in "UO"):
        raise InputError(
            f"the classifier says such as {said.ravel()[:1].tolist()}, the answers are such as "
            f"{known.ravel()[:1].tolist()}",
            where="answers",
            mend="Call the classes what the classifier calls them",
        )
    return known.reshape(said.shape)


def numbers_of(answers: AnyArray) -> Values:
    """The answers to a regressor, of a file of text too.

    Raises:
        InputError: for one that is no finite number, naming the first.
    """
    try:
        found = answers.astype(np.float64)
    except (TypeError, ValueError):
        found = np.full(answers.shape, np.nan)
        for place, one in np.ndenumerate(answers):
            with suppress(TypeError, ValueError):
                found[place] = float(one)
    if not (finite := np.isfinite(found)).all():
        told = answers[~finite][:1].tolist()[0]
        raise InputError(f"a regressor is judged by numbers, found {told!r}", where="answers")
    return found


def classes_like(answers: AnyArray, dtype: np.dtype[Any]) -> AnyArray:
    """Answers as classes of ``dtype``: a file of text holds digits for numbers."""
    if answers.dtype.kind == "U" and dtype.kind in "iuf":
        with suppress(ValueError):
            return answers.astype(dtype)
    return answers


def refused(kind: ConsumerKind, error: Exception, arm: str) -> InputError:
    """The error for vectors that a consumer does not take."""
    told = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    return InputError(
        f"the {kind} refuses these vectors ({told})",
        where=f"arm '{arm}'",
        mend="Give the vectors of the model that it was made on",
    )
