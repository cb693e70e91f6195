"""The residual network as a stage: PyTorch trains it, numpy runs it, or it is left out."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from isthmus.adapters import Affine, Chain, Residual, RowNorm
from isthmus.adapters.chain import ResidualMap
from isthmus.adapters.chain.residual_map import gelu
from isthmus.errors import InputError, MissingExtraError
from isthmus.spaces.sample import Batch

D = 8


def network(hidden: int = 6, dy: int = 5, seed: int = 0) -> ResidualMap:
    draw = np.random.default_rng(seed).standard_normal
    shapes = ((D, dy), (dy,), (D, hidden), (hidden,), (hidden, dy), (dy,))
    return ResidualMap(*(draw(shape).astype(np.float32) for shape in shapes))


def bent(n: int = 400, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, D)).astype(np.float32)
    return Batch(np.arange(n), x, x + np.abs(x[:, ::-1]))


def least_squares(batch: Batch) -> Affine:
    both = np.c_[batch.x, np.ones(len(batch))].astype(np.float64)
    found = np.linalg.lstsq(both, batch.y.astype(np.float64), rcond=None)[0]
    return Affine(found[:-1], found[-1])


def test_gelu_is_that_of_torch(rng: np.random.Generator) -> None:
    torch = pytest.importorskip("torch")
    z = np.concatenate([rng.standard_normal(100) * 3, [0, 40, -40]]).astype(np.float32)
    theirs = torch.nn.functional.gelu(torch.asarray(z), approximate="tanh").numpy()
    np.testing.assert_allclose(gelu(np, z), theirs, atol=1e-6)


def test_the_stage_is_a_linear_map_and_a_network(rng: np.random.Generator) -> None:
    stage = network()
    x = rng.standard_normal((30, D))
    t = {name: tensor.astype(np.float64) for name, tensor in stage.tensors().items()}
    z = x @ t["inner"] + t["inner_offset"]
    features = z / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    expected = x @ t["matrix"] + t["offset"] + features @ t["outer"] + t["outer_offset"]
    chain = Chain([stage])
    np.testing.assert_allclose(chain(x), expected, atol=1e-10)
    np.testing.assert_allclose(chain(x.astype(np.float32)), expected, atol=1e-4)
    np.testing.assert_allclose(chain(x[0]), expected[0], atol=1e-10)
    assert stage.dims == (D, 5)
    assert network(hidden=10 * D).products > network(hidden=1).products == 1


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
def test_other_libraries_agree(library: str, rng: np.random.Generator) -> None:
    xp = pytest.importorskip(library)
    chain = Chain([RowNorm(), network(), RowNorm()])
    x = rng.standard_normal((50, D)).astype(np.float32)
    out = chain(xp.asarray(x))
    assert type(out) is type(xp.asarray(x))
    np.testing.assert_allclose(np.asarray(out), chain(x), atol=1e-5)


def test_tensors_come_back(rng: np.random.Generator) -> None:
    stage = network()
    x = rng.standard_normal((20, D)).astype(np.float32)
    again = ResidualMap.from_tensors(stage.tensors())
    np.testing.assert_array_equal(Chain([again])(x), Chain([stage])(x))
    np.testing.assert_array_equal(Chain([stage]).rounded()(x), Chain([stage])(x))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"outer": None}, "a residual map has"),
        ({"more": np.zeros(1)}, "a residual map has"),
        ({"matrix": np.zeros(D)}, "has matrices"),
        ({"inner": np.zeros(D)}, "has matrices"),
        ({"inner": np.zeros((D + 1, 6))}, "'inner' has shape"),
        ({"inner_offset": np.zeros(5)}, "'inner_offset' has shape"),
        ({"outer": np.zeros((6, 4))}, "'outer' has shape"),
        ({"outer_offset": np.zeros(4)}, "'outer_offset' has shape"),
        ({"offset": np.zeros((1, 5))}, "'offset' has shape"),
    ],
)
def test_wrong_tensors_are_refused(changes: dict[str, Any], says: str) -> None:
    tensors = {k: v for k, v in {**network().tensors(), **changes}.items() if v is not None}
    with pytest.raises(ValueError, match=says):
        ResidualMap.from_tensors(tensors)


def test_it_learns_what_the_linear_map_leaves() -> None:
    pytest.importorskip("torch")
    batch, new = bent(), bent(200, seed=1)
    base = least_squares(batch)
    step = Residual(hidden=64, loss="mse", epochs=40, rate=0.01)
    stage = step.refine(base, [batch])
    assert isinstance(stage, ResidualMap)

    def error(stage: Any) -> float:
        return float(((Chain([stage])(new.x) - new.y) ** 2).sum(1).mean())

    assert error(stage) < 0.5 * error(base)
    again = step.refine(base, [batch.select(slice(0, 100)), batch.select(slice(100, None))])
    for name, tensor in stage.tensors().items():
        assert tensor.tobytes() == again.tensors()[name].tobytes()


def test_the_linear_map_stands_where_no_correction_helps() -> None:
    pytest.importorskip("torch")
    batch = bent()
    rng = np.random.default_rng(1)
    base = Affine(np.eye(D), np.zeros(D))
    y = batch.x + rng.standard_normal(batch.x.shape).astype(np.float32)
    noise = Batch(batch.ids, batch.x, y)
    assert Residual(hidden=4, loss="mse", epochs=2, rate=1.0).refine(base, [noise]) is base


def test_too_few_or_constant_rows_leave_the_linear_map() -> None:
    base, batch = Affine(np.eye(D)), bent()
    same = np.ones_like(batch.x)
    for rows in (
        batch.select(slice(0, 40)),
        Batch(batch.ids, same, batch.y),
        Batch(batch.ids, batch.x, same),
        Batch(batch.ids, np.tile(batch.x[:9], (50, 1))[:400], np.tile(batch.y[:9], (50, 1))[:400]),
    ):
        assert Residual().refine(base, [rows]) is base


def test_the_width_is_spelt_out() -> None:
    rows, base = [bent()], Affine(np.eye(D))
    assert Residual.expanded({"hidden": "auto", "loss": "mse"}, base, rows) == [
        {"hidden": 2 * D, "loss": "mse"}
    ]
    assert Residual.expanded({"hidden": 5}, base, rows) == [{"hidden": 5}]
    wide = [Batch(np.arange(2), np.ones((2, 900)), np.ones((2, 3)))]
    assert Residual.expanded({}, Affine(), wide) == [{"hidden": 1024}]


def test_a_loss_that_diverges_is_an_error() -> None:
    pytest.importorskip("torch")
    batch = bent()
    with pytest.raises(InputError, match="not finite.*Lower the rate"):
        Residual(hidden=4, loss="mse", rate=1e29).refine(least_squares(batch), [batch])
    with pytest.raises(InputError, match="unknown loss"):
        Residual(loss="hinge").refine(least_squares(batch), [batch])


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"isthmus\[torch\]"):
        Residual().refine(Affine(np.eye(D)), [bent()])
