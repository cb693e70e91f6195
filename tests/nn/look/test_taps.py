from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.look.layout import LayerAxes  # noqa: E402
from isthmus.nn.look.outputs import replace_tensor, tensor_of  # noqa: E402
from isthmus.nn.look.pooling import pool_rows  # noqa: E402
from isthmus.nn.look.taps import Taps  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402


def hooks(model):
    return sum(len(part._forward_hooks) for part in model.modules())


@pytest.fixture
def image_net():
    with seeded(0):
        return nn.Sequential(
            OrderedDict(
                stem=nn.Conv2d(3, 6, 3),
                norm=nn.BatchNorm2d(6),
                drop=nn.Dropout(0.5),
                pool=nn.AdaptiveAvgPool2d(2),
                flat=nn.Flatten(),
                head=nn.Linear(24, 5),
            )
        )


def test_rows_are_what_the_layer_returned_pooled(image_net):
    x = torch.randn(7, 3, 8, 8)
    image_net.eval()
    with Taps(image_net, ["stem", "head"]) as taps:
        rows = taps(x)
    assert list(rows) == ["stem", "head"]
    torch.testing.assert_close(rows["stem"], image_net.stem(x).mean((2, 3)))
    torch.testing.assert_close(rows["head"], image_net(x))
    assert not any(row.requires_grad for row in rows.values())


def test_training_mode_with_dropout_and_batch_norm_is_left_out_and_put_back(image_net):
    x = torch.randn(7, 3, 8, 8)
    image_net.train()
    image_net.norm.eval()
    statistics = image_net.norm.running_mean.clone()
    with Taps(image_net, "head") as taps:
        first, second = taps(x)["head"], taps(x)["head"]
        assert torch.equal(first, second)
        assert not image_net.training
    assert image_net.training and image_net.drop.training and not image_net.norm.training
    assert torch.equal(statistics, image_net.norm.running_mean)
    assert hooks(image_net) == 0


def test_hooks_are_gone_and_modes_back_after_an_error(image_net):
    image_net.train()
    with pytest.raises(RuntimeError), Taps(image_net, "**") as taps:
        taps(torch.randn(7, 4, 8, 8))
    assert hooks(image_net) == 0 and image_net.training
    with pytest.raises(InputError, match=r"no layer of Sequential is called 'hed'.*'head'"):
        Taps(image_net, "hed")
    assert hooks(image_net) == 0


def test_taps_can_be_used_again_but_not_twice_at_once_nor_outside_with(image_net):
    taps = Taps(image_net, "head")
    with pytest.raises(InputError, match="not open"):
        taps(torch.randn(2, 3, 8, 8))
    for _ in range(2):
        with taps:
            taps(torch.randn(2, 3, 8, 8))
            with pytest.raises(InputError, match="open already"):
                taps.__enter__()
    assert hooks(image_net) == 0


def test_who_runs_the_model_takes_the_rows_and_the_graph_is_not_disturbed(image_net):
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    with Taps(image_net, "stem") as taps:
        with pytest.raises(InputError, match=r"did not run.*Run the model"):
            taps.take()
        image_net(x).sum().backward()
        assert taps.take()["stem"].shape == (4, 6)
        with pytest.raises(InputError, match="did not run"):
            taps.take()
    assert x.grad is not None


def test_a_change_in_place_after_the_layer_does_not_reach_the_rows():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True))
    x = torch.randn(5, 3)
    with Taps(model, ["0", "1"]) as taps:
        rows = taps(x)
    torch.testing.assert_close(rows["0"], model[0](x))
    assert (rows["0"] < 0).any() and not (rows["1"] < 0).any()


