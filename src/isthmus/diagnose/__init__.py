"""How alike two spaces are, what separates them, and which recipe repairs it."""

from isthmus.diagnose.diagnosis import Diagnosis
from isthmus.diagnose.finding import Finding, Severity
from isthmus.diagnose.projection import Projection
from isthmus.diagnose.relation import Relation
from isthmus.diagnose.relationship import Relationship
from isthmus.diagnose.run import diagnose
from isthmus.diagnose.sides import SideProfile
from isthmus.diagnose.thresholds import THRESHOLDS, Threshold

__all__ = [
    "THRESHOLDS",
    "Diagnosis",
    "Finding",
    "Projection",
    "Relation",
    "Relationship",
    "Severity",
    "SideProfile",
    "Threshold",
    "diagnose",
]
