from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("lancedb")

from isthmus.demo.migration import tell_migration


def test_the_demo_moves_an_index_and_goes_back(tmp_path):
    lines: list[str] = []
    told = dict(tell_migration(tmp_path, say=lines.append, texts=300))
    assert told["the naive swap"] < told["the old model"]
    assert told["rolled back, the old model"] == told["the old model"]
    assert told["cut over"] == pytest.approx(told["full"], abs=0.1)
    assert any("300 items have, bit for bit, the vectors they had" in line for line in lines)
