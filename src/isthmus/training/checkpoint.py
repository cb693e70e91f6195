"""What a killed training resumes from: tensors in safetensors, the rest in JSON, never a pickle."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.files import atomic_folder, canonical_json

__all__ = ["Checkpoint"]

_TENSORS, _RECORD = "state.safetensors", "training.json"


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
        # every save replaces the folder
        others = {f.name for f in path.iterdir()} if path.is_dir() else set[str]()
        others -= {_RECORD, _TENSORS}
        if others:
            raise InputError(
                f"the folder holds other files, such as '{min(others)}', which would be lost",
                where=str(path),
                mend="Name a folder of its own",
            )

    @property
    def exists(self) -> bool:
        """Whether there is one to resume from."""
        return (self.path / _RECORD).is_file()

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
        tensors = {f"module.{name}": own[name] for name in self._trained}
        tensors |= {f"module.{name}": buffer for name, buffer in self.module.named_buffers()}
        tensors |= {f"best.{name}": tensor for name, tensor in best_state.items()}
        state = self.optimiser.state_dict()
        numbers: dict[str, dict[str, Any]] = {}
        for index, values in state["state"].items():
            for name, value in values.items():
                if isinstance(value, Tensor):
                    tensors[f"optimiser.{index}.{name}"] = value
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
        with atomic_folder(self.path, overwrite=True) as folder:
            # clones: parts of one tensor, or tied ones, cannot be written as they are
            whole = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
            save_file(whole, folder / _TENSORS)
            (folder / _RECORD).write_text(canonical_json(record), encoding="utf-8")

    def load(
        self, scheduler: Any = None
    ) -> tuple[list[dict[str, float]], float, int, dict[str, Tensor]]:
        """Put the module and the optimiser into the stored state.

        Returns:
            The history, the best value, its epoch and its state.

        Raises:
            InputError: for a checkpoint of another module or seed, or one that cannot be read.
        """
        try:
            record = json.loads((self.path / _RECORD).read_text(encoding="utf-8"))
            tensors = load_file(self.path / _TENSORS)
            same = record["seed"] == self.seed and record["shape"] == self._shape()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"the checkpoint cannot be read ({error})",
                where=str(self.path),
                mend="Remove the folder to start again",
            ) from error
        except SafetensorError as error:
            raise InputError(
                f"the checkpoint is damaged ({error})",
                where=str(self.path),
                mend="Remove the folder to start again",
            ) from error
        if not same:
            raise InputError(
                "the checkpoint is of another model, optimiser or seed",
                where=str(self.path),
                mend="Name another folder, or remove this one to start again",
            )
        own = {**dict(self.module.named_parameters()), **dict(self.module.named_buffers())}
        with torch.no_grad():
            for name, tensor in _under("module.", tensors).items():
                own[name].copy_(tensor)
        states: dict[int, dict[str, Any]] = {
            int(index): dict(values) for index, values in record["numbers"].items()
        }
        for key, tensor in _under("optimiser.", tensors).items():
            index, _, name = key.partition(".")
            states.setdefault(int(index), {})[name] = tensor
        self.optimiser.load_state_dict({"state": states, "param_groups": record["groups"]})
        self._trained = set(record["trained"])
        if scheduler is not None and record["scheduler"] is not None:
            scheduler.load_state_dict(_alike(record["scheduler"], scheduler.state_dict()))
        device = {name: tensor.device for name, tensor in own.items()}
        best = {n: t.to(device[n]) for n, t in _under("best.", tensors).items()}
        value = record["best_value"]
        return record["history"], math.inf if value is None else value, record["best_epoch"], best

    def _shape(self) -> str:
        """A digest of the names and shapes of the parameters, and of the kind of optimiser."""
        shapes = {name: list(p.shape) for name, p in self.module.named_parameters()}
        kind = type(self.optimiser).__name__.removeprefix("Fabric")
        return hashlib.sha256(canonical_json([shapes, kind]).encode()).hexdigest()[:16]


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


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
