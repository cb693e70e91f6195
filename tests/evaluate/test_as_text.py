"""An evaluation as text: fitted to any width, the chief ways first, equal metrics once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.evaluate.test_weigh import measured

from isthmus.evaluate.as_text import distinct_metrics, evaluation_lines
from isthmus.evaluate.evaluation import Evaluation
from isthmus.evaluate.judging import Judging
from isthmus.evaluate.price import Price
from isthmus.evaluate.weigh import weigh
from isthmus.ways import evaluate_upgrade


@pytest.fixture(scope="module")
def found(upgrade) -> Evaluation:
    trial = upgrade("perfect", old_noise=0.6)
    price = Price(encodings=70, encodings_cached=9.4, old_query=True)
    cascade = {"price": price, "label": "mixed_rescore 0.45 70"}
    return weigh(measured(trial, mixed_rescore=cascade), Judging(resamples=100))


@pytest.fixture(scope="module")
def agreement(upgrade) -> Evaluation:
    trial = replace(upgrade("perfect", old_noise=0.6), relevance=None)
    return evaluate_upgrade(trial, Judging(resamples=100))


@given(width=st.integers(20, 200), all_arms=st.booleans())
def test_no_line_is_wider_than_the_terminal(found, width: int, all_arms: bool) -> None:
    lines = evaluation_lines(found, width=width, all_arms=all_arms)
    assert max(len(line.text) for line in lines) <= max(width, 60)
    shown = " ".join(" ".join(line.text for line in lines).split())
    assert found.reason in shown and f"verdict: {found.verdict}" in shown


@given(width=st.integers(60, 200))
def test_every_width_shows_the_same_words(found, width: int) -> None:
    """Wrapping loses nothing: the price of the recommended way, and its difference to the old."""
    assert found.recommended == "mixed_rescore"
    lines = [line.text for line in evaluation_lines(found, width=width, all_arms=False)]
    text = " ".join(" ".join(lines).split())
    arm = found.arms["mixed_rescore"]
    at = next(i for i, line in enumerate(lines) if line.startswith("* mixed_rescore 0.45 70"))
    rest = [word for line in lines[at : at + 6] for word in line.split()]
    assert [w for w in str(arm.price).split() if w not in rest] == []
    assert f"{arm.to_old.value:+.3f} [{arm.to_old.low:+.3f}, {arm.to_old.high:+.3f}]" in text


def test_the_chief_ways_stand_alone_and_the_rest_is_counted(found) -> None:
    few = found.as_text()
    ways = {"old", "bridge", "mixed_rescore", "new"}
    assert f"{len(found.shown) - len(ways & set(found.shown))} more" in few and "control" not in few
    every = found.as_text(all_arms=True)
    assert "--all-arms" not in every
    for name in found.arms:
        assert f"  {found.arms[name].label or name} " in every.replace("* ", "  ")


def test_metrics_that_are_equal_for_every_way_are_shown_once(upgrade) -> None:
    """One answer to each query: recall@1 is CMC@1, and the mean reciprocal rank is the mAP."""
    found = evaluate_upgrade(upgrade("perfect", old_noise=0.6), Judging(resamples=100))
    shown, note = distinct_metrics(found)
    assert shown[0] == found.primary
    assert {"recall@1", "cmc@1"} & set(shown) in ({"recall@1"}, {"cmc@1"})
    assert {"mrr", "map"} & set(shown) in ({"mrr"}, {"map"})
    assert "recall@1" in note and "cmc@1" in note and "mrr" in note and "map" in note
    arms = {
        name: arm.model_copy(
            update={
                "metrics": arm.metrics
                | {"map": arm.metrics["map"].model_copy(update={"value": 0.5})}
            }
        )
        for name, arm in found.arms.items()
    }
    shown, _ = distinct_metrics(found.model_copy(update={"arms": arms}))
    assert {"mrr", "map"} <= set(shown)


def test_agreement_alone_is_no_loss(agreement) -> None:
    for all_arms in (False, True):
        text = agreement.as_text(all_arms=all_arms)
        assert "minus old" not in text and "retention" not in text and "gain" not in text
        assert "not which is better" in " ".join(text.split())
