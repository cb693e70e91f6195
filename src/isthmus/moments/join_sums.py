"""The sums of two sets of rows as those of both: Chan, Golub and LeVeque (1983)."""

from __future__ import annotations

from collections.abc import Mapping

from isthmus.moments.translation import add_outer, translated_fourth
from isthmus.numeric import Array, like, namespace, to_numpy

__all__ = ["join_sums"]


def join_sums(
    mine: dict[str, Array], n_mine: float, theirs: Mapping[str, Array], n_theirs: float
) -> None:
    """Make ``mine`` the sums of both sets, in place where numpy can; ``theirs`` stay as they are.

    Args:
        mine: means, squares, products and fourth-order sums, each about its own mean.
        n_mine: sum of their weights.
        theirs: the same sums of other rows, perhaps of another library.
        n_theirs: sum of their weights; negative to take the rows away again.
    """
    n, sign = n_mine + n_theirs, 1.0 if n_theirs > 0 else -1.0
    if namespace(mine["mean_x"]) is not namespace(theirs["mean_x"]):
        theirs = {k: like(mine["mean_x"], to_numpy(v)) for k, v in theirs.items()}
    apart = {side: theirs[f"mean_{side}"] - mine[f"mean_{side}"] for side in "xy"}
    share = n_theirs / n
    if any(name.startswith("cubic") for name in mine):
        # both are re-expressed about the mean of the result; then sums simply add
        ours = translated_fourth(mine, n_mine, {k: -share * d for k, d in apart.items()})
        moved = {k: (1.0 - share) * d for k, d in apart.items()}
        for name, total in translated_fourth(theirs, abs(n_theirs), moved).items():
            mine[name] = ours[name] + sign * total
    between = n_mine * n_theirs / n
    for name in ("square_x", "square_y", "xx", "xy", "yy"):
        if name not in mine:
            continue
        total = mine[name]
        if name.startswith("square"):
            total += between * apart[name[-1]] ** 2
        else:
            total = add_outer(total, between, apart[name[0]], apart[name[1]])
        if sign > 0:
            total += theirs[name]
        else:
            total -= theirs[name]
        mine[name] = total
    means = {side: mine[f"mean_{side}"] + share * apart[side] for side in "xy"}
    mine["mean_x"], mine["mean_y"] = means["x"], means["y"]
