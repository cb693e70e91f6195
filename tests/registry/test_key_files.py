"""A key is read as it is written anywhere; what stands in its place is called by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from isthmus.errors import InputError
from isthmus.registry.key_files import private_key, public_key

KEY = ec.generate_private_key(ec.SECP256R1())
PEM = serialization.Encoding.PEM
NO_PASSWORD = serialization.NoEncryption()
PRIVATE = KEY.private_bytes(PEM, serialization.PrivateFormat.PKCS8, NO_PASSWORD)
SEC1 = KEY.private_bytes(PEM, serialization.PrivateFormat.TraditionalOpenSSL, NO_PASSWORD)
LOCKED, LOCKED_SEC1 = (
    KEY.private_bytes(PEM, form, serialization.BestAvailableEncryption(b"open sesame"))
    for form in (serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL)
)
PUBLIC = KEY.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
CERTIFICATE = PUBLIC.replace(b"PUBLIC KEY", b"CERTIFICATE")
PARAMETERS = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"


def _file(folder: Path, content: bytes) -> Path:
    place = folder / "a key.pem"
    place.write_bytes(content)
    return place


@pytest.mark.parametrize(
    "content",
    [PRIVATE, SEC1, PARAMETERS + SEC1, PRIVATE.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + PRIVATE,
     b"Bag Attributes\n  friendlyName: x\n" + PRIVATE, LOCKED, LOCKED_SEC1],
)  # fmt: skip
def test_a_private_key_is_read(
    tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the password of one key does not spoil those without
    monkeypatch.setenv("ISTHMUS_KEY_PASSWORD", "open sesame")
    assert private_key(_file(tmp_path, content)).private_numbers() == KEY.private_numbers()


@pytest.mark.parametrize("content", [PUBLIC, PUBLIC.replace(b"\n", b"\r\n"), PUBLIC + b"\nann\n"])
def test_a_public_key_is_read(tmp_path: Path, content: bytes) -> None:
    read = public_key(_file(tmp_path, content))
    assert read.public_numbers() == KEY.public_key().public_numbers()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (PUBLIC, "a public key, and the private key signs"),
        (CERTIFICATE, "a certificate, and the private key signs"),
        (LOCKED, "has a password. Set ISTHMUS_KEY_PASSWORD"),
        (PRIVATE[:-60], "cannot be read"),
        (PRIVATE + SEC1, "holds 2 keys"),
        (b"", "no key in PEM"),
        (PRIVATE.decode().encode("utf-16"), "no key in PEM"),
    ],
)
def test_what_does_not_sign(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        private_key(_file(tmp_path, content))


def test_another_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_KEY_PASSWORD", "sesame")
    with pytest.raises(InputError, match="may be that of another key") as raised:
        private_key(_file(tmp_path, LOCKED))
    assert "sesame" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (PRIVATE, r"openssl pkey -in '\S*/a key.pem' -pubout"),
        (LOCKED, "belongs to its signer alone"),
        (CERTIFICATE, "a certificate"),
        (PUBLIC + PUBLIC, "holds 2 keys"),
        (PUBLIC[:-60], "cannot be read"),
        (b"ssh-ed25519 AAAA ann", "no key in PEM"),
    ],
)
def test_what_is_no_public_key(tmp_path: Path, content: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        public_key(_file(tmp_path, content))
