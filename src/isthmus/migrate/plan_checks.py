"""What a plan refuses before anything is measured, and the names that it gives."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isthmus.bridge import StoreSample
from isthmus.encoders import Encoder, PrecomputedEncoder
from isthmus.errors import InputError, StorePermissionError, WrongSpaceError
from isthmus.migrate.plan import Target
from isthmus.progress import Progress
from isthmus.stores import Collection, Granting, Indexed, Namespaced, Store
from isthmus.stores.beside import BesideStore, with_second_column
from isthmus.stores.refusals import texts_gone
from isthmus.stores.url import SCHEMES

__all__ = [
    "Names",
    "absolute",
    "check_granted",
    "check_not_new",
    "checked_store",
    "grants_needed",
    "target_of",
    "without_password",
]

_LEAST = 5


class Names(NamedTuple):
    """What things are called."""

    new_column: str
    alias: str | None
    textless: bool = False
    """Whether no texts of the items are read."""


def absolute(url: str) -> str:
    """A store's URL with its folder or file made absolute; others as they are."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        path, hash_, name = url.partition("#")
        return f"{Path(path).resolve()}{hash_}{name}"
    if scheme not in SCHEMES or not SCHEMES[scheme].local:
        return url
    end = min((i for i in (rest.find("?"), rest.find("#")) if i >= 0), default=len(rest))
    place = rest[:end]
    if ":" in place or not Path(place).exists():
        return url
    return f"{scheme}://{Path(place).resolve()}{rest[end:]}"


def grants_needed(store: Store) -> tuple[str, ...]:
    """What has to be granted to this user before a migration runs."""
    return store.grants_needed() if isinstance(store, Granting) else ()


def check_granted(store: Store) -> None:
    """Refuse to begin what this user may not carry out to its end.

    Raises:
        StorePermissionError: with what has to be granted.
    """
    needed = grants_needed(store)
    if needed:
        raise StorePermissionError(
            "this user may not move the collection",
            where=store.url,
            mend=f"Let somebody who may run: {'; '.join(needed)}",
        )


def checked_store(
    store: Store,
    held: Collection,
    count: int,
    column: str,
    new: Encoder,
    progress: Progress,
    *,
    mapped: bool,
) -> float:
    """Refuse what cannot be moved; returns the rows a second that were read."""
    where = held.where or store.url
    by_id = isinstance(new, PrecomputedEncoder) or mapped
    if not count:
        raise InputError("the collection is empty: there is nothing to move", where=where)
    if count < _LEAST:
        raise InputError(
            f"the collection holds {count} item(s), and a plan measures on {_LEAST} or more",
            where=where,
            mend="Encode so few anew by hand",
        )
    if not by_id and not held.has_texts:
        raise texts_gone(
            held,
            "the new model has nothing to encode",
            "Name the payload field that holds them, as in ?text=FIELD; if they are lost, give a "
            "corpus bridge with --bridge, and --old and --queries, which show whether mapped "
            "vectors find more than the old model",
        )
    if not held.capabilities.writable:
        raise InputError("this store is only read", where=where, mend="Copy it into another one")
    if not held.capabilities.aliases:
        raise InputError(
            "this store has no aliases: nothing can be cut over in one step",
            where=where,
            mend="Open a local folder, or a server that has them",
        )
    fields = [] if by_id or held.text_field is None else [held.text_field]
    began = time.monotonic()
    seen = 0
    compares_directions = held.column(column).metric == "cosine"
    for part in store.scan(column=column, fields=fields):
        assert part.present is not None and part.vectors is not None
        if not part.present.all():
            row = int(np.argmin(part.present))
            raise InputError(
                f"item '{part.ids[row]}' has no vector in column '{column}'",
                where=where,
                mend="Encode it with the old model, or delete it",
            )
        zeros = ~part.vectors.any(axis=1)
        if compares_directions and zeros.any():
            raise InputError(
                f"the vector of item '{part.ids[int(np.argmax(zeros))]}' in column '{column}' is "
                "all zeros and has no direction",
                where=where,
                mend="Encode it with the old model, or delete it: a failed call often leaves such",
            )
        for name in fields:
            texts = part.payload[name]
            blank = next((i for i, t in enumerate(texts) if t is None or not str(t).strip()), None)
            if blank is not None:
                raise InputError(
                    f"item '{part.ids[blank]}' has no text to encode",
                    where=where,
                    mend="Give it a text, or delete it",
                )
        seen += len(part)
        progress("reading", seen, count)
    return seen / max(time.monotonic() - began, 1e-6)


