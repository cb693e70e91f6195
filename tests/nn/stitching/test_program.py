import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus import artefact  # noqa: E402
from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.stitching.capture import capture  # noqa: E402
from isthmus.nn.stitching.program import Program  # noqa: E402


def saved(program, folder):
    """The program as it comes back from a file."""
    described, tensors = program.pack()
    artefact.write(folder / "p", "program", described, tensors, infinite=tensors)
    with artefact.read(folder / "p", "program") as stored:
        return Program.unpack(stored.content, stored.tensors)


def test_a_program_may_name_core_operators_only():
    described, tensors = capture(nn.Linear(3, 2), torch.randn(4, 3)).pack()
    for bad in ("aten.from_file.default", "os.system", "prim.device.default", "__import__"):
        record = json.loads(described["graph"])
        record["steps"][-1][1] = bad
        with pytest.raises(InputError, match=r"may not use|core operators"):
            Program.unpack({"graph": json.dumps(record)}, tensors)


@pytest.mark.parametrize("name", ["dtype", "device", "ref", "number", "layout", "memory"])
def test_arguments_and_outputs_may_be_called_as_the_marks_of_the_file_are(tmp_path, name):
    class Converting(nn.Module):
        def forward(self, x):
            return {name: x.to(dtype=torch.float64) * 2}

    x = torch.randn(4, 3)
    made = saved(capture(Converting(), x), tmp_path)
    found = made(x)
    assert list(found) == [name] and torch.equal(found[name], 2 * x.double())


class Together(nn.Module):
    """Every tensor of a batch, weighted by its place, last part first."""

    def forward(self, batch):
        parts = batch.values() if isinstance(batch, dict) else batch
        parts = [p["b"] if isinstance(p, dict) else p for p in parts]
        return {"z": sum(place * part for place, part in enumerate(parts)), "a": parts[0]}


@pytest.mark.parametrize(
    "names", [tuple(range(11)), ("z", "a"), ("a.b", ("a", "b")), ("a", "a.0", "0")]
)
def test_parts_keep_their_order_and_their_names(tmp_path, names):
    rows = [torch.randn(4, 3) + place for place in range(len(names))]
    if isinstance(names[0], int):
        batch = tuple(rows)
    else:
        batch = dict(
            (name, row) if isinstance(name, str) else (name[0], {name[1]: row})
            for name, row in zip(names, rows, strict=True)
        )
    made = saved(capture(Together(), batch), tmp_path)
    found = made(batch)
    assert list(found) == ["z", "a"] and torch.equal(found["a"], rows[0])
    torch.testing.assert_close(found["z"], Together()(batch)["z"])


def test_a_network_that_counts_its_items_is_recorded_for_one_number_of_them(tmp_path):
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.ones(1, 3))

        def forward(self, x):
            return x + self.token.expand(len(x), -1), x.sum(1)

    made = saved(capture(Counting(), torch.randn(4, 3)), tmp_path)
    for count in (1, 4, 9):
        x = torch.randn(count, 3)
        rows, sums = made(x)
        torch.testing.assert_close(rows, x + 1)
        torch.testing.assert_close(sums, x.sum(1))


def test_programs_take_mappings_and_sequences_and_refuse_other_batches():
    class Two(nn.Module):
        def forward(self, batch):
            return {"sum": batch["a"] + batch["b"][0], "count": (batch["a"].sum(), 2)}

    batch = {"a": torch.randn(4, 3), "b": (torch.randn(4, 3),)}
    made = capture(Two(), batch)
    out = made(batch)
    torch.testing.assert_close(out["sum"], batch["a"] + batch["b"][0])
    assert out["count"][1] == 2
    for other in (batch["a"], {"a": batch["a"]}, {"a": batch["a"], "b": ()}, {"a": 1, "b": (1,)}):
        with pytest.raises(InputError, match="the batch"):
            made(other)

    class Branching(nn.Module):
        def forward(self, x):
            return x * 2 if float(x.sum()) > 0 else x

    with pytest.raises(InputError, match=r"cannot be recorded.*program=False"):
        capture(Branching(), torch.randn(4, 3))
    with pytest.raises(InputError, match="batch holds a str"):
        capture(nn.Linear(2, 2), "text")


def test_an_output_of_one_field_keeps_its_name():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    model = transformers.BertModel(config, add_pooling_layer=False).eval()

    class Called(nn.Module):
        def forward(self, batch):
            return model(**batch)

    batch = {"input_ids": torch.ones(4, 7).long(), "attention_mask": torch.ones(4, 7).long()}
    found = capture(Called(), batch)(batch)
    with torch.no_grad():
        expected = model(**batch).last_hidden_state
    torch.testing.assert_close(found["last_hidden_state"], expected)
