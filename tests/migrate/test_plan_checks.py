"""What a plan refuses before anything is measured, and a run before anything is written."""

from __future__ import annotations

import pytest

from isthmus.errors import StorePermissionError
from isthmus.migrate.plan_checks import check_granted
from isthmus.stores import Collection


def test_a_run_says_what_has_to_be_granted() -> None:
    needed = ("GRANT CREATE ON SCHEMA shop TO app", "GRANT REFERENCES ON shop.docs TO app")
    check_granted(Collection("docs", "int", {}))
    with pytest.raises(StorePermissionError) as raised:
        check_granted(Collection("docs", "int", {}, where="the shop", grants_needed=needed))
    assert str(raised.value) == (
        "the shop: this user may not move the collection. Let somebody who may run: "
        "GRANT CREATE ON SCHEMA shop TO app; GRANT REFERENCES ON shop.docs TO app."
    )