def target_of(
    store: Store,
    held: Collection,
    count: int,
    column: str,
    new_dim: int,
    names: Names,
) -> Target:
    """The index that is moved, and the names that things get.

    Raises:
        InputError: for a name that is taken.
    """
    found = held.column(column)
    second = with_second_column(store, names.new_column)
    if names.new_column == column or names.new_column in held.fields:
        raise InputError(
            f"'{names.new_column}' is the name of another column",
            where="--new-column",
            mend="Choose another one",
        )
    there = names.new_column in second.describe().columns
    filled = second.filled(names.new_column) if there else 0
    if filled:
        raise InputError(
            f"'{names.new_column}' holds {filled:,} vectors already",
            where=held.where or store.url,
            mend="Choose another name with --new-column, or roll that migration back",
        )
    if isinstance(second, BesideStore):
        alias_old, alias_new = held.name, second.beside
    else:
        alias_old, alias_new = f"{held.name}.{column}", f"{held.name}.{names.new_column}"
    stem, dot, suffix = held.name.partition(".")
    alias = names.alias or f"{stem}_live{dot}{suffix}"
    if isinstance(second, Namespaced):
        second.check_names(names.new_column, alias)
    stands = store.alias(alias)
    if stands is not None:
        same = stands in (alias_old, held.name)
        if not same:
            raise InputError(
                f"the alias '{alias}' stands for '{stands}'",
                where=held.where or store.url,
                mend="Name another one with --alias",
            )
        alias_old = stands
    return Target(
        store=absolute(without_password(store.url)),
        collection=held.name,
        count=count,
        text_field=None if names.textless else held.text_field,
        old_column=column,
        old_dim=found.dim,
        metric=found.metric,
        new_column=names.new_column,
        new_dim=new_dim,
        alias=alias,
        alias_old=alias_old,
        alias_new=alias_new,
        namespace=held.schema,
        index=_index_of(store, column),
    )


def _index_of(store: Store, column: str) -> str | None:
    found = store.index_of(column) if isinstance(store, Indexed) else None
    return None if found is None else str(found)


def without_password(url: str) -> str:
    """A URL that is shown, without what was left out of it: that is read from the environment.

    Example:
        >>> without_password("postgresql://me:***@host/db?password=***&sslmode=require#docs")
        'postgresql://me@host/db?sslmode=require#docs'
        >>> without_password("postgresql://host/db?password=***#docs")
        'postgresql://host/db#docs'
    """
    place, mark, names = url.replace(":***@", "@").partition("#")
    body, _, asked = place.partition("?")
    options = "&".join(each for each in asked.split("&") if not each.endswith("=***"))
    return f"{body}{options and '?'}{options}{mark}{names}"


def check_not_new(sample: StoreSample, new: Encoder, where: str) -> None:
    """Refuse a column that the new model filled.

    Raises:
        WrongSpaceError: if it did.
    """
    if sample.old.shape[1] != sample.new.shape[1]:
        return
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (sample.old, sample.new))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    if float(np.median(np.einsum("nd,nd->n", a, b) / np.maximum(norms, 1e-300))) >= 0.98:
        raise WrongSpaceError(
            f"the column holds vectors of {new.name} already",
            where=where,
            mend="There is nothing to migrate",
        )
