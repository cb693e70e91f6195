"""A way to go on, as a value: who recalls, whether the new model rescores, what is re-embedded.

A `Way` holds numbers and names only.  It knows neither the vectors it was chosen on nor a database,
so it is saved as JSON, printed, compared, and run by `isthmus.ways.Search` on any store.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from isthmus.evaluate.measured import Parameter
from isthmus.evaluate.price import Price
from isthmus.evaluate.scores import Metric
from isthmus.ways.depth import DepthRule, FixedDepth, fused_scores
from isthmus.ways.interpolate import interpolate

__all__ = ["Join", "Needs", "Part", "Recall", "RecallKind", "Rescore", "ScoreMatch", "Way"]

RecallKind = Literal["bridge", "old", "mixed", "new", "naive"]


class Needs(StrEnum):
    """What must be at hand to answer a query in some way.

    Example:
        >>> from isthmus.ways import Needs, Recall, Way
        >>> Way(recall=Recall(kind="old")).needs == {Needs.OLD_QUERIES}
        True
    """

    OLD_QUERIES = "the old model's vectors of the queries"
    NEW_QUERIES = "the new model's vectors of the queries"
    ITEM_VECTORS = "the new model's encoder and the texts of the items"
    NEW_COLUMN = "a second vector column with the new model's vectors"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Recall(_Value):
    """Which queries search which vectors first.

    ``bridge``: the new model's queries through the bridge; ``old``: the old model's; ``mixed``: a
    point between the two on the great circle, ``alpha`` of the way to the bridged one; ``new``: the
    new model's among re-embedded items; ``naive``: the new model's, unmapped, among old vectors,
    which shows what happens without a bridge.

    Example:
        >>> from isthmus.ways import Recall
        >>> Recall(kind="mixed", alpha=0.3).old_query, Recall(kind="bridge").old_query
        (True, False)
    """

    kind: RecallKind = "bridge"
    alpha: float | None = Field(default=None, ge=0, le=1)
    """Weight of the bridged query where the kind is ``mixed``; None for every other kind."""

    @model_validator(mode="after")
    def _alpha_where_it_is_used(self) -> Self:
        if (self.kind == "mixed") != (self.alpha is not None):
            raise ValueError("alpha belongs to a mixed recall, which needs one")
        return self

    @property
    def old_query(self) -> bool:
        """Whether the old encoder must run for each query."""
        return self.kind in ("old", "mixed")

    @property
    def rests_on_bridge(self) -> bool:
        """Whether it uses the map of the bridge."""
        return self.kind in ("bridge", "mixed")

    def queries(
        self,
        old: NDArray[Any] | None,
        new: NDArray[Any] | None,
        bridged: NDArray[Any] | None,
        metric: Metric,
    ) -> NDArray[Any]:
        """The vectors ``(nq, d)`` that search first, of those of each model and the mapped ones.

        Where the stored vectors were mapped there are no mapped queries, and new ones search.
        """
        if self.kind == "old":
            found = old
        elif self.kind in ("new", "naive"):
            found = new
        elif self.kind == "bridge":
            found = new if bridged is None else bridged
        else:
            assert old is not None and bridged is not None and self.alpha is not None
            found = interpolate(old, bridged, self.alpha, metric)
        assert found is not None
        return found


class Rescore(_Value):
    """The new model rescores the first recalled items, as many as ``depth`` says (a reranker).

    They are ordered by ``(1 − weight) · new score + weight · scale · recall score``.

    Example:
        >>> import numpy as np
        >>> from isthmus.ways import FixedDepth, Rescore
        >>> rescore = Rescore(depth=FixedDepth(k=20), weight=0.25)
        >>> rescore.fused(np.float32([0.8]), np.float32([0.4])).round(3).tolist()
        [0.5]
    """

    depth: Annotated[DepthRule, Field(discriminator="kind")]
    weight: float = Field(default=0.0, ge=0, lt=1)
    scale: float = Field(default=1.0, ge=0)

    @property
    def most(self) -> int:
        """The largest number of items that is rescored for a query."""
        return self.depth.most

    def fused(
        self, recall_scores: NDArray[np.float32], new_scores: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """The scores that order rescored items, elementwise."""
        return fused_scores(recall_scores, new_scores, self.weight, self.scale)


class ScoreMatch(_Value):
    """Scores of one space on the scale of another: ``slope · s + offset``.

    Example:
        >>> import numpy as np
        >>> from isthmus.ways import ScoreMatch
        >>> ScoreMatch(slope=2.0, offset=-0.5)(np.float32([0.5, 1.0])).tolist()
        [0.5, 1.5]
    """

    slope: float = Field(default=1.0, ge=0)
    offset: float = 0.0

    def __call__(self, scores: NDArray[np.float32]) -> NDArray[np.float32]:
        """The scores on the other scale, in their own dtype."""
        return scores * scores.dtype.type(self.slope) + scores.dtype.type(self.offset)


class Join(_Value):
    """How both columns of a half-filled corpus are searched as one index (a hybrid search).

    A re-embedded item scores ``(1 − weight) · (match(new) + shift) + weight · low``, where ``low``
    is its score in the column of the items that are not re-embedded; the others score ``low``.

    Example:
        >>> import numpy as np
        >>> from isthmus.ways import Join, ScoreMatch
        >>> join = Join(match=ScoreMatch(slope=0.5), weight=0.5)
        >>> join(low=np.float32([[0.25]]), new=np.float32([[1.0]])).tolist()
        [[0.375]]
    """

    match: ScoreMatch = ScoreMatch()
    weight: float = Field(default=0.0, ge=0, lt=1)
    shift: float = 0.0

    def __call__(self, low: NDArray[np.float32], new: NDArray[np.float32]) -> NDArray[np.float32]:
        """Scores of re-embedded items that can be ranked with those of the others, float32."""
        matched = np.asarray(self.match(new), dtype=np.float32)
        if self.shift:
            matched = matched + np.float32(self.shift)
        if self.weight == 0:
            return matched
        joined = np.float32(1 - self.weight) * matched + np.float32(self.weight) * low
        return np.asarray(joined, dtype=np.float32)

    def slack(
        self,
        low: NDArray[np.float32],
        new: NDArray[np.float32],
        joined: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """How far joined scores may be off where low and new ones are off by so much ``(nq,)``.

        ``joined (nq, ng)`` are such scores: their own rounding counts as well.
        """
        farthest = np.maximum(joined.max(axis=1), -joined.min(axis=1))
        largest = farthest + abs(self.match.offset) + abs(self.shift)
        rounding = 2.0**-21 * largest
        return ((1 - self.weight) * self.match.slope * new + self.weight * low + rounding).astype(
            np.float32
        )


class Part(_Value):
    """A part of the corpus is re-embedded, in an order of priority.

    Example:
        >>> from isthmus.ways import Join, Part, Recall, Way
        >>> print(Way(recall=Recall(kind="bridge"), part=Part(share=0.1, join=Join())))
        new queries through the bridge, 10% re-embedded by popularity
    """

    share: float = Field(gt=0, le=1)
    order: str = "popularity"
    """Which items come first; of a live index the ids are listed in `isthmus.Bridge.fill_order`,
    of a gallery `isthmus.ways.order.ids_in_order` lists them."""
    join: Join | None = None
    """None: the re-embedded vectors only spare a cascade the encoding of these items."""


class Way(_Value):
    """One way to answer queries while two models' vectors stand in a corpus.

    Example:
        >>> from isthmus.ways import FixedDepth, Recall, Rescore, Way
        >>> mixed = Recall(kind="mixed", alpha=0.3)
        >>> way = Way(recall=mixed, rescore=Rescore(depth=FixedDepth(k=20)))
        >>> Way.model_validate_json(way.model_dump_json()) == way
        True
        >>> str(way)
        'queries mixed at 0.3, then the first 20 items rescored by the new model'
    """

    recall: Recall = Recall()
    rescore: Rescore | None = None
    part: Part | None = None

    @property
    def needs(self) -> frozenset[Needs]:
        """What must be at hand to answer a query."""
        found = {Needs.OLD_QUERIES} if self.recall.old_query else set[Needs]()
        if self.recall.kind != "old" or self.rescore is not None or self.joins:
            found.add(Needs.NEW_QUERIES)
        if self.rescore is not None:
            found.add(Needs.ITEM_VECTORS)
        if self.part is not None or self.recall.kind == "new":
            found.add(Needs.NEW_COLUMN)
        return frozenset(found)

    @property
    def joins(self) -> bool:
        """Whether both columns are searched as one index (a hybrid search)."""
        return self.part is not None and self.part.join is not None

    @property
    def price(self) -> Price:
        """What each query costs at the most; evidence says what it cost on average."""
        most = 0 if self.rescore is None else self.rescore.most
        return Price(
            encodings=most,
            encodings_cached=most,
            old_query=self.recall.old_query,
            reembedded=1.0
            if self.recall.kind == "new"
            else 0.0
            if self.part is None
            else self.part.share,
        )

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Plain values that describe it, for tables."""
        found: dict[str, Parameter] = {"recall": self.recall.kind}
        if self.recall.alpha is not None:
            found["alpha"] = self.recall.alpha
        if self.rescore is not None:
            found |= {"weight": self.rescore.weight, "scale": self.rescore.scale}
            found |= self.rescore.depth.parameters
        if self.part is not None:
            found |= {"order": self.part.order, "share": self.part.share}
            if self.part.join is not None:
                found |= {"weight": self.part.join.weight, "shift": self.part.join.shift}
        return found

    def __str__(self) -> str:
        recall = {
            "bridge": "new queries through the bridge",
            "old": "old queries",
            "mixed": f"queries mixed at {self.recall.alpha}",
            "new": "new queries on re-embedded items",
            "naive": "new queries unmapped",
        }[self.recall.kind]
        parts = [recall]
        if self.part is not None:
            parts.append(f"{100 * self.part.share:.3g}% re-embedded by {self.part.order}")
        if self.rescore is not None:
            fixed = isinstance(self.rescore.depth, FixedDepth)
            many = f"the first {self.rescore.most}" if fixed else f"up to {self.rescore.most}"
            parts.append(f"then {many} items rescored by the new model")
        return ", ".join(parts)
