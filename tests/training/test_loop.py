import json
import math
import signal
import subprocess
import sys
import textwrap

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from isthmus.errors import DivergedError, InputError, OutputError  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded, train  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402


def problem(n=256, d=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator)
    w = torch.randn(d, 2, generator=generator)
    return x, x @ w + 0.01 * torch.randn(n, 2, generator=generator)


def network(seed=0):
    with seeded(seed):
        return nn.Sequential(
            nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 2)
        )


def squared(module, batch):
    x, y = batch
    return ((module(x) - y) ** 2).mean()


def state(module):
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_it_learns_a_linear_map_as_well_as_least_squares():
    x, y = problem()
    module = nn.Linear(6, 2)
    with torch.no_grad():
        before = squared(module, (x, y)).item()
    done = train(
        module,
        squared,
        Batches(x, y, size=32),
        Schedule(60, optimiser=lambda m: torch.optim.Adam(m.parameters(), 0.02)),
    )
    exact = torch.linalg.lstsq(torch.cat([x, torch.ones(len(x), 1)], 1), y)
    with torch.no_grad():
        reached = squared(module, (x, y)).item()
        least = ((torch.cat([x, torch.ones(len(x), 1)], 1) @ exact.solution - y) ** 2).mean().item()
    assert reached < 3 * least < before / 100
    assert done.epochs == 60 and done.history[-1]["loss"] < done.history[0]["loss"] / 50
    assert "60 epochs" in str(done)


def test_two_runs_end_in_the_same_state_and_leave_the_global_generator_alone():
    x, y = problem()
    ends = []
    for _ in range(2):
        module = network()
        torch.manual_seed(torch.seed() % 1000)
        before = torch.get_rng_state()
        train(module, squared, Batches(x, y, size=32), Schedule(3, seed=7))
        assert torch.equal(before, torch.get_rng_state())
        ends.append(state(module))
    assert same(*ends)
    other = network()
    train(other, squared, Batches(x, y, size=32, seed=1), Schedule(3, seed=8))
    assert not same(state(other), ends[0])


def test_a_data_loader_that_shuffles_is_repeated_too():
    x, y = problem()
    ends = []
    for _ in range(2):
        module = network()
        loader = torch.utils.data.DataLoader(
            torch.utils.data.TensorDataset(x, y), batch_size=32, shuffle=True
        )
        train(module, squared, loader, Schedule(2, seed=3))
        ends.append(state(module))
    assert same(*ends)


PROGRAMME = textwrap.dedent("""
    import os, signal, sys
    import torch
    from torch import nn
    from isthmus.training.batches import Batches
    from isthmus.training.loop import seeded, train
    from isthmus.training.schedule import Schedule
    torch.set_num_threads(1)
    folder, kill, out = sys.argv[1:]
    with seeded(0):
        x, y = torch.randn(256, 6), torch.randn(256, 2)
        net = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.Dropout(0.2), nn.Linear(16, 2))
    seen = [0]
    def loss(module, batch):
        seen[0] += 1
        if seen[0] == int(kill):
            os.kill(os.getpid(), signal.SIGKILL)
        return ((module(batch[0]) - batch[1]) ** 2).mean()
    train(
        net, loss, Batches(x, y, size=32),
        Schedule(
            5, seed=2, checkpoint=folder or None,
            scheduler=lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.01, total_steps=40),
        ),
        validate=lambda m: float(((m(x) - y) ** 2).mean()),
    )
    torch.save(net.state_dict(), out)
""")


def run(tmp_path, folder, kill, out):
    script = tmp_path / "programme.py"
    script.write_text(PROGRAMME)
    return subprocess.run(
        [sys.executable, str(script), str(folder), str(kill), str(out)], check=False
    ).returncode


