"""The streaming accumulator that every linear map, measure and drift test is computed from."""

from isthmus.moments.accumulator import EVERYTHING, Moments
from isthmus.moments.covariances import GroupScatter, SecondMoments, SideMoments
from isthmus.moments.folds import FoldMoments, KindsApart
from isthmus.moments.groups import GroupedFoldMoments, Groups
from isthmus.moments.norm_profile import NormProfile
from isthmus.moments.weights import Balance, class_weights

__all__ = [
    "EVERYTHING",
    "Balance",
    "FoldMoments",
    "GroupScatter",
    "GroupedFoldMoments",
    "Groups",
    "KindsApart",
    "Moments",
    "NormProfile",
    "SecondMoments",
    "SideMoments",
    "class_weights",
]
