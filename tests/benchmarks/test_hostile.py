"""A few hundred mutated and forged artefacts; ``python -m benchmarks.hostile`` tries many more."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hostile import attacked, make_bridge


@pytest.mark.filterwarnings("ignore")
def test_forged_artefacts_are_refused_in_a_sentence_or_work(tmp_path: Path) -> None:
    found = attacked(make_bridge(tmp_path / "clean"), 400, seed=1)
    assert not found.raw
    assert found["refused"] > found["loaded"] > 0
    assert found.total() == 400
