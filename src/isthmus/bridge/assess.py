"""A bridge that exists, judged on data: the same held-out part, or data it has never seen."""

from __future__ import annotations

from isthmus.bridge.bridge import Bridge
from isthmus.bridge.evidence import Qrels
from isthmus.bridge.stream import TEST, PairStream, Queries, SampleSizes
from isthmus.errors import InputError
from isthmus.evaluate import Evaluation, evaluate_upgrade
from isthmus.evaluate.verdict import VerdictRule
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import Pairs

__all__ = ["assess"]


def assess(
    bridge: Bridge,
    pairs: Pairs,
    *,
    queries: Pairs | None = None,
    qrels: Qrels | None = None,
    primary: str | None = None,
    all_rows: bool | None = None,
    sizes: SampleSizes | None = None,
    rule: VerdictRule | None = None,
    seed: int | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Every way to serve the new model, with intervals and a verdict, for a given bridge.

    Args:
        bridge: to judge; vectors of other models than its own are refused.
        pairs: the same items in the source and in the target space.
        queries, qrels, primary, rule: as in `isthmus.fit`.
        all_rows: use every row as a query (data the bridge has never seen).  None decides: the
            data of the fit, recognised by their digest, are judged on their test part alone.
        sizes: how many rows are held.
        seed: None takes that of the fit.
        progress: told about rows.

    Raises:
        InputError: for data that cannot be used, or that no query can be drawn from.
        WrongSpaceError: if they come from other models.
    """
    provenance = bridge.provenance
    seed = int(provenance.get("seed", 0)) if seed is None else seed
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
        fitted_on = SampleSizes(**provenance["sizes"]) if "sizes" in provenance else sizes
        sample = pairs.sample(fitted_on.gallery, seed=int(provenance.get("seed", 0)) + 1)
        all_rows = pairs.digest(sample) != provenance.get("data_sha256")
    shares = {"fit": 0.0, "validation": 0.0, "test": 1.0}
    if not all_rows:
        shares = dict(provenance["shares"])
    stream = PairStream(
        pairs.split(shares, seed=seed),
        None if queries is None else Queries(queries, qrels),
        folds=2,
        seed=seed,
        sizes=sizes,
        fit_on_queries=False,
        progress=progress,
    )
    stream.read_samples()
    sample = stream.sample
    bridge.recognise(sample.x, where=pairs.source.name)
    bridge.recognise_target(sample.y, where=pairs.target.name)
    if bridge.canary is not None:
        bridge.canary.check(dict(zip(sample.ids.tolist(), sample.x, strict=True)))
    held_out = stream.held_out(TEST)
    if held_out is None:
        raise InputError("no pair fell into the test part", mend="Give more pairs")
    return evaluate_upgrade(
        held_out.trial(bridge.chain, bridge.kind, bridge.source.metric, bridge.target.metric),
        primary=primary,
        rule=rule,
        seed=seed,
        progress=progress,
    )
