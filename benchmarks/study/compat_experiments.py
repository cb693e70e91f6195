"""One seed of the compatibility study: the models, the adapters, and every search with them.

1. *extension*: the same network is trained on 18, 27 and 36 classes of printed characters, with
   each way of compatible training; adapters join the first to the last.
2. *architecture*: a mixer of 64 dimensions is replaced by a convolutional network of 128.
3. *downstream*: the adapters of the first experiment are fitted to handwritten digits, and it is
   seen what is gained there and what is forgotten about printed characters.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study.compat_adapters import Adapted, adapters, lambda_paths
from benchmarks.study.compat_data import CLASSES, Domain, handwritten, printed
from benchmarks.study.compat_networks import convolutional, embedded, mixer, timed_training
from isthmus.evaluate import Resampling, Trial, from_labels, parse_metric, relevant_ranks
from isthmus.nn.compat import (
    OldEncoder,
    TrainedEncoder,
    extended_classifier,
    partial_backfill,
    train_bct,
    train_independent,
    train_simplex,
)
from isthmus.ways.order import ErrorModel, class_distance, random_priority

__all__ = ["METRICS", "SIZES", "Outcome", "Size", "run_seed", "timed_seed"]

METRICS = ("cmc@1", "map")
STEPS = (18, 27, CLASSES)


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    train: int
    test: int
    epochs: int
    adapter_epochs: int
    downstream_epochs: int
    seeds: tuple[int, ...]


SIZES = {
    "full": Size(15_000, 2_000, 6, 50, 200, (1, 2, 3)),
    "quick": Size(2_500, 400, 2, 2, 10, (1, 2)),
}


@dataclass
class Outcome:
    """What one seed measured.

    ``values[experiment, method, column]`` are the metrics of every query ``(nq, 2)``, ``seconds``
    the processor's seconds of each method, ``areas`` those under backfill curves.
    """

    values: dict[tuple[str, str, str], Array] = field(default_factory=dict)
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    departures: dict[tuple[str, str], float] = field(default_factory=dict)
    areas: dict[tuple[str, str], float] = field(default_factory=dict)
    curves: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = field(default_factory=dict)


def run_seed(size: Size, seed: int) -> Outcome:
    """Every experiment once, on one thread."""
    import torch

    torch.set_num_threads(1)
    out = Outcome()
    domains = {"printed": printed(size.train, size.test, seed), "handwritten": handwritten(seed)}
    models = _extension(out, domains, size, seed)
    _downstream(out, domains, models, size, seed)
    _architecture(out, domains, size, seed)
    return out


@dataclass(frozen=True, eq=False)
class _Model:
    """An encoder's vectors of all images that are used."""

    rows: Mapping[str, Array]
    head: Array

    @classmethod
    def of(cls, trained: TrainedEncoder, domains: Mapping[str, Domain]) -> _Model:
        rows = {}
        for name, domain in domains.items():
            rows[f"{name} train"] = embedded(trained.encoder, domain.train)
            rows[f"{name} test"] = embedded(trained.encoder, domain.test)
        return cls(rows, trained.head.weight.detach().numpy())


def search(queries: Array, gallery: Array, domain: Domain) -> Array:
    """CMC-1 and mAP of every query ``(nq, 2)``, each image left out of its own search."""
    labels, own = domain.test_label, np.arange(len(domain.test_label))
    relevance = from_labels(labels, labels, exclude=own)
    kept = relevance.answerable
    ranks = relevant_ranks(
        np.ascontiguousarray(queries[kept], np.float32),
        np.ascontiguousarray(gallery, np.float32),
        relevance.of(kept),
        exclude=own[kept],
    )
    found = np.zeros((len(labels), len(METRICS)))
    found[kept] = np.column_stack([parse_metric(m).per_query(ranks) for m in METRICS])
    return found


