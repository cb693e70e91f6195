"""Signatures: the official verifier takes ours, and what is unsigned or changed is refused."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from isthmus.errors import InputError, RegistryError
from isthmus.registry import Registry

from .conftest import Make, number_in


def keep(place: Path, key: ec.EllipticCurvePrivateKey, password: bytes | None = None) -> Path:
    encryption = (
        serialization.BestAvailableEncryption(password)
        if password
        else serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    place.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, encryption))
    return place


def public(place: Path, key: ec.EllipticCurvePrivateKey) -> Path:
    place.parent.mkdir(exist_ok=True)
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    place.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, kind))
    return place


@pytest.fixture(scope="module")
def ann() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def eve() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def key(ann: ec.EllipticCurvePrivateKey, tmp_path: Path) -> Path:
    return keep(tmp_path / "ann.key", ann)


@pytest.fixture
def trusting(registry: Registry, ann: ec.EllipticCurvePrivateKey, tmp_path: Path) -> Registry:
    public(tmp_path / "trust" / "ann.pem", ann)
    return Registry.open(registry.url, trust=tmp_path / "trust")


def test_signed_versions_are_given(
    trusting: Registry, make: Make, key: Path, tmp_path: Path
) -> None:
    trusting.publish(make(1), "table", key=key)
    assert [release.signers for release in trusting.verify()] == [("ann",)]
    trusting.pull("table", tmp_path / "out")
    assert number_in(tmp_path / "out") == 1
    trusting.promote("table", "production")
    assert trusting.gc(older_than=0).objects == 0
    assert len(trusting.signatures("table")) == 1


def test_unsigned_versions_are_refused(
    registry: Registry,
    trusting: Registry,
    make: Make,
    key: Path,
    eve: ec.EllipticCurvePrivateKey,
    tmp_path: Path,
) -> None:
    signed = trusting.publish(make(0), "table", key=key).version
    registry.publish(make(1), "table")
    registry.sign("table", keep(tmp_path / "eve.key", eve))
    registry.promote("table", "canary")
    registry.promote(f"table@sha256:{signed}", "canary")
    assert len(registry.signatures("table")) == 1
    assert trusting.signatures("table") == []
    refused = "nobody whose key lies in .*trust signed this version"
    with pytest.raises(RegistryError, match=refused):
        trusting.pull("table", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for again in (
        lambda: trusting.promote("table", "production"),
        lambda: trusting.rollback("table", "canary"),
        lambda: trusting.verify("table"),
        trusting.verify,
    ):
        with pytest.raises(RegistryError, match=refused):
            again()
    assert trusting.show("table").signers == ()
    assert trusting.sign("table", key).signers == ("ann",)
    assert trusting.rollback("table", "canary").version != signed
    trusting.pull("table", tmp_path / "out")


def test_a_signature_is_of_one_version_of_one_name(
    registry: Registry, trusting: Registry, make: Make, key: Path, tmp_path: Path
) -> None:
    one = trusting.publish(make(1), "table", key=key).version
    (bundle,) = trusting.signatures("table")
    root = Path(registry.url)
    two = registry.publish(make(2), "table").version
    with_metadata = registry.publish(
        tmp_path / "artefact-1", "table", metadata={"approved": "yes"}
    ).version
    registry.publish(tmp_path / "artefact-1", "other")
    for name, version in (("table", two), ("table", with_metadata), ("other", one)):
        place = root / "signatures" / name / version
        place.mkdir(parents=True)
        (place / ("0" * 64)).write_bytes(bundle)
        with pytest.raises(RegistryError, match="nobody"):
            trusting.verify(f"{name}@sha256:{version}")
    trusting.verify(f"table@sha256:{one}")


def test_every_changed_byte_of_a_bundle_or_nothing(
    trusting: Registry, make: Make, key: Path
) -> None:
    trusting.publish(make(1), "table", key=key)
    (place,) = [p for p in Path(trusting.url, "signatures").rglob("*") if p.is_file()]
    content = place.read_bytes()
    envelope = json.loads(content)["dsseEnvelope"]
    for part in (envelope["payload"], envelope["signatures"][0]["sig"]):
        raw = base64.b64decode(part)
        for at in range(0, len(raw), max(1, len(raw) // 40)):
            changed = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
            text = base64.b64encode(changed)
            place.write_bytes(content.replace(part.encode(), text))
            assert trusting.show("table").signers == ()
    for wrong in (
        b"",
        b"{}",
        b"[]",
        b"[" * 60_000,
        b"null",
        b"\xff",
        b'{"mediaType":1}',
        b"1" * 70_000,
    ):
        place.write_bytes(wrong)
        assert trusting.show("table").signers == ()
    place.write_bytes(content)
    assert trusting.show("table").signers == ("ann",)


@pytest.mark.parametrize("changed", [None, "CARD.md", "tensors.safetensors", "table.json"])
def test_the_official_verifier_agrees(
    registry: Registry,
    make: Make,
    key: Path,
    ann: ec.EllipticCurvePrivateKey,
    tmp_path: Path,
    changed: str | None,
) -> None:
    pytest.importorskip("model_signing")
    pytest.importorskip("OpenSSL")
    registry.publish(make(1), "table", key=key)
    registry.pull("table", tmp_path / "out")
    (tmp_path / "model.sig").write_bytes(registry.signatures("table")[0])
    if changed is not None:
        place = tmp_path / "out" / changed
        content = place.read_bytes()
        place.write_bytes(content[:-2] + bytes([content[-2] ^ 1]) + content[-1:])
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(tmp_path / "out")]
    command += ["--signature", str(tmp_path / "model.sig")]
    command += ["--public_key", str(public(tmp_path / "ann.pem", ann))]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
    )
    told = done.stdout + done.stderr
    if changed is None:
        assert done.returncode == 0 and "Verification succeeded" in told, told
    else:
        assert done.returncode != 0 and changed in told, told


def test_keys(
    registry: Registry,
    make: Make,
    ann: ec.EllipticCurvePrivateKey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    secret = keep(tmp_path / "secret.key", ann, b"open sesame")
    with pytest.raises(InputError, match="the key has a password"):
        registry.publish(make(1), "table", key=secret)
    assert registry.names() == []
    monkeypatch.setenv("ISTHMUS_KEY_PASSWORD", "open sesame")
    registry.publish(tmp_path / "artefact-1", "table", key=secret)
    assert b"sesame" not in b"".join(
        p.read_bytes() for p in Path(registry.url).rglob("*") if p.is_file()
    )
    monkeypatch.delenv("ISTHMUS_KEY_PASSWORD")
    other = ec.generate_private_key(ec.SECP384R1())
    with pytest.raises(InputError, match="no key over P-256"):
        registry.sign("table", keep(tmp_path / "384.key", other))
    with pytest.raises(InputError, match="there is no key here"):
        registry.sign("table", tmp_path / "nowhere")
    with pytest.raises(InputError, match="expected 1 to"):
        (tmp_path / "empty").mkdir()
        Registry.open(registry.url, trust=tmp_path / "empty")
    (tmp_path / "empty" / "x.pem").write_bytes(b"no key")
    with pytest.raises(InputError, match="no key in PEM"):
        Registry.open(registry.url, trust=tmp_path / "empty")
    raw = ed25519.Ed25519PrivateKey.generate().public_key()
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "empty" / "x.pem").write_bytes(raw.public_bytes(serialization.Encoding.PEM, kind))
    with pytest.raises(InputError, match="no key over P-256"):
        Registry.open(registry.url, trust=tmp_path / "empty")