class Nested(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.inner = Wrapping(wrap)

    def forward(self, x):
        self.inner(x)
        return x


class Wrapping(nn.Module):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap

    def forward(self, x):
        return self.wrap(x)


Pair = namedtuple("Pair", "weights states")


@dataclass
class Output:
    loss: object = None
    hidden: object = None


@pytest.mark.parametrize(
    ("wrap", "part"),
    [
        (lambda x: x, None),
        (lambda x: (x, None), None),
        (lambda x: (None, x), None),
        (lambda x: [x, x * 2], None),
        (lambda x: (x * 2, x), 1),
        (lambda x: {"last_hidden_state": x, "pooled": x[:, :1]}, None),
        (lambda x: {"only": x}, None),
        (lambda x: {"a": x * 2, "b": x}, "b"),
        (lambda x: {"outer": {"inner": (x,)}}, None),
        (lambda x: Pair(x * 3, x), "states" and 1),
        (lambda x: Output(hidden=x), None),
        (lambda x: (torch.tensor([1, 2]), x), None),
    ],
)
def test_the_activation_is_found_in_what_layers_return(wrap, part):
    x = torch.randn(4, 3)
    with Taps(Nested(wrap), "inner", part=part) as taps:
        torch.testing.assert_close(taps(x)["inner"], x)
    new = torch.zeros(4, 3)
    replaced = replace_tensor(wrap(x), new, "inner", part)
    assert type(replaced) is type(wrap(x))
    assert tensor_of(replaced, "inner", part) is new


@pytest.mark.parametrize(
    ("wrap", "part", "says"),
    [
        (lambda x: {"a": x, "b": x}, None, r"dict with 'a', 'b'.*not clear.*part="),
        (lambda x: {"a": x}, "c", r"no part 'c'.*'a'"),
        (lambda x: (x, x), 2, r"no part 2.*0, 1"),
        (lambda x: "text", None, "holds no tensor"),
        (lambda x: (), None, "holds no tensor"),
        (lambda x: {"n": 3}, None, "not clear"),
        (lambda x: (3, None), None, "holds no tensor"),
        (lambda x: x[0], None, r"shape \(3,\)"),
        (lambda x: x.argmax(1, keepdim=True), None, "int64"),
    ],
)
def test_what_holds_no_activation_is_refused(wrap, part, says):
    with (
        pytest.raises(InputError, match=says),
        Taps(Nested(wrap), "inner", part=part) as taps,
    ):
        taps(torch.randn(4, 3))


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(3, 3)
        self.unused = nn.Linear(3, 3)

    def forward(self, x):
        return self.shared(self.shared(x))


def test_a_layer_that_runs_twice_is_refused_or_treated_as_said():
    model, x = Twice(), torch.randn(5, 3)
    first = model.shared(x)
    second = model.shared(first)
    with (
        pytest.raises(InputError, match=r"'shared' ran 2 times.*repeats="),
        Taps(model, "shared") as taps,
    ):
        taps(x)
    wanted = {"first": first, "last": second, "mean": (first + second) / 2}
    for repeats, expected in wanted.items():
        with Taps(model, "shared", repeats=repeats) as taps:
            torch.testing.assert_close(taps(x)["shared"], expected)
    with Taps(model, "shared", repeats="each") as taps:
        rows = taps(x)
    assert list(rows) == ["shared#1", "shared#2"]
    torch.testing.assert_close(rows["shared#2"], second)
    with (
        pytest.raises(InputError, match=r"'unused' did not run.*calls for this batch"),
        Taps(model, ["shared", "unused"], repeats="last") as taps,
    ):
        taps(x)


def test_bad_options_are_refused():
    model = nn.Linear(2, 2)
    outer = nn.Sequential(model)
    for option in ({"pool": "sum"}, {"repeats": "twice"}, {"layout": "rows"}):
        with pytest.raises(InputError, match="Choose from"):
            Taps(outer, "0", **option)


def test_padding_does_not_enter_the_rows():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, 4, generator=generator)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [0, 0, 1, 1, 1]])
    x[mask == 0] = torch.inf
    lengths = [[0, 1, 2], [0], [2, 3, 4]]
    expected = {
        "mean": torch.stack([x[i, kept].mean(0) for i, kept in enumerate(lengths)]),
        "max": torch.stack([x[i, kept].amax(0) for i, kept in enumerate(lengths)]),
        "first": torch.stack([x[i, kept[0]] for i, kept in enumerate(lengths)]),
        "last": torch.stack([x[i, kept[-1]] for i, kept in enumerate(lengths)]),
        "positions": torch.cat([x[i, kept] for i, kept in enumerate(lengths)]),
    }
    for pool, rows in expected.items():
        torch.testing.assert_close(pool_rows(x, "tokens", pool, mask, "l"), rows)


