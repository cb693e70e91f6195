"""A compact student that does what a teacher does: any module, adapter, stitched model, bridge."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from isthmus.errors import InputError
from isthmus.nn.compact.table import size_of
from isthmus.nn.look.layout import LayerAxes
from isthmus.nn.look.outputs import tensor_of
from isthmus.nn.look.pooling import pool_rows
from isthmus.progress import Progress, silent
from isthmus.training.batches import input_of
from isthmus.training.loop import Trained, seeded, train
from isthmus.training.modes import evaluation_mode
from isthmus.training.names import find_module
from isthmus.training.schedule import Schedule

__all__ = ["Distilled", "Lesson", "distil"]

Teacher = nn.Module | Callable[[Any], Any]

_OUTPUTS = ("logits", "vectors", "cosine")


@dataclass(frozen=True)
class Lesson:
    """What a student shall take over from its teacher.

    The output term is, for ``logits``, ``T² KL(teacher ‖ student)`` of the softened predictions;
    for ``vectors``, the squared error over the teacher's variance; for ``cosine``, one minus the
    cosine.  The feature term is the squared error between pooled layers, over the teacher's
    variance, through a linear map of the student's that is trained along and thrown away.

    Attributes:
        output: ``logits``, ``vectors`` or ``cosine``.
        temperature: T of ``logits``.
        features: layers of the teacher and those of the student that shall carry the same.
        feature_weight: of the feature term.
        label_weight: of a cross-entropy with the labels of the loader.

    Raises:
        InputError: for another output, or weights that are not finite.
    """

    output: str = "logits"
    temperature: float = 2.0
    features: Mapping[str, str] | None = None
    feature_weight: float = 1.0
    label_weight: float = 0.0

    def __post_init__(self) -> None:
        if self.output not in _OUTPUTS:
            raise InputError(
                f"there is no output loss '{self.output}'",
                where="output",
                mend=f"Choose from {_OUTPUTS}",
            )
        for name in ("temperature", "feature_weight"):
            value: float = getattr(self, name)
            if not 0 < value < float("inf"):
                raise InputError(f"this is positive and finite, got {value}", where=name)
        if not 0 <= self.label_weight < float("inf"):
            raise InputError(f"this is 0 or more, got {self.label_weight}", where="label_weight")


@dataclass(frozen=True, eq=False)
class Distilled:
    """A trained student, and how it got there.

    Attributes:
        student: the module that was given, trained, in the mode it was in.
        trained: the history; ``output`` and, where asked, ``features`` are its terms.
        sizes: bytes of the teacher (0 where it is no module) and of the student.
    """

    student: nn.Module
    trained: Trained
    sizes: tuple[int, int]

    def __str__(self) -> str:
        teacher, student = (f"{size / 2**20:.2f} MiB" for size in self.sizes)
        return f"student of {student} from a teacher of {teacher}: {self.trained}"


def distil(
    teacher: Teacher,
    student: nn.Module,
    loader: Iterable[Any],
    schedule: Schedule,
    *,
    lesson: Lesson | None = None,
    inputs: Callable[[Any], Any] | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    progress: Progress = silent,
) -> Distilled:
    """Train a student to give what a teacher gives, and optionally to see what it sees.

    Args:
        teacher: a module (run in evaluation mode, without gradients, and moved to where the
            batches are), or any function of the input, such as a `Bridge`'s ``transform``.
        student: trained in place.
        loader: batches of inputs, or of tuples that begin with them; a second part are labels.
        schedule: of the training; its seed also draws the linear maps of the features.
            ``before_epoch`` is given the student.
        lesson: what the student shall take over; the teacher's logits unless given.
        inputs: takes the models' input out of a batch.
        validate: of the student, as `isthmus.training.train` takes it.
        progress: told after every batch.

    Raises:
        InputError: for a student whose output has another shape, a layer that is not there, an
            empty loader, or labels that are asked for and not there.
        DivergedError: as `train`.

    Source: Hinton, Vinyals and Dean 2015; features, Romero et al. 2015 (FitNets).

    Example:
        >>> x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
        >>> teacher = nn.Sequential(nn.Linear(6, 32), nn.Tanh(), nn.Linear(32, 3))
        >>> student = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3))
        >>> distil(teacher, student, [(x, torch.zeros(64))], Schedule(3)).trained.epochs
        3
    """
    lesson = lesson or Lesson()
    pairs = dict(lesson.features or {})
    if pairs and not isinstance(teacher, nn.Module):
        raise InputError("a function has no layers to take features of", where="features")
    first = next(iter(loader), None)
    if first is None:
        raise InputError(
            "the loader has no batches",
            where="loader",
            mend="Give a DataLoader, Batches or a list, not a generator",
        )
    device = next(iter(student.parameters()), torch.zeros(0)).device
    x = _moved(input_of(first, inputs), device)
    _follow(teacher, x)
    taught = _Watched(teacher, pairs)
    with taught as seen, torch.no_grad():
        wanted = _output(seen(x), "teacher")
        teacher_rows = dict(seen.rows)
    with (
        evaluation_mode(student),
        _Watched(student, pairs.values()) as seen,
        torch.no_grad(),
    ):
        given = _output(seen(x), "student")
        student_rows = dict(seen.rows)
    if given.shape != wanted.shape:
        raise InputError(
            f"the student gives {tuple(given.shape)}, the teacher {tuple(wanted.shape)}",
            where="student",
            mend="End the student in a layer of the teacher's width",
        )
    if lesson.output == "logits" and wanted.ndim != 2:
        raise InputError(
            f"logits are one row for each item, and the teacher gives {tuple(wanted.shape)}",
            where="output",
            mend="Give a teacher and a student that flatten positions into rows, or choose "
            "output='vectors'",
        )
    with seeded(schedule.seed):
        maps = [
            nn.Linear(student_rows[s].shape[1], teacher_rows[t].shape[1]) for t, s in pairs.items()
        ]
    both = _Pupil(student, nn.ModuleList(maps).to(device), list(pairs.values()))

    def loss(module: nn.Module, batch: Any) -> dict[str, Tensor]:
        given_input = input_of(batch, inputs)
        _follow(teacher, given_input)
        with taught as seen, torch.no_grad():
            target = _output(seen(given_input), "teacher")
            rows = dict(seen.rows)
        found, mapped = module(given_input)
        terms = {"output": _output_loss(lesson, found, target)}
        if mapped:
            apart = [_relative(own, rows[t]) for t, own in zip(pairs, mapped, strict=True)]
            terms["features"] = lesson.feature_weight * torch.stack(apart).mean()
        if lesson.label_weight:
            wrong = functional.cross_entropy(found, _labels(batch).long())
            terms["labels"] = lesson.label_weight * wrong
        return terms

    trained = train(
        both,
        loss,
        loader,
        schedule.about(student),
        validate=None if validate is None else lambda _: validate(student),
        progress=progress,
    )
    size = size_of(teacher) if isinstance(teacher, nn.Module) else 0
    return Distilled(student, trained, (size, size_of(student)))


class _Pupil(nn.Module):
    """The student with the maps of its features, as one module that several devices can share."""

    def __init__(self, student: nn.Module, maps: nn.ModuleList, layers: list[str]) -> None:
        super().__init__()
        self.student, self.maps, self.layers = student, maps, layers
        self._watched = _Watched(student, layers)

    def forward(self, x: Any) -> tuple[Tensor, list[Tensor]]:
        with self._watched as seen:
            out = _output(seen(x), "student")
            rows = [m(seen.rows[name]) for m, name in zip(self.maps, self.layers, strict=True)]
        return out, rows


class _Watched:
    """Runs a model and keeps the pooled output of some layers, gradients and all."""

    def __init__(self, model: Teacher, layers: Iterable[str]) -> None:
        self.model, self.rows = model, dict[str, Tensor]()
        self._mode: Any = None
        self._handles: list[Any] = []
        self._layers = (
            {name: find_module(model, name) for name in layers}
            if isinstance(model, nn.Module)
            else {}
        )
        self._axes = LayerAxes(model, self._layers) if isinstance(model, nn.Module) else None

    def __enter__(self) -> _Watched:
        if isinstance(self.model, nn.Module) and self._layers:
            looked = self.model.register_forward_pre_hook(self._before, with_kwargs=True)
            self._handles.append(looked)
        for name, layer in self._layers.items():
            self._handles.append(layer.register_forward_hook(self._hook(name), with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        # what was kept would keep its whole pass alive
        self.rows = {}

    def __call__(self, x: Any) -> Any:
        if not isinstance(self.model, nn.Module) or torch.is_grad_enabled():
            return self.model(x)
        with evaluation_mode(self.model):
            return self.model(x)

    def _before(self, _: nn.Module, args: Any, kwargs: Any) -> None:
        if self._axes is not None:
            self._axes.before(args, kwargs)

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            activation = tensor_of(output, name)
            assert self._axes is not None
            axes = self._axes.of(name, activation, (args, kwargs))
            rows = axes.items_first(activation)
            self.rows[name] = pool_rows(rows, axes.layout, "mean", None, name)

        return hook


def _output_loss(lesson: Lesson, found: Tensor, target: Tensor) -> Tensor:
    temperature = lesson.temperature
    if lesson.output == "logits":
        return temperature**2 * functional.kl_div(
            torch.log_softmax(found / temperature, 1),
            torch.log_softmax(target / temperature, 1),
            reduction="batchmean",
            log_target=True,
        )
    if lesson.output == "cosine":
        return (1 - functional.cosine_similarity(found, target, dim=-1)).mean()
    return _relative(found, target)


def _relative(found: Tensor, target: Tensor) -> Tensor:
    """Squared error over the target's variance, so that layers of any scale weigh alike."""
    flat = target.flatten(1)
    variance = ((flat - flat.mean(0)) ** 2).mean()
    return ((found - target) ** 2).mean() / variance.clamp(min=1e-12)


def _labels(batch: Any) -> Tensor:
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise InputError(
            "the batches have no labels",
            where="loader",
            mend="Give tuples of inputs and labels, or label_weight=0",
        )
    return batch[1]


def _follow(teacher: Teacher, x: Any) -> None:
    if isinstance(teacher, nn.Module) and isinstance(x, Tensor):
        held = next(iter(teacher.parameters()), None)
        if held is not None and held.device != x.device:
            teacher.to(x.device)


def _output(out: Any, where: str) -> Tensor:
    return tensor_of(out, where)


def _moved(x: Any, device: torch.device) -> Any:
    return x.to(device) if isinstance(x, Tensor) else x
