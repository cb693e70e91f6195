import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from isthmus.errors import InputError  # noqa: E402
from isthmus.moments import Moments  # noqa: E402
from isthmus.nn.modality.inserts import (  # noqa: E402
    KINDS,
    Bottleneck,
    Film,
    Insert,
    OwnNorm,
    Prompts,
    bottleneck,
    film,
    own_norm,
    prompts,
)


def activations(axis):
    x = torch.randn(4, 5, 6, generator=torch.Generator().manual_seed(0))
    return x if axis == 2 else x.movedim(2, 1)


@pytest.mark.parametrize("axis", [1, 2])
@pytest.mark.parametrize("part", [Film(6), OwnNorm(6), Bottleneck(6, 3)])
def test_a_part_starts_as_the_identity(part, axis):
    x = activations(axis)
    torch.testing.assert_close(part(x, axis), x, atol=0, rtol=0)


def test_features_are_changed_wherever_they_lie():
    for part in (Film(6), Bottleneck(6, 3), OwnNorm(6)):
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.copy_(torch.linspace(0.1, 1, parameter.numel()).reshape(parameter.shape))
        last = part(activations(2), 2)
        torch.testing.assert_close(part(activations(1), 1).movedim(1, 2), last)
        assert not torch.allclose(last, activations(2))


def side(rows):
    return Moments.of(rows, rows[:, :0], keep={"square"}).second().x


def test_own_statistics_are_replaced_by_the_usual_ones():
    rng = np.random.default_rng(0)
    usual = rng.normal(size=(500, 6)) * np.arange(1, 7) + 2
    other = rng.normal(size=(400, 6)) * 3 - np.arange(6)
    other[:, 2] = 4.0
    part = OwnNorm(6)
    part.measured(side(other), side(usual))
    out = part(torch.from_numpy(other).float(), 1).detach().double().numpy()
    np.testing.assert_allclose(out.mean(0), usual.mean(0), atol=1e-4)
    varying = [0, 1, 3, 4, 5]
    np.testing.assert_allclose(out.std(0)[varying], usual.std(0)[varying], rtol=1e-4)
    # what never varies is moved, not blown up
    assert np.ptp(out[:, 2]) == 0


def test_prompts_come_and_go():
    part = Prompts(6, 3)
    x = activations(2)
    longer = part.before(x)
    assert longer.shape == (4, 8, 6)
    assert torch.equal(part.after(longer), x) and torch.equal(longer[1, :3], part.tokens)


def test_every_kind_has_a_short_name():
    made = [film("a"), own_norm("a"), bottleneck("a", 2), prompts("a", 5)]
    assert [i.kind for i in made] == ["film", "own_norm", "bottleneck", "prompts"]
    assert {i.kind for i in made} == set(KINDS)
    with pytest.raises(InputError, match="no part 'filme'"):
        Insert("filme", "a")
    with pytest.raises(InputError, match="1 or more"):
        prompts("a", 0)
