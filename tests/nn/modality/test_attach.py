from importlib import import_module

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.modality.attach import AttachOptions, attach  # noqa: E402
from isthmus.nn.modality.attached import Attached  # noqa: E402
from isthmus.nn.modality.closed_forms import RIDGES  # noqa: E402
from isthmus.nn.modality.measure import compare_measured  # noqa: E402
from isthmus.nn.modality.projector import Projector  # noqa: E402
from isthmus.nn.modality.tune import Tuning  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402

QUICK = Tuning(schedule=Schedule(6, patience=2), batch=128)
THREE = AttachOptions(folds=3)


@pytest.fixture(scope="module")
def attached(views):
    x, y, _ = views
    return attach(x[:900], y[:900], tuning=QUICK, options=THREE)


def test_unseen_pairs_find_each_other_better_than_by_one_ridge_map(attached, views):
    x, y, _ = views
    rows = slice(1400, 1797)
    ids = np.arange(397)
    ridge = attach(x[:900], y[:900], tuning=Tuning(schedule=Schedule(0)), options=THREE)
    assert not ridge.trained and ridge.gain is None
    after = attached.measure(x[rows], ids, y[rows], ids)
    assert after.values["new→frozen recall@10"].mean() > 5 * 10 / 397
    # what was promised on held-out pairs holds on new ones
    report = attached.report
    assert report.difference["new→frozen mrr"].low > 0
    before = ridge.measure(x[rows], ids, y[rows], ids, hubs=False)
    change = compare_measured(before, after).difference
    assert change["new→frozen mrr"].value > 0 and change["new→frozen recall@10"].value > 0


def test_the_closed_form_is_the_best_of_many_and_training_is_no_worse(attached):
    scores = list(attached.scores.values())
    assert attached.scores[attached.start] == max(scores)
    # the map before is the best of its kind, and it is told where a better one may lie beyond
    assert attached.scores[attached.baseline] == max(attached.scores[name] for name in RIDGES)
    at_edge = attached.baseline in (RIDGES[0], RIDGES[-1])
    assert at_edge == ("strength that was tried" in str(attached))
    assert scores == sorted(scores, reverse=True)
    assert attached.gain is not None and (not attached.trained or attached.gain.value > 0)
    text = str(attached)
    assert attached.start in text and "calibration error" in text and "modality gap" in text


def test_probabilities_are_about_right_on_new_pairs(attached, views):
    x, y, _ = views
    errors = []
    # galleries as large as those of the folds
    for start in (900, 1200, 1497):
        rows = slice(start, start + 300)
        found = attached.measure(x[rows], np.arange(300), y[rows], np.arange(300))
        errors.append(found.calibration_error)
    assert np.mean(errors) < 0.06


def test_it_repeats_and_is_saved(attached, views, tmp_path):
    x, y, _ = views
    again = attach(x[:900], y[:900], tuning=QUICK, options=THREE)
    rows = x[900:950]
    np.testing.assert_array_equal(attached.transform(rows), again.transform(rows))
    attached.save(tmp_path / "p")
    assert {f.suffix for f in (tmp_path / "p").iterdir()} == {".json", ".md", ".safetensors"}
    loaded = Attached.load(tmp_path / "p")
    np.testing.assert_array_equal(loaded.transform(rows), attached.transform(rows))
    np.testing.assert_array_equal(loaded.offsets(y[:9]), attached.offsets(y[:9]))
    assert str(loaded) == str(attached) and loaded.scores == attached.scores
    module = Projector.load(tmp_path / "p")
    out = module(torch.from_numpy(rows)).detach().numpy()
    np.testing.assert_allclose(out, attached.transform(rows), atol=1e-5)
    (tmp_path / "p" / "attached-modality.json").write_text("{}")
    with pytest.raises(InputError, match="this is no manifest"):
        Attached.load(tmp_path / "p")
    assert attached.offsets(y[:9]).shape == (9,)


