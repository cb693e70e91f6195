"""The errors that every kind of store raises in the same words."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from isthmus.errors import InputError, OutputError, StoreChangedError, UnsupportedError

if TYPE_CHECKING:
    from isthmus.stores.protocol import Collection

__all__ = [
    "alias_moved",
    "cannot",
    "no_texts",
    "other_column",
    "taken",
    "texts_gone",
    "unclear",
    "unknown_name",
]

_LISTED = 8


def unknown_name(kind: str, name: str, known: Iterable[str], *, where: str) -> InputError:
    """The error for a ``kind`` of thing called ``name`` that is not among ``known``."""
    names = sorted(known)
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    mend = f"Did you mean '{near[0]}'?" if near else f"There are: {listed or 'none'}"
    return InputError(f"there is no {kind} '{name}'", where=where, mend=mend)


def unclear(kind: str, names: Iterable[str], *, behind: str, where: str) -> InputError:
    """The error for an address that names no ``kind`` of thing, where there is not just one."""
    return InputError(
        f"it is not clear which {kind} is meant; there are: {', '.join(names) or 'none'}",
        where=where,
        mend=f"Name it behind the {behind}: #{kind}",
    )


def taken(kind: str, name: str, where: str) -> OutputError:
    """The error for a new ``kind`` of thing whose name another has."""
    return OutputError(
        f"the {kind} '{name}' exists already", where=where, mend="Choose another name"
    )


def texts_gone(held: Collection, so: str, mend: str) -> InputError:
    """The error for a collection without texts, or with texts in a field that is not known."""
    fields = ", ".join(held.fields[:_LISTED])
    perhaps = f", or are in one of its fields, {fields}" if fields else ""
    return InputError(
        f"the texts of the items are gone{perhaps}: {so}", where=held.where or held.name, mend=mend
    )


def other_column(column: Any, dim: int, metric: str, where: str) -> InputError:
    """The error for a vector column that exists already, with another width or metric."""
    return InputError(
        f"column '{column.name}' exists already, with width {column.dim} and metric "
        f"{column.metric}; asked for were {dim} and {metric}",
        where=where,
        mend="Choose another name, or drop that column first",
    )


def alias_moved(
    name: str, expected: str | None, found: str | None, where: str
) -> StoreChangedError:
    """The error for an alias that does not stand for what the caller believes."""
    return StoreChangedError(
        f"the alias '{name}' stands for {_shown(found)}, not for {_shown(expected)}",
        where=where,
        mend="Somebody else moved it; look before you move it again",
    )


def _shown(target: str | None) -> str:
    return "nothing" if target is None else f"'{target}'"


def no_texts(where: str, field: str | None = None) -> InputError:
    """The error for texts that are asked of a collection without them."""
    missing = "no payload field is known to hold them" if field is None else f"no field '{field}'"
    return InputError(
        f"the collection holds no texts ({missing})",
        where=where,
        mend="Name the field with ?text=FIELD in the store's URL",
    )


def cannot(what: str, where: str, mend: str | None = None) -> UnsupportedError:
    """The error for something that this kind of store cannot do."""
    return UnsupportedError(what, where=where, mend=mend)
