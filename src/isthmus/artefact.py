"""The one folder format: everything that isthmus saves, and nothing believed when it is read.

An artefact is a folder of a manifest in canonical JSON, tensors in safetensors, and texts for
people.  The manifest states the kind, the format, every tensor (dtype, shape, SHA-256), every other
file of the artefact and a digest of itself; equal objects give equal bytes, and nothing that is
read runs code.  Nothing is allocated before its size was compared with what the file holds, what
the manifest states, and what the caller expects.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from numpy.typing import NDArray

from isthmus.errors import InputError, IsthmusError, OutputError
from isthmus.file_records import current
from isthmus.files import atomic_folder, check_output
from isthmus.inputs import kind_of, open_input, unreadable
from isthmus.json_text import read_json
from isthmus.sealed_json import sealed
from isthmus.tensors import Spec, Tensors, all_finite, open_tensors, plain, write_tensors

__all__ = [
    "FORMAT",
    "TENSORS",
    "Packed",
    "Stored",
    "Tensors",
    "check_own",
    "check_place",
    "kind_at",
    "manifest_name",
    "prefixed",
    "read",
    "write",
]

FORMAT = 1
"""The version of the manifest and of the tensors' file; what a kind keeps in them is its matter."""
TENSORS = "tensors.safetensors"

Packed = tuple[dict[str, Any], dict[str, NDArray[Any]]]
"""What ``pack`` gives of a part: JSON, and tensors by name."""

_MOST_BYTES = 16 * 2**20
_MOST_VALUES = 500_000
_MOST_TENSORS = 100_000
_MOST_TEXTS = 16
_TRIES = 5
_FIELDS = {"content", "digest", "format", "kind", "tensors", "texts"}


def manifest_name(kind: str) -> str:
    """The file of an artefact that says what it is: ``bridge.json`` of a bridge."""
    return f"{kind.replace(' ', '-')}.json"


# ---- writing -------------------------------------------------------------------------------------


def write(
    folder: Path,
    kind: str,
    content: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]],
    *,
    texts: Mapping[str, str] | None = None,
    infinite: Collection[str] = (),
    overwrite: bool = False,
) -> None:
    """Write an artefact, whole or not at all.

    Args:
        folder: where; its parent exists.
        kind: what it is, a noun such as ``bridge``.
        content: JSON: whatever `read` is to give back.
        tensors: arrays by name, of any shape; none is copied.
        texts: further files by name, for people, such as ``CARD.md``.
        infinite: names of tensors that may hold infinity or NaN.
        overwrite: replace an artefact of the same kind.

    Raises:
        InputError: for a number that is not finite, a dtype that files do not hold, or text that is
            no Unicode.
        OutputError: as `check_place`, or where the disk refuses; an interrupted write leaves
            nothing.

    Example:
        >>> import tempfile, numpy as np
        >>> place = Path(tempfile.mkdtemp()) / "means"
        >>> write(place, "table of means", {"rows": 3}, {"mean": np.zeros(2, np.float32)})
        >>> with read(place, "table of means") as stored:
        ...     stored.content["rows"], stored.tensors.take("mean", (2,))
        (3, array([0., 0.], dtype=float32))
    """
    check_place(folder, kind, overwrite=overwrite)
    whole = {name: plain(name, tensor) for name, tensor in sorted(tensors.items())}
    for name, tensor in whole.items():
        if name not in infinite and not all_finite(tensor):
            raise InputError(
                f"the {kind} holds a number that is not finite", where=f"{folder}: '{name}'"
            )
    encoded = {name: _encoded(text, f"{folder}: {name}") for name, text in (texts or {}).items()}
    specs = {name: Spec.of(tensor) for name, tensor in whole.items()}
    manifest = _manifest(
        {
            "content": content,
            "format": FORMAT,
            "kind": kind,
            "tensors": specs,
            "texts": {name: [len(t), hashlib.sha256(t).hexdigest()] for name, t in encoded.items()},
        },
        str(folder),
    )
    with atomic_folder(folder, overwrite=overwrite, check=lambda p: check_own(p, kind)) as draft:
        with (draft / TENSORS).open("wb") as file:
            write_tensors(file, whole, specs)
        for name, text in encoded.items():
            (draft / name).write_bytes(text)
        (draft / manifest_name(kind)).write_bytes(manifest)


