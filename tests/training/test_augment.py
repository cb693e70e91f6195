import math
import statistics

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
ndimage = pytest.importorskip("scipy.ndimage")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.training.augment import (  # noqa: E402
    Blur,
    ChannelDropout,
    Compose,
    Gain,
    Noise,
    Resample,
    Warp,
)
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded, train  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402

ALL = [
    Noise(0.1, 0.2), Gain(0.5, 2), Gain(0.5, 2, per_channel=True), Blur(0.5, 1.5),
    Resample((1.5, 2)), ChannelDropout(0.4), Compose([Noise(), Gain()], share=0.5),
]  # fmt: skip


def batch(shape=(16, 3, 12, 10), dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


@pytest.mark.parametrize("augment", ALL, ids=repr)
@pytest.mark.parametrize("shape", [(16, 3, 12, 10), (16, 3, 40)])
def test_shape_dtype_and_input_are_kept_and_the_generator_decides(augment, shape):
    for dtype in (torch.float32, torch.float64):
        x = batch(shape, dtype)
        before = x.clone()
        found = [augment(x, torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
        assert torch.equal(x, before)
        assert found[0].shape == x.shape and found[0].dtype == dtype
        assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
        assert not torch.equal(found[0], x)
    with seeded(3):
        one = augment(x)
    with seeded(3):
        assert torch.equal(one, augment(x))
    assert augment(x[:0]).shape == x[:0].shape


def test_items_differ_in_what_is_done_to_them():
    x = torch.ones(200, 2, 30)
    generator = torch.Generator().manual_seed(0)
    spread = Noise(0.0, 1.0)(x, generator).std((1, 2))
    assert spread.min() < 0.1 and spread.max() > 0.8
    factor = Gain(0.25, 4)(x, generator)[:, 0, 0]
    assert 0.25 <= factor.min() < 0.4 and 3 < factor.max() <= 4
    assert abs(float(factor.log().mean())) < 0.2
    apart = Gain(0.25, 4, per_channel=True)(x, generator)[..., 0]
    assert float((apart[:, 0] - apart[:, 1]).abs().min()) > 0


@pytest.mark.parametrize("shape", [(4, 2, 15, 11), (4, 2, 60)])
def test_blur_is_the_gaussian_filter_of_scipy(shape):
    x = batch(shape, torch.float64)
    found = Blur(1.2, 1.2)(x).numpy()
    axes = tuple(range(2, len(shape)))
    expected = ndimage.gaussian_filter(
        x.numpy(), 1.2, axes=axes, mode="nearest", radius=math.ceil(3.6)
    )
    np.testing.assert_allclose(found, expected, atol=1e-10)
    torch.testing.assert_close(Blur(0, 0)(x), x)


def test_a_constant_survives_blur_and_resampling_and_a_coarser_signal_loses_its_fast_part():
    constant = torch.full((3, 2, 16, 12), 0.7)
    for augment in (Blur(1, 1), Resample((2, 3))):
        torch.testing.assert_close(augment(constant), constant)
    t = torch.arange(240) / 240
    slow, fast = (torch.sin(2 * math.pi * f * t)[None, None] for f in (2, 60))
    coarse = Resample((8,))
    assert float((coarse(slow) - slow).std()) < 0.1 * float(slow.std())
    assert float(coarse(fast).std()) < 0.1 * float(fast.std())
    assert torch.equal(Resample((1,))(fast), fast)


def test_channels_are_dropped_whole_and_never_all():
    x = torch.rand(500, 4, 6, 6) + 1
    found = ChannelDropout(0.6, fill=-1.0)(x, torch.Generator().manual_seed(1))
    gone = (found == -1).flatten(2).all(2)
    assert torch.equal(torch.where(gone[..., None, None], x, found), x)
    assert int((~gone).sum(1).min()) >= 1
    # 0.6, less the items of which one had to stay: 0.6⁴ / 4
    assert float(gone.float().mean()) == pytest.approx(0.6 - 0.6**4 / 4, abs=0.03)
    assert torch.equal(ChannelDropout(0.0)(x), x)


def test_a_warp_is_the_affine_transform_of_scipy():
    x = batch((5, 2, 13, 9), torch.float64)
    found = Warp(20, 0.2, 0.3, 2)(x, torch.Generator().manual_seed(4)).numpy()
    generator = torch.Generator().manual_seed(4)
    bounds = (math.radians(20), 0.2, 0.2, 0.3, 2, 2)
    drawn = [
        b * (2 * torch.rand(5, generator=generator, dtype=torch.float64).numpy() - 1)
        for b in bounds
    ]
    middle = np.array([6.0, 4.0])
    for image, out, (turn, tall, wide, shear, down, right) in zip(
        x.numpy(), found, np.transpose(drawn), strict=True
    ):
        turned = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        # rows go down and columns to the right
        matrix = turned @ np.array([[1 + tall, 0.0], [shear, 1 + wide]])
        offset = middle - matrix @ middle - np.array([down, right])
        for channel, result in zip(image, out, strict=True):
            expected = ndimage.affine_transform(channel, matrix, offset, order=1, mode="nearest")
            np.testing.assert_allclose(result, expected, atol=1e-10)
    torch.testing.assert_close(Warp(0, 0, 0, 0)(x), x)
    with pytest.raises(InputError, match="cannot warp signals"):
        Warp()(x[0])


def test_a_share_of_the_items_is_left_as_it_is():
    x = batch((400, 1, 4, 4))
    found = Compose([Noise(1, 1)], share=0.25)(x, torch.Generator().manual_seed(0))
    changed = (found != x).flatten(1).any(1).float().mean()
    assert 0.17 < float(changed) < 0.33


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Noise(0.2, 0.1), "Noise: cannot draw between 0.2 and 0.1"),
        (lambda: Noise(0, math.inf), "cannot draw"),
        (lambda: Gain(0, 1), "Gain: cannot draw"),
        (lambda: Blur(-1, 1), "Blur: cannot draw"),
        (lambda: Resample(()), "factors are 1 or more"),
        (lambda: Resample((0.5,)), "factors are 1 or more"),
        (lambda: ChannelDropout(1.0), r"lies in \[0, 1\)"),
        (lambda: Compose([]), "cannot apply 0"),
        (lambda: Warp(turn=-1), "Warp: cannot draw within"),
        (lambda: Warp(stretch=1.0), "below 1"),
        (lambda: Noise()(torch.ones(3, 4)), r"shape \(3, 4\).*channels"),
        (lambda: Noise()(torch.ones(3, 4, 5, dtype=torch.int64)), "torch.int64"),
    ],
)
def test_bad_input_is_refused(make, match):
    with pytest.raises(InputError, match=match):
        make()