def _extension(
    out: Outcome, domains: Mapping[str, Domain], size: Size, seed: int
) -> tuple[_Model, _Model]:
    import torch

    domain = domains["printed"]
    parts = [domain.of_classes(count) for count in STEPS]

    def fit(method, step, *arguments, **options):
        images, labels = parts[step]
        return timed_training(
            method, convolutional(64, 100 * seed + step), images, labels, *arguments,
            epochs=size.epochs, seed=10 * seed + step, **options,
        )  # fmt: skip

    series: dict[str, list[TrainedEncoder]] = {}
    spent: dict[str, float] = {}

    def chain(name, first, train):
        trained, seconds = [first], 0.0
        for step in (1, 2):
            made, cost = train(step, trained[-1])
            trained.append(made)
            seconds += cost
        series[name], spent[name] = trained, seconds

    old, _ = fit(train_independent, 0, classes=STEPS[0])
    chain("independent", old, lambda step, _: fit(train_independent, step, classes=STEPS[step]))

    def bct(step: int, before: TrainedEncoder):
        images, labels = parts[step]
        known = before.head.weight.detach()
        rows = extended_classifier(
            torch.nn.functional.normalize(known, dim=1),
            torch.from_numpy(embedded(before.encoder, images)),
            torch.from_numpy(labels),
            STEPS[step],
        )
        return fit(train_bct, step, rows)

    chain("BCT", old, bct)
    first, _ = fit(train_simplex, 0, classes=CLASSES)
    chain("d-Simplex", first, lambda step, _: fit(train_simplex, step, classes=CLASSES))
    chain(
        "d-Simplex-HOC", first,
        lambda step, before: fit(
            train_simplex, step, classes=CLASSES, old=OldEncoder(before.encoder)
        ),
    )  # fmt: skip
    models: dict[str, list[_Model]] = {}
    for name, trained in series.items():
        models[name] = [_Model.of(one, domains) for one in trained]
        test = [one.rows["printed test"] for one in models[name]]
        for t in range(3):
            for k in range(t + 1):
                out.values["series", name, f"{t}/{k}"] = search(test[t], test[k], domain)
        out.seconds["series", name] = spent[name]
    first_model, last = models["independent"][0], models["independent"][2]
    _adapters(out, "extension", domains, "printed", (first_model, last), size.adapter_epochs, seed)
    return first_model, last


def _architecture(out: Outcome, domains: Mapping[str, Domain], size: Size, seed: int) -> None:
    domain = domains["printed"]

    def fit(method, encoder, *arguments, **options):
        return timed_training(
            method, encoder, domain.train, domain.train_label, *arguments, epochs=size.epochs,
            seed=10 * seed, **options,
        )  # fmt: skip

    old, _ = fit(train_independent, mixer(64, 100 * seed), classes=CLASSES)
    wide = (24, 48, 96)
    new, _ = fit(train_independent, convolutional(128, 100 * seed + 7, wide), classes=CLASSES)
    bct, seconds = fit(
        train_bct, convolutional(128, 100 * seed + 7, wide), old.head.weight.detach()
    )
    models = tuple(_Model.of(one, domains) for one in (old, new, bct))
    _adapters(out, "architecture", domains, "printed", models[:2], size.adapter_epochs, seed)
    rows = models[2].rows["printed test"]
    cells = {
        "B/old": (rows[:, :64], models[0].rows["printed test"]),
        "B/B": (rows, rows),
    }
    for column, (queries, gallery) in cells.items():
        out.values["architecture", "BCT", column] = search(queries, gallery, domain)
    out.seconds["architecture", "BCT"] = seconds


def _downstream(
    out: Outcome,
    domains: Mapping[str, Domain],
    models: tuple[_Model, _Model],
    size: Size,
    seed: int,
) -> None:
    _baselines(out, "downstream", domains, "handwritten", models)
    old, new = models
    label = domains["handwritten"].train_label
    pairs = (new.rows["handwritten train"], old.rows["handwritten train"], label)
    for name, lam, made in lambda_paths(*pairs, size.downstream_epochs, seed):
        named = f"{name} {lam:g}"
        _columns(out, "downstream", domains, "handwritten", models, made, named)


