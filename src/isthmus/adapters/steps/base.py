"""scikit-learn's conventions, without scikit-learn: parameters, fitted attributes, tags."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain import Affine, Chain, Stage
from isthmus.adapters.steps.tables import NamedColumns, column_names
from isthmus.errors import InputError, not_fitted
from isthmus.frame_index import check_same_index
from isthmus.moments import Moments, SecondMoments
from isthmus.numeric import Array, as_array, as_numbers, to_numpy
from isthmus.progress import Progress, silent
from isthmus.spaces.sample import Batch

__all__ = [
    "Estimator",
    "Expanded",
    "FitRows",
    "LinearAdapter",
    "Pools",
    "Refinement",
    "Splits",
    "Value",
    "asked_rows",
    "input_rows",
    "pools_of",
    "r_squared",
]

Value = float | int | bool | str
"""What a parameter of a step in a recipe can be."""

Splits = Callable[[], Sequence[tuple[SecondMoments, SecondMoments]]]
"""For each fold the moments of its training rows and of its held-out rows, made when asked for."""

Expanded = list[tuple[dict[str, Value], float | None]]
"""Concrete parameters, each with its cross-validated squared error over the target's variance."""


def input_rows(
    estimator: object, x: Any, *, width: int | None = None, finite: bool = True
) -> NDArray[Any]:
    """Two-dimensional float32 or float64 rows of the width seen in ``fit``.

    ``finite`` also looks for NaN and infinity; where moments are taken next, they will.

    Raises:
        InputError: otherwise, in the words scikit-learn users search for.
    """
    rows = to_numpy(as_array(x, type(estimator).__name__))
    if rows.dtype == object:
        rows = as_numbers(rows, type(estimator).__name__)
    if np.iscomplexobj(rows):
        raise InputError("Complex data not supported")
    if rows.ndim != 2:
        raise InputError(
            f"Expected 2D array, got an array of shape {rows.shape}",
            mend="Reshape your data with .reshape(1, -1) if it is one vector",
        )
    if rows.shape[0] == 0 or rows.shape[1] == 0:
        axis = "sample(s)" if rows.shape[0] == 0 else "feature(s)"
        raise InputError(
            f"Found array with 0 {axis} (shape={rows.shape}) while a minimum of 1 is required"
        )
    kind = str(rows.dtype)
    if kind not in ("float32", "float64"):
        half = kind == "float16"
        try:
            rows = rows.astype(np.float32 if half else np.float64)
        except ValueError as error:
            raise InputError(f"the rows are not numbers: {error}") from error
    if finite and not np.isfinite(rows.sum(dtype=np.float64)) and not np.isfinite(rows).all():
        row = int(np.argmin(np.isfinite(rows).all(axis=1)))
        raise InputError(f"row {row} contains NaN or infinity")
    if width is not None and rows.shape[1] != width:
        raise InputError(
            f"X has {rows.shape[1]} features, but {type(estimator).__name__} is expecting "
            f"{width} features as input"
        )
    return rows


def r_squared(found: NDArray[Any], target: NDArray[Any]) -> float:
    """``1 − Σ (y − ŷ)² / Σ (y − ȳ)²``, averaged over the columns of ``(n, d)``.

    A column that is constant counts 1 where it is met exactly, else 0.

    Raises:
        InputError: for arrays of different shapes, or fewer than two rows.
    """
    if found.shape != target.shape:
        raise InputError(
            f"the map gives rows of shape {found.shape}, and the targets have {target.shape}",
            where="score",
        )
    if len(target) < 2:
        raise InputError("R² needs at least two rows", where="score")
    wide = target.astype(np.float64)
    left = ((wide - found) ** 2).sum(axis=0)
    whole = ((wide - wide.mean(axis=0)) ** 2).sum(axis=0)
    shares = np.where(whole > 0, 1 - left / np.where(whole > 0, whole, 1), left == 0)
    return float(shares.mean())


