"""A grid of layers equals the pairs one by one; its corrected null holds its level."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.similarity import GridMoments, compare, similarity_grid

WIDTHS_X = {"embed": 4, "block.0": 6, "block.1": 5}
WIDTHS_Y = {"in": 3, "out": 6}


def layers(n: int = 240, seed: int = 0, related: bool = True) -> tuple[dict[str, Any], ...]:
    """Layers of a model resemble each other; the models share their input where ``related``."""
    rng = np.random.default_rng(seed)
    inputs = [rng.standard_normal((n, 6)) for _ in range(2)]
    sides = []
    for i, widths in enumerate((WIDTHS_X, WIDTHS_Y)):
        base = inputs[0 if related else i]
        sides.append(
            {
                name: np.tanh(base @ rng.standard_normal((6, d)))
                + 0.1 * rng.standard_normal((n, d))
                for name, d in widths.items()
            }
        )
    return tuple(sides)


def streamed(x: Any, y: Any, size: int = 64) -> GridMoments:
    moments = GridMoments()
    n = len(next(iter(x.values())))
    for start in range(0, n, size):
        rows = slice(start, start + size)
        moments.update({k: v[rows] for k, v in x.items()}, {k: v[rows] for k, v in y.items()})
    return moments


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("size", [7, 240])
def test_equals_the_pairs_one_by_one(offset: float, size: int) -> None:
    x, y = layers()
    x = {name: rows + offset for name, rows in x.items()}
    measures = ["linear_cka", "debiased_cka", "procrustes", "procrustes_angle"]
    grid = similarity_grid(streamed(x, y, size), measures=measures)
    assert (grid.names_x, grid.names_y, grid.n) == (tuple(WIDTHS_X), tuple(WIDTHS_Y), 240)
    for i, a in enumerate(WIDTHS_X):
        for j, b in enumerate(WIDTHS_Y):
            for name, found in compare(x[a], y[b], measures=measures).items():
                assert grid.values[name][i, j] == pytest.approx(found.value, abs=1e-7), name
                assert grid.p[name][i, j] == pytest.approx(found.null.p, rel=1e-3, abs=1e-9), name


def test_the_family_of_canonical_correlations_and_those_of_rows_have_grids() -> None:
    x, y = layers(60)
    names = ("cca", "svcca", "pwcca", "rsa", "mutual_knn")
    grid = similarity_grid(streamed(x, y), measures=names, rows=(x, y), permutations=20)
    assert list(grid.values) == ["mean_cca", *names[1:]]
    for i, a in enumerate(grid.names_x):
        for j, b in enumerate(grid.names_y):
            pair = compare(x[a], y[b], measures=list(grid.values))
            for name, values in grid.values.items():
                assert values[i, j] == pytest.approx(pair[name].value, abs=1e-5)
                assert 0 < grid.p[name][i, j] <= grid.p_max[name][i, j] <= 1


def test_a_mapping_of_moments_gives_the_same() -> None:
    x, y = layers()
    cells = {(a, b): Moments.of(x[a], y[b]) for a in x for b in y}
    one, other = similarity_grid(cells), similarity_grid(streamed(x, y))
    for name, table in one.values.items():
        np.testing.assert_allclose(table, other.values[name], atol=1e-9)
        np.testing.assert_allclose(one.p[name], other.p[name], atol=1e-6)


def test_moments_of_a_pair_are_those_of_its_rows() -> None:
    x, y = layers()
    found = streamed(x, y, 50).second("block.0", "in")
    expected = Moments.of(x["block.0"], y["in"]).second()
    for name in ("xx", "xy", "yy", "mean_x", "mean_y"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=1e-12)


def test_torch_activations_give_the_same() -> None:
    torch = pytest.importorskip("torch")
    x, y = layers()
    tensors = [{k: torch.from_numpy(v) for k, v in side.items()} for side in (x, y)]
    one, other = similarity_grid(streamed(*tensors)), similarity_grid(streamed(x, y))
    for name, table in one.values.items():
        np.testing.assert_allclose(table, other.values[name], atol=1e-10)


@pytest.mark.parametrize("scale", [1e-25, 1e-12, 1e14, 1e30])
def test_activations_at_the_ends_of_the_range_of_float32(scale: float) -> None:
    sides = [{k: v.astype(np.float32) for k, v in side.items()} for side in layers()]
    wanted = similarity_grid(streamed(*sides))
    sides[0]["block.0"] *= np.float32(scale)
    found = similarity_grid(streamed(*sides))
    for name, table in wanted.values.items():
        np.testing.assert_allclose(found.values[name], table, atol=1e-4)


def test_related_layers_stand_out_of_the_corrected_null() -> None:
    x, y = layers()
    sample = [{k: v[:100] for k, v in side.items()} for side in (x, y)]
    grid = similarity_grid(streamed(x, y), rows=(sample[0], sample[1]), permutations=60)
    assert grid.p_max["linear_cka"].max() == pytest.approx(1 / 61)
    assert "max-T" in grid.corrected_by["debiased_cka"]
    assert grid.corrected_by["procrustes"] == "Šidák"
    for name in grid.values:
        assert (grid.p_max[name] >= grid.p[name] - 1e-12).all()
        best = grid.best(name)
        assert [a for a, *_ in best] == list(WIDTHS_X)
        sign = -1 if name == "procrustes" else 1
        assert best[0][2] == sign * max(sign * grid.values[name][0])


@pytest.mark.parametrize(
    ("name", "tries"), [("linear_cka", 40), ("debiased_cka", 40), ("procrustes", 12)]
)
def test_the_corrected_null_holds_its_level(name: str, tries: int) -> None:
    smallest = []
    for seed in range(tries):
        x, y = layers(80, seed, related=False)
        grid = similarity_grid(
            streamed(x, y, 80),
            measures=[name],
            rows=None if name == "procrustes" else (x, y),
            permutations=40,
            seed=seed,
        )
        smallest.append(grid.p_max[name].min())
    assert np.mean(np.array(smallest) <= 0.1) < 0.25
    assert np.mean(smallest) > 0.35


def test_prints_and_saves() -> None:
    x, y = layers()
    grid = similarity_grid(streamed(x, y), measures=["linear_cka"])
    assert "block.1" in str(grid)
    assert json.loads(grid.to_json())["values"]["linear_cka"] == grid.values["linear_cka"].tolist()


def test_bad_input() -> None:
    x, y = layers()
    moments = streamed(x, y)
    with pytest.raises(InputError, match="'rsa' needs the rows themselves.*rows="):
        similarity_grid(moments, measures=["rsa"])
    with pytest.raises(InputError, match="the measure 'rsx' is unknown.*svcca"):
        similarity_grid(moments, measures=["rsx"])
    with pytest.raises(InputError, match="no layers"):
        similarity_grid(GridMoments())
    with pytest.raises(InputError, match="no moments of the layers"):
        similarity_grid(
            {
                ("a", "b"): Moments.of(x["embed"], y["in"]),
                ("c", "d"): Moments.of(x["embed"], y["in"]),
            }
        )
    with pytest.raises(InputError, match="differ from those of the first"):
        moments.update({"embed": x["embed"]}, y)
    with pytest.raises(InputError, match=r"\[10, 240\] rows"):
        GridMoments().update({"embed": x["embed"][:10]}, y)
    with pytest.raises(InputError, match="x, layer a: .*NaN"):
        GridMoments().update({"a": np.full((3, 2), np.nan)}, {"b": np.ones((3, 2))})
    with pytest.raises(InputError, match="Pool over positions"):
        GridMoments().update({"a": np.ones((3, 2, 4))}, {"b": np.ones((3, 2))})
    with pytest.raises(InputError, match="no layer 'block.0'"):
        similarity_grid(moments, rows=({"embed": x["embed"]}, y))
    with pytest.raises(InputError, match="too few to permute"):
        small = [{k: v[:5] for k, v in side.items()} for side in (x, y)]
        similarity_grid(moments, rows=(small[0], small[1]))
    with pytest.raises(InputError, match="were not accumulated"):
        moments.second("nope", "in")
    dead = {**x, "embed": np.full((240, 4), 0.1, np.float32)}
    with pytest.raises(InputError, match="layer embed: all rows are the same"):
        similarity_grid(streamed(dead, y))