def test_rows_with_one_modality_help_where_pairs_are_few():
    rng = np.random.default_rng(0)
    centres = 2.0 * rng.normal(size=(40, 24))
    items = (centres[rng.integers(0, 40, 900)] + rng.normal(size=(900, 24))) * np.linspace(
        2, 0.5, 24
    )
    x = items @ np.linalg.qr(rng.normal(size=(24, 24)))[0]
    y = items @ np.linalg.qr(rng.normal(size=(24, 24)))[0] + 1.0 * rng.normal(size=items.shape)
    pairs, new = np.arange(15), np.arange(700, 900)

    def found(alone):
        left, right = np.r_[pairs, alone[0]], np.r_[pairs, alone[1]]
        names = np.r_[pairs, -alone[1]]
        made = attach(
            x[left], y[right], items_x=left, items_y=names, tuning=Tuning(schedule=Schedule(0))
        )
        assert made.paired == 15 and made.alone == (len(alone[0]), len(alone[1]))
        measured = made.measure(x[new], new, y[new], new, hubs=False)
        return made, measured.values["new→frozen mrr"].mean()

    nobody, everybody = np.arange(0), np.arange(15, 500)
    made, with_them = found((everybody, everybody))
    assert made.start == "pseudo-pairs"
    assert with_them > found((nobody, nobody))[1] + 0.05


@pytest.mark.parametrize("seed", [3, 6])
def test_rows_with_one_modality_have_no_part_where_they_are_ahead_by_chance(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(120, 12))
    y = x @ rng.normal(size=(12, 12)) + 2.0 * rng.normal(size=x.shape)
    # the same sort of items as the pairs: their moments can add little
    left, right = np.arange(70), np.r_[np.arange(20), np.arange(70, 120)]
    made = attach(
        x[left], y[right], items_x=left, items_y=right, tuning=Tuning(schedule=Schedule(0))
    )
    assert made.paired == 20 and made.alone == (50, 50)
    assert "unpaired" not in made.start and made.start != "pseudo-pairs"
    # though of all that was tried one such form is in front
    assert "unpaired" in next(iter(made.scores))


def test_several_rows_of_an_item_are_partners(views):
    x, y, _ = views
    ids = np.arange(300)
    rng = np.random.default_rng(0)
    noisy = np.vstack([x[:300], x[:300] + 0.05 * rng.normal(size=x[:300].shape).astype(np.float32)])
    made = attach(
        noisy, y[:300], items_x=np.r_[ids, ids], items_y=ids,
        tuning=Tuning(schedule=Schedule(2, patience=4)),
        options=AttachOptions(folds=3, metric="cmc@10"),
    )  # fmt: skip
    assert made.paired == 300 and made.alone == (0, 0)
    assert made.report.queries["new→frozen mrr"] == 600


def test_new_rows_of_known_items_are_told_by_their_names(views):
    x, _, labels = views
    names = np.random.default_rng(0).normal(size=(10, 16)).astype(np.float32)
    made = attach(
        x[:800], names, items_x=labels[:800], items_y=np.arange(10), tuning=QUICK,
        options=AttachOptions(folds=3, known_items=True),
    )  # fmt: skip
    unit = names / np.linalg.norm(names, axis=1, keepdims=True)
    right = (made.transform(x[900:]) @ unit.T).argmax(axis=1) == labels[900:]
    assert right.mean() > 0.8
    # all names are in the gallery of every fold, so the promise is about the same
    promised = made.report.after["new→frozen recall@1"]
    assert promised.value == pytest.approx(right.mean(), abs=0.08)
    # held out by item there would be no way to tell ten classes of which none was seen
    unseen = attach(
        x[:800],
        names,
        items_x=labels[:800],
        items_y=np.arange(10),
        tuning=Tuning(schedule=Schedule(0)),
    )
    assert unseen.report.after["new→frozen mrr"].value < 0.9


