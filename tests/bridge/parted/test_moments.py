"""Moments beside the data: a fit after new data is an addition, and equals the fit of all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.scale.conftest import same_bridge

from isthmus import Bridge, Pairs, fit
from isthmus.bridge import Fitting, SampleSizes, StoredMoments, write_moments
from isthmus.errors import InputError, OutputError
from isthmus.scale import PartedPairs, open_engine, open_pairs
from isthmus.scale.engine import PooledEngine


@pytest.fixture(scope="module")
def engine() -> Iterator[PooledEngine]:
    with open_engine("threads:2") as running:
        yield running


@pytest.fixture
def sides(world: Any, write: Any, tmp_path: Path) -> tuple[Path, Path]:
    cuts = [400, 800, 1200]
    return (
        write(tmp_path / "new", world.new, world.ids, cuts),
        write(tmp_path / "old", world.old, world.ids, cuts),
    )


def _fit(pairs: Pairs, **options: Any) -> Bridge:
    return fit(pairs, recipe=["unit_norm | ridge(alpha=auto) | unit_norm"], **options)


class _Unread:
    """Fails where a part of the pairs is read."""

    def __init__(self, pairs: PartedPairs, monkeypatch: pytest.MonkeyPatch) -> None:
        def refused(*_: Any) -> Any:
            raise AssertionError("the data were read")

        monkeypatch.setattr("isthmus.scale.pair_parts.OnRun.__call__", refused)


def test_a_fit_of_moments_reads_no_data_and_is_the_fit_of_the_data(
    sides: tuple[Path, Path],
    tmp_path: Path,
    engine: PooledEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = open_pairs(*sides, engine=engine)
    assert write_moments(pairs, tmp_path / "m") == 4
    expected = _fit(open_pairs(*sides, engine=engine))
    _Unread(pairs, monkeypatch)
    pairs.use(StoredMoments.of(tmp_path / "m", pairs))
    same_bridge(_fit(pairs), expected)


def test_after_new_data_only_these_are_read(
    sides: tuple[Path, Path], world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    later = [(side / "part-3.parquet") for side in sides]
    for file in later:
        file.rename(tmp_path / f"{file.parent.name}-later")
    assert write_moments(open_pairs(*sides, engine=engine), tmp_path / "m") == 3
    for file in later:
        (tmp_path / f"{file.parent.name}-later").rename(file)
    pairs = open_pairs(*sides, engine=engine)
    with pytest.raises(InputError, match=r"part-3.*is new, or has changed.*isthmus moments OLD"):
        StoredMoments.of(tmp_path / "m", pairs)
    assert write_moments(pairs, tmp_path / "m") == 1
    pairs.use(StoredMoments.of(tmp_path / "m", pairs))
    same_bridge(_fit(pairs), _fit(open_pairs(*sides, engine=engine)))


def test_a_part_that_changed_is_read_again_and_one_that_went_is_forgotten(
    sides: tuple[Path, Path], world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    write_moments(open_pairs(*sides, engine=engine), tmp_path / "m")
    for side in sides:
        (side / "part-3.parquet").unlink()
    write(tmp_path / "again", world.new + np.float32(0.01), world.ids, [400, 800, 1200])
    shutil.move(tmp_path / "again" / "part-1.parquet", sides[0] / "part-1.parquet")
    pairs = open_pairs(*sides, engine=engine)
    with pytest.raises(InputError, match=r"part-1.*has changed since"):
        StoredMoments.of(tmp_path / "m", pairs)
    assert write_moments(pairs, tmp_path / "m") == 1
    assert len([f for f in (tmp_path / "m").iterdir() if f.is_dir()]) == 3
    pairs.use(StoredMoments.of(tmp_path / "m", pairs))
    same_bridge(_fit(pairs), _fit(open_pairs(*sides, engine=engine)))


def test_passes_that_are_not_stored_read_the_data(
    sides: tuple[Path, Path], world: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    pairs, plain = (open_pairs(*sides, engine=engine) for _ in range(2))
    write_moments(pairs, tmp_path / "m")
    pairs.use(StoredMoments.of(tmp_path / "m", pairs))
    queries = Pairs(world.new[:300], world.old[:300], ids=world.ids[:300].tolist())
    for options in (
        {"queries": queries, "fitting": Fitting(cross_fit=False)},
        {"fitting": Fitting(seed=3, sizes=SampleSizes(gallery=20_000))},
    ):
        same_bridge(_fit(pairs, **options), _fit(plain, **options))


def test_samples_are_kept_only_as_far_as_they_may_be_needed(
    sides: tuple[Path, Path],
    tmp_path: Path,
    engine: PooledEngine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small = SampleSizes(test=20, validation=20, gallery=50, validation_gallery=40)
    monkeypatch.setattr("isthmus.bridge.parted.moments.SampleSizes", lambda: small)
    fitting = Fitting(sizes=small)
    pairs = open_pairs(*sides, engine=engine)
    write_moments(pairs, tmp_path / "m")
    kept = [f.stat().st_size for f in (tmp_path / "m").glob("*/tensors.safetensors")]
    pairs.use(StoredMoments.of(tmp_path / "m", pairs))
    expected = _fit(open_pairs(*sides, engine=engine), fitting=fitting)
    same_bridge(_fit(pairs, fitting=fitting), expected)
    monkeypatch.setattr("isthmus.bridge.parted.moments._limit", lambda *_: 2**64 - 1)
    write_moments(open_pairs(*sides, engine=engine), tmp_path / "whole")
    whole = [f.stat().st_size for f in (tmp_path / "whole").glob("*/tensors.safetensors")]
    assert sum(kept) < sum(whole)
    # too low a limit is noticed, and the sample is taken from the data
    monkeypatch.setattr("isthmus.bridge.parted.moments._limit", lambda *_: 2**58)
    pairs = open_pairs(*sides, engine=engine)
    write_moments(pairs, tmp_path / "low")
    pairs.use(StoredMoments.of(tmp_path / "low", pairs))
    same_bridge(_fit(pairs, fitting=fitting), expected)


def test_what_moments_are_not_of_is_refused(
    sides: tuple[Path, Path], world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new, old = sides
    pairs = open_pairs(new, old, engine=engine)
    write_moments(pairs, tmp_path / "m")
    with pytest.raises(OutputError, match="the seed was 0, and is 1"):
        write_moments(pairs, tmp_path / "m", seed=1)
    with pytest.raises(OutputError, match="holds other files"):
        write_moments(pairs, new)
    with pytest.raises(InputError, match="of other pairs: the source was"):
        StoredMoments.of(tmp_path / "m", open_pairs(old, new, engine=engine))
    with pytest.raises(InputError, match="holds no moments"):
        StoredMoments.of(tmp_path / "nothing", pairs)
    mixed = write(tmp_path / "mixed", world.old[::-1], world.ids[::-1])
    with pytest.raises(InputError, match="in different orders"):
        write_moments(open_pairs(new, mixed, engine=engine), tmp_path / "m2")
