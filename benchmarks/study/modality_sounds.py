"""Sounds of instruments for a frozen text encoder, and inside a frozen image network."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.arrays import Array
from benchmarks.study import audio
from benchmarks.study.captions import captioned
from benchmarks.study.upgrade import unit
from isthmus.adapters import Ridge
from isthmus.encoders import CachedEncoder, all_minilm_l6_int8
from isthmus.nn.modality.attach import AttachOptions, attach
from isthmus.nn.modality.attached import Attached
from isthmus.nn.modality.hubs import with_offsets
from isthmus.nn.modality.measure import (
    Measured,
    Task,
    best_temperature,
    compare_measured,
    measure_classes,
)
from isthmus.nn.modality.tune import PairedInputs, Tuning, tune
from isthmus.training.schedule import Schedule

__all__ = ["sounds"]

ALPHA = 0.01  # of the one ridge map that everything is compared with


def sounds(*, quick: bool) -> dict[str, Any]:
    encoder = CachedEncoder(all_minilm_l6_int8())
    texts = [
        f"the sound of a {name}, {audio.FAMILIES[place // 8]}"
        for place, name in enumerate(audio.NAMES)
    ]
    names = encoder.encode(texts)
    library = audio.notes("FluidR3")
    x, program = audio.sound_features("FluidR3"), library.program
    rng = np.random.default_rng(0)
    seen = rng.permutation(len(audio.NAMES))[:102]
    dealt = rng.random(len(x)) < 0.75
    fit = np.flatnonzero(dealt & np.isin(program, seen))
    known = np.unique(program[fit])
    tests = {
        "new notes": (x[~dealt], program[~dealt]),
        "another library": (audio.sound_features("TimGM6mb"), audio.notes("TimGM6mb").program),
    }
    found: dict[str, Any] = {"classes": len(known), "notes": len(fit)}
    plain, temperature = one_ridge_classes(x[fit], program[fit], names)
    tuning = Tuning(schedule=Schedule(2 if quick else 20, patience=4))
    attached = attach(
        x[fit],
        names[known],
        items_x=program[fit],
        items_y=known,
        tuning=tuning,
        options=AttachOptions(known_items=True),
    )
    print(f"\n== sounds → names of instruments\n{attached}")
    for name, (rows, labels) in tests.items():
        kept = np.isin(labels, known)
        change = compare_measured(
            classes(plain(rows[kept]), labels[kept], known, names, None, temperature),
            classes_of(attached, rows[kept], labels[kept], known, names),
        )
        found[name] = change.model_dump()
        print(f"\n{name}, {len(known)} instruments, {int(kept.sum())} notes\n{change}", flush=True)
    # instruments that were never heard, by their names alone
    strange = np.setdiff1d(np.unique(program), seen)
    rows = np.isin(program, strange)
    unheard = attach(x[fit], names[known], items_x=program[fit], items_y=known, tuning=tuning)
    change = compare_measured(
        classes(plain(x[rows]), program[rows], strange, names, None, temperature),
        classes_of(unheard, x[rows], program[rows], strange, names),
    )
    found["unheard instruments"] = change.model_dump()
    print(f"\n{len(strange)} instruments never heard (chance {1 / len(strange):.3f})\n{change}")
    found["inside a frozen image network"] = inside(names, dealt, known, quick=quick)
    return found


def one_ridge_classes(x: Array, labels: Array, names: Array) -> tuple[Any, float]:
    """Ridge regression of the names' vectors, and the temperature learned on a fifth left out."""

    def fitted(rows: Array) -> Any:
        ridge = Ridge(ALPHA).fit(unit(x[rows]), names[labels[rows]])
        return lambda new: unit(ridge.transform(unit(new)))

    held = np.random.default_rng(0).random(len(x)) < 0.2
    known = np.unique(labels)
    task = Task(fitted(~held)(x[held]), labels[held], names[known], known)
    return fitted(np.ones(len(x), bool)), best_temperature([task])


def classes(
    mapped: Array, labels: Array, known: Array, names: Array, offsets: Any, temperature: float
) -> Measured:
    """The frozen classifier: cosines with the vectors of the names."""
    left, right = with_offsets(mapped, names[known], offsets)
    places = np.searchsorted(known, labels)
    return measure_classes(left @ right.T, places, temperature=temperature)


