from __future__ import annotations

import pytest

from isthmus.errors import InputError
from isthmus.plain_text import redacted, without_secrets
from isthmus.stores.address import parse


@pytest.mark.parametrize(
    ("url", "scheme", "location", "parts"),
    [
        ("lancedb://db#docs.vector", "lancedb", "db", ("docs", "vector")),
        ("lancedb:///abs/db", "lancedb", "/abs/db", ()),
        ("lancedb://s3://bucket/db#t", "lancedb", "s3://bucket/db", ("t",)),
        ("qdrant://:memory:#c", "qdrant", ":memory:", ("c",)),
        ("QDRANT://host:6333#c.v", "qdrant", "host:6333", ("c", "v")),
        ("postgresql://u:p@h/db#s.t.c", "postgresql", "u:p@h/db", ("s", "t", "c")),
        ("lancedb://db#my%2Etable.v", "lancedb", "db", ("my.table", "v")),
    ],
)
def test_urls_are_taken_apart(url, scheme, location, parts):
    found = parse(url)
    assert (found.scheme, found.location, found.parts) == (scheme, location, parts)


def test_only_our_own_options_are_taken_out():
    found = parse("postgresql://h/db?sslmode=require&id=key&metric=l2#t")
    assert found.location == "h/db?sslmode=require"
    assert found.options == {"id": "key", "metric": "l2"}
    assert found.metric == "l2"
    assert found.collection == "t"
    assert found.column is None


@pytest.mark.parametrize(
    ("url", "message"),
    [("db", "no scheme"), ("lancedb://", "nothing follows"), ("lancedb://#t", "nothing follows")],
)
def test_what_is_no_url(url, message):
    with pytest.raises(InputError, match=message):
        parse(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://user:hunter2@host:5432/db#t",
        "postgresql://user:hunter2:x@host/db",
        "postgresql://user:p%40hunter2@host/db",
        "postgresql://user:p@hunter2@host/db",
        "postgresql://user:p/hunter2@host/db#t",
        "postgresql://user:hunter2#p@host/db#t",
        "postgresql://user:hunter2?p@host/db",
        "postgresql://:12/hunter2@host/db",
        "postgresql://user:12345678/hunter2@[::1]/db",
        "qdrant://:hunter2/p@host:6333#c",
        "qdrant://host:6333?api_key=hunter2#c",
        "lancedb://s3://bucket/db?aws_secret_access_key=hunter2",
        "postgresql://host/db?user=u&password=hunter2",
    ],
)
def test_a_secret_is_never_shown(url):
    found = parse(url)
    for shown in (found.shown, repr(found), redacted(url), str(found)):
        assert "hunter2" not in shown


def test_what_is_no_secret_stays():
    assert redacted("postgresql:/user:pw@host/db") == "postgresql:/user:***@host/db"
    assert redacted("postgresql://user:pw@host/db#t.c") == "postgresql://user:***@host/db#t.c"
    assert redacted("lancedb://db#docs.key") == "lancedb://db#docs.key"
    for url in (
        "postgresql://me@host:5432/db?passfile=/me/.pgpass&sslkey=/me/key.pem#t",
        "postgresql://host:5432/db?application_name=a@b#t",
        "postgresql://[::1]:5432/db?application_name=a@b",
        "s3://bucket/a:b/c@d",
        "file:///a:b/c@d.npy",
        "registry://localhost:8000/docs@production",
    ):
        assert redacted(url) == url
    assert without_secrets("host=h password='a b' x") == "host=h password=*** x"
