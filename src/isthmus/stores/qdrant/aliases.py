"""Aliases of collections, moved only if they are where the mover believes them to be."""

from __future__ import annotations

from threading import RLock
from typing import Any

from isthmus.locks import ForkLock
from isthmus.stores.refusals import alias_moved, unknown_name

__all__ = ["swap", "target_of"]

_TURN = ForkLock(RLock)


def target_of(client: Any, name: str) -> str | None:
    """The collection that an alias means; None where there is no such alias."""
    found = client.get_aliases().aliases
    return next((a.collection_name for a in found if a.alias_name == name), None)


def swap(client: Any, name: str, old: str | None, new: str | None, where: str) -> None:
    """Move an alias from ``old`` to ``new``: compared and moved in two steps, one mover at a time.

    Raises:
        StoreChangedError: if it is elsewhere.
        InputError: if there is no collection ``new``.
    """
    from qdrant_client import models

    with _TURN:
        now = target_of(client, name)
        if now != old:
            raise alias_moved(name, old, now, where)
        steps: list[Any] = []
        if now is not None:
            gone = models.DeleteAlias(alias_name=name)
            steps.append(models.DeleteAliasOperation(delete_alias=gone))
        if new is not None:
            made = models.CreateAlias(collection_name=new, alias_name=name)
            steps.append(models.CreateAliasOperation(create_alias=made))
        if new is not None and not client.collection_exists(new):
            names = [found.name for found in client.get_collections().collections]
            raise unknown_name("collection", new, names, where=where)
        client.update_collection_aliases(steps)
