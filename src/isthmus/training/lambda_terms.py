"""How the losses of λ-orthogonal maps are weighed against one another."""

from __future__ import annotations

from dataclasses import dataclass

from isthmus.errors import InputError

__all__ = ["LambdaTerms"]


@dataclass(frozen=True)
class LambdaTerms:
    """Weights of the terms.

    Attributes:
        forward: w₁, of ``‖F(y) − B(x)‖²``.
        backward: w₂, of ``‖B(x) − y‖²``.
        contrastive: w₃, of L_C.
        temperature: of L_C.
        sharpness: a, of the gate that switches the penalty on above λ.
        by_label: positives of L_C are the rows of the same label, not those of the same item.

    Example:
        >>> LambdaTerms(contrastive=0.5).temperature
        0.05
    """

    forward: float = 1.0
    backward: float = 1.0
    contrastive: float = 1.0
    temperature: float = 0.05
    sharpness: float = 10.0
    by_label: bool = False

    def __post_init__(self) -> None:
        weights = (self.forward, self.backward, self.contrastive, self.sharpness)
        if not all(w >= 0 for w in weights) or not self.temperature > 0:
            raise InputError(f"weights are 0 or more and the temperature is positive, got {self}")