class Estimator:
    """Parameters as scikit-learn reads them: the signature of ``__init__``, stored untouched."""

    name: ClassVar[str] = ""
    """The word for this step in a recipe."""
    automatic: ClassVar[frozenset[str]] = frozenset()
    """Parameters that a recipe may leave ``auto``."""
    words: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """Parameters that are words, and the words that each can be."""
    turns: ClassVar[bool] = False
    """Learns the same whatever axes the rows are given in, and nothing outside of their span."""

    @classmethod
    def parameter_names(cls) -> list[str]:
        """The names of the parameters of ``__init__``."""
        return [n for n in inspect.signature(cls).parameters if n != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The parameters given to ``__init__``."""
        return {name: getattr(self, name) for name in self.parameter_names()}

    def set_params(self, **params: Any) -> Self:
        """Replace parameters; the estimator must be fitted again.

        Raises:
            InputError: for a parameter it does not have.
        """
        for name, value in params.items():
            if name not in self.parameter_names():
                raise InputError(
                    f"{type(self).__name__} has no parameter '{name}'",
                    mend=f"It has {self.parameter_names()}",
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        given = ", ".join(f"{k}={v!r}" for k, v in self.get_params().items())
        return f"{type(self).__name__}({given})"

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn may assume; called only by scikit-learn."""
        utils = import_module("sklearn.utils")
        paired = isinstance(self, LinearAdapter)
        return utils.Tags(
            estimator_type=None,
            target_tags=utils.TargetTags(required=paired, multi_output=paired),
            transformer_tags=utils.TransformerTags(preserves_dtype=["float32", "float64"]),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def _check_fitted(self) -> None:
        if not self.__sklearn_is_fitted__():
            raise not_fitted(self)


class LinearAdapter(Estimator, NamedColumns, ABC):
    """A map ``y ≈ x W + b`` fitted from second moments.

    Attributes:
        matrix_: ``W (dx, dy)`` in float64.
        offset_: ``b (dy,)`` in float64.
        n_features_in_: dx.
        feature_names_in_: the columns of ``X`` in `fit`, where it was a DataFrame.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"xy"})
    """Which covariances `fit_moments` reads."""
    search_only: ClassVar[bool] = False
    """Its results rank the target's vectors but do not lie among them."""
    path: ClassVar[str] = ""
    """The parameter along which retrieval rises and then falls, from the most rigid map on."""
    own_frame: ClassVar[bool] = False
    """It centres and whitens by itself: only row norms may stand before it."""

    matrix_: NDArray[np.float64]
    offset_: NDArray[np.float64]

    @classmethod
    def expanded(cls, parameters: Mapping[str, Value], splits: Splits) -> Expanded:
        """What to try for parameters of which some are ``auto``, the most rigid map first.

        Held-out retrieval chooses among them; the squared error only makes the list short.
        """
        return [(dict(parameters), None)]

    @classmethod
    def beyond(cls, parameters: Mapping[str, Value], step: int) -> Mapping[str, Value] | None:
        """What to try where retrieval still rises at an end of the path; None if nothing.

        Args:
            parameters: of the map at that end.
            step: 1 towards the less rigid, -1 towards the more rigid.
        """
        return None

    @abstractmethod
    def _solve(self, moments: SecondMoments) -> NDArray[np.float64]:
        """The matrix ``W`` for centred rows."""

    def fit(self, X: Array, y: Array) -> Self:
        """Fit on paired rows.

        Args:
            X: source rows ``(n, dx)``, an array or a DataFrame.
            y: target rows ``(n, dy)``, or ``(n,)`` for one dimension; also a DataFrame or Series.

        Raises:
            InputError: for rows that do not pair, are empty or not finite.
        """
        rows = input_rows(self, X, finite=False)
        if y is None:
            raise InputError("requires y to be passed, but the target y is None")
        check_same_index(X, y)
        target = to_numpy(as_array(y, "y"))
        target = input_rows(self, target[:, None] if target.ndim == 1 else target, finite=False)
        if len(rows) != len(target):
            raise InputError(f"X has {len(rows)} rows and y {len(target)}; they must pair")
        self.fit_moments(Moments.of(rows, target, keep=self._needed()))
        self._learn_names(X, column_names(y))
        return self

    def _needed(self) -> frozenset[str]:
        return self.needs

    def fit_moments(self, moments: Moments | SecondMoments) -> Self:
        """Fit from accumulated moments, at a cost that does not depend on the number of rows."""
        second = moments if isinstance(moments, SecondMoments) else moments.second()
        matrix = self._solve(second)
        self.matrix_ = matrix
        self.offset_ = second.mean_y - second.mean_x @ matrix
        self.n_features_in_ = len(second.mean_x)
        return self

    def transform(self, X: Array) -> Array:
        """Map rows ``(n, dx)`` to ``(n, dy)``; a float32 input gives a float32 result."""
        self._check_fitted()
        self._check_names(X)
        return self._as_output(self.chain_(input_rows(self, X, width=self.n_features_in_)), X)

    def fit_transform(self, X: Array, y: Array) -> Array:
        """`fit`, then `transform` of the same rows."""
        return self.fit(X, y).transform(X)

    def score(self, X: Array, y: Array) -> float:
        """The mean over the target's dimensions of R², as scikit-learn's regressors score.

        Args:
            X: source rows ``(n, dx)``.
            y: their targets ``(n, dy)`` or ``(n,)``.

        Returns:
            At most 1; 0 for a map to the mean.

        Raises:
            InputError: for rows that do not pair, or are fewer than two.
        """
        self._check_fitted()
        self._check_names(X)
        rows = input_rows(self, X, width=self.n_features_in_)
        target = to_numpy(as_array(y, "y"))
        target = input_rows(self, target[:, None] if target.ndim == 1 else target)
        return r_squared(to_numpy(self.chain_(rows)), target)

    @override
    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The columns of ``y`` in `fit`, or the class's name and a number for each dimension."""
        self._check_fitted()
        self._check_input_features(input_features)
        if self._names_out is not None:
            return self._names_out
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{k}" for k in range(self.offset_.shape[0])], dtype=object)

    @property
    def affine_(self) -> Affine:
        """The fitted map as one stage."""
        self._check_fitted()
        return Affine(self.matrix_, self.offset_)

    def stages(self, before: Affine, after: Affine) -> list[Stage]:
        """``before``, the fitted map and ``after``, in the form that is cheapest to run."""
        return [before.then(self.affine_).then(after)]

    @property
    def chain_(self) -> Chain:
        """The fitted map as a foldable chain."""
        self._check_fitted()
        return Chain(self.stages(Affine(), Affine()))


class FitRows(Protocol):
    """The rows of the fit in the frame of a map, read again at every iteration."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches of ids, source rows, target rows and, where there are any, labels."""
        ...


@dataclass(frozen=True, eq=False)
class Pools:
    """Vectors of both spaces that nobody paired: what few pairs are helped by.

    Attributes:
        source: ``(nx, dx)``, of items or queries, such as new vectors of any texts.
        target: ``(ny, dy)``, such as a sample of the index.
    """

    source: NDArray[np.float32]
    target: NDArray[np.float32]


def pools_of(rows: FitRows) -> Pools | None:
    """The unpaired vectors beside the rows of a fit, in the same frame; None if there are none."""
    return getattr(rows, "pools", None)


def asked_rows(rows: FitRows) -> Iterator[Batch]:
    """The queries among the rows of a fit, each with the id of the item that answers it."""
    return iter(getattr(rows, "asked", ()))


class Refinement(Estimator, ABC):
    """What a fitted affine map is refined to where moments do not suffice: it reads the rows."""

    @classmethod
    def expanded(
        cls, parameters: Mapping[str, Value], base: Affine, rows: FitRows
    ) -> list[dict[str, Value]]:
        """What to try for parameters of which some are ``auto``, the simplest first."""
        return [dict(parameters)]

    @abstractmethod
    def refine(self, base: Affine, rows: FitRows, *, progress: Progress = silent) -> Stage:
        """The stage that replaces ``base``, a map of the source rows to the target rows."""
