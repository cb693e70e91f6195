import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from isthmus import artefact  # noqa: E402
from isthmus.errors import InputError, OutputError  # noqa: E402
from isthmus.nn.modality.projector import Branch, Projector  # noqa: E402


def made(**options):
    rng = np.random.default_rng(0)
    return Projector(rng.normal(size=(6, 4)), rng.normal(size=4), **options)


def test_it_is_the_map_of_its_equation():
    x = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    projector = made().eval()
    w, b = (t.detach().numpy() for t in (projector.weight, projector.offset))
    u = x / np.linalg.norm(x, axis=1, keepdims=True) @ w + b
    wanted = u / np.linalg.norm(u, axis=1, keepdims=True)
    np.testing.assert_allclose(projector(torch.from_numpy(x)).detach().numpy(), wanted, atol=1e-6)
    # the same for arrays
    np.testing.assert_allclose(projector.chain(x), wanted, atol=1e-6)
    plain = made(unit_input=False, unit_output=False).eval()
    np.testing.assert_allclose(plain(torch.from_numpy(x)).detach().numpy(), x @ w + b, atol=1e-5)
    np.testing.assert_allclose(plain.chain(x), x @ w + b, atol=1e-5)


def test_dimensions_are_left_out_in_training_alone():
    projector = made(dropout=0.5)
    x = torch.ones(3, 6)
    assert not torch.equal(projector.train()(x), projector(x))
    assert torch.equal(projector.eval()(x), projector(x))


def test_it_is_saved_without_code(tmp_path):
    projector = made(dropout=0.25).eval()
    projector.save(tmp_path / "p")
    assert {f.suffix for f in (tmp_path / "p").iterdir()} == {".json", ".safetensors"}
    again = Projector.load(tmp_path / "p")
    x = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(projector(x), again(x)) and again.dropout == 0.25 and not again.training
    with pytest.raises(OutputError, match="exists"):
        projector.save(tmp_path / "p")
    projector.save(tmp_path / "p", overwrite=True)


def test_a_damaged_folder_is_named(tmp_path):
    with pytest.raises(InputError, match=r"no manifest is here"):
        Projector.load(tmp_path)
    made().save(tmp_path / "p")
    (tmp_path / "p" / "tensors.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="p.*the tensors are damaged"):
        Projector.load(tmp_path / "p")
    described, tensors = made().pack()
    artefact.write(tmp_path / "q", "projector", {**described, "dropout": 2}, tensors)
    with pytest.raises(InputError, match=r"q: the projector is damaged \(.*share left out"):
        Projector.load(tmp_path / "q")


def test_bad_shapes_are_refused():
    with pytest.raises(InputError, match="do not fit"):
        Projector(np.ones((3, 2)), np.ones(3))
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        made(dropout=1.0)
    with pytest.raises(InputError, match="width 6"):
        made()(torch.ones(2, 5))


def test_hidden_units_begin_with_rows_parted_however_close_they_lie():
    rng = np.random.default_rng(4)
    rows = (5 + 0.01 * rng.standard_normal((300, 6))).astype(np.float32)
    rows[:, 5] = 2.0  # of a direction that does not vary
    begun = Branch.begun(rows, 4, 9, 0)
    seen = rows @ begun.inner + begun.bend
    np.testing.assert_allclose(seen.std(axis=0), 0.4, rtol=1e-3)
    assert np.abs(seen.mean(axis=0)).max() < 0.6 and not begun.outer.any()


def test_a_hidden_layer_is_run_alike_by_torch_and_by_the_chain_and_is_kept(tmp_path):
    rng = np.random.default_rng(3)
    matrix, offset = rng.standard_normal((5, 4)), rng.standard_normal(4)
    rows = rng.standard_normal((20, 5)).astype(np.float32)
    branches = [Branch.begun(rows, 4, 7, seed) for seed in (0, 1)]
    assert np.array_equal(
        Projector(matrix, offset, branch=branches[0])(torch.from_numpy(rows)).detach().numpy(),
        Projector(matrix, offset)(torch.from_numpy(rows)).detach().numpy(),
    )
    branches = [b._replace(outer=rng.standard_normal((7, 4))) for b in branches]
    made = [
        Projector(matrix, offset, branch=b, unit_output=False).eval()
        for b in (*branches, Branch.mean(branches))
    ]
    out = [m(torch.from_numpy(rows)).detach().numpy() for m in made]
    np.testing.assert_allclose(out[2], (out[0] + out[1]) / 2, rtol=1e-4, atol=1e-5)
    for one, expected in zip(made, out, strict=True):
        np.testing.assert_allclose(one.chain(rows), expected, rtol=1e-4, atol=1e-5)
    made[2].save(tmp_path / "p")
    loaded = Projector.load(tmp_path / "p")
    assert loaded.hidden == 14
    np.testing.assert_array_equal(loaded.chain(rows), made[2].chain(rows))
    with pytest.raises(InputError, match="parts of the branch"):
        Projector(matrix, offset, branch=branches[0]._replace(bend=np.zeros(3)))
