"""The registry: whatever isthmus saves, kept by version, found by alias, and undone by one call."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from isthmus.errors import InputError, RegistryError
from isthmus.registry.aliases import Alias, AliasTarget, Entry, known_aliases, now, this_user
from isthmus.registry.collect import Collected, collect
from isthmus.registry.documents import MOST_BYTES, Document, digest_of
from isthmus.registry.moving import Moving
from isthmus.registry.reading import DIGITS, LATEST
from isthmus.registry.release import Release, blob_key, manifest_key, signature_key
from isthmus.registry.reviews import (
    Review,
    ReviewDecision,
    checked_decision,
    reviewed_names,
    reviews_of,
)
from isthmus.registry.signatures import TrustedKeys, sign
from isthmus.registry.storage import Storage, open_storage
from isthmus.registry.version import Version

__all__ = ["Registry"]

_FORMAT = "registry.json"
_DAY = 86400.0


class RegistryFormat(Document):
    """What stands at the top of a registry."""

    format: Annotated[int, Field(ge=1, le=1)] = 1


class Registry(Moving):
    """Versions of artefacts under names, and aliases that say which one is used where.

    Files lie under ``blobs/sha256/<digest>``, versions under ``manifests/sha256/<digest>`` and
    aliases under ``refs/<name>/<alias>``.  A version is published blobs first, then its manifest,
    then the alias; so whatever ends a publish, nobody sees half a version.

    A version is asked for as ``name`` (its latest), ``name@alias`` or ``name@sha256:<digest>``, of
    which the first eight digits will do.

    Args:
        storage: where its bytes are; see `Registry.open`.
        trust: whose signatures count; with it, what none of them signed is not given, nor does an
            alias move to it.
        most_bytes: the largest artefact that is taken or given.

    Example:
        >>> import tempfile, numpy as np
        >>> from isthmus import artefact
        >>> place = Path(tempfile.mkdtemp())
        >>> registry = Registry.open(place / "registry", create=True)
        >>> for n in (3, 4):
        ...     artefact.write(place / f"m{n}", "table of means", {"rows": n}, {"mean": np.ones(n)})
        ...     _ = registry.publish(place / f"m{n}", "means")
        ...     _ = registry.promote("means", "production")
        >>> registry.rollback("means", "production").action
        'rollback'
        >>> _ = registry.pull("means@production", place / "mine")
        >>> with artefact.read(place / "mine", "table of means") as stored:
        ...     stored.tensors.take("mean", (3,), np.float64)
        array([1., 1., 1.])
    """

    @classmethod
    def open(
        cls, url: str | Path, *, create: bool = False, trust: str | Path | None = None
    ) -> Registry:
        """The registry in a folder or a bucket.

        Args:
            url: the folder, ``s3://bucket/prefix`` or ``gs://bucket/prefix``; see
                `isthmus.registry.storage.open_storage` for others.
            create: make a registry of an empty or missing place.
            trust: a folder of public keys, ``<signer>.pem`` each; see `Registry`.

        Raises:
            RegistryError: if there is no registry, or one of a format that is not known.
        """
        storage = open_storage(str(url))
        held = storage.get(_FORMAT, MOST_BYTES)
        if held is None:
            if not create:
                raise RegistryError(
                    "there is no registry here",
                    where=storage.url,
                    mend="Check the name, or make one: isthmus publish --create, or create=True",
                )
            _make(storage)
            held = storage.get(_FORMAT, MOST_BYTES)
        if held is None or held.content != RegistryFormat().content:
            raise RegistryError(
                "this is a registry of a format that is not known",
                where=storage.url,
                mend="Update isthmus",
            )
        return cls(storage, trust=None if trust is None else TrustedKeys(Path(trust)))

    def publish(
        self,
        folder: str | Path,
        name: str,
        *,
        note: str = "",
        metadata: Mapping[str, str] | None = None,
        by: str | None = None,
        key: str | Path | None = None,
    ) -> Entry:
        """Take an artefact in under a name, byte for byte, and move the alias ``latest`` to it.

        Args:
            folder: the folder that isthmus saved.
            name: small letters, digits and ``.``, ``_``, ``-``.
            note: why, for the log.
            metadata: texts that are part of the version.
            by: who; by default ``ISTHMUS_USER`` or the system's user.
            key: a private key in PEM, to sign it; see `isthmus.registry.signatures.sign`.

        Returns:
            The newest entry of the log of ``latest``.

        Raises:
            InputError: for a folder that holds anything but a whole artefact.
            RegistryError: for one that is larger than ``most_bytes``, or if others move the alias
                again and again.
        """
        folder = Path(folder)
        alias = Alias(self._storage, name, LATEST)
        version = Version.of(folder, metadata or {})
        self._check_size(version, str(folder))
        digest = version.digest
        bundle = None if key is None else sign(version, name, Path(key))
        for file, stored in version.files.items():
            self._storage.put(blob_key(stored.sha256), folder / file)
        self._storage.put(manifest_key(digest), version.content)
        if bundle is not None:
            self._storage.put(signature_key(name, digest, digest_of(bundle)), bundle)

        @cache
        def check_present() -> None:
            # asked again while others move the alias, it is as young as gc spares
            self._check_present(digest, version)

        def to_this(current: Entry | None) -> AliasTarget | None:
            if current is not None and current.version == digest:
                return None
            check_present()
            under = None if current is None else current.digest
            return AliasTarget(
                version=digest, action="publish", under=under, by=by or this_user(), note=note
            )

        return alias.move(to_this)

    def sign(self, asked: str, key: str | Path) -> Release:
        """Add a signature to a version.

        Args:
            asked: the version.
            key: a private key in PEM; see `isthmus.registry.signatures.sign`.

        Raises:
            RegistryError: if there is no such version.
            InputError: for a file that is no key over P-256.
        """
        name, digest = self._resolved(asked)
        bundle = sign(self._version(digest), name, Path(key))
        self._storage.put(signature_key(name, digest, digest_of(bundle)), bundle)
        return self.show(f"{name}@sha256:{digest}")

    def approve(
        self,
        name: str,
        version: str,
        *,
        by: str | None = None,
        decision: ReviewDecision = "approve",
        reason: str = "",
    ) -> Review:
        """Write what a person decided about a version into the audit log of its name.

        Of each person the last decision counts; a `isthmus.registry.Policy` says how many must
        approve.

        Args:
            name: the name.
            version: its digest, of which the first eight digits will do, or an alias.
            by: who; by default ``ISTHMUS_USER`` or the system's user.
            decision: ``approve``, ``reject`` or ``request changes``.
            reason: why; what is not approved needs one.

        Raises:
            RegistryError: if there is no such version.
            InputError: for another decision, or one without a name or a needed reason.

        Example:
            >>> import tempfile, numpy as np
            >>> from isthmus import artefact
            >>> place = Path(tempfile.mkdtemp())
            >>> registry = Registry.open(place / "registry", create=True)
            >>> artefact.write(place / "m", "table of means", {}, {"mean": np.ones(3)})
            >>> entry = registry.publish(place / "m", "means")
            >>> review = registry.approve("means", entry.version, by="ann", reason="I looked")
            >>> [(review.by, review.decision) for review in registry.reviews("means")]
            [('ann', 'approve')]
        """
        at = version if DIGITS.fullmatch(version) is None else f"sha256:{version}"
        digest = self._resolved(f"{name}@{at}")[1]
        decided, who = checked_decision(decision), this_user() if by is None else by
        if not who.strip():
            raise InputError("nobody is named", where="by", mend="Say who decides")
        if decided != "approve" and not reason.strip():
            raise InputError(
                f"'{decided}' needs a reason", where="reason", mend="Say in a sentence why"
            )

        def following(current: Review | None) -> Review:
            return Review(
                sequence=1 if current is None else current.sequence + 1,
                before=None if current is None else current.digest,
                name=name,
                version=digest,
                decision=decided,
                reason=reason,
                at=now(),
                by=who,
            )

        return reviews_of(self._storage, name).append(following)

    def gc(self, *, older_than: float = _DAY) -> Collected:
        """Remove what no alias's log leads to, as publishes that were killed leave it.

        Args:
            older_than: seconds; what is younger may belong to a publish that is under way.

        Raises:
            InputError: if anything is damaged; nothing is removed then.
        """
        with self._storage.exclusive():
            return collect(self._storage, self._reached(), older_than)

    def _reached(self) -> Iterator[str]:
        """The keys that logs lead to."""
        versions = set[tuple[str, str]]()
        for alias in known_aliases(self._storage):
            for entry in alias.log():
                yield alias.key(entry)
                versions.add((alias.name, entry.version))
        for name in reviewed_names(self._storage):
            log = reviews_of(self._storage, name)
            for review in log.newest_first():
                yield log.key(review.digest)
        for name, digest in sorted(versions):
            for item in self._storage.list(f"signatures/{name}/{digest}"):
                yield item.key
        for digest in sorted({digest for _, digest in versions}):
            yield manifest_key(digest)
            for stored in self._version(digest).files.values():
                yield blob_key(stored.sha256)


def _make(storage: Storage) -> None:
    if not re.match(r"[a-z][a-z0-9+.-]*://", storage.url):
        place = Path(storage.url)
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RegistryError(
                f"no folder can be made here ({error.strerror})", where=storage.url
            ) from error
        if any(
            entry.name not in (_FORMAT, "refs") and ".partial-" not in entry.name
            for entry in place.iterdir()
        ):
            raise RegistryError(
                "the folder holds something else", where=storage.url, mend="Name an empty folder"
            )
    with storage.exclusive(), suppress(FileExistsError):
        storage.swap(_FORMAT, None, RegistryFormat().content)
