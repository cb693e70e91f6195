"""The streaming accumulator that every linear map, measure and drift test is computed from."""

from isthmus.moments.accumulator import EVERYTHING, Moments
from isthmus.moments.folds import FoldMoments
from isthmus.moments.norm_profile import NormProfile
from isthmus.moments.second import SecondMoments, Side

__all__ = ["EVERYTHING", "FoldMoments", "Moments", "NormProfile", "SecondMoments", "Side"]
