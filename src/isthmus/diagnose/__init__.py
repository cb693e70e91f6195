"""How alike two spaces are, what separates them, and which recipe repairs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.diagnose.diagnose import diagnose
    from isthmus.diagnose.diagnosis import Diagnosis
    from isthmus.diagnose.finding import Finding, Severity
    from isthmus.diagnose.pair_probes import PairProbes
    from isthmus.diagnose.projection import Projection
    from isthmus.diagnose.relation import Relation
    from isthmus.diagnose.side_probes import SideProbes
    from isthmus.diagnose.thresholds import THRESHOLDS, Threshold

_HOMES = {
    "isthmus.diagnose.diagnose": ("diagnose",),
    "isthmus.diagnose.diagnosis": ("Diagnosis",),
    "isthmus.diagnose.finding": (
        "Finding",
        "Severity",
    ),
    "isthmus.diagnose.pair_probes": ("PairProbes",),
    "isthmus.diagnose.projection": ("Projection",),
    "isthmus.diagnose.relation": ("Relation",),
    "isthmus.diagnose.side_probes": ("SideProbes",),
    "isthmus.diagnose.thresholds": (
        "THRESHOLDS",
        "Threshold",
    ),
}

__all__ = [
    "THRESHOLDS",
    "Diagnosis",
    "Finding",
    "PairProbes",
    "Projection",
    "Relation",
    "Severity",
    "SideProbes",
    "Threshold",
    "diagnose",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
