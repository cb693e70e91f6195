"""What a bridge carries from one space into the other."""

from __future__ import annotations

from typing import Literal

__all__ = ["Kind"]

Kind = Literal["query", "corpus"]
"""``query``: new model's queries into the old index; ``corpus``: stored vectors into the new."""
