"""The streaming accumulator that every linear map, measure and drift test is computed from."""

from isthmus.moments.accumulator import EVERYTHING, Moments
from isthmus.moments.folds import FoldMoments
from isthmus.moments.groups import GroupedFoldMoments, Groups
from isthmus.moments.norm_profile import NormProfile
from isthmus.moments.second import Between, SecondMoments, Side
from isthmus.moments.weights import Balance, class_weights

__all__ = [
    "EVERYTHING",
    "Balance",
    "Between",
    "FoldMoments",
    "GroupedFoldMoments",
    "Groups",
    "Moments",
    "NormProfile",
    "SecondMoments",
    "Side",
    "class_weights",
]
