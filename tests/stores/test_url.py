from __future__ import annotations

import pytest

import isthmus
from isthmus.errors import InputError
from isthmus.stores.url import SCHEMES, is_store_url, open_store


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("lancdb://x#y", "no kind of store 'lancdb'. Did you mean 'lancedb'"),
        ("mysql://x", "no kind of store 'mysql'.*There are: "),
        ("docs.parqet", "no kind of file '.parqet'. Did you mean '.parquet'"),
        ("lancedb://", "nothing follows the scheme"),
    ],
)
def test_schemes_that_do_not_exist(url, message):
    with pytest.raises(InputError, match=message):
        open_store(url)


def test_no_secret_in_the_message():
    with pytest.raises(InputError) as told:
        open_store("postgrsql://me:hunter2@host/db#t")
    assert "hunter2" not in str(told.value)
    assert "Did you mean 'postgresql'" in str(told.value)


def test_urls_are_told_from_paths():
    assert is_store_url("lancedb://db#docs")
    assert not is_store_url("docs.parquet")
    assert not is_store_url("s3://bucket/docs.parquet")
    assert not is_store_url(3)


def test_every_scheme_has_its_class():
    for scheme in SCHEMES.values():
        found = getattr(pytest.importorskip(scheme.module), scheme.name)
        assert callable(found.open)
        assert callable(found.create)


def test_it_is_on_the_first_screen():
    assert isthmus.open_store is open_store