def test_a_killed_run_resumes_and_ends_where_an_uninterrupted_one_does(tmp_path):
    assert run(tmp_path, "", 0, tmp_path / "whole.pt") == 0
    # killed in the middle of the fourth epoch
    assert run(tmp_path, tmp_path / "check", 28, tmp_path / "cut.pt") == -signal.SIGKILL
    assert not (tmp_path / "cut.pt").exists()
    manifest = json.loads((tmp_path / "check" / "training-checkpoint.json").read_text())
    assert len(manifest["content"]["history"]) == 3
    assert run(tmp_path, tmp_path / "check", 0, tmp_path / "cut.pt") == 0
    whole, cut = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("whole", "cut"))
    assert same(whole, cut)


def test_a_finished_run_is_not_repeated_and_can_be_prolonged(tmp_path):
    x, y = problem()
    module = network()
    train(module, squared, Batches(x, y), Schedule(2, checkpoint=tmp_path / "c"))
    calls = []

    def counted(m, batch):
        calls.append(1)
        return squared(m, batch)

    again = network(seed=9)
    train(again, counted, Batches(x, y), Schedule(2, checkpoint=tmp_path / "c"))
    assert not calls and same(state(module), state(again))
    assert train(again, counted, Batches(x, y), Schedule(3, checkpoint=tmp_path / "c")).epochs == 3
    straight = network()
    train(straight, squared, Batches(x, y), Schedule(3))
    assert same(state(straight), state(again))


def test_a_checkpoint_of_something_else_or_a_damaged_one_is_refused(tmp_path):
    x, y = problem()
    train(network(), squared, Batches(x, y), Schedule(1, checkpoint=tmp_path / "c"))
    with pytest.raises(InputError, match="another model, optimiser or seed"):
        train(nn.Linear(6, 2), squared, Batches(x, y), Schedule(1, checkpoint=tmp_path / "c"))
    with pytest.raises(InputError, match="another model, optimiser or seed"):
        train(network(), squared, Batches(x, y), Schedule(1, seed=5, checkpoint=tmp_path / "c"))
    file = tmp_path / "c" / "tensors.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match=r"checkpoint is damaged.*changed after.*make it again"):
        train(network(), squared, Batches(x, y), Schedule(1, checkpoint=tmp_path / "c"))
    (tmp_path / "c" / "training-checkpoint.json").write_text("{")
    with pytest.raises(OutputError, match=r"this is none \(this is no manifest.*remove it"):
        train(network(), squared, Batches(x, y), Schedule(1, checkpoint=tmp_path / "c"))
    with pytest.raises(OutputError):
        train(network(), squared, Batches(x, y), Schedule(1, checkpoint=tmp_path / "no" / "c"))


def test_a_loss_that_is_not_finite_stops_and_the_last_good_state_is_kept():
    x, y = problem()
    module = network()
    good = []

    def loss(m, batch):
        value = squared(m, batch)
        if len(good) == 2:
            return {"error": value, "other": value * math.nan}
        return {"error": value, "other": value * 0}

    def record(m, epoch):
        if epoch:
            good.append(state(m))

    with pytest.raises(DivergedError, match=r"epoch 3, batch 1 \(term other\)"):
        train(module, loss, Batches(x, y, size=64), Schedule(5, before_epoch=record))
    assert same(state(module), good[-1])
    assert module.training


def test_a_validation_that_is_not_finite_stops_too_and_the_best_state_is_kept():
    x, y = problem()
    module = network()
    seen = []

    def validate(m):
        seen.append(state(m))
        return [3.0, 1.0, 2.0, math.nan][len(seen) - 1]

    with pytest.raises(DivergedError, match="validation is nan after epoch 3"):
        train(module, squared, Batches(x, y), Schedule(9), validate=validate)
    assert same(state(module), seen[1])


def test_the_best_state_is_kept_the_start_included_and_patience_stops():
    x, y = problem()
    for values, best in (([3.0, 1.0, 2.0, 2.0, 0.0], 1), ([1.0, 2.0, 3.0, 0.0], 0)):
        module = network()
        seen = []

        def validate(m, values=values, seen=seen):
            seen.append(state(m))
            assert not m.training
            return values[len(seen) - 1]

        done = train(module, squared, Batches(x, y), Schedule(9, patience=2), validate=validate)
        assert (done.best_epoch, done.epochs) == (best, best + 2)
        assert same(state(module), seen[best])


