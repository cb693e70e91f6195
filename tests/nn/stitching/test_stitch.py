import json
import math
import subprocess
import sys
import textwrap

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("sklearn")

from digit_networks import (  # noqa: E402
    accuracy,
    calibration,
    digits,
    trained,
)
from torch import nn  # noqa: E402

from isthmus.errors import DivergedError, InputError, OutputError, WrongSpaceError  # noqa: E402
from isthmus.nn.compact.quantise import quantise  # noqa: E402
from isthmus.nn.look.weights_digest import weights_digest  # noqa: E402
from isthmus.nn.stitching import storage  # noqa: E402
from isthmus.nn.stitching.capture import capture  # noqa: E402
from isthmus.nn.stitching.cut import Back, Front  # noqa: E402
from isthmus.nn.stitching.grid import stitch_grid  # noqa: E402
from isthmus.nn.stitching.options import StitchOptions  # noqa: E402
from isthmus.nn.stitching.stitched import stitch  # noqa: E402
from isthmus.nn.stitching.storage import load_stitched, save_stitched  # noqa: E402
from isthmus.spaces.pairs import Pairs  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402

FEATURES = StitchOptions(how="features")


def nets():
    return {
        "A": trained("plain", 16, 0),
        "B": trained("plain", 16, 1),
        "C": trained("residual", 12, 2),
        "V": trained("transformer", 32, 3, 14),
    }


CUTS = [
    ("A", "2", "B", "2"),
    ("A", "5", "B", "5"),
    ("A", "8", "B", "8"),
    ("A", "9", "B", "9"),
    ("A", "5", "C", "one"),
    ("A", "8", "C", "two"),
    ("C", "one", "A", "5"),
    ("C", "two", "A", "8"),
    ("A", "5", "V", "patch"),
    ("A", "5", "V", "blocks.0"),
    ("V", "blocks.0", "A", "5"),
    ("V", "blocks.1", "C", "two"),
]


@pytest.mark.parametrize(("a", "cut_a", "b", "cut_b"), CUTS)
def test_a_thousand_images_without_labels_keep_the_lower_accuracy(a, cut_a, b, cut_b):
    networks = nets()
    front, back = networks[a], networks[b]
    made = stitch(front, cut_a, back, cut_b, calibration())
    lower = min(accuracy(front), accuracy(back))
    assert lower > 0.9
    assert accuracy(made) >= 0.985 * lower
    assert made.items == 1000 and 0 < made.joint.explained <= 1


def test_without_a_map_the_parts_do_not_fit_so_the_map_is_what_does_it():
    networks = nets()
    made = stitch(networks["A"], "5", networks["B"], "5", calibration())
    with torch.no_grad():
        x, y = digits()[2:]
        bare = made.back(made.front(x)).argmax(1)
    assert float((bare == y).float().mean()) < 0.5
    # nor does the map of shuffled pairs
    order = torch.randperm(1000, generator=torch.Generator().manual_seed(0))
    images = digits()[0][:1000]
    shuffled = stitch(
        networks["A"], "5", networks["B"], "5",
        list(torch.stack([images, images[order]], 1).split(250)),
        StitchOptions(prepare=(lambda b: b[:, 0], lambda b: b[:, 1])),
    )  # fmt: skip
    with torch.no_grad():
        mapped = shuffled.back(shuffled.joint(networks["A"][:6](x))).argmax(1)
    assert float((mapped == y).float().mean()) < 0.4


def test_the_map_is_the_ridge_regression_over_all_positions():
    networks = nets()
    front, back = networks["A"], networks["B"]
    made = stitch(front, "2", back, "2", calibration(), StitchOptions(how="features", alpha=1e-3))
    x = digits()[0][:1000]
    with torch.no_grad():
        source = front[:3](x).movedim(1, -1).reshape(-1, 16).double().numpy()
        target = back[:3](x).movedim(1, -1).reshape(-1, 16).double().numpy()
    centred = source - source.mean(0)
    gram = centred.T @ centred / len(source)
    gram += 1e-3 * np.trace(gram) / 16 * np.eye(16)
    weight = np.linalg.solve(gram, centred.T @ (target - target.mean(0)) / len(source))
    np.testing.assert_allclose(made.joint.weight.detach().numpy().T, weight, atol=1e-4)
    offset = target.mean(0) - source.mean(0) @ weight
    np.testing.assert_allclose(made.joint.bias.detach().numpy(), offset, atol=1e-4)
    assert made.joint.rectified


