"""Every error a user can meet, each saying what happened, where, and how to mend it."""

from __future__ import annotations

import re
import sys
from typing import Any

from isthmus.plain_text import plain_line, redacted

__all__ = [
    "ContractError",
    "DivergedError",
    "EngineError",
    "GateError",
    "InputError",
    "IsthmusError",
    "MissingExtraError",
    "ModelChangedError",
    "NotFittedError",
    "OutputError",
    "RecipeError",
    "RegistryError",
    "ServiceError",
    "SpendCapError",
    "StoreChangedError",
    "StoreError",
    "StorePermissionError",
    "StoreUnavailableError",
    "UnsupportedError",
    "WrongSpaceError",
    "WrongTypeError",
    "missing_extra",
    "not_fitted",
]


class IsthmusError(Exception):
    """The root of all errors raised on purpose.

    ``what`` is one clause that names the fault, ``where`` the file, row or parameter, and ``mend``
    what the reader can do about it.  ``str()`` joins them into one line.  No URL in them tells a
    password.
    """

    def __init__(self, what: str, *, where: str | None = None, mend: str | None = None) -> None:
        what = _told(what)
        where, mend = where and _told(where), mend and _told(mend)
        self.what = what
        self.where = where
        self.mend = mend
        text = f"{where}: {what}" if where else what
        # names and ids in it come from elsewhere
        whole = " ".join(_sentence(part) for part in (text, mend) if part)
        super().__init__(plain_line(whole))


def _told(text: str) -> str:
    return redacted(text) if ":/" in text else text


_COMMAND_LAST = re.compile(r": (isthmus|pip|python|git) (?!.*\. [A-Z])")


def _sentence(text: str) -> str:
    # a command is copied to where its line ends: a full stop would be a part of it
    ended = text.endswith(("?", "!", ".")) or _COMMAND_LAST.search(text)
    return text if ended else f"{text}."


class InputError(IsthmusError, ValueError):
    """Data or a parameter that cannot be used: wrong shape, dtype, value or alignment."""


class WrongTypeError(InputError, TypeError):
    """An object that is no array of numbers."""


class ContractError(InputError):
    """Vectors, or another contract, that break a `Space` contract."""


class WrongSpaceError(ContractError):
    """Vectors that come from another model than the one a bridge was fitted on."""


class RecipeError(InputError):
    """A recipe that cannot be parsed, or whose steps do not fit together."""


class DivergedError(InputError):
    """A training whose loss stopped being finite; what was trained is in its last good state."""


class GateError(IsthmusError):
    """A condition on measured evidence that does not hold; commands end with exit code 1."""


class NotFittedError(IsthmusError, ValueError, AttributeError):
    """An estimator used before ``fit``."""


class OutputError(IsthmusError, OSError):
    """An output that exists already, or that cannot be written."""


class RegistryError(IsthmusError):
    """A registry that does not hold what is asked for, or refuses to change."""


class StoreError(IsthmusError):
    """A vector database that refuses what it is asked for."""


class StoreUnavailableError(StoreError, ConnectionError):
    """A vector database that cannot be reached, or that went away while it was used."""


class StorePermissionError(StoreError, PermissionError):
    """A vector database that does not let this user do what is asked for."""


class StoreChangedError(StoreError):
    """A vector database that is no longer in the state that the caller relies on."""


class UnsupportedError(StoreError, NotImplementedError):
    """Something that this kind of vector database cannot do."""


class EngineError(IsthmusError):
    """What runs the parts of a computation cannot be reached, is gone, or gives a part up."""


class ServiceError(IsthmusError, OSError):
    """A server that cannot be reached, refuses, or answers with what cannot be used."""


class ModelChangedError(ServiceError):
    """A server that has another model behind a name than it had before."""


class SpendCapError(IsthmusError):
    """A call to a paid service that was not made, because it would pass the cap set for it."""


class MissingExtraError(IsthmusError, ImportError):
    """A feature whose optional dependency is not installed."""


def missing_extra(module: str, extra: str, needed_for: str) -> MissingExtraError:
    """The error for an optional ``module`` that is absent, naming the extra that brings it."""
    return MissingExtraError(
        f"{needed_for} needs the package '{module}', which is not installed",
        mend=f"Install it with: pip install 'isthmus[{extra}]'",
    )


def not_fitted(estimator: object) -> NotFittedError:
    """The error for ``estimator`` used before ``fit``.

    Where scikit-learn is already loaded, the error is also its own ``NotFittedError``, so that
    code written for scikit-learn catches it.
    """
    what = f"this {type(estimator).__name__} is not fitted yet"
    mend = "Call fit or fit_moments first"
    sklearn_exceptions: Any = sys.modules.get("sklearn.exceptions")
    if sklearn_exceptions is None:
        return NotFittedError(what, mend=mend)
    both: type[NotFittedError] = type(
        "NotFittedError", (NotFittedError, sklearn_exceptions.NotFittedError), {}
    )
    return both(what, mend=mend)
