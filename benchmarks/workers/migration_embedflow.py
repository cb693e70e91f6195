"""embedflow: prewarms its cache of new vectors, and answers queries by recall and rescoring."""

import json
import sys
from pathlib import Path

import numpy as np
from embedflow.indexes import FaissIndex
from embedflow.migration.facade import migrate
from embedflow.models.base import EmbeddingModel

what, place, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])


class Looked(EmbeddingModel):
    """A text is the number of its row; queries begin with q."""

    def __init__(self, name):
        self.model_id = self.fingerprint = name
        self.documents = np.load(folder / f"{name}.npy")
        self.asked = np.load(folder / f"q_{name}.npy")
        self.dimension = self.documents.shape[1]

    def encode_queries(self, texts):
        return self.asked[[int(t[1:]) for t in texts]]

    def encode_documents(self, texts, batch_size=None):
        return self.documents[[int(t) for t in texts]]

    def close(self):
        pass


old, new = Looked("old"), Looked("new")
names = [f"doc-{i:08d}" for i in range(len(old.documents))]
place.mkdir(parents=True, exist_ok=True)
texts = place / "texts.jsonl"
if not texts.exists():
    lines = (json.dumps({"id": name, "text": str(i)}) for i, name in enumerate(names))
    texts.write_text("\n".join(lines))
index = FaissIndex.build(old.documents, names, path=place / "old.index", metric="cosine")
session = migrate(
    index=index, old_model=old, new_model=new, documents=texts, backend="faiss",
    cache_path=place / "cache", state_path=place / "state.json", start_worker=False,
)  # fmt: skip
if what == "run":
    session.prewarm(names, asynchronous=False)
elif what == "cached":
    found = {}
    for start in range(0, len(names), 500):
        found.update(session.engine.cache.peek(names[start : start + 500]))
    np.savez(place / "cached.npz", ids=list(found), rows=np.stack(list(found.values())))
else:  # ask
    lists = []
    for i in range(len(old.asked)):
        hits = session.search(f"q{i}", top_k=10, max_sync_misses=0)["results"]
        lists.append([hit.get("id") or hit.get("document_id") for hit in hits])
    print(json.dumps(lists))
session.close()
