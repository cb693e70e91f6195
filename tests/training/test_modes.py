"""What of a batch a network takes."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.training.modes import call_model, evaluation_mode, taken_by  # noqa: E402


class Masked(nn.Module):
    def forward(self, x, mask=None):
        return x if mask is None else x * mask


class TwoInputs(nn.Module):
    def forward(self, x, group):
        return x + group[:, None]


class Named(nn.Module):
    def forward(self, input_ids, attention_mask=None):
        return input_ids if attention_mask is None else input_ids * attention_mask


class Doubled(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(2, 3)

    def forward(self, x):
        return 2 * self.inner(x)


X, LABELS = torch.ones(3, 2), torch.arange(3)


@pytest.mark.parametrize(
    ("model", "batch", "wanted"),
    [
        (nn.ReLU(), (X, LABELS), X),
        (nn.ReLU(), [X, LABELS, LABELS], X),
        (Masked(), (X, LABELS), X),
        (Masked(), (X, 2 * X), 2 * X),
        (Masked(), (X, 2 * X, LABELS), 2 * X),
        (TwoInputs(), (X, LABELS), X + LABELS[:, None]),
        (Named(), {"input_ids": X, "labels": LABELS}, X),
        (Named(), {"input_ids": X, "attention_mask": 0 * X, "idx": LABELS}, 0 * X),
    ],
)
def test_labels_beside_the_input_are_left_away(model, batch, wanted):
    torch.testing.assert_close(call_model(model, batch), wanted)


@pytest.mark.parametrize(
    ("model", "batch", "says"),
    [
        (TwoInputs(), (X,), "TwoInputs.forward takes x, group, and the batch has 1 parts"),
        (Named(), {"input_ids": X, "token_type_ids": X}, "batch holds token_type_ids too.*prepare"),
    ],
)
def test_what_a_network_cannot_take_is_named(model, batch, says):
    with pytest.raises(InputError, match=says):
        taken_by(model, batch)


@pytest.mark.parametrize("how", ["in place", "wrapped"])
def test_compiled_networks_run_as_written_where_hooks_look_into_them(how):
    network = Doubled()
    if how == "in place":
        network.compile(backend="eager", fullgraph=True)
    else:
        network = torch.compile(network, backend="eager", fullgraph=True)
    wanted = network(X)
    seen = []

    def look(*_):
        seen.append(torch.compiler.is_compiling())
        print(end="")  # a graph cannot hold it

    layer = next(part for part in network.modules() if isinstance(part, nn.Linear))
    with evaluation_mode(network):
        handle = layer.register_forward_hook(look)
        assert torch.equal(network(X), wanted)
        handle.remove()
    assert seen == [False]
    assert torch.equal(network(X), wanted)
