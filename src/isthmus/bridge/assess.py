"""A bridge that exists, judged on data: the same held-out part, or data it has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from isthmus.adapters.cross_fitted import FittedMap
from isthmus.bridge.belonging import with_notices
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.examine import examine
from isthmus.bridge.held_out_samples import (
    FIT,
    PARTS,
    TEST,
    UNUSED,
    HeldOutSamples,
    Queries,
    SampleSizes,
    has_ids,
)
from isthmus.bridge.parted.pairs import GivenPairs, opened_pairs
from isthmus.bridge.provenance import FitRecord
from isthmus.bridge.whole_index import held_out_parts
from isthmus.errors import InputError
from isthmus.evaluate import Evaluation, Judging
from isthmus.progress import Progress, silent
from isthmus.scale.engine import PooledEngine
from isthmus.spaces.pairs import Pairs, Split

__all__ = ["assess", "may_share_items", "split_of", "unseen_map_of", "unseen_samples"]


def assess(
    bridge: Bridge,
    pairs: GivenPairs,
    *,
    queries: Pairs | Queries | None = None,
    judging: Judging | None = None,
    all_rows: bool | None = None,
    sizes: SampleSizes | None = None,
    engine: PooledEngine | str | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Every way to serve the new model, with intervals and a verdict, for a given bridge.

    Args:
        bridge: to judge; vectors of other models than its own are refused.
        pairs: as in `isthmus.fit`.
        queries: as in `isthmus.fit`.
        judging: as in `isthmus.fit`.
        engine: as in `isthmus.fit`.
        all_rows: use every row as a query (data the bridge has never seen).  None decides: data
            that share items with the fit, and data for an inverted or composed bridge, which
            cannot be recognised, are judged on the test part of the fit alone.
        sizes: how many rows are held.
        progress: told about rows.

    Raises:
        InputError: for data that cannot be used, or that no query can be drawn from.
        WrongSpaceError: if they come from other models.
        EngineError: as `isthmus.fit`.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> new = rng.standard_normal((2000, 16))
        >>> old = new @ np.linalg.qr(rng.standard_normal((16, 16)))[0]
        >>> from isthmus.bridge import fit
        >>> pairs = Pairs(new, old, metric="cosine")
        >>> found = assess(fit(pairs, recipe="procrustes"), pairs)
        >>> str(found.verdict), sorted(found.arms)[:2]
        ('use the bridge', ['bridge', 'control'])
    """
    asked = Queries(queries) if isinstance(queries, Pairs) else queries
    with opened_pairs(pairs, engine) as opened:
        samples = unseen_samples(
            bridge, opened, asked, all_rows=all_rows, sizes=sizes, progress=progress
        )
        judged = unseen_map_of(bridge, samples)
        judging = replace(judging or Judging(), seed=_seed_of(bridge))
        parts = held_out_parts(samples, bridge.kind, judged, whole_index=judging.whole_index)
        examined = examine(parts, judged, bridge.kind, judging, progress=progress)
        return with_notices(
            examined, opened, samples.queries, judged, parts.judging, bridge.kind,
            (bridge.source_profile, bridge.target_profile),
        )  # fmt: skip


def unseen_samples(
    bridge: Bridge,
    pairs: Pairs,
    queries: Queries | None,
    *,
    all_rows: bool | None = None,
    sizes: SampleSizes | None = None,
    progress: Progress = silent,
) -> HeldOutSamples:
    """Queries and a gallery that a bridge was not fitted on, read from data; see `assess`.

    Raises:
        InputError, WrongSpaceError: as `assess`.
    """
    fits, seed = bridge.provenance.fits, _seed_of(bridge)
    sizes = sizes or SampleSizes()
    first = pairs.head(256)
    bridge.require_source(first.x, where=pairs.source.name)
    if first.y.shape[1] != bridge.target.dim:
        raise InputError(
            f"the vectors are {first.y.shape[1]} wide, the target of the bridge has "
            f"{bridge.target.dim}",
            where=pairs.target.name,
        )
    if all_rows is None:
        all_rows = not may_share_items(bridge, fits, pairs)
    everything = dict(zip(PARTS, (0.0, 0.0, 1.0), strict=True))
    split = pairs.split(everything, seed=seed) if all_rows else split_of(fits, pairs)
    samples = HeldOutSamples(split, queries, sizes=sizes, seed=seed)
    samples.read(progress)
    sample = samples.sample
    bridge.recognise(sample.x, where=pairs.source.name)
    bridge.recognise_target(sample.y, where=pairs.target.name)
    if bridge.canary is not None and bridge.canary.named and has_ids(pairs):
        bridge.canary.check(dict(zip(sample.ids.tolist(), sample.x, strict=True)))
    return samples


def unseen_map_of(bridge: Bridge, samples: HeldOutSamples) -> FittedMap:
    """What maps the judging queries of `unseen_samples` without having seen them.

    Raises:
        InputError: if every pair was fitted on, and no maps of folds were kept.
    """
    # data that the fit has not seen are judged whole
    fresh = samples.split.fractions[PARTS[TEST]] == 1
    return bridge.chain if fresh else bridge.unseen_map()


def _seed_of(bridge: Bridge) -> int:
    """The seed of its first fit: the same rows are drawn again."""
    fits = bridge.provenance.fits
    return fits[0].seed if fits else 0


def may_share_items(bridge: Bridge, fits: Sequence[FitRecord], pairs: Pairs) -> bool:
    """Whether a row of the fit may be among the pairs."""
    fit = bridge.provenance.fit
    if bridge.canary is None or fit is None:
        return bool(fits)
    # the canaries come first in a sample of the fit's pairs, and of most pairs that hold these
    sample = pairs.sample(fit.sizes.gallery, seed=fit.seed + 1)
    row = {name: i for i, name in enumerate(sample.ids.tolist())}
    return any(
        name in row
        and (
            (bridge.canary.named and has_ids(pairs))
            or np.array_equal(sample.x[row[name]].astype(np.float32), expected)
        )
        for name, expected in zip(bridge.canary.ids, bridge.canary.source, strict=True)
    )


def split_of(fits: Sequence[FitRecord], pairs: Pairs) -> Split:
    """The pairs as the fits split theirs.

    Raises:
        InputError: if there is no fit, or two of a composed bridge were split differently.
    """
    asked = [(fit.shares, fit.seed) for fit in fits]
    if not asked or any(other != asked[0] for other in asked):
        raise InputError(
            "it cannot be told which of these pairs no fit has seen: "
            + (
                "the fits behind this bridge were split differently" if asked else "no fit is known"
            ),
            mend="Judge it on pairs that no fit has seen, with all_rows=True (--all)",
        )
    shares, seed = asked[0]
    # what one of several fits had elsewhere may be a row of another's fit
    elsewhere = [fit.moved or {} for fit in fits]
    moved = {
        item: part if all(other.get(item) == part for other in elsewhere) else FIT
        for each in elsewhere
        for item, part in each.items()
    }
    named = [*PARTS, *([UNUSED] if UNUSED in shares else [])]
    return pairs.split({name: shares[name] for name in named}, seed=seed, moved=moved)
