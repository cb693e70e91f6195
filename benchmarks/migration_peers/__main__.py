"""Other tools and isthmus move the same rows; what they leave, and what a kill leaves of it.

    python -m benchmarks.migration_peers [--rows 1000] [--kills 3] [--only rebasis ...]

The rows are real texts by two real models, encoded beforehand: encoding is free.  Each tool is
installed into an environment of its own and runs by its own commands.  Then

- *new queries*, *old queries*: recall@10 on the finished state of queries by the new model, and of
  callers that still have the old one (keeping the old model, and re-embedding everything, are given
  above the table);
- *rows a CPU-second*: of the whole command, its start too, and the database server's; in a second
  table of many random rows, beside which the start is little, by the tools that write true vectors
  of an encoder, which all of them ask over HTTP; their medians, and the least and most, of several
  runs in turns;
- *kills*: SIGKILL at moments drawn evenly from the time of a whole run, and its own resume; those
  are survived after which each vector is what an uninterrupted run leaves, and the way back
  restores each bit of the old ones;
- *rollback*: old vectors that are bit for bit what they were, and what a row has that an
  application of the new model added after the cut-over.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Absent, header
from benchmarks.migration_peers.given import Given, encoder_over_http, given, random_rows, unit
from benchmarks.migration_peers.movers import (
    Embedflow,
    Mover,
    OursInLance,
    OursInPostgres,
    Rebasis,
    Vecshift,
)
from isthmus.demo.own_postgres import postgres_server

TOOLS: dict[str, type[Mover]] = {
    "rebasis": Rebasis,
    "vecshift": Vecshift,
    "embedflow": Embedflow,
    "isthmus-lancedb": OursInLance,
    "isthmus-pgvector": OursInPostgres,
}
_HEAD = (
    "| tool | writes | new queries | old queries | rows a CPU-second | kills survived "
    "| old vectors after the way back | a row added since |\n|---|---|---|---|---|---|---|---|"
)
_ADDED = "added"
_ENCODING = ("vecshift", "isthmus-lancedb", "isthmus-pgvector")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.migration_peers", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--rows", type=int, default=1000, help="texts (1000)")
    parser.add_argument("--kills", type=int, default=3, help="of each tool (3)")
    parser.add_argument(
        "--many", type=int, default=200_000, help="rows of the second table; 0 for none (200000)"
    )
    parser.add_argument("--repeats", type=int, default=3, help="of the second table (3)")
    parser.add_argument("--only", nargs="*", choices=TOOLS, default=list(TOOLS))
    asked = parser.parse_args()
    print("\n".join(header()), file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="isthmus-peers-") as name:
        folder = Path(name)
        rows = given(folder, asked.rows)
        old, new = rows.documents("old"), rows.documents("new")
        print(
            f"{asked.rows:,} rows; recall@10 keeping the old model "
            f"{rows.recall(rows.queries('old'), old):.3f}, of the new model on true new vectors "
            f"{rows.recall(rows.queries('new'), new):.3f}\n\n{_HEAD}",
            flush=True,
        )
        with postgres_server() as server, encoder_over_http(rows) as address:
            environ = {"VECSHIFT_DSN": server.get_uri(), "ENCODER": address, "OPENAI_API_KEY": "-"}
            for tool in asked.only:
                mover = TOOLS[tool](rows, folder / tool, environ)
                in_server = "pgvector" in mover.store
                spent = _spent_of(server.get_pid() if in_server else None)
                try:
                    cells = measured(mover, rows, asked.kills, spent)
                except Absent as why:
                    cells = (str(why), *[""] * 6)
                print(f"| {mover.label} ({mover.store}) | {' | '.join(cells)} |", flush=True)
            chosen = [tool for tool in _ENCODING if tool in asked.only]
            if asked.many and chosen:
                _print_many(folder, asked.many, chosen, server, asked.repeats)


def _print_many(folder: Path, n: int, tools: list[str], server: Any, repeats: int) -> None:
    """The table of rows a CPU-second at many rows, the tools taking turns."""
    print(
        f"\n{n:,} random rows, {repeats} times\n\n"
        f"| tool | rows a CPU-second | times {TOOLS[tools[0]].label} |\n|---|---|---|"
    )
    many = random_rows(folder / "many", n, 384)
    rates: dict[str, list[float]] = {tool: [] for tool in tools}
    with encoder_over_http(many) as address:
        environ = {"VECSHIFT_DSN": server.get_uri(), "ENCODER": address, "OPENAI_API_KEY": "-"}
        for tool in tools * repeats:
            mover = TOOLS[tool](many, folder / "many" / tool, environ)
            mover.set_up()
            spent = _spent_of(server.get_pid() if "pgvector" in mover.store else None)
            began = spent()
            code = mover.do("run")
            assert not code, f"{mover.label} ended with {code}"
            rates[tool].append(n / (spent() - began))
            print(f"{tool}: {rates[tool][-1]:,.0f}", file=sys.stderr, flush=True)
    for tool, found in rates.items():
        beside = np.divide(found, rates[tools[0]])
        cells = _spread(np.array(found), ",.0f"), _spread(beside, ".1f")
        print(f"| {TOOLS[tool].label} ({TOOLS[tool].store}) | {' | '.join(cells)} |", flush=True)


def _spread(found: np.ndarray, kind: str) -> str:
    return f"{np.median(found):{kind}} ({found.min():{kind}} to {found.max():{kind}})"


def _spent_of(postmaster: int | None) -> Callable[[], float]:
    """Processor time of children that ended, and of a server."""
    import psutil

    def spent() -> float:
        ended = os.times()
        total = ended.children_user + ended.children_system
        if postmaster is None:
            return total
        server = psutil.Process(postmaster)
        for process in (server, *server.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system + times.children_user + times.children_system
        return total

    return spent


def measured(mover: Mover, of: Given, kills: int, spent: Callable[[], float]) -> tuple[str, ...]:
    """The cells of a tool's line."""
    mover.set_up()
    before = mover.held("old")
    began, start = spent(), time.monotonic()
    code = mover.do("run")
    cost, whole = spent() - began, time.monotonic() - start
    assert code == 0, f"{mover.label} ended with {code}: {(mover.place / 'log').read_text()[-800:]}"
    finished = mover.held("new")
    mover.do("cutover")
    documents = np.array([finished[name] for name in of.ids()])
    found = of.recall(of.queries("new"), documents)
    waiting = of.recall(_waiting(mover, of), documents)
    if isinstance(mover, Embedflow):
        found, waiting = mover.asked(), of.recall(of.queries("old"), of.documents("old"))
    added = ""
    if mover.can_add:
        mover.add(_ADDED, of.documents("new")[0], "0")
    exact = "nothing to restore" if not mover.command("rollback") else _back(mover, before)
    if mover.can_add:
        added = _what(mover.held("old").get(_ADDED), of.documents("old")[0])
    survived = sum(
        _killed(mover, before, finished, whole * (i + 0.5) / kills) for i in range(kills)
    )
    return (
        mover.writes, f"{found:.3f}", f"{waiting:.3f}", f"{of.rows / cost:,.0f}",
        f"{survived} of {kills}", exact, added,
    )  # fmt: skip


