"""Reading a registry: what is there, whether it is whole, and bringing it out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from isthmus import artefact
from isthmus.errors import InputError, RegistryError
from isthmus.files import atomic_folder
from isthmus.plain_text import shell_words
from isthmus.registry.aliases import Alias, Entry, checked_name, known_aliases
from isthmus.registry.difference import Difference, difference
from isthmus.registry.documents import MOST_BYTES, digest_of
from isthmus.registry.release import Deprecation, Release, blob_key, manifest_key
from isthmus.registry.reviews import Review, reviewed_names, reviews_of
from isthmus.registry.signatures import MOST_BUNDLE_BYTES, TrustedKeys
from isthmus.registry.storage import Storage
from isthmus.registry.version import Version, check_artefact

__all__ = ["DIGITS", "LATEST", "Reading"]

LATEST = "latest"
"""The alias that `isthmus.registry.Registry.publish` moves."""

_MOST_ARTEFACT_BYTES = 2**36
_MOST_MANIFEST = 16 * 2**20
_SHORTEST_PREFIX = 8
_MOST_BUNDLES = 100
DIGITS = re.compile(rf"[0-9a-f]{{{_SHORTEST_PREFIX},64}}")
"""The beginning of a version's digest."""


class Reading:
    """What `isthmus.registry.Registry` does without writing anything to it."""

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
            stored = version.files[artefact.manifest_name(version.kind)]
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

    def pull(self, asked: str, folder: str | Path, *, overwrite: bool = False) -> Version:
        """Write the artefact of a version to a folder, whole or not at all.

        Args:
            asked: the version.
            folder: where.
            overwrite: replace an artefact of the same kind.

        Raises:
            RegistryError: if there is no such version, or it is larger than ``most_bytes``.
            InputError: if anything of it is missing or was changed.
            OutputError: as `isthmus.files.atomic_folder`, and where something else would be lost.
        """
        place = Path(folder)
        name, digest = self._resolved(asked)
        version = self._version(digest)
        artefact.check_place(place, version.kind, overwrite=overwrite)
        self._check_size(version, f"{self.url}: {name}")
        self._check_signed(name, digest, version)
        with atomic_folder(
            place, overwrite=overwrite, check=lambda p: artefact.check_own(p, version.kind)
        ) as draft:
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

    def reviews(self, asked: str) -> list[Review]:
        """What people decided about a version, the newest first.

        Raises:
            RegistryError: if there is no such version.
            InputError: if the audit log is damaged.
        """
        name, digest = self._resolved(asked)
        log = reviews_of(self._storage, name).newest_first()
        return [review for review in log if review.version == digest]

    # ---- within ------------------------------------------------------------------------------

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
        if DIGITS.fullmatch(digits) is None:
            raise InputError(
                f"a version is {_SHORTEST_PREFIX} to 64 hexadecimal digits", where=asked[:200]
            )
        found = [version for version in self._history(name)[0] if version.startswith(digits)]
        if len(found) == 1:
            return name, found[0]
        what = "several versions begin so" if found else "there is no such version"
        raise RegistryError(
            what,
            where=f"{self.url}: {asked}",
            mend=f"See: isthmus list {shell_words([name, '-r', self.url])}",
        )

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
            f"nothing was published as '{name}'",
            where=self.url,
            mend=f"See: isthmus list {shell_words(['-r', self.url])}",
        )

    def _version(self, digest: str) -> Version:
        key = manifest_key(digest)
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
        sizes = {manifest_key(digest): len(version.content)}
        sizes |= {blob_key(stored.sha256): stored.bytes for stored in version.files.values()}
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
        for block in self._storage.open(blob_key(digest)):
            taken += len(block)
            if taken > size:
                break
            found.update(block)
            yield block
        if taken != size or found.hexdigest() != digest:
            raise InputError(
                "a file of the registry was changed after it was written",
                where=f"{self.url}/{blob_key(digest)}",
                mend="Publish the artefact again",
            )


def _order(entry: Entry) -> tuple[bool, int, str]:
    # publishes, in the order of the log, come before what was made of them
    return entry.alias != LATEST, entry.sequence, entry.alias
