"""Functions that workers import by name."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.bridge.parted.map_part import MapPart, PartFile
from isthmus.errors import InputError
from isthmus.json_text import JsonObject


def text(part: int) -> str:
    time.sleep(random.random() / 200)
    return f"{part} "


def joined(one: str, other: str) -> str:
    return one + other


def fails_once(part: str) -> str:
    """Fails at its first call over a path, and then works."""
    path = Path(part)
    if not path.exists():
        path.touch()
        raise OSError("the network is down")
    return path.name


def always_fails(part: str) -> str:
    raise RuntimeError(f"no {part} today")


def refuses(part: str) -> str:
    raise InputError("the row is zero", where=part)


def dies_once(part: str) -> str:
    path = Path(part)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name


def stops_or_refuses(part: str) -> str:
    """Stops its own process over one path; over any other it refuses once that one has stopped."""
    path = Path(part)
    if path.name == "stops":
        path.touch()
        os.kill(os.getpid(), signal.SIGSTOP)
        return part
    while not path.with_name("stops").exists():
        time.sleep(0.01)
    time.sleep(0.2)
    raise InputError("the row is zero", where=part)


def dies_or_counts(part: str) -> tuple[str, int]:
    """The name of a path and how often it was called over it; one dies at its first call."""
    path = Path(part)
    with path.open("a") as file:
        file.write("x")
    time.sleep(0.5)  # so that both are at work
    if path.name == "dies" and path.stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return path.name, path.stat().st_size


def unsendable(part: int) -> object:
    return threading.Lock()


def dies(part: str) -> str:
    if part == "bad":
        os.kill(os.getpid(), signal.SIGKILL)
    return part


def slow(part: int) -> int:
    time.sleep(0.05)
    return part


def blas_threads(part: int) -> int:
    from isthmus.threads import blas_threads

    return blas_threads()


def never_ready(*given: object) -> None:
    """In the place of a worker: says nothing, until it is killed."""
    del given
    time.sleep(60)


@dataclass(frozen=True, eq=False)
class TwinMap(MapPart):
    """Maps a part, but for each first time: then the result is lost, and the work goes on.

    It waits in the middle of its file for ``go`` beside the bridge, and tells of its end there.
    """

    signs: str = ""

    def __call__(self, job: PartFile) -> JsonObject:
        begun = Path(self.signs) / f"{job.name}.begun"
        if begun.exists():
            return super().__call__(job)
        late = MapPart(
            _Waiting(self.row_map, begun, Path(self.signs) / "go"), self.side, self.folder
        )  # type: ignore
        threading.Thread(target=_to_the_end, args=(late, job, begun)).start()
        while not begun.exists():
            time.sleep(0.01)
        raise OSError("the network is down")


@dataclass(frozen=True, eq=False)
class _Waiting:
    """The map of rows of a bridge, which stops before it maps any."""

    row_map: Any
    begun: Path
    go: Path

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row_map, name)

    def write(self, *given: Any) -> None:
        self.begun.touch()
        while not self.go.exists():
            time.sleep(0.01)
        self.row_map.write(*given)


def _to_the_end(work: MapPart, job: PartFile, begun: Path) -> None:
    said = "done"
    try:
        work(job)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    begun.with_suffix(".half").write_text(said)
    begun.with_suffix(".half").rename(begun.with_suffix(".ended"))
