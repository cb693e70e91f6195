"""Signatures of versions, in the bundle format of OpenSSF Model Signing 1.0.

A bundle is a DSSE envelope over an in-toto statement that lists the SHA-256 of every file, signed
by ECDSA over P-256; the verifier of the package ``model-signing`` reads it too.  Beside the files,
ours states the version, which binds its metadata.

Sources: https://github.com/secure-systems-lab/dsse (v1.0.2), https://in-toto.io/Statement/v1,
https://github.com/sigstore/model-transparency.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from isthmus.errors import InputError, missing_extra
from isthmus.files import canonical_json
from isthmus.registry.key_files import private_key, public_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import (
        EllipticCurvePublicKey,
    )

    from isthmus.registry.version import Version

__all__ = ["MOST_BUNDLE_BYTES", "TrustedKeys", "sign"]

MOST_BUNDLE_BYTES = 1 << 16
_MOST_SIGNERS = 1000

_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"


def sign(version: Version, name: str, key: Path) -> bytes:
    """The bundle that signs a version of a name.

    Args:
        version: what is signed.
        name: what it is published as.
        key: a private key over P-256 in PEM; its password, where it has one, is in the environment
            as ``ISTHMUS_KEY_PASSWORD``.

    Raises:
        MissingExtraError: without the package cryptography.
        InputError: for a file that is no such key.
    """
    private = private_key(key)
    try:
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256
    except ImportError as error:
        raise missing_extra("cryptography", "sign", "signing") from error
    payload = canonical_json(_statement(version, name)).encode()
    bundle = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {
            "publicKey": {"hint": _hint(private.public_key())},
            "tlogEntries": [],
        },
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [
                {
                    "sig": base64.b64encode(
                        private.sign(_signed(payload), ECDSA(SHA256()))
                    ).decode(),
                    "keyid": "",
                }
            ],
        },
    }
    return canonical_json(bundle).encode() + b"\n"


class TrustedKeys:
    """Whose signatures count: a folder of public keys, ``<signer>.pem`` each.

    It belongs to who reads a registry, and lies outside of it: whoever can write to a registry
    could add a key to a list that lies there.

    Raises:
        InputError: for a folder without keys, or with a file that is none.
        MissingExtraError: without the package cryptography.
    """

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        try:
            files = sorted(path for path in folder.iterdir() if path.suffix == ".pem")
        except OSError as error:
            raise InputError(
                f"the trusted keys cannot be read ({error.strerror})", where=self.where
            ) from error
        if not 1 <= len(files) <= _MOST_SIGNERS:
            raise InputError(
                f"the folder holds {len(files)} files SIGNER.pem, expected 1 to {_MOST_SIGNERS}",
                where=self.where,
            )
        self._keys = {path.stem: public_key(path) for path in files}

    def signer(self, bundle: bytes, version: Version, name: str) -> str | None:
        """Who of the trusted signed this version under this name by a bundle; None for nobody."""
        try:
            envelope, hint = _envelope(bundle)
            payload = base64.b64decode(envelope["payload"], validate=True)
            signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
            stated = json.loads(payload)
        except (ValueError, KeyError, IndexError, TypeError, RecursionError):
            return None
        expected = _statement(version, name)
        if envelope.get("payloadType") != _PAYLOAD_TYPE or stated != expected:
            return None
        for signer, key in self._keys.items():
            if hint == _hint(key) and _verified(key, signature, _signed(payload)):
                return signer
        return None


def _statement(version: Version, name: str) -> dict[str, Any]:
    """What is signed: the files by their SHA-256, in the order of their names."""
    files = sorted(version.files.items())
    root = hashlib.sha256(b"".join(bytes.fromhex(file.sha256) for _, file in files))
    return {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": root.hexdigest()}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [],
            },
            "resources": [
                {"name": file_name, "algorithm": "sha256", "digest": file.sha256}
                for file_name, file in files
            ],
            "isthmus_version": version.digest,
        },
    }


def _signed(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding: the bytes that the signature is of."""
    return f"DSSEv1 {len(_PAYLOAD_TYPE)} {_PAYLOAD_TYPE} {len(payload)} ".encode() + payload


def _envelope(bundle: bytes) -> tuple[dict[str, Any], Any]:
    if len(bundle) > MOST_BUNDLE_BYTES:
        raise ValueError("too long")
    told: Any = json.loads(bundle)
    if told["mediaType"] != _MEDIA_TYPE or len(told["dsseEnvelope"]["signatures"]) != 1:
        raise ValueError("another kind of bundle")
    return cast("dict[str, Any]", told["dsseEnvelope"]), told["verificationMaterial"]["publicKey"][
        "hint"
    ]


def _hint(key: EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    text = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(text).hexdigest()


def _verified(key: EllipticCurvePublicKey, signature: bytes, content: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(signature, content, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True
