"""A version: the files of one artefact by their digests; the digest of that list is its name."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from isthmus import artefact
from isthmus.errors import InputError
from isthmus.inputs import open_input
from isthmus.registry.documents import Document
from isthmus.registry.storage import blocks

__all__ = ["Digest", "StoredFile", "Version", "check_artefact"]

_MOST_FILES = 18
_FILE_NAME = re.compile(r"[^\W_][\w. -]{0,126}\w|[^\W_]", re.ASCII)

Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class StoredFile(Document):
    """The content of a file.

    Example:
        >>> from isthmus.registry import StoredFile
        >>> StoredFile(bytes=3, sha256="0" * 64).bytes
        3
    """

    bytes: Annotated[int, Field(ge=0, lt=2**48)]
    sha256: Digest


class Version(Document):
    """What one version consists of.

    Equal artefacts with equal metadata are the same version, whoever publishes them and when; that
    stands in the log of the alias.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from isthmus import artefact
        >>> from isthmus.registry import Version
        >>> artefact.write(Path("mean"), "table of means", {}, {"mean": np.ones(3)})
        >>> version = Version.of(Path("mean"), {"team": "search"})
        >>> version.kind, len(version.files)
        ('table of means', 2)
    """

    format: Annotated[int, Field(ge=1, le=1)] = 1
    kind: Annotated[str, Field(min_length=1, max_length=80)]
    """The artefact's, such as ``bridge``."""
    files: Annotated[dict[str, StoredFile], Field(min_length=2, max_length=_MOST_FILES)]
    metadata: Annotated[dict[str, str], Field(max_length=64)]

    @field_validator("files")
    @classmethod
    def _plain_names(
        cls, files: dict[str, StoredFile], info: ValidationInfo
    ) -> dict[str, StoredFile]:
        for name in files:
            if _FILE_NAME.fullmatch(name) is None:
                raise ValueError("a file of an artefact has a plain name, of ASCII letters")
        needed = {artefact.manifest_name(info.data.get("kind", "")), artefact.TENSORS}
        if not needed <= files.keys():
            raise ValueError(f"an artefact of this kind has {' and '.join(sorted(needed))}")
        return files

    @property
    def bytes(self) -> int:
        """The room its files take."""
        return sum(file.bytes for file in self.files.values())

    @classmethod
    def of(cls, folder: str | Path, metadata: Mapping[str, str]) -> Version:
        """The version of the artefact in a folder, which is checked from end to end.

        Raises:
            InputError: as `isthmus.artefact.read`, for a text that was changed, and for a folder
                that holds anything else, such as a link.
        """
        folder = Path(folder)
        kind = artefact.kind_at(folder)
        names = sorted(entry.name for entry in os.scandir(folder))
        if len(names) > _MOST_FILES:
            raise InputError(f"the folder holds {len(names)} entries", where=str(folder))
        files = {name: _digested(folder / name) for name in names}
        check_artefact(folder, kind)
        try:
            return cls(kind=kind, files=files, metadata=dict(metadata))
        except ValueError as error:
            told = str(error).splitlines()[-2].strip()
            raise InputError(f"this cannot be published ({told})", where=str(folder)) from error


def check_artefact(folder: Path, kind: str) -> None:
    """Refuse a folder that holds anything but a whole artefact.

    Raises:
        InputError: see `Version.of`.
    """
    with artefact.read(folder, kind) as stored:
        # some kinds hold infinity; whether this one may is for its own reader to say
        replace(stored.tensors, finite=False).verify()
        texts = stored.texts
    own = {artefact.manifest_name(kind), artefact.TENSORS, *texts}
    changed = [name for name, text in texts.items() if text is None]
    other = sorted({entry.name for entry in os.scandir(folder)} - own)
    if changed:
        raise InputError(
            "it is missing or was changed after it was written",
            where=f"{folder / changed[0]}",
            mend="Make the artefact again",
        )
    if other:
        raise InputError(
            f"the folder also holds '{other[0]}', which is no part of the {kind}",
            where=str(folder),
            mend="Move that file elsewhere",
        )


def _digested(path: Path) -> StoredFile:
    if not stat.S_ISREG(path.lstat().st_mode):
        raise InputError("an artefact consists of files, and this is none", where=str(path))
    size, digest = 0, hashlib.sha256()
    with open_input(path) as file:
        for block in blocks(file):
            size += len(block)
            digest.update(block)
    return StoredFile(bytes=size, sha256=digest.hexdigest())
