"""What of a batch a network takes."""

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.training.modes import call_model, taken_by  # noqa: E402


class Masked(nn.Module):
    def forward(self, x, mask=None):
        return x if mask is None else x * mask


class TwoInputs(nn.Module):
    def forward(self, x, group):
        return x + group[:, None]


class Named(nn.Module):
    def forward(self, input_ids, attention_mask=None):
        return input_ids if attention_mask is None else input_ids * attention_mask


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
