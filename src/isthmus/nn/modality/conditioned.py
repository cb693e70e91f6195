"""One frozen network for several types of input, each with small parts of its own.

The network's weights and statistics never change: what is learned for a modality lies beside it,
takes part only while that modality is in use, and is saved without the network.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from isthmus import artefact
from isthmus.errors import InputError
from isthmus.moments import Moments, SideMoments
from isthmus.nn.look.outputs import tensor_of
from isthmus.nn.look.weights_digest import weights_digest
from isthmus.nn.modality.insert_places import InsertPlace, insert_part, place_of, shapes_of
from isthmus.nn.modality.inserts import KINDS, Insert, OwnNorm
from isthmus.training.loop import seeded
from isthmus.training.modes import call_model, evaluation_mode
from isthmus.training.names import find_modules
from isthmus.training.torch_tensors import as_arrays, as_tensors

__all__ = ["Conditioned"]

_KIND = "conditioned network"


class _Reached(Exception):
    """A pass has come as far as it is needed."""


class Conditioned(nn.Module):
    """A frozen network whose behaviour is switched between modalities at run time.

    Without a modality in use it is the network itself.  The network stays in evaluation mode
    whatever mode this module is put into, and its parameters are frozen on construction; call
    `release` to give it back as it was.

    Args:
        model: any module; one instance is shared, not copied.
        modalities: of each name the parts that it is given; none at all is allowed where an encoder
            is enough.
        example: a batch that the network takes, to learn the widths of its layers from.
        encoders: of some names, the module that turns that modality's input into what the network
            takes.
        seed: of the start of the parts.

    Raises:
        InputError: for no modality, an encoder of a modality that is not named, a layer that is
            not there, naming those that are near, that does not run, that runs twice, or whose
            output a part cannot be put behind.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> from isthmus.nn.modality import film
        >>> both = Conditioned(model, {"audio": [film("1")]}, example=torch.ones(1, 4))
        >>> with both.modality("audio"):
        ...     out = both(torch.ones(3, 4))
    """

    def __init__(
        self,
        model: nn.Module,
        modalities: Mapping[str, Iterable[Insert]],
        *,
        example: Any,
        encoders: Mapping[str, nn.Module] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not modalities:
            raise InputError(
                "no modality is named: there is nothing to switch between",
                where="modalities",
                mend="Give a mapping from names to parts, such as {'audio': [film('layer1')]}",
            )
        self.names = tuple(modalities)
        encoders = dict(encoders or {})
        for name in encoders:
            self._index(name)
        self.model = model
        self._modes = [(part, part.training) for part in model.modules()]
        self._gradients = [(p, p.requires_grad) for p in model.parameters()]
        wanted = {
            name: [(i, layer) for i in inserts for layer in find_modules(model, i.layers)]
            for name, inserts in modalities.items()
        }
        layers = {layer for places in wanted.values() for _, layer in places}
        shapes = shapes_of(model, layers, example)
        self._places = {
            name: [place_of(insert, layer, *shapes[layer]) for insert, layer in places]
            for name, places in wanted.items()
        }
        with seeded(seed):
            self.parts = nn.ModuleList(
                nn.ModuleList(
                    KINDS[p.insert.kind](p.width, **p.insert.options) for p in self._places[name]
                )
                for name in self.names
            )
        self.encoders = nn.ModuleList(encoders.get(name, nn.Identity()) for name in self.names)
        model.requires_grad_(False)
        self._active: int | None = None
        try:
            self.train(self.training)
            self.digest = weights_digest(model)
            """The digest of the network as it was frozen."""
            self._try_parts(example)
        except BaseException:
            # nobody has an object yet that could release it
            self.release()
            raise

    @property
    def active(self) -> str | None:
        """The modality in use; None is the network as it is."""
        return None if self._active is None else self.names[self._active]

    def use(self, name: str | None) -> Self:
        """Switch to a modality, or with None to the network as it is.

        Raises:
            InputError: for a name that is not there, naming those that are near.
        """
        self._active = None if name is None else self._index(name)
        return self

    @contextmanager
    def modality(self, name: str | None) -> Generator[Self]:
        """`use` inside ``with``; afterwards what was in use before."""
        before = self._active
        try:
            yield self.use(name)
        finally:
            self._active = before

    @override
    def train(self, mode: bool = True) -> Self:
        """Training mode for the parts and encoders; the network stays in evaluation mode.

        Raises:
            InputError: if a parameter of the network was unfrozen since.
        """
        if mode and any(p.requires_grad for p in self.model.parameters()):
            raise InputError(
                "a parameter of the network is not frozen: training would change it",
                where="Conditioned",
                mend="Leave requires_grad of the network's parameters off",
            )
        super().train(mode)
        self.model.eval()
        return self

    def forward(self, *batch: Any, **named: Any) -> Any:
        """What the network makes of a batch of the modality in use.

        Raises:
            InputError: where an encoder returns what the network cannot take.
        """
        with ExitStack() as stack:
            if self._active is None:
                return _called(self.model, batch, named)
            encoder = self.encoders[self._active]
            for part, place in self._of(self._active):
                insert_part(self.model, part, place, stack)
            if isinstance(encoder, nn.Identity):
                return _called(self.model, batch, named)
            encoded = _called(encoder, batch, named)
            try:
                return call_model(self.model, encoded)
            except (RuntimeError, ValueError, TypeError, IndexError) as error:
                if isinstance(error, InputError):
                    raise
                raise InputError(
                    f"the network cannot take what the encoder returns, {_described(encoded)}: "
                    f"{error}",
                    where=f"modality {self.active}",
                    mend="Let the encoder end in the shape of the network's own input",
                ) from error

    def own_parameters(self, name: str) -> list[nn.Parameter]:
        """What is trained for a modality: its parts and its encoder."""
        i = self._index(name)
        return [*self.parts[i].parameters(), *self.encoders[i].parameters()]

    def calibrate(self, name: str, inputs: Iterable[Any], usual: Iterable[Any]) -> Self:
        """Set every `own_norm` of a modality in closed form, in the order of the network.

        Args:
            name: the modality.
            inputs: batches of it, read once for each such part.
            usual: batches of the inputs that the network was trained for, likewise; labels are not
                needed and nothing has to pair.

        Raises:
            InputError: for batches that are empty or can be read only once, values that are not
                finite, or a modality without such parts.
        """
        index = self._index(name)
        norms = [(m, p) for m, p in self._of(index) if isinstance(m, OwnNorm)]
        if not norms:
            raise InputError(
                f"the modality '{name}' has no normalisation of its own",
                where="calibrate",
                mend="Give it own_norm(...) among its parts",
            )
        order = [layer for layer, _ in self.model.named_modules()]
        for part, place in sorted(norms, key=lambda n: order.index(n[1].layer)):
            with self.modality(name):
                modality = self._moments(inputs, part, place)
            with self.modality(None):
                part.measured(modality, self._moments(usual, None, place))
        return self

    def check_frozen(self) -> None:
        """Make sure that the network is, bit by bit, what it was.

        Raises:
            InputError: if a weight or a statistic of it has changed.
        """
        if weights_digest(self.model) != self.digest:
            raise InputError(
                "the frozen network has changed since it was wrapped",
                where="Conditioned",
                mend="Train its parts through this module alone, or wrap the network again",
            )

    def release(self) -> nn.Module:
        """The network with the modes and gradients that it had before it was wrapped."""
        for part, training in self._modes:
            part.training = training
        for parameter, gradient in self._gradients:
            parameter.requires_grad_(gradient)
        return self.model

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write every modality's parts and encoder, without the network.

        Raises:
            OutputError: for a folder that exists, or a disk that refuses.
            InputError: if the network has changed.
        """
        self.check_frozen()
        record = {
            "network": self.digest,
            "modalities": [
                {
                    "name": name,
                    "encoder": not isinstance(encoder, nn.Identity),
                    "parts": [
                        {"kind": p.insert.kind, "layer": p.layer, "options": dict(p.insert.options)}
                        for p in self._places[name]
                    ],
                }
                for name, encoder in zip(self.names, self.encoders, strict=True)
            ],
        }
        arrays = as_arrays(self._own_state())
        artefact.write(Path(path), _KIND, record, arrays, overwrite=overwrite)

    @classmethod
    def load(
        cls,
        path: str | Path,
        model: nn.Module,
        *,
        example: Any,
        encoders: Mapping[str, nn.Module] | None = None,
    ) -> Self:
        """What `save` wrote, around the same network.

        Args:
            path: the folder.
            model: the network, with the weights that it had.
            example: as on construction.
            encoders: modules of the same shapes as the saved ones, whose weights are replaced.

        Raises:
            InputError: for a folder that cannot be read, a network of other weights, or encoders
                that are missing or of other shapes.
        """
        folder = Path(path)
        with artefact.read(folder, _KIND) as stored:
            record = stored.content
            modalities = {
                m["name"]: [Insert(p["kind"], p["layer"], p["options"]) for p in m["parts"]]
                for m in record["modalities"]
            }
            encoded = {m["name"] for m in record["modalities"] if m["encoder"]}
            if record["network"] != weights_digest(model):
                raise InputError(
                    "these modalities were learned for a network of other weights",
                    where=str(folder),
                    mend="Load the network that they were saved with",
                )
            if encoded != set(encoders or {}):
                raise InputError(
                    f"encoders are needed for {sorted(encoded) or 'no modality'}, "
                    f"got {sorted(encoders or {})}",
                    where=str(folder),
                )
            made = cls(model, modalities, example=example, encoders=encoders)
            shapes = {name: stored.tensors.shape(name) for name in stored.tensors}
            if {name: t.shape for name, t in made._own_state().items()} != shapes:
                made.release()
                raise InputError(
                    "the saved weights do not fit these encoders",
                    where=str(folder),
                    mend="Give encoders of the shapes that were saved",
                )
            # one encoder may serve several modalities
            state = {
                **dict(made.named_parameters(remove_duplicate=False)),
                **dict(made.named_buffers(remove_duplicate=False)),
            }
            with torch.no_grad():
                for name, tensor in as_tensors(stored.tensors).items():
                    state[name].copy_(tensor)
            return made.eval()

    def _own_state(self) -> dict[str, Tensor]:
        return {
            f"{group}.{name}": tensor
            for group in ("parts", "encoders")
            for name, tensor in self.get_submodule(group).state_dict().items()
        }

    def _index(self, name: str) -> int:
        if name in self.names:
            return self.names.index(name)
        near = get_close_matches(name, self.names, cutoff=0.5) or self.names
        raise InputError(
            f"there is no modality '{name}'",
            where="modality",
            mend=f"Did you mean {' or '.join(repr(n) for n in near)}?",
        )

    def _of(self, index: int) -> list[tuple[nn.Module, InsertPlace]]:
        parts = cast(nn.ModuleList, self.parts[index])
        return list(zip(parts, self._places[self.names[index]], strict=True))

    def _try_parts(self, example: Any) -> None:
        """Run the network once with the parts of every modality, on its own kind of input."""
        before = self.training
        self.eval()
        for index, name in enumerate(self.names):
            with ExitStack() as stack, torch.no_grad():
                for part, place in self._of(index):
                    insert_part(self.model, part, place, stack)
                try:
                    call_model(self.model, example)
                except (RuntimeError, ValueError, TypeError, IndexError) as error:
                    if isinstance(error, InputError):
                        raise
                    layers = ", ".join(f"'{p.layer}'" for _, p in self._of(index))
                    raise InputError(
                        f"the network does not run with parts at {layers}: {error}",
                        where=f"modality {name}",
                        mend="Put them at layers that take and return sequences of one length",
                    ) from error
        self.train(before)

    def _moments(
        self, batches: Iterable[Any], part: nn.Module | None, place: InsertPlace
    ) -> SideMoments:
        """Of the features that arrive at ``part``, or, without one, that leave its layer."""
        moments = Moments(place.width, 0, keep={"square"})

        def take(activation: Tensor) -> None:
            rows = activation.detach().movedim(place.axis, -1).reshape(-1, place.width)
            moments.update(rows, rows[:, :0])
            # what comes behind it need not run
            raise _Reached

        def leaving(_: nn.Module, __: Any, output: Any) -> None:
            take(tensor_of(output, place.layer))

        layer = self.model.get_submodule(place.layer)
        handle = (
            layer.register_forward_hook(leaving)
            if part is None
            else part.register_forward_pre_hook(lambda _, args: take(args[0]))
        )
        with evaluation_mode(self), torch.no_grad():
            try:
                for batch in batches:
                    with suppress(_Reached):
                        call_model(self, batch)
            finally:
                handle.remove()
        if not moments.rows:
            raise InputError(
                f"there are no inputs of {self.active or 'the usual kind'}",
                where="calibrate",
                mend="Give a DataLoader, Batches or a list, not a generator",
            )
        return moments.second().x


def _called(module: nn.Module, batch: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """One batch as `call_model` takes it; several arguments, or named ones, as they are."""
    if len(batch) == 1 and not named:
        return call_model(module, batch[0])
    return module(*batch, **named)


def _described(output: Any) -> str:
    return f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