def test_what_is_frozen_does_not_move_its_running_statistics_included():
    x, y = problem()
    module = network()
    module[0].requires_grad_(False)
    module[1].requires_grad_(False)
    before = state(module)
    module.eval()
    train(module, squared, Batches(x, y), Schedule(2))
    after = state(module)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"4.weight", "4.bias"}
    assert not any(part.training for part in module.modules())


def test_everything_frozen_is_refused_and_unfreezing_in_time_is_not():
    x, y = problem()
    module = network().requires_grad_(False)
    with pytest.raises(InputError, match=r"every parameter is frozen.*requires_grad_"):
        train(module, squared, Batches(x, y), Schedule(1))

    def thaw(m, epoch):
        m[4].requires_grad_(True)
        m[0].requires_grad_(epoch >= 1)

    moved = []

    def loss(m, batch):
        moved.append(m.module[0].weight.detach().clone())
        return squared(m, batch)

    train(module, loss, Batches(x, y, size=256), Schedule(3, before_epoch=thaw))
    assert torch.equal(moved[0], moved[1]) and not torch.equal(moved[1], module[0].weight)


def test_a_part_put_into_evaluation_mode_before_an_epoch_is_in_it_throughout():
    x, y = problem()
    module = network()
    before = module[1].running_mean.clone()
    modes = []

    def loss(m, batch):
        modes.append([m.module[1].training, m.module[0].training])
        return squared(m, batch)

    def still(m, epoch):
        if epoch == 0:
            m[1].eval()

    train(module, loss, Batches(x, y, size=256), Schedule(1, before_epoch=still))
    assert modes == [[False, True]]
    assert torch.equal(module[1].running_mean, before)
    train(module, loss, Batches(x, y, size=256), Schedule(1))
    assert modes[1:] == [[True, True]]
    assert not torch.equal(module[1].running_mean, before)


@pytest.mark.parametrize("parts", [(32, 31), ({"a": 4}, 5)])
def test_a_batch_that_does_not_pair_is_refused(parts):
    def make(part):
        if isinstance(part, dict):
            return {name: torch.zeros(rows, 6) for name, rows in part.items()}
        return torch.zeros(part, 6)

    with pytest.raises(InputError, match=r"batch 1 of epoch 1.*must pair"):
        train(network(), squared, [tuple(make(p) for p in parts)], Schedule(1))


def test_an_empty_loader_and_one_that_can_be_read_only_once_are_refused():
    x, y = problem()
    with pytest.raises(InputError, match="no batches"):
        train(network(), squared, [], Schedule(1))
    with pytest.raises(InputError, match="no batches in a second pass"):
        train(network(), squared, iter([(x, y)]), Schedule(2))
    with pytest.raises(InputError, match="epochs is 0 or more"):
        train(network(), squared, [(x, y)], Schedule(-1))


def test_terms_are_summed_and_recorded_and_progress_is_told():
    x, y = problem()
    told = []
    done = train(
        network(),
        lambda m, b: {"error": squared(m, b), "size": 0.1 * (m.module[0].weight ** 2).sum()},
        Batches(x, y, size=64),
        Schedule(2),
        progress=lambda task, done, total: told.append((done, total)),
    )
    for record in done.history:
        assert record["loss"] == pytest.approx(record["error"] + record["size"], rel=1e-5)
    assert told == [(i, 8) for i in range(1, 9)]


def test_the_gradient_is_clipped():
    x, y = problem()
    module = nn.Linear(6, 2)
    before = module.weight.detach().clone()
    train(
        module,
        lambda m, b: 1e6 * squared(m, b),
        Batches(x, y, size=256),
        Schedule(1, optimiser=lambda m: torch.optim.SGD(m.parameters(), 1.0), clip=0.1),
    )
    assert (module.weight - before).norm() <= 0.1 * (1 + 1e-5)


