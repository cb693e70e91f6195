import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from isthmus.errors import InputError
from isthmus.nn.modality.hubs import hub_offsets, with_offsets


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def test_offsets_and_products_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    gallery, bank, queries = (rng.normal(size=(n, 8)) for n in (20, 50, 6))
    offsets = hub_offsets(gallery, bank, k=4)
    cosines = unit(gallery) @ unit(bank).T
    np.testing.assert_allclose(offsets, np.sort(cosines)[:, -4:].mean(1) / 2, atol=1e-6)
    left, right = with_offsets(queries, gallery, offsets)
    np.testing.assert_allclose(left @ right.T, unit(queries) @ unit(gallery).T - offsets, atol=1e-6)
    # half of CSLS: the other half is one number per query
    near = np.sort(unit(queries) @ unit(gallery).T)[:, -4:].mean(1, keepdims=True)
    csls = 2 * unit(queries) @ unit(gallery).T - 2 * offsets - near
    assert (np.argsort(csls, axis=1) == np.argsort(left @ right.T, axis=1)).all()


def test_without_offsets_products_are_cosines():
    rows = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    left, right = with_offsets(rows, rows, None)
    np.testing.assert_allclose(left @ right.T, unit(rows) @ unit(rows).T, atol=1e-6)


def test_a_hub_is_found_less_often():
    rng = np.random.default_rng(2)
    common = rng.normal(size=16)
    # what all queries share lies in the direction of the first item
    items = unit(np.vstack([common, rng.normal(size=(299, 16))]))
    queries, bank = (unit(unit(rng.normal(size=(300, 16))) + unit(common[None])) for _ in "qb")

    def found_first(offsets):
        left, right = with_offsets(queries, items, offsets)
        return float(((left @ right.T).argmax(axis=1) == 0).mean())

    assert found_first(None) > 0.5 and found_first(hub_offsets(items, bank)) < 0.3


def test_bad_input_is_refused():
    rows = np.ones((3, 2), np.float32)
    with pytest.raises(InputError, match="got 0"):
        hub_offsets(rows, rows[:0])
    with pytest.raises(InputError, match="k = 0"):
        hub_offsets(rows, rows, k=0)
    with pytest.raises(InputError, match=r"row 1.*no direction"):
        with_offsets(np.array([[1.0, 0.0], [0.0, 0.0]]), rows, None)
