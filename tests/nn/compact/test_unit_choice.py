import copy
from functools import lru_cache

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("sklearn")

from digit_networks import digits  # noqa: E402
from torch import nn  # noqa: E402

from isthmus.nn.compact import remove_units  # noqa: E402
from isthmus.nn.compact.unit_choice import (  # noqa: E402
    chosen_units,
    made_up,
    white_covariance,
)
from isthmus.training.loop import seeded  # noqa: E402


def test_the_covariance_is_that_of_rectified_units_of_white_inputs():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((4, 3))
    drawn = np.maximum(rng.standard_normal((400_000, 3)) @ rows.T, 0)
    np.testing.assert_allclose(white_covariance(rows), np.cov(drawn.T), atol=0.03)


def test_what_is_chosen_explains_most_one_after_the_other():
    rng = np.random.default_rng(1)
    values = rng.standard_normal((300, 3)) @ rng.standard_normal((3, 7))
    values[:, 4] = 30 * values[:, 3]  # the largest, and a copy of another
    values -= values.mean(0)
    covariance, columns = values.T @ values / 300, rng.standard_normal((7, 2))
    wanted = values @ columns

    def left(kept):
        given = values[:, kept]
        return float(
            np.square(wanted - given @ np.linalg.lstsq(given, wanted, rcond=None)[0]).sum()
        )

    kept = chosen_units(covariance, columns, 3)
    # three directions: three units that are no copies of one another give all
    assert left(kept) < 1e-9 * float(np.square(wanted).sum())
    first = chosen_units(covariance, columns, 1)
    assert left(first) == pytest.approx(min(left([unit]) for unit in range(7)))
    fitted = made_up(covariance, columns, kept)
    assert np.square(values[:, kept] @ fitted - wanted).sum() < 0.05 * np.square(wanted).sum()


def test_units_that_make_nothing_stay_last():
    covariance = np.diag([0.0, 2.0, 0.0, 1.0])
    columns = np.ones((4, 1))
    assert chosen_units(covariance, columns, 2).tolist() == [1, 3]
    assert len(chosen_units(covariance, columns, 3)) == 3
    np.testing.assert_array_equal(made_up(0 * covariance, columns, np.array([0])), columns[:1])


@lru_cache
def trained(kind):
    x, y = digits()[:2]
    with seeded(5):
        if kind == "dense":
            net = nn.Sequential(
                nn.Flatten(), nn.Linear(64, 96), nn.BatchNorm1d(96), nn.ReLU(), nn.Linear(96, 10)
            )
        else:
            net = nn.Sequential(
                nn.Conv2d(1, 48, 3, padding=1), nn.ReLU(),
                nn.Conv2d(48, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(),
                nn.Linear(256, 10),
            )  # fmt: skip
        steps = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(6):
            for rows in torch.randperm(len(x)).split(64):
                steps.zero_grad()
                nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
                steps.step()
    return net.eval()


def accuracy(net):
    x, y = digits()[2:]
    with torch.no_grad():
        return float((net(x).argmax(1) == y).float().mean())


def at_random(net, layer, into, share, seed):
    """The same network of which the reading layer does not see some units."""
    units = len(net.get_submodule(layer).weight)
    gone = np.random.default_rng(seed).permutation(units)[: round(share * units)]
    other = copy.deepcopy(net)
    with torch.no_grad():
        other.get_submodule(into).weight[:, gone] = 0
    return other


@pytest.mark.parametrize("share", [0.5, 0.8, 0.9])
@pytest.mark.parametrize(
    ("kind", "layer", "into", "through"), [("dense", "1", "4", ("2",)), ("images", "0", "2", ())]
)
def test_without_data_no_worse_than_at_random(kind, layer, into, through, share):
    net = trained(kind)
    chance = [accuracy(at_random(net, layer, into, share, seed)) for seed in range(8)]
    assert accuracy(net) > 0.9
    made = remove_units(net, layer, into, share=share, through=through).module
    assert accuracy(made) > np.mean(chance) - 0.01
    if share > 0.5:
        assert accuracy(made) > np.mean(chance)