TWO = textwrap.dedent("""
    import sys
    import torch
    from lightning_fabric import Fabric
    from torch import nn
    from isthmus.training.batches import Batches
    from isthmus.training.loop import seeded, train
    from isthmus.training.schedule import Schedule

    def main(fabric, out):
        torch.set_num_threads(1)
        with seeded(0):
            x, y = torch.randn(64, 6), torch.randn(64, 2)
            net = nn.Linear(6, 2)
        rank, world = fabric.global_rank, fabric.world_size
        own = Batches(x[rank::world], y[rank::world], size=32 // world, shuffle=False)
        done = train(
            net, lambda m, b: ((m(b[0]) - b[1]) ** 2).mean(), own,
            Schedule(2, fabric=fabric, optimiser=lambda m: torch.optim.SGD(m.parameters(), 0.1)),
        )
        if fabric.is_global_zero:
            torch.save([net.weight.detach(), done.history[-1]["loss"]], out)

    if __name__ == "__main__":
        n = int(sys.argv[1])
        fabric = Fabric(accelerator="cpu", devices=n, strategy="ddp_spawn" if n > 1 else "auto")
        fabric.launch(main, sys.argv[2])
""")


@pytest.mark.slow
def test_two_processes_take_the_steps_that_one_takes(tmp_path):
    script = tmp_path / "two.py"
    script.write_text(TWO)
    results = []
    for devices in (1, 2):
        out = tmp_path / f"{devices}.pt"
        subprocess.run([sys.executable, str(script), str(devices), str(out)], check=True)
        results.append(torch.load(out, weights_only=True))
    (one, loss_one), (two, loss_two) = results
    torch.testing.assert_close(one, two)
    assert loss_one == pytest.approx(loss_two, rel=1e-5)


def test_what_is_unfrozen_later_is_in_the_best_state_too():
    with seeded(0):
        net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
        rows = [torch.randn(4, 3)] * 3
    values, seen = iter([5.0, 1.0, 9.0, 9.0]), []

    def validate(module):
        seen.append({name: tensor.clone() for name, tensor in module.state_dict().items()})
        return next(values)

    def thaw(module, epoch):
        module[0].requires_grad_(epoch >= 1)

    done = train(
        net,
        lambda m, b: m(b).square().mean(),
        rows,
        Schedule(3, before_epoch=thaw),
        validate=validate,
    )
    assert done.best_epoch == 1 and not torch.equal(seen[1]["0.weight"], seen[3]["0.weight"])
    assert all(torch.equal(tensor, seen[1][name]) for name, tensor in net.state_dict().items())


def test_a_weight_that_is_not_finite_stops_the_training(tmp_path):
    net = nn.Linear(2, 1, bias=False)
    nn.init.zeros_(net.weight)
    with pytest.raises(DivergedError, match="a weight is not finite any more after epoch 1"):
        # the root has no slope at 0, and the loss is finite there
        train(
            net,
            lambda m, b: m(b).abs().sqrt().mean(),
            [torch.ones(4, 2)],
            Schedule(3, checkpoint=tmp_path / "c"),
        )
    assert torch.equal(net.weight, torch.zeros(1, 2)) and not (tmp_path / "c").exists()


def test_a_checkpoint_takes_no_folder_with_other_files(tmp_path):
    (tmp_path / "precious.txt").write_text("x")
    with pytest.raises(OutputError, match=r"this is none .*\['precious.txt'\]"):
        train(
            nn.Linear(2, 1),
            lambda m, b: m(b).square().mean(),
            [torch.ones(4, 2)],
            Schedule(1, checkpoint=tmp_path),
        )
    assert (tmp_path / "precious.txt").read_text() == "x"


def test_a_schedule_with_numbered_milestones_is_resumed(tmp_path):
    def run(*epochs):
        with seeded(0):
            net, rows = nn.Linear(3, 1), torch.randn(40, 3)
        for number in epochs:
            train(
                net,
                lambda m, b: (m(b) - b[:, :1]).square().mean(),
                Batches(rows, size=10),
                Schedule(
                    number,
                    checkpoint=tmp_path / str(len(epochs)),
                    optimiser=lambda m: torch.optim.SGD(m.parameters(), lr=0.05),
                    scheduler=lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [5, 9]),
                ),
            )
        return net.weight

    assert torch.equal(run(3), run(1, 3))