def test_batches_of_any_size_give_the_same_map():
    networks = nets()
    x = digits()[0][:300]
    one, many = (
        stitch(
            networks["A"],
            "5",
            networks["V"],
            "blocks.0",
            list(x.split(size)),
            FEATURES,
        )
        for size in (300, 41)
    )
    for a, b in zip(one.joint.parameters(), many.joint.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-4, rtol=1e-3)


def test_parts_are_the_networks_themselves_and_the_front_ends_at_its_cut():
    networks = nets()
    front, back = networks["A"], networks["C"]
    x = digits()[2][:20]
    later = []
    handle = front[6].register_forward_hook(lambda *_: later.append(1))
    with torch.no_grad():
        torch.testing.assert_close(Front(front, "5")(x), front[:6](x))
        assert not later
        cut = Back(back, "one", x)
        torch.testing.assert_close(cut(cut.target(x)), back(x))
        torch.testing.assert_close(cut.whole(x), back(x))
    handle.remove()
    assert not cut.follows_batch
    assert all(not part._forward_hooks for n in networks.values() for part in n.modules())


class Skipping(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 4)

    def forward(self, x):
        return self.outer(self.inner(x)) + x


class Sized(nn.Module):
    """Asks the input for the number of items, as many networks do."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 4)

    def forward(self, x):
        count = x.shape[0]
        return self.outer(self.inner(x).reshape(count, 4)).view(count, -1)


class Masked(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)
        self.outer = nn.Linear(4, 4)

    def forward(self, x, mask):
        rows = self.outer(self.inner(x)) * mask[..., None]
        return rows.sum(1) / mask.sum(1, keepdim=True)


def test_a_skip_connection_round_the_cut_is_refused_but_not_after_the_join():
    x = torch.randn(6, 4)
    with pytest.raises(InputError, match=r"skip connection.*Cut after"):
        Back(Skipping(), "inner", x)
    with pytest.raises(InputError, match="skip connection"):
        stitch(Skipping(), "inner", Skipping(), "outer", [torch.randn(30, 4)])
    joined = nn.Sequential(Skipping(), nn.Linear(4, 2))
    assert not Back(joined, "0", x).follows_batch


def test_sizes_and_masks_that_go_round_the_cut_are_taken_from_the_batch():
    with seeded(0):
        sized, masked = Sized(), Masked()
    x = torch.randn(6, 4)
    cut = Back(sized, "inner", x)
    assert cut.follows_batch
    with torch.no_grad():
        torch.testing.assert_close(cut(cut.target(x), x), sized(x))
        with pytest.raises(InputError, match="needs the batch too"):
            cut(cut.target(x))
    batch = {"x": torch.randn(6, 5, 4), "mask": (torch.rand(6, 5) > 0.3).float()}
    batch["mask"][:, 0] = 1
    cut = Back(masked, "inner", batch)
    assert cut.follows_batch
    made = stitch(masked, "inner", masked, "inner", [batch] * 4)
    with torch.no_grad():
        torch.testing.assert_close(made(batch), masked(**batch), atol=1e-3, rtol=1e-3)


def test_a_hugging_face_model_is_cut_between_its_blocks():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=3, num_attention_heads=2,
        intermediate_size=32,
    )  # fmt: skip
    with seeded(4):
        model = transformers.BertModel(config, add_pooling_layer=False).eval()
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 60, (40, 9), generator=generator)
    mask = torch.ones(40, 9, dtype=torch.long)
    mask[::3, 5:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    made = stitch(model, "encoder.layer.1", model, "encoder.layer.1", [batch] * 3)
    with torch.no_grad():
        own, stitched = model(**batch).last_hidden_state, made(batch).last_hidden_state
    there = mask.bool()
    torch.testing.assert_close(own[there], stitched[there], atol=0.02, rtol=0.02)
    assert made.back.follows_batch


@pytest.mark.parametrize(
    ("a", "cut_a", "b", "cut_b", "how"),
    [
        ("A", "0", "B", "2", "features"),  # a convolution ends the front, also before a ReLU
        ("C", "stem", "A", "5", "features"),  # with resampling between
        ("V", "patch", "A", "2", "features"),
        ("A", "8", "B", "9", None),  # a linear layer follows, but the map is rectified
    ],
)
def test_folding_changes_nothing_but_the_number_of_layers(a, cut_a, b, cut_b, how):
    networks = nets()
    before = {name: weights_digest(net) for name, net in networks.items()}
    made = stitch(networks[a], cut_a, networks[b], cut_b, calibration(), StitchOptions(how=how))
    x = digits()[2]
    folded = made.fold(x[:32])
    assert folded.joint.folded == (how is not None)
    with torch.no_grad():
        torch.testing.assert_close(made(x), folded(x), atol=1e-4, rtol=1e-4)
    assert {name: weights_digest(net) for name, net in networks.items()} == before
    if folded.joint.folded:
        assert not list(folded.joint.parameters())
        with pytest.raises(InputError, match="folded"):
            folded.finetune([x])
    else:
        assert folded is made


def test_a_map_folds_into_the_linear_layer_or_convolution_that_reads_it():
    with seeded(0):
        front = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
        back = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3))
        images = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3))
        padded = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3, padding=1))
        x, pixels = torch.randn(200, 5), torch.randn(60, 1, 8, 8)
    made = stitch(front, "1", back, "1", [x])
    folded = made.fold(x)
    assert folded.joint.folded and folded.back.model[2].in_features == 7
    torch.testing.assert_close(made(x), folded(x), atol=1e-5, rtol=1e-5)
    made = stitch(images, "1", images, "1", [pixels], FEATURES)
    folded = made.fold(pixels)
    assert folded.joint.folded
    torch.testing.assert_close(made(pixels), folded(pixels), atol=1e-5, rtol=1e-5)
    # zeros at the border are not what the map gives there
    assert not stitch(padded, "1", padded, "1", [pixels], FEATURES).fold(pixels).joint.folded


def test_a_tensor_that_two_layers_read_is_not_folded_into_one():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
            self.left, self.right = nn.Linear(6, 2), nn.Linear(6, 2)

        def forward(self, x):
            h = self.stem(x)
            return self.left(h) * self.right(h)

    with seeded(0):
        net, x = Branches(), torch.randn(100, 4)
    made = stitch(net, "stem", net, "stem", [x])
    assert made.fold(x) is made


def test_finetuning_trains_the_map_alone_and_is_never_worse_than_the_closed_form():
    networks = nets()
    x = digits()[0][:1000]
    made = stitch(networks["C"], "one", networks["A"], "2", calibration(), FEATURES)
    before = {name: weights_digest(net) for name, net in networks.items()}
    start = accuracy(made)
    done = made.finetune(Batches(x[:900], size=50), Schedule(4), rate=0.01, validation=[x[900:]])
    assert done.best_epoch > 0
    assert accuracy(made) > start + 0.03
    assert {name: weights_digest(net) for name, net in networks.items()} == before
    assert all(p.requires_grad for p in made.parameters())
    # the mean of both networks' probabilities teaches too
    made = stitch(networks["C"], "one", networks["A"], "2", calibration(), FEATURES)
    made.finetune(Batches(x[:900], size=50), Schedule(4), teachers="both", validation=[x[900:]])
    assert accuracy(made) > start + 0.03
    with pytest.raises(InputError, match="no teachers 'front'"):
        made.finetune([x], teachers="front")
    # with labels, and a rate that does harm: the closed form stays
    made = stitch(networks["A"], "9", networks["B"], "9", calibration())
    weights = made.joint.weight.detach().clone()
    y = digits()[1][:1000]
    made.front.prepare = made.back.prepare = lambda batch: batch[0]
    done = made.finetune(
        Batches(x[:900], y[:900], size=50),
        Schedule(1),
        loss=lambda output, batch: nn.functional.cross_entropy(
            output, batch[1], label_smoothing=0.2
        ),
        rate=1e4,
        validation=[(x[900:], y[900:])],
    )
    assert done.best_epoch == 0 and torch.equal(made.joint.weight, weights)
    with pytest.raises(DivergedError):
        made.finetune([(x, y)], Schedule(1), loss=lambda output, _: output.sum() * math.nan)
    assert torch.equal(made.joint.weight, weights)


def test_networks_that_answer_other_questions_cannot_teach_together():
    with seeded(0):
        front, back = (nn.Sequential(nn.Linear(4, 5), nn.Linear(5, n)) for n in (2, 3))
        x = torch.randn(40, 4)
    made = stitch(front, "0", back, "0", [x])
    with pytest.raises(InputError, match=r"\(40, 2\) and \(40, 3\).*teachers='back'"):
        made.finetune([x], Schedule(1), teachers="both")


def test_pairs_of_what_two_layers_returned_serve_where_they_are_vectors():
    networks = nets()
    front, back = networks["A"], networks["B"]
    x = digits()[0][:1000]
    with torch.no_grad():
        rows = [net[:10](x).numpy() for net in (front, back)]
    direct = stitch(front, "9", back, "9", calibration())
    made = stitch(front, "9", back, "9", Pairs(*rows, metric="l2"), example=x[:4])
    torch.testing.assert_close(made.joint.weight, direct.joint.weight, atol=1e-4, rtol=1e-3)
    assert accuracy(made) == pytest.approx(accuracy(direct), abs=0.01)
    with pytest.raises(InputError, match="example="):
        stitch(front, "9", back, "9", Pairs(*rows, metric="l2"))
    with pytest.raises(InputError, match=r"returns \(32, 2, 2\).*vectors of 128"):
        stitch(front, "8", back, "9", Pairs(*rows, metric="l2"), example=x[:4])


def test_compiled_networks_are_stitched_as_their_originals_are():
    torch.manual_seed(0)
    nets = [nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 4)) for _ in range(2)]
    rows = torch.randn(60, 6)
    wanted = stitch(nets[0], "1", nets[1], "1", [rows])(rows)
    front = torch.compile(nets[0], backend="eager")
    nets[1].compile(backend="eager")
    own = front(rows), nets[1](rows)
    joined = stitch(front, "_orig_mod.1", nets[1], "1", [rows])
    assert torch.equal(joined(rows), wanted)
    assert torch.equal(front(rows), own[0])
    assert torch.equal(nets[1](rows), own[1])


def test_networks_in_training_mode_are_left_in_it_and_not_disturbed(tmp_path):
    with seeded(1):
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(144, 3)
        )
    net.train()
    statistics = net[1].running_mean.clone()
    x = torch.randn(50, 1, 8, 8)
    first, second = (stitch(net, "2", net, "2", [x]) for _ in range(2))
    assert torch.equal(first(x), second(x)) and torch.equal(first(x), first(x))
    assert net.training and net[2].training
    # what is made of it later keeps to that
    linear = nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3))
    rows = torch.randn(60, 4)
    made = stitch(linear, "0", linear, "0", [rows])
    folded = made.fold(rows)
    save_stitched(made, tmp_path / "s", rows, program=False)
    loaded = load_stitched(tmp_path / "s", (linear, linear), rows)
    assert folded.joint.folded
    for again in (folded, loaded):
        torch.testing.assert_close(again(rows), made(rows), atol=1e-5, rtol=1e-4)
    assert linear.training and linear[1].training
    assert torch.equal(net[1].running_mean, statistics)
    assert torch.equal(first.joint.weight, second.joint.weight)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"cut_a": "55"}, r"no layer of Sequential is called '55'.*'5'"),
        ({"cut_b": "steam"}, r"called 'steam'.*'stem'"),
        ({"batches": []}, "no batches"),
        ({"batches": [torch.rand(2, 1, 8, 8)]}, "2 calibration items are too few"),
        ({"batches": [torch.rand(1, 1, 8, 8)]}, "example has 1 items"),
        ({"how": "spiral"}, r"no map 'spiral'.*features"),
        ({"batches": [torch.full((4, 1, 8, 8), math.nan)]}, r"front, layer 5.*NaN"),
        (
            {"prepare": (None, lambda b: b[:-1])},
            r"250 items and the back 249; they must pair",
        ),
        (
            {"how": "flat", "batches": [torch.rand(4, 1, 8, 8), torch.rand(4, 1, 12, 12)]},
            "no map 'flat'|positions",
        ),
    ],
)
def test_bad_input_is_refused(change, says):
    networks = nets()
    options = {"batches": calibration(), "cut_a": "5", "cut_b": "stem", **change}
    more = {k: v for k, v in options.items() if k not in ("batches", "cut_a", "cut_b")}
    with pytest.raises(InputError, match=says):
        stitch(
            networks["A"], options["cut_a"], networks["C"], options["cut_b"], options["batches"],
            StitchOptions(**more),
        )  # fmt: skip


def test_shapes_that_cannot_be_bridged_are_refused():
    with seeded(0):
        image = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        text = nn.Sequential(nn.Embedding(10, 6), nn.Linear(6, 6))
        vector = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 4), nn.Linear(4, 2))
        wide = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    pixels, words = torch.rand(8, 3, 4, 4), torch.randint(0, 10, (8, 7))
    apart = StitchOptions(prepare=(lambda b: b[0], lambda b: b[1]))
    with pytest.raises(InputError, match=r"cannot be bridged|no square image"):
        stitch(image, "1", text, "1", [(pixels, words)], apart)
    with pytest.raises(InputError, match="cannot be spread"):
        stitch(vector, "1", wide, "1", [torch.rand(8, 3, 64, 64)])


def test_a_saved_network_runs_without_the_code_of_either(tmp_path):
    networks = nets()
    x = digits()[2]
    made = stitch(networks["A"], "5", networks["C"], "one", calibration())
    save_stitched(made, tmp_path / "s", x[:4], evidence={"accuracy": accuracy(made)})
    torch.save({"x": x[:50], "out": made(x[:50]).detach()}, tmp_path / "data.pt")
    program = textwrap.dedent("""
        import sys, torch
        from isthmus.nn.stitching.storage import load_stitched
        data = torch.load(sys.argv[2], weights_only=True)
        net = load_stitched(sys.argv[1])
        with torch.no_grad():
            torch.testing.assert_close(net(data["x"]), data["out"], atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(net(data["x"][:3]), data["out"][:3], atol=1e-4, rtol=1e-4)
        assert "digit_networks" not in sys.modules and "sklearn" not in sys.modules
    """)
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "s"), str(tmp_path / "data.pt")], check=True
    )
    card = (tmp_path / "s" / "CARD.md").read_text()
    assert "accuracy: 0.9" in card and "Joined after `one`" in card
    assert not [f for f in (tmp_path / "s").iterdir() if f.suffix in (".pt", ".pkl", ".bin")]
    # what lies beyond the front's cut and before the back's is not stored
    stored = sum(t.numel() for t in load_stitched(tmp_path / "s").buffers())
    assert stored < sum(t.numel() for t in made.state_dict().values())


def test_a_saved_map_is_joined_again_to_the_same_networks_only(tmp_path):
    networks = nets()
    x = digits()[2]
    made = stitch(networks["A"], "5", networks["B"], "5", calibration())
    save_stitched(made, tmp_path / "s", x[:4], program=False)
    with pytest.raises(OutputError, match="exists already"):
        save_stitched(made, tmp_path / "s", x[:4], program=False)
    again = load_stitched(tmp_path / "s", (networks["A"], networks["B"]), x[:4])
    with torch.no_grad():
        assert torch.equal(again(x), made(x))
    with pytest.raises(WrongSpaceError, match="the back has other weights"):
        load_stitched(tmp_path / "s", (networks["A"], networks["A"]), x[:4])
    with pytest.raises(InputError, match="holds no program"):
        load_stitched(tmp_path / "s")
    with pytest.raises(InputError, match="example batch is needed"):
        load_stitched(tmp_path / "s", (networks["A"], networks["B"]))
    with pytest.raises(InputError, match="nothing here, expected the folder of a"):
        load_stitched(tmp_path / "absent")
    tensors = tmp_path / "s" / "tensors.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="changed after it was written"):
        load_stitched(tmp_path / "s", (networks["A"], networks["B"]), x[:4])
    for content in ("{}", "[]", "{", '{"format":2,"kind":"stitched network"}'):
        (tmp_path / "s" / "stitched-network.json").write_text(content)
        with pytest.raises(InputError, match=r"this is no manifest|format 2"):
            load_stitched(tmp_path / "s")
    folded = stitch(networks["A"], "0", networks["B"], "0", calibration(), FEATURES)
    with pytest.raises(InputError, match="before folding"):
        save_stitched(folded.fold(x[:9]), tmp_path / "f", x[:4])


def test_a_program_that_answers_otherwise_is_not_saved(tmp_path, monkeypatch):
    networks = nets()
    x = digits()[2]
    made = stitch(networks["A"], "5", networks["B"], "5", calibration())
    recorded = capture(networks["A"], x[:4])
    monkeypatch.setattr(storage, "capture", lambda *_: recorded)
    with pytest.raises(InputError, match=r"answers otherwise.*program=False"):
        save_stitched(made, tmp_path / "s", x[:4])
    assert not list(tmp_path.iterdir())


def test_a_network_with_rounded_inputs_is_saved_without_that_rounding(tmp_path):
    networks = nets()
    x = digits()[2]
    back = quantise(networks["B"], batches=[x[:200]], activations="int8").module
    made = stitch(networks["A"], "5", back, "5", calibration())
    save_stitched(made, tmp_path / "s", x[:4])
    with torch.no_grad():
        again, before = load_stitched(tmp_path / "s")(x), made(x)
    assert float((again - before).norm() / before.norm()) < 0.05


def test_the_grid_tells_what_every_cut_loses_and_what_predicts_it():
    networks = nets()
    _, _, x, y = digits()
    found = stitch_grid(
        networks["A"],
        networks["B"],
        [(part, None) for part in calibration()],
        layers=(["2", "5", "8"], ["2", "5", "8"]),
        loss=lambda output, batch: 1 - (output.argmax(1) == batch[1]).float().mean(),
        evaluation=list(zip(x.split(200), y.split(200), strict=True)),
        options=StitchOptions(prepare=(lambda b: b[0], lambda b: b[0]), how="features"),
    )
    assert found.own == pytest.approx(1 - accuracy(networks["B"]), abs=1e-6)
    assert found.other == pytest.approx(1 - accuracy(networks["A"]), abs=1e-6)
    assert len(found.cuts) == 9 and found.items == 1000
    alone = stitch(networks["A"], "5", networks["B"], "5", calibration(), FEATURES)
    cut = next(c for c in found.cuts if (c.front, c.back) == ("5", "5"))
    assert cut.loss == pytest.approx(1 - accuracy(alone), abs=1e-6)
    assert cut.explained == pytest.approx(alone.joint.explained)
    assert found.best.front == found.best.back
    assert -1 <= found.predicts("cka") <= 1 and found.predicts("explained") > 0.3
    assert json.loads(found.to_json())["items"] == 1000
    assert "5 → 5" in str(found) and "rank correlation" in str(found)


def test_cuts_that_cannot_be_made_say_why_in_the_grid():
    with seeded(0):
        net = nn.Sequential(Skipping(), nn.Linear(4, 2))
    x = torch.randn(40, 4)
    found = stitch_grid(
        net, net, [x], layers=(["0", "1"], ["0.inner", "0"]),
        loss=lambda out, _: (out**2).mean(), evaluation=[x],
    )  # fmt: skip
    bad = [cut for cut in found.cuts if not math.isfinite(cut.loss)]
    assert {cut.back for cut in bad} == {"0.inner"} and "skip connection" in bad[0].how
    assert "skip connection" in str(found) and json.loads(found.to_json())["cuts"]
    # what goes wrong in a later batch is said of its cut, and of no other
    sizes = [torch.rand(20, 1, 8, 8), torch.rand(20, 1, 12, 12)]
    images = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    found = stitch_grid(
        images, images, sizes, layers=("2", ["0", "1"]),
        loss=lambda out, _: (out**2).mean(), evaluation=sizes,
    )  # fmt: skip
    by_layer = {cut.back: cut for cut in found.cuts}
    assert math.isfinite(by_layer["1"].loss) and math.isfinite(by_layer["1"].cka)
    assert math.isnan(by_layer["0"].loss) and math.isnan(by_layer["0"].cka)
    with pytest.raises(InputError, match="no batches"):
        stitch_grid(net, net, [], layers=("0", "0"), loss=lambda *_: 0, evaluation=[x])


def test_layers_that_work_in_place_and_masked_scores_may_follow_a_cut():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act, self.last = (
                nn.Linear(4, 8),
                nn.SiLU(inplace=True),
                nn.Linear(8, 5),
            )

        def forward(self, x):
            scores = self.last(self.act(self.first(x)))
            return scores.masked_fill(torch.arange(5) < 1, -torch.inf)

    with seeded(0):
        a, b, x = Masked(), Masked(), [torch.randn(32, 4) for _ in range(3)]
    made = stitch(a, "first", b, "first", x)
    with torch.no_grad():
        assert bool(made(x[0])[:, 0].isneginf().all()) and bool(made(x[0])[:, 1:].isfinite().all())


@pytest.mark.parametrize("front", [torch.float64, torch.float32])
def test_networks_of_other_number_types_are_joined(front):
    with seeded(0):
        a, b = (nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)) for _ in range(2))
        x = torch.randn(64, 4)
    a, b = a.to(front), b.double()
    given = (lambda batch: batch.to(front), lambda batch: batch.double())
    made = stitch(a, "1", b, "1", [x], StitchOptions(prepare=given))
    with torch.no_grad():
        assert made(x).dtype == torch.float64


class Recurrent(nn.Module):
    def __init__(self, batch_first):
        super().__init__()
        self.steps = nn.LSTM(3, 8, batch_first=batch_first)
        self.head = nn.Linear(8, 2)

    def forward(self, x):
        if self.steps.batch_first:
            return self.head(self.steps(x)[0].mean(1))
        return self.head(self.steps(x.transpose(0, 1))[0].mean(0))


def test_steps_are_not_taken_for_items():
    with seeded(0):
        first, second, x = Recurrent(True), Recurrent(False), torch.randn(48, 7, 3)
    second.load_state_dict(first.state_dict())
    exact = StitchOptions(how="features", alpha=1e-9)
    batches = list(x.split(16))
    made = {
        (a, b): stitch(a, "steps", b, "steps", batches, exact)
        for a in (first, second)
        for b in (first, second)
    }
    for joined in made.values():
        assert joined.items == 48
        with torch.no_grad():
            torch.testing.assert_close(joined(x[:5]), first(x[:5]), atol=1e-4, rtol=1e-4)
    # in a grid too
    found = stitch_grid(
        second, first, batches, loss=lambda out, _: out.square().mean(),
        layers=(["steps", "head"], ["steps", "head"]), evaluation=batches,
    )  # fmt: skip
    by_place = {(cut.front, cut.back): cut for cut in found.cuts}
    assert by_place["steps", "steps"].explained > 0.99 and len(by_place) == 4


class StepsFirst(nn.Module):
    """Attention over steps that come first, as PyTorch's own blocks take them unless told."""

    def __init__(self):
        super().__init__()
        self.into = nn.Linear(3, 8)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.block(self.into(x).transpose(0, 1)).mean(0))


@pytest.mark.parametrize("steps", [7, 8])
def test_a_block_with_steps_first_is_cut_items_first(tmp_path, steps):
    with seeded(0):
        net, x = StepsFirst(), torch.randn(40, steps, 3)
    with torch.no_grad():
        wanted = net.eval()(x)
    exact = StitchOptions(how="features", alpha=1e-9)
    made = stitch(net, "block", net, "block", list(x.split(8)), exact)
    with torch.no_grad():
        torch.testing.assert_close(made(x), wanted, atol=1e-3, rtol=1e-3)
        assert made.front(x).shape == (40, steps, 8)
    save_stitched(made, tmp_path / "joined", x[:4], program=False)
    again = load_stitched(tmp_path / "joined", (net, net), x[:4])
    with torch.no_grad():
        torch.testing.assert_close(again(x), made(x))
