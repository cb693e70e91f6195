"""Held-out queries and a gallery, sampled while the pairs are read for something else."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.evidence import HeldOut, Qrels
from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import Pairs, Split
from isthmus.spaces.sample import Batch, Sampler
from isthmus.spaces.split import Assignment, Copies

__all__ = [
    "PARTS",
    "SHARES",
    "UNUSED",
    "HeldOutSamples",
    "Queries",
    "RowSamples",
    "SamplePass",
    "SampleSizes",
    "has_ids",
]

log = logging.getLogger(__name__)

PARTS: tuple[str, ...] = ("fit", "validation", "test")
SHARES: dict[str, float] = dict(zip(PARTS, (0.8, 0.1, 0.1), strict=True))
"""The share of each part that pairs of files are split into."""
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

    A query belongs to the part of the split that its first answer belongs to; its other answers
    belong to the same one (`kept_together`), so that none of a held-out query was used in the fit.

    Example:
        >>> import numpy as np
        >>> rows = np.eye(3, dtype=np.float32)
        >>> asked = Pairs(rows, rows, ids=np.array(["why", "how", "who"]))
        >>> Queries(asked, qrels={"why": ["because"]}).answers("why")
        ['because']
    """

    pairs: Pairs
    """The queries in the source and in the target space."""
    qrels: Qrels | None = None
    """None: a query is answered by the item of the same id."""

    @cached_property
    def copies(self) -> Copies:
        """Queries that stand there again, however often."""
        return self.pairs.find_copies(1.0)

    def answers(self, query: Any) -> Sequence[Any]:
        """The ids of the items that answer a query."""
        return (query,) if self.qrels is None else self.qrels.get(query, ())

    def answer_ids(self, ids: NDArray[Any]) -> NDArray[Any]:
        """The first answer of each query; an id that is no answered query's stays as it is."""
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


class RowSamples:
    """What is kept of a stream of pairs: samples of all rows and of each held-out part, and the
    rows that answer the sampled queries.  Two of them, of other rows, merge.

    Args:
        sizes: how many rows are kept.
        seed: of the samples.
        wanted: ids of the items that answer queries ``(m,)``; None where there are none.
        by_part: whether items are sampled by part, because they are the queries.
    """

    def __init__(
        self, sizes: SampleSizes, seed: int, wanted: NDArray[Any] | None, *, by_part: bool
    ) -> None:
        self.of_part = samplers_of_parts(sizes, seed)
        self.gallery = Sampler(sizes.gallery, seed=seed + 1)
        self.answers: list[Batch] = []
        self.by_part = by_part
        self._wanted = wanted

    def update(self, batch: Batch, parts: NDArray[np.int64]) -> None:
        """Offer the rows of a batch, with the part of each ``(n,)``."""
        self.gallery.update(batch)
        if self.by_part:
            for part, sampler in self.of_part.items():
                sampler.update(batch.select(parts == part))
        elif self._wanted is not None:
            self.answers.append(batch.select(np.isin(batch.ids, self._wanted)))

    def renewed(self) -> RowSamples:
        """Empty samples of the same sizes and seeds."""
        return deepcopy(self)

    def merge(self, other: RowSamples) -> None:
        """Add the rows that the samples of another part of the pairs kept."""
        self.gallery.merge(other.gallery)
        for part, sampler in self.of_part.items():
            sampler.merge(other.of_part[part])
        self.answers += other.answers


def samplers_of_parts(sizes: SampleSizes, seed: int) -> dict[int, Sampler]:
    """An empty sampler for each part that is held out."""
    return {
        VALIDATION: Sampler(sizes.validation, seed=seed),
        TEST: Sampler(sizes.test, seed=seed),
    }


@dataclass(frozen=True)
class SamplePass:
    """Takes the samples of some batches."""

    empty: RowSamples
    assign: Assignment

    def __call__(self, batches: Iterable[Batch]) -> RowSamples:
        """The samples of these batches."""
        kept = deepcopy(self.empty)
        for batch in batches:
            kept.update(batch, self.assign(batch.ids))
        return kept

    @staticmethod
    def joined(one: RowSamples, other: RowSamples) -> RowSamples:
        """Both results as one; the first is changed."""
        one.merge(other)
        return one


