"""What the page of a grid of layers says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.report import write_layers_report
from isthmus.report.layers import _map, _short, grid_headline
from isthmus.similarity import Grid

pytest.importorskip("plotly", reason="reports need plotly")

NAMES = ("one", "other")


def test_the_heat_map_holds_the_grid(grid: Grid) -> None:
    for measure, values in grid.values.items():
        figure = _map(grid, measure, NAMES)
        (heat,) = figure.traces
        np.testing.assert_allclose(heat["z"], values, rtol=1e-3)
        assert [n["text"] for n in figure.layout["annotations"]] == [
            f"{v:.2f}" for v in values.ravel()
        ]
        assert len(figure.table.rows) == len(grid.names_x)


def test_strong_colours_are_close_whatever_the_direction(grid: Grid) -> None:
    cka, distance = (
        _map(grid, measure, NAMES).traces[0]["colorscale"]
        for measure in ("linear_cka", "procrustes")
    )
    assert [cka[0], cka[-1]] == [[0.0, "var(--heat-0)"], [1.0, "var(--heat-4)"]]
    assert [distance[0], distance[-1]] == [[0.0, "var(--heat-4)"], [1.0, "var(--heat-0)"]]


def test_what_all_layers_share_is_said_once() -> None:
    names = [f"encoder.layer.{i}.output" for i in range(3)]
    assert _short(names) == (["0", "1", "2"], ": encoder.layer.*.output")
    assert _short(["a.x", "b"]) == (["a.x", "b"], "")
    assert _short(["only.one"]) == (["only.one"], "")
    assert _short(["<b>.a", "<b>.c"]) == (["a", "c"], ": &lt;b&gt;.*")


def test_the_answer_counts_matches_beyond_luck(grid: Grid) -> None:
    assert grid_headline(grid).short == "5 of 5 layers have a match beyond luck."
    lucky = replace(grid, p_max={m: np.ones_like(p) for m, p in grid.p_max.items()})
    answer = grid_headline(lucky)
    assert answer.short == "None that these rows show."
    assert answer.tone == "bad"
    closest = np.unravel_index(np.argmax(grid.values["linear_cka"]), (5, 4))
    assert f"{grid.names_x[closest[0]]} and {grid.names_y[closest[1]]}" in answer.sentence


def test_layer_names_are_text(pages: dict[str, Path], grid: Grid, read: Any) -> None:
    tree = read(pages["layers"])
    shown = " ".join(tree.all("main")[0].text.split())
    for name in grid.names_x:
        assert name in shown


def test_a_large_grid_is_not_written_into_its_cells(tmp_path: Path) -> None:
    shape = (60, 50)
    rng = np.random.default_rng(0)
    layers = [tuple(f"layer.{i}" for i in range(n)) for n in shape]
    table = {"linear_cka": rng.random(shape)}
    grid = Grid(*layers, table, table, table, table, {"linear_cka": "Šidák"}, 100)
    figure = _map(grid, "linear_cka", NAMES)
    assert figure.layout["annotations"] == []
    assert len(figure.layout["yaxis"]["ticktext"]) <= 40
    write_layers_report(grid, tmp_path / "out.html")
    assert (tmp_path / "out.html").stat().st_size < 6e6


def test_a_grid_of_equal_values_and_of_nothing(tmp_path: Path) -> None:
    one = {"linear_cka": np.ones((1, 1))}
    grid = Grid(("a",), ("b",), one, one, one, one, {"linear_cka": "Šidák"}, 10)
    assert _map(grid, "linear_cka", NAMES).traces[0]["zmax"] > 1
    with pytest.raises(InputError, match="no measure"):
        write_layers_report(replace(grid, values={}), tmp_path / "out.html")


def test_cuts_of_real_networks_are_listed_with_the_call_that_makes_them(
    tmp_path: Path, read: Any
) -> None:
    torch = pytest.importorskip("torch")
    from isthmus.nn import compare_layers

    def network(seed: int) -> Any:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return torch.nn.Sequential(
                torch.nn.Linear(6, 9), torch.nn.Tanh(), torch.nn.Linear(9, 9), torch.nn.Tanh()
            )

    rows = torch.randn(400, 6, generator=torch.Generator().manual_seed(0))
    found = compare_layers(network(0), network(1), rows.split(100), layers_x="*", layers_y="*")
    path = tmp_path / "out.html"
    write_layers_report(found.grid, path, names=("A", "<B>"), cuts=found.stitches())
    shown = " ".join(read(path).all("main")[0].text.split())
    assert "Where to cut" in shown and "<B>" in shown
    best = found.stitches()[0]
    assert f"stitch(first, '{best.front}', second, '{best.back}', batches)" in shown
    assert f"{best.explained:.3f}"[:4] in shown