def test_unrelated_sides_promise_nothing():
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(200, d)).astype(np.float32) for d in (20, 10))
    made = attach(x, y, tuning=QUICK)
    # chance among 40 is 10/40
    assert made.report.after["new→frozen recall@10"].value < 0.36
    assert not made.trained or made.gain.low > -0.02


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:-1], y), "99 and 100 rows"),
        (lambda x, y: (x[:0], y), "x: the modality has no rows"),
        (lambda x, y: (x, y[:0]), "y: the modality has no rows"),
        (lambda x, y: (x[:4], y[:4]), r"4 item\(s\)"),
        (lambda x, y: (x[:, :0], y), "empty"),
        (lambda x, y: (np.where(np.arange(100)[:, None] == 7, np.nan, x), y), "row 7"),
        (lambda x, y: (x, np.where(np.arange(100)[:, None] == 9, 0.0, y)), "row 9"),
        (lambda x, y: (np.ones_like(x), y), "does not vary"),
        (lambda x, y: (x[0], y), "2-d"),
    ],
)
def test_bad_input_is_refused(change, message):
    rng = np.random.default_rng(0)
    x, y = change(rng.normal(size=(100, 6)), rng.normal(size=(100, 4)))
    with pytest.raises(InputError, match=message):
        attach(x, y)


def test_bad_numbers_are_refused():
    with pytest.raises(InputError, match="2 folds"):
        AttachOptions(folds=1)
    with pytest.raises(InputError, match="1 partner"):
        AttachOptions(partners=0)
    with pytest.raises(InputError, match="cannot be stopped"):
        AttachOptions(metric="ndcg")


def test_training_is_as_sharp_as_the_frozen_space_is_close(monkeypatch):
    module = import_module("isthmus.nn.modality.attach")
    told: list[tuple[float | None, float]] = []

    def spied(projector, train, held, tuning, **more):
        told.append((tuning.temperature, projector.dropout))
        return tune(projector, train, held, tuning, **more)

    tune = module.tune
    monkeypatch.setattr(module, "tune", spied)
    rng = np.random.default_rng(0)
    captions = rng.standard_normal((400, 6))
    pictures = captions @ rng.standard_normal((6, 9)) + 0.1 * rng.standard_normal((400, 9))
    # a mean that all rows share takes their cosines together
    for near in (0.0, 6.0):
        attach(pictures, captions + near, tuning=Tuning(schedule=Schedule(1)), options=THREE)
    temperatures, dropouts = zip(*told, strict=True)
    # 400 pairs are many for 9 inputs
    assert set(dropouts) == {0.0}
    assert len(set(temperatures[:3])) == len(set(temperatures[3:])) == 1
    assert temperatures[3] < 0.8 * temperatures[0] and temperatures[0] <= 0.1
    told.clear()
    own = Tuning(temperature=0.07, schedule=Schedule(1))
    attach(pictures[:60], captions[:60], tuning=own, options=AttachOptions(folds=2))
    assert told == [(0.07, 0.3)] * 2


def test_a_hidden_layer_is_taken_where_the_relation_bends() -> None:
    rng = np.random.default_rng(5)
    pictures = rng.standard_normal((500, 6)).astype(np.float32)
    pictures /= np.linalg.norm(pictures, axis=1, keepdims=True)
    bent = np.abs(pictures @ rng.standard_normal((6, 24))).astype(np.float32)
    straight = (pictures @ rng.standard_normal((6, 24))).astype(np.float32)
    tuning = Tuning(schedule=Schedule(12), batch=64)
    made = {
        (name, hidden): attach(
            pictures, y, tuning=tuning, options=AttachOptions(folds=2, hidden=hidden)
        )
        for name, y, hidden in (
            ("bent", bent - bent.mean(0), 64),
            ("bent", bent - bent.mean(0), 0),
            ("straight", straight, 64),
        )
    }
    assert made["bent", 64].projector.hidden == 128
    assert "hidden layer (128 wide)" in str(made["bent", 64])
    one, other = (made["bent", hidden].gain for hidden in (64, 0))
    assert one is not None and other is not None and one.value > other.value + 0.02
    assert not made["straight", 64].projector.hidden
    with pytest.raises(InputError, match="hidden: the width is 0 or more"):
        AttachOptions(hidden=-1)