def test_pooling_without_a_mask_and_by_layout():
    x = torch.randn(3, 5, 4)
    torch.testing.assert_close(pool_rows(x, "tokens", "first", None, "l"), x[:, 0])
    torch.testing.assert_close(pool_rows(x, "tokens", "last", None, "l"), x[:, -1])
    torch.testing.assert_close(pool_rows(x, "tokens", "flatten", None, "l"), x.reshape(3, 20))
    torch.testing.assert_close(pool_rows(x, "channels", "mean", None, "l"), x.mean(2))
    image = torch.randn(3, 5, 2, 4)
    torch.testing.assert_close(pool_rows(image, "channels", "max", None, "l"), image.amax((2, 3)))
    torch.testing.assert_close(pool_rows(image, "tokens", "mean", None, "l"), image.mean((1, 2)))
    made = pool_rows(x, "tokens", lambda rows, mask: rows[:, 2], None, "l")
    torch.testing.assert_close(made, x[:, 2])
    with pytest.raises(InputError, match="pooling returned shape"):
        pool_rows(x, "tokens", lambda rows, mask: rows, None, "l")


def test_half_precision_is_widened_before_sums():
    x = torch.full((2, 4096, 3), 32.0, dtype=torch.float16)
    rows = pool_rows(x, "tokens", "mean", None, "l")
    assert rows.dtype == torch.float32 and torch.equal(rows, torch.full((2, 3), 32.0))


def test_a_mask_that_does_not_fit_and_an_item_that_is_all_padding_are_refused():
    x = torch.randn(3, 5, 4)
    with pytest.raises(InputError, match=r"mask has shape \(3, 4\)"):
        pool_rows(x, "tokens", "mean", torch.ones(3, 4), "l")
    mask = torch.ones(3, 5)
    mask[1] = 0
    with pytest.raises(InputError, match="item 1 of the batch is all padding"):
        pool_rows(x, "tokens", "mean", mask, "l")


@pytest.mark.parametrize(
    ("module", "shape", "layout"),
    [
        (nn.Conv2d(1, 1, 1), (2, 3, 4, 4), "channels"),
        (nn.Sequential(nn.Conv1d(1, 1, 1), nn.ReLU()), (2, 3, 4), "channels"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.LayerNorm(3)), (2, 4, 4, 3), "tokens"),
        (nn.TransformerEncoderLayer(4, 1, 4), (2, 3, 4), "tokens"),
        (nn.ReLU(), (2, 3, 4, 4), "channels"),
        (nn.ReLU(), (2, 3, 4), "tokens"),
        (nn.Conv2d(1, 1, 1), (2, 3), "tokens"),
    ],
)
def test_what_was_never_run_is_told_by_the_kinds_inside_and_then_by_the_axes(module, shape, layout):
    looked = LayerAxes(module, {"it": module})
    assert looked.of("it", torch.zeros(shape), ((), {})).layout == layout


def test_a_recurrent_layer_with_the_sequence_first_has_its_items_first():
    lstm = nn.Sequential(OrderedDict(rnn=nn.LSTM(3, 4)))
    x = torch.randn(5, 2, 3)
    with Taps(lstm, "rnn", pool="last") as taps:
        rows = taps(x)["rnn"]
    torch.testing.assert_close(rows, lstm.rnn(x)[0][-1])


