"""Both places and an engine, in the call itself: the answer of pairs that were opened before."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import isthmus
from isthmus.errors import InputError
from isthmus.scale.engine import PooledEngine

RECIPE = "unit_norm | procrustes | unit_norm"


@pytest.fixture
def sides(world: Any, write: Any, tmp_path: Path) -> tuple[Path, Path]:
    return (
        write(tmp_path / "new", world.new, world.ids, [500, 900]),
        write(tmp_path / "old", world.old[::-1], world.ids[::-1], [700]),
    )


@pytest.fixture
def engine() -> Iterator[PooledEngine]:
    with isthmus.open_engine("threads:2") as running:
        yield running


def test_the_first_screen_fits_judges_and_maps_on_an_engine(
    sides: tuple[Path, Path], world: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = isthmus.open_vectors(world.new, ids=world.ids)
    alone = isthmus.fit(isthmus.Pairs(new, isthmus.open_vectors(world.old, ids=world.ids)))
    expected = isthmus.fit(sides, recipe=RECIPE)
    for chosen in ("threads:2", engine):
        bridge = isthmus.fit(sides, recipe=RECIPE, engine=chosen)
        np.testing.assert_allclose(
            bridge.transform(world.new), expected.transform(world.new), atol=1e-6
        )
        assert bridge.evidence is not None and alone.evidence is not None
        assert bridge.evidence.n_queries == alone.evidence.n_queries
        again = isthmus.assess(bridge, sides, engine=chosen)
        assert again.arms["bridge"].metrics == bridge.evidence.arms["bridge"].metrics
    # the engine that was given is the caller's, and runs on
    out = tmp_path / "mapped"
    assert isthmus.apply(bridge, sides[0], out, engine=engine) == 1500
    mapped = isthmus.open_vectors(out)
    assert mapped.ids is not None
    np.testing.assert_array_equal(mapped.ids, world.ids)
    np.testing.assert_allclose(mapped.rows(0, 1500), bridge.transform(world.new), atol=1e-6)


@pytest.mark.parametrize("how", ["opened", "in memory", "one place", "ids", "a URL without one"])
def test_what_an_engine_cannot_read_is_refused(
    how: str, sides: tuple[Path, Path], world: Any, tmp_path: Path
) -> None:
    bridge = isthmus.fit(isthmus.Pairs(world.new, world.old), recipe=RECIPE)
    calls: dict[str, tuple[Any, str]] = {
        "opened": (
            lambda: isthmus.fit(isthmus.Pairs(*sides), engine="threads:1"),
            r"opened already.*isthmus\.open_pairs",
        ),
        "in memory": (
            lambda: isthmus.fit((world.new, world.old), engine="threads:1"),
            "an engine reads files, folders, URLs and stores, got ndarray",
        ),
        "one place": (lambda: isthmus.fit(sides[0]), "expected Pairs, or two places"),  # type: ignore[arg-type]
        "ids": (
            lambda: isthmus.apply(
                bridge, sides[0], tmp_path / "out", ids=world.ids, engine="threads:1"
            ),
            "from a column",
        ),
        "a URL without one": (
            lambda: isthmus.apply(bridge, sides[0], "s3://bucket/mapped"),
            "a URL is written part by part",
        ),
    }
    call, message = calls[how]
    with pytest.raises(InputError, match=message):
        call()
    assert not (tmp_path / "out").exists()
