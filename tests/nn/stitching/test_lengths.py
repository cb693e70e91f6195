"""Sequences of any length cross a cut: padded batches, two tokenizers, images of other sizes."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.stitching import StitchOptions, load_stitched, save_stitched, stitch  # noqa: E402
from isthmus.nn.stitching.geometry import resample_each  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402

EXACT = StitchOptions(how="features", alpha=1e-9)


class Reader(nn.Module):
    """A small encoder of token ids with a mask, as sentence encoders are."""

    def __init__(self, seed, words=40):
        super().__init__()
        with seeded(seed):
            self.words = nn.Embedding(words, 16)
            self.places = nn.Embedding(64, 16)
            self.one, self.two = (
                nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
                for _ in range(2)
            )
            self.head = nn.Linear(16, 6)
        self.eval()

    def forward(self, input_ids, attention_mask):
        hidden = self.words(input_ids) + self.places(torch.arange(input_ids.shape[1]))
        padding = attention_mask == 0
        hidden = self.two(self.one(hidden, src_key_padding_mask=padding), None, padding)
        there = attention_mask[..., None].to(hidden.dtype)
        return self.head((hidden * there).sum(1) / there.sum(1))


def texts(lengths, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randint(1, 40, (n,), generator=draw) for n in lengths]


def padded(items, length=None):
    length = length or max(map(len, items))
    ids = torch.zeros(len(items), length, dtype=torch.long)
    for row, item in zip(ids, items, strict=True):
        row[: len(item)] = item
    return {"input_ids": ids, "attention_mask": (ids > 0).long()}


def many(seed=0):
    """Batches padded to the longest of each."""
    draw = torch.Generator().manual_seed(seed)
    return [
        padded(texts(torch.randint(2, most, (16,), generator=draw).tolist(), seed=most + seed))
        for most in (12, 9, 15, 7, 12)
    ]


def test_a_network_on_itself_answers_as_it_does_at_every_length():
    net = Reader(0)
    made = stitch(net, "one", net, "one", many(), EXACT)
    for batch in (*many(3), padded(texts([30, 2, 17]))):
        with torch.no_grad():
            torch.testing.assert_close(made(batch), net(**batch), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("how", ["features", "window"])
def test_padding_changes_nothing_of_an_answer(how):
    made = stitch(Reader(0), "one", Reader(1), "one", many(), StitchOptions(how=how))
    items = texts([3, 11, 6])
    with torch.no_grad():
        apart = torch.cat([made(padded([item])) for item in items])
        torch.testing.assert_close(made(padded(items)), apart, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(made(padded(items, 25)), apart, atol=1e-5, rtol=1e-4)


def test_what_is_padded_does_not_enter_the_map():
    front, back = Reader(0), Reader(1)
    items = texts([5] * 40)
    plain = StitchOptions(how="features", alpha=1e-2)
    bare = stitch(front, "one", back, "one", [padded(items)], plain)
    more = stitch(front, "one", back, "one", [padded(items, 9)], plain)
    torch.testing.assert_close(more.joint.weight, bare.joint.weight, atol=1e-3, rtol=1e-3)


def test_a_vector_is_made_of_what_is_no_padding():
    front, back = Reader(0), Reader(1)
    made = stitch(front, "one", back, "head", many())
    assert made.joint.plan.how == "pooled"
    item = texts([4])
    with torch.no_grad():
        torch.testing.assert_close(made(padded(item)), made(padded(item, 20)), atol=1e-5, rtol=1e-4)


def test_the_map_is_tuned_on_batches_of_many_lengths():
    front, back, batches = Reader(0), Reader(1), many()
    made = stitch(front, "one", back, "one", batches, StitchOptions(how="features"))

    def error():
        with torch.no_grad():
            return sum(float((made(b) - back(**b)).square().mean()) for b in batches)

    before = error()
    made.finetune(batches, Schedule(8))
    assert error() < 0.9 * before


class Bare(nn.Module):
    """Reads ids alone, without a mask."""

    def __init__(self, seed):
        super().__init__()
        with seeded(seed):
            self.words, self.mix = nn.Embedding(40, 16), nn.Conv1d(16, 16, 3, padding=1)
            self.head = nn.Linear(16, 4)
        self.eval()

    def forward(self, ids):
        mixed = self.mix(self.words(ids).transpose(1, 2)).tanh()
        return self.head(mixed.mean(2))


def test_kept_activations_may_be_of_many_lengths():
    with seeded(0):
        batches = [torch.randint(0, 40, (32, n)) for n in (12, 9, 9, 15)]
    front, back = Bare(0), Bare(1)
    made = stitch(front, "mix", back, "mix", batches, StitchOptions(how="features"))
    trained = made.finetune(batches, Schedule(5), passes=1)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]
    with torch.no_grad():
        assert made(torch.randint(0, 40, (3, 33))).shape == (3, 4)


def test_a_map_of_all_positions_at_once_says_that_it_takes_one_length():
    with seeded(0):
        x = torch.randint(0, 40, (64, 8))
    made = stitch(Bare(0), "mix", Bare(1), "mix", [x], StitchOptions(how="flat"))
    with pytest.raises(InputError, match="front has 5 positions.*planned for 8.*how='features'"):
        made(x[:, :5])


def test_two_tokenizers_cut_a_text_into_different_numbers_of_tokens():
    """The front's tokenizer makes two tokens of each of the back's."""
    net = Reader(0)

    def twice(batch):
        return {name: part.repeat_interleave(2, 1) for name, part in batch.items()}

    halves = stitch(
        net, "words", net, "words", many(), StitchOptions(prepare=(twice, None), how="features",
                                                          alpha=1e-9),
    )  # fmt: skip
    batch = padded(texts([9, 4, 1]))
    with torch.no_grad():
        torch.testing.assert_close(halves(batch), net(**batch), atol=1e-3, rtol=1e-3)


def test_the_same_ids_are_not_given_to_two_vocabularies():
    with pytest.raises(InputError, match="vocabularies of 40 and 50 tokens.*prepare="):
        stitch(Reader(0), "one", Reader(1, words=50), "one", many())


def test_items_are_brought_to_their_own_lengths():
    grid = torch.arange(5.0).reshape(1, 1, 5)
    own = torch.tensor([[0, 1, 1, 1, 1]]).bool()
    same = resample_each(grid, own, torch.tensor([[1, 1, 1, 1, 0, 0]]).bool())
    assert same.flatten().tolist() == [1, 2, 3, 4, 0, 0]
    half = resample_each(grid, own, torch.tensor([[1, 1]]).bool())
    assert half.flatten().tolist() == [1.5, 3.5]


def test_an_image_of_another_size_is_answered_at_its_size():
    with seeded(0):
        net = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(6, 5, 3, padding=1),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        small, large = torch.randn(40, 3, 8, 8), torch.randn(4, 3, 14, 10)
    made = stitch(net, "1", net, "1", [small], EXACT)
    with torch.no_grad():
        torch.testing.assert_close(made(large), net(large), atol=1e-3, rtol=1e-3)


def test_a_loader_of_inputs_and_labels_serves():
    with seeded(0):
        net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        batches = [(torch.randn(20, 4), torch.zeros(20).long()) for _ in range(3)]
    made = stitch(net, "1", net, "1", batches, EXACT)
    with torch.no_grad():
        torch.testing.assert_close(made(batches[0]), net(batches[0][0]), atol=1e-3, rtol=1e-3)
    assert made.finetune(batches, Schedule(1)).epochs == 1


def test_a_dead_layer_names_itself():
    with seeded(0):
        net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))
    nn.init.constant_(net[0].bias, -1e4)
    with pytest.raises(InputError, match=r"front, layer 1: the layer returns the same"):
        stitch(net, "1", net, "0", [torch.randn(30, 4)])


@pytest.mark.parametrize("program", [False, True])
def test_a_saved_network_answers_at_other_lengths(tmp_path, program):
    front, back, batch = Reader(0), Reader(1), padded(texts([7, 3, 5]))
    made = stitch(front, "one", back, "one", many(), StitchOptions(how="features"))
    save_stitched(made, tmp_path / "joined", many()[0], program=program)
    networks = None if program else (front, back)
    again = load_stitched(tmp_path / "joined", networks, many()[0])
    with torch.no_grad():
        torch.testing.assert_close(again(batch), made(batch), atol=1e-5, rtol=1e-4)
