"""The folder of a bridge: the same bytes for the same bridge, and nothing damaged is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from isthmus import artefact
from isthmus.artefact import TENSORS, manifest_name
from isthmus.bridge import Bridge, Fitting, fit
from isthmus.bridge import bridge as bridge_module
from isthmus.bridge.card import card as card_of
from isthmus.errors import InputError, IsthmusError, OutputError
from isthmus.spaces.pairs import Pairs

MANIFEST = manifest_name("bridge")
NAMES = {MANIFEST, TENSORS, "CARD.md"}


def _bytes(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


@pytest.fixture
def folder(bridge: Bridge, tmp_path: Path) -> Path:
    bridge.save(tmp_path / "my.bridge")
    return tmp_path / "my.bridge"


# ---- there and back ----------------------------------------------------------------------------


RECIPES = [
    "unit_norm | procrustes | unit_norm",
    "center | standardise | ridge(alpha=0.01) | unit_norm",
    "unit_norm | whiten(shrinkage=0.1, power=0.5) | procrustes | unit_norm",
    "layer_norm | ridge(alpha=0.01, power=0.5) | layer_norm",
    "center | unit_norm | procrustes | temperature(t=2.0)",
    "unit_norm | procrustes | local(experts=3) | unit_norm",
    "center | unit_norm | ridge(alpha=0.01) | local(experts=2, nearest=1) | unit_norm",
]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_loaded_bridge_maps_bit_for_bit_alike(
    upgrade: tuple[Pairs, Pairs], tmp_path: Path, recipe: str, dtype: str
) -> None:
    bridge = fit(upgrade[0], recipe=recipe)
    bridge.save(tmp_path / "b")
    loaded = Bridge.load(tmp_path / "b")
    x = upgrade[1].head(300).x.astype(dtype)
    np.testing.assert_array_equal(loaded.transform(x), bridge.transform(x))
    np.testing.assert_array_equal(loaded.transform(x[0]), bridge.transform(x[0]))


def test_everything_else_comes_back(bridge: Bridge, folder: Path) -> None:
    loaded = Bridge.load(folder)
    for name in ("kind", "source", "target", "recipe", "evidence", "tried"):
        assert getattr(loaded, name) == getattr(bridge, name), name
    assert loaded.provenance == bridge.provenance
    assert (loaded.canary.ids, loaded.canary.named) == (bridge.canary.ids, bridge.canary.named)
    np.testing.assert_array_equal(loaded.canary.source, bridge.canary.source)
    np.testing.assert_array_equal(loaded.canary.target, bridge.canary.target)
    for side in ("source_profile", "target_profile"):
        mine, other = getattr(bridge, side), getattr(loaded, side)
        for name in ("n", "typical", "foreign", "unit", "lengths"):
            assert getattr(mine, name) == getattr(other, name)
        for name in ("mean", "spectrum", "full", "empty"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(other, name))
    loaded.save(folder.with_name("again"))
    for name in (MANIFEST, TENSORS):
        assert (folder.with_name("again") / name).read_bytes() == (folder / name).read_bytes()


def test_derived_bridges_come_back(make_world: Callable[..., Any], tmp_path: Path) -> None:
    world = make_world()
    pairs, _ = world.upgrade(metric="l2")
    bridge = fit(
        pairs,
        recipe="ridge(alpha=0.001)",
        fitting=Fitting(canary_items={i: f"ü {i}" for i in range(1500)}),
    )
    x, y = pairs.head(64).x, pairs.head(64).y
    for name, derived, rows in (
        ("inverse", bridge.inverse(), y),
        ("composed", bridge.compose(bridge.inverse()), x),
        ("bare", replace(bridge, source_profile=None, trust=None, canary=None, evidence=None), x),
    ):
        derived.save(tmp_path / name)
        loaded = Bridge.load(tmp_path / name)
        np.testing.assert_array_equal(loaded.transform(rows), derived.transform(rows))
        assert loaded.evidence is None
        assert loaded.recipe == derived.recipe
    assert Bridge.load(tmp_path / "inverse").canary.items == bridge.canary.items


def test_an_inverse_with_a_lost_length_comes_back(
    make_world: Callable[..., Any], tmp_path: Path
) -> None:
    pairs, _ = make_world().upgrade()
    unit = [
        v / np.linalg.norm(v, axis=1, keepdims=True)
        for v in (pairs.head(1500).x, pairs.head(1500).y)
    ]
    back = fit(Pairs(*unit), recipe="center | ridge(alpha=0.001) | unit_norm").inverse()
    back.save(tmp_path / "b")
    rows = unit[1][:100].astype(np.float32)
    np.testing.assert_array_equal(Bridge.load(tmp_path / "b").transform(rows), back.transform(rows))


def test_trust_and_scores_come_back(
    trusted: Bridge, upgrade: tuple[Pairs, Pairs], tmp_path: Path
) -> None:
    trusted.save(tmp_path / "b")
    loaded = Bridge.load(tmp_path / "b")
    x = upgrade[1].head(300).x
    for mine, other in zip(
        trusted.transform(x, return_trust=True), loaded.transform(x, return_trust=True), strict=True
    ):
        np.testing.assert_array_equal(mine, other)
    scores = np.linspace(-2, 2, 50)
    np.testing.assert_array_equal(loaded.calibrate_scores(scores), trusted.calibrate_scores(scores))
    assert loaded.threshold(0.5) == trusted.threshold(0.5)
    assert loaded.trust.levels() == trusted.trust.levels()
    loaded.save(tmp_path / "again")
    assert _bytes(tmp_path / "again") == _bytes(tmp_path / "b")
    for name in ("trust", "thresholds"):
        replace(trusted, **{name: None}).save(tmp_path / name)
        assert getattr(Bridge.load(tmp_path / name), name) is None


PROGRAM = """
import sys, numpy as np, isthmus
with np.load(sys.argv[1]) as data:
    pairs = isthmus.Pairs(data["x"], data["y"])
    queries = isthmus.Pairs(data["qx"], data["qy"])
