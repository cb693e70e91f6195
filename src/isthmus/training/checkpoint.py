"""What a killed training resumes from: data, never a pickle."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from isthmus import artefact
from isthmus.errors import InputError
from isthmus.file_records import current
from isthmus.files import canonical_json
from isthmus.training.torch_tensors import as_arrays, as_tensors

__all__ = ["Checkpoint"]

_KIND = "training checkpoint"


class Checkpoint:
    """The state after a whole epoch, in a folder that is replaced whole.

    Frozen parameters are not stored: they are what they were before the training.

    Args:
        path: the folder.
        module: what is trained.
        optimiser: its optimiser.
        seed: of the training.
    """

    def __init__(
        self, path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, seed: int
    ) -> None:
        self.path, self.module, self.optimiser, self.seed = path, module, optimiser, seed
        self._trained: set[str] = set()
        artefact.check_place(path, _KIND, overwrite=True)

    @property
    def exists(self) -> bool:
        """Whether there is one to resume from."""
        return (current(self.path) / artefact.manifest_name(_KIND)).is_file()

    def save(
        self,
        history: list[dict[str, float]],
        best_value: float,
        best_epoch: int,
        best_state: Mapping[str, Tensor],
        scheduler: Any = None,
    ) -> None:
        """Write the module, the optimiser, the best state and the history.

        Raises:
            OutputError: where the disk refuses.
        """
        self._trained |= {n for n, p in self.module.named_parameters() if p.requires_grad}
        own = dict(self.module.named_parameters())
        tensors = {f"module/{name}": own[name] for name in self._trained}
        tensors |= {f"module/{name}": buffer for name, buffer in self.module.named_buffers()}
        tensors |= {f"best/{name}": tensor for name, tensor in best_state.items()}
        state = self.optimiser.state_dict()
        numbers: dict[str, dict[str, Any]] = {}
        for index, values in state["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser/{index}/{name}"] = value
                else:
                    numbers.setdefault(str(index), {})[name] = value
        record = {
            "seed": self.seed,
            "shape": self._shape(),
            "history": history,
            "best_value": None if math.isinf(best_value) else best_value,
            "best_epoch": best_epoch,
            "trained": sorted(self._trained),
            "groups": state["param_groups"],
            "numbers": numbers,
            "scheduler": None if scheduler is None else _plain(scheduler.state_dict()),
        }
        arrays = as_arrays(tensors)
        # a network may hold infinity, as masks do
        artefact.write(self.path, _KIND, record, arrays, infinite=arrays, overwrite=True)

    def load(
        self, scheduler: Any = None
    ) -> tuple[list[dict[str, float]], float, int, dict[str, Tensor]]:
        """Put the module and the optimiser into the stored state.

        Returns:
            The history, the best value, its epoch and its state.

        Raises:
            InputError: for a checkpoint of another module or seed, or one that cannot be read.
        """
        with artefact.read(self.path, _KIND) as stored:
            record = stored.content
            if record["seed"] != self.seed or record["shape"] != self._shape():
                raise InputError(
                    "the checkpoint is of another model, optimiser or seed",
                    where=str(self.path),
                    mend="Name another folder, or remove this one to start again",
                )
            module, optimiser, best = (
                as_tensors(stored.tensors.under(part, finite=False))
                for part in ("module", "optimiser", "best")
            )
            own = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
            with torch.no_grad():
                for name, tensor in module.items():
                    own[name].copy_(tensor)
            states: dict[int, dict[str, Any]] = {
                int(index): dict(values) for index, values in record["numbers"].items()
            }
            for key, tensor in optimiser.items():
                index, _, name = key.partition("/")
                states.setdefault(int(index), {})[name] = tensor
            self.optimiser.load_state_dict({"state": states, "param_groups": record["groups"]})
            self._trained = set(record["trained"])
            if scheduler is not None and record["scheduler"] is not None:
                scheduler.load_state_dict(_alike(record["scheduler"], scheduler.state_dict()))
            device = {name: tensor.device for name, tensor in own.items()}
            best = {name: tensor.to(device[name]) for name, tensor in best.items()}
            value = math.inf if record["best_value"] is None else record["best_value"]
            return record["history"], value, record["best_epoch"], best

    def _shape(self) -> str:
        """A digest of the names and shapes of the parameters, and of the kind of optimiser."""
        shapes = {name: list(p.shape) for name, p in self.module.named_parameters()}
        kind = type(self.optimiser).__name__.removeprefix("Fabric")
        return hashlib.sha256(canonical_json([shapes, kind]).encode()).hexdigest()[:16]


def _alike(stored: Any, fresh: Any) -> Any:
    """A scheduler's stored state, with the keys that are numbers in a new one as numbers."""
    if isinstance(stored, dict) and isinstance(fresh, Mapping):
        numbered = any(isinstance(key, int) for key in fresh)
        made = {
            int(key) if numbered else key: _alike(value, fresh.get(key))
            for key, value in stored.items()
        }
        return Counter(made) if isinstance(fresh, Counter) else made
    if isinstance(stored, list) and isinstance(fresh, list) and len(stored) == len(fresh):
        return [_alike(*pair) for pair in zip(stored, fresh, strict=True)]
    return stored


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """What JSON can hold of a scheduler's state; functions are made anew by its factory."""
    kept: dict[str, Any] = {}
    for name, value in state.items():
        try:
            canonical_json(value)
        except (TypeError, ValueError):
            continue
        kept[name] = value
    return kept
