"""Is a bridge good enough, and what should be done: retrieval, intervals, a verdict, gates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.evaluate.arms import ARMS, Verdict
    from isthmus.evaluate.bootstrap import (
        Estimate,
        Resampling,
        estimate,
        resampled_means,
    )
    from isthmus.evaluate.compatibility_matrix import CompatibilityScores, compatibility_scores
    from isthmus.evaluate.evaluation import Arm, Evaluation
    from isthmus.evaluate.gates import DEFAULT_GATES, GateResult, check_gates, parse_gate
    from isthmus.evaluate.judging import DEFAULT_METRICS, Judging, WayLimits
    from isthmus.evaluate.measured import MeasuredArm, Measurement
    from isthmus.evaluate.metrics import METRICS, parse_metric
    from isthmus.evaluate.paired_outcomes import PairedOutcomes
    from isthmus.evaluate.ranks import Ranks, relevant_ranks
    from isthmus.evaluate.relevance import Relevance, from_ids, from_labels, from_pairs
    from isthmus.evaluate.scores import Metric
    from isthmus.evaluate.search import TopK, top_k
    from isthmus.evaluate.trial import Trial
    from isthmus.evaluate.verdict import VerdictEvidence, VerdictRule, decide
    from isthmus.evaluate.weigh import weigh
    from isthmus.evaluate.worst import WorstQuery

_HOMES = {
    "isthmus.evaluate.arms": (
        "ARMS",
        "Verdict",
    ),
    "isthmus.evaluate.bootstrap": (
        "Estimate",
        "Resampling",
        "estimate",
        "resampled_means",
    ),
    "isthmus.evaluate.compatibility_matrix": (
        "CompatibilityScores",
        "compatibility_scores",
    ),
    "isthmus.evaluate.evaluation": (
        "Arm",
        "Evaluation",
    ),
    "isthmus.evaluate.gates": (
        "DEFAULT_GATES",
        "GateResult",
        "check_gates",
        "parse_gate",
    ),
    "isthmus.evaluate.judging": (
        "DEFAULT_METRICS",
        "Judging",
        "WayLimits",
    ),
    "isthmus.evaluate.measured": (
        "MeasuredArm",
        "Measurement",
    ),
    "isthmus.evaluate.metrics": (
        "METRICS",
        "parse_metric",
    ),
    "isthmus.evaluate.paired_outcomes": ("PairedOutcomes",),
    "isthmus.evaluate.ranks": (
        "Ranks",
        "relevant_ranks",
    ),
    "isthmus.evaluate.relevance": (
        "Relevance",
        "from_ids",
        "from_labels",
        "from_pairs",
    ),
    "isthmus.evaluate.scores": ("Metric",),
    "isthmus.evaluate.search": (
        "TopK",
        "top_k",
    ),
    "isthmus.evaluate.trial": ("Trial",),
    "isthmus.evaluate.verdict": (
        "VerdictEvidence",
        "VerdictRule",
        "decide",
    ),
    "isthmus.evaluate.weigh": ("weigh",),
    "isthmus.evaluate.worst": ("WorstQuery",),
}

__all__ = [
    "ARMS",
    "DEFAULT_GATES",
    "DEFAULT_METRICS",
    "METRICS",
    "Arm",
    "CompatibilityScores",
    "Estimate",
    "Evaluation",
    "GateResult",
    "Judging",
    "MeasuredArm",
    "Measurement",
    "Metric",
    "PairedOutcomes",
    "Ranks",
    "Relevance",
    "Resampling",
    "TopK",
    "Trial",
    "Verdict",
    "VerdictEvidence",
    "VerdictRule",
    "WayLimits",
    "WorstQuery",
    "check_gates",
    "compatibility_scores",
    "decide",
    "estimate",
    "from_ids",
    "from_labels",
    "from_pairs",
    "parse_gate",
    "parse_metric",
    "relevant_ranks",
    "resampled_means",
    "top_k",
    "weigh",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
