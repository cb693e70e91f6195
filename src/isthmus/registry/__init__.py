"""Keep, find, check, promote and undo what isthmus saves: spaces, bridges, stitched networks."""

from isthmus.registry.aliases import Entry, Found, Judged
from isthmus.registry.collect import Collected
from isthmus.registry.difference import Difference, FileChange
from isthmus.registry.policy import Bound, Policy, PolicyStage, judge, parse_bound
from isthmus.registry.registry import Registry
from isthmus.registry.release import Deprecation, Release
from isthmus.registry.reviews import DECISIONS, Review, ReviewDecision, standing
from isthmus.registry.version import StoredFile, Version

__all__ = [
    "DECISIONS",
    "Bound",
    "Collected",
    "Deprecation",
    "Difference",
    "Entry",
    "FileChange",
    "Found",
    "Judged",
    "Policy",
    "PolicyStage",
    "Registry",
    "Release",
    "Review",
    "ReviewDecision",
    "StoredFile",
    "Version",
    "judge",
    "parse_bound",
    "standing",
]
