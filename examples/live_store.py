"""From the URL of a live index, two models and a log of queries to the recommended search.

    pip install 'isthmus[demo]'
    python examples/live_store.py

A LanceDB table is filled first, as your old model would have; with PostgreSQL, Qdrant or Chroma
only the URL differs. Nothing below the line needs files of vectors.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import isthmus
from isthmus.bridge import (
    ModelChange,
    fit_sample,
    judge_live,
    sample_store,
    with_live_evidence,
)
from isthmus.demo import load_corpus
from isthmus.encoders import CachedEncoder, all_minilm_l6_int8, paraphrase_minilm_l3
from isthmus.spaces.query_log import read_query_log
from isthmus.stores import create_store

TEXTS = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000

folder = Path(tempfile.mkdtemp())
url = f"lancedb://{folder / 'db'}#docs.vector"
corpus = load_corpus(TEXTS)
old_model, new_model = CachedEncoder(paraphrase_minilm_l3()), CachedEncoder(all_minilm_l6_int8())
create_store(
    url,
    list(corpus.ids),
    {"vector": old_model.encode(corpus.documents, kind="document")},
    {"text": list(corpus.documents)},
).close()
with (folder / "log.jsonl").open("w", encoding="utf-8") as log:
    for item, text in zip(corpus.ids, corpus.queries, strict=True):
        log.write(json.dumps({"query": text, "clicked": [item]}) + "\n")

# ---- from here on as with an index of your own -------------------------------------------------

models = ModelChange(new=new_model, old=old_model)
with isthmus.open_store(url) as store:
    sample = sample_store(
        store, models, pairs=TEXTS // 2, log=read_query_log(folder / "log.jsonl"), most_queries=1000
    )
    bridge = fit_sample(sample, models)
    # every way searches the index itself
    bridge = with_live_evidence(bridge, judge_live(bridge, store, sample, models))
    print(bridge.evidence)
    bridge.save(folder / "live.bridge")

    search = isthmus.Bridge.load(folder / "live.bridge").search(
        store, bridge.way("recommended" if bridge.recommended else "bridge"),
        old=old_model, new=new_model,
    )  # fmt: skip
    answer = search([corpus.queries[0]], k=3)
    print(f'\n"{corpus.queries[0]}":')
    for text in store.texts(answer.ids[0]):
        print(f"  {text[:90]}")
