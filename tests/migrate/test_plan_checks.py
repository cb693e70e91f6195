"""What a plan refuses before anything is measured, and a run before anything is written."""

from __future__ import annotations

from typing import cast

import pytest

from isthmus.errors import StorePermissionError
from isthmus.migrate.plan_checks import check_granted
from isthmus.stores import MemoryStore, Store


class Lacking:
    """A store whose user was not granted all."""

    url = "the shop"

    def __init__(self, needed: tuple[str, ...]) -> None:
        self._needed = needed

    def grants_needed(self) -> tuple[str, ...]:
        return self._needed


def test_a_run_says_what_has_to_be_granted() -> None:
    needed = ("GRANT CREATE ON SCHEMA shop TO app", "GRANT REFERENCES ON shop.docs TO app")
    check_granted(cast(Store, Lacking(())))
    check_granted(MemoryStore())
    with pytest.raises(StorePermissionError) as raised:
        check_granted(cast(Store, Lacking(needed)))
    assert str(raised.value) == (
        "the shop: this user may not move the collection. Let somebody who may run: "
        "GRANT CREATE ON SCHEMA shop TO app; GRANT REFERENCES ON shop.docs TO app."
    )
