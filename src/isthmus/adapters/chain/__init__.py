"""What a recipe folds to: a short chain of stages that maps rows of one space into another."""

from isthmus.adapters.chain.chain import Affine, Chain, Nonlinear, OnSphere, RowNorm, Stage

__all__ = ["Affine", "Chain", "Nonlinear", "OnSphere", "RowNorm", "Stage"]
