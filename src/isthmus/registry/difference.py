"""What differs between two versions of an artefact."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

from isthmus.errors import InputError
from isthmus.registry.version import Version

__all__ = ["Difference", "FileChange", "difference"]

_ABSENT = object()


class FileChange(NamedTuple):
    """One value that differs; None on the side where there is none.

    Example:
        >>> from isthmus.registry import FileChange
        >>> FileChange("recipe.steps.0", "center", "unit_norm").after
        'unit_norm'
    """

    path: str
    """Where in the content, such as ``recipe.steps.0``."""
    before: Any
    after: Any


@dataclass(frozen=True)
class Difference:
    """What differs between two versions.

    Example:
        >>> from isthmus.registry import Difference, FileChange
        >>> found = Difference((), ("mean",), (FileChange("recipe", "ridge", "procrustes"),))
        >>> bool(found), found.as_dict()["tensors"]
        (True, ('mean',))
    """

    files: tuple[str, ...]
    """Names of files that are new, gone or other."""
    tensors: tuple[str, ...]
    """Names of tensors that are new, gone or other."""
    content: tuple[FileChange, ...]
    """Changes of the artefact's content and kind, and of the version's metadata."""

    def __bool__(self) -> bool:
        return bool(self.files or self.tensors or self.content)

    def as_dict(self) -> dict[str, Any]:
        """The difference as JSON."""
        return {**asdict(self), "content": [change._asdict() for change in self.content]}


def difference(
    before: Version, after: Version, manifest_before: bytes, manifest_after: bytes, where: str
) -> Difference:
    """Compare two versions.

    Args:
        before: one version.
        after: the other.
        manifest_before: the manifest of its artefact.
        manifest_after: that of the other.
        where: named in errors.

    Raises:
        InputError: for a manifest that is none.
    """
    old, new = _parsed(manifest_before, where), _parsed(manifest_after, where)
    sides = [
        {"kind": version.kind, "metadata": version.metadata, "content": manifest.get("content")}
        for version, manifest in ((before, old), (after, new))
    ]
    return Difference(
        _other(before.files, after.files),
        _other(_mapping(old.get("tensors")), _mapping(new.get("tensors"))),
        tuple(_changes("", sides[0], sides[1])),
    )


def _parsed(manifest: bytes, where: str) -> dict[str, Any]:
    try:
        return _mapping(json.loads(manifest))
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is no manifest ({error})", where=where) from error


def _mapping(value: Any) -> dict[str, Any]:
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}


def _other(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, ...]:
    names = sorted(before.keys() | after.keys())
    return tuple(n for n in names if before.get(n, _ABSENT) != after.get(n, _ABSENT))


def _changes(path: str, before: Any, after: Any) -> list[FileChange]:
    if before == after and type(before) is type(after):
        return []
    keys: list[Any] = []
    if isinstance(before, dict) and isinstance(after, dict):
        old, new = cast(dict[str, Any], before), cast(dict[str, Any], after)
        keys = sorted(old.keys() | new.keys())
    elif isinstance(before, list) and isinstance(after, list):
        old = {str(i): value for i, value in enumerate(cast(list[Any], before))}
        new = {str(i): value for i, value in enumerate(cast(list[Any], after))}
        keys = list(old if len(old) > len(new) else new)
    else:
        return [
            FileChange(
                path, None if before is _ABSENT else before, None if after is _ABSENT else after
            )
        ]
    found: list[FileChange] = []
    for key in keys:
        inner = f"{path}.{key}" if path else key
        found += _changes(inner, old.get(key, _ABSENT), new.get(key, _ABSENT))
    return found
