"""Held-out queries and a gallery, sampled while the pairs are read for something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.evidence import HeldOut, Qrels
from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import Pairs, Split
from isthmus.spaces.sample import Batch, Sampler

__all__ = ["PARTS", "UNUSED", "HeldOutSamples", "Queries", "SampleSizes", "has_ids"]

PARTS: tuple[str, ...] = ("fit", "validation", "test")
UNUSED = "unused"
"""A further part: neither fitted on nor asked about, but searched among."""
FIT, VALIDATION, TEST = range(3)


def has_ids(pairs: Pairs) -> bool:
    """Whether items are known by ids, and not by their row numbers alone."""
    return pairs.source.ids is not None or pairs.target.ids is not None


@dataclass(frozen=True)
class SampleSizes:
    """How many rows are held in memory for retrieval; more rows, narrower intervals.

    Example:
        >>> SampleSizes(test=500).gallery
        10000
    """

    test: int = 2000
    validation: int = 1000
    gallery: int = 10_000
    validation_gallery: int = 5000


@dataclass(frozen=True, eq=False)
class Queries:
    """Separate queries in both spaces, and what answers them.

    A query belongs to the part of the split that its first answer belongs to, so that no held-out
    query's document was used in the fit.
    """

    pairs: Pairs
    """The queries in the source and in the target space."""
    qrels: Qrels | None = None
    """None: a query is answered by the item of the same id."""

    def answers(self, query: Any) -> Sequence[Any]:
        """The ids of the items that answer a query."""
        return (query,) if self.qrels is None else self.qrels.get(query, ())

    def answer_ids(self, ids: NDArray[Any]) -> NDArray[Any]:
        """Of each query its first answer; an id that is no answered query's stays as it is."""
        if self.qrels is None:
            return ids
        answers = [self.answers(i) for i in ids.tolist()]
        found = [a[0] if len(a) > 0 else i for a, i in zip(answers, ids.tolist(), strict=True)]
        return np.asarray(found)

    def parts(self, ids: NDArray[Any], split: Split) -> NDArray[np.int64]:
        """The part of each query; -1 for one that nothing answers."""
        if self.qrels is None:
            return split.assign(ids)
        first = [self.answers(q) for q in ids.tolist()]
        answered = np.array([len(a) > 0 for a in first])
        parts = np.full(len(ids), -1, dtype=np.int64)
        if answered.any():
            parts[answered] = split.assign(np.array([a[0] for a in first if len(a) > 0]))
        return parts


class HeldOutSamples:
    """Uniform samples of the pairs and of the validation and test queries, in bounded memory.

    They are taken in one whole pass over the pairs: while a fit reads them (`watch`), or in a pass
    of their own (`read`).  Only then can they be asked for.
    """

    def __init__(
        self, split: Split, queries: Queries | None, *, sizes: SampleSizes, seed: int
    ) -> None:
        self.split = split
        self.queries = queries
        self.complete = False
        """Whether a whole pass was watched."""
        self._sizes, self._seed = sizes, seed
        self._begin()

    def _begin(self) -> None:
        self._of_part = {
            VALIDATION: Sampler(self._sizes.validation, seed=self._seed),
            TEST: Sampler(self._sizes.test, seed=self._seed),
        }
        self._gallery = Sampler(self._sizes.gallery, seed=self._seed + 1)
        self._answers: list[Batch] = []
        self._wanted: NDArray[Any] | None = None

    def read(self, progress: Progress = silent) -> None:
        """Take the samples in a pass of their own."""
        for _ in self.watch(self.split.batches_with_parts(progress=progress)):
            pass

    def watch(
        self, batches: Iterable[tuple[Batch, NDArray[np.int64]]]
    ) -> Iterator[tuple[Batch, NDArray[np.int64]]]:
        """Hand on a whole pass of batches with their parts, sampling on the way."""
        self._begin()
        self._sample_queries()
        for batch, parts in batches:
            self._sample(batch, parts)
            yield batch, parts
        self.complete = True

    def _sample_queries(self) -> None:
        if self.queries is None:
            return
        for batch in self.queries.pairs.batches():
            parts = self.queries.parts(batch.ids, self.split)
            for part, sampler in self._of_part.items():
                sampler.update(batch.select(parts == part))
        wanted: set[Any] = set()
        for part in self._of_part:
            batch = self._sampled(part)
            for q in [] if batch is None else batch.ids.tolist():
                wanted.update(self.queries.answers(q))
        self._wanted = np.array(sorted(wanted)) if wanted else None

    def _sample(self, batch: Batch, parts: NDArray[np.int64]) -> None:
        self._gallery.update(batch)
        if self.queries is None:
            for part, sampler in self._of_part.items():
                sampler.update(batch.select(parts == part))
        elif self._wanted is not None:
            self._answers.append(batch.select(np.isin(batch.ids, self._wanted)))

    def _sampled(self, part: int) -> Batch | None:
        try:
            return self._of_part[part].sample()
        except InputError:
            return None

    def _require_complete(self) -> None:
        if not self.complete:
            raise RuntimeError("the pairs have not been read yet: call read(), or fit first")

    @property
    def sample(self) -> Batch:
        """A uniform sample of all pairs."""
        self._require_complete()
        return self._gallery.sample()

    def test_part(self) -> HeldOut:
        """Queries of the test part with their gallery.

        Raises:
            InputError: if there is none.
        """
        held_out = self.held_out(TEST)
        if held_out is None:
            raise self._nothing_to_judge()
        return held_out

    def check_test_part(self) -> None:
        """Refuse, before any row is read, data of which nothing is held out to judge with.

        Raises:
            InputError: where no pair, or no answered query, falls into the test part.
        """
        if self.queries is None:
            empty = self.split.counts[PARTS[TEST]] == 0
        else:
            asked = self.queries.pairs
            parts = self.queries.parts(asked.ids_at(slice(0, len(asked))), self.split)
            empty = not (parts == TEST).any()
        if empty:
            raise self._nothing_to_judge()

    def _nothing_to_judge(self) -> InputError:
        pairs = len(self.split.pairs)
        if self.queries is None:
            return InputError(
                f"of {pairs:,} pairs none is held out to judge a map with",
                mend="Give more pairs: a few hundred at the least, 4,000 for a good map",
            )
        return InputError(
            f"of {len(self.queries.pairs):,} queries none is answered by an item of the test part",
            where="queries",
            mend="Give more queries; check that their ids, and those of their answers, are the "
            "ones that the relevance judgements and the items have",
        )

    def held_out(self, part: int) -> HeldOut | None:
        """Queries of a part with their gallery; None if no query fell into the part."""
        self._require_complete()
        queries = self._sampled(part)
        if queries is None:
            return None
        gallery = self.sample
        if part == VALIDATION:
            gallery = gallery.select(slice(0, self._sizes.validation_gallery))
        if self.queries is None:
            return HeldOut.of_items(queries, gallery, self.split.pairs.metric)
        qrels = {q: self.queries.answers(q) for q in queries.ids.tolist()}
        wanted = np.array(sorted({item for items in qrels.values() for item in items}))
        answers = [b.select(np.isin(b.ids, wanted)) for b in self._answers]
        items = Batch(
            np.concatenate([b.ids for b in answers]),
            np.concatenate([b.x for b in answers]),
            np.concatenate([b.y for b in answers]),
        )
        return HeldOut.of_queries(queries, qrels, items, gallery, self.split.pairs.metric)