class HeldOutSamples:
    """Uniform samples of the pairs and of the validation and test queries, in bounded memory.

    They are taken in one whole pass over the pairs: while a fit reads them (`begin`, `complete`),
    or in a pass of their own (`read`).  Only then can they be asked for.
    """

    def __init__(
        self, split: Split, queries: Queries | None, *, sizes: SampleSizes, seed: int
    ) -> None:
        self.split = split
        self.queries = queries
        self._sizes, self._seed = sizes, seed
        self._of_part: dict[int, Sampler] = {}
        self._kept: RowSamples | None = None

    def read(self, progress: Progress = silent) -> None:
        """Take the samples in a pass of their own."""
        work = SamplePass(self.begin(), self.split.assign)
        self.complete(self.split.pairs.fold(work, work.joined, progress=progress))

    @property
    def is_complete(self) -> bool:
        """Whether a whole pass was seen."""
        return self._kept is not None

    def begin(self) -> RowSamples:
        """Sample the queries; what a pass over the pairs is to be offered to, empty as yet."""
        self._of_part = samplers_of_parts(self._sizes, self._seed)
        wanted: set[Any] = set()
        if self.queries is not None:
            for batch in self.queries.pairs.batches():
                parts = self.queries.parts(batch.ids, self.split)
                for part, sampler in self._of_part.items():
                    sampler.update(batch.select(parts == part))
            for part in self._of_part:
                batch = self._sampled(part)
                for q in [] if batch is None else batch.ids.tolist():
                    wanted.update(self.queries.answers(q))
        return RowSamples(
            self._sizes,
            self._seed,
            np.array(sorted(wanted)) if wanted else None,
            by_part=self.queries is None,
        )

    def complete(self, kept: RowSamples) -> None:
        """Take what a whole pass over the pairs kept."""
        self._kept = kept
        if self.queries is None:
            self._of_part = kept.of_part

    def _sampled(self, part: int) -> Batch | None:
        try:
            return self._of_part[part].sample()
        except InputError:
            return None

    def _complete(self) -> RowSamples:
        if self._kept is None:
            raise RuntimeError("the pairs have not been read yet: call read(), or fit first")
        return self._kept

    @property
    def sample(self) -> Batch:
        """A uniform sample of all pairs."""
        return self._complete().gallery.sample()

    def test_part(self) -> HeldOut:
        """Queries of the test part with their gallery.

        Raises:
            InputError: if there is none.
        """
        held_out = self.held_out(TEST)
        if held_out is None:
            raise self._nothing_to_judge()
        return held_out

    def judging_part(self) -> HeldOut:
        """All queries that a map can be judged by: of the test part, or all behind maps of folds.

        Raises:
            InputError: if there is none.
        """
        every = self.held_out(TEST, VALIDATION) if self.fitted_whole else None
        return self.test_part() if every is None else every

    def check_test_part(self, fewest: int = 1) -> None:
        """Refuse, before any row is read, data of which nothing is held out to judge with.

        Args:
            fewest: queries that evidence needs; fewer are warned of, before the work.

        Raises:
            InputError: where no pair, or no answered query, falls into the test part.
        """
        if self.queries is None:
            pairs, what = self.split.pairs, "pairs"
            assigned = (self.split.assign(pairs.ids_at(rows)) for rows in pairs.id_blocks())
        else:
            pairs, what = self.queries.pairs, "queries"
            assigned = iter([self.queries.parts(pairs.ids_at(slice(0, len(pairs))), self.split)])
        counts = np.zeros(len(PARTS) + 1, np.int64)
        for parts in assigned:
            counts += np.bincount(parts[parts >= 0], minlength=len(counts))
        judging = int(counts[TEST])
        if not judging:
            raise self._nothing_to_judge()
        if self.fitted_whole:
            judging += int(counts[VALIDATION])
        if judging < fewest:
            log.warning(
                "notice: %s of %s %s judge, and any evidence needs %d: the verdict will be that "
                "there is not enough. About %s would do",
                f"{judging:,}", f"{len(pairs):,}", what, fewest,
                f"{-(-len(pairs) * fewest // judging):,}",
            )  # fmt: skip

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

    def _taken_once(self, rows: Batch) -> Batch:
        """The rows without copies of other items, unless nothing were left."""
        once = self.split.assign.copies.leaders(rows.ids) == rows.ids
        return rows.select(once) if not once.all() and once.any() else rows

    @property
    def fitted_whole(self) -> bool:
        """Whether all pairs are fitted on, so that no query judges a map that has not seen it but
        through maps of folds."""
        return self.queries is not None and self.split.fractions[PARTS[FIT]] == 0

    def fitted(self, ids: NDArray[Any]) -> NDArray[np.bool_]:
        """Which items ``(n,)`` are of the part that is fitted on alone."""
        return self.split.assign(ids) == FIT

    def held_out(self, *parts: int) -> HeldOut | None:
        """Queries of parts, one behind the other, with their gallery; None if there are none."""
        kept = self._complete()
        found = [batch for part in parts if (batch := self._sampled(part)) is not None]
        if not found:
            return None
        queries, gallery = Batch.joined(found), self.sample
        if parts == (VALIDATION,):
            gallery = gallery.select(slice(0, self._sizes.validation_gallery))
        if self.queries is None:
            # an item that asks would find its copy first, under any model
            queries, gallery = self._taken_once(queries), self._taken_once(gallery)
            return HeldOut.of_items(queries, gallery, self.split.pairs.metric)
        qrels = {q: self.queries.answers(q) for q in queries.ids.tolist()}
        wanted = np.array(sorted({item for items in qrels.values() for item in items}))
        items = Batch.joined([b.select(np.isin(b.ids, wanted)) for b in kept.answers])
        return HeldOut.of_queries(queries, qrels, items, gallery, self.split.pairs.metric)
