"""Moving aliases: promote, roll back, and say what is not to be used any more."""

from __future__ import annotations

from isthmus.errors import RegistryError
from isthmus.registry.aliases import Alias, AliasTarget, Entry, Judged, now, this_user
from isthmus.registry.documents import MOST_BYTES
from isthmus.registry.reading import LATEST, Reading
from isthmus.registry.release import Deprecation, Release

__all__ = ["Moving"]


class Moving(Reading):
    """How the aliases of a `isthmus.registry.Registry` move."""

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

        def to_this(current: Entry | None) -> AliasTarget | None:
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
            return AliasTarget(
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

        def back(current: Entry | None) -> AliasTarget | None:
            if current is None or current.digest != started.digest:
                raise RegistryError(
                    "somebody else moved it at the same moment",
                    where=moved.where,
                    mend="Look at the log, and roll back again if that is still right",
                )
            below, deprecated = current.under, list[str]()
            while below is not None:
                former = moved.entry(below)
                if self._deprecation(name, former.version) is not None:
                    deprecated.append(former.version[:12])
                elif former.version != current.version:
                    version = self._version(former.version)
                    self._check_signed(name, former.version, version)
                    self._check_present(former.version, version)
                    return AliasTarget(
                        version=former.version,
                        action="rollback",
                        under=former.under,
                        by=by or this_user(),
                        note=note,
                    )
                below = former.under
            told = f" but what is deprecated ({', '.join(deprecated[:3])})" if deprecated else ""
            raise RegistryError(f"there is no version to go back to{told}", where=moved.where)

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
