import copy

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from isthmus.errors import DivergedError, InputError  # noqa: E402
from isthmus.nn.shaping import ShapedConv2d, ShapedLinear, watch_energy  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded, train  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402

KINDS = ("none", "diagonal", "low_rank", "elementwise")


def stirred(module, scale=0.3, seed=0):
    """Every parameter moved away from where it starts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += scale * torch.randn(parameter.shape, generator=generator)
    return module


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def linear(**options):
    with seeded(1):
        plain = nn.Linear(6, 5)
    return copy.deepcopy(plain), ShapedLinear(plain, **{"rank": 2, "correction": 3, **options})


@pytest.mark.parametrize("shaping", KINDS)
@pytest.mark.parametrize("cap", [False, True])
def test_a_shaped_linear_layer_is_at_first_the_plain_one_bit_for_bit(shaping, cap):
    plain, shaped = linear(shaping=shaping, cap=cap)
    x = noise(4, 7, 6)
    assert torch.equal(shaped(x), plain(x))
    assert not torch.equal(stirred(shaped)(x), plain(x))


@settings(deadline=None, max_examples=40)
@given(
    shaping=st.sampled_from(KINDS),
    groups=st.sampled_from([1, 2, 4]),
    stride=st.sampled_from([1, 2]),
    dilation=st.sampled_from([1, 2]),
    padding=st.sampled_from([0, 1, (2, 1), "same", "valid"]),
    mode=st.sampled_from(["zeros", "reflect", "replicate", "circular"]),
    bias=st.booleans(),
)
def test_a_shaped_convolution_is_at_first_the_plain_one_whatever_its_geometry(
    shaping, groups, stride, dilation, padding, mode, bias
):
    if padding == "same":
        stride = 1
    with seeded(1):
        plain = nn.Conv2d(
            4, 8, (3, 1), stride, padding, dilation, groups, bias, padding_mode=mode
        )  # fmt: skip
    shaped = ShapedConv2d(copy.deepcopy(plain), shaping=shaping, rank=2, correction=3)
    x = noise(2, 4, 9, 8)
    assert torch.equal(shaped(x), plain(x))
    assert torch.equal(shaped(x[0]), plain(x[0]))
    stirred(shaped)
    direct = nn.Conv2d(4, 8, (3, 1), stride, padding, dilation, groups, bias, padding_mode=mode)
    with torch.no_grad():
        direct.weight.copy_(shaped.shaped_weight())
        if bias:
            direct.bias.copy_(shaped.bias)
    torch.testing.assert_close(shaped(x), direct(x) + shaped.correction(x))


def test_a_depthwise_convolution_can_be_shaped_within_its_channels():
    plain = nn.Conv2d(4, 8, 3, groups=4)
    shaped = stirred(ShapedConv2d(plain, shaping="low_rank", rank=2))
    assert shaped.shaped_weight().shape == plain.weight.shape
    with pytest.raises(InputError, match="rank 3 cannot act on 2 outputs in each of 4 groups"):
        ShapedConv2d(plain, shaping="low_rank", rank=3)


@pytest.mark.parametrize("groups", [1, 2])
def test_the_operators_do_what_their_definitions_say(groups):
    with seeded(1):
        plain = nn.Conv2d(4, 6, 3, groups=groups)
    w = plain.weight.detach().double()
    made = {
        kind: stirred(ShapedConv2d(copy.deepcopy(plain), shaping=kind, rank=2, correction=0))
        for kind in KINDS[1:]
    }
    with torch.no_grad():
        for shaped in made.values():
            shaped.weight.copy_(plain.weight)
    s = {kind: shaped.shaping for kind, shaped in made.items()}
    got = {kind: shaped.shaped_weight().double() for kind, shaped in made.items()}
    per, inputs = 6 // groups, 4 // groups
    for o in range(6):
        group = o // per
        for i in range(inputs):
            scale = (1 + s["diagonal"].output[o]) * (1 + s["diagonal"].input[group * inputs + i])
            torch.testing.assert_close(
                got["diagonal"][o, i], scale.double() * w[o, i], rtol=1e-6, atol=1e-6
            )
    for group in range(groups):
        rows = slice(group * per, (group + 1) * per)
        u, v = s["low_rank"].u[group].double(), s["low_rank"].v[group].double()
        mixed = torch.eye(per, dtype=torch.float64) + u @ v.T
        torch.testing.assert_close(
            got["low_rank"][rows].flatten(1), mixed @ w[rows].flatten(1), rtol=1e-6, atol=1e-6
        )
    gate = 1 + s["elementwise"].gate.double()
    torch.testing.assert_close(got["elementwise"], gate * w, rtol=1e-6, atol=1e-6)


def test_a_gate_of_minus_one_masks_an_entry():
    _, shaped = linear(shaping="elementwise", correction=0)
    with torch.no_grad():
        shaped.shaping.gate[:, 2] = -1
    x = noise(3, 6)
    moved = x.clone()
    moved[:, 2] += 5
    assert torch.equal(shaped(x), shaped(moved))


@settings(deadline=None, max_examples=25)
@given(budget=st.floats(1e-3, 10), scale=st.floats(0.1, 30), seed=st.integers(0, 999))
def test_a_cap_keeps_the_energy_of_any_data_in_its_budget(budget, scale, seed):
    _, shaped = linear(budget=budget, cap=True)
    free = stirred(shaped, scale, seed)
    x = noise(16, 6, seed=seed)
    with watch_energy(free) as energies, torch.no_grad():
        free(x)
    (rho,) = energies.rho().values()
    assert rho <= budget * (1 + 1e-4)


def test_a_cap_leaves_alone_what_is_within_and_only_shortens_the_rest():
    _, shaped = linear(budget=0.2, cap=True)
    stirred(shaped)
    x = noise(64, 6)
    straight = functional.linear(x, shaped.shaped_weight())
    phi = shaped.correction(x)
    got = shaped(x) - straight - shaped.bias
    over = phi.square().sum(1) > 0.2 * straight.square().sum(1)
    assert 5 < over.sum() < 60
    torch.testing.assert_close(got[~over], phi[~over], rtol=1e-4, atol=1e-5)
    length = (0.2 * straight[over].square().sum(1)).sqrt()
    expected = functional.normalize(phi[over], dim=1) * length[:, None]
    torch.testing.assert_close(got[over], expected, rtol=1e-4, atol=1e-5)


def test_a_capped_output_does_not_depend_on_the_batch_or_on_other_positions():
    with seeded(1):
        shaped = ShapedConv2d(nn.Conv2d(3, 4, 1), budget=0.05, cap=True)
    stirred(shaped)
    x = noise(8, 3, 5, 5)
    whole = shaped(x)
    torch.testing.assert_close(shaped(x[2:3]), whole[2:3])
    torch.testing.assert_close(shaped(x[:, :, 2:3, 1:2]), whole[:, :, 2:3, 1:2])


def test_a_cap_on_a_path_of_nothing_has_finite_gradients():
    _, shaped = linear(budget=0.1, cap=True)
    stirred(shaped)
    with torch.no_grad():
        shaped.weight.zero_()
    x = noise(4, 6).requires_grad_()
    shaped(x).square().sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in [x, *shaped.parameters()])


@pytest.mark.parametrize("shaping", KINDS[1:])
def test_everything_it_adds_is_trained(shaping):
    _, shaped = linear(shaping=shaping)
    before = copy.deepcopy(shaped.state_dict())
    x = noise(128, 6)
    y = noise(128, 5, seed=1)
    done = train(
        shaped,
        lambda m, b: (m(b[0]) - b[1]).square().mean(),
        Batches(x, y, size=32),
        Schedule(12, optimiser=lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9)),
    )
    assert done.history[-1]["loss"] < done.history[0]["loss"]
    for name, tensor in shaped.state_dict().items():
        assert not torch.equal(tensor, before[name]), name


def test_gradients_agree_with_finite_differences():
    _, shaped = linear(shaping="low_rank", budget=0.1, cap=True)
    stirred(shaped).double()
    x = noise(3, 6).double().requires_grad_()
    # the cap is computed in float32
    assert torch.autograd.gradcheck(shaped, (x,), eps=1e-4, atol=1e-2, rtol=1e-2)


def test_it_is_saved_by_its_state_and_its_weight_keeps_its_name():
    plain, shaped = linear(shaping="low_rank")
    stirred(shaped)
    assert {"weight", "bias", "shaping.u", "correction.up.weight"} <= shaped.state_dict().keys()
    _, other = linear(shaping="low_rank", seed=9)
    x = noise(3, 6)
    assert not torch.equal(other(x), shaped(x))
    other.load_state_dict(shaped.state_dict())
    assert torch.equal(other(x), shaped(x))
    fresh = linear(shaping="low_rank")[1]
    missing = fresh.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys
    assert torch.equal(fresh(x), plain(x))


def test_equal_seeds_give_equal_layers_and_the_global_generator_stays():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one, two, other = (linear(shaping="low_rank", seed=s)[1].state_dict() for s in (4, 4, 5))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["correction.down.weight"], other["correction.down.weight"])


def test_device_dtype_mode_and_frozen_weights_are_those_of_the_plain_layer():
    plain = nn.Conv2d(3, 4, 3, device="meta", dtype=torch.bfloat16).eval()
    plain.weight.requires_grad_(False)
    shaped = ShapedConv2d(plain)
    assert {p.device.type for p in shaped.parameters()} == {"meta"}
    assert {p.dtype for p in shaped.parameters()} == {torch.bfloat16}
    assert not shaped.weight.requires_grad and shaped.shaping.output.requires_grad
    assert not shaped.training and not shaped.correction.training


@pytest.mark.parametrize("budget", [0, -0.1, float("nan"), float("inf")])
def test_a_budget_is_positive(budget):
    with pytest.raises(InputError, match="budget of the correction energy is above 0"):
        linear(budget=budget)


def test_options_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="no shaping 'diag'.*diagonal"):
        linear(shaping="diag")
    with pytest.raises(InputError, match="rank 9 cannot act on 5 outputs"):
        linear(shaping="low_rank", rank=9)
    with pytest.raises(InputError, match="0 or more channels wide, got -1"):
        linear(correction=-1)
    with pytest.raises(InputError, match="a cap needs a budget"):
        linear(cap=True, budget=None)
    plain = nn.Linear(3, 2)
    with torch.no_grad():
        plain.weight[0, 0] = float("nan")
    with pytest.raises(InputError, match="the weight of the layer is not finite"):
        ShapedLinear(plain)


def test_nan_in_the_data_stops_the_training_with_the_last_good_state():
    _, shaped = linear(budget=0.1, cap=True)
    before = copy.deepcopy(shaped.state_dict())
    x = noise(8, 6)
    x[5, 2] = float("nan")
    with pytest.raises(DivergedError, match="not finite"):
        train(shaped, lambda m, b: m(b).square().mean(), Batches(x, size=8), Schedule(1))
    assert all(torch.equal(before[name], tensor) for name, tensor in shaped.state_dict().items())
