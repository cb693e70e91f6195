import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.fisher import fisher_diagonal  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402


def logistic(n=300, d=5, classes=3, seed=0):
    with seeded(seed):
        module = nn.Linear(d, classes)
        return module, torch.randn(n, d)


def closed_form(module, x):
    """Of logistic regression: E p_c (1 − p_c) x_j², and without x for the bias."""
    p = torch.softmax(module(x).double(), 1).detach()
    spread = p * (1 - p)
    return (spread.T @ x.double() ** 2 / len(x), spread.mean(0))


def test_logistic_regression_has_its_closed_form():
    module, x = logistic()
    weight, bias = closed_form(module, x)
    exact, rows = fisher_diagonal(module, Batches(x, size=64), samples=None)
    torch.testing.assert_close(exact["weight"].double(), weight, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(exact["bias"].double(), bias, rtol=1e-4, atol=1e-7)
    assert rows == 300
    sampled, _ = fisher_diagonal(module, Batches(x, size=64), samples=200)
    torch.testing.assert_close(sampled["weight"].double(), weight, rtol=0.05, atol=1e-3)


def test_the_labels_are_the_models_own_and_not_those_of_the_data():
    module, x = logistic()
    wrong = torch.zeros(len(x), dtype=torch.long)
    a, _ = fisher_diagonal(module, Batches(x, wrong), seed=3)
    b, _ = fisher_diagonal(module, Batches(x, wrong + 1), seed=3)
    assert torch.equal(a["weight"], b["weight"])
    other, _ = fisher_diagonal(module, Batches(x, wrong), seed=4)
    assert not torch.equal(a["weight"], other["weight"])


@pytest.mark.parametrize("samples", [None, 400])
def test_a_regression_has_the_squares_of_its_jacobian(samples):
    with seeded(1):
        module, x = nn.Linear(4, 2), torch.randn(50, 4)
    found, _ = fisher_diagonal(module, [x], family="gaussian", samples=samples)
    expected = (x**2).mean(0).expand(2, -1)
    torch.testing.assert_close(
        found["weight"], expected, rtol=1e-4 if samples is None else 0.1, atol=0
    )


class Branching(nn.Module):
    """Reads a number out of a tensor, which vmap cannot trace."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x) * (1.0 if x.sum().item() > -1e9 else 2.0)


def test_a_module_that_vmap_refuses_is_taken_item_by_item():
    module, x = logistic(40)
    fast, _ = fisher_diagonal(module, [x], samples=2)
    slow, _ = fisher_diagonal(Branching(module), [x], samples=2)
    torch.testing.assert_close(fast["weight"], slow["inner.weight"])


def test_each_item_counts_by_itself_whatever_the_batches_and_the_mode():
    with seeded(0):
        module = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        x = torch.randn(60, 4)
    module.train()
    one, _ = fisher_diagonal(module, Batches(x, size=60, shuffle=False), samples=None)
    many, _ = fisher_diagonal(module, Batches(x, size=7, shuffle=False), samples=None)
    for name, value in one.items():
        torch.testing.assert_close(value, many[name], rtol=1e-4, atol=1e-7)
    assert module.training and module[2].training
    assert torch.equal(module[1].running_mean, torch.zeros(8))


def test_only_what_is_not_frozen_or_left_out_is_in_it():
    module = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    module[0].bias.requires_grad_(False)
    found, _ = fisher_diagonal(module, [torch.randn(8, 4)], leave_out="2")
    assert set(found) == {"0.weight"}
    with pytest.raises(InputError, match=r"no layer of Sequential is called 'head'"):
        fisher_diagonal(module, [torch.randn(8, 4)], leave_out="head")
    with pytest.raises(InputError, match="every parameter is frozen"):
        fisher_diagonal(module.requires_grad_(False), [torch.randn(8, 4)])


def test_bad_input_is_refused():
    module, x = logistic(8)
    with pytest.raises(InputError, match="no batches"):
        fisher_diagonal(module, [])
    with pytest.raises(InputError, match=r"no family 'poisson'"):
        fisher_diagonal(module, [x], family="poisson")
    with pytest.raises(InputError, match="at least one label"):
        fisher_diagonal(module, [x], samples=0)
    with pytest.raises(InputError, match=r"logits have shape \(4, 2, 3\)"):
        fisher_diagonal(module, [x.reshape(4, 2, 5)])
    with pytest.raises(InputError, match=r"begins with dict.*inputs="):
        fisher_diagonal(module, [{"x": x}])
    assert fisher_diagonal(module, [{"x": x}], inputs=lambda b: b["x"])[1] == 8
    with pytest.raises(InputError, match=r"parameter weight: the gradient is not finite"):
        fisher_diagonal(module, [x * torch.inf], family="gaussian")
