"""Maps of folds: who maps whom, and what is kept of them in a file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import artefact
from isthmus.adapters.chain import Affine, Chain
from isthmus.adapters.cross_fitted import CrossFitted
from isthmus.artefact import Packed
from isthmus.spaces.split import Copies


def _maps(first: int) -> tuple[Chain, ...]:
    return tuple(Chain([Affine(np.eye(3) * (first + k))]) for k in range(4))


def _again(folder: Path, packed: Packed, **changed: Any) -> CrossFitted:
    described, tensors = packed
    artefact.write(folder, "maps", {**described, **changed}, tensors)
    with artefact.read(folder, "maps") as stored:
        return CrossFitted.unpack(stored.content, stored.tensors, 3, 3)


MAPS = CrossFitted(
    _maps(1),
    seed=7,
    fewer=CrossFitted(_maps(11), seed=7),
    nested=CrossFitted(_maps(21), seed=7),
)


def test_rows_of_a_fold_are_behind_its_map() -> None:
    ids = np.arange(50)
    folds = MAPS.folds(ids)
    assert set(folds.tolist()) == {0, 1, 2, 3}
    np.testing.assert_array_equal(MAPS.mapped(ids, np.ones((50, 3)))[:, 0], folds + 1)
    assert MAPS.fewer is not None
    np.testing.assert_array_equal(MAPS.fewer.mapped(ids, np.ones((50, 3)))[:, 0], folds + 11)


def test_copies_stay_in_the_fold_of_the_first_and_are_a_group(tmp_path: Path) -> None:
    ids = np.arange(50)
    assert MAPS.groups(ids) is None
    # 9 copies 3, which is not among the ids asked of
    copies = Copies.of(np.array([9, 20, 30, 31]), np.array([3, 5, 5, 40]))
    maps = CrossFitted.apart(_maps(1), 7, copies)
    found = _again(tmp_path / "maps", maps.pack())
    for one in (maps, found):
        folds, groups = one.folds(ids), one.groups(ids[4:])
        assert folds[9] == folds[3] and folds[20] == folds[30] == folds[5]
        others = np.setdiff1d(ids, copies.ids)
        np.testing.assert_array_equal(folds[others], MAPS.folds(others))
        assert groups is not None
        alike = np.flatnonzero(groups >= 0) + 4
        assert alike.tolist() == [5, 20, 30, 31, 40]
        groups = groups[alike - 4]
        assert len(set(groups[:3])) == 1 == len(set(groups[3:])) and groups[0] != groups[4]


def test_maps_of_fewer_pairs_and_of_other_recipes_are_kept_with_them(tmp_path: Path) -> None:
    found = _again(tmp_path / "maps", MAPS.rounded().pack())
    rows, ids = np.random.default_rng(0).standard_normal((20, 3)), np.arange(20)
    pairs = ((found, MAPS), (found.fewer, MAPS.fewer), (found.nested, MAPS.nested))
    for one, other in pairs:
        assert one is not None and other is not None and one.seed == 7
        np.testing.assert_allclose(one.mapped(ids, rows), other.mapped(ids, rows))
    assert found.nested is not None and MAPS.nested is not None
    # what the others chose for a fold as well is one map
    some = replace(MAPS, nested=replace(MAPS.nested, chains=(*_maps(21)[:3], MAPS.chains[3])))
    packed = some.rounded().pack()
    assert len(packed[1]) == len(MAPS.pack()[1]) - len(MAPS.chains[3].pack()[1])
    again = _again(tmp_path / "some", packed)
    assert again.nested is not None and again.nested.chains[3] is again.chains[3]
    for one, other in ((again, found), (again.nested, some.nested)):
        assert other is not None
        np.testing.assert_allclose(one.mapped(ids, rows), other.mapped(ids, rows))
    plain = _again(tmp_path / "others", CrossFitted(_maps(1)).pack())
    assert plain.fewer is None and plain.nested is None


@pytest.mark.parametrize("beside", ["fewer", "nested"])
def test_maps_beside_them_are_as_many(tmp_path: Path, beside: str) -> None:
    packed = MAPS.pack()
    with pytest.raises(ValueError, match=f"3 maps '{beside}' beside 4"):
        _again(tmp_path / "maps", packed, **{beside: packed[0][beside][:3]})
