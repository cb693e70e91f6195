"""Changes of tables and views that applications use, which wait for a lock a moment at a time.

Who waits for the exclusive lock of a table stops everybody who comes behind, readers too, until
those who hold it have ended: an open transaction of somebody else would stop the application for as
long as it lasts.  So a change waits a tenth of a second, gives way, and tries again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, LiteralString, TypeVar

from isthmus.errors import StoreUnavailableError
from isthmus.stores.pgvector.connections import Connections

__all__ = ["changed"]

T = TypeVar("T")

_WAIT: LiteralString = "set local lock_timeout = '100ms'"
_PATIENCE_S = 30.0
_PAUSES_S = (0.1, 0.2, 0.4, 0.8)
"""Between tries, the last again and again."""
_IN_THE_WAY = """
select format('process %s (%s, %s) since %s s', pid,
  coalesce(nullif(application_name, ''), usename), state,
  round(extract(epoch from now() - xact_start)))
from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
  and xact_start is not null and backend_type = 'client backend' order by xact_start limit 1
"""


def changed(connections: Connections, change: Callable[[Any], T], where: str) -> T:
    """What ``change`` returns, which gets a connection in a transaction of its own.

    It runs anew after each lock that it did not get in time, and after a deadlock.

    Raises:
        StoreUnavailableError: after 30 seconds; nothing was changed.
    """
    from psycopg import errors

    given_up = time.monotonic() + _PATIENCE_S
    tries = 0
    while True:
        with connections.lend() as connection:
            try:
                with connection.transaction():
                    connection.execute(_WAIT)
                    return change(connection)
            except (errors.LockNotAvailable, errors.DeadlockDetected):
                if time.monotonic() >= given_up:
                    raise _locked(connection, where) from None
        time.sleep(_PAUSES_S[min(tries, len(_PAUSES_S) - 1)])
        tries += 1


def _locked(connection: Any, where: str) -> StoreUnavailableError:
    found = connection.execute(_IN_THE_WAY).fetchone()
    oldest = "" if found is None else f"; the oldest open transaction is that of {found[0]}"
    return StoreUnavailableError(
        f"other transactions hold the table or the view since {_PATIENCE_S:.0f} s, and nothing was "
        f"changed{oldest}",
        where=where,
        mend="End them, or wait until they have ended, and give the same command again",
    )
