"""FAISS index files of anybody: what they announce is not what they take."""

from __future__ import annotations

import resource
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.formats.faiss_index import read_index
from isthmus.spaces.readers import open_vectors

faiss = pytest.importorskip("faiss")

ROWS = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    index = faiss.IndexFlatL2(8)
    index.add(ROWS)
    faiss.write_index(index, str(tmp_path / "docs.faiss"))
    return tmp_path / "docs.faiss"


def test_an_index_that_announces_more_than_its_file_holds_takes_no_memory(path: Path) -> None:
    content = path.read_bytes()
    announced = ROWS.size.to_bytes(8, "little")
    assert content.count(announced) == 1
    path.write_bytes(content.replace(announced, (2**36).to_bytes(8, "little")))
    open_peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"docs.faiss: not a readable FAISS index file"):
        open_vectors(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - open_peak < 100 * 1024


def test_the_bounds_of_the_process_are_what_they_were(path: Path) -> None:
    before = faiss.get_deserialization_vector_byte_limit()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(read_index, [path] * 32))
    assert [index.ntotal for index in found] == [50] * 32
    assert faiss.get_deserialization_vector_byte_limit() == before


def test_lists_that_lack_a_number_are_refused(tmp_path: Path) -> None:
    for ids, whole in ((np.arange(50)[::-1], True), (np.arange(50) // 2, False)):
        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(8), 8, 2)
        index.train(ROWS)
        index.add_with_ids(ROWS, ids)
        faiss.write_index(index, str(tmp_path / "lists.faiss"))
        if whole:
            found = open_vectors(tmp_path / "lists.faiss")
            np.testing.assert_array_equal(found.rows(0, 50), ROWS[::-1])
            continue
        with pytest.raises(InputError, match="do not hold each of the numbers below 50 once"):
            open_vectors(tmp_path / "lists.faiss")
