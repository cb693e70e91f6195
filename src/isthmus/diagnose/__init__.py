"""How alike two spaces are, what separates them, and which recipe repairs it."""

from isthmus.diagnose.diagnose import diagnose
from isthmus.diagnose.diagnosis import Diagnosis
from isthmus.diagnose.finding import Finding, Severity
from isthmus.diagnose.pair_probes import PairProbes
from isthmus.diagnose.projection import Projection
from isthmus.diagnose.relation import Relation
from isthmus.diagnose.side_probes import SideProbes
from isthmus.diagnose.thresholds import THRESHOLDS, Threshold

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
