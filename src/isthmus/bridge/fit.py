"""From pairs to a bridge with its evidence, in one call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np

from isthmus.adapters.default_recipes import default_recipes, default_refinements
from isthmus.adapters.recipe import Recipe
from isthmus.adapters.recipe_step import Step
from isthmus.bridge.answered_together import kept_together
from isthmus.bridge.belonging import with_notices
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.canary import Canary
from isthmus.bridge.choice import Choice
from isthmus.bridge.examine import examine
from isthmus.bridge.fit_source import FitSource
from isthmus.bridge.fitting import CROSS_FITTED, Fitting
from isthmus.bridge.held_out_samples import (
    PARTS,
    SHARES,
    UNUSED,
    VALIDATION,
    HeldOutSamples,
    Queries,
    has_ids,
)
from isthmus.bridge.held_out_trust import held_out_trust, side_profiles
from isthmus.bridge.kind import BridgeKind
from isthmus.bridge.parted.pairs import GivenPairs, opened_pairs
from isthmus.bridge.provenance import FitRecord, Provenance
from isthmus.bridge.swapped_queries import check_not_swapped
from isthmus.bridge.tried import Tried
from isthmus.bridge.unpaired_pools import check_pools
from isthmus.bridge.whole_index import held_out_parts
from isthmus.errors import InputError
from isthmus.evaluate import Judging
from isthmus.progress import Progress, silent
from isthmus.scale.engine import PooledEngine
from isthmus.spaces.contract import Space
from isthmus.spaces.metric import Metric
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.profile import Profile
from isthmus.spaces.sample import Batch

__all__ = ["fit"]

_JUDGED = dict(zip(PARTS, (0.0, 0.5, 0.5), strict=True))
"""Where every pair is fitted on: each half is judged in the ways that the other chose."""
_CANARIES = 8


def fit(
    pairs: GivenPairs,
    *,
    kind: BridgeKind = "query",
    recipe: str | Recipe | Sequence[str | Recipe] = "auto",
    queries: Pairs | Queries | None = None,
    judging: Judging | None = None,
    fitting: Fitting | None = None,
    engine: PooledEngine | str | None = None,
    progress: Progress = silent,
) -> Bridge:
    """Fit a bridge, choose its map on validation queries, and judge it on test queries.

    The pairs are split by a hash of their ids into fit, validation and test parts; they are read
    once (once more for each row norm of a recipe that stands behind a fitted step).  Up to
    `CROSS_FITTED` pairs with queries, no pair is spared (`Fitting.cross_fit`): the map is chosen
    by the ranks of all queries and fitted on all pairs; the evidence is of the same recipe's maps
    of the folds, none of which was fitted on the queries that it is judged on.

    Args:
        pairs: the same items in the source and in the target space; or where both are,
            ``(source, target)``.
        kind: ``query``: the source is the new model, the target the old one, and mapped queries
            search the old index.  ``corpus``: the source is the old model, and stored vectors are
            mapped for native queries of the new one.
        recipe: one recipe, or several from the simplest to the most complex; ``auto`` for all
            that moments can fit and the best of them trained by contrast on the rows; ``linear``
            for moments alone.
        queries: separate queries in the source and target spaces: `Queries` that say which items
            answer them, or pairs, each answered by the item of the same id.  Without them the
            items themselves are the queries: judged by their labels if ``pairs`` has labels, and
            else by agreement with the old model.
        judging: metrics, margins, resamples, and what a way to serve may ask for; its seed is that
            of ``fitting``.
        fitting: the seed, how the pairs are split and weighted, the names of both models, and what
            is kept.
        engine: what reads the two places, part by part, as `isthmus.open_engine` takes it
            (``processes:4``, ``dask://HOST:8786``), or an opened one; None for this process.
        progress: told about rows and candidates.

    Raises:
        InputError: for data that cannot be used, naming the first offending row.
        EngineError: as `isthmus.open_engine`, or for a part that fails twice.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> new = rng.standard_normal((2000, 16))
        >>> old = new @ np.linalg.qr(rng.standard_normal((16, 16)))[0]
        >>> bridge = fit(Pairs(new, old, metric="cosine"), recipe="procrustes")
        >>> str(bridge.evidence.verdict)
        'use the bridge'
        >>> np.save("new.npy", new)
        >>> np.save("old.npy", old)
        >>> print(fit(("new.npy", "old.npy"), recipe="procrustes", engine="threads:2").recipe)
        procrustes
    """
    with opened_pairs(pairs, engine) as opened:
        asked = Queries(queries) if isinstance(queries, Pairs) else queries
        fitting = fitting or Fitting()
        judging = replace(judging or Judging(), seed=fitting.seed)
        return _fitted(opened, kind, recipe, asked, judging, fitting, progress)


def _fitted(
    pairs: Pairs,
    kind: BridgeKind,
    recipe: str | Recipe | Sequence[str | Recipe],
    queries: Queries | None,
    judging: Judging,
    fitting: Fitting,
    progress: Progress,
) -> Bridge:
    seed = fitting.seed
    if kind not in ("query", "corpus"):
        raise InputError(f"a bridge is of kind 'query' or 'corpus', got {kind!r}")
    if len(pairs) < 2:
        raise InputError(
            f"a map cannot be fitted on {len(pairs)} pair(s)",
            mend="Give a few hundred pairs at the least, 4,000 for a good map",
        )
    _check_queries(pairs, queries)
    check_pools(fitting.pools, pairs.dim_x, pairs.dim_y)
    cross_fit = cross_fits(fitting, kind, len(pairs), queries)
    shares = fitting.shares or (_JUDGED if cross_fit else SHARES)
    split = pairs.split(shares, seed=seed, together=kept_together(pairs, queries))
    if tuple(split.fractions) not in (PARTS, (*PARTS, UNUSED)):
        raise InputError(
            f"shares are of {list(PARTS)} and, if you like, '{UNUSED}', in this order, "
            f"got {list(shares)}"
        )
    samples = HeldOutSamples(
        split,
        queries,
        sizes=fitting.sizes,
        seed=seed,
    )
    samples.check_test_part(judging.rule.min_queries)
    stream = FitSource(
        samples,
        fitting,
        seed=seed,
        every_part=cross_fit,
        maps_queries=kind == "query",
        progress=progress,
    )
    metric = pairs.metric
    recipes = _recipes(recipe, kind, metric, apart=stream.fit_on_queries)
    running = None if fitting.prior is None else fitting.prior.chain
    choice = Choice(stream, kind, judging.primary, cross_fit=cross_fit)
    selection = choice.among(
        recipes,
        cosine=metric == "cosine",
        prior=running,
        refinements=_refinements(recipe, metric, len(pairs), fitting),
        progress=progress,
    )
    validation = samples.held_out(VALIDATION)
    # rounded as its file will hold it, so that a loaded bridge maps bit for bit alike
    chain = selection.chain.rounded()
    out_of_fold = choice.out_of_fold(selection)
    unseen = out_of_fold or chain
    parts = held_out_parts(samples, kind, unseen, whole_index=judging.whole_index)
    examined = examine(parts, unseen, kind, judging, progress=progress)
    sample = samples.sample
    profiles = side_profiles(sample, split, validation, kind=kind, metric=metric)
    trust = held_out_trust(
        chain,
        parts.validation or validation,
        parts.test,
        profiles[0],
        split,
        kind=kind,
        out_of_fold=out_of_fold,
        seed=seed,
    )
    names = ("new", "old") if kind == "query" else ("old", "new")
    return Bridge(
        kind=kind,
        source=_space(fitting.source, profiles[0], sample.x.dtype, names[0], metric),
        target=_space(fitting.target, profiles[1], sample.y.dtype, names[1], metric),
        chain=chain,
        recipe=selection.chosen.recipe,
        evidence=with_notices(
            examined, pairs, samples.queries, unseen, parts.judging, kind, profiles
        ),
        ways=examined.ways,
        nested_ways=examined.nested_ways,
        tried=tuple(
            Tried(str(c.recipe), round(c.score, 6), _round(c.squared_error))
            for c in selection.candidates
        ),
        provenance=Provenance(
            fit=FitRecord(
                pairs=len(pairs),
                fit_rows=stream.fit_rows,
                shares=dict(split.fractions),
                moved=split.assign.who_moved() or None,
                folds=fitting.folds,
                cross_fitted=cross_fit,
                chosen_by=choice.by,
                seed=seed,
                fit_on_queries=stream.fit_on_queries,
                weighting=fitting.weighting,
                prior=None if fitting.prior is None else fitting.prior.provenance,
                data_sha256=pairs.digest(replace(sample, labels=None)),
                sizes=fitting.sizes,
                isthmus=version("isthmus"),
                numpy=version("numpy"),
                scipy=version("scipy"),
            )
        ),
        source_profile=profiles[0],
        target_profile=profiles[1],
        canary=_canary(sample, fitting.canary_items, named=has_ids(pairs)),
        trust=trust,
        out_of_fold=out_of_fold,
        thresholds=examined.thresholds,
    )


def _check_queries(pairs: Pairs, queries: Queries | None) -> None:
    if queries is None:
        return
    for side in ("dim_x", "dim_y", "metric"):
        mine, theirs = getattr(pairs, side), getattr(queries.pairs, side)
        if mine != theirs:
            raise InputError(
                f"the queries have {side} = {theirs}, the items {mine}",
                where="queries",
                mend="Encode queries and items with the same two models, given in the same order",
            )
    check_not_swapped(pairs, queries.pairs)


def cross_fits(fitting: Fitting, kind: BridgeKind, n_pairs: int, queries: Queries | None) -> bool:
    """Whether every pair is fitted on, and judged by maps of the other folds.

    Args:
        fitting: what was asked for.
        kind: of the bridge.
        n_pairs: how many there are.
        queries: of both models, where there are some.

    Raises:
        InputError: where it is asked for and cannot be had.
    """
    possible = kind == "query" and queries is not None and fitting.fit_on_queries
    if fitting.cross_fit is None:
        return possible and fitting.shares is None and n_pairs <= CROSS_FITTED
    if fitting.cross_fit and not (possible and fitting.shares is None):
        raise InputError(
            "only a query bridge that is fitted on queries can be cross-fitted, and no shares are "
            "held out of it",
            where="cross_fit",
            mend="Leave it out, or give queries and no shares",
        )
    return fitting.cross_fit


def _recipes(
    recipe: str | Recipe | Sequence[str | Recipe], kind: BridgeKind, metric: Metric, *, apart: bool
) -> list[Recipe]:
    if recipe in ("linear", "auto"):
        return default_recipes(metric, search_only=kind == "query", apart=apart)
    if isinstance(recipe, (str, Recipe)):
        return [Recipe.of(recipe)]
    if not recipe:
        raise InputError("the list of recipes is empty")
    return [Recipe.of(r) for r in recipe]


def _refinements(
    recipe: str | Recipe | Sequence[str | Recipe], metric: Metric, pairs: int, fitting: Fitting
) -> list[Step]:
    if recipe != "auto":
        return []
    return default_refinements(metric, pairs, pools=fitting.pools is not None)


def _space(
    given: Space | str | None, profile: Profile, dtype: np.dtype[Any], name: str, metric: Metric
) -> Space:
    if isinstance(given, Space):
        if given.dim != profile.dim or given.metric != metric:
            raise InputError(
                f"the contract says {given.dim} dimensions under {given.metric}, the pairs have "
                f"{profile.dim} under {metric}",
                where=f"space '{given.name}'",
            )
        return given
    precision = "float64" if dtype == np.float64 else "float32"
    if given is None:
        return Space.from_profile(profile, name, metric, dtype=precision)
    model, at, revision = given.rpartition("@")
    if not at or "/" in revision:  # of a URL, where the service is
        model, revision = given, ""
    return Space.from_profile(
        profile, model, metric, dtype=precision, model=model, revision=revision or None
    )


def _canary(sample: Batch, items: Mapping[Any, str] | None, *, named: bool) -> Canary:
    few = sample.select(slice(0, _CANARIES))
    ids = tuple(few.ids.tolist())
    texts = None
    if items is not None and all(i in items for i in ids):
        texts = tuple(items[i] for i in ids)
    return Canary(
        ids,
        np.asarray(few.x, dtype=np.float32),
        np.asarray(few.y, dtype=np.float32),
        texts,
        named,
    )


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
