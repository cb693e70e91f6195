from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from isthmus.evaluate.evaluation import Evaluation
from isthmus.evaluate.retrieval import evaluate_upgrade


@pytest.fixture(scope="module")
def evaluation(upgrade):
    return evaluate_upgrade(upgrade("perfect", old_noise=0.6), resamples=200)


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
    assert lines[0] == "300 queries, 1500 gallery items, evidence: relevance"
    rows = lines[2 : lines.index("", 2)]
    assert [row.split()[0] for row in rows[1:]] == [*evaluation.arms, "chance"]
    column = rows[0].index("recall@1 ")
    assert all(row[column - 1] == " " and row[column] in "01" for row in rows[1:])
    assert lines[-1] == f"verdict: {evaluation.verdict} ({evaluation.reason})"
    assert text.isascii()


def test_prints_what_is_absent(upgrade):
    trial = replace(upgrade("perfect"), gallery_new=None)
    assert "no new: the gallery is not known" in str(evaluate_upgrade(trial, resamples=50))
