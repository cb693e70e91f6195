"""The registry: what is published is found, byte for byte, and every move can be undone."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import Bridge, Pairs, artefact, fit
from isthmus.errors import InputError, OutputError, RegistryError
from isthmus.registry import Registry

from .conftest import Make, number_in


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def everything(registry: Registry) -> dict[str, bytes]:
    root = Path(registry.url)
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def test_what_is_pulled_is_what_was_published(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    entry = registry.publish(make(1), "table", note="first", metadata={"team": "search"}, by="ann")
    assert (entry.by, entry.note, entry.sequence, entry.action) == ("ann", "first", 1, "publish")
    release = registry.show("table")
    assert (release.digest, release.published) == (entry.version, entry)
    assert (release.aliases, release.version.kind) == (("latest",), "table")
    assert release.version.metadata == {"team": "search"}
    assert registry.pull("table", tmp_path / "out") == release.version
    assert contents(tmp_path / "out") == contents(tmp_path / "artefact-1")


def test_a_bridge_goes_through(registry: Registry, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 6)).astype(np.float32)
    turn = np.linalg.qr(rng.standard_normal((6, 6)))[0].astype(np.float32)
    bridge = fit(Pairs(x, x @ turn))
    bridge.save(tmp_path / "b")
    registry.publish(tmp_path / "b", "docs")
    registry.pull("docs", tmp_path / "c")
    assert np.array_equal(Bridge.load(tmp_path / "c").transform(x), bridge.transform(x))


def test_the_layout_is_content_addressed(registry: Registry, make: Make) -> None:
    import hashlib

    registry.publish(make(1), "table")
    release = registry.show("table")
    found = everything(registry)
    for key, content in found.items():
        if key.startswith(("blobs/", "manifests/", "logs/")):
            assert key.rpartition("/")[2] == hashlib.sha256(content).hexdigest(), key
    manifest = json.loads(found[f"manifests/sha256/{release.digest}"])
    assert set(manifest["files"]) == {"table.json", "tensors.safetensors", "CARD.md"}
    assert json.loads(found["refs/table/latest"])["version"] == release.digest


def test_the_same_artefact_is_the_same_version(registry: Registry, make: Make) -> None:
    first = registry.publish(make(1), "table")
    before = everything(registry)
    assert registry.publish(make(1, "copy"), "table") == first
    assert everything(registry) == before
    other = registry.publish(make(1, "third"), "other", metadata={"a": "b"})
    assert other.version != first.version
    assert registry.names() == ["other", "table"]


def test_versions_are_listed_once_in_order(registry: Registry, make: Make) -> None:
    published = [registry.publish(make(n), "table").version for n in (1, 2, 3)]
    registry.publish(make(1, "again"), "table")
    registry.promote(f"table@sha256:{published[1][:8]}", "production")
    assert [release.digest for release in registry.list("table")] == published
    assert [release.aliases for release in registry.list("table")] == [
        ("latest",),
        ("production",),
        (),
    ]


def test_promote_and_roll_back(registry: Registry, make: Make) -> None:
    versions = [registry.publish(make(n), "table").version for n in (1, 2, 3)]

    def production() -> str:
        return registry.show("table@production").digest

    for version in versions:
        registry.promote(f"table@sha256:{version}", "production", by="ann", note="go")
    assert production() == versions[2]
    assert registry.rollback("table", "production", by="bob", note="slow").version == versions[1]
    registry.rollback("table", "production")
    assert production() == versions[0]
    with pytest.raises(RegistryError, match="no version to go back to"):
        registry.rollback("table", "production")
    registry.promote("table@latest", "production")
    assert registry.rollback("table", "production").version == versions[0]
    log = registry.log("table", "production")
    assert [entry.sequence for entry in log] == [7, 6, 5, 4, 3, 2, 1]
    assert [entry.action for entry in log[3:5]] == ["rollback", "promote"]
    assert (log[3].by, log[3].note, log[4].note) == ("bob", "slow", "go")


def test_promoting_twice_is_one_move(registry: Registry, make: Make) -> None:
    registry.publish(make(1), "table")
    first = registry.promote("table", "production")
    assert registry.promote("table", "production") == first
    assert len(registry.log("table", "production")) == 1


def test_promote_only_if_it_still_is(registry: Registry, make: Make) -> None:
    one = registry.publish(make(1), "table").version
    registry.promote("table", "production")
    registry.publish(make(2), "table")
    registry.promote("table", "production", expect=f"table@sha256:{one}")
    registry.publish(make(3), "table")
    with pytest.raises(RegistryError, match=f"expected {one[:12]}"):
        registry.promote("table", "production", expect=f"table@sha256:{one}")
    assert len(registry.log("table", "production")) == 2


def test_deprecated_versions_are_not_moved_to(
    registry: Registry, make: Make, tmp_path: Path
) -> None:
    one, two, three = (registry.publish(make(n), "table").version for n in (1, 2, 3))
    for version in (one, two, three):
        registry.promote(f"table@sha256:{version}", "production")
    told = registry.deprecate(f"table@sha256:{two}", "wrong model").deprecated
    assert told is not None and told.reason == "wrong model"
    with pytest.raises(RegistryError, match="deprecated .wrong model"):
        registry.promote(f"table@sha256:{two}", "canary")
    assert registry.rollback("table", "production").version == one
    registry.promote(f"table@sha256:{three}", "production")
    registry.deprecate(f"table@sha256:{one}", "too old")
    with pytest.raises(RegistryError, match=f"go back to but what is deprecated .{one[:12]}."):
        registry.rollback("table", "production")
    registry.pull(f"table@sha256:{two}", tmp_path / "still")
    assert number_in(tmp_path / "still") == 2


def test_diff(registry: Registry, make: Make) -> None:
    registry.publish(make(1), "table")
    registry.promote("table", "production")
    registry.publish(make(2), "table", metadata={"team": "search"})
    found = registry.diff("table@production", "table")
    assert found.files == ("CARD.md", "table.json", "tensors.safetensors")
    assert found.tensors == ("mean",)
    assert found.content == (
        ("content.number", 1, 2),
        ("metadata.team", None, "search"),
    )
    assert not registry.diff("table", "table@latest")


def test_what_is_not_there_is_said(registry: Registry, make: Make, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no registry here"):
        Registry.open(tmp_path / "nowhere")
    with pytest.raises(RegistryError, match="nothing was published as 'table'"):
        registry.show("table")
    registry.publish(make(1), "table")
    release = registry.show("table")
    with pytest.raises(RegistryError, match=r"no such alias \(there are latest\)"):
        registry.show("table@production")
    with pytest.raises(RegistryError, match="no such version"):
        registry.show("table@sha256:" + "0" * 64)
    with pytest.raises(InputError, match="8 to 64"):
        registry.show(f"table@sha256:{release.digest[:7]}")
    with pytest.raises(OutputError, match="exists already"):
        registry.pull("table", tmp_path / "artefact-1")
    with pytest.raises(RegistryError, match="published last"):
        registry.promote("table", "latest")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a/b", "../a", "A", "a..b", "a b", "a\n", "a.partial-b", "é", "x" * 129, "a\0"],
)
def test_names_are_plain(registry: Registry, make: Make, name: str) -> None:
    with pytest.raises(InputError, match="no name"):
        registry.publish(make(1), name)
    with pytest.raises(InputError):
        registry.show(name)
    registry.publish(make(2), "table")
    with pytest.raises(InputError):
        registry.promote("table", name.replace(".", "/") or "/")


def test_a_folder_that_is_no_whole_artefact(registry: Registry, make: Make, tmp_path: Path) -> None:
    before = everything(registry)

    def refused(folder: Path, match: str) -> None:
        with pytest.raises(InputError, match=match):
            registry.publish(folder, "table")
        assert everything(registry) == before

    refused(tmp_path / "nowhere", "there is nothing")
    (make(1) / "more.txt").write_text("x")
    refused(tmp_path / "artefact-1", "also holds 'more.txt'")
    (make(2) / "CARD.md").write_text("changed")
    refused(tmp_path / "artefact-2", "changed after it was written")
    card = make(3) / "CARD.md"
    card.rename(tmp_path / "elsewhere.md")
    card.symlink_to(tmp_path / "elsewhere.md")
    refused(tmp_path / "artefact-3", "consists of files")
    weights = make(4) / "tensors.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    refused(tmp_path / "artefact-4", "changed after it was written")
    (make(5) / "inner").mkdir()
    refused(tmp_path / "artefact-5", "consists of files")
    os.mkfifo(make(6) / "pipe")
    refused(tmp_path / "artefact-6", "consists of files")


def test_too_large(registry: Registry, make: Make, tmp_path: Path) -> None:
    registry.publish(make(1), "table")
    registry.most_bytes = 100
    with pytest.raises(RegistryError, match="100 at the most"):
        registry.publish(make(2), "table")
    with pytest.raises(RegistryError, match="100 at the most"):
        registry.pull("table", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match="Shorten the note"):
        Registry.open(registry.url).publish(make(3), "table", metadata={"a": "x" * 70_000})


def test_what_may_hold_infinity_can_be_kept(registry: Registry, tmp_path: Path) -> None:
    infinite = {"mask": np.array([-np.inf, 0], np.float32)}
    artefact.write(tmp_path / "a", "checkpoint", {}, infinite, infinite=infinite)
    registry.publish(tmp_path / "a", "run")
    registry.pull("run", tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


# ---- damage --------------------------------------------------------------------------------------


def test_every_changed_byte_is_found(registry: Registry, make: Make, tmp_path: Path) -> None:
    registry.publish(make(1), "table")
    registry.promote("table", "production")
    assert [release.name for release in registry.verify()] == ["table"]
    for key, content in everything(registry).items():
        place = Path(registry.url) / key
        for at in {0, len(content) // 2, len(content) - 1}:
            place.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises((InputError, RegistryError)):
                Registry.open(registry.url).verify()
        for changed in (b"", content + b"x"):
            place.write_bytes(changed)
            with pytest.raises((InputError, RegistryError)):
                Registry.open(registry.url).verify()
        place.write_bytes(content)
    registry.verify()
    blob = next((Path(registry.url) / "blobs/sha256").iterdir())
    blob.unlink()
    with pytest.raises(InputError, match="missing from the registry"):
        registry.verify("table")
    with pytest.raises(InputError, match="missing from the registry"):
        registry.pull("table", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    # the artefact is still at hand: publishing it again mends the registry
    registry.publish(tmp_path / "artefact-1", "table")
    registry.verify()


def _forged(registry: Registry, files: dict[str, Any], **other: Any) -> None:
    """Point the alias to a manifest that somebody wrote by hand, right by its digest."""
    import hashlib

    from isthmus.files import canonical_json

    root = Path(registry.url)
    value = {"format": 1, "kind": "table", "metadata": {}, "files": files, **other}
    content = canonical_json(value).encode() + b"\n"
    digest = hashlib.sha256(content).hexdigest()
    (root / "manifests/sha256" / digest).write_bytes(content)
    entry = json.loads((root / "refs/table/latest").read_bytes())
    told = canonical_json({**entry, "version": digest}).encode() + b"\n"
    (root / "refs/table/latest").write_bytes(told)
    (root / "logs/table/latest" / hashlib.sha256(told).hexdigest()).write_bytes(told)


@pytest.mark.parametrize(
    "name",
    ["../evil", "/tmp/evil", "a/b", "..", ".", "a\\b", "C:evil", "a\0b", ".hidden", "x" * 200],
)
def test_paths_in_a_manifest_lead_nowhere(
    registry: Registry, make: Make, tmp_path: Path, name: str
) -> None:
    registry.publish(make(1), "table")
    release = registry.show("table")
    files = {n: f.model_dump() for n, f in release.version.files.items()}
    _forged(registry, {**files, name: files["CARD.md"]})
    with pytest.raises(InputError, match="plain name"):
        registry.pull("table", tmp_path / "out" if tmp_path.exists() else tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["artefact-1", "registry"]


def test_manifests_by_hand(registry: Registry, make: Make, tmp_path: Path) -> None:
    registry.publish(make(1), "table")
    release = registry.show("table")
    files = {n: f.model_dump() for n, f in release.version.files.items()}
    huge = {n: {**f, "bytes": 2**47} for n, f in files.items()}
    _forged(registry, huge)
    with pytest.raises(RegistryError, match="at the most"):
        registry.pull("table", tmp_path / "out")
    _forged(registry, {n: {**f, "bytes": f["bytes"] + 1} for n, f in files.items()})
    with pytest.raises(InputError, match="changed after it was written"):
        registry.pull("table", tmp_path / "out")
    for wrong in (2**60, -1, 1.5, True, "1", None):
        _forged(registry, {n: {**f, "bytes": wrong} for n, f in files.items()})
        with pytest.raises(InputError, match="no document of a registry"):
            registry.pull("table", tmp_path / "out")
    _forged(registry, files, kind="bridge")
    with pytest.raises(InputError, match="no document of a registry"):
        registry.pull("table", tmp_path / "out")
    renamed = {"bridge.json" if n == "table.json" else n: f for n, f in files.items()}
    _forged(registry, renamed, kind="bridge")
    with pytest.raises(InputError, match="holds no whole bridge"):
        registry.pull("table", tmp_path / "out")
    _forged(registry, files, more=1)
    with pytest.raises(InputError, match="no document of a registry"):
        registry.pull("table", tmp_path / "out")
    _forged(registry, {**files, "table.json": files["CARD.md"]})
    with pytest.raises(InputError, match="holds no whole table"):
        registry.pull("table", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"{",
        b"[" * 60_000,
        b"{" * 100_000,
        b" " * 200_000,
        b'{"a":' * 10_000,
        b"9" * 60_000,
        b"\xff\xfe",
        b'{"format":1,"format":1}',
        b"cos\nsystem\n(S'true'\ntR.",
    ],
)
@pytest.mark.parametrize("key", ["registry.json", "refs/table/latest"])
def test_documents_that_are_none(registry: Registry, make: Make, key: str, content: bytes) -> None:
    registry.publish(make(1), "table")
    (Path(registry.url) / key).write_bytes(content)
    with pytest.raises((InputError, RegistryError)):
        Registry.open(registry.url).show("table")


def test_links_and_pipes_in_a_registry(registry: Registry, make: Make, tmp_path: Path) -> None:
    registry.publish(make(1), "table")
    ref = Path(registry.url) / "refs/table/latest"
    ref.rename(tmp_path / "ref")
    ref.symlink_to(tmp_path / "ref")
    with pytest.raises(InputError, match="there is a link"):
        registry.show("table")
    ref.unlink()
    os.mkfifo(ref)
    with pytest.raises(InputError, match="there is a pipe"):
        registry.show("table")


def test_an_alias_of_another_name(registry: Registry, make: Make) -> None:
    registry.publish(make(1), "table")
    root = Path(registry.url)
    shutil.copytree(root / "refs/table", root / "refs/other")
    with pytest.raises(InputError, match="its entry is that of table@latest"):
        registry.show("other")


def test_only_an_empty_folder_becomes_a_registry(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(RegistryError, match="holds something else"):
        Registry.open(tmp_path / "mine", create=True)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["file"]


# ---- collection ----------------------------------------------------------------------------------


def test_gc_removes_what_nothing_leads_to(registry: Registry, make: Make, tmp_path: Path) -> None:
    for n in (1, 2, 3):
        registry.publish(make(n), "table")
    registry.promote("table", "production")
    before = everything(registry)
    found = registry.gc(older_than=0)
    assert (found.objects, found.bytes, found.half_written) == (0, 0, 0)
    assert everything(registry) == before
    root = Path(registry.url)
    for folder in ("blobs/sha256", "manifests/sha256", "logs/table/latest"):
        (root / folder / ("0" * 64)).write_bytes(b"12345")
    draft = root / f"blobs/sha256/{'1' * 64}.partial-0123456789abcdef"
    draft.mkdir()
    (draft / "half").touch()
    assert registry.gc(older_than=3600).objects == 0
    found = registry.gc(older_than=0)
    assert (found.objects, found.bytes) == (3, 15)
    assert everything(registry) == before
    assert not draft.exists()


def test_gc_of_a_damaged_registry_removes_nothing(registry: Registry, make: Make) -> None:
    registry.publish(make(1), "table")
    registry.publish(make(2), "table")
    first = registry.log("table", "latest")[1]
    (Path(registry.url) / "logs/table/latest" / first.digest).unlink()
    before = everything(registry)
    with pytest.raises(InputError, match="an entry of the log is missing"):
        registry.gc(older_than=0)
    assert everything(registry) == before


def test_publishing_again_makes_leftovers_young(registry: Registry, make: Make) -> None:
    registry.publish(make(1), "table")
    blobs = [*(Path(registry.url) / "blobs/sha256").iterdir()]
    for blob in blobs:
        os.utime(blob, (0, 0))
    registry.publish(make(1, "again"), "table")
    assert all(blob.stat().st_mtime > 1 for blob in blobs)
