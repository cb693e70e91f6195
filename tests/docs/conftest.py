"""What a reader of the pages has: vectors of two real models, and networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.demo import load_corpus
from isthmus.encoders import CachedEncoder, all_minilm_l6_int8, paraphrase_minilm_l3
from isthmus.stores import create_store

TEXTS, QUERIES, LATER = 1_200, 900, 60


@pytest.fixture(scope="session")
def reader_files() -> Callable[[Path], None]:
    """Writes the files that the commands of the pages name into a folder."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("tokenizers")
    pytest.importorskip("lancedb")
    corpus = load_corpus(TEXTS)
    arrays: dict[str, np.ndarray] = {}
    for name, model in (("old", paraphrase_minilm_l3()), ("new", all_minilm_l6_int8())):
        encoder = CachedEncoder(model)
        arrays[name] = encoder.encode(corpus.documents, kind="document")
        queries = encoder.encode(corpus.queries, kind="query")
        arrays[f"queries_{name}"] = queries[:QUERIES]
        arrays[f"{name}_queries"] = queries[-LATER:]

    arrays["all_old"], arrays["some_new"] = arrays["old"], arrays["new"][: TEXTS // 2]

    def write(folder: Path) -> None:
        for name, rows in arrays.items():
            np.save(folder / f"{name}.npy", rows)
        for name in ("old", "new"):
            (folder / f"{name}.ids.txt").write_text("\n".join(corpus.ids) + "\n")
            ids = "\n".join(corpus.ids[:QUERIES]) + "\n"
            (folder / f"queries_{name}.ids.txt").write_text(ids)
        _save_head(folder, arrays["old"])
        with (folder / "items.jsonl").open("w", encoding="utf-8") as file:
            for item, text in zip(corpus.ids, corpus.documents, strict=True):
                file.write(json.dumps({"id": item, "text": text}) + "\n")
        with (folder / "log.jsonl").open("w", encoding="utf-8") as file:
            for item, text in zip(corpus.ids[:QUERIES], corpus.queries, strict=False):
                file.write(json.dumps({"query": text, "clicked": [item]}) + "\n")
        create_store(
            f"lancedb://{folder / 'db'}#docs.vector",
            list(corpus.ids),
            {"vector": arrays["old"]},
            {"text": list(corpus.documents)},
        ).close()
        create_store(
            f"lancedb://{folder / 'db'}#bare.vector", list(corpus.ids), {"vector": arrays["old"]}
        ).close()

    return write


def _save_head(folder: Path, rows: np.ndarray) -> None:
    """A classifier of the old model's vectors, and what is right for each of them."""
    skops = pytest.importorskip("skops.io")
    linear = pytest.importorskip("sklearn.linear_model")
    centred = rows - rows.mean(axis=0)
    axis = np.linalg.svd(centred[:500], full_matrices=False)[2][0]
    labels = np.where(centred @ axis > 0, "more", "less")
    (folder / "labels.txt").write_text("\n".join(labels) + "\n")
    skops.dump(linear.LogisticRegression().fit(rows, labels), folder / "head.skops")


@pytest.fixture(scope="session")
def reader_networks() -> Callable[[], dict[str, Any]]:
    """A BERT, two small networks for images, and their batches, by the names the pages use."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    digits = pytest.importorskip("sklearn.datasets").load_digits()
    from torch import nn

    class Convolutions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer1 = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU())
            self.layer2 = nn.Sequential(nn.Conv2d(8, 12, 3, padding=1, stride=2), nn.ReLU())
            self.layer3 = nn.Sequential(nn.Conv2d(12, 16, 3, padding=1), nn.ReLU())
            self.head = nn.Linear(16 * 16, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.layer3(self.layer2(self.layer1(x))).flatten(1))

    class Vision(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patch = nn.Conv2d(1, 16, 2, stride=2)
            self.blocks = nn.Sequential(
                *(
                    nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
                    for _ in range(8)
                )
            )
            self.head = nn.Linear(16, 10)

        def forward(self, x: Any) -> Any:
            return self.head(self.blocks(self.patch(x).flatten(2).mT).mean(1))

    def made() -> dict[str, Any]:
        torch.manual_seed(0)
        shape = transformers.BertConfig(
            vocab_size=200,
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=64,
        )
        tokens = torch.randint(0, 200, (8, 12))
        images = torch.tensor(digits.images[:512, None] / 16, dtype=torch.float32)
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 16))
        labels = torch.tensor(digits.target[:512])

        def accuracy(network: Any) -> float:
            with torch.no_grad():
                return float((network(images).argmax(1) == labels).float().mean())

        return {
            "model": transformers.BertModel(shape).eval(),
            "batch": {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)},
            "old": Convolutions().eval(),
            "new": Vision().eval(),
            "encoder": encoder.eval(),
            "batches": images.split(64),
            "calibration": images.split(64),
            "example": images[:2],
            "accuracy": accuracy,
        }

    return made
