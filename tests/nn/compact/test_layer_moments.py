import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.nn.compact.layer_moments import input_moments, input_rows, is_pointwise  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402


def test_rows_times_the_matrix_are_what_the_layer_gives():
    with seeded(0):
        conv, line = nn.Conv2d(3, 5, 1, stride=2), nn.Linear(4, 2)
        x, tokens = torch.randn(2, 3, 7, 6), torch.randn(2, 5, 4)
    made = input_rows(conv, x) @ conv.weight.flatten(1).T + conv.bias
    torch.testing.assert_close(made, conv(x).movedim(1, -1).flatten(0, -2))
    made = input_rows(line, tokens) @ line.weight.T + line.bias
    torch.testing.assert_close(made, line(tokens).flatten(0, 1))


def test_moments_are_those_of_all_inputs_in_evaluation_mode_and_no_hook_stays():
    with seeded(0):
        net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
        x = torch.randn(90, 3)
    found = input_moments(net, {"2": net[2]}, [(x[:40], "label"), (x[40:], "label")])["2"]
    rows = net[0](x).detach().double().numpy()
    np.testing.assert_allclose(found.mean_x, rows.mean(0), atol=1e-6)
    np.testing.assert_allclose(found.second().xx, np.cov(rows.T, ddof=0), atol=1e-5)
    assert net.training and not net[2]._forward_hooks


def test_only_layers_that_are_a_matrix_at_every_position_are_pointwise():
    kinds = {
        True: [nn.Linear(2, 2), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 1, stride=2)],
        False: [
            nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 1, groups=2), nn.Conv2d(2, 2, 1, padding=1),
            nn.ReLU(), nn.Conv1d(2, 2, 1),
        ],
    }  # fmt: skip
    for expected, layers in kinds.items():
        assert [is_pointwise(layer) for layer in layers] == [expected] * len(layers)
