"""An input of some kind, what is done to it, and how each attempt ended."""

from __future__ import annotations

import contextlib
import copy
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from isthmus.errors import IsthmusError
from isthmus.plain_text import plain_line

__all__ = [
    "Attack",
    "Clean",
    "Found",
    "Target",
    "attacked",
    "change",
    "mutated_bytes",
    "places",
]

Clean = Mapping[str, bytes]
"""The files of a clean input by their names inside its folder."""
Attack = Callable[[Path, Clean, np.random.Generator], None]
"""Changes the files in a folder that holds the clean ones."""

_LIMIT = 20.0
_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**70), 10**400, 0.5, -0.5, 1e-320, 1e308, -1e308,
    "", "x", "NaN", "inf", "\x1b[2J", "\ud7ff", "../../x", "x" * 2000, [], [[]], {}, {"a": {}},
    [None], [1, 2, 3], list(range(300)), [[[[1]]]], {str(i): i for i in range(50)},
)  # fmt: skip
_WORDS = (b"NaN", b"-inf", b"1e999", b"1e308", b"null", b"{}", b"[[", b"\x00", b"\xff\xfe",
          b"\x1b[2J", b"\xe2\x80\xae", b"\"", b"'", b"\n", b"\r", b",", b"\t", b":", b"\\", b"(",
          b"0", b"-1", b"9" * 400, b"9223372036854775808", b"true", b"x" * 5000, b"[" * 3000,
          b" ", b"\xed\xa0\x80", b"../../x", b"|", b"=")  # fmt: skip


class Found(Counter[str]):
    """How attempts ended: ``refused``, ``loaded``, or ``raw …`` for any other error."""

    @property
    def raw(self) -> dict[str, int]:
        """Errors that were not made on purpose."""
        return {name: count for name, count in self.items() if name.startswith("raw")}


@dataclass(frozen=True)
class Target:
    """A kind of input.

    Attributes:
        name: of the kind.
        make: writes a clean input into an empty folder.
        use: reads it, and works with all of it.
        attacks: drawn with equal chances.
    """

    name: str
    make: Callable[[Path], object]
    use: Callable[[Path], object]
    attacks: tuple[Attack, ...]


def mutated_bytes(folder: Path, clean: Clean, rng: np.random.Generator) -> None:
    """Bytes changed, cut out, put in or cut off, or a number of four or eight bytes replaced."""
    names = sorted(name for name, content in clean.items() if content)
    name = names[rng.integers(len(names))]
    content = bytearray(clean[name])
    for _ in range(rng.integers(1, 4)):
        place = int(rng.integers(len(content))) if len(content) else 0
        # the ends of a file say what it is
        if rng.integers(3) == 0:
            place = min(int(rng.integers(64)), max(len(content) - 1, 0))
        elif rng.integers(3) == 0:
            place = max(len(content) - 1 - int(rng.integers(400)), 0)
        how = rng.integers(7)
        if how == 0 and content:
            content[place] ^= int(rng.integers(1, 256))
        elif how == 1:
            del content[place : place + int(rng.integers(1, 200))]
        elif how == 2:
            content[place:place] = rng.bytes(int(rng.integers(1, 50)))
        elif how == 3:
            content = content[:place]
        elif how == 4:
            word = _WORDS[rng.integers(len(_WORDS))]
            content[place : place + int(rng.integers(0, 1 + len(word)))] = word
        elif how == 5:
            number = int(rng.choice([0, 1, 2**31 - 1, 2**32 - 1, 2**40 - 1, 2**62, 2**63, 10**6]))
            width = int(rng.choice([4, 8]))
            content[place : place + width] = (number % 256**width).to_bytes(width, "little")
        else:
            other = int(rng.integers(len(content))) if len(content) else 0
            content[place:place] = content[other : other + int(rng.integers(1, 100))]
    (folder / name).write_bytes(content)


def attacked(target: Target, folder: Path, count: int, *, seed: int = 0, first: int = 0) -> Found:
    """Attack an input so many times, each time from its clean state.

    Args:
        target: the kind.
        folder: that its ``make`` filled.
        count: of attempts.
        seed: of all of them.
        first: number of the first attempt; each has randomness of its own.
    """
    clean = {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    place = folder.with_name(f"{folder.name}-attacked")
    found = Found()
    for attempt in range(first, first + count):
        rng = np.random.default_rng([seed, attempt])
        shutil.rmtree(place, ignore_errors=True)
        for name, content in clean.items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(content)
        target.attacks[rng.integers(len(target.attacks))](place, clean, rng)
        (folder.parent / "attempt").write_text(str(attempt))
        ended = _ended(target, place)
        if ended.startswith("raw"):
            ended = f"{ended} (attempt {attempt})" if len(found.raw) < 20 else "raw others"
        found[ended] += 1
    return found


def _ended(target: Target, place: Path) -> str:
    started = time.monotonic()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            target.use(place)
    except IsthmusError as error:
        text = str(error)
        ended = "refused" if plain_line(text) == text else f"raw {text!r}"
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        ended = f"raw {type(error).__name__}: {str(error)[:80]}"
    else:
        ended = "loaded"
    seconds = time.monotonic() - started
    return ended if seconds < _LIMIT else f"raw {ended} after {seconds:.0f} s"


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where anything stands inside JSON."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = [p for key, part in inner for p in places(part, (*path, key))]
    return [path, *found] if path else found


def change(
    content: Any, rng: np.random.Generator, among: Sequence[tuple[Any, ...]] | None = None
) -> None:
    """Another value, or none, in one place of JSON: of all, or of those given."""
    known = places(content) if among is None else among
    if known:
        # what another change took away is not changed again
        with contextlib.suppress(KeyError, IndexError, TypeError, AttributeError, OverflowError):
            _changed(content, known[rng.integers(len(known))], rng)


def _changed(content: Any, place: tuple[Any, ...], rng: np.random.Generator) -> None:
    *way, last = place
    for key in way:
        content = content[key]
    how = rng.integers(4)
    if how == 0:
        del content[last]
    elif how == 1 and isinstance(content, dict):
        content[f"{last}x"] = content.pop(last)
    elif how == 2 and isinstance(content[last], int | float):
        content[last] = content[last] * float(rng.choice([-1, 0, 1.5, 1e6, 1e-9]))
    else:
        content[last] = copy.deepcopy(_VALUES[rng.integers(len(_VALUES))])
