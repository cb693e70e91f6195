from __future__ import annotations

import pytest

from isthmus.errors import InputError
from isthmus.stores.address import parse
from isthmus.stores.fields import id_field, text_field

ADDRESS = parse("lancedb://db#docs")


@pytest.mark.parametrize(
    ("fields", "ids", "texts"),
    [
        (["id", "text"], "id", "text"),
        (["ID", "Text", "title"], "ID", "Text"),
        (["Id", "id", "TEXT", "content", "text"], "id", "text"),
        (["Key", "Body", "url"], "Key", "Body"),
        (["url"], "url", None),
    ],
)
def test_fields_are_known_by_their_names_in_letters_of_any_case(fields, ids, texts):
    assert id_field(fields, ADDRESS) == ids
    assert text_field(fields, ADDRESS) == texts


def test_fields_that_tell_nothing_are_listed():
    with pytest.raises(InputError, match="there are: url, title"):
        id_field(["url", "title"], ADDRESS)
