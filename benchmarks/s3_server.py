"""A real HTTP server that speaks S3, in a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import contextmanager

from benchmarks.local_server import local_server

__all__ = ["s3_bucket", "s3_server", "s3_settings"]

# one request at a time: moto compares and sets in two steps
_SERVE = """
import sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app))
"""


@contextmanager
def s3_server() -> Generator[str]:
    """Run moto's server; gives its address."""

    def command(port: int) -> list[str]:
        return [sys.executable, "-W", "ignore", "-c", _SERVE, str(port)]

    with local_server(command) as address:
        yield f"http://{address}"


def s3_settings(endpoint: str) -> dict[str, str]:
    """What the environment of a client says."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def s3_bucket() -> str:
    """A new bucket of the server that the environment names."""
    from s3fs import S3FileSystem

    name = f"b{os.urandom(6).hex()}"
    S3FileSystem(skip_instance_cache=True).call_s3("create_bucket", Bucket=name)
    return name
