import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.diagnose import Relation  # noqa: E402
from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.look.layers import LayerMeasuring, LayerReading, compare_layers  # noqa: E402
from isthmus.nn.look.paired_layers import diagnose_models, layer_rows  # noqa: E402
from isthmus.nn.look.taps import Taps  # noqa: E402
from isthmus.similarity import compare  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402


def deep(seed, width=12, depth=4):
    with seeded(seed):
        layers = [nn.Linear(10, width), nn.Tanh()]
        for _ in range(depth - 1):
            layers += [nn.Linear(width, width), nn.Tanh()]
        return nn.Sequential(*layers)


def batches(n=600, size=100, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(n, 10, generator=generator).split(size))


def test_the_grid_is_that_of_activations_held_whole():
    x, y = deep(0), deep(1, width=9)
    data = batches()
    found = compare_layers(
        x,
        y,
        data,
        layers_x="[1357]",
        layers_y="[1357]",
        measuring=LayerMeasuring(measures=("linear_cka", "procrustes")),
    )
    with Taps(x, "[1357]") as tap_x, Taps(y, "[1357]") as tap_y:
        whole = torch.cat(data)
        rows_x, rows_y = tap_x(whole), tap_y(whole)
    for i, a in enumerate(found.grid.names_x):
        for j, b in enumerate(found.grid.names_y):
            exact = compare(
                rows_x[a].double().numpy(),
                rows_y[b].double().numpy(),
                measures=("linear_cka", "debiased_cka", "procrustes"),
            )
            for name in ("linear_cka", "debiased_cka", "procrustes"):
                assert found.grid.values[name][i, j] == pytest.approx(exact[name].value, abs=1e-5)
    # the first layers see the same inputs: they are the closest, and that is no chance
    assert found.matches[0][:2] == ("1", "1") and found.matches[0][3] < 0.05
    assert json.loads(found.to_json())["grid"]["n"] == 600
    assert "closest layers" in str(found) and "cuts" in str(found)


def test_the_share_that_is_explained_is_that_of_fresh_data():
    x, y = deep(0), deep(1)
    names = {"layers_x": ["1", "7"], "layers_y": ["1", "7"]}
    found = compare_layers(x, y, batches(800), **names)
    fresh = compare_layers(x, y, batches(4000, seed=5), **names).moments
    for i, a in enumerate(("1", "7")):
        for j, b in enumerate(("1", "7")):
            fit, test = found.moments.second(a, b), fresh.second(a, b)
            ridge = fit.xx + 1e-3 * np.trace(fit.xx) / len(fit.xx) * np.eye(len(fit.xx))
            w = np.linalg.solve(ridge, fit.xy)
            left = np.trace(test.yy) - 2 * np.vdot(w, test.xy) + np.vdot(w, test.xx @ w)
            # the ridge is not the chosen one, but near it
            assert found.explained[i, j] == pytest.approx(1 - left / np.trace(test.yy), abs=0.04)


def test_networks_that_see_unrelated_data_match_by_no_more_than_chance():
    x, y = deep(0), deep(1)
    generator = torch.Generator().manual_seed(9)
    found = compare_layers(
        x,
        y,
        batches(),
        layers_x="[1357]",
        layers_y="[1357]",
        reading=LayerReading(
            prepare=(lambda b: b, lambda b: torch.randn(b.shape, generator=generator))
        ),
    )
    assert min(p for *_, p in found.matches) > 0.05
    assert found.stitches() == [] and "none: no two layers" in str(found)
    assert found.explained.max() < 0.1
    json.loads(found.to_json())


def test_a_cut_that_changes_nothing_is_not_offered():
    """A network and itself: every layer explains itself whole."""
    x = deep(0)
    names = {"layers_x": ["1", "3", "7"], "layers_y": ["1", "3", "7"]}
    for items in (100, 800):
        found = compare_layers(x, x, batches(items), **names)
        assert all(cut.front != cut.back for cut in found.stitches())


def test_fewer_items_than_dimensions_establish_nothing():
    found = compare_layers(deep(0), deep(1), batches(12), layers_x="1", layers_y="1")
    assert found.explained[0, 0] < 0.7
    json.loads(found.to_json())


def test_bad_input_is_refused():
    x, y = deep(0), deep(1)
    with pytest.raises(InputError, match=r"called '9'"):
        compare_layers(x, y, batches(), layers_x="9", layers_y="1")
    with pytest.raises(InputError, match="no batches"):
        compare_layers(x, y, [], layers_x="1", layers_y="1")
    uneven = LayerReading(prepare=(lambda b: b, lambda b: b[:-1]))
    with pytest.raises(InputError, match="must pair"):
        compare_layers(x, y, batches(), layers_x="1", layers_y="1", reading=uneven)
    with torch.no_grad():
        y[0].weight.fill_(float("nan"))
    with pytest.raises(InputError, match=r"layer 1.*NaN or infinite"):
        compare_layers(x, y, batches(), layers_x="1", layers_y="1")
    with torch.no_grad():
        y[0].weight.fill_(0.0)
    with pytest.raises(InputError, match=r"layer 1"):
        compare_layers(x, y, batches(), layers_x="1", layers_y="1")
    assert all(not part._forward_hooks for m in (x, y) for part in m.modules())


def test_two_networks_are_diagnosed_as_vectors_are():
    x = deep(0)
    y = deep(0)
    with torch.no_grad():
        rotation = torch.linalg.qr(torch.randn(12, 12, generator=torch.Generator().manual_seed(3)))
        turned = nn.Sequential(*y, nn.Linear(12, 12, bias=False))
        turned[-1].weight.copy_(rotation.Q)
    found = diagnose_models(x, turned, batches(1200), layers=("7", "8"))
    assert found.relation is Relation.SAME_SPACE
    assert "rotation" in [finding.name for finding in found.findings]
    rows_x, rows_y = layer_rows(x, turned, batches(), layers=("7", "8"))
    assert rows_x.shape == rows_y.shape == (600, 12)
    np.testing.assert_allclose(rows_x @ rotation.Q.numpy().T, rows_y, atol=1e-5)


def test_one_layer_of_each_is_diagnosed_and_rows_must_pair():
    x, y = deep(0), deep(1)
    with pytest.raises(InputError, match=r"matches 4 layers"):
        layer_rows(x, y, batches(), layers=("[0123]", "1"))
    with pytest.raises(InputError, match="must pair"):
        layer_rows(x, y, batches(), layers=("1", "1"), prepare=(lambda b: b, lambda b: b[1:]))
    with pytest.raises(InputError, match="no batches"):
        layer_rows(x, y, [], layers=("1", "1"))


def test_a_dead_layer_and_two_vocabularies_name_themselves():
    net = nn.Sequential(nn.Linear(4, 5), nn.ReLU())
    nn.init.constant_(net[0].bias, -1e4)
    x = torch.randn(30, 4)
    with pytest.raises(InputError, match="layer 1"):
        compare_layers(net, net, [x], layers_x="*", layers_y="0")
    with pytest.raises(InputError, match="layer 1 of the first network.*dead"):
        diagnose_models(net, net, [x], layers=("1", "0"))
    few, more = (nn.Sequential(nn.Embedding(n, 3)) for n in (10, 12))
    with pytest.raises(InputError, match="vocabularies of 10 and 12 tokens.*prepare="):
        compare_layers(few, more, [torch.zeros(9, 4).long()], layers_x="0", layers_y="0")