def classes_of(
    attached: Attached, rows: Array, labels: Array, known: Array, names: Array
) -> Measured:
    offsets = attached.offsets(names[known])
    mapped = attached.transform(rows)
    return classes(mapped, labels, known, names, offsets, attached.temperature)


def inside(names: Array, dealt: Array, known: Array, *, quick: bool) -> dict[str, Any]:
    """Spectrograms for EfficientNet-Lite0, which learned photographs and stays as it is."""
    import torch
    from torch import nn

    from benchmarks.study.networks import efficientnet_lite0
    from isthmus.nn.look.weights_digest import weights_digest
    from isthmus.nn.modality.conditioned import Conditioned
    from isthmus.nn.modality.inserts import bottleneck, film, own_norm

    first, second = audio.notes("FluidR3"), audio.notes("TimGM6mb")
    fit = np.flatnonzero(dealt & np.isin(first.program, known))
    new = np.flatnonzero(~dealt & np.isin(first.program, known))
    other = np.flatnonzero(np.isin(second.program, known))
    if quick:
        rng = np.random.default_rng(0)
        fit, new, other = (
            rng.permutation(rows)[:m] for rows, m in ((fit, 80), (new, 40), (other, 40))
        )
        known = np.unique(first.program[fit])
        new, other = (
            new[np.isin(first.program[new], known)],
            other[np.isin(second.program[other], known)],
        )
    labels, inputs = first.program[fit].astype(np.int64), audio.pictures(first.waves[fit])
    tests = {
        "new notes": (audio.pictures(first.waves[new]), first.program[new]),
        "another library": (audio.pictures(second.waves[other]), second.program[other]),
    }
    drawn = torch.from_numpy(captioned().images["google"][:128].copy()).permute(0, 3, 1, 2).float()
    usual = (
        nn.functional.interpolate(drawn, (96, 96), antialias=True, mode="bilinear") - 127
    ) / 128
    network: Any = efficientnet_lite0()
    digest = weights_digest(network)
    late = ("blocks.[89]", "blocks.1?")
    both = Conditioned(
        network,
        {
            "normalised": [own_norm("blocks.*")],
            "trained": [*map(film, late), *(bottleneck(layers, 16) for layers in late)],
        },
        example=usual[:2],
    )

    def rows_of(module: Any, batch: Any) -> Array:
        with torch.inference_mode():
            return np.concatenate([module.eval()(part).numpy() for part in batch.split(64)])

    def closed_form(rows: Array, of: Array) -> Attached:
        """A projector behind the network."""
        return attach(
            rows,
            names[known],
            items_x=of,
            items_y=known,
            options=AttachOptions(known_items=True),
            tuning=Tuning(schedule=Schedule(0)),
        )

    def tested(attached: Attached) -> dict[str, Measured]:
        return {
            name: classes_of(attached, rows_of(both, batch), of, known, names)
            for name, (batch, of) in tests.items()
        }

    rows = rows_of(both.use(None), inputs)
    before = tested(closed_form(rows, labels))
    both.calibrate("normalised", [inputs[:128]], [usual]).use("normalised")
    after = {"own normalisation": tested(closed_form(rows_of(both, inputs), labels))}

    held = np.random.default_rng(1).random(len(fit)) < 0.2
    projector = closed_form(rows[~held], labels[~held]).projector
    module = nn.Sequential(both.use("trained"), projector)
    targets, items = torch.from_numpy(unit(names[labels])), torch.from_numpy(labels)
    train, test = (PairedInputs(inputs[r], targets[r], items[r]) for r in (~held, held))
    done = tune(
        module,
        train,
        test,
        Tuning(schedule=Schedule(1 if quick else 12, patience=4), batch=64, rate=0.003),
        known_items=True,
    )
    # the projector anew, on every note: what differs from before are the parts inside alone
    after["film and bottlenecks, trained"] = tested(closed_form(rows_of(both, inputs), labels))
    both.check_frozen()
    same = weights_digest(network) == digest
    print(f"\n== spectrograms inside EfficientNet-Lite0: {done}; its weights are the same: {same}")
    found: dict[str, Any] = {"weights unchanged": same, "training": str(done)}
    for what, measured in after.items():
        for name in tests:
            change = compare_measured(before[name], measured[name])
            found[f"{name}, {what}"] = change.model_dump()
            print(f"\n{name}: closed form behind the network as it is → {what}\n{change}")
    return found