def _waiting(mover: Mover, of: Given) -> np.ndarray:
    """Queries of the old model as the tool has them ask the new vectors."""
    asked = of.queries("old")
    if not mover.label.startswith("isthmus"):
        return asked
    from isthmus.bridge import fit
    from isthmus.evaluate import Judging
    from isthmus.spaces.pairs import Pairs

    pairs = Pairs(of.documents("old"), of.documents("new"), metric="cosine")
    back = fit(pairs, kind="corpus", recipe="ridge", judging=Judging(resamples=100))
    return np.asarray(back.transform(asked))


def _back(mover: Mover, before: dict[str, np.ndarray]) -> str:
    code = mover.do("rollback")
    if code:
        return "refused"
    return f"{_same(mover.held('old'), before)} of {len(before)} bit for bit"


def _same(held: dict[str, np.ndarray], true: dict[str, np.ndarray]) -> int:
    return sum(name in held and np.array_equal(held[name], row) for name, row in true.items())


def _what(held: np.ndarray | None, true: np.ndarray) -> str:
    if held is None:
        return "is gone"
    if np.isnan(held).any():
        return "has none (NULL)"
    cosine = float((unit(held[None, :]) @ unit(true[None, :]).T)[0, 0])
    return "has a true old vector" if cosine > 0.99 else f"has another's (cosine {cosine:.2f})"


def _killed(
    mover: Mover, before: dict[str, np.ndarray], finished: dict[str, np.ndarray], wait: float
) -> bool:
    """Kill once, let the tool go on, and look at what it leaves, there and back."""
    mover.set_up()
    process = mover.start("run")
    assert process is not None
    try:
        process.wait(wait)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    if mover.do("resume"):
        return False
    held = mover.held("new")
    close = all(
        name in held and np.allclose(held[name], row, atol=1e-5) for name, row in finished.items()
    )
    if not close or len(held) != len(finished):
        return False
    return not mover.command("rollback") or (
        mover.do("cutover") == 0
        and mover.do("rollback") == 0
        and _same(mover.held("old"), before) == len(before)
    )


if __name__ == "__main__":
    main()
