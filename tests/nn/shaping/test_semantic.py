import numpy as np
import pytest
import scipy.spatial.distance
import scipy.special

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.shaping import Prototypes, paired_consistency  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded, train  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402


def classes(n=90, d=6, count=3, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, count, n)
    labels[:count] = np.arange(count)
    x = 5 + 3 * rng.standard_normal((count, d))[labels] + 0.5 * rng.standard_normal((n, d))
    return torch.from_numpy(x).float(), torch.from_numpy(labels)


@pytest.mark.parametrize("count", [2, 3, 26])
def test_a_simplex_has_equal_angles_in_as_few_dimensions_as_can_be(count):
    prototypes = Prototypes.simplex(count, count + 3)
    gram = (prototypes.vectors @ prototypes.vectors.T).double().numpy()
    expected = np.full((count, count), -1 / (count - 1))
    np.fill_diagonal(expected, 1)
    np.testing.assert_allclose(gram, expected, atol=1e-6)
    assert not prototypes.vectors[:, count - 1 :].any()
    with pytest.raises(InputError, match="simplex of .* classes needs|span no simplex"):
        Prototypes.simplex(count, count - 2)


def test_class_prototypes_are_the_class_means_about_their_mean():
    x, y = classes()
    prototypes = Prototypes.of_classes(x, y)
    means = np.stack([x.double().numpy()[y.numpy() == k].mean(0) for k in range(3)])
    centred = means - means.mean(0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(prototypes.vectors.numpy(), expected, atol=1e-5)
    np.testing.assert_allclose(prototypes.centre.numpy(), means.mean(0), atol=1e-5)
    assert (prototypes.nearest(x) == y).float().mean() > 0.95


def test_the_loss_is_the_mean_cosine_distance_to_the_own_prototype():
    x, y = classes()
    prototypes = Prototypes.of_classes(x, y)
    rows = x.double().numpy() - prototypes.centre.double().numpy()
    to_all = scipy.spatial.distance.cdist(rows, prototypes.vectors.double().numpy(), "cosine")
    assert prototypes(x, y).item() == pytest.approx(to_all[np.arange(90), y.numpy()].mean())
    logits = (1 - to_all) / 0.2
    expected = scipy.special.logsumexp(logits, axis=1) - logits[np.arange(90), y.numpy()]
    assert prototypes(x, y, temperature=0.2).item() == pytest.approx(expected.mean(), rel=1e-4)


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(0.01, 100), seed=st.integers(0, 99))
def test_the_loss_does_not_see_the_length_of_features(scale, seed):
    x, y = classes(seed=seed)
    prototypes = Prototypes.simplex(3, 4)
    one, other = prototypes(x, y), prototypes(scale * x, y)
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_wider_features_are_pulled_into_the_dimensions_of_the_prototypes():
    x, y = classes(d=2)
    prototypes = Prototypes.simplex(3, 2)
    ideal = prototypes.vectors[y]
    padded = torch.cat([ideal, torch.zeros(90, 4)], 1)
    assert prototypes(padded, y).item() == pytest.approx(0, abs=1e-6)
    padded[:, 3] = 1
    assert prototypes(padded, y).item() > 0.2
    with pytest.raises(InputError, match=r"\(90, 1\) do not hold prototypes of width 2"):
        prototypes(x[:, :1], y)


def test_two_networks_trained_to_one_set_see_the_same_geometry():
    x, y = classes(300, count=4)
    prototypes = Prototypes.simplex(4, 5)
    features = []
    for seed, width in ((0, 5), (1, 9)):
        with seeded(seed):
            network = nn.Sequential(nn.Linear(6, 32), nn.GELU(), nn.Linear(32, width))
        before = prototypes(network(x), y).item()
        train(
            network,
            lambda m, b: prototypes(m(b[0]), b[1]),
            Batches(x, y, size=50),
            Schedule(40, optimiser=lambda m: torch.optim.Adam(m.parameters(), 0.01)),
        )
        after = prototypes(network(x), y).item()
        assert after < 0.2 * before
        features.append(nn.functional.normalize(network(x)[:, :5].detach(), dim=1))
    assert (features[0] * features[1]).sum(1).mean() > 0.9


def test_clusters_of_one_model_are_labels_for_another():
    x, y = classes()
    prototypes = Prototypes.of_clusters(x, 3, seed=1)
    found = prototypes.nearest(x)
    pairs = {(int(a), int(b)) for a, b in zip(found, y, strict=True)}
    assert len(pairs) == 3
    torch.testing.assert_close(
        prototypes.vectors, Prototypes.of_clusters(x, 3, seed=1).vectors, rtol=0, atol=0
    )
    with pytest.raises(InputError, match="two clusters or more"):
        Prototypes.of_clusters(x, 1)


