"""Real vectors that would fool a verdict: each kind is named, and nothing is recommended on it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
import pytest

from isthmus import Pairs, fit
from isthmus.bridge import Fitting
from isthmus.demo.corpus import load_corpus
from isthmus.evaluate import Judging
from isthmus.evaluate.arms import Verdict

pytestmark = pytest.mark.skipif(find_spec("wordllama") is None, reason="wordllama has the words")

RECIPE = "unit_norm | procrustes | unit_norm"
SMALL = 64  # the first dimensions of the vectors are those of a smaller model
N = 1200
SHARES = {"fit": 0.6, "validation": 0.1, "test": 0.3}


class Texts(NamedTuple):
    encode: Callable[[list[str]], Any]
    documents: list[str]
    queries: list[str]
    classes: list[str]


@pytest.fixture(scope="module")
def texts() -> Texts:
    from isthmus.encoders import wordllama_256

    corpus = load_corpus(N)
    return Texts(
        wordllama_256().encode, list(corpus.documents), list(corpus.queries), list(corpus.classes)
    )


@pytest.fixture(scope="module")
def items(texts: Texts) -> Any:
    return texts.encode(texts.documents)


@pytest.fixture(scope="module")
def asked(texts: Texts) -> Any:
    return texts.encode(texts.queries)


def found(items: Any, asked: Any, *, new: Any = slice(None)) -> Any:
    """The evidence where the rows of the new side stand in the order ``new``."""
    pairs = Pairs(items[new], items[:, :SMALL] + 0)
    queries = Pairs(asked[new], asked[:, :SMALL] + 0)
    bridge = fit(
        pairs,
        queries=queries,
        recipe=RECIPE,
        judging=Judging(limits=None, resamples=400),
        fitting=Fitting(shares=SHARES),
    )
    return bridge.evidence


def test_honest_rows_raise_no_doubt(items: Any, asked: Any) -> None:
    evidence = found(items, asked)
    assert evidence.verdict in (Verdict.RE_EMBED, Verdict.BRIDGE_AND_RESCORE), evidence.reason


def test_a_new_side_in_another_order_is_no_gain(items: Any, asked: Any) -> None:
    other = np.random.default_rng(0).permutation(N)
    evidence = found(items, asked, new=other)
    # by itself the new side answers its own queries as well as ever
    assert evidence.arms["new"].to_old.low > 0
    assert evidence.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert evidence.recommended is None
    assert evidence.reason.startswith("the rows of the two sides are not of the same items")
    assert "gain" not in evidence.reason


def test_rows_of_which_a_third_are_mispaired_decide_nothing(items: Any, asked: Any) -> None:
    order = np.arange(N)
    wrong = np.random.default_rng(0).permutation(N)[: 3 * N // 10]
    order[wrong] = np.roll(wrong, 1)
    evidence = found(items, asked, new=order)
    assert evidence.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert "probably paired wrongly" in evidence.reason


@pytest.mark.parametrize("edited", [str, "{}.".format])
def test_queries_that_are_their_documents_decide_nothing(
    texts: Texts, items: Any, edited: Callable[[str], str]
) -> None:
    evidence = found(items, texts.encode([edited(text) for text in texts.documents]))
    assert evidence.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert "of the queries are the items that answer them" in evidence.reason


def test_items_whose_class_no_other_shares_are_left_out_and_counted(
    texts: Texts, items: Any
) -> None:
    labels = np.array(texts.classes, dtype=object)
    single = np.random.default_rng(0).permutation(N)[: N // 5]
    labels[single] = [f"only {i}" for i in range(len(single))]
    bridge = fit(
        Pairs(items, items[:, :SMALL] + 0, labels=labels.astype(str)),
        recipe=RECIPE,
        judging=Judging(limits=None, resamples=400),
        fitting=Fitting(shares=SHARES),
    )
    assert bridge.evidence is not None
    assert 40 <= bridge.evidence.n_unanswerable <= 120
    assert bridge.evidence.n_queries + bridge.evidence.n_unanswerable == 342
