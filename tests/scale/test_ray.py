"""Ray, started for real: the same two verbs."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.scale import work

from isthmus.errors import EngineError, InputError
from isthmus.scale import open_engine


@pytest.mark.filterwarnings("default")  # its own, of sockets it leaves to the collector
def test_ray_joins_in_order_and_loses_nothing(tmp_path: Path) -> None:
    with open_engine("ray:2") as engine:
        parts = list(range(12))
        assert engine.fold(parts, work.text, work.joined) == "".join(f"{i} " for i in parts)
        assert dict(engine.each([str(tmp_path / "a")], work.dies_once)) == {0: "a"}
        with pytest.raises(InputError, match="part-8: the row is zero"):
            list(engine.each(["part-8"], work.refuses))
        with pytest.raises(EngineError, match="part-7: .* failed twice"):
            list(engine.each(["part-7"], work.always_fails))
