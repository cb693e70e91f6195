"""What commands that read or change a registry are asked with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

__all__ = [
    "AliasName",
    "At",
    "KeyOption",
    "Name",
    "Note",
    "OptionalKey",
    "Trusted",
    "VersionAsked",
    "registry_option",
]


def registry_option(panel: str | None = None) -> Any:
    """``--registry``, shown in a panel of the help text."""
    return typer.Option(
        "--registry",
        "-r",
        metavar="URL",
        envvar="ISTHMUS_REGISTRY",
        rich_help_panel=panel,
        help="The registry: a folder, s3://bucket/prefix or gs://bucket/prefix; other URLs of "
        "fsspec are read, and not written.",
        show_default=False,
    )


At = Annotated[str, registry_option()]
VersionAsked = Annotated[
    str,
    typer.Argument(
        metavar="VERSION",
        help="NAME (what was published last), NAME@ALIAS or NAME@sha256:DIGITS.",
        show_default=False,
    ),
]
Name = Annotated[
    str,
    typer.Argument(metavar="NAME", help="What it was published as.", show_default=False),
]
AliasName = Annotated[
    str,
    typer.Argument(metavar="ALIAS", help="Such as staging or production.", show_default=False),
]
_KEY = typer.Option(
    "--key",
    metavar="PEM",
    envvar="ISTHMUS_KEY",
    help="A private key over P-256, to sign with; its password is read from ISTHMUS_KEY_PASSWORD.",
    show_default=False,
)
KeyOption = Annotated[Path, _KEY]
OptionalKey = Annotated[Path | None, _KEY]
Trusted = Annotated[
    Path | None,
    typer.Option(
        "--trust",
        metavar="FOLDER",
        envvar="ISTHMUS_TRUST",
        help="Public keys, SIGNER.pem each: what none of them signed is refused.",
        show_default=False,
    ),
]
Note = Annotated[str, typer.Option("--note", "-m", help="Why, for the log.")]
