"""One list of metrics for the whole house."""

from __future__ import annotations

from typing import get_args

import pytest

import isthmus.evaluate
from isthmus.errors import InputError
from isthmus.spaces.contract import Space
from isthmus.spaces.metric import Metric, checked_metric


def test_every_room_means_the_same_metrics():
    assert isthmus.evaluate.Metric is Metric
    assert Space.model_fields["metric"].annotation is Metric


def test_metrics_pass_and_others_are_refused_with_the_list():
    assert [checked_metric(name) for name in get_args(Metric)] == ["cosine", "dot", "l2"]
    with pytest.raises(InputError, match="unknown metric 'hamming'. Use cosine, dot or l2"):
        checked_metric("hamming")
    with pytest.raises(InputError, match="unknown"):
        checked_metric(None)
