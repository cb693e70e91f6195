"""What the table of other tools rests on; the tools themselves are installed by its command."""

from __future__ import annotations

import json
import urllib.request

import numpy as np

from benchmarks.migration_peers.__main__ import _same, _what
from benchmarks.migration_peers.given import Given, encoder_over_http, row_of
from isthmus.encoders import OpenAiEncoder


def rows_of(folder, n=12, dim=4) -> Given:
    rng = np.random.default_rng(0)
    for name in ("old", "new"):
        rows = rng.standard_normal((n, dim)).astype(np.float32)
        np.save(folder / f"{name}.npy", rows)
        np.save(folder / f"q_{name}.npy", rows)
    return Given(folder, n)


def test_the_endpoint_looks_vectors_up(tmp_path):
    rows = rows_of(tmp_path)
    with encoder_over_http(rows) as address:
        ours = OpenAiEncoder("m", address, folder=tmp_path).encode(["5", "11"])
        asked = json.dumps({"model": "m", "input": ["7", " 3 ", "a probe"]}).encode()
        request = urllib.request.Request(
            f"{address}/embeddings", asked, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            found = json.load(answer)["data"]
    got = np.array([one["embedding"] for one in found], np.float32)
    np.testing.assert_array_equal(got, rows.documents("new")[[7, 3, 0]])
    np.testing.assert_array_equal(ours, rows.documents("new")[[5, 11]])
    assert (row_of("11"), row_of("x")) == (11, 0)


def test_recall_counts_the_own_document(tmp_path):
    rows = rows_of(tmp_path)
    documents = rows.documents("new")
    assert rows.recall(rows.queries("new"), documents) == 1.0
    assert rows.recall(-rows.queries("new"), documents) < 1.0


def test_what_an_added_row_has_and_what_is_bit_for_bit_the_same():
    true = np.array([1.0, 0.0], np.float32)
    assert _what(None, true) == "is gone"
    assert _what(np.array([np.nan, np.nan]), true) == "has none (NULL)"
    assert _what(np.array([2.0, 0.0]), true) == "has a true old vector"
    assert _what(np.array([0.0, 1.0]), true).startswith("has another's")
    held = {"a": true, "b": true + np.float32(1e-7)}
    assert _same(held, {"a": true, "b": true, "c": true}) == 1
