"""Rows that would be paired with the wrong items are refused, and what cannot run says why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn import Taps, compare_layers
from isthmus.nn.look.item_rows import check_rows, possible_counts


class Experts(nn.Module):
    """Each item goes to one of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.experts = nn.Linear(4, 2), nn.ModuleList([nn.Linear(4, 4) for _ in "ab"])

    def forward(self, x: Tensor) -> Tensor:
        chosen, made = self.gate(x).argmax(-1), torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            made[chosen == i] = expert(x[chosen == i])
        return made


class Sorting(nn.Module):
    """As encoders that pack texts by their length."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        order = x[:, 0].argsort(descending=True)
        return self.inner(x[order])[order.argsort()]


class Returning(nn.Module):
    """A layer that returns what ``make`` makes of its rows."""

    def __init__(self, make: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.inner, self.make = nn.Linear(4, 6), make

    def forward(self, x: Tensor) -> Any:
        return self.make(self.inner(x))


class Around(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Any:
        return self.layer(x)


class Heads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.heads = nn.Linear(8, 8), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.heads(self.query(x).view(*x.shape[:2], 2, 4).transpose(1, 2)).sum((1, 2))


class Packing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.read = nn.GRU(4, 5, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        lengths = torch.arange(len(x), 0, -1)
        return self.read(nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True))[1]


def rows(model: nn.Module, layers: str, *shape: int, **options: Any) -> dict[str, Tensor]:
    batch = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    with Taps(model, layers, **options) as taps:
        return taps(batch)


@pytest.mark.parametrize(
    ("model", "layers", "shape", "message"),
    [
        (Experts(), "experts.*", (12, 4), r"returned \d+ rows for 12 items"),
        (Sorting(), "inner", (6, 4), "changes the order of the items"),
        (Heads(), "heads", (5, 3, 8), "features on several axes, such as the heads"),
        (Packing(), "read", (4, 4, 4), "packed sequence, whose rows are steps"),
        (Around(Returning(Tensor.to_sparse)), "layer", (6, 4), "is a sparse tensor"),
        (
            Around(Returning(lambda y: torch.nested.nested_tensor([y[:2], y[2:]]))),
            "layer",
            (6, 4),
            "is a nested tensor",
        ),
    ],
    ids=["experts", "sorting", "heads", "packed", "sparse", "nested"],
)
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_layer_without_a_row_for_each_item_is_refused(
    model: nn.Module, layers: str, shape: tuple[int, ...], message: str
) -> None:
    torch.manual_seed(0)
    with pytest.raises(InputError, match=message):
        rows(model, layers, *shape)


def test_the_block_around_has_the_items_as_they_came() -> None:
    for inner in (Experts(), Sorting()):
        batch = torch.randn(9, 4, generator=torch.Generator().manual_seed(0))
        with Taps(Around(inner), "layer") as taps:
            torch.testing.assert_close(taps(batch)["layer"], inner(batch).detach())


def test_a_module_of_two_names_is_found_by_either() -> None:
    model = Around(nn.Linear(4, 4))
    model.again = model.layer
    assert set(rows(model, "again", 5, 4)) == {"again"}
    assert set(rows(model, "layer", 5, 4)) == {"layer"}


def test_a_network_and_a_batch_that_do_not_go_together_say_why() -> None:
    batch = torch.ones(6, 4)
    with pytest.raises(InputError, match=r"it holds torch\.bfloat16, the batch torch\.float32"):
        rows(Around(nn.Linear(4, 3)).bfloat16(), "layer", 6, 4)
    with pytest.raises(InputError, match="weights are on the device meta"):
        rows(Around(nn.Linear(4, 3, device="meta")), "layer", 6, 4)
    net = nn.Sequential(nn.Linear(4, 3))
    with pytest.raises(InputError, match=r"arrays of numpy.*from_numpy"):
        compare_layers(net, net, [np.ones((60, 4))], layers_x="*", layers_y="*")
    # what a network says of itself is not changed
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), Taps(net, "0") as taps:
        taps(batch[:, :3])


def test_counts_are_those_of_either_first_axis_where_steps_may_come_first() -> None:
    assert possible_counts(torch.zeros(5, 3)) == {5}
    assert possible_counts(torch.zeros(5, 3, dtype=torch.long)) == {5, 3}
    assert possible_counts(torch.zeros(5, 3, 2)) == {5, 3}
    assert possible_counts(torch.zeros(5, 3, 2, 2)) == {5}
    assert possible_counts(None) == frozenset()


def test_rows_that_depend_on_the_others_are_no_other_order() -> None:
    made = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    check_rows(made, frozenset({5}), made[:1], "a")
    check_rows(made, frozenset({5}), made[:1] + 1, "a")
    with pytest.raises(InputError, match="row of the first item is row 3"):
        check_rows(made, frozenset({5}), made[3:4], "a")
