"""Evidence from a sample beside evidence from the whole live index, on real upgrades.

    python -m benchmarks.live_evidence
    python -m benchmarks.live_evidence --only debian-wordllama-minilm-l6 --items 5000

The items of a corpus of the upgrade study fill a table of LanceDB with the old model's vectors.  A
bridge is fitted on a sample of them, as `isthmus fit lancedb://...` does, and every way is judged
twice with the same held-out queries: among the sampled items, and on the table itself.
"""

from __future__ import annotations

import argparse
import sys
import time
from tempfile import TemporaryDirectory

import numpy as np

from benchmarks.harness import header
from benchmarks.study.texts import CORPORA, ENCODERS
from isthmus import Bridge
from isthmus.bridge import ModelChange, fit_sample, judge_live, sample_store
from isthmus.encoders import CachedEncoder
from isthmus.evaluate import Evaluation, Judging
from isthmus.evaluate.bootstrap import Estimate
from isthmus.spaces.query_log import QueryLog
from isthmus.stores import create_store

METRIC = "recall@10"
PAIRS = {
    "wordnet-minilm-l3-minilm-l6": ("WordNet", "MiniLM-L3", "MiniLM-L6"),
    "debian-wordllama-minilm-l6": ("Debian", "wordllama", "MiniLM-L6"),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", action="append", choices=sorted(PAIRS), metavar="UPGRADE")
    parser.add_argument("--items", type=int, default=4000, help="of the index (4000)")
    parser.add_argument("--pairs", type=int, default=800, help="sampled beside the answers (800)")
    parser.add_argument("--queries", type=int, default=800, help="of the log (800)")
    asked = parser.parse_args()
    for line in header():
        print(line)
    for name in asked.only or PAIRS:
        start = time.perf_counter()
        sampled, live = _judged(*PAIRS[name], asked.items, asked.pairs, asked.queries)
        corpus, old, new = PAIRS[name]
        print(f"\n### {corpus}: {old} → {new}\n")
        print(_table(sampled, live), flush=True)
        print(f"\n({time.perf_counter() - start:.0f} s)")
    return 0


def _judged(
    corpus: str, old: str, new: str, n: int, n_pairs: int, n_queries: int
) -> tuple[Evaluation, Evaluation]:
    """The evidence of the fit, and that of the live index."""
    queries, items = CORPORA[corpus](n)
    models = ModelChange(CachedEncoder(ENCODERS[new]()), CachedEncoder(ENCODERS[old]()))
    assert models.old is not None
    names = [f"doc-{row:05d}" for row in range(len(items))]
    log = QueryLog(
        np.array([f"q-{row:05d}" for row in range(len(items))]),
        tuple(queries),
        np.ones(len(items)),
        {f"q-{row:05d}": [name] for row, name in enumerate(names)},
    )
    with TemporaryDirectory(prefix="isthmus-live-") as folder:
        vectors = {"v": models.old.encode(items)}
        with create_store(
            f"lancedb://{folder}#docs", np.array(names), vectors, {"text": items}
        ) as store:
            sample = sample_store(store, models, pairs=n_pairs, log=log, most_queries=n_queries)
            bridge: Bridge = fit_sample(sample, models, judging=Judging(primary=METRIC))
            assert bridge.evidence is not None
            return bridge.evidence, judge_live(bridge, store, sample, models).evaluation


def _table(sampled: Evaluation, live: Evaluation) -> str:
    lines = [
        f"{live.n_queries} queries; {METRIC} with {live.level:.0%} intervals",
        "",
        "| way | on the sample | gallery | on the live index | gallery | price, live |",
        "|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys([*sampled.arms, *live.arms]):
        one, other = sampled.arms.get(name), live.arms.get(name)
        chosen = [e for e in (sampled, live) if e.recommended == name]
        mark = "**" if chosen else ""
        cells = [f"{mark}{name}{mark}"]
        cells += [
            "-" if one is None else _span(one.metrics[METRIC]),
            "-" if one is None else f"{one.gallery or sampled.n_gallery:,}",
            f"absent: {live.absent.get(name)}" if other is None else _span(other.metrics[METRIC]),
            "-" if other is None else f"{other.gallery or live.n_gallery:,}",
            "-" if other is None or other.price is None else str(other.price),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"Recommended: {sampled.recommended} on the sample, {live.recommended} live."]
    return "\n".join(lines)


def _span(found: Estimate) -> str:
    if found.value is None or found.low is None:
        return "-"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
