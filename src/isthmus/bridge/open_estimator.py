"""Estimators by name: a file that runs no code, or a function of the user's own."""

from __future__ import annotations

import importlib
import zipfile
from pathlib import Path
from typing import Any

from isthmus.errors import InputError, missing_extra

__all__ = ["open_estimator"]

_MOST_BYTES = 2**31


def open_estimator(named: str) -> Any:
    """The estimator that a name stands for.

    A pickle is not read, since reading one runs whatever its author wrote.

    Args:
        named: a ``.skops`` file (extra ``skops``), of which only types of scikit-learn, NumPy and
            SciPy are made; or ``package.module:name``, a function without arguments on the Python
            path that returns an estimator, or the estimator itself.

    Raises:
        InputError: for anything else, and for a file with other types in it.
        MissingExtraError: where skops is not installed.
    """
    path = Path(named)
    if path.suffix == ".skops":
        return _from_file(path)
    module, colon, name = named.partition(":")
    if not colon or not all(part.isidentifier() for part in [*module.split("."), name]):
        raise InputError(
            "an estimator is a .skops file or a Python name as in package.module:name",
            where=named,
            mend="Save it with skops.io.dump(estimator, 'head.skops'); a pickle is not read, since "
            "reading one runs code",
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"it cannot be imported ({error})", where=named, mend="Check PYTHONPATH and the name"
        ) from error
    return found() if callable(found) and not hasattr(found, "predict") else found


def _from_file(path: Path) -> Any:
    try:
        from skops.io import load
        from skops.io.exceptions import UnsupportedTypeException, UntrustedTypesFoundException
    except ImportError as error:
        raise missing_extra("skops", "skops", "reading a saved estimator") from error
    try:
        with zipfile.ZipFile(path) as held:
            if sum(entry.file_size for entry in held.infolist()) > _MOST_BYTES:
                raise InputError("it would take more than 2 GiB of memory", where=str(path))
        return load(path)
    except FileNotFoundError as error:
        raise InputError("there is no such file", where=str(path)) from error
    except UntrustedTypesFoundException as error:
        told = str(error).splitlines()[0][:300]
        raise InputError(
            f"it holds types that nobody vouches for ({told})",
            where=str(path),
            mend="Name a function that makes it instead: package.module:name",
        ) from error
    except (zipfile.BadZipFile, UnsupportedTypeException, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"this is no estimator that skops saved ({type(error).__name__})", where=str(path)
        ) from error
