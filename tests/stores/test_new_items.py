from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.stores import url
from isthmus.stores.address import parse
from isthmus.stores.new_items import checked_items

IDS = np.array([3, 1])
ROWS = np.eye(2)


def checked(ids=IDS, rows=ROWS, address="lancedb://folder#docs"):
    return checked_items(parse(address), ids, {"v": rows}, "cosine", kind="table")


def test_names_keys_and_rows_are_told():
    new = checked()
    assert (new.name, new.key, new.ids.tolist()) == ("docs", "int", [3, 1])
    assert new.vectors["v"].dtype == np.float32
    assert checked(np.array(["b", "a"])).key == "str"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"address": "lancedb://folder"}, "folder: the table has no name. Write #table"),
        ({"ids": np.array([3, 3])}, "ids for .*row 1"),
        ({"rows": np.zeros((2, 2))}, "rows for .*row 0"),
        ({"rows": np.full((2, 2), np.nan)}, "rows for .*not finite"),
        ({"ids": np.array([1, 2, 3])}, r"expected floats of shape \(3, 2\)"),
    ],
)
def test_what_cannot_be_stored_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        checked(**given)


@pytest.mark.parametrize(
    ("address", "kind", "package"),
    [("lancedb://{}/new", "table", "lancedb"), ("chroma://{}/new", "collection", "chromadb"),
     ("qdrant://{}/new", "collection", "qdrant_client")],
)  # fmt: skip
def test_nothing_is_made_without_a_name(tmp_path, address, kind, package):
    pytest.importorskip(package)
    with pytest.raises(InputError, match=f"the {kind} has no name. Write #{kind}"):
        url.create_store(address.format(tmp_path), IDS, {"v": ROWS})
    assert not list(tmp_path.iterdir())
