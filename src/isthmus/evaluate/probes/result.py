"""What every probe returns: a small frozen value of plain numbers that saves itself as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["ProbeResult"]


class ProbeResult(BaseModel):
    """A frozen result; a NaN or an infinity in it is a defect and is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
