"""Mutated and forged inputs of every kind: each is refused in one sentence, or works.

Somebody who knows each format damages its files: bytes at random, and content that is wrong under
digests, lengths and offsets that are right.  Each kind has a process of its own, so that one that
dies is found, and its memory is set against that of clean inputs: at most 1.5 times as much.

    python -m benchmarks.hostile [--count 200000] [--seed 0] [--only NAME ...]
    python -m benchmarks.hostile --only bridge --first 1234 --count 1   # one attempt again
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.hostile.artefacts import ARTEFACTS
from benchmarks.hostile.attack import Found, Target, attacked
from benchmarks.hostile.bridges import BRIDGES
from benchmarks.hostile.files import FILES
from benchmarks.hostile.folders import FOLDERS
from benchmarks.resident import peak_mb

TARGETS = {target.name: target for target in (BRIDGES, *FILES, *FOLDERS, *ARTEFACTS)}
MOST_MEMORY = 1.5
_WARM = 60
_MOST_DEATHS = 20


def main() -> None:
    asked = _asked()
    if asked.worker is not None:
        _work(TARGETS[asked.worker], Path(asked.folder), asked.count, asked.seed, asked.first)
        return
    share = -(-asked.count // len(asked.only))
    print("input                   tried  refused    works   raw             memory    time")
    total, bad = 0, list[str]()
    for name in asked.only:
        started = time.monotonic()
        found, before, after = _tried(name, share, asked.seed, asked.first)
        raw = sum(found.raw.values())
        total += found.total()
        bad += [f"{name}: {kind}: {count}" for kind, count in found.raw.items()]
        if after > MOST_MEMORY * before:
            bad.append(f"{name}: memory of {after} MB where clean inputs take {before} MB")
        print(
            f"{name:20} {found.total():8,} {found['refused']:8,} {found['loaded']:8,} {raw:5} "
            f"{before:6} -> {after:5} MB {time.monotonic() - started:5.0f} s",
            flush=True,
        )
    print(f"{total:,} attempts")
    print("\n".join(bad) or "no raw error, and no memory beyond 1.5 times that of clean inputs")
    raise SystemExit(1 if bad else 0)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=200_000, help="of attempts on all kinds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first attempt")
    parser.add_argument("--only", nargs="*", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--worker", choices=list(TARGETS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args()


def _tried(name: str, count: int, seed: int, first: int) -> tuple[Found, int, int]:
    """What became of the attempts on one kind, and the memory before and after them."""
    found, before, after, end = Found(), 0, 0, first + count
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        while first < end and len(found.raw) < _MOST_DEATHS:
            command = [sys.executable, "-m", "benchmarks.hostile", "--worker", name]
            command += ["--folder", temporary, "--count", str(end - first)]
            command += ["--seed", str(seed), "--first", str(first)]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            if not ended.returncode:
                record = json.loads(ended.stdout.splitlines()[-1])
                found.update(record["found"])
                before, after = record["before"], max(after, record["after"])
                break
            attempt = folder / "attempt"
            if not attempt.exists():
                raise RuntimeError(f"{name}: {ended.stderr[-2000:]}")
            # those before it ended well, and are not counted again
            died = int(attempt.read_text())
            found["before a death"] += died - first
            found[f"raw died ({ended.returncode}) {ended.stderr[-200:]!r} (attempt {died})"] += 1
            first = died + 1
    return found, before, after


def _work(target: Target, folder: Path, count: int, seed: int, first: int) -> None:
    clean = folder / "clean"
    if not clean.exists():
        clean.mkdir()
        target.make(clean)
    unchanged = Target(target.name, target.make, target.use, (lambda place, files, rng: None,))
    ended = attacked(unchanged, clean, _WARM)
    if ended["loaded"] != _WARM:
        (folder / "attempt").unlink(missing_ok=True)
        target.use(clean)  # which says why
        raise RuntimeError(f"the clean input is not taken: {dict(ended)}")
    before = round(peak_mb())
    found = attacked(target, clean, count, seed=seed, first=first)
    print(json.dumps({"found": found, "before": before, "after": round(peak_mb())}))


if __name__ == "__main__":
    main()