isthmus.fit(pairs, queries=queries, fitting=isthmus.Fitting(seed=4)).save(sys.argv[2])
"""


def test_the_same_inputs_and_seed_give_the_same_bytes(
    upgrade: tuple[Pairs, Pairs], tmp_path: Path
) -> None:
    """In this process, and in two others with other hash seeds."""
    pairs, queries = upgrade
    items, asked = pairs.head(1500), queries.head(1500)
    for name in "ab":
        fit(pairs, queries=queries, fitting=Fitting(seed=4)).save(tmp_path / name)
    np.savez(tmp_path / "data.npz", x=items.x, y=items.y, qx=asked.x, qy=asked.y)
    for name, salt in (("c", "1"), ("d", "2")):
        subprocess.run(
            [sys.executable, "-c", PROGRAM, str(tmp_path / "data.npz"), str(tmp_path / name)],
            env={**os.environ, "PYTHONHASHSEED": salt},
            check=True,
        )
    first = _bytes(tmp_path / "a")
    assert set(first) == NAMES
    for name in "bcd":
        assert _bytes(tmp_path / name) == first
    fit(pairs, queries=queries, fitting=Fitting(seed=5)).save(tmp_path / "other")
    assert _bytes(tmp_path / "other")[TENSORS] != first[TENSORS]


def test_the_card_tells_a_reader_what_it_is(bridge: Bridge, folder: Path) -> None:
    card = (folder / "CARD.md").read_text(encoding="utf-8")
    assert card == card_of(bridge)
    for text in ("# new → old", "A query bridge", bridge.evidence.reason, str(bridge.recipe)):
        assert text in card
    bare = card_of(replace(bridge, kind="corpus", evidence=None, recipe=None))
    assert "A corpus bridge" in bare
    assert "was not evaluated" in bare
    assert "composed or inverted" in bare


def test_the_card_shows_thresholds_and_what_they_keep(trusted: Bridge) -> None:
    card = card_of(trusted)
    level = trusted.trust.levels((0.5,))[0]
    assert f"| 0.5 | {level.threshold:.3f} | {level.kept:.1%}".replace("%", " %") in card
    way = trusted.recommended[0] if trusted.recommended else "bridge"
    found = trusted.thresholds.examples(way, "precision")[2]
    assert f"| precision | {found.old:.3f} | {found.new:.3f} |" in card
    bare = card_of(replace(trusted, trust=None, thresholds=None))
    assert "## Trust" not in bare
    assert "## Thresholds" not in bare
    assert "## Provenance" in card
    assert "\n\n\n\n" not in card


# ---- where it may be written -------------------------------------------------------------------


def test_an_existing_bridge_is_kept_unless_overwritten(bridge: Bridge, folder: Path) -> None:
    before = _bytes(folder)
    with pytest.raises(OutputError, match=r"my\.bridge: the output exists already.*--overwrite"):
        bridge.save(folder)
    assert _bytes(folder) == before
    replace(bridge, evidence=None).save(folder, overwrite=True)
    assert Bridge.load(folder).evidence is None
    assert [file.name for file in folder.parent.iterdir()] == ["my.bridge"]


def test_what_is_no_bridge_is_never_overwritten(bridge: Bridge, tmp_path: Path) -> None:
    folder, file, empty = tmp_path / "photos", tmp_path / "file", tmp_path / "empty"
    folder.mkdir()
    empty.mkdir()
    (folder / "holiday.jpg").write_bytes(b"...")
    file.write_bytes(b"...")
    for place in (folder, file):
        with pytest.raises(OutputError, match="only a bridge is overwritten by a bridge"):
            bridge.save(place, overwrite=True)
    assert (folder / "holiday.jpg").read_bytes() == file.read_bytes() == b"..."
    bridge.save(empty, overwrite=True)
    assert Bridge.load(empty).kind == "query"


def test_a_failed_save_leaves_nothing_and_keeps_the_old(
    bridge: Bridge, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = _bytes(folder)

    def fail(*_: Any) -> str:
        raise RuntimeError("the card cannot be made")

    monkeypatch.setattr(bridge_module, "card", fail)
    for place, overwrite in ((folder, True), (folder.with_name("new"), False)):
        with pytest.raises(RuntimeError):
            bridge.save(place, overwrite=overwrite)
    assert _bytes(folder) == before
    assert [file.name for file in folder.parent.iterdir()] == ["my.bridge"]


# ---- damage ------------------------------------------------------------------------------------


def test_what_is_not_there(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="nowhere: there is nothing here"):
        Bridge.load(tmp_path / "nowhere")
    with pytest.raises(InputError, match="there is a file here"):
        Bridge.load(folder / MANIFEST)


Change = Callable[[dict[str, Any]], Any]


def _set(*path: Any, to: Any) -> Change:
    def change(manifest: dict[str, Any]) -> None:
        inner: Any = manifest
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = to

    return change


def _forge(
    folder: Path, change: Change | None = None, tensors: dict[str, np.ndarray] | None = None
) -> None:
    """What somebody writes who knows the format and has the digests right."""
    content = json.loads((folder / MANIFEST).read_text())["content"]
    tensors = load_file(folder / TENSORS) if tensors is None else tensors
    if change is not None:
        change(content)
    shutil.rmtree(folder)
    artefact.write(folder, "bridge", content, tensors, infinite=tensors)


@pytest.mark.parametrize(
    "change",
    [
        _set("kind", to="both"),
        _set("kind", to=None),
        _set("source", "dim", to=25),
        _set("target", "dim", to=-1),
        _set("source", "metric", to="hamming"),
        _set("source", to="new"),
        _set("chain", "stages", to=[]),
        _set("chain", "stages", to={"stage": "row_norm"}),
        _set("chain", "stages", to=["row_norm"]),
        _set("chain", "stages", 0, to={"stage": "python"}),
        _set("chain", "stages", 1, to={"stage": "on_sphere", "kind": 3}),
        _set("chain", "stages", 0, "stage", to=["row_norm"]),
        _set("chain", "stages", 0, "kind", to="none"),
        _set("recipe", to="procrustes"),
        _set("recipe", to=[{"step": "exec", "parameters": {}}]),
        _set("evidence", to={}),
        _set("evidence", "verdict", to="use it"),
        _set("tried", to=[[1]]),
        _set("tried", to=3),
        _set("provenance", to=["a"]),
        _set("provenance", to=None),
        _set("source_profile", to=[]),
        _set("source_profile", "typical", to="high"),
        _set("source_profile", to={"typical": 1.0}),
        _set("canary", "ids", to=["one"]),
        _set("canary", "ids", to=3),
        _set("canary", "items", to=["one"]),
        _set("canary", "named", to=1),
        _set("source_profile", "typical", to=0),
        _set("source_profile", "typical", to=1e9),
        _set("source_profile", "unit", to=1),
        _set("tried", to=[[1, 0.5, None]]),
        _set("tried", to=[["procrustes", "high", None]]),
        _set("more", to=None),
        _set("nested_ways", to=["mixed"]),
        _set("nested_ways", to={"mixed": {"recall": {"kind": "best"}}}),
        lambda m: m.pop("canary"),
        lambda m: m.pop("chain"),
        lambda m: m.pop("evidence"),
    ],
    ids=range(39),
)
def test_a_manifest_that_was_changed(folder: Path, change: Change) -> None:
    _forge(folder, change)
    with pytest.raises(InputError, match=r"my\.bridge: the bridge is damaged"):
        Bridge.load(folder)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("chain/1/matrix", (24, 23)),
        ("chain/1/matrix", (23, 24)),
        ("chain/1/matrix", (23,)),
        ("chain/1/matrix", (24, 24, 1)),
        ("chain/1/matrix", ()),
        ("chain/1/offset", (23,)),
        ("chain/1/offset", (1, 24)),
        ("source_profile/mean", (23,)),
        ("source_profile/full", (23, 4)),
        ("target_profile/empty", (24,)),
        ("target_profile/spectrum", ()),
        ("canary/source", (8, 23)),
        ("canary/target", (7, 24)),
        ("canary/target", (8,)),
    ],
)
def test_tensors_that_do_not_fit_the_contracts(
    folder: Path, name: str, shape: tuple[int, ...]
) -> None:
    tensors = load_file(folder / TENSORS)
    assert name in tensors
    tensors[name] = np.zeros(shape, np.float32)
    _forge(folder, tensors=tensors)
    with pytest.raises(InputError, match=r"my\.bridge"):
        Bridge.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        _set("trust", to=[]),
        _set("trust", to={}),
        _set("trust", "reach", to=0),
        _set("source_profile", "unit", to="yes"),
        _set("trust", "coefficients", to=[1, 2]),
        _set("trust", "control", "cuts", to=[2.0]),
        _set("trust", "control", "calibrated", 0, to=[1, 5]),
        _set("trust", "search_control", to=None),
        _set("thresholds", to=3),
        _set("thresholds", "queries", to="many"),
        _set("thresholds", "ways", to={}),
        lambda m: m.pop("trust"),
        lambda m: m.pop("thresholds"),
    ],
    ids=range(13),
)
def test_trust_and_scores_that_were_changed(
    trusted: Bridge, tmp_path: Path, change: Change
) -> None:
    trusted.save(tmp_path / "my.bridge")
    _forge(tmp_path / "my.bridge", change)
    with pytest.raises(InputError, match=r"my\.bridge: the bridge is damaged"):
        Bridge.load(tmp_path / "my.bridge")


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("source_profile/mean", lambda t: t[:-1]),
        ("source_profile/full", lambda t: t[:, :-1]),
        ("source_profile/full", lambda t: t.reshape(-1)),
        ("source_profile/full", lambda t: t[0, 0]),
        ("trust/weights", lambda t: t * np.inf),
        ("trust/ranges", lambda t: t[0]),
        ("trust/curve", lambda t: t[:, ::-1]),
        ("trust/search_curve", lambda t: t + 1),
        ("thresholds/share/bridge", lambda t: t[0]),
        ("thresholds/share/bridge", lambda t: np.repeat(t, 40, axis=1)),
        ("thresholds/precision/bridge", lambda t: -t),
    ],
)
def test_tensors_of_trust_and_scores_that_do_not_fit(
    trusted: Bridge, tmp_path: Path, name: str, spoil: Any
) -> None:
    folder = tmp_path / "my.bridge"
    trusted.save(folder)
    tensors = load_file(folder / TENSORS)
    with np.errstate(invalid="ignore"):
        tensors[name] = np.ascontiguousarray(spoil(tensors[name]))
    _forge(folder, tensors=tensors)
    with pytest.raises(InputError, match=r"my\.bridge: the bridge is damaged"):
        Bridge.load(folder)


NETWORK = "unit_norm | procrustes | residual(hidden=5, epochs=3, rate=0.02) | unit_norm"


@pytest.mark.parametrize("recipe", [NETWORK, NETWORK.replace("residual(hidden=5, ", "polish(")])
def test_a_trained_bridge_is_the_same_in_numpy_and_on_disk(
    upgrade: tuple[Pairs, Pairs], tmp_path: Path, recipe: str
) -> None:
    torch = pytest.importorskip("torch")
    pairs, queries = upgrade
    bridge = fit(pairs, queries=queries, recipe=recipe)
    bridge.save(tmp_path / "a")
    if "polish" in recipe:
        fit(pairs, queries=queries, recipe=recipe).save(tmp_path / "b")
        assert _bytes(tmp_path / "a") == _bytes(tmp_path / "b")
    loaded = Bridge.load(tmp_path / "a")
    assert loaded.recipe == bridge.recipe
    x = queries.head(300).x.copy()
    for dtype in ("f2", "f4", "f8"):
        np.testing.assert_array_equal(
            loaded.transform(x.astype(dtype)), bridge.transform(x.astype(dtype))
        )
    np.testing.assert_allclose(loaded.transform(torch.asarray(x)), loaded.transform(x), atol=1e-5)
    content = json.loads((tmp_path / "a" / MANIFEST).read_text())["content"]
    kinds = [stage["stage"] for stage in content["chain"]["stages"]]
    assert kinds == ["row_norm", "affine" if "polish" in recipe else "residual", "row_norm"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("matrices", (3, 24, 23)),
        ("matrices", (3, 23, 24)),
        ("matrices", (24, 24)),
        ("router", (24, 2)),
        ("offsets", (3, 23)),
        ("blend", (1,)),
        ("blend", (2,)),
    ],
)
def test_tensors_that_are_no_routed_map(
    upgrade: tuple[Pairs, Pairs], tmp_path: Path, name: str, shape: tuple[int, ...]
) -> None:
    folder = tmp_path / "my.bridge"
    fit(upgrade[0], recipe=RECIPES[-2]).save(folder)
    tensors = load_file(folder / TENSORS)
    tensors[f"chain/1/{name}"] = np.zeros(shape, np.float32)
    _forge(folder, tensors=tensors)
    with pytest.raises(InputError, match="the bridge is damaged"):
        Bridge.load(folder)


def test_a_stage_of_another_width_or_with_tensors_missing(
    upgrade: tuple[Pairs, Pairs], tmp_path: Path
) -> None:
    folder = tmp_path / "my.bridge"
    fit(upgrade[0], recipe=RECIPES[-2]).save(folder)
    whole = load_file(folder / TENSORS)
    narrow = dict(whole)
    for part in ("router", "matrices"):
        axis = 0 if part == "router" else 1
        narrow[f"chain/1/{part}"] = np.ascontiguousarray(
            np.delete(whole[f"chain/1/{part}"], 0, axis=axis)
        )
    _forge(folder, tensors=narrow)
    with pytest.raises(InputError, match="stage 'routed' takes 23, is given 24"):
        Bridge.load(folder)
    _forge(folder, tensors={k: v for k, v in whole.items() if not k.endswith("router_offset")})
    with pytest.raises(InputError, match="damaged"):
        Bridge.load(folder)
    _forge(folder, tensors={k: v for k, v in whole.items() if not k.endswith("blend")})
    with pytest.raises(InputError, match="damaged.*a routed map has"):
        Bridge.load(folder)


def test_a_tensor_that_is_missing_or_of_another_dtype(folder: Path) -> None:
    whole = load_file(folder / TENSORS)
    for change in (
        {k: v for k, v in whole.items() if k != "canary/source"},
        {k: v for k, v in whole.items() if k != "source_profile/mean"},
        {**whole, "chain/1/matrix": whole["chain/1/matrix"].astype(np.float64)},
    ):
        _forge(folder, tensors=change)
        with pytest.raises(InputError, match="is F64" if len(change) == len(whole) else "damaged"):
            Bridge.load(folder)


def test_a_tensor_that_nothing_uses(folder: Path) -> None:
    tensors = load_file(folder / TENSORS)
    for name, message in (
        ("more", r"nothing uses the tensors \['more'\]"),
        ("chain/7/x", "no stage uses"),
    ):
        _forge(folder, tensors={**tensors, name: np.ones(3, np.float32)})
        with pytest.raises(InputError, match=message):
            Bridge.load(folder)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_not_finite(folder: Path, bad: float) -> None:
    whole = load_file(folder / TENSORS)
    for name, tensor in whole.items():
        spoilt = tensor.copy()
        spoilt.reshape(-1)[-1] = bad
        _forge(folder, tensors={**whole, name: spoilt})
        with pytest.raises(InputError, match="not finite"):
            Bridge.load(folder)


def test_more_bytes_than_any_bridge_between_the_two_spaces(folder: Path) -> None:
    """Refused before anything of them is read: a matrix much larger than both spaces."""
    whole = load_file(folder / TENSORS)
    _forge(folder, tensors={**whole, "chain/1/matrix": np.zeros((24, 2**20), np.float32)})
    with pytest.raises(InputError, match=r"take 100,[67][\d,]+ bytes, and 69,[\d,]+ at the most"):
        Bridge.load(folder)


def _numbers(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where numbers stand in JSON; of a list, at most its first two."""
    if isinstance(value, bool | str | None):
        return []
    if isinstance(value, int | float):
        return [path]
    inner = value.items() if isinstance(value, dict) else list(enumerate(value))[:2]
    return [place for key, part in inner for place in _numbers(part, (*path, key))]


