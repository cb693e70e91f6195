"""Every command that writes: its inputs, its outputs, and what a reader finds of them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import numpy as np

from benchmarks.killing import killed_at
from isthmus.file_records import current
from isthmus.scale.part_folder import read_manifest

__all__ = ["CASES", "Case", "Stage", "quiet"]

_REFUSED = 2
_INPUTS = (
    *("old.npy", "new.npy", "numbers.npy", "words.txt", "items.npy", "more.npy", "rows.txt"),
    *("a.bridge", "b.bridge", "take1", "take2", "traffic1.jsonl", "traffic2.jsonl"),
)


@dataclass(frozen=True)
class Case:
    """A command that writes.

    Attributes:
        name: of the case.
        work: run in the folder of the inputs, with the number of the run, 1 or 2.
        outputs: the first, and those that change together with it.
        first: what a reader finds of the first; by default every byte of it.
        grows: whether it has states between the older run and the newer, each of them whole.
        once: whether it refuses to run again where it has come to its end.
    """

    name: str
    work: Callable[[int], object]
    outputs: tuple[str, ...]
    first: Callable[[Path], str] | None = None
    grows: bool = False
    once: bool = False


def _isthmus(*arguments: str) -> None:
    from isthmus.cli.app import main

    sys.argv = ["isthmus", *arguments]
    try:
        main()
    except SystemExit as left:
        # a gate that fails, for so few queries, writes its report as any other
        if left.code not in (0, 1, None):
            raise


def _apply(run: int, output: str) -> None:
    ids = () if output.endswith("safetensors") and run == 1 else ("--ids", "numbers.npy")
    if run == 2 and output.endswith("npy"):
        # ids of the other kind, beside the same vectors
        ids = ("--ids", "words.txt")
    source = "items.npy" if run == 2 else "new.npy"
    _isthmus("apply", "a.bridge", source, output, *ids, "--overwrite", "--no-check")


def _fit(run: int) -> None:
    _isthmus(
        "fit", "old.npy", "new.npy", "-o", "my.bridge", "--recipe", "procrustes",
        "--seed", str(run), "--report", "fit.html", "--overwrite",
    )  # fmt: skip


def _evaluate(run: int) -> None:
    _isthmus(
        "evaluate", "a.bridge", "old.npy", "new.npy", "--all", "--gate",
        ("recall@10>=0", "recall@10>=0.001")[run - 1], "--report", "evaluation.html", "--overwrite",
    )  # fmt: skip


def _diagnose(run: int) -> None:
    _isthmus(
        "diagnose", "old.npy", "new.npy", "--seed", str(run), "--report", "diagnosis.html",
        "--overwrite",
    )  # fmt: skip


def _budget(run: int) -> None:
    _isthmus(
        "budget", "old.npy", "new.npy", "--candidates", "more.npy", "--next", str(5 * run),
        "-o", "chosen.txt", "--overwrite",
    )  # fmt: skip


def classifier() -> object:
    """A classifier of the old vectors, for ``isthmus consumers``."""
    from sklearn.linear_model import LogisticRegression

    x = np.load("old.npy")[:200]
    return LogisticRegression().fit(x, np.load("classes1.npy")[:200])


def _consumers(run: int) -> None:
    _isthmus(
        "consumers", "a.bridge", "old.npy", "new.npy", "--answers", f"classes{run}.npy",
        "--estimator", "benchmarks.writing_commands:classifier", "--head-bridge", "head.bridge",
        "--overwrite",
    )  # fmt: skip


def _plan(run: int) -> None:
    os.environ["ISTHMUS_CACHE"] = "cache"
    _isthmus(
        "plan", "items.parquet", "--old", "vectors:old.npy", "--new", "vectors:new.npy",
        "--seed", str(run), "--new-column", f"new{run}", "-o", "plan.json", "--overwrite",
    )  # fmt: skip


def _new_column(plan: Path) -> str:
    """What is told of a plan, whose measured rates differ from run to run."""
    from isthmus.migrate import Plan

    return Plan.load(plan).target.new_column


def _canary(run: int) -> None:
    _isthmus(
        "canary", "record", "vectors:old.npy", "rows.txt", "-o", "canary.json",
        "--rounding", str(0.001 * run), "--overwrite",
    )  # fmt: skip


def _monitor(run: int) -> None:
    _isthmus(
        "monitor", ("new.npy", "items.npy")[run - 1], "--bridge", "a.bridge",
        "--report", "watch.html", "--overwrite",
    )  # fmt: skip


def _watch(run: int) -> None:
    _isthmus(
        "monitor", f"traffic{run}.jsonl", "--bridge", "a.bridge", "--state", "watch",
        "--report", "watch.html", "--overwrite",
    )  # fmt: skip


def _watched(state: Path) -> str:
    """A state, but for the number that the file system gives its log: each copy has another."""
    told = json.loads((state / "monitor.json").read_text())
    cursor = told["content"]["cursor"].split()
    told["content"]["cursor"], told["digest"] = [*cursor[:3], *cursor[4:]], None
    return repr([told, _digest(state / "tensors.safetensors")])


def _parts(run: int) -> None:
    _isthmus(
        "apply", "a.bridge", f"take{run}/parts", "mapped", "--engine", "threads:1", "--no-check",
        "--overwrite",
    )  # fmt: skip


def _parts_seen(folder: Path) -> str:
    """Every file, each of them whole, and the manifest where there is one."""
    arrays = sorted(folder.glob("*.npy"))
    found = [(file.name, hashlib.sha256(np.load(file).tobytes()).hexdigest()) for file in arrays]
    return repr((found, read_manifest(folder)))


def _part_moments(run: int) -> None:
    # the same name, so that they are moments of the same data
    os.chdir(f"take{run}")
    _isthmus("moments", "parts", "parts", "-o", "../part.moments", "--engine", "threads:1")


def _moments_seen(folder: Path) -> str:
    """What a fit would read: the manifest, and all that it names."""
    from isthmus.bridge.parted.moments import read_settings

    read_settings(folder)
    manifest = read_manifest(folder)
    assert manifest is not None
    return repr((manifest["rows"], [_digest(folder / name) for name in manifest["names"]]))


def _publish(run: int) -> None:
    bridge = ("a.bridge", "b.bridge")[run - 1]
    create = ("--create",) if run == 1 else ()
    _isthmus("publish", bridge, "docs", "--registry", "registry", "--note", "kills", *create)


def _promote(run: int) -> None:
    if run == 1:
        _publish(1)
        _isthmus("promote", "docs", "production", "--registry", "registry")
        _publish(2)
        return
    _isthmus("promote", "docs", "production", "--registry", "registry")


def _registry_seen(folder: Path) -> str:
    """The versions and aliases, all bytes of them verified."""
    from isthmus.registry import Registry

    if not folder.exists():
        return "none"
    opened = Registry.open(str(folder))
    opened.verify()
    pointed = {alias: opened.show(f"docs@{alias}").digest for alias in opened.aliases("docs")}
    return repr((sorted(release.digest for release in opened.list("docs")), pointed))


def _pull(run: int) -> None:
    if run == 1:
        _publish(1)
        return
    _isthmus("pull", "docs", "pulled", "--registry", "registry")


def _journal(run: int) -> None:
    from isthmus.training.run_log import RunLog

    with RunLog("runs.jsonl", {"of": "kills"}) as log:
        for seed in range(len(log.known), 2 * run):
            log.add(str(seed), seed, {}, {"score": float(seed)})


def _runs_seen(file: Path) -> str:
    """The runs that a next one would not repeat."""
    from isthmus.training.run_log import RunLog

    with RunLog(file, {"of": "kills"}) as log:
        return repr(log.known)


def _moments(run: int) -> None:
    from isthmus.moments import Moments

    x, y = np.load("new.npy")[: 50 * run], np.load("old.npy")[: 50 * run]
    Moments.of(x, y).save("moments", overwrite=True)


def _contract(run: int) -> None:
    from isthmus.spaces.contract import Space

    Space(name=f"space{run}", dim=4, metric="cosine").save("space.json", overwrite=True)


def _training(run: int) -> None:
    import torch

    from isthmus.training.batches import Batches
    from isthmus.training.loop import train
    from isthmus.training.schedule import Schedule

    torch.manual_seed(0)
    network = torch.nn.Linear(8, 8)
    x, y = (torch.from_numpy(np.load(f"{name}.npy")) for name in ("new", "old"))
    train(
        network, lambda m, batch: (m(batch[0]) - batch[1]).square().mean(), Batches(x, y),
        Schedule(2 * run, checkpoint=Path("checkpoint")),
    )  # fmt: skip


CASES = (
    Case("fit", _fit, ("my.bridge", "fit.html")),
    Case("apply .npy", lambda run: _apply(run, "out.npy"),
         ("out.npy", "out.ids.npy", "out.ids.txt")),
    Case("apply .safetensors", lambda run: _apply(run, "out.safetensors"), ("out.safetensors",)),
    Case("apply .parquet", lambda run: _apply(run, "out.parquet"), ("out.parquet",)),
    Case("evaluate", _evaluate, ("evaluation.html",)),
    Case("diagnose", _diagnose, ("diagnosis.html",)),
    Case("budget", _budget, ("chosen.txt",)),
    Case("canary", _canary, ("canary.json",)),
    Case("monitor", _monitor, ("watch.html",)),
    Case("monitor --state", _watch, ("watch", "watch.html"), first=_watched),
    Case("consumers", _consumers, ("head.bridge",)),
    Case("plan", _plan, ("plan.json", "plan.bridge", "plan.back.bridge"), _new_column),
    Case("moments", _moments, ("moments",)),
    Case("apply of parts", _parts, ("mapped",), _parts_seen, grows=True),
    Case("moments of parts", _part_moments, ("part.moments",), _moments_seen),
    Case("contract", _contract, ("space.json",)),
    Case("publish", _publish, ("registry",), _registry_seen),
    Case("promote", _promote, ("registry",), _registry_seen),
    Case("pull", _pull, ("pulled",), once=True),
    Case("training", _training, ("checkpoint",), grows=True),
    Case("journal of runs", _journal, ("runs.jsonl",), _runs_seen, grows=True),
)  # fmt: skip


def _make_inputs(folder: Path) -> None:
    """Two models of one small world, ids of both kinds, and a bridge."""
    from isthmus.bridge import fit
    from isthmus.spaces.pairs import Pairs

    rng = np.random.default_rng(0)
    latent = rng.standard_normal((400, 8)) * np.arange(1, 9) ** -0.7
    for name in ("old", "new", "items"):
        turn = np.linalg.qr(rng.standard_normal((8, 8)))[0]
        rows = latent @ turn + 0.05 * rng.standard_normal(latent.shape)
        np.save(folder / f"{name}.npy", rows.astype(np.float32))
    more = rng.standard_normal((500, 8)).astype(np.float32)
    np.save(folder / "more.npy", more)
    np.save(folder / "numbers.npy", np.arange(400))
    (folder / "words.txt").write_text("".join(f"item {i}\n" for i in range(400)))
    (folder / "rows.txt").write_text("".join(f"{i}\n" for i in range(5)))
    for run in (1, 2):
        np.save(folder / f"classes{run}.npy", (latent[:, run] > 0).astype(int))
    # in a process of its own: a fork does not survive the threads of Arrow
    assert killed_at(0, quiet(folder, _items)) is None
    pairs = Pairs(str(folder / "new.npy"), str(folder / "old.npy"))
    fit(pairs, recipe="procrustes").save(folder / "a.bridge")
    fit(pairs, recipe="center | procrustes").save(folder / "b.bridge")
    rows = np.load(folder / "new.npy")
    for run in (1, 2):
        parts = folder / f"take{run}" / "parts"
        parts.mkdir(parents=True)
        for part in range(run + 1):
            some = rows[100 * part : 100 * (part + 1)]
            # a part that stays, one that changes, one that is new
            np.save(parts / f"{part}.npy", some[:: -1 if part == run else 1])
        seen = ({"hit": i % 3 > 0, "vector": rows[i].tolist()} for i in range(40 * run))
        lines = [json.dumps(line) for line in seen]
        (folder / f"traffic{run}.jsonl").write_text("\n".join(lines) + "\n")


def _items() -> None:
    from isthmus.stores import create_store

    texts = {"text": [f"text {i}" for i in range(400)]}
    with suppress(ImportError):
        create_store("items.parquet", range(400), {"vector": np.load("old.npy")}, texts).close()


def _load(case: Case) -> None:
    """Import here what every child would import again."""
    modules = {
        "isthmus.cli.app": True,
        "isthmus.bridge": True,
        "isthmus.report": any(name.endswith(".html") for name in case.outputs),
        "pyarrow.parquet": "parquet" in case.name or case.name == "plan",
        "isthmus.training.loop": case.name in ("training", "journal of runs"),
    }
    for module, needed in modules.items():
        if needed:
            with suppress(ImportError):
                import_module(module)


def quiet(
    folder: Path, work: Callable[[], object], told: Path | str = os.devnull
) -> Callable[[], object]:
    """The work in a folder, with what it says on stderr in a file."""

    def run() -> None:
        os.chdir(folder)
        for descriptor, place in ((1, os.devnull), (2, told)):
            os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        work()

    return run


def _digest(path: Path) -> str:
    if path.is_dir():
        return _digests(path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digests(folder: Path) -> str:
    found = [(file.name, _digest(file)) for file in sorted(folder.iterdir())]
    return hashlib.sha256(repr(found).encode()).hexdigest()


def _seen(folder: Path, case: Case) -> tuple[str | None, ...]:
    """What a reader finds of each output."""
    first = folder / case.outputs[0]
    places = [current(folder / name, first) for name in case.outputs]
    readers = [case.first or _digest, *(_digest for _ in case.outputs[1:])]
    return tuple(
        read(place) if place.exists() else None for read, place in zip(readers, places, strict=True)
    )


def _inputs(folder: Path) -> str:
    return repr([_digest(folder / name) for name in _INPUTS])


@dataclass(frozen=True)
class Stage:
    """A case before its second run, as `set_up` prepares it."""

    case: Case
    folder: Path
    """What each trial begins with is the folder ``one`` in it."""
    before: tuple[str | None, ...]
    """What a reader finds of the outputs of the first run."""
    after: tuple[str | None, ...]
    """Of the second."""
    names: list[str]
    """What lies there once it is over."""
    inputs: str

    @classmethod
    def set_up(cls, case: Case, folder: Path) -> Stage:
        """Make the inputs, and run the case once and twice."""
        start, one, two = (folder / name for name in ("start", "one", "two"))
        start.mkdir(parents=True)
        _make_inputs(start)
        _load(case)
        shutil.copytree(start, one)
        _run(case, one, 1)
        shutil.copytree(one, two)
        _run(case, two, 2)
        before, after = _seen(one, case), _seen(two, case)
        assert before != after, f"{case.name}: both runs write the same"
        return cls(case, folder, before, after, sorted(os.listdir(two)), _inputs(start))  # noqa: PTH208

    def fresh(self) -> Path:
        """The folder of the next trial."""
        place = self.folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.folder / "one", place)
        return place

    def seen(self, place: Path, where: str) -> tuple[str | None, ...]:
        """What a reader finds, where the inputs are what they were.

        Raises:
            AssertionError: saying where, for an input that changed or for torn outputs.
        """
        found = _seen(place, self.case)
        assert _inputs(place) == self.inputs, f"{where}: an input changed"
        assert found in (self.before, self.after) or self.case.grows, f"{where}: torn outputs"
        return found

    def finish(self, place: Path, where: str) -> None:
        """Run the command again, which leaves what a run that nothing happened to leaves.

        Raises:
            AssertionError: saying where, if it does not.
        """
        again = self.case.once and _seen(place, self.case) == self.after
        _run(self.case, place, 2, again=again)
        assert _seen(place, self.case) == self.after, f"{where}: the next run ended otherwise"
        left = sorted(os.listdir(place))  # noqa: PTH208
        assert left == self.names, f"{where}: left {sorted({*left} ^ {*self.names})}"


def _run(case: Case, place: Path, number: int, *, again: bool = False) -> None:
    done = killed_at(0, quiet(place, lambda: case.work(number)))
    expected = _REFUSED if again else None
    assert done == expected, f"{case.name}: run {number} ended with {done}"
