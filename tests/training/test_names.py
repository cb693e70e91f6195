import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.training.names import find_module, find_modules  # noqa: E402


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.blocks = nn.ModuleList([Block() for _ in range(12)])
        self.head = nn.Linear(4, 2)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("stem", ["stem"]),
        ("blocks.1", ["blocks.1"]),
        ("blocks.?", [f"blocks.{i}" for i in range(10)]),
        ("blocks.*", [f"blocks.{i}" for i in range(12)]),
        ("blocks.[23].norm", ["blocks.2.norm", "blocks.3.norm"]),
        ("**.norm", [f"blocks.{i}.norm" for i in range(12)]),
        (["head", "stem"], ["stem", "head"]),
    ],
)
def test_names_and_patterns_are_matched_in_the_order_of_the_model(pattern, names):
    assert list(find_modules(Network(), pattern)) == names


@pytest.mark.parametrize(
    ("pattern", "near"),
    [
        ("blocks.13", "blocks.1"),
        ("block.3", "blocks.3"),
        ("heads", "head"),
        ("encoder.stem", "stem"),
        ("blocks.3.nrm", "blocks.3.norm"),
    ],
)
def test_near_names_are_suggested(pattern, near):
    with pytest.raises(InputError, match=rf"no layer of Network is called.*'{near}'"):
        find_modules(Network(), pattern)


def test_when_nothing_is_near_the_names_are_listed():
    with pytest.raises(InputError, match=r"There are 'stem', 'blocks'.* and \d+ more"):
        find_modules(Network(), "zzzz")
    with pytest.raises(InputError, match="no named layers"):
        find_modules(nn.Linear(2, 2), "zzzz")
    with pytest.raises(InputError, match="no layer is named"):
        find_modules(Network(), [])


def test_one_module_is_one():
    model = Network()
    assert find_module(model, "blocks.3.norm") is model.blocks[3].norm
    with pytest.raises(InputError, match=r"matches 12 layers.*Name one"):
        find_module(model, "blocks.*")
