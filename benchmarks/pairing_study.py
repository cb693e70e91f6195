"""Does an alarm about pairs say the truth: false alarms, and what is found, on real vectors.

    python -m benchmarks.pairing_study            # 40 draws of each kind, WordNet in three encoders
    python -m benchmarks.pairing_study --kind "second model" --rows 600 --share 0.1 --draws 64

Every draw takes texts of the demo's corpus in two encoders.  ``healthy`` is left as it is;
``shuffled`` gives some rows the partners of others; ``second model`` has some rows of the target
made by a third encoder of the same width.  ``said`` is how often anything is claimed, ``right`` how
often the right kind; ``named`` and ``truly`` are recall and precision of the rows that it names.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.arrays import Array
from benchmarks.harness import header
from isthmus.demo.corpus import load_corpus
from isthmus.diagnose.pairing import judge_pairing
from isthmus.encoders import CachedEncoder, all_minilm_l6_int8, paraphrase_minilm_l3, wordllama_256

SIZES = (100, 300, 1000)
SHARES = (0.05, 0.1, 0.5)
KINDS = ("healthy", "shuffled", "second model")


@dataclass(frozen=True)
class Line:
    """What was said of draws of one kind."""

    kind: str
    n: int
    share: float
    said: float
    right: float
    named: float
    truly: float


def lines(
    sides: dict[str, Array],
    draws: int,
    sizes: Sequence[int] = SIZES,
    *,
    kinds: Sequence[str] = KINDS,
    shares: Sequence[float] = SHARES,
) -> Iterator[Line]:
    """A line for each kind, size and share.

    Args:
        sides: the same texts in ``wordllama``, ``l3`` and ``l6``, the last two of one width.
        draws: of each.
        sizes: rows of a draw.
        kinds: what is done to the rows.
        shares: of the rows that it is done to.
    """
    for n in sizes:
        for kind in kinds:
            for share in (0.0,) if kind == "healthy" else shares:
                found = [_draw(sides, kind, n, share, seed) for seed in range(draws)]
                yield Line(kind, n, share, *np.nanmean(np.array(found), axis=0).tolist())


def _draw(sides: dict[str, Array], kind: str, n: int, share: float, seed: int) -> tuple[float, ...]:
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(sides["l3"]), n, replace=False))
    one, other = [("wordllama", "l6"), ("wordllama", "l3")][seed % 2]
    if kind == "healthy" and seed % 3 == 2:
        one = "l3" if other == "l6" else "l6"
    x, y = sides[one][rows], sides[other][rows].copy()
    touched = rng.choice(n, round(share * n), replace=False)
    if kind == "shuffled":
        y[touched] = y[np.roll(touched, 1)]
    elif kind == "second model":
        y[touched] = sides["l3" if other == "l6" else "l6"][rows][touched]
    found = judge_pairing(np.arange(n), x, y, seed=seed)
    assert found is not None
    wanted = {"healthy": "none", "shuffled": "mispaired", "second model": kind}[kind]
    lost, truth = set(found.lost), set(touched.tolist())
    if share == 0.5 and kind == "second model" and len(lost & truth) < len(lost) / 2:
        truth = set(range(n)) - truth  # of two halves either may be called the second
    both = len(lost & truth)
    return (
        float(found.kind != "none"),
        float(found.kind == wanted),
        both / len(truth) if lost and truth else np.nan,
        both / len(lost) if lost else np.nan,
    )


def sides_of(texts: int) -> dict[str, Array]:
    """The demo's definitions in three encoders, kept in the user's cache."""
    documents = list(load_corpus(texts).documents)
    encoders = {
        "l3": paraphrase_minilm_l3(),
        "l6": all_minilm_l6_int8(),
        "wordllama": wordllama_256(),
    }
    return {
        name: CachedEncoder(it).encode(documents, kind="document") for name, it in encoders.items()
    }


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=40)
    parser.add_argument("--texts", type=int, default=4000)
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument("--rows", action="append", type=int, help="of a draw")
    parser.add_argument("--share", action="append", type=float, help="of the rows touched")
    asked = parser.parse_args()
    print("\n".join(header()))
    print(f"{'kind':14}{'rows':>6}{'share':>7}{'said':>7}{'right':>7}{'named':>7}{'truly':>7}")
    found = lines(
        sides_of(asked.texts),
        asked.draws,
        asked.rows or SIZES,
        kinds=asked.kind or KINDS,
        shares=asked.share or SHARES,
    )
    for line in found:
        numbers = "".join(
            f"{'-' if np.isnan(v) else f'{v:.2f}':>7}"
            for v in (line.said, line.right, line.named, line.truly)
        )
        print(f"{line.kind:14}{line.n:>6}{line.share:>7.2f}{numbers}", flush=True)


if __name__ == "__main__":
    main()
