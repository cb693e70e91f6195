"""Cross-tests and backfill against direct computation, and features of an encoder."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.evaluate import Resampling, Trial, compatibility_scores, from_labels  # noqa: E402
from isthmus.nn.compat import (  # noqa: E402
    compatibility_matrix,
    encode,
    paired_change,
    partial_backfill,
)
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.curriculum import item_losses  # noqa: E402

N, D, CLASSES = 150, 6, 5


def models(seed=0):
    """Three models of one space, each less noisy than the one before, and labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, N)
    truth = rng.standard_normal((CLASSES, D))[labels]
    rows = [truth + s * rng.standard_normal((N, D)) for s in (1.2, 0.8, 0.4)]
    return [r.astype(np.float32) for r in rows], labels


def direct(queries, gallery, labels):
    """CMC-1 and mAP, leave one out, by sorting."""
    q, g = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (queries, gallery))
    first, precision = [], []
    for i in range(len(q)):
        scores = g @ q[i]
        scores[i] = -np.inf
        hits = labels[np.argsort(-scores)[:-1]] == labels[i]
        first.append(hits[0])
        precision.append((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())
    return np.mean(first), np.mean(precision)


def test_the_matrix_is_that_of_direct_searches_and_its_summaries_follow():
    rows, labels = models()
    own = np.arange(N)
    found = compatibility_matrix(
        rows, rows, from_labels(labels, labels, exclude=own), names=("a", "b", "c"), exclude=own
    )
    for t in range(3):
        for k in range(t + 1):
            cmc, mean = direct(rows[t], rows[k], labels)
            assert found["cmc@1"].values[t, k] == pytest.approx(cmc)
            assert found["map"].values[t, k] == pytest.approx(mean, rel=1e-6)
    one = found["map"]
    assert np.isnan(one.values[0, 1])
    assert one.scores == compatibility_scores(one.values)
    assert one.compatible("c", "a")
    gain = one.gains["c", "a"]
    expected = (one.values[2, 0] - one.values[0, 0]) / (one.values[2, 2] - one.values[0, 0])
    assert gain.value == pytest.approx(expected)
    assert gain.low < gain.value < gain.high
    assert "AC 1.00" in str(one)


def test_a_model_that_is_no_better_has_no_update_gain():
    rows, labels = models()
    own = np.arange(N)
    worse = [rows[2], rows[0]]
    found = compatibility_matrix(
        worse, worse, from_labels(labels, labels, exclude=own), exclude=own
    )["map"]
    gain = found.gains["model 2", "model 1"]
    assert gain.value is None
    assert "not better" in gain.reason
    assert not found.compatible("model 2", "model 1")


def test_a_change_on_the_same_queries_has_a_paired_interval():
    rng = np.random.default_rng(0)
    before = rng.random(400)
    shifted = paired_change(before, before - 0.02)
    assert shifted.value == pytest.approx(-0.02)
    assert shifted.high < 0
    noise = paired_change(before, before + 0.1 * rng.standard_normal(400))
    assert noise.low < 0 < noise.high


def test_backfill_in_the_order_of_the_true_error_beats_random_and_ends_at_the_new_model():
    (old, _, new), labels = models()
    own = np.arange(N)
    rng = np.random.default_rng(1)
    # half of the gallery was brought forward badly
    bad = rng.random(N) < 0.5
    forward = np.where(bad[:, None], rng.standard_normal((N, D)), new).astype(np.float32)
    trial = Trial(
        query_old=old, query_new=new, gallery_old=old, gallery_new=new, gallery_bridged=forward,
        relevance=from_labels(labels, labels, exclude=own), exclude=own,
    )  # fmt: skip
    errors = ((forward - new) ** 2).sum(1).astype(np.float64)
    curves = {
        c.order: c
        for c in partial_backfill(
            trial, {"error": errors, "random": rng.random(N)}, shares=(0.25, 0.5, 1.0),
            resampling=Resampling(50), primary="map",
        )
    }  # fmt: skip
    _, best = direct(new, new, labels)
    _, start = direct(new, forward, labels)
    for curve in curves.values():
        assert curve.values[0] == pytest.approx(start)
        assert curve.values[-1] == pytest.approx(best)
    assert curves["error"].area > curves["random"].area + 0.02
    assert curves["error"].values[2] == pytest.approx(best, abs=0.02)
    with pytest.raises(InputError, match="the order 'error' has shape \\(3,\\)"):
        partial_backfill(trial, {"error": np.ones(3)})
    without = Trial(query_old=old, query_new=new, gallery_old=old, gallery_new=new)
    with pytest.raises(InputError, match="not brought forward"):
        partial_backfill(without, {"error": errors})


def test_features_come_in_evaluation_mode_and_in_order():
    encoder = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    encoder[1].eval()
    x, y = torch.randn(10, 3), torch.arange(10)
    before = {n: t.clone() for n, t in encoder.state_dict().items()}
    rows, labels = encode(encoder, Batches(x, y, size=4, shuffle=False))
    assert [m.training for m in encoder] == [True, False, True]
    assert all(torch.equal(t, before[n]) for n, t in encoder.state_dict().items())
    np.testing.assert_array_equal(labels, np.arange(10))
    with torch.no_grad():
        np.testing.assert_allclose(rows, encoder.eval()(x), rtol=1e-5)
    assert encode(encoder, Batches(x, size=4, shuffle=False))[1] is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: compatibility_matrix(r[:1], r[:1], r[0]), "two models or more"),
        (lambda r: compatibility_matrix(r, r, r[0], names=("a", "a", "b")), "two models or more"),
        (
            lambda r: compatibility_matrix(
                [r[0], np.ones((N, 4), np.float32)], [r[0], r[1]],
                from_labels(np.arange(N), np.arange(N)),
            ),
            "'model 2' have 4 dimensions and the gallery of 'model 1' has 6",
        ),
        (lambda r: paired_change(np.ones(3), np.ones(4)), "not of the same queries"),
        (lambda r: encode(nn.Flatten(0), [torch.ones(4, 2)]), "shape \\(8,\\)"),
        (lambda r: encode(nn.Identity(), []), "no batches"),
        (lambda r: encode(nn.Identity(), [torch.full((2, 2), torch.nan)]), "row 0.*not finite"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call(models()[0])


def test_rows_are_not_taken_of_a_loader_that_shuffles():
    """The rows of a second encoder, or arrays, would be paired with those of other items."""
    rows = torch.arange(40.0).reshape(20, 2)
    plain = torch.utils.data.TensorDataset(rows)
    drawn = torch.utils.data.WeightedRandomSampler(torch.ones(20), 20)
    in_order = [torch.utils.data.DataLoader(plain, 6), Batches(rows, size=6, shuffle=False)]
    for loader in in_order:
        assert np.array_equal(encode(nn.Identity(), loader)[0], rows.numpy())
    shuffled = [
        torch.utils.data.DataLoader(plain, 6, shuffle=True),
        torch.utils.data.DataLoader(plain, 6, sampler=drawn),
        Batches(rows, size=6),
    ]
    for loader in shuffled:
        with pytest.raises(InputError, match="the loader shuffles.*shuffle=False"):
            encode(nn.Identity(), loader)
        with pytest.raises(InputError, match="the loader shuffles"):
            item_losses(nn.Identity(), loader, lambda model, batch: model(batch)[:, 0])