def prefixed(prefix: str, tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The tensors of a part under names that `Tensors.under` finds again."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def check_place(folder: Path, kind: str, *, overwrite: bool) -> None:
    """Refuse, before any work is spent, a place that an artefact cannot be written to.

    What is overwritten is an artefact of the same kind and nothing else: a folder that holds
    another file beside it is refused.

    Raises:
        OutputError: as `check_output`, or for a place that holds something else.
    """
    check_output(folder, overwrite=overwrite)
    if overwrite and os.path.lexists(folder):
        check_own(folder, kind)


def check_own(folder: Path, kind: str) -> None:
    """Refuse a folder that holds anything but an artefact of this kind, or nothing.

    Raises:
        OutputError: saying what else it holds.
    """
    if _is_empty(folder):
        return
    try:
        with read(folder, kind) as stored:
            own = {manifest_name(kind), TENSORS, *stored.texts}
            stored.tensors.skip()
    except InputError as error:
        raise OutputError(
            f"only {_a(kind)} is overwritten by {_a(kind)}, and this is none ({error.what})",
            where=str(folder),
            mend="Choose another name, or remove it yourself",
        ) from error
    for entry in list(os.scandir(folder)):
        if entry.name not in own or not entry.is_file(follow_symlinks=False):
            raise OutputError(
                f"the folder also holds '{entry.name}', which is no part of the {kind} "
                "and would be lost",
                where=str(folder),
                mend="Choose another name, or move that file elsewhere",
            )


def _is_empty(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir())


def _encoded(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InputError("the text is no Unicode", where=where) from error


def _manifest(fields: dict[str, Any], where: str) -> bytes:
    """The manifest's bytes, with the digest of all its other fields."""
    try:
        content = sealed(fields)
    except UnicodeEncodeError as error:
        raise InputError("a text in it is no Unicode", where=where) from error
    except ValueError as error:
        raise InputError("a number in it is not finite", where=where) from error
    try:
        read_json(content)
    except ValueError as error:
        raise InputError(f"it holds {error}, which no file does", where=where) from error
    return content


# ---- reading -------------------------------------------------------------------------------------


@dataclass
class Stored:
    """An artefact that is open."""

    kind: str
    content: dict[str, Any]
    tensors: Tensors
    texts: dict[str, str | None]
    """Its files for people; None for one that is missing or was changed after it was written."""


@contextmanager
def read(folder: Path, kind: str) -> Generator[Stored]:
    """Open an artefact that `write` made, for a block that looks at all its tensors.

    Whatever is wrong with the folder, and whatever goes wrong in the block, which unpacks data that
    nobody vouches for, is one error that names the folder.

    Args:
        folder: the folder, or a link to it.
        kind: what is expected.

    Raises:
        InputError: if something is missing, cannot be read, is damaged, superfluous, of another
            kind or of an unknown format.
    """
    manifest, file, texts = _open(folder, kind)
    try:
        with file:
            tensors = open_tensors(file, manifest["tensors"], folder / TENSORS)
            yield Stored(kind, manifest["content"], tensors, texts)
            if tensors.unused:
                raise ValueError(f"nothing uses the tensors {tensors.unused[:3]}")
    except IsthmusError as error:
        if not isinstance(error, InputError) or str(folder) in (error.where or ""):
            raise
        raise _damaged(folder, kind, error) from error
    except (
        *(KeyError, IndexError, TypeError, ValueError, AttributeError),
        *(ArithmeticError, RecursionError, MemoryError),
    ) as error:
        raise _damaged(folder, kind, error) from error
    except OSError as error:
        raise unreadable(error, folder / TENSORS) from error


def _open(folder: Path, kind: str) -> tuple[dict[str, Any], BinaryIO, dict[str, str | None]]:
    """The manifest, the open file of the tensors and the texts, of one run."""
    for left in reversed(range(_TRIES)):
        place = current(folder)
        before = _identity(place)
        try:
            _check_folder(place, kind)
            manifest = _read_manifest(place, kind)
            texts = {n: _text(place / n, *stated) for n, stated in manifest["texts"].items()}
            file = open_input(place / TENSORS)
        except (InputError, FileNotFoundError) as error:
            # unless another run replaced it in between
            if not left or _identity(current(folder)) == before:
                if isinstance(error, InputError):
                    raise
                raise InputError(f"{TENSORS} is missing", where=str(folder)) from error
        else:
            if not left or _identity(current(folder)) == before:
                return manifest, file, texts
            file.close()
    raise AssertionError


def _identity(folder: Path) -> tuple[int, int, int] | None:
    try:
        found = folder.stat()
    except (OSError, ValueError):
        return None
    # the number of a folder that was removed is soon that of another
    return found.st_dev, found.st_ino, found.st_ctime_ns


def kind_at(folder: Path) -> str:
    """The kind of the artefact in a folder.

    Raises:
        InputError: as `read`, for a folder that holds no artefact.
    """
    place = current(folder)
    _check_folder(place, "artefact")
    return _read_manifest(place, None)["kind"]


def _damaged(folder: Path, kind: str, error: Exception) -> InputError:
    told = " ".join(str(error).split())[:400].rstrip(".")
    if not isinstance(error, ValueError):
        told = f"{type(error).__name__}: {told}"
    return InputError(
        f"the {kind} is damaged ({told})",
        where=str(folder),
        mend="Copy it again, or make it again",
    )


def _a(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeiou' else 'a'} {kind}"


def _check_folder(folder: Path, kind: str) -> None:
    try:
        is_folder = stat.S_ISDIR(folder.stat().st_mode)
    except FileNotFoundError as error:
        what = "a link to nothing" if folder.is_symlink() else "nothing"
        raise InputError(
            f"there is {what} here, expected the folder of {_a(kind)}",
            where=str(folder),
            mend="Check the name",
        ) from error
    except (OSError, ValueError) as error:
        raise unreadable(error, folder) from error
    if not is_folder:
        raise InputError(
            f"there is {kind_of(folder)} here, expected the folder of {_a(kind)}",
            where=str(folder),
            mend="Name the folder, not a file in it",
        )


def _read_manifest(folder: Path, expected: str | None) -> dict[str, Any]:
    """The manifest, whose own fields are of the right types and bounded; `content` may be any."""
    kind = expected or _kind_in(folder)
    place = folder / manifest_name(kind)
    try:
        found, text = _parsed(place, kind)
    except FileNotFoundError as error:
        try:
            other = _kind_in(folder)
        except InputError:
            present = sorted(entry.name for entry in os.scandir(folder))[:5]
            raise InputError(
                f"{place.name} is missing; the folder holds {present}", where=str(folder)
            ) from error
        raise _no(kind, other, folder) from None
    if found["kind"] != kind:
        raise _no(kind, found["kind"], folder)
    if found["format"] != FORMAT:
        raise InputError(
            f"format {str(found['format'])[:20]} is not known (this version reads {FORMAT})",
            where=str(place),
            mend="Update isthmus",
        )
    stated = found.pop("digest", None)
    # the bytes hold for all: that it is canonical, holds no key twice, and states its own digest
    if _manifest(found, str(place)) != text:
        raise InputError(
            "the manifest was changed after it was written",
            where=str(place),
            mend="Copy the folder again, or make it again",
        )
    found["digest"] = stated
    _check_fields(found, place)
    return found


def _parsed(place: Path, kind: str) -> tuple[dict[str, Any], bytes]:
    """What a manifest says before any of it is believed, and its bytes."""
    with open_input(place) as file:
        text = file.read(_MOST_BYTES + 1)
    # before it is parsed: each two characters of it may become an object of a hundred bytes
    if len(text) > _MOST_BYTES or sum(map(text.count, (b",", b"[", b"{"))) > _MOST_VALUES:
        raise InputError(f"the manifest is larger than that of any {kind}", where=str(place))
    try:
        manifest: Any = read_json(text)
        found = cast(dict[str, Any], manifest) if isinstance(manifest, dict) else {}
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is no manifest ({error})", where=str(place)) from error
    if not {"format", "kind"} <= found.keys() or not isinstance(found["kind"], str):
        raise InputError("this is no manifest", where=str(place))
    return found, text


def _kind_in(folder: Path) -> str:
    """What kind of artefact a folder holds: the manifest is the file that is called after it."""
    refused: InputError | None = None
    names = sorted(entry.name for entry in os.scandir(folder))
    for name in [name for name in names if name.endswith(".json")][:_MOST_TEXTS]:
        try:
            found, _ = _parsed(folder / name, "artefact")
        except InputError as error:
            refused = refused or error
            continue
        except FileNotFoundError:
            continue
        if manifest_name(found["kind"]) == name:
            return found["kind"]
    raise refused or InputError(
        f"no manifest is here; the folder holds {names[:5]}", where=str(folder)
    )


def _no(kind: str, other: str, folder: Path) -> InputError:
    return InputError(f"this is no {kind}, but {_a(other[:80])}", where=str(folder))


def _check_fields(manifest: dict[str, Any], place: Path) -> None:
    """Refuse a manifest, right by its digest, whose fields are not those that `write` writes."""
    tensors, texts = manifest.get("tensors"), manifest.get("texts")
    right = (
        manifest.keys() == _FIELDS
        and isinstance(manifest["content"], dict)
        and isinstance(tensors, dict)
        and len(cast(dict[str, Any], tensors)) <= _MOST_TENSORS
        and isinstance(texts, dict)
        and len(cast(dict[str, Any], texts)) <= _MOST_TEXTS
        and all(map(_is_text, cast(dict[str, Any], texts).items()))
    )
    if not right:
        raise InputError("this is no manifest: its fields are others", where=str(place))
    try:
        specs = {n: Spec.checked(s) for n, s in cast(dict[str, Any], tensors).items()}
    except ValueError as error:
        raise InputError(f"this is no manifest: {error}", where=str(place)) from error
    manifest["tensors"] = specs


def _is_text(item: tuple[str, Any]) -> bool:
    """Whether it is the plain name of a further file with its size and digest."""
    name, stated = item
    if name in (TENSORS, "", ".", "..") or name.endswith(".json"):
        return False
    if not name.isprintable() or "/" in name:
        return False
    match stated:
        case [int(size), str()]:
            return not isinstance(size, bool) and 0 <= size <= _MOST_BYTES
        case _:
            return False


def _text(path: Path, size: int, digest: str) -> str | None:
    """The text, if it is the one that was written."""
    try:
        with open_input(path) as file:
            text = file.read(size + 1)
    except (OSError, InputError):
        return None
    return text.decode() if hashlib.sha256(text).hexdigest() == digest else None
