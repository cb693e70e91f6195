"""Which field of a collection holds the ids, and which the texts: named, or known by its name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from isthmus.errors import InputError
from isthmus.stores.address import Address
from isthmus.stores.refusals import unknown_name

__all__ = ["chosen_column", "id_field", "text_field"]

_ID_NAMES = ("id", "ids", "_id", "uuid", "doc_id", "key")
_TEXT_NAMES = ("text", "document", "content", "page_content", "body")


def id_field(candidates: Sequence[str], address: Address) -> str:
    """The field of ids among ``candidates``, the fields whose type ids can have.

    Raises:
        InputError: if the one that is named is not there, or none is named and it is not clear.
    """
    named = address.options.get("id")
    if named is not None:
        if named not in candidates:
            raise unknown_name("field of ids", named, candidates, where=address.shown)
        return named
    found = _known(_ID_NAMES, candidates)
    if found is None and len(candidates) == 1:
        found = candidates[0]
    if found is None:
        raise InputError(
            f"it is not clear which field holds the ids; there are: {', '.join(candidates)}",
            where=address.shown,
            mend="Name it with ?id=FIELD in the store's URL",
        )
    return found


def text_field(candidates: Sequence[str], address: Address) -> str | None:
    """The field of texts among ``candidates``, the fields that hold strings; None if none is known.

    Raises:
        InputError: if the one that is named is not there.
    """
    named = address.options.get("text")
    if named is not None:
        if named not in candidates:
            raise unknown_name("payload field", named, candidates, where=address.shown)
        return named
    return _known(_TEXT_NAMES, candidates)


def _known(names: Sequence[str], candidates: Sequence[str]) -> str | None:
    """The candidate that is called as the first of ``names`` can be, in letters of any case."""
    by_name = {name.lower(): name for name in reversed(candidates)}
    by_name |= {name: name for name in candidates}
    return next((by_name[name] for name in names if name in by_name), None)


def chosen_column(columns: Iterable[str], named: str | None, where: str) -> str:
    """The vector column that is named, or the only one.

    Raises:
        InputError: if there is none of that name, or several and none is named.
    """
    names = list(columns)
    if named is not None:
        if named not in names:
            raise unknown_name("vector column", named, names, where=where)
        return named
    if len(names) != 1:
        listed = ", ".join(sorted(names)) or "none"
        raise InputError(
            f"it is not clear which vector column is meant; there are: {listed}",
            where=where,
            mend="Name it behind the collection: #collection.column",
        )
    return names[0]
