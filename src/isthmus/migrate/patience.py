"""An encoder that is asked again where it fails, longer and longer apart."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from isthmus.array_types import Embeddings
from isthmus.encoders import Encoder, Kind, PrecomputedEncoder
from isthmus.encoders.retry import Refused
from isthmus.errors import InputError, IsthmusError, ServiceError, SpendCapError
from isthmus.progress import Progress, silent

__all__ = ["PatientEncoder", "patient"]


@dataclass(frozen=True)
class PatientEncoder:
    """Another encoder, tried ``attempts`` times.

    Attributes:
        encoder: that may fail.
        attempts: in all.
        first_delay: seconds before the second; doubled each time.
    """

    encoder: Encoder
    attempts: int = 8
    first_delay: float = 0.1

    @property
    def name(self) -> str:
        """The model's name."""
        return self.encoder.name

    @property
    def revision(self) -> str:
        """See `Encoder.revision`."""
        return self.encoder.revision

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        return self.encoder.dim

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """See `Encoder.encode`.

        Raises:
            ServiceError: after the last attempt.
            InputError, Refused, SpendCapError: at once, since another attempt would give the same.
        """
        tried = 0
        while True:
            try:
                return self.encoder.encode(texts, kind=kind, progress=progress)
            except (InputError, Refused, SpendCapError):
                raise
            except Exception as error:
                tried += 1
                if tried >= self.attempts:
                    why = str(error) if isinstance(error, IsthmusError) else repr(error)
                    raise ServiceError(
                        f"the encoder failed {tried} times: {why}", where=self.encoder.name
                    ) from error
                time.sleep(self.first_delay * 2 ** (tried - 1))


def patient(encoder: Encoder | None, attempts: int, first_delay: float) -> Encoder | None:
    """``encoder`` asked again where it fails; one that looks vectors up cannot fail so."""
    if encoder is None or isinstance(encoder, PrecomputedEncoder):
        return encoder
    return PatientEncoder(encoder, attempts, first_delay)
