"""λ-orthogonal maps from moments against the loop of their paper, Adam on the rows.

The loop trains the backward map B and the forward map F on ``L_B + L_F + L_λ`` (arXiv:2509.16664)
with Adam at 1e-3 and the paper's λ = 12 at 1,024 dimensions, which is .375 relative.  The paper
does not print its batch, epochs, weights and the sharpness of the sigmoid: 256 rows, 50 epochs,
weights of 1 and a sharpness of 10 are taken here, a random rotation as the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from benchmarks import ours
from benchmarks.arrays import Array, Task, paired
from benchmarks.harness import Absent, Options, Row, Stopwatch, contest, cpu

RELATIVE = 0.375
PATH = (0.05, 0.1, 0.2, 0.3, 0.4, 0.6)
EPOCHS = 50
BATCH = 256
SHARPNESS = 10.0
MUCH_FASTER = 20.0
HIT = 1e-3

Maps = tuple[Array, Array]
"""The matrices of B and F, for centred rows."""


def paper_loop(x: Array, y: Array, epochs: int, seed: int = 0) -> Callable[[], Maps]:
    """The training loop on centred rows of equal width, on one thread."""
    try:
        import torch
    except ImportError as error:
        raise Absent(f"no PyTorch: {error}") from error

    def work() -> Maps:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return _trained(torch, x, y, epochs, seed)
        finally:
            torch.set_num_threads(threads)

    return work


def _trained(torch: object, x: Array, y: Array, epochs: int, seed: int) -> Maps:
    torch.manual_seed(seed)
    new, old = (torch.from_numpy(rows - rows.mean(axis=0)) for rows in (x, y))
    d = new.shape[1]
    bound = RELATIVE * d**0.5
    backward = torch.nn.Parameter(torch.linalg.qr(torch.randn(d, d))[0])
    forward = torch.nn.Parameter(torch.linalg.qr(torch.randn(d, d))[0])
    identity = torch.eye(d)
    optimiser = torch.optim.Adam([backward, forward], lr=1e-3)
    for _ in range(epochs):
        order = torch.randperm(len(new))
        for start in range(0, len(new), BATCH):
            rows = order[start : start + BATCH]
            mapped, target = new[rows] @ backward, old[rows]
            departure = torch.linalg.norm(backward @ backward.T - identity)
            loss = (
                (mapped - target).square().sum(dim=1).mean()
                + (target @ forward - mapped).square().sum(dim=1).mean()
                + torch.sigmoid(SHARPNESS * (departure - bound)) * departure
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return backward.detach().numpy(), forward.detach().numpy()


def run(options: Options) -> Iterator[Row]:
    task = paired(*(options.size(384, 96),) * 2, options.size(20_000, 4_000))
    kept: dict[str, Maps] = {}
    epochs = options.size(EPOCHS, 2)
    loop, joint = f"Adam on the rows, {epochs} epochs", "isthmus, B and F"
    single = f"isthmus, B alone, one λ ({RELATIVE:g})"
    path = f"isthmus, B alone, {len(PATH)} values of λ"
    chosen = f"isthmus, λ by {ours.FOLDS}-fold cross-validation"

    def keeping(name: str, work: Callable[[], Maps]) -> Stopwatch:
        return cpu(lambda: kept.__setitem__(name, work()))

    x, y = task.x, task.y
    timed = contest(
        options,
        {
            joint: lambda: keeping(joint, ours.isthmus_joint_maps(x, y, RELATIVE)),
            single: lambda: cpu(ours.isthmus_lambda_path(x, y, (RELATIVE,))),
            path: lambda: cpu(ours.isthmus_lambda_path(x, y, PATH)),
            chosen: lambda: cpu(ours.isthmus_chosen_lambda(x, y, PATH)),
            loop: lambda: keeping(loop, paper_loop(x, y, epochs)),
        },
        budget=options.budget / 2,
    )
    needed = None if options.quick else MUCH_FASTER
    for name, least in ((joint, needed), (single, needed), (path, None), (chosen, None)):
        what = f"{name}, {task.shape}, from the rows, against {loop}"
        yield timed.row(what, name, loop, at_least=least, faster=True)
    yield timed.row(f"{path} ÷ one, {task.shape}", path, single)
    for name in (joint, loop):
        if name in kept:
            yield _quality(task, name, kept[name], exact=name == joint)


def _quality(task: Task, name: str, maps: Maps, *, exact: bool) -> Row:
    """Loss and constraint where the map was fitted, and its error on unseen pairs."""
    backward, forward = (np.asarray(m, dtype=np.float64) for m in maps)
    bound = RELATIVE * len(backward) ** 0.5
    off = np.linalg.norm(backward.T @ backward - np.eye(len(backward))) / bound - 1
    mean_x, mean_y = task.x.mean(axis=0), task.y.mean(axis=0)

    def loss(x: Array, y: Array) -> tuple[float, float]:
        mapped, target = (x - mean_x) @ backward, y - mean_y
        apart = ((mapped - target) ** 2).sum(axis=1).mean()
        return float(apart), float(((target @ forward - mapped) ** 2).sum(axis=1).mean())

    (fitted_b, fitted_f), (unseen_b, _) = loss(task.x, task.y), loss(task.x_test, task.y_test)
    note = (
        f"L_B {fitted_b:.4f} + L_F {fitted_f:.4f} = {fitted_b + fitted_f:.4f}; "
        f"L_B on unseen pairs {unseen_b:.4f}; ‖WᵀW - I‖ off λ by {off:+.1e}"
    )
    if not exact:
        return Row(f"quality {task.shape}: {name}", note=note)
    return Row(
        f"quality {task.shape}: {name}", note=note, target=f"λ to {HIT:g}",
        verdict="ok" if abs(off) <= HIT else "MISSED",
    )  # fmt: skip