def _adapters(
    out: Outcome,
    experiment: str,
    domains: Mapping[str, Domain],
    fitted: str,
    models: tuple[_Model, ...],
    epochs: int,
    seed: int,
) -> None:
    _baselines(out, experiment, domains, fitted, models)
    old, new = models
    pairs = (new.rows[f"{fitted} train"], old.rows[f"{fitted} train"])
    labels = domains[fitted].train_label
    for made in adapters(*pairs, labels, new.head, epochs, seed):
        _columns(out, experiment, domains, fitted, models, made, made.name)
        if made.uncertainty is not None and experiment == "extension":
            _backfill(out, domains[fitted], fitted, models, made, seed)


def _other(fitted: str) -> str:
    return "handwritten" if fitted == "printed" else "printed"


def _baselines(out, experiment, domains, fitted, models) -> None:
    old, new = models
    for side, model in (("old", old), ("new", new)):
        rows = model.rows[f"{fitted} test"]
        out.values[experiment, side, f"{side}/{side}"] = search(rows, rows, domains[fitted])
    rows, other = new.rows, _other(fitted)
    out.values[experiment, "new", "elsewhere"] = search(
        rows[f"{other} test"], rows[f"{other} test"], domains[other]
    )


def _columns(
    out: Outcome,
    experiment: str,
    domains: Mapping[str, Domain],
    fitted: str,
    models: tuple[_Model, ...],
    made: Adapted,
    name: str,
) -> None:
    """Every search that the method allows; ``elsewhere`` is B/B on the domain not fitted to."""
    domain, other = domains[fitted], _other(fitted)
    old, new = (model.rows[f"{fitted} test"] for model in models)
    back = new if made.backward is None else made.backward(new)
    cells: dict[str, tuple[Array, Array]] = {}
    if made.backward is not None:
        cells["B/old"] = (back[:, : old.shape[1]], old)
        cells["B/B"] = (back, back)
    if made.forward is not None:
        ahead = made.forward(old)
        cells["F/F"] = (ahead, ahead)
        cells["B/F"] = (back, ahead)
    for column, (queries, gallery) in cells.items():
        out.values[experiment, name, column] = search(queries, gallery, domain)
    if made.backward is not None:
        rows = made.backward(models[1].rows[f"{other} test"])
        out.values[experiment, name, "elsewhere"] = search(rows, rows, domains[other])
    out.seconds[experiment, name] = made.seconds
    if made.departure is not None:
        out.departures[experiment, name] = made.departure


def _backfill(
    out: Outcome,
    domain: Domain,
    fitted: str,
    models: tuple[_Model, ...],
    made: Adapted,
    seed: int,
) -> None:
    """Which items to re-embed first: what FastFill learnt, its linear stand-in, and controls."""
    old, new = models
    assert made.forward is not None
    assert made.uncertainty is not None
    gallery = old.rows[f"{fitted} test"]
    labels, own = domain.test_label, np.arange(len(domain.test_label))
    relevance = from_labels(labels, labels, exclude=own)
    known = np.random.default_rng(seed).permutation(len(domain.train_label))[:4000]
    before = old.rows[f"{fitted} train"][known]
    apart = made.forward(before) - new.rows[f"{fitted} train"][known]
    trial = Trial(
        query_old=gallery, query_new=new.rows[f"{fitted} test"], gallery_old=gallery,
        gallery_new=new.rows[f"{fitted} test"], gallery_bridged=made.forward(gallery),
        relevance=relevance, exclude=own,
    ).of(relevance.answerable)  # fmt: skip
    orders = {
        "FastFill's uncertainty": made.uncertainty(gallery).astype(np.float64),
        "ridge on the log error": ErrorModel.fit(before, (apart**2).sum(axis=1))(gallery),
        "distance to the cluster": class_distance(gallery, seed=seed),
        "random": random_priority(len(gallery), seed=seed),
    }
    shares = (0.1, 0.25, 0.5, 0.75, 1.0)
    for metric in METRICS:
        curves = partial_backfill(
            trial, orders, primary=metric, shares=shares, resampling=Resampling(50)
        )
        for curve in curves:
            out.areas[metric, curve.order] = curve.area
            if metric == "map":
                out.curves[curve.order] = (curve.shares, curve.values)


def timed_seed(size: Size, seed: int) -> tuple[Outcome, float]:
    """`run_seed` and the processor's seconds of all of it."""
    start = time.process_time()
    return run_seed(size, seed), time.process_time() - start
