"""What a reader of `isthmus.migrate` has at hand: a live index, two models, and a plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from isthmus.encoders import open_encoder
from isthmus.migrate import make_plan
from isthmus.migrate.planning import PlannedModels
from isthmus.stores import create_store, open_store

WORDS = [f"{a}{b}" for a in ("ba", "ko", "lu", "mi") for b in ("r", "lt", "nd", "sk", "ps")]
OLD, NEW = "static:old.safetensors", "static:new.safetensors"


def write_planned_index() -> None:
    """Write two models, the index ``db#docs`` of 60 texts and ``plan.json`` into this folder."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    rng = np.random.default_rng(0)
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token=WORDS[0]))
    words.pre_tokenizer = Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    words.save("tokenizer.json")
    old = rng.standard_normal((len(WORDS), 8)).astype(np.float32)
    save_file({"table": old}, "old.safetensors")
    save_file({"table": np.hstack([old, old[:, :2] ** 2])}, "new.safetensors")
    texts = [" ".join(rng.choice(WORDS, 4)) for _ in range(60)]
    models = PlannedModels(open_encoder(NEW), NEW, open_encoder(OLD), OLD)
    assert models.old is not None
    vectors = {"old": models.old.encode(texts)}
    create_store("lancedb://db#docs", np.arange(60), vectors, {"text": texts}).close()
    with open_store("lancedb://db#docs.old") as store:
        make_plan(store, models, Path("plan.json")).save(Path("plan.json"))
