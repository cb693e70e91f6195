"""What `attach` returns: a projector and what it does for pairs held out, stored as one folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus import artefact
from isthmus.array_types import Embeddings
from isthmus.evaluate import Estimate
from isthmus.nn.modality.closed_forms import RIDGES
from isthmus.nn.modality.hubs import HubOffsets, hub_offsets
from isthmus.nn.modality.measure import Change, Measured, measure_retrieval
from isthmus.nn.modality.projector import ATTACHED, Projector

__all__ = ["Attached", "baseline_of"]


_BANKS = ("mapped", "frozen")


@dataclass(frozen=True, eq=False)
class Attached:
    """A projector into the frozen space, and what it does for pairs that it has not seen.

    Attributes:
        projector: rows of the new modality to vectors of the frozen space.
        start: the closed form that ranked held-out pairs best; one that rows without a partner had
            a part in, only if it was clearly ahead.
        trained: whether the training that followed was kept.
        gain: of training over its start, in ``metric`` on held-out pairs; None without it.
        scores: held-out ``metric`` of every closed form, best first.
        report: the best ridge map of the pairs (before) and this projector (after) on held-out
            pairs.
        temperature: of the softmax over a gallery, at which its probabilities are right.
        bank: held-out mapped rows of the new modality and rows of the frozen space: what hubs of a
            gallery of the other side are told by.
        paired: items with both modalities.
        alone: rows of either side whose item has only that one.
    """

    projector: Projector
    start: str
    trained: bool
    gain: Estimate | None
    scores: dict[str, float]
    report: Change
    temperature: float
    bank: tuple[Embeddings, Embeddings]
    paired: int
    alone: tuple[int, int]

    @property
    def baseline(self) -> str:
        """The map that any gain is compared with: the best one ridge regression on the pairs."""
        return baseline_of(self.scores)

    def _edge(self) -> list[str]:
        """A line where a ridge beyond the strengths that were tried may be better still."""
        if self.baseline not in (RIDGES[0], RIDGES[-1]):
            return []
        end = "smallest" if self.baseline == RIDGES[0] else "largest"
        return [f"the best ridge, {self.baseline}, has the {end} strength that was tried"]

    def transform(self, x: NDArray[Any]) -> Embeddings:
        """Rows ``(n, dx)`` of the new modality in the frozen space, at unit length."""
        return self.projector.chain(np.asarray(x, np.float32))

    def offsets(self, gallery: NDArray[Any], *, mapped: bool = False) -> Embeddings:
        """What to subtract from each gallery item's cosine, so that hubs count for less ``(ng,)``.

        The vectors of the frozen space stay as they are; see `hub_offsets`.

        Args:
            gallery: rows of the frozen space, or mapped rows, which the other side searches.
            mapped: whether they are mapped rows.
        """
        return hub_offsets(gallery, self.bank[1 if mapped else 0])

    def measure(
        self,
        x: NDArray[Any],
        items_x: Sequence[Any] | NDArray[Any],
        gallery: NDArray[Any],
        items_y: Sequence[Any] | NDArray[Any],
        *,
        hubs: bool = True,
    ) -> Measured:
        """Both ways of search on new rows, with (or without) the correction for hubs."""
        mapped = self.transform(x)
        return measure_retrieval(
            mapped, items_x, gallery, items_y,
            offsets=HubOffsets(self.offsets(gallery), self.offsets(mapped, mapped=True))
            if hubs else None,
            temperature=self.temperature,
        )  # fmt: skip

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder; `Projector.load` reads its projector alone.

        Raises:
            OutputError: for a folder that exists, or a disk that refuses.
        """
        projector, tensors = self.projector.pack()
        content = {
            "projector": projector,
            "start": self.start,
            "trained": self.trained,
            "gain": None if self.gain is None else self.gain.model_dump(),
            "scores": self.scores,
            # text, so that the order of the rows is kept
            "report": self.report.to_json(),
            "temperature": self.temperature,
            "paired": self.paired,
            "alone": list(self.alone),
        }
        tensors = artefact.prefixed("projector", tensors)
        tensors |= artefact.prefixed("banks", dict(zip(_BANKS, self.bank, strict=True)))
        texts = {"CARD.md": f"# A new type of input for a frozen space\n\n```\n{self}\n```\n"}
        artefact.write(Path(path), ATTACHED, content, tensors, texts=texts, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """What `save` wrote.

        Raises:
            InputError: for a folder that cannot be read.
        """
        with artefact.read(Path(path), ATTACHED) as stored:
            content, banks = stored.content, stored.tensors.under("banks")
            own = stored.tensors.under("projector")
            gain, (alone_x, alone_y) = content["gain"], content["alone"]
            return cls(
                projector=Projector.unpack(content["projector"], own).eval(),
                start=str(content["start"]),
                trained=bool(content["trained"]),
                gain=None if gain is None else Estimate.model_validate(gain),
                scores=dict(sorted(content["scores"].items(), key=lambda s: -s[1])),
                report=Change.model_validate_json(content["report"]),
                temperature=float(content["temperature"]),
                bank=(banks[_BANKS[0]], banks[_BANKS[1]]),
                paired=int(content["paired"]),
                alone=(int(alone_x), int(alone_y)),
            )

    def __str__(self) -> str:
        alone = "" if self.alone == (0, 0) else f", {self.alone[0]} and {self.alone[1]} rows alone"
        made = "trained" if self.trained else "closed form"
        if self.projector.hidden:
            made = f"trained with a hidden layer ({self.projector.hidden} wide)"
        lines = [
            f"{self.paired} paired items{alone}: {self.start}, {made}",
            *([] if self.gain is None else [f"gain of training on held-out pairs: {self.gain}"]),
            *self._edge(),
            f"on held-out pairs, {self.baseline} before, this projector after:",
            str(self.report),
        ]
        return "\n".join(lines)


def baseline_of(scores: Mapping[str, float]) -> str:
    """The plain ridge map that ranks held-out pairs best, at its own best strength."""
    return max((name for name in RIDGES if name in scores), key=lambda name: scores[name])