@pytest.mark.parametrize(
    ("augment", "corrupt", "gain"),
    [
        (Noise(0.0, 0.5), Noise(0.45, 0.45), 0.03),
        (Gain(0.2, 5, per_channel=True), Gain(0.2, 5, per_channel=True), 0.03),
        (Blur(0, 1.5), Blur(1.3, 1.3), 0.03),
        (Resample((1, 2, 4)), Resample((3,)), 0.03),
        (ChannelDropout(0.3), ChannelDropout(0.3), 0.03),
    ],
    ids=lambda v: type(v).__name__,
)
def test_accuracy_rises_under_the_corruption_it_imitates(augment, corrupt, gain):
    datasets = pytest.importorskip("sklearn.datasets")
    data = datasets.load_digits()
    x, y = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)
    if isinstance(augment, ChannelDropout | Gain):
        x = x.reshape(-1, 8, 8)  # every line of the image from a sensor of its own
    gains = []
    for seed in range(2):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        fit, test = order[:1000], order[1000:]
        scores = []
        for change in (None, augment):
            with seeded(seed):
                net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
            train(
                net,
                lambda m, b, c=change: functional.cross_entropy(m(c(b[0]) if c else b[0]), b[1]),
                Batches(x[fit], y[fit], size=64),
                Schedule(14, seed=seed, optimiser=lambda m: torch.optim.Adam(m.parameters(), 4e-3)),
            )
            worse = corrupt(x[test], torch.Generator().manual_seed(9))
            with torch.no_grad():
                scores.append(float((net(worse).argmax(1) == y[test]).float().mean()))
        gains.append(scores[1] - scores[0])
    assert min(gains) > 0 and statistics.mean(gains) > gain, gains
