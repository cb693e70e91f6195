"""A new type of input for a frozen space: closed form first, training where it helps.

Items are split into folds.  In each fold a map is fitted on the other folds' pairs, trained from
there, with a hidden layer beside it and without, and judged on the fold; so every known pair is
judged once by a map that has not seen it.  The trained maps of all folds are averaged into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isthmus.array_types import Embeddings
from isthmus.errors import InputError
from isthmus.evaluate import PairedOutcomes, Resampling
from isthmus.evaluate.probes import modality_gap
from isthmus.evaluate.scores import checked_norms
from isthmus.nn.modality.attached import Attached, baseline_of
from isthmus.nn.modality.closed_forms import RIDGES, ClosedForm, ReducedRows, closed_forms, judged
from isthmus.nn.modality.hubs import HubOffsets, hub_offsets
from isthmus.nn.modality.measure import (
    Measured,
    RetrievalTask,
    best_temperature,
    compare_measured,
    measure_retrieval,
)
from isthmus.nn.modality.paired_items import PairedItems, match_items
from isthmus.nn.modality.projector import Branch, Projector
from isthmus.nn.modality.tune import HOTTEST, PairedInputs, Tuning, checked_metric, tune
from isthmus.numeric import to_numpy, unit_rows
from isthmus.progress import Progress, silent
from isthmus.training.schedule import Schedule

__all__ = ["AttachOptions", "attach"]


_FEWEST_ITEMS = 5
_BANK_ROWS = 2000
_GAP_ROWS = 4
_DROPOUT, _ENOUGH = 0.3, 10
_HIDDEN, _ENOUGH_FOR_HIDDEN = 256, 1000
_HOTTER, _HOTTER_HIDDEN = 2.0, 1.5
"""Temperature of the training over the one that suits the scores it begins with."""
_HIDDEN_SCHEDULE = Schedule(40, patience=6)
"""A hidden layer begins with nothing learned, and goes on gaining where a linear map is done."""


@dataclass(frozen=True)
class AttachOptions:
    """How items are held out to judge by, and how maps are trained.

    Example:
        >>> AttachOptions(folds=3, metric="cmc@10").known_items
        False
    """

    folds: int = 5
    """Parts that the items are split into; with fewer items as many as there are."""
    metric: str = "mrr"
    """The metric of held-out retrieval in both directions, by which the closed form is chosen and
    training is stopped: ``mrr`` or ``cmc@k``."""
    known_items: bool = False
    """Hold out rows of x instead of whole items, where new rows of known items are the task:
    recordings of classes whose names are the frozen space."""
    dropout: float | None = None
    """Share of the inputs that the projector drops while it is trained; unless given .3 where there
    are fewer than 10 pairs to an input, and none from there on."""
    hidden: int | None = None
    """Width of the hidden layer of a second head, trained beside the linear one and taken where it
    ranks held-out pairs better; 0 for none.  Unless given 256 from 1,000 pairs on."""
    partners: int = 4
    """Rows of y that one row of x is trained with at most."""
    seed: int = 0
    """Seed of the folds and of what is drawn for training."""

    def __post_init__(self) -> None:
        checked_metric(self.metric)
        if self.folds < 2 or self.partners < 1:
            raise InputError(
                f"2 folds and 1 partner are the least, got {self.folds} and {self.partners}"
            )
        if self.hidden is not None and self.hidden < 0:
            raise InputError(f"the width is 0 or more, got {self.hidden}", where="hidden")


def attach(
    x: NDArray[Any],
    y: NDArray[Any],
    *,
    items_x: Sequence[Any] | NDArray[Any] | None = None,
    items_y: Sequence[Any] | NDArray[Any] | None = None,
    tuning: Tuning | None = None,
    options: AttachOptions | None = None,
    progress: Progress = silent,
) -> Attached:
    """Map a new modality's vectors into a frozen space that is compared by cosine.

    Rows of one item (several pictures, several captions) are each other's partners.  Rows whose
    item is on one side only are used too: for their side's moments and, with few pairs, as pools
    for pseudo-pairs.

    Args:
        x: vectors of the new modality ``(nx, dx)``, from any encoder; those of several encoders
            stand beside one another, each at unit length.
        y: vectors of the frozen model ``(ny, dy)``; they are not changed.
        items_x: the item of each x row; without, row i of x pairs with row i of y.
        items_y: the item of each y row.
        tuning: loss and schedule of the training; with ``Schedule(0)`` the closed form is kept.
            Unless given, 16 epochs at the most for the linear head and 40 for the other.
        options: how items are held out, and how maps are trained.
        progress: told after every fold.

    Raises:
        InputError: for sides that are empty, do not pair or share no item, fewer than 5 paired
            items, rows that are zero, not finite, or all alike.
        DivergedError: where training diverges.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> captions = rng.standard_normal((80, 6))  # of a frozen text model
        >>> pictures = captions @ rng.standard_normal((6, 9))  # of an image model
        >>> from isthmus.training import Schedule
        >>> made = attach(pictures, captions, tuning=Tuning(schedule=Schedule(1)))
        >>> made.paired, made.transform(pictures).shape
        (80, (80, 6))
    """
    # who says how to train says it of both heads
    longer = tuning or Tuning(schedule=_HIDDEN_SCHEDULE)
    tuning, options = tuning or Tuning(), options or AttachOptions()
    x, y = (_checked(rows, name) for rows, name in ((x, "x"), (y, "y")))
    items = match_items(len(x), len(y), items_x, items_y)
    if items.paired < _FEWEST_ITEMS:
        raise InputError(
            f"{items.paired} item(s) have both modalities; {_FEWEST_ITEMS} are needed to hold "
            "some out",
            where="items",
            mend="Pair a few more items",
        )
    side, target = ReducedRows.of(x), unit_rows(y)
    seed = options.seed
    held = _Folds(side, target, items, options, progress)
    name, start = held.best()
    projector = Projector(start.matrix, start.offset, dropout=held.dropout).eval()
    out, gain = held.mapped[name], None
    if tuning.schedule.epochs:
        before, best = held.scores[name], held.scores[name]
        for hidden in held.heads:
            trained = held.train(name, unit_rows(x), longer if hidden else tuning, hidden)
            better = trained.scores - best
            # early stopping has seen the fold it is judged on: a gain within the noise is none
            taken = better.mean() > better.std() / len(better) ** 0.5
            if gain is None or taken:
                both = np.column_stack([before, trained.scores])
                gain = PairedOutcomes(both, Resampling(seed=seed)).difference(1, 0)
            if taken:
                out, projector, best = trained.mapped, trained.projector, trained.scores
    scores = sorted(((n, float(v.mean())) for n, v in held.scores.items()), key=lambda s: -s[1])
    ridge, _ = held.measured(held.mapped[baseline_of(dict(scores))], hubs=False)
    after, temperature = held.measured(out, hubs=True)
    return Attached(
        projector=projector,
        start=name,
        trained=out is not held.mapped[name],
        gain=gain,
        scores=dict(scores),
        report=compare_measured(ridge, after, seed=seed),
        temperature=temperature,
        bank=(_sample(out, seed), _sample(target, seed)),
        paired=items.paired,
        alone=(len(x) - len(items.paired_x), len(y) - len(items.paired_y)),
    )


@dataclass(frozen=True, eq=False)
class _TrainedFolds:
    projector: Projector
    mapped: Embeddings
    scores: NDArray[np.float64]


class _Folds:
    """Every closed form fitted without each fold, and what it makes of that fold."""

    def __init__(
        self,
        side: ReducedRows,
        y: Embeddings,
        items: PairedItems,
        options: AttachOptions,
        progress: Progress,
    ) -> None:
        known_items, seed = options.known_items, options.seed
        count = min(options.folds, len(items.paired_x) if known_items else items.paired)
        self.side, self.y, self.items, self.count, self.seed = side, y, items, count, seed
        self._options, self._progress = options, progress
        self._rows = items.paired_x
        folds = items.folds(count, seed, known_items=known_items)
        self.of_row = folds[self._rows]
        # a y row is unseen in a fold if its item is; where items are known, in none
        self.of_y = np.full(len(y), -1)
        if not known_items:
            of_item = np.zeros(items.paired, np.int64)
            of_item[items.x[self._rows]] = self.of_row
            paired = items.paired_y
            self.of_y[paired] = of_item[items.y[paired]]
        self.scores: dict[str, NDArray[np.float64]] = {}
        self.mapped: dict[str, Embeddings] = {}
        self.starts: dict[str, list[ClosedForm]] = {}
        for number in range(count):
            seen = folds != number, self.of_y != number
            for start in closed_forms(side.rows, y, items, *seen):
                self._judge(start, number)
            progress("fit closed forms", number + 1, count)
        # a form that one fold could not fit is none that can be relied on
        for name in [n for n, found in self.starts.items() if len(found) < count]:
            del self.starts[name], self.scores[name], self.mapped[name]
        if not any(name in self.scores for name in RIDGES):
            raise InputError(
                "no map can be fitted: a side does not vary over the pairs",
                where="x, y",
                mend="Check that different items were encoded",
            )

    def _judge(self, start: ClosedForm, number: int) -> None:
        mapped = self.mapped.setdefault(
            start.name, np.zeros((len(self._rows), self.y.shape[1]), np.float32)
        )
        self.starts.setdefault(start.name, []).append(start)
        here = self.of_row == number
        mapped[here] = start(self.side.rows[self._rows[here]])
        before = self.scores.get(start.name, np.zeros(0))
        self.scores[start.name] = np.append(before, self._score(mapped, number))

    def _score(self, mapped: Embeddings, number: int) -> NDArray[np.float64]:
        task = self._task(mapped, number)
        return judged(task.queries, task.asked, task.gallery, task.held, self._options.metric)[1]

    def _task(self, mapped: Embeddings, number: int, *, hubs: bool = False) -> RetrievalTask:
        """The rows of a fold among vectors that its maps have not seen paired."""
        here = self.of_row == number
        unseen = np.flatnonzero((self.of_y == number) | (self.of_y == -1))
        gallery = self.y[unseen]
        # the bank is of the other folds: never the queries themselves
        bank = _sample(mapped[~here], self.seed)
        return RetrievalTask(
            mapped[here],
            self.items.x[self._rows[here]],
            gallery,
            self.items.y[unseen],
            hub_offsets(gallery, bank) if hubs else None,
        )

    def measured(self, mapped: Embeddings, *, hubs: bool) -> tuple[Measured, float]:
        """Both ways of search in every fold, and the temperature that suits them all."""
        tasks = [self._task(mapped, number, hubs=hubs) for number in range(self.count)]
        temperature = best_temperature(tasks)
        bank = _sample(self.y, self.seed)
        parts = [
            measure_retrieval(
                t.queries, t.asked, t.gallery, t.held,
                offsets=HubOffsets(t.offsets, hub_offsets(t.queries, bank)) if hubs else None,
                temperature=temperature, gap=False,
            )
            for t in tasks
        ]  # fmt: skip
        width = min(len(mapped), len(self.y))
        gap = modality_gap(mapped, self.y, seed=self.seed) if width >= _GAP_ROWS else None
        return Measured.joined(parts, gap), temperature

    def best(self) -> tuple[str, ClosedForm]:
        """The closed form that ranks best on the folds, fitted on all pairs.

        One that rows without a partner had a part in must be ahead by two standard errors: among
        so many forms one is ahead by chance, and these err more where they do.
        """
        made = {s.name: s for s in closed_forms(self.side.rows, self.y, self.items)}
        ranked = sorted(
            (n for n in self.scores if n in made), key=lambda n: -float(self.scores[n].mean())
        )
        # the plain ridge map is among those of pairs alone
        name = next(n for n in ranked if not made[n].alone)
        other = ranked[0]
        if made[other].alone:
            better = self.scores[other] - self.scores[name]
            if better.mean() > 2.0 * better.std(ddof=1) / len(better) ** 0.5:
                name = other
        return name, self.side.whole(made[name])

    @property
    def dropout(self) -> float:
        """Share of the inputs that a projector drops while it is trained."""
        if self._options.dropout is not None:
            return self._options.dropout
        enough = len(self._rows) >= _ENOUGH * self.side.rows.shape[1]
        return 0.0 if enough else _DROPOUT

    @property
    def heads(self) -> tuple[int, ...]:
        """The hidden layers' widths of the projectors that are trained: 0 of a linear one."""
        hidden = self._options.hidden
        if hidden is None:
            hidden = _HIDDEN if len(self._rows) >= _ENOUGH_FOR_HIDDEN else 0
        return (0, hidden) if hidden else (0,)

    def train(self, name: str, x: Embeddings, tuning: Tuning, hidden: int) -> _TrainedFolds:
        """Train the closed form of every fold, and average the maps.

        Args:
            name: of the closed form.
            x: rows at unit length.
            tuning: loss and schedule.
            hidden: width of a hidden layer beside the linear map, or 0.
        """
        options = self._options
        if tuning.temperature is None:
            # rows of one item apart, a frozen space may lie so close that .1 tells nothing apart
            _, suits = self.measured(self.mapped[name], hubs=False)
            hotter = _HOTTER_HIDDEN if hidden else _HOTTER
            tuning = replace(tuning, temperature=min(hotter * suits, HOTTEST))
        left, right = self.items.pairs(options.partners, self.seed)
        inputs, targets = torch.from_numpy(x), torch.from_numpy(self.y)
        numbers = torch.from_numpy(self.items.x)
        fold = np.full(len(x), -1)
        fold[self._rows] = self.of_row
        fold = fold[left]
        mapped = np.zeros((len(self._rows), self.y.shape[1]), np.float32)
        scores: list[NDArray[np.float64]] = []
        made: list[Projector] = []
        for number, start in enumerate(self.starts[name]):
            whole = self.side.whole(start)
            seen = _sample(x[left[fold != number]], self.seed)
            outputs = whole.matrix.shape[1]
            branch = Branch.begun(seen, outputs, hidden, self.seed + number) if hidden else None
            projector = Projector(whole.matrix, whole.offset, branch=branch, dropout=self.dropout)
            train, held = (
                PairedInputs(inputs[left[rows]], targets[right[rows]], numbers[left[rows]])
                for rows in (np.flatnonzero(fold != number), np.flatnonzero(fold == number))
            )
            tune(
                projector, train, held, tuning,
                metric=options.metric, known_items=options.known_items,
            )  # fmt: skip
            here = self.of_row == number
            mapped[here] = projector.eval().chain(x[self._rows[here]])
            scores.append(self._score(mapped, number))
            made.append(projector)
            self._progress("train", number + 1, self.count)
        matrices, offsets = (
            torch.stack([getattr(p, part).detach() for p in made]).mean(0).cpu().numpy()
            for part in ("weight", "offset")
        )
        branches = [b for b in (p.branch for p in made) if b is not None]
        average = Projector(
            matrices, offsets,
            branch=Branch.mean(branches) if branches else None, dropout=self.dropout,
        )  # fmt: skip
        return _TrainedFolds(average.eval(), mapped, np.concatenate(scores))


def _sample(rows: Embeddings, seed: int) -> Embeddings:
    return rows[np.sort(np.random.default_rng(seed).permutation(len(rows))[:_BANK_ROWS])]


def _checked(rows: NDArray[Any], name: str) -> NDArray[Any]:
    plain = to_numpy(rows) if hasattr(rows, "ndim") else np.asarray(rows)
    if plain.ndim == 2 and not len(plain):
        raise InputError("the modality has no rows", where=name, mend="Give vectors of both sides")
    if plain.dtype.kind == "f" and plain.dtype.itemsize < 4:
        plain = plain.astype(np.float32)
    checked_norms(plain, name, "cosine")
    return plain
