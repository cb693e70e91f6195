"""The registry: whatever isthmus saves, kept by version, found by alias, and undone by one call."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from isthmus import artefact
from isthmus.errors import InputError, RegistryError
from isthmus.files import atomic_folder
from isthmus.registry.aliases import (
    Alias,
    Entry,
    Judged,
    Target,
    checked_name,
    known_aliases,
    now,
    this_user,
)
from isthmus.registry.collect import Collected, collect
from isthmus.registry.difference import Difference, difference
from isthmus.registry.documents import MOST_BYTES, Document, digest_of
from isthmus.registry.reviews import (
    Review,
    ReviewDecision,
    checked_decision,
    reviewed_names,
    reviews_of,
)
from isthmus.registry.signatures import MOST_BUNDLE_BYTES, TrustedKeys, sign
from isthmus.registry.storage import Storage, open_storage
from isthmus.registry.version import Version, check_artefact

__all__ = ["LATEST", "Deprecation", "Registry", "Release"]

LATEST = "latest"
"""The alias that `Registry.publish` moves."""

_FORMAT = "registry.json"
_MOST_ARTEFACT_BYTES = 2**36
_MOST_MANIFEST = 16 * 2**20
_SHORTEST_PREFIX = 8
_MOST_BUNDLES = 100
_DAY = 86400.0
_DIGITS = re.compile(rf"[0-9a-f]{{{_SHORTEST_PREFIX},64}}")


class RegistryFormat(Document):
    """What stands at the top of a registry."""

    format: Annotated[int, Field(ge=1, le=1)] = 1


class Deprecation(Document):
    """Why a version is not to be used any more."""

    version: Annotated[str, Field(max_length=64)]
    reason: Annotated[str, Field(min_length=1, max_length=4000)]
    at: Annotated[str, Field(max_length=40)]
    by: Annotated[str, Field(max_length=200)]


@dataclass(frozen=True)
class Release:
    """A version under a name."""

    name: str
    digest: str
    """Of the version, which it names."""
    version: Version
    published: Entry
    """The first move of an alias to it."""
    aliases: tuple[str, ...]
    """Those that point to it now."""
    deprecated: Deprecation | None
    signers: tuple[str, ...]
    """Who of the trusted signed it; nobody where the registry was opened without a list."""

    def as_dict(self) -> dict[str, Any]:
        """The release as JSON."""
        return {
            "name": self.name,
            "version": self.digest,
            "kind": self.version.kind,
            "bytes": self.version.bytes,
            "files": {name: file.sha256 for name, file in self.version.files.items()},
            "metadata": self.version.metadata,
            "published": {
                "at": self.published.at,
                "by": self.published.by,
                "note": self.published.note,
            },
            "aliases": list(self.aliases),
            "deprecated": self.deprecated.reason if self.deprecated else None,
            "signers": list(self.signers),
        }


class Registry:
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

    def __init__(
        self,
        storage: Storage,
        *,
        trust: TrustedKeys | None = None,
        most_bytes: int = _MOST_ARTEFACT_BYTES,
    ) -> None:
        self._storage, self._trust = storage, trust
        self.url = storage.url
        self.most_bytes = most_bytes

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
                    mend="Check the name, or create one",
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

    # ---- bringing and fetching ---------------------------------------------------------------

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
            self._storage.put(_blob(stored.sha256), folder / file)
        self._storage.put(_manifest(digest), version.content)
        if bundle is not None:
            self._storage.put(_signature(name, digest, digest_of(bundle)), bundle)

        def to_this(current: Entry | None) -> Target | None:
            if current is not None and current.version == digest:
                return None
            self._check_present(digest, version)
            under = None if current is None else current.digest
            return Target(
                version=digest, action="publish", under=under, by=by or this_user(), note=note
            )

        return alias.move(to_this)

    def pull(self, asked: str, folder: str | Path) -> Version:
        """Write the artefact of a version to a new folder, whole or not at all.

        Raises:
            RegistryError: if there is no such version, or it is larger than ``most_bytes``.
            InputError: if anything of it is missing or was changed.
            OutputError: as `isthmus.files.atomic_folder`.
        """
        name, digest = self._resolved(asked)
        version = self._version(digest)
        self._check_size(version, f"{self.url}: {name}")
        self._check_signed(name, digest, version)
        with atomic_folder(Path(folder)) as draft:
            for file, stored in version.files.items():
                with (draft / file).open("wb") as opened:
                    for block in self._checked_blocks(stored.sha256, stored.bytes):
                        opened.write(block)
            try:
                check_artefact(draft, version.kind)
            except InputError as error:
                raise InputError(
                    f"this version holds no whole {version.kind} ({error.what})",
                    where=f"{self.url}: {name}@sha256:{digest[:12]}",
                ) from error
        return version

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
        self._storage.put(_signature(name, digest, digest_of(bundle)), bundle)
        return self.show(f"{name}@sha256:{digest}")

    def signatures(self, asked: str) -> list[bytes]:
        """The bundles that sign a version, which other verifiers read too (``model.sig``).

        With a list of trusted keys, those of them alone.

        Raises:
            RegistryError: if there is no such version.
        """
        name, digest = self._resolved(asked)
        bundles = self._bundles(name, digest)
        if self._trust is None:
            return bundles
        version, trust = self._version(digest), self._trust
        return [bundle for bundle in bundles if trust.signer(bundle, version, name) is not None]

    # ---- looking -----------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The names that something was published under."""
        return sorted({alias.name for alias in known_aliases(self._storage)})

    def aliases(self, name: str) -> list[str]:
        """The aliases of a name; none where nothing was published."""
        return [alias.alias for alias in known_aliases(self._storage, name)]

    def list(self, name: str) -> list[Release]:
        """The versions of a name, the oldest first.

        Raises:
            RegistryError: if nothing was published under the name.
            InputError: if anything on the way is damaged.
        """
        first, aliases = self._history(name)
        return [self._release(entry, aliases.get(version, ())) for version, entry in first.items()]

    def show(self, asked: str) -> Release:
        """A version: its files, when and by whom it was published, its aliases.

        Raises:
            RegistryError: if there is no such version.
            InputError: if anything on the way is damaged.
        """
        name, digest = self._resolved(asked)
        first, aliases = self._history(name)
        return self._release(first[digest], aliases.get(digest, ()))

    def log(self, name: str, alias: str) -> list[Entry]:
        """The moves of an alias, the newest first.

        Raises:
            RegistryError: if there is no such alias.
            InputError: if the log is damaged.
        """
        self._current(Alias(self._storage, name, alias))
        return [*Alias(self._storage, name, alias).log()]

    def diff(self, before: str, after: str) -> Difference:
        """What differs between two versions: kind, files, tensors, and the manifest's content.

        Raises:
            RegistryError: if there is no such version.
            InputError: if anything of it is damaged.
        """
        both = [self.show(before).version, self.show(after).version]
        manifests: list[bytes] = []
        for version in both:
            stored = version.files[artefact.MANIFEST]
            if stored.bytes > _MOST_MANIFEST:
                raise InputError("its manifest is larger than any", where=self.url)
            manifests.append(b"".join(self._checked_blocks(stored.sha256, stored.bytes)))
        return difference(both[0], both[1], manifests[0], manifests[1], self.url)

    def verify(self, asked: str | None = None) -> list[Release]:
        """Read every byte of a version, or of all versions, and compare it with its digest.

        Args:
            asked: a version; by default all, and the logs of all aliases.

        Returns:
            The versions that were found whole.

        Raises:
            InputError: for the first thing that is missing or was changed.
            RegistryError: if there is no such version, or nobody who is trusted signed it.
        """
        if asked is not None:
            releases = [self.show(asked)]
        else:
            releases = [release for name in self.names() for release in self.list(name)]
            for name in reviewed_names(self._storage):
                for _ in reviews_of(self._storage, name).newest_first():
                    pass
        seen = set[str]()
        for release in releases:
            self._check_signed(release.name, release.digest, release.version)
            for stored in release.version.files.values():
                if stored.sha256 not in seen:
                    for _ in self._checked_blocks(stored.sha256, stored.bytes):
                        pass
                    seen.add(stored.sha256)
        return releases

    # ---- moving ------------------------------------------------------------------------------

    def promote(
        self,
        asked: str,
        alias: str,
        *,
        expect: str | None = None,
        note: str = "",
        by: str | None = None,
        judged: Judged | None = None,
    ) -> Entry:
        """Move an alias, such as ``production``, to a version.

        Args:
            asked: the version.
            alias: where to; made if there is none.
            expect: refuse unless the alias still points to this version.
            note: why, for the log.
            by: who; by default ``ISTHMUS_USER`` or the system's user.
            judged: what a policy said of it (`isthmus.registry.judge`), kept in the log.

        Returns:
            The newest entry of the alias's log.

        Raises:
            RegistryError: if there is no such version, it is deprecated, the alias has moved, or
                the policy asks for more.
        """
        name, digest = self._resolved(asked)
        version, deprecated = self._version(digest), self._deprecation(name, digest)
        if alias == LATEST:
            raise RegistryError(
                f"'{LATEST}' is what was published last", where=asked, mend="Name another alias"
            )
        if deprecated is not None:
            raise RegistryError(f"this version is deprecated ({deprecated.reason})", where=asked)
        self._check_signed(name, digest, version)
        if judged is not None:
            _refuse_unless_held(judged, alias, digest, asked)
        wanted = None if expect is None else self._resolved(expect)[1]
        moved = Alias(self._storage, name, alias)

        def to_this(current: Entry | None) -> Target | None:
            if wanted is not None and (current is None or current.version != wanted):
                found = "nothing" if current is None else current.version[:12]
                raise RegistryError(
                    f"it points to {found}, expected {wanted[:12]}",
                    where=moved.where,
                    mend="Look at what changed",
                )
            if current is not None and current.version == digest:
                return None
            self._check_present(digest, version)
            under = None if current is None else current.digest
            return Target(
                version=digest,
                action="promote",
                under=under,
                by=by or this_user(),
                note=note,
                judged=judged,
            )

        return moved.move(to_this)

    def rollback(self, name: str, alias: str, *, note: str = "", by: str | None = None) -> Entry:
        """Move an alias back to the version that it had before; again goes back further.

        Versions that were deprecated meanwhile are passed over.  The log keeps every move.

        Args:
            name: the name.
            alias: the alias.
            note: why, for the log.
            by: who; by default ``ISTHMUS_USER`` or the system's user.

        Raises:
            RegistryError: if there is no such alias, nothing to go back to, or somebody else moved
                it at the same moment.
        """
        moved = Alias(self._storage, name, alias)
        started = self._current(moved)

        def back(current: Entry | None) -> Target | None:
            if current is None or current.digest != started.digest:
                raise RegistryError(
                    "somebody else moved it at the same moment",
                    where=moved.where,
                    mend="Look at the log, and roll back again if that is still right",
                )
            below = current.under
            while below is not None:
                former = moved.entry(below)
                if (
                    former.version != current.version
                    and self._deprecation(name, former.version) is None
                ):
                    version = self._version(former.version)
                    self._check_signed(name, former.version, version)
                    self._check_present(former.version, version)
                    return Target(
                        version=former.version,
                        action="rollback",
                        under=former.under,
                        by=by or this_user(),
                        note=note,
                    )
                below = former.under
            raise RegistryError("there is no version to go back to", where=moved.where)

        return moved.move(back)

    def deprecate(self, asked: str, reason: str, *, by: str | None = None) -> Release:
        """Say that a version is not to be used any more: no alias moves to it from now on.

        It can still be pulled; an alias that points to it stays where it is.

        Raises:
            RegistryError: if there is no such version.
        """
        release = self.show(asked)
        key = f"deprecated/{release.name}/{release.digest}"
        while True:
            with self._storage.exclusive():
                held = self._storage.get(key, MOST_BYTES)
                stated = Deprecation(
                    version=release.digest, reason=reason, at=now(), by=by or this_user()
                )
                if self._storage.swap(key, None if held is None else held.tag, stated.content):
                    return self.show(f"{release.name}@sha256:{release.digest}")

    # ---- deciding ----------------------------------------------------------------------------

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
        at = version if _DIGITS.fullmatch(version) is None else f"sha256:{version}"
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

    def reviews(self, asked: str) -> list[Review]:
        """What people decided about a version, the newest first.

        Raises:
            RegistryError: if there is no such version.
            InputError: if the audit log is damaged.
        """
        name, digest = self._resolved(asked)
        log = reviews_of(self._storage, name).newest_first()
        return [review for review in log if review.version == digest]

    def gc(self, *, older_than: float = _DAY) -> Collected:
        """Remove what no alias's log leads to, as publishes that were killed leave it.

        Args:
            older_than: seconds; what is younger may belong to a publish that is under way.

        Raises:
            InputError: if anything is damaged; nothing is removed then.
        """
        with self._storage.exclusive():
            return collect(self._storage, self._reached(), older_than)

    # ---- within ------------------------------------------------------------------------------

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
            yield _manifest(digest)
            for stored in self._version(digest).files.values():
                yield _blob(stored.sha256)

    def _history(self, name: str) -> tuple[dict[str, Entry], dict[str, tuple[str, ...]]]:
        """Of every version its first entry, the oldest first; and the aliases that point to it."""
        entries: list[Entry] = []
        aliases = dict[str, tuple[str, ...]]()
        for alias in known_aliases(self._storage, name):
            log = [*alias.log()]
            entries += log
            if log:
                aliases[log[0].version] = (*aliases.get(log[0].version, ()), alias.alias)
        if not entries:
            raise self._unknown(name)
        first = dict[str, Entry]()
        for entry in sorted(entries, key=_order):
            first.setdefault(entry.version, entry)
        return first, aliases

    def _release(self, entry: Entry, aliases: tuple[str, ...]) -> Release:
        version = self._version(entry.version)
        return Release(
            entry.name,
            entry.version,
            version,
            entry,
            aliases,
            self._deprecation(entry.name, entry.version),
            self._signers(entry.name, entry.version, version),
        )

    def _resolved(self, asked: str) -> tuple[str, str]:
        """The name and the digest of the version that is asked for."""
        name, at, which = asked.partition("@")
        checked_name(name)
        if not at:
            which = LATEST
        if not which.startswith("sha256:"):
            return name, self._current(Alias(self._storage, name, which)).version
        digits = which.removeprefix("sha256:")
        if _DIGITS.fullmatch(digits) is None:
            raise InputError(
                f"a version is {_SHORTEST_PREFIX} to 64 hexadecimal digits", where=asked[:200]
            )
        found = [version for version in self._history(name)[0] if version.startswith(digits)]
        if len(found) == 1:
            return name, found[0]
        what = "several versions begin so" if found else "there is no such version"
        raise RegistryError(what, where=f"{self.url}: {asked}", mend=f"See: isthmus list {name}")

    def _current(self, alias: Alias) -> Entry:
        entry = alias.current()
        if entry is not None:
            return entry
        known = [a.alias for a in known_aliases(self._storage, alias.name)]
        if not known:
            raise self._unknown(alias.name)
        raise RegistryError(
            f"there is no such alias (there are {', '.join(known)})", where=alias.where
        )

    def _unknown(self, name: str) -> RegistryError:
        return RegistryError(
            f"nothing was published as '{name}'", where=self.url, mend="See: isthmus list"
        )

    def _version(self, digest: str) -> Version:
        key = _manifest(digest)
        held = self._storage.get(key, MOST_BYTES)
        where = f"{self.url}/{key}"
        if held is None:
            raise InputError("the manifest of a version is missing", where=where)
        if digest_of(held.content) != digest:
            raise InputError("the manifest of a version was changed", where=where)
        return Version.parsed(held.content, where)

    def _bundles(self, name: str, digest: str) -> list[bytes]:
        """The signatures of a version, at most a hundred; what is no signature is passed over."""
        found: list[bytes] = []
        for item in self._storage.list(f"signatures/{name}/{digest}"):
            if item.bytes <= MOST_BUNDLE_BYTES and len(found) < _MOST_BUNDLES:
                held = self._storage.get(item.key, MOST_BUNDLE_BYTES)
                found += [] if held is None else [held.content]
        return found

    def _signers(self, name: str, digest: str, version: Version) -> tuple[str, ...]:
        """Who of the trusted signed a version."""
        if self._trust is None:
            return ()
        signers = {self._trust.signer(b, version, name) for b in self._bundles(name, digest)}
        return tuple(sorted(signer for signer in signers if signer is not None))

    def _check_signed(self, name: str, digest: str, version: Version) -> None:
        if self._trust is not None and not self._signers(name, digest, version):
            raise RegistryError(
                f"nobody whose key lies in {self._trust.where} signed this version",
                where=f"{self.url}: {name}@sha256:{digest[:12]}",
                mend="Have it signed (isthmus sign), or add the signer's public key",
            )

    def _deprecation(self, name: str, digest: str) -> Deprecation | None:
        key = f"deprecated/{name}/{digest}"
        held = self._storage.get(key, MOST_BYTES)
        return None if held is None else Deprecation.parsed(held.content, f"{self.url}/{key}")

    def _check_present(self, digest: str, version: Version) -> None:
        """Refuse to point an alias to what is not there, whole."""
        sizes = {_manifest(digest): len(version.content)}
        sizes |= {_blob(stored.sha256): stored.bytes for stored in version.files.values()}
        for key, size in sizes.items():
            if self._storage.size(key) != size:
                raise InputError(
                    "it is missing from the registry, or not whole",
                    where=f"{self.url}/{key}",
                    mend="Publish the artefact again",
                )

    def _check_size(self, version: Version, where: str) -> None:
        if version.bytes > self.most_bytes:
            raise RegistryError(
                f"it has {version.bytes:,} bytes, and {self.most_bytes:,} at the most", where=where
            )

    def _checked_blocks(self, digest: str, size: int) -> Iterator[bytes]:
        """The content of a blob; an error at its end, or as soon as it is too long."""
        found, taken = hashlib.sha256(), 0
        for block in self._storage.open(_blob(digest)):
            taken += len(block)
            if taken > size:
                break
            found.update(block)
            yield block
        if taken != size or found.hexdigest() != digest:
            raise InputError(
                "a file of the registry was changed after it was written",
                where=f"{self.url}/{_blob(digest)}",
                mend="Publish the artefact again",
            )


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


def _refuse_unless_held(judged: Judged, alias: str, digest: str, where: str) -> None:
    if (judged.stage, judged.version) != (alias, digest):
        raise RegistryError(
            f"{judged.version[:12]} was judged for '{judged.stage}', and not {digest[:12]} for "
            f"'{alias}'",
            where=where,
        )
    failed = [f"{f.condition} (found {f.found})" for f in judged.conditions if not f.passed]
    if failed:
        raise RegistryError(f"the stage '{alias}' asks for more: {'; '.join(failed)}", where=where)


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _manifest(digest: str) -> str:
    return f"manifests/sha256/{digest}"


def _signature(name: str, version: str, digest: str) -> str:
    return f"signatures/{name}/{version}/{digest}"


def _order(entry: Entry) -> tuple[bool, int, str]:
    # publishes, in the order of the log, come before what was made of them
    return entry.alias != LATEST, entry.sequence, entry.alias
