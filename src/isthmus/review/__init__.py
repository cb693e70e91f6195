"""A version before a person decides: its evidence, its gates, what changes for whom, on a page."""

from isthmus.review.app import review_app
from isthmus.review.changes import ChangedQuery, Changes, Neighbour, changed_queries
from isthmus.review.dossier import Dossier, Shown, dossier_of

__all__ = [
    "ChangedQuery",
    "Changes",
    "Dossier",
    "Neighbour",
    "Shown",
    "changed_queries",
    "dossier_of",
    "review_app",
]