def test_attention_masks_and_outputs_of_hugging_face_models_are_understood():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    with seeded(1):
        model = transformers.BertModel(config, add_pooling_layer=False).train()
    batch = {
        "input_ids": torch.randint(0, 50, (3, 7), generator=torch.Generator().manual_seed(2)),
        "attention_mask": torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 2 + [0] * 5]),
    }
    with Taps(model, ["embeddings", "encoder.layer.*", "encoder"]) as taps:
        rows = taps(batch)
    model.eval()
    with torch.no_grad():
        states = model(**batch, output_hidden_states=True).hidden_states
    names = ["embeddings", *(f"encoder.layer.{i}" for i in range(3))]
    for name, state in zip(names, states, strict=True):
        for i, length in enumerate((7, 4, 2)):
            torch.testing.assert_close(rows[name][i], state[i, :length].mean(0))
    assert torch.equal(rows["encoder"], rows["encoder.layer.2"])
    # padding of another content changes nothing
    other = {**batch, "input_ids": batch["input_ids"].where(batch["attention_mask"] == 1, 9)}
    with Taps(model, "encoder") as taps:
        torch.testing.assert_close(taps(other)["encoder"], rows["encoder"])


@pytest.mark.parametrize("how", ["mapping", "tuple", "own call"])
def test_masks_are_found_however_the_model_is_given_them(how):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    with seeded(1):
        model = transformers.BertModel(config, add_pooling_layer=False).eval()
    ids = torch.randint(0, 50, (3, 7), generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 2 + [0] * 5])
    with torch.no_grad():
        state = model(ids, mask).last_hidden_state
    wanted = [state[i, :length].mean(0) for i, length in enumerate((7, 4, 2))]
    with Taps(model, "encoder") as taps:
        for _ in range(2):
            if how == "own call":
                model(ids, attention_mask=mask)
                rows = taps.take()
            else:
                given = {"input_ids": ids, "attention_mask": mask}
                rows = taps(given if how == "mapping" else (ids, mask, torch.arange(3)))
            torch.testing.assert_close(rows["encoder"], torch.stack(wanted))
        # of the pass before nothing is left
        rows = taps(ids)["encoder"]
    torch.testing.assert_close(rows, model(ids).last_hidden_state.mean(1))


def test_the_texts_of_encoders_and_decoders_have_their_own_masks():
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(
        vocab_size=50, d_model=16, d_ff=32, num_layers=2, num_heads=2, d_kv=8
    )
    with seeded(1):
        model = transformers.T5Model(config).eval()
    ids = torch.randint(1, 50, (2, 5), generator=torch.Generator().manual_seed(2))
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    batch = {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": ids}
    layers = ["encoder.block.0", "decoder.block.0"]
    with torch.no_grad():
        front = model.encoder(ids, mask, output_hidden_states=True).hidden_states[1]
        back = model(**batch, output_hidden_states=True).decoder_hidden_states[1]
    with Taps(model, layers) as taps:
        rows = taps(batch)
        torch.testing.assert_close(rows["encoder.block.0"][1], front[1, :2].mean(0))
        torch.testing.assert_close(rows["decoder.block.0"], back.mean(1))
        shown = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
        rows = taps({**batch, "decoder_attention_mask": shown})
    torch.testing.assert_close(rows["decoder.block.0"][1], back[1, :3].mean(0))


def test_rows_may_be_numpy_for_what_comes_after(image_net):
    with Taps(image_net, "head") as taps:
        rows = taps(torch.randn(2, 3, 8, 8))["head"]
    assert np.asarray(rows).shape == (2, 5)


@pytest.mark.parametrize("pool", ["last", lambda rows, _: rows[:, 1]])
def test_a_view_of_the_activation_is_copied_too(pool):
    with seeded(0):
        net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True)).eval(), torch.randn(5, 7, 3)
    with Taps(net, "0", pool=pool) as taps:
        assert bool((taps(x)["0"] < 0).any())
