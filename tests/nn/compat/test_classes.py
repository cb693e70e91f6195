"""Classifier rows of classes, and what is refused about labels."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader, TensorDataset  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.compat import CosineHead, class_means, extended_classifier  # noqa: E402
from isthmus.nn.compat.classes import check_classes  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402


def some(n=60, d=4, classes=5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, n - classes)])
    return rng.standard_normal((n, d)).astype(np.float32), labels


def test_class_means_are_the_means():
    x, y = some()
    expected = np.stack([x[y == c].astype(np.float64).mean(0) for c in range(5)])
    found = class_means(torch.from_numpy(x), torch.from_numpy(y), 5)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_unknown_classes_get_the_direction_of_their_mean_at_the_known_length():
    x, y = some()
    known = 3.0 * torch.eye(2, 4)
    rows = extended_classifier(
        known, torch.from_numpy(x), torch.from_numpy(y), 5, known_labels=torch.tensor([4, 1])
    )
    assert torch.equal(rows[[4, 1]], known)
    for c in (0, 2, 3):
        mean = x[y == c].mean(0)
        expected = 3.0 * mean / np.linalg.norm(mean)
        np.testing.assert_allclose(rows[c], expected, rtol=1e-4)


def test_rows_of_known_classes_are_not_needed_and_all_known_is_the_classifier():
    x, y = some()
    known = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    new = torch.from_numpy(y) >= 3
    few = extended_classifier(known, torch.from_numpy(x)[new], torch.from_numpy(y)[new], 5)
    everything = extended_classifier(known, torch.from_numpy(x), torch.from_numpy(y), 5)
    assert torch.allclose(few, everything)
    assert torch.equal(
        extended_classifier(known, torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), 3), known
    )


def test_the_cosine_head_does_not_see_lengths():
    head, x = CosineHead(4, 3, scale=2.0), torch.randn(5, 4)
    expected = 2.0 * torch.nn.functional.cosine_similarity(x[:, None], head.weight[None], dim=2)
    assert torch.allclose(head(x), expected, atol=1e-6)
    assert torch.allclose(head(7 * x), head(x), atol=1e-5)


@pytest.mark.parametrize("kind", ["batches", "loader", "list"])
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 1, 3], "1 of 4 classes have no rows \\(2\\)"),
        ([1, 1, 1, 1], "all labels are 1: one class"),
        ([0, 1, 2, 4], "row 3: the label is 4, and there are 4 classes"),
        ([0, 1, 2, -1], "row 3: the label is -1"),
    ],
)
def test_labels_in_memory_are_refused_before_any_work(kind, labels, message):
    images, numbers = torch.zeros(4, 2), torch.tensor(labels)
    loader = {
        "batches": lambda: Batches(images, numbers),
        "loader": lambda: DataLoader(TensorDataset(images, numbers)),
        "list": lambda: [(images[:2], numbers[:2]), (images[2:], numbers[2:])],
    }[kind]()
    with pytest.raises(InputError, match=message):
        check_classes(loader, 4)


def test_reserved_classes_may_be_empty():
    check_classes(Batches(torch.zeros(4, 2), torch.tensor([0, 1, 1, 3])), 10, reserved=True)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: class_means(torch.zeros(3, 2), torch.tensor([0, 0, 2]), 3), "no rows \\(1\\)"),
        (lambda: class_means(torch.zeros(3, 2), torch.tensor([0, 0]), 1), "2 labels"),
        (
            lambda: extended_classifier(
                torch.zeros(1, 2), torch.zeros(2, 2), torch.tensor([0, 1]), 3
            ),
            "1 of 3 classes have no rows \\(2\\)",
        ),
        (
            lambda: extended_classifier(torch.zeros(1, 3), torch.zeros(1, 2), torch.tensor([0]), 1),
            "both must have the old width",
        ),
        (
            lambda: extended_classifier(torch.zeros(3, 2), torch.zeros(1, 2), torch.tensor([0]), 1),
            "3 known rows among 1 classes",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
