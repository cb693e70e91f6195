"""Keys of signers in PEM files: one key over P-256 in each, and what else may stand there."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from isthmus.errors import InputError, missing_extra
from isthmus.inputs import open_input
from isthmus.plain_text import shell_words

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePrivateKey,
        EllipticCurvePublicKey,
    )

__all__ = ["private_key", "public_key"]

_MOST_BYTES = 1 << 14
_PASSWORD = "ISTHMUS_KEY_PASSWORD"
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_MAKE = "Make one: openssl ecparam -name prime256v1 -genkey -noout -out signer.pem"


def private_key(path: Path) -> EllipticCurvePrivateKey:
    """The key that signs; its password, where it has one, is in ``ISTHMUS_KEY_PASSWORD``.

    Raises:
        InputError: saying what stands in the file instead.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise missing_extra("cryptography", "sign", "signing") from error
    text = _read(path)
    kind = _one_key(text, path)
    if not kind.endswith("PRIVATE KEY"):
        raise InputError(
            f"this is a {kind.lower()}, and the private key signs", where=str(path), mend=_MAKE
        )
    password = None
    if kind.startswith("ENCRYPTED") or b"ENCRYPTED" in text:
        password = os.environ.get(_PASSWORD)
        if not password:
            raise InputError("the key has a password", where=str(path), mend=f"Set {_PASSWORD}")
    try:
        key = load_pem_private_key(text, None if password is None else password.encode())
    except Exception as error:  # whatever a parser of keys raises; its words may quote the key
        what = "the private key cannot be read"
        what += "" if password is None else f"; {_PASSWORD} may be that of another key"
        raise InputError(what, where=str(path), mend=_MAKE) from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise _other_curve(path)


def public_key(path: Path) -> EllipticCurvePublicKey:
    """The key that a signature is checked with.

    Raises:
        InputError: saying what stands in the file instead.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError as error:
        raise missing_extra("cryptography", "sign", "checking signatures") from error
    text = _read(path)
    kind, place = _one_key(text, path), shell_words([str(path)])
    if kind.endswith("PRIVATE KEY"):
        raise InputError(
            "this is a private key, which belongs to its signer alone",
            where=str(path),
            mend=f"Write its public key: openssl pkey -in {place} -pubout -out signer.pem",
        )
    if kind == "CERTIFICATE":
        raise InputError(
            "this is a certificate, whose dates and issuers are not looked at here",
            where=str(path),
            mend=f"Write its public key: openssl x509 -in {place} -noout -pubkey -out signer.pem",
        )
    try:
        key = load_pem_public_key(text)
    except Exception as error:
        raise InputError("the public key cannot be read", where=str(path)) from error
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    raise _other_curve(path)


def _read(path: Path) -> bytes:
    try:
        with open_input(path) as file:
            return file.read(_MOST_BYTES)
    except FileNotFoundError as error:
        raise InputError("there is no key here", where=str(path)) from error


def _one_key(text: bytes, path: Path) -> str:
    """What the only key in a file is, as PEM calls it."""
    found = [label.decode() for label in _BLOCK.findall(text)]
    kinds = [kind for kind in found if kind != "EC PARAMETERS"]
    if not kinds:
        raise InputError("this is no key in PEM", where=str(path), mend=_MAKE)
    if len(kinds) > 1:
        raise InputError(
            f"the file holds {len(kinds)} keys or certificates",
            where=str(path),
            mend="Keep one key in a file",
        )
    return kinds[0]


def _other_curve(path: Path) -> InputError:
    return InputError("this is no key over P-256 (prime256v1)", where=str(path), mend=_MAKE)