def _written(folder: Path, content: dict[str, Any]) -> None:
    """The manifest of other content, its digest right; of what canonical JSON does not hold, as
    other writers spell it."""
    manifest = {**json.loads((folder / MANIFEST).read_text()), "content": content}
    del manifest["digest"]

    def text() -> str:
        return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    manifest["digest"] = hashlib.sha256(text().encode()).hexdigest()
    (folder / MANIFEST).write_text(text() + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("first", "number"),
    list(enumerate([10**400, -(10**60), float("inf"), float("nan"), "1e999"])),
    ids=range(5),
)
def test_a_number_that_no_bridge_holds_is_refused_wherever_it_stands(
    trusted: Bridge, tmp_path: Path, first: int, number: Any
) -> None:
    folder = tmp_path / "my.bridge"
    trusted.save(folder)
    clean = (folder / MANIFEST).read_text()
    places = _numbers(json.loads(clean)["content"])
    assert len(places) > 100
    for place in places[first::5]:
        content = json.loads(clean)["content"]
        _set(*place, to=number)(content)
        _written(folder, content)
        if number == "1e999":
            spelt = (folder / MANIFEST).read_text().replace('"1e999"', "1e999")
            (folder / MANIFEST).write_text(spelt)
        with pytest.raises(InputError, match=r"my\.bridge"):
            Bridge.load(folder)
        (folder / MANIFEST).write_text(clean)


