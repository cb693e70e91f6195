"""Structured layers: a shaped weight and a small correction, and what keeps both in bounds."""

from isthmus.nn.shaping.convert import Folded, Structured, fold, structure
from isthmus.nn.shaping.energy import (
    CorrectionEnergy,
    Energies,
    correction_energy,
    watch_energy,
)
from isthmus.nn.shaping.layers import Correction, Shaped, ShapedConv2d, ShapedLinear
from isthmus.nn.shaping.operators import (
    DiagonalShaping,
    ElementwiseShaping,
    LowRankShaping,
    Shaping,
    ShapingKind,
)
from isthmus.nn.shaping.semantic import Prototypes, paired_consistency
from isthmus.nn.shaping.spectrum import SpectrumPenalty, singular_values, spectral_norm

__all__ = [
    "Correction",
    "CorrectionEnergy",
    "DiagonalShaping",
    "ElementwiseShaping",
    "Energies",
    "Folded",
    "LowRankShaping",
    "Prototypes",
    "Shaped",
    "ShapedConv2d",
    "ShapedLinear",
    "Shaping",
    "ShapingKind",
    "SpectrumPenalty",
    "Structured",
    "correction_energy",
    "fold",
    "paired_consistency",
    "singular_values",
    "spectral_norm",
    "structure",
    "watch_energy",
]
