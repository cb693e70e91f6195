"""Tables in, tables out: the columns' names an estimator learned, and the table it answers with."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, MissingExtraError
from isthmus.numeric import Array, to_numpy

__all__ = ["NamedColumns", "column_names"]

_CONTAINERS = ("default", "pandas", "polars")


def column_names(table: Any) -> NDArray[np.object_] | None:
    """The names ``(d,)`` of a DataFrame's columns; None for an array, or where not all are text."""
    columns: Any = getattr(table, "columns", None)
    if columns is None:
        return None
    names = list(columns)
    if not names or not all(isinstance(name, str) for name in names):
        return None
    return np.asarray(names, dtype=object)


class NamedColumns:
    """What scikit-learn promises of the columns of an estimator's tables.

    Attributes:
        feature_names_in_: of the columns in ``fit``, where all of them had a text as name.
    """

    feature_names_in_: NDArray[np.object_]
    n_features_in_: int
    _names_out: NDArray[np.object_] | None = None
    # the name that scikit-learn's `clone` takes along
    _sklearn_output_config: dict[str, str]

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose what `transform` returns: ``default`` (an array), ``pandas`` or ``polars``.

        None changes nothing; what `sklearn.set_config` says holds where nothing was chosen here.

        Raises:
            InputError: for another word.
        """
        if transform is not None:
            if transform not in _CONTAINERS:
                raise InputError(
                    f"there is no output '{transform}'",
                    where="transform",
                    mend=f"Choose from {', '.join(_CONTAINERS)}",
                )
            self._sklearn_output_config = {"transform": transform}
        return self

    def _learn_names(self, x: Any, names_out: NDArray[np.object_] | None = None) -> None:
        """Remember the columns of the rows of a fit, and the names its results have."""
        names = column_names(x)
        if names is not None:
            self.feature_names_in_ = names
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        self._names_out = names_out

    def _check_names(self, x: Any) -> None:
        """Refuse a table whose columns are not those of the fit, in their order."""
        names, known = column_names(x), getattr(self, "feature_names_in_", None)
        if names is None or known is None or list(names) == list(known):
            return
        unseen = [name for name in names if name not in set(known)]
        missing = [name for name in known if name not in set(names)]
        said = [
            *([f"unseen at fit time: {', '.join(unseen[:5])}"] if unseen else []),
            *([f"seen at fit time, yet now missing: {', '.join(missing[:5])}"] if missing else []),
        ]
        raise InputError(
            "The feature names should match those that were passed during fit: "
            + ("; ".join(said) or "they must be in the same order as they were in fit"),
            where=type(self).__name__,
            mend="Give the columns of the fit, in their order",
        )

    def _check_input_features(self, given: Any) -> NDArray[np.object_] | None:
        known = getattr(self, "feature_names_in_", None)
        if given is None:
            return known
        names = np.asarray(given, dtype=object)
        if known is not None and list(names) != list(known):
            raise InputError("input_features is not equal to feature_names_in_")
        if len(names) != self.n_features_in_:
            raise InputError(
                "input_features should have length equal to number of features "
                f"({self.n_features_in_}), got {len(names)}"
            )
        return names

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """The names ``(d_out,)`` of the columns of a result."""
        raise NotImplementedError

    def _as_output(self, rows: Array, given: Any) -> Any:
        """The rows in the table that is wanted, with the index of the table given."""
        container = getattr(self, "_sklearn_output_config", {}).get("transform") or _configured()
        if container == "default":
            return rows
        try:
            library = import_module(container)
        except ImportError as error:
            raise MissingExtraError(
                f"set_output needs the package '{container}', which is not installed",
                mend=f"Install it with: pip install {container}",
            ) from error
        names = [str(name) for name in self.get_feature_names_out()]
        if container == "pandas":
            index = given.index if isinstance(given, library.DataFrame) else None
            return library.DataFrame(to_numpy(rows), columns=names, index=index, copy=False)
        return library.DataFrame(to_numpy(rows), schema=names)


def _configured() -> str:
    """What scikit-learn was told, where it is loaded."""
    sklearn: Any = sys.modules.get("sklearn")
    return sklearn.get_config().get("transform_output", "default") if sklearn else "default"