@pytest.mark.parametrize(("first", "number"), list(enumerate([-1, 0, 1e308, 1e9, 1e-300])))
def test_any_other_number_is_refused_in_a_sentence_or_leaves_the_check_of_the_model_on(
    trusted: Bridge, upgrade: tuple[Pairs, Pairs], tmp_path: Path, first: int, number: float
) -> None:
    folder = tmp_path / "my.bridge"
    trusted.save(folder)
    clean = (folder / MANIFEST).read_text()
    x = upgrade[1].head(256).x
    foreign = np.ascontiguousarray(x[:, ::-1])
    loaded = 0
    places = _numbers(json.loads(clean)["content"])
    looked_at = [place for place in places if "profile" in place[0]]
    for place in looked_at + places[first::5]:
        content = json.loads(clean)["content"]
        _set(*place, to=number)(content)
        _written(folder, content)
        try:
            found = Bridge.load(folder)
        except InputError:
            continue
        finally:
            (folder / MANIFEST).write_text(clean)
        loaded += 1
        with pytest.raises(IsthmusError):
            found.transform(foreign)
        with suppress(IsthmusError), np.errstate(all="ignore"):
            found.transform(x, return_trust=True)
        repr(found), str(found.evidence)
    assert loaded > 5


@pytest.mark.parametrize(
    ("name", "spoil"),
    [
        ("empty", lambda t: t * 0),
        ("empty", lambda t: t * 1e-3),
        ("full", lambda t: t * 2),
        ("spectrum", lambda t: t * 0 + 1),
        ("spectrum", lambda t: t * 0),
    ],
)
def test_directions_that_would_switch_the_check_of_the_model_off(
    trusted: Bridge, tmp_path: Path, name: str, spoil: Any
) -> None:
    folder = tmp_path / "my.bridge"
    trusted.save(folder)
    tensors = load_file(folder / TENSORS)
    tensors[f"source_profile/{name}"] = spoil(tensors[f"source_profile/{name}"])
    _forge(folder, tensors=tensors)
    with pytest.raises(InputError, match=r"my\.bridge: the bridge is damaged"):
        Bridge.load(folder)


def test_a_bridge_without_a_fingerprint_says_so(bridge: Bridge, folder: Path) -> None:
    assert "Vectors of another model are noticed" in card_of(bridge)
    _forge(folder, _set("source_profile", "typical", to=None))
    assert "Vectors of another model are not noticed" in card_of(Bridge.load(folder))