def test_classes_that_are_none_are_refused():
    x, y = classes()
    with pytest.raises(InputError, match="all features are of one class"):
        Prototypes.of_classes(x, torch.zeros(90, dtype=torch.int64))
    with pytest.raises(InputError, match="class 1: 2 of 5 classes have no rows"):
        Prototypes.of_classes(x, torch.tensor([0, 2, 4])[y])
    with pytest.raises(InputError, match="class 3: 1 of 4 classes have no rows"):
        Prototypes.of_classes(x, y, 4)
    with pytest.raises(InputError, match="label is 2, and there are 2 classes"):
        Prototypes.of_classes(x, y, 2)
    with pytest.raises(InputError, match="label is -1"):
        Prototypes.of_classes(x, y - 1)
    with pytest.raises(InputError, match="there are no features"):
        Prototypes.of_classes(x[:0], y[:0])
    with pytest.raises(InputError, match="two rows or more"):
        Prototypes(torch.ones(1, 3))
    with pytest.raises(InputError, match="class 1: a prototype is 0"):
        Prototypes(torch.tensor([[1.0, 0.0], [0.0, 0.0]]))
    with pytest.raises(InputError, match="class 0: a prototype is 0 or not finite"):
        Prototypes.of_classes(torch.ones(90, 6), y)


def test_labels_without_a_prototype_are_refused():
    x, y = classes()
    with pytest.raises(InputError, match="labels, row 4: the label is 3"):
        y[4] = 3
        Prototypes.simplex(3, 4)(x, y)


def test_features_that_are_not_finite_are_named():
    x, y = classes()
    x[7, 2] = float("nan")
    for make in (lambda: Prototypes.of_classes(x, y), lambda: Prototypes.of_clusters(x, 2)):
        with pytest.raises(InputError, match="features, row 7: a value is not finite"):
            make()


def test_what_does_not_pair_is_refused():
    x, y = classes()
    prototypes = Prototypes.simplex(3, 4)
    with pytest.raises(InputError, match="90 and 89 rows"):
        prototypes(x, y[:-1])
    with pytest.raises(InputError, match="90 and 89 rows"):
        Prototypes.of_classes(x, y[:-1])
    with pytest.raises(InputError, match=r"\(4, 3\) and \(5, 3\) do not pair"):
        paired_consistency(torch.zeros(4, 3), torch.zeros(5, 3))
    with pytest.raises(InputError, match=r"\(4, 3\) and \(4, 2\) do not pair"):
        paired_consistency(torch.zeros(4, 3), torch.zeros(4, 2))
    for temperature in (0, -1, float("nan")):
        with pytest.raises(InputError, match="a temperature is above 0"):
            paired_consistency(torch.zeros(4, 3), torch.zeros(4, 3), temperature=temperature)
        with pytest.raises(InputError, match="a temperature is above 0"):
            prototypes(x, y, temperature=temperature)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), scale=st.floats(0.1, 50), temperature=st.floats(0.3, 5))
def test_consistency_is_the_jensen_shannon_divergence(seed, scale, temperature):
    rng = np.random.default_rng(seed)
    one, other = (scale * rng.standard_normal((8, 5)) for _ in range(2))
    p, q = (scipy.special.softmax(side / temperature, axis=1) for side in (one, other))
    # scipy's distance takes the root of what rounding may leave below 0
    middle = (p + q) / 2
    relative = scipy.special.rel_entr(p, middle) + scipy.special.rel_entr(q, middle)
    expected = np.mean(relative.sum(axis=1)) / 2
    a, b = torch.from_numpy(one), torch.from_numpy(other)
    got = paired_consistency(a, b, temperature=temperature)
    assert got.item() == pytest.approx(expected, rel=1e-3, abs=1e-6)
    assert got.item() == pytest.approx(
        paired_consistency(b, a, temperature=temperature).item(), abs=1e-6
    )
    assert paired_consistency(a, a + 3).item() == pytest.approx(0, abs=1e-6)


def test_two_models_trained_to_agree_do():
    x, y = classes(300)
    with seeded(0):
        both = nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 3)])

    def loss(module, batch):
        one, other = module[0](batch[0]), module[1](batch[0])
        task = nn.functional.cross_entropy(one, batch[1])
        return {"task": task, "agree": paired_consistency(one, other)}

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.parts = both

        def __getitem__(self, number):
            return self.parts[number]

    # the second model sees no label
    model = Both()
    train(
        model,
        lambda m, b: loss(model, b),
        Batches(x, y, size=50),
        Schedule(30, optimiser=lambda m: torch.optim.Adam(m.parameters(), 0.05)),
    )
    assert (both[1](x).argmax(1) == y).float().mean() > 0.9


def test_prototypes_are_saved_with_the_state():
    x, y = classes()
    prototypes = Prototypes.of_classes(x, y)
    other = Prototypes.simplex(3, 6)
    other.load_state_dict(prototypes.state_dict())
    assert torch.equal(other.cosines(x), prototypes.cosines(x))
