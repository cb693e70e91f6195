"""What a watch is begun with, and whether one that goes on is still asked for the same."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.completions import one_of, way_names
from isthmus.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isthmus.bridge import Bridge
    from isthmus.monitor import Watch

__all__ = ["JUDGED", "BoundOptions", "DriftOptions", "StatedBounds", "open_watch"]

JUDGED = "What must hold"
_BASELINE, _ALPHA = 1000, 0.01


@dataclass(frozen=True)
class DriftOptions:
    """What the traffic is compared with."""

    reference: Annotated[
        str | None,
        typer.Option(
            help="Vectors like those of the fit, which drift is measured from; without it the "
            "first --baseline vectors of the traffic.",
            rich_help_panel=JUDGED,
        ),
    ] = None
    baseline: Annotated[
        int | None,
        typer.Option(min=100, help="See --reference; by default 1000.", rich_help_panel=JUDGED),
    ] = None
    side: Annotated[
        str | None,
        typer.Option(
            help="Whether the vectors are those that the bridge maps (source) or those of its "
            "target; by default source, and for a store those of the old model.",
            rich_help_panel=JUDGED,
            autocompletion=one_of("source", "target"),
        ),
    ] = None


@dataclass(frozen=True)
class StatedBounds:
    """Bounds, the chance of a false alarm, and the way that serves, where they are stated."""

    bounds: dict[str, str]
    """The option that states it, of each."""
    stating: str | None
    """The option that states all of them; None where none does."""
    alpha: tuple[float, str] | None
    """With the option that states it."""
    way: str | None


@dataclass(frozen=True)
class BoundOptions:
    """What must hold, and how often it may be wrongly said not to."""

    bound: Annotated[
        list[str] | None,
        typer.Option(
            "--bound",
            help="As 'hit >= 0.8', 'hit.de >= 0.7', 'gap.de <= 0.1', 'refused <= 0.01', "
            "'overconfidence <= 0.1', 'scores.lenient <= 0.1' or 'scores.strict <= 0.1'. "
            "Repeatable; the last four are held by default.",
            rich_help_panel=JUDGED,
        ),
    ] = None
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            help="A policy, whose stage (--stage) states the bounds.",
            rich_help_panel=JUDGED,
        ),
    ] = None
    stage: Annotated[
        str | None,
        typer.Option(help="Of the policy; 'production' by default.", rich_help_panel=JUDGED),
    ] = None
    way: Annotated[
        str | None,
        typer.Option(
            autocompletion=way_names,
            help="The way that serves, whose scores stand in the log; the recommended one by "
            "default.",
            rich_help_panel=JUDGED,
        ),
    ] = None
    alpha: Annotated[
        float | None,
        typer.Option(
            help="The chance of any false alarm, ever; 0.01, or what the policy states.",
            rich_help_panel=JUDGED,
        ),
    ] = None

    def stated(self) -> StatedBounds:
        """What is held, with what the policy says of it."""
        from isthmus.registry import Policy, parse_bound

        own = {str(parse_bound(text)): "--bound" for text in self.bound or []}
        alpha = None if self.alpha is None else (self.alpha, "--alpha")
        if self.policy is None:
            if self.stage is not None:
                raise InputError(
                    "a stage is one of a policy, and none is given",
                    where="--stage",
                    mend="Give the policy with --policy",
                )
            return StatedBounds(own, "--bound" if own else None, alpha, self.way)
        stage = Policy.load(self.policy).stage(self.stage or "production")
        bounds = {str(parse_bound(text)): "--policy" for text in stage.bounds}
        if alpha is None and "alpha" in stage.model_fields_set:
            alpha = stage.alpha, "--policy"
        return StatedBounds(bounds | own, "--policy", alpha, self.way)


def open_watch(
    bridge: Bridge, traffic: str, state: Path | None, drift: DriftOptions, held: StatedBounds
) -> Watch:
    """A new watch, or the one that a state goes on with.

    Raises:
        InputError: naming the first option that says something else than the state.
    """
    from isthmus.monitor import DEFAULT_BOUNDS, Watch

    if state is not None and state.exists():
        watch = Watch.load(state, bridge)
        _check_bounds(watch, held, state)
        _check_rest(watch, bridge, drift, held, state)
    else:
        named = {bound.split()[0] for bound in held.bounds}
        default = [text for text in DEFAULT_BOUNDS if text.split()[0] not in named]
        watch = Watch(
            bridge,
            side=drift.side or _side_of(traffic, bridge),
            bounds=[*held.bounds, *default],
            reference=None if drift.reference is None else _rows(drift.reference),
            baseline=_BASELINE if drift.baseline is None else drift.baseline,
            alpha=_ALPHA if held.alpha is None else held.alpha[0],
            way=held.way,
        )
    watch.expect([*held.bounds])
    return watch


def _check_bounds(watch: Watch, held: StatedBounds, state: Path) -> None:
    """Bounds share the chance of a false alarm from the start: none joins, or leaves, later."""
    from isthmus.monitor import DEFAULT_BOUNDS

    if held.stating is None:
        return
    for bound, option in held.bounds.items():
        if bound not in watch.bounds:
            name = bound.split()[0]
            alike = [own for own in watch.bounds if own.split()[0] == name]
            raise _other(option, " and ".join(alike) or f"no bound of '{name}'", bound, state)
    unasked = [b for b in watch.bounds if b not in held.bounds and b not in DEFAULT_BOUNDS]
    if unasked:
        asked = " and ".join(held.bounds) or "none"
        raise _other(held.stating, f"{' and '.join(unasked)} as well", f"only {asked}", state)


def _check_rest(
    watch: Watch, bridge: Bridge, drift: DriftOptions, held: StatedBounds, state: Path
) -> None:
    from isthmus.monitor.score_calibration import ScoreCalibration

    if held.alpha is not None and held.alpha[0] != watch.alpha:
        raise _other(held.alpha[1], f"alpha {watch.alpha:g}", f"{held.alpha[0]:g}", state)
    if drift.side is not None and drift.side != watch.side:
        raise _other("--side", f"vectors of the {watch.side}", drift.side, state)
    if drift.baseline is not None and drift.baseline != watch.baseline:
        raise _other("--baseline", f"a baseline of {watch.baseline}", str(drift.baseline), state)
    if drift.reference is not None:
        first = f"the first {watch.baseline} vectors of the traffic as the reference"
        if watch.own_reference:
            raise _other("--reference", first, drift.reference, state)
        if watch.drift is None or not watch.drift.is_of(_rows(drift.reference)):
            raise _other("--reference", "other vectors as the reference", drift.reference, state)
    if held.way is not None and ScoreCalibration(bridge, held.way).way != watch.scores.way:
        raise _other("--way", f"the way {watch.scores.way!r}", repr(held.way), state)


def _other(option: str, own: str, asked: str, state: Path) -> InputError:
    return InputError(
        f"the watch in {state} holds {own}, and {asked} is asked, which cannot change while its "
        "tests go on",
        where=option,
        mend=f"Leave {option} out to go on with it, or begin another watch in another --state",
    )


def _rows(reference: str) -> NDArray[Any]:
    import numpy as np

    from isthmus.spaces.readers import open_vectors

    opened = open_vectors(reference)
    return np.asarray(opened.rows(0, opened.n))


def _side_of(traffic: str, bridge: Bridge) -> str:
    if "://" not in traffic:
        return "source"
    # a store holds the old model's vectors
    return "target" if bridge.kind == "query" else "source"
