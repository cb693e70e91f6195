from __future__ import annotations

import numpy as np

from isthmus.evaluate.judging import Judging, default_metric
from isthmus.evaluate.relevance import from_labels


def test_default_metric_holds_every_answer():
    assert default_metric(from_labels(np.zeros(1), np.zeros(10))) == "recall@10"
    assert default_metric(from_labels(np.zeros(1), np.zeros(11))) == "ndcg@10"


def test_every_metric_is_measured_once_and_the_one_that_decides_is_among_them():
    one = from_labels(np.zeros(1), np.zeros(3))
    judging = Judging(primary=" mrr ", metrics=["map", "recall@1", "map"])
    assert judging.primary_of(one) == "mrr"
    assert judging.names_of(one) == ("map", "recall@1", "mrr")
    assert Judging(metrics=[]).names_of(one) == ("recall@10",)
