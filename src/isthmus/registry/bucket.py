"""A registry in a bucket of Amazon S3, or of a server that speaks its protocol.

An alias moves by a conditional put (``If-Match``, ``If-None-Match``), so the server must know them;
there is no lock.  What `isthmus.registry.Registry.gc` spares for its age protects publishes that
are under way.  Credentials and the endpoint come from the environment, as boto finds them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from isthmus.errors import RegistryError, missing_extra
from isthmus.registry.storage import (
    Object,
    StoredObject,
    check_digest,
    missing,
    read_blocks,
    too_large,
)

__all__ = ["Bucket"]

_REFUSED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_ABSENT = {"NoSuchKey", "NotFound", "404"}


class Bucket:
    """Objects under a prefix of a bucket.

    Args:
        place: bucket and prefix, such as ``models/registry``.

    Raises:
        MissingExtraError: without the package s3fs.
    """

    def __init__(self, place: str) -> None:
        try:
            from s3fs import S3FileSystem
        except ImportError as error:
            raise missing_extra("s3fs", "s3", "a registry in a bucket") from error
        self._bucket, _, prefix = place.strip("/").partition("/")
        self._prefix = f"{prefix}/" if prefix else ""
        self.url = f"s3://{place.strip('/')}"
        self._files: Any = S3FileSystem(use_listings_cache=False, skip_instance_cache=True)

    def get(self, key: str, most_bytes: int) -> StoredObject | None:
        """See `Storage.get`."""

        async def fetched() -> StoredObject | None:
            answer = await self._files._call_s3("get_object", **self._named(key))
            async with answer["Body"] as body:
                if answer["ContentLength"] > most_bytes:
                    return None
                return StoredObject(await body.read(), answer["ETag"])

        from fsspec.asyn import sync

        try:
            with self._spoken(key):
                found = cast("StoredObject | None", sync(self._files.loop, fetched))
        except FileNotFoundError:
            return None
        if found is None:
            raise too_large(key, self.url, most_bytes)
        return found

    def open(self, key: str) -> Iterator[bytes]:
        """See `Storage.open`."""
        return read_blocks(
            lambda: self._files.open(self._path(key), "rb"),
            self._spoken(key),
            missing(key, self.url),
        )

    def size(self, key: str) -> int | None:
        """See `Storage.size`."""
        try:
            with self._spoken(key):
                return int(self._files.call_s3("head_object", **self._named(key))["ContentLength"])
        except FileNotFoundError:
            return None

    def put(self, key: str, content: bytes | Path) -> None:
        """See `Storage.put`; what is there already is written again, which makes it young."""
        check_digest(key, content)
        with self._spoken(key):
            if isinstance(content, bytes):
                self._files.call_s3("put_object", **self._named(key), Body=content)
            else:
                self._files.put_file(str(content), self._path(key))

    def swap(self, key: str, tag: str | None, content: bytes) -> bool:
        """See `Storage.swap`."""
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        try:
            with self._spoken(key, refused=FileExistsError):
                self._files.call_s3("put_object", **self._named(key), Body=content, **condition)
        except (FileExistsError, FileNotFoundError):
            return False
        return True

    def list(self, prefix: str) -> Iterator[Object]:
        """See `Storage.list`."""
        now = datetime.now(UTC)
        try:
            with self._spoken(prefix):
                found = self._files.find(self._path(prefix), detail=True)
        except FileNotFoundError:
            return
        start = len(self._path(""))
        for path, told in sorted(found.items()):
            age = (now - told["LastModified"]).total_seconds()
            yield Object(path[start:], int(told["size"]), max(0.0, age))

    def delete(self, key: str) -> None:
        """See `Storage.delete`."""
        with self._spoken(key):
            self._files.call_s3("delete_object", **self._named(key))

    def tidy(self) -> int:
        """See `Storage.tidy`; an upload that ended early left no object."""
        return 0

    def exclusive(self) -> AbstractContextManager[None]:
        """See `Storage.exclusive`; a bucket knows no locks."""
        return nullcontext()

    def _path(self, key: str) -> str:
        return f"{self._bucket}/{self._prefix}{key}"

    def _named(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + key}

    @contextmanager
    def _spoken(self, key: str, refused: type[OSError] | None = None) -> Generator[None]:
        """Let what the server says be one of our errors, or ``FileNotFoundError``."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (OSError, BotoCoreError, ClientError) as error:
            cause = error if isinstance(error, ClientError) else error.__cause__
            code = (
                str(cast(Any, cause).response.get("Error", {}).get("Code"))
                if isinstance(cause, ClientError)
                else ""
            )
            if refused is not None and code in _REFUSED:
                raise refused(key) from error
            if code in _ABSENT or (not code and isinstance(error, FileNotFoundError)):
                raise FileNotFoundError(key) from error
            told = " ".join(str(error).split())[:300]
            raise RegistryError(
                f"the server refuses ({told})",
                where=f"{self.url}/{key}",
                mend="Check the name of the bucket, the endpoint and the credentials",
            ) from error
