from __future__ import annotations

import json
from dataclasses import replace

import pytest
from pydantic import ValidationError
from tests.evaluate.test_weigh import measured

from isthmus.evaluate.evaluation import Evaluation
from isthmus.evaluate.judging import Judging
from isthmus.evaluate.price import Price
from isthmus.evaluate.weigh import weigh
from isthmus.ways import evaluate_upgrade


@pytest.fixture(scope="module")
def evaluation(upgrade):
    return evaluate_upgrade(upgrade("perfect", old_noise=0.6), Judging(resamples=200))


def test_json_reads_back_and_is_canonical(evaluation):
    text = evaluation.to_json()
    again = Evaluation.from_json(text)
    assert again == evaluation
    assert again.to_json() == text
    assert ": " not in text.split('"reason"')[0]


def test_is_frozen(evaluation):
    with pytest.raises(ValidationError):
        evaluation.verdict = "use the bridge"


def test_other_json_is_refused(evaluation):
    with pytest.raises(ValidationError):
        Evaluation.from_json(evaluation.to_json().replace('"seed":0', '"seed":0,"surprise":1'))


def test_prints_an_aligned_table(evaluation):
    text = str(evaluation)
    lines = text.splitlines()
    assert lines[0] == "300 queries, 1,500 gallery items, evidence: relevance"
    rows = lines[2 : lines.index("", 2)]
    assert [row[2:].split()[0] for row in rows[1:]] == [
        name for name in evaluation.shown if name in {"old", "bridge", evaluation.judged, "new"}
    ]
    column = rows[0].index("recall@10")
    assert all(row[column - 1] == " " and row[column] in "01" for row in rows[1:])
    at = lines.index(f"verdict: {evaluation.verdict}")
    assert " ".join(" ".join(lines[at + 1 :]).split()) == evaluation.reason
    assert text.isascii()


@pytest.fixture(scope="module")
def with_extras(upgrade):
    backfill = {"price": Price(reembedded=0.1), "label": "backfill 10%", "rests_on_bridge": False}
    parameters = {"order": "random", "share": 0.1, "z": None}
    cascade = {"price": Price(encodings=9, encodings_cached=4), "label": "old_rescore 9"}
    return weigh(
        measured(
            upgrade("perfect", old_noise=0.6),
            old_rescore=cascade,
            backfill={**backfill, "parameters": parameters},
        ),
        Judging(resamples=200),
    )


def test_further_arms_read_back(with_extras):
    again = Evaluation.from_json(with_extras.to_json())
    assert again == with_extras
    assert again.strategies == ["backfill", "old_rescore"]
    assert again.recommended == "backfill"
    assert again.arms["backfill"].parameters == {"order": "random", "share": 0.1, "z": None}
    assert str(again) == str(with_extras)


def test_further_arms_are_shown_with_their_prices(with_extras):
    text = with_extras.as_text(width=120, all_arms=True)
    lines = text.splitlines()
    rows = lines[2 : lines.index("", 2)]
    assert [row[2:].split()[0] for row in rows[1:]] == [
        *("old", "bridge", "backfill", "old_rescore", "new", "control", "chance")
    ]
    price = rows[0].index("price")
    assert [row[price:] for row in rows[3:5]] == [
        "10% re-embedded",
        "9.0 encodings per query (4.0 cached)",
    ]
    assert any(line.startswith("backfill: retention") and "update gain" in line for line in lines)
    assert text.isascii()


def test_manifests_from_before_prices_still_load(evaluation):
    told = json.loads(evaluation.to_json())
    del told["recommended"]
    for name in ("gain_margin", "items_per_query"):
        del told["rule"][name]
    for arm in told["arms"].values():
        for name in ("price", "label", "parameters", "chosen_gain"):
            del arm[name]
    found = Evaluation.from_json(json.dumps(told))
    assert found.verdict == evaluation.verdict
    assert found.recommended is None
    rows = str(found).splitlines()
    assert "price" not in rows[2]
    assert rows[2].split()[:4] == ["way", "recall@10,", "95%", "interval"]


def test_prints_what_is_absent(upgrade):
    trial = replace(upgrade("perfect"), gallery_new=None)
    found = evaluate_upgrade(trial, Judging(resamples=50))
    assert "no new, rescore: the gallery is not known" in str(found)
