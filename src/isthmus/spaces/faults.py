"""What can be wrong with a row, and what a contract says shall happen to it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict

__all__ = ["FAULT_MODES", "FaultMode", "Faults", "Response"]

Response = Literal["reject", "flag", "repair"]
FaultMode = Literal[
    "wrong_width", "wrong_dtype", "non_finite", "zero", "not_normalised", "out_of_range"
]

FAULT_MODES: tuple[FaultMode, ...] = (
    "wrong_width",
    "wrong_dtype",
    "non_finite",
    "zero",
    "not_normalised",
    "out_of_range",
)
"""The fault modes in the order in which they are looked for."""


def _rejected(response: object) -> object:
    if response in ("flag", "repair"):
        raise ValueError(
            f"rows of the wrong width cannot be answered with '{response}': they do not fit into "
            "the space; only 'reject' is possible"
        )
    return response


def _without_repair(response: object) -> object:
    if response == "repair":
        raise ValueError(
            "a row of zeros cannot be repaired: nothing tells which direction it had; "
            "choose 'reject' or 'flag'"
        )
    return response


class Faults(BaseModel):
    """What happens to a faulty row: it is rejected, flagged or repaired.

    ``reject`` raises `ContractError`.  ``flag`` hands the row on unchanged, counted and reported;
    a row flagged as non-finite or zero is not looked at further.  ``repair`` changes the row,
    counted and reported, and looks at it again: one that still breaks the contract is rejected.
    Faults are looked for in the order of the fields.  None means that the fault cannot occur in
    this space; `Space` fills it in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    wrong_width: Annotated[Literal["reject"], BeforeValidator(_rejected)] = "reject"
    """Another number of components than ``dim``.  Can only be rejected."""
    wrong_dtype: Response = "repair"
    """Another floating dtype than ``dtype``; a repair converts, and rejects a finite component
    that would become infinite.  What is not floating is always rejected."""
    non_finite: Response = "reject"
    """A NaN or infinite component; a repair puts 0 in its place and leaves the others."""
    zero: Annotated[Literal["reject", "flag"] | None, BeforeValidator(_without_repair)] = None
    """A row of zeros, under the cosine metric only (there ``reject`` unless said otherwise); no
    repair is possible."""
    not_normalised: Response | None = None
    """A norm further than `NORM_TOLERANCE` from 1, in a normalised space only (there ``reject``
    unless said otherwise); a repair divides the row by its norm."""
    out_of_range: Response | None = None
    """A norm or component outside the bounds of ``ranges``, where it has bounds (there ``flag``
    unless said otherwise); a repair clips the components to their bounds, then scales the row to
    the nearer norm bound."""
