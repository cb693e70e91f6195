"""A registry in a bucket of Google Cloud Storage, or of a server that speaks its protocol.

An alias moves by a write on condition of the object's generation (``ifGenerationMatch``); there is
no lock.  Credentials come from the environment, as Google's own client finds them
(``GOOGLE_APPLICATION_CREDENTIALS``); with ``STORAGE_EMULATOR_HOST`` a server is asked without any.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from isthmus.errors import RegistryError, missing_extra
from isthmus.registry.storage import (
    Object,
    StoredObject,
    check_digest,
    missing,
    read_blocks,
    too_large,
)

__all__ = ["GoogleBucket"]

_EMULATOR = "STORAGE_EMULATOR_HOST"
_ABSENT, _REFUSED = 404, 412


class GoogleBucket:
    """Objects under a prefix of a bucket.

    Args:
        place: bucket and prefix, such as ``models/registry``.

    Raises:
        MissingExtraError: without the package google-cloud-storage.
        RegistryError: without credentials.
    """

    def __init__(self, place: str) -> None:
        try:
            from google.auth.credentials import AnonymousCredentials
            from google.auth.exceptions import GoogleAuthError
            from google.cloud.storage import Client
        except ImportError as error:
            raise missing_extra("google-cloud-storage", "gcs", "a registry in a bucket") from error
        bucket, _, prefix = place.strip("/").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"gs://{place.strip('/')}"
        local: Any = {"project": "local", "credentials": AnonymousCredentials()}
        try:
            self._client: Any = Client(**(local if os.environ.get(_EMULATOR) else {}))
        except (GoogleAuthError, OSError) as error:
            told = " ".join(str(error).split())[:200]
            raise RegistryError(
                f"there are no credentials for it ({told})",
                where=self.url,
                mend="Set GOOGLE_APPLICATION_CREDENTIALS",
            ) from error
        self._bucket: Any = self._client.bucket(bucket)

    def get(self, key: str, most_bytes: int) -> StoredObject | None:
        """See `Storage.get`."""
        try:
            with self._spoken(key):
                blob = self._bucket.get_blob(self._prefix + key)
                if blob is None:
                    return None
                if blob.size > most_bytes:
                    raise too_large(key, self.url, most_bytes)
                # of this generation, whatever another writer does meanwhile
                at = self._bucket.blob(blob.name, generation=blob.generation)
                return StoredObject(at.download_as_bytes(), str(blob.generation))
        except FileNotFoundError:
            # replaced between the two questions
            return self.get(key, most_bytes)

    def open(self, key: str) -> Iterator[bytes]:
        """See `Storage.open`."""
        return read_blocks(
            lambda: self._blob(key).open("rb"), self._spoken(key), missing(key, self.url)
        )

    def size(self, key: str) -> int | None:
        """See `Storage.size`."""
        with self._spoken(key):
            blob = self._bucket.get_blob(self._prefix + key)
        return None if blob is None else int(blob.size)

    def put(self, key: str, content: bytes | Path) -> None:
        """See `Storage.put`; what is there already is written again, which makes it young."""
        check_digest(key, content)
        with self._spoken(key):
            if isinstance(content, bytes):
                self._blob(key).upload_from_string(content)
            else:
                self._blob(key).upload_from_filename(str(content))

    def swap(self, key: str, tag: str | None, content: bytes) -> bool:
        """See `Storage.swap`."""
        generation = 0 if tag is None else int(tag)
        try:
            with self._spoken(key, refused=True):
                self._blob(key).upload_from_string(content, if_generation_match=generation)
        except (FileExistsError, FileNotFoundError):
            return False
        return True

    def list(self, prefix: str) -> Iterator[Object]:
        """See `Storage.list`."""
        now = datetime.now(UTC)
        with self._spoken(prefix):
            found = [*self._client.list_blobs(self._bucket, prefix=f"{self._prefix}{prefix}/")]
        for blob in sorted(found, key=lambda blob: blob.name):
            age = max(0.0, (now - blob.updated).total_seconds())
            yield Object(blob.name[len(self._prefix) :], int(blob.size), age)

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        try:
            with self._spoken(key):
                self._blob(key).delete()
        except FileNotFoundError:
            return

    def tidy(self) -> int:
        """See `Storage.tidy`; an upload that ended early left no object."""
        return 0

    def exclusive(self) -> AbstractContextManager[None]:
        """See `Storage.exclusive`; a bucket knows no locks."""
        return nullcontext()

    def _blob(self, key: str) -> Any:
        return self._bucket.blob(self._prefix + key)

    @contextmanager
    def _spoken(self, key: str, *, refused: bool = False) -> Generator[None]:
        """Let what the server says be our error, ``FileNotFoundError`` or ``FileExistsError``."""
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        try:
            yield
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            code = getattr(error, "code", None)
            if code == _ABSENT and "bucket" not in str(error).lower():
                raise FileNotFoundError(key) from error
            if refused and code == _REFUSED:
                raise FileExistsError(key) from error
            told = " ".join(str(error).split())[:300]
            raise RegistryError(
                f"the server refuses ({told})",
                where=f"{self.url}/{key}",
                mend="Check the name of the bucket and the credentials",
            ) from error
