from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.encoders.counting import Counting

from isthmus.encoders import PrecomputedEncoder, encode_items
from isthmus.errors import InputError


@pytest.fixture
def rows(rng: np.random.Generator) -> np.ndarray:
    return rng.normal(size=(6, 4)).astype(np.float32)


def test_vectors_are_found_by_id_in_the_order_asked_for(tmp_path: Path, rows: np.ndarray) -> None:
    np.save(tmp_path / "new.npy", rows)
    (tmp_path / "new.ids.txt").write_text("f\ne\nd\nc\nb\na\n")
    encoder = PrecomputedEncoder(tmp_path / "new.npy")
    assert (encoder.name, encoder.dim) == ("new", 4)
    np.testing.assert_array_equal(encoder.encode(["a", "f", "c", "a"]), rows[[5, 0, 3, 5]])
    assert encoder.encode([]).shape == (0, 4)


def test_queries_have_ids_of_their_own(rows: np.ndarray) -> None:
    encoder = PrecomputedEncoder(rows[:3], queries=rows[3:], ids=[10, 11, 12], name="m")
    np.testing.assert_array_equal(encoder.encode(["12", "10"]), rows[[2, 0]])
    np.testing.assert_array_equal(encoder.encode(["2", "0"], kind="query"), rows[[5, 3]])
    alone = PrecomputedEncoder(rows, name="m")
    np.testing.assert_array_equal(alone.encode(["2"], kind="query"), rows[[2]])


def test_an_id_without_a_vector_is_named(rows: np.ndarray) -> None:
    with pytest.raises(InputError, match="no vector for the id '9'"):
        PrecomputedEncoder(rows, name="m").encode(["1", "9"])


def test_the_revision_is_of_the_vectors_and_their_ids(rows: np.ndarray) -> None:
    def revision(**options: object) -> str:
        given = {"documents": rows, "name": "m", **options}
        return PrecomputedEncoder(given.pop("documents"), **given).revision  # type: ignore[arg-type]

    other = rows.copy()
    other[3, 2] += 1
    assert revision() == revision(name="n")
    assert len({revision(), revision(documents=other), revision(ids=list("abcdef"))}) == 3
    assert revision(queries=rows) != revision()


def test_two_models_are_refused(rows: np.ndarray) -> None:
    with pytest.raises(InputError, match="3 dimensions, the items 4"):
        PrecomputedEncoder(rows, queries=rows[:, :3].copy())


def test_items_go_to_either_kind_of_encoder(rows: np.ndarray) -> None:
    np.testing.assert_array_equal(
        encode_items(PrecomputedEncoder(rows, name="m"), [4, 2], ["x 1", "y 2"]), rows[[4, 2]]
    )
    counting = Counting()
    encode_items(counting, [4, 2], ["x 1", "y 2"])
    assert counting.seen == ["x 1", "y 2"]


def test_an_id_is_found_whatever_system_wrote_it(rows: np.ndarray) -> None:
    names = [f"caf\u00e9 {i}" for i in range(len(rows))]
    known = PrecomputedEncoder(rows, ids=names)
    np.testing.assert_array_equal(known.encode(["cafe\u0301 1", names[0]]), rows[[1, 0]])
