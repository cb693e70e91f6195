"""A stitched network as a folder: the map, where it belongs, its evidence, and a program.

The manifest holds the cuts, shapes, digests of both networks and the evidence; unless it was left
away, a program runs the whole stitched network without the code of either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from isthmus import artefact
from isthmus.errors import InputError, WrongSpaceError
from isthmus.nn.look.weights_digest import weights_digest
from isthmus.nn.stitching.capture import capture
from isthmus.nn.stitching.cut import Back, Front, same_outputs
from isthmus.nn.stitching.geometry import Geometry
from isthmus.nn.stitching.joining_map import Joint
from isthmus.nn.stitching.joining_plan import JoiningPlan
from isthmus.nn.stitching.program import Program
from isthmus.nn.stitching.stitched import Stitched
from isthmus.training.batches import tensors_in
from isthmus.training.modes import evaluation_mode
from isthmus.training.torch_tensors import as_arrays, as_tensors

__all__ = ["load_stitched", "save_stitched"]

_KIND = "stitched network"
_ROUNDED = 0.05


def save_stitched(
    stitched: Stitched,
    path: str | Path,
    example: Any,
    *,
    evidence: dict[str, float] | None = None,
    program: bool = True,
    overwrite: bool = False,
) -> None:
    """Write the folder ``path``.

    Args:
        stitched: not folded, since a folded map is part of a network that is not stored here;
            folding takes a moment after loading.
        path: the folder.
        example: a batch of two items or more.
        evidence: measured values that belong to it, such as accuracies, for the card.
        program: store a program that runs without the networks' code; it holds the weights of both
            parts that are used.
        overwrite: replace what is there.

    Raises:
        InputError: for a folded map, or a network that cannot be recorded, or whose record answers
            otherwise than it does.
        OutputError: where the disk refuses, or ``path`` exists.

    Example:
        >>> import tempfile
        >>> from isthmus.nn.stitching import stitch
        >>> net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        >>> data = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> place = Path(tempfile.mkdtemp()) / "joined"
        >>> joined = stitch(net, "1", net, "1", [data])
        >>> save_stitched(joined, place, data, evidence={"accuracy": 0.9})
        >>> sorted(file.name for file in place.iterdir())
        ['CARD.md', 'stitched-network.json', 'tensors.safetensors']
    """
    joint = stitched.joint
    if joint.folded:
        raise InputError(
            "the map is folded into a layer, and would not be found again",
            where=str(path),
            mend="Save it before folding",
        )
    record: dict[str, Any] = {
        "items": stitched.items,
        "explained": None if math.isnan(joint.explained) else joint.explained,
        "alpha": None if math.isnan(joint.alpha) else joint.alpha,
        "rectified": joint.rectified,
        "how": joint.plan.how,
        "window": list(joint.plan.window),
        "evidence": evidence or {},
        "program": None,
    }
    sides = (
        ("front", stitched.front, joint.plan.source),
        ("back", stitched.back, joint.plan.target),
    )
    for name, part, geometry in sides:
        record[name] = {
            "network": type(part.model).__name__,
            "layer": part.layer,
            "part": part.part,
            "weights": weights_digest(part.model),
            "geometry": geometry.to_record(),
        }
    tensors = artefact.prefixed("joint", as_arrays(dict(joint.named_parameters())))
    masks: set[str] = set()
    if program:
        record["program"], own = capture(stitched, example).pack()
        # as it will be read
        _check_program(Program.unpack(record["program"], own), stitched, example)
        own = artefact.prefixed("program", own)
        tensors, masks = tensors | own, set(own)
    texts = {"CARD.md": _card(record)}
    artefact.write(
        Path(path), _KIND, record, tensors, texts=texts, infinite=masks, overwrite=overwrite
    )


def _check_program(program: Program, stitched: Stitched, example: Any) -> None:
    with evaluation_mode(stitched), torch.no_grad():
        expected, found = stitched(example), program(example)
    sizes = [
        float(t.nan_to_num(0, 0, 0).abs().max())
        for t in tensors_in(expected)
        if t.is_floating_point() and t.numel()
    ]
    # layers with rounded inputs are recorded without that rounding
    if not same_outputs(found, expected, slack=_ROUNDED * max(sizes, default=0.0)):
        raise InputError(
            "the recorded program answers otherwise than the network on the example",
            where="example",
            mend="Save it without a program (program=False)",
        )


def load_stitched(
    path: str | Path,
    networks: tuple[nn.Module, nn.Module] | None = None,
    example: Any = None,
    *,
    prepare: tuple[Callable[[Any], Any] | None, Callable[[Any], Any] | None] = (None, None),
) -> nn.Module:
    """The stitched network of the folder ``path``.

    Args:
        path: what `save_stitched` wrote.
        networks: the two networks, to join them again; unless given the program runs, which needs
            neither.
        example: a batch of two items or more, with ``networks``.
        prepare: as in `stitch`, with ``networks``.

    Raises:
        InputError: for a folder that cannot be read, that holds no program, or an example missing.
        WrongSpaceError: for networks with other weights than those the map was fitted on.

    Example:
        >>> import tempfile
        >>> from isthmus.nn.stitching import stitch
        >>> net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        >>> data = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> place, joined = Path(tempfile.mkdtemp()) / "joined", stitch(net, "1", net, "1", [data])
        >>> save_stitched(joined, place, data)
        >>> again = load_stitched(place)  # without the code of either network
        >>> bool(torch.allclose(again(data), joined(data), atol=1e-5))
        True
    """
    with artefact.read(Path(path), _KIND) as stored:
        record = stored.content
        joint = _joint(record, as_tensors(stored.tensors.under("joint")))
        program, own = record["program"], stored.tensors.under("program", finite=False)
        if networks is None and program is not None:
            return Program.unpack(program, own).eval()
        # a network of which the map is joined again needs no program
        own.skip()
    if networks is None:
        raise InputError(
            "the folder holds no program, so that both networks are needed",
            where=str(path),
            mend="Give networks= and example=",
        )
    for name, model in zip(("front", "back"), networks, strict=True):
        if weights_digest(model) != record[name]["weights"]:
            raise WrongSpaceError(
                f"the {name} has other weights than the {record[name]['network']} that the map was "
                "fitted on",
                where=str(path),
                mend="Load the same revision of the network, or stitch again",
            )
    if example is None:
        raise InputError("an example batch is needed to join the networks", mend="Give example=")
    parts = [record[name] for name in ("front", "back")]
    front = Front(networks[0], parts[0]["layer"], prepare=prepare[0], part=parts[0]["part"])
    back = Back(networks[1], parts[1]["layer"], example, prepare=prepare[1], part=parts[1]["part"])
    return Stitched(front, joint, back, record["items"])


def _joint(record: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Joint:
    source, target = (Geometry.from_record(record[n]["geometry"]) for n in ("front", "back"))
    prefix = (
        (tensors["prefix_weight"], tensors["prefix_bias"]) if "prefix_weight" in tensors else None
    )
    return Joint(
        JoiningPlan(
            source, target, str(record["how"]), tuple(int(size) for size in record["window"])
        ),
        tensors["weight"],
        tensors["bias"],
        prefix,
        rectified=bool(record["rectified"]),
        explained=math.nan if record["explained"] is None else float(record["explained"]),
        alpha=math.nan if record["alpha"] is None else float(record["alpha"]),
    )


def _card(record: dict[str, Any]) -> str:
    front, back = record["front"], record["back"]
    lines = [
        f"# {front['network']} up to `{front['layer']}`, then {back['network']} after "
        f"`{back['layer']}`",
        "",
        f"- fitted on {record['items']:,} items, in closed form, without labels",
        f"- map: {' x '.join(map(str, record['window'])) or record['how']}, "
        f"{Geometry.from_record(front['geometry'])} to {Geometry.from_record(back['geometry'])}",
        f"- weights of the front: `{front['weights']}`, of the back: `{back['weights']}`",
    ]
    if record["explained"] is not None:
        lines.append(
            f"- share of the target's variance on held-out items: {record['explained']:.3f}"
        )
    lines += [f"- {name}: {value:.4g}" for name, value in record["evidence"].items()]
    lines += [
        "",
        "Runs without the code of either network."
        if record["program"] is not None
        else "Needs the code and the weights of both networks.",
        "",
    ]
    return "\n".join(lines)
