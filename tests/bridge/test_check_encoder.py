"""An encoder of another model than the bridge's is refused before a query is answered."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.bridge.hashed_encoders import HashedEncoder

from isthmus.bridge import Bridge, ModelChange, fit_sample, sample_store
from isthmus.bridge.check_encoder import check_encoder
from isthmus.encoders import CallableEncoder
from isthmus.errors import WrongSpaceError
from isthmus.stores import MemoryStore
from isthmus.ways import Recall, Way


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(f"w{w}" for w in rng.integers(0, 200, size=5)) for _ in range(500)]


@pytest.fixture(scope="module")
def store(texts: list[str]) -> MemoryStore:
    rows = HashedEncoder("old", 16).encode(texts)
    return MemoryStore(np.arange(len(texts)), {"old": rows}, payload={"text": texts})


@pytest.fixture(scope="module")
def hashed(store: MemoryStore) -> Bridge:
    models = ModelChange(HashedEncoder("new", 20), HashedEncoder("old", 16))
    return fit_sample(sample_store(store, models, pairs=400), models)


def renamed(encoder: HashedEncoder, name: str) -> CallableEncoder:
    return CallableEncoder(encoder.encode, name=name, revision="2", dim=encoder.dim)


def test_the_model_of_the_fit_is_known_without_encoding(hashed: Bridge) -> None:
    for model, dim in (("new", 20), ("old", 16)):
        encoder = HashedEncoder(model, dim)
        check_encoder(hashed, encoder, model)  # type: ignore[arg-type]
        assert encoder.seen == []


def test_the_same_model_under_another_name_passes_by_its_canaries(hashed: Bridge) -> None:
    for model, dim in (("new", 20), ("old", 16)):
        encoder = HashedEncoder(model, dim)
        check_encoder(hashed, renamed(encoder, "other"), model)  # type: ignore[arg-type]
        assert hashed.canary is not None and encoder.seen == list(hashed.canary.items or ())


@pytest.mark.parametrize(("model", "dim"), [("new", 20), ("old", 16)])
def test_another_model_is_refused_by_name(hashed: Bridge, model: str, dim: int) -> None:
    with pytest.raises(WrongSpaceError, match=f"foreign is not the {model} model.*canary"):
        check_encoder(hashed, HashedEncoder("foreign", dim), model)  # type: ignore[arg-type]
    with pytest.raises(WrongSpaceError, match=f"{dim + 3} dimensions.* has {dim}"):
        check_encoder(hashed, HashedEncoder(model, dim + 3), model)  # type: ignore[arg-type]


def test_a_bridge_without_canary_texts_checks_the_width(hashed: Bridge) -> None:
    bare = replace(hashed, canary=None)
    check_encoder(bare, HashedEncoder("foreign", 20), "new")
    with pytest.raises(WrongSpaceError, match="dimensions"):
        check_encoder(bare, HashedEncoder("foreign", 21), "new")


def test_a_search_checks_what_its_way_asks(hashed: Bridge, store: MemoryStore) -> None:
    foreign = HashedEncoder("foreign", 16)
    hashed.search(store, "bridge", old=foreign, new=HashedEncoder("new", 20))
    with pytest.raises(WrongSpaceError, match="the old encoder"):
        hashed.search(store, Way(recall=Recall(kind="old")), old=foreign)
