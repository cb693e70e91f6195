"""Every kind of stage keeps what a stage promises."""

from __future__ import annotations

import json

import numpy as np
import pytest

from isthmus.adapters.chain import (
    Affine,
    Chain,
    Int8Map,
    OnSphere,
    ResidualMap,
    RoutedMap,
    RowNorm,
    Stage,
    Thin,
)
from isthmus.adapters.chain.kinds import STAGES, unpack_stage

D = 5
draw = np.random.default_rng(0).standard_normal


def _single(*shape: int) -> np.ndarray:
    return draw(shape).astype(np.float32)


EXAMPLES: list[Stage] = [
    Affine(draw((D, 3)), draw(3)),
    Affine(draw(D)),
    Affine(offset=draw(D)),
    RowNorm("unit"),
    RowNorm("layer"),
    OnSphere(draw(D) / 10),
    Thin(draw((D, 2)), draw((2, 4)), draw(4)),
    Int8Map(np.arange(-10, 10, dtype=np.int8).reshape(4, D), draw(4) ** 2, draw(4)),
    ResidualMap(_single(D, 3), _single(3), _single(D, 2), _single(2), _single(2, 3), _single(3)),
    RoutedMap(_single(D, 2), _single(2), _single(2, D, 3), _single(2, 3), 0.5, nearest=2),
]
every_kind = pytest.mark.parametrize("stage", EXAMPLES, ids=lambda s: f"{s.name}-{s.dims}")


def test_there_is_an_example_of_every_kind() -> None:
    assert {type(stage) for stage in EXAMPLES} == set(STAGES.values())
    assert all(STAGES[stage.name] is type(stage) for stage in EXAMPLES)


@every_kind
def test_what_is_packed_is_json_and_small_numbers_and_comes_back(stage: Stage) -> None:
    described, tensors = stage.pack()
    assert json.loads(json.dumps(described)) == described
    assert all(t.dtype in (np.float32, np.int8) for t in tensors.values())
    again = unpack_stage(described, tensors)
    assert type(again) is type(stage) and again.dims == stage.dims
    x = _single(7, D)
    np.testing.assert_allclose(Chain([again])(x), Chain([stage])(x), rtol=1e-5, atol=1e-6)
    # and once more it is the same to the last bit
    for name, tensor in again.pack()[1].items():
        np.testing.assert_array_equal(tensor, tensors[name])


@every_kind
def test_it_says_its_widths(stage: Stage) -> None:
    before, after = stage.dims
    assert before in (None, D)
    assert Chain([stage])(_single(7, D)).shape == (7, D if after is None else after)


@every_kind
def test_rows_that_are_owned_give_the_same_and_others_are_kept(stage: Stage) -> None:
    x = draw((7, D))
    kept, weights = x.copy(), stage.tensors()
    out = stage.run(np, x, weights, owned=False)
    np.testing.assert_array_equal(x, kept)
    assert not np.shares_memory(out, x)
    np.testing.assert_array_equal(stage.run(np, x, weights, owned=True), out)


@every_kind
def test_a_stage_that_is_a_matrix_says_which(stage: Stage) -> None:
    if stage.affine is None:
        assert stage.name in ("row_norm", "on_sphere", "residual", "routed")
        return
    x = draw((7, D))
    np.testing.assert_allclose(Chain([stage.affine])(x), Chain([stage])(x), rtol=1e-9)


@every_kind
def test_scale_goes_through_where_a_stage_says_so(stage: Stage) -> None:
    linear = stage.without_scale()
    if linear is None:
        return
    x = draw((7, D))
    np.testing.assert_allclose(Chain([linear])(3 * x), 3 * Chain([stage])(x), rtol=1e-9)


@every_kind
def test_superfluous_tensors_and_words_are_refused(stage: Stage) -> None:
    described, tensors = stage.pack()
    with pytest.raises(ValueError, match="found"):
        unpack_stage(described, {**tensors, "more": np.zeros(2, np.float32)})
    with pytest.raises(ValueError, match="described by|found"):
        unpack_stage({**described, "more": 1}, tensors)
    with pytest.raises(ValueError, match="unknown stage 'python'"):
        unpack_stage({**described, "stage": "python"}, tensors)


def test_a_chain_comes_back_and_refuses_what_does_not_fit() -> None:
    chain = Chain([RowNorm(), Affine(draw((D, 3)), draw(3)), RowNorm("layer")])
    described, tensors = chain.pack()
    x = _single(7, D)
    again = Chain.unpack(described, tensors, D, 3)
    np.testing.assert_array_equal(again(x), chain.rounded()(x))
    with pytest.raises(ValueError, match="no stage uses the tensor '3/matrix'"):
        Chain.unpack(described, {**tensors, "3/matrix": tensors["1/matrix"]}, D, 3)
    with pytest.raises(ValueError, match="stage 'affine' takes 5, is given 6"):
        Chain.unpack(described, tensors, 6, 3)
    with pytest.raises(ValueError, match="ends in 3 dimensions, the target has 4"):
        Chain.unpack(described, tensors, D, 4)
