"""``isthmus monitor``: live traffic against a bridge's evidence."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.alarm import AlarmOptions
from isthmus.cli.completions import one_of, way_names
from isthmus.cli.console import ProgressBar, say, show, show_json
from isthmus.cli.inputs import BridgeOption
from isthmus.cli.option_groups import grouped
from isthmus.cli.outputs import WRITTEN
from isthmus.cli.reports import PageOptions
from isthmus.cli.webhook import post_alarm
from isthmus.errors import InputError, ModelChangedError

if TYPE_CHECKING:
    from isthmus.bridge import Bridge
    from isthmus.encoders import CanaryCheck
    from isthmus.monitor import Monitored, Observations, Watch
    from isthmus.monitor.retrieval import Retrieval

__all__ = ["monitor_command"]

_JUDGED = "What must hold"
_LOGS = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class DriftOptions:
    """What the traffic is compared with."""

    reference: Annotated[
        str | None,
        typer.Option(
            help="Vectors like those of the fit, which drift is measured from; without it the "
            "first --baseline vectors of the traffic.",
            rich_help_panel=_JUDGED,
        ),
    ] = None
    baseline: Annotated[
        int, typer.Option(min=100, help="See --reference.", rich_help_panel=_JUDGED)
    ] = 1000
    side: Annotated[
        str | None,
        typer.Option(
            help="Whether the vectors are those that the bridge maps (source) or those of its "
            "target; by default source, and for a store those of the old model.",
            rich_help_panel=_JUDGED,
            autocompletion=one_of("source", "target"),
        ),
    ] = None


@dataclass(frozen=True)
class StatedBounds:
    """Bounds, the chance of a false alarm, and the way that serves."""

    bounds: list[str]
    alpha: float
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
            rich_help_panel=_JUDGED,
        ),
    ] = None
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="TOML",
            help="A policy, whose stage (--stage) states the bounds.",
            rich_help_panel=_JUDGED,
        ),
    ] = None
    stage: Annotated[str, typer.Option(help="Of the policy.", rich_help_panel=_JUDGED)] = (
        "production"
    )
    way: Annotated[
        str | None,
        typer.Option(
            autocompletion=way_names,
            help="The way that serves, whose scores stand in the log; the recommended one by "
            "default.",
            rich_help_panel=_JUDGED,
        ),
    ] = None
    alpha: Annotated[
        float | None,
        typer.Option(
            help="The chance of any false alarm, ever; 0.01, or what the policy states.",
            rich_help_panel=_JUDGED,
        ),
    ] = None

    def stated(self) -> StatedBounds:
        """What is held, with what the policy says of it."""
        from isthmus.registry import Policy

        bounds, alpha = list(self.bound or []), self.alpha
        if self.policy is not None:
            stage = Policy.load(self.policy).stage(self.stage)
            bounds, alpha = [*stage.bounds, *bounds], alpha or stage.alpha
        return StatedBounds(bounds, alpha or 0.01, self.way)


@dataclass(frozen=True)
class CanaryOptions:
    """Whether the model that answers is still the one that was recorded."""

    canary: Annotated[
        Path | None,
        typer.Option(
            help="What isthmus canary record wrote, checked with --model.", rich_help_panel=_JUDGED
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ENC", help="The model that answers now, as st:NAME.", rich_help_panel=_JUDGED
        ),
    ] = None

    ask: Annotated[
        Path | None,
        typer.Option(
            metavar="LOG",
            help="Fixed queries with their answers (a log as for isthmus fit --queries), which "
            "--index is asked at every look, encoded by --model: an alarm where they find less "
            "than at the first, or break a bound 'retrieval >= 0.8'.",
            rich_help_panel=_JUDGED,
        ),
    ] = None
    index: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The store that --ask searches.", rich_help_panel=_JUDGED),
    ] = None
    old_model: Annotated[
        str | None,
        typer.Option(
            metavar="ENC",
            help="The old model, where the recommended way asks it.",
            rich_help_panel=_JUDGED,
        ),
    ] = None

    def check(self) -> None:
        """Refuse one without the other."""
        wanted = self.canary is not None or self.ask is not None
        if wanted != (self.model is not None):
            raise InputError("a canary is checked with a model", where="--canary", mend="Give both")
        if (self.ask is None) != (self.index is None):
            raise InputError(
                "canary queries are asked of an index", where="--ask", mend="Give --ask and --index"
            )


@grouped
def monitor_command(
    traffic: Annotated[
        str,
        typer.Argument(
            metavar="TRAFFIC",
            help="A log (.jsonl) with vector, hit, same, trust, scores, old_scores or group on "
            "each line; a file of vectors; or the URL of a store, whose items are looked at.",
            show_default=False,
        ),
    ],
    bridge: BridgeOption,
    drift: DriftOptions,
    held: BoundOptions,
    same: CanaryOptions,
    alarm: AlarmOptions,
    shown: PageOptions,
    state: Annotated[
        Path | None,
        typer.Option(
            help="A folder that is kept between looks: only what is new is looked at, and looking "
            "every minute costs no false alarms."
        ),
        WRITTEN,
    ] = None,
) -> None:
    """Watch live vectors and results: has what is asked changed, or the model, or the answers?

    Exit code 1 on an alarm. What is recommended: nothing, to fit again near the running bridge, or
    to roll back. All tests may be looked at after every row; together they raise a false alarm,
    ever, with a chance of at most --alpha.

    Examples:

        isthmus monitor log.jsonl --bridge my.bridge --state watch --bound "hit >= 0.8"

        isthmus monitor queries.npy --bridge my.bridge --reference q_new.npy --report watch.html

        isthmus monitor log.jsonl --bridge my.bridge --state watch --policy policy.toml
          --roll-back docs@production -r registry

        isthmus monitor log.jsonl --bridge my.bridge --state watch --ask canaries.jsonl
          --index lancedb://db#docs.vector --model st:NEW --bound "retrieval >= 0.8"
    """  # fmt: skip
    from isthmus.bridge import Bridge
    from isthmus.files import together
    from isthmus.monitor import Watch

    same.check()
    alarm.check(bridge)
    if state is not None and "://" in traffic:
        raise InputError(
            "a store is looked at whole, each time anew",
            where="--state",
            mend="Leave it out, or watch a log of the traffic",
        )
    shown.check()
    if state is not None:
        Watch.check_place(state)
    loaded = Bridge.load(bridge)
    stated = held.stated()
    checked = _checked(same)
    sided = drift.side or _side_of(traffic, loaded)
    watch = _watch(loaded, sided, state, drift, stated)
    for seen in _read(traffic, watch.cursor):
        watch.update(seen)
    retrieval = _asked(same, loaded, watch)
    found = watch.result(checked, retrieval)
    with together():
        if state is not None:
            watch.save(state, overwrite=True)
        if shown.report is not None:
            from isthmus.monitor import write_monitor_report

            write_monitor_report(found, shown.report, name=traffic, overwrite=shown.overwrite)
    told = found.as_dict()
    if found.recommended[0] == "roll back" and alarm.roll_back is not None:
        told["rolled_back"] = alarm.rolled_back(bridge, found.alarms)
    if shown.as_json:
        show_json(told)
    else:
        show(*_shown(found), fitted=True)
        if shown.report is not None:
            say(f"written: {shown.report}")
        if "rolled_back" in told:
            show(str(told["rolled_back"]))
    if found.alarms:
        post_alarm(alarm.webhook, {"traffic": traffic, **told})
        raise typer.Exit(1)


def _watch(
    bridge: Bridge,
    side: str,
    state: Path | None,
    drift: DriftOptions,
    held: StatedBounds,
) -> Watch:
    import numpy as np

    from isthmus.monitor import DEFAULT_BOUNDS, Watch
    from isthmus.spaces.readers import open_vectors

    if state is not None and state.exists():
        return Watch.load(state, bridge, side=side)
    named = {text.split()[0] for text in held.bounds if text.split()}
    default = [text for text in DEFAULT_BOUNDS if text.split()[0] not in named]
    rows = None
    if drift.reference is not None:
        opened = open_vectors(drift.reference)
        rows = np.asarray(opened.rows(0, opened.n))
    return Watch(
        bridge,
        side=side,
        bounds=[*held.bounds, *default],
        reference=rows,
        baseline=drift.baseline,
        alpha=held.alpha,
        way=held.way,
    )


def _side_of(traffic: str, bridge: Bridge) -> str:
    if "://" not in traffic:
        return "source"
    # a store holds the old model's vectors
    return "target" if bridge.kind == "query" else "source"


def _read(traffic: str, after: str | None) -> Iterator[Observations]:
    from isthmus.monitor import read_log, read_store, read_vectors

    if Path(traffic).suffix.lower() in _LOGS:
        return read_log(Path(traffic), after)
    return read_store(traffic) if "://" in traffic else read_vectors(traffic, after)


def _checked(same: CanaryOptions) -> CanaryCheck | None:
    from isthmus.encoders import CanaryCheck, ModelCanary, open_encoder

    canary, model = same.canary, same.model
    if canary is None or model is None:
        return None
    known = ModelCanary.load(canary)
    try:
        return known.check(open_encoder(model, progress=ProgressBar()))
    except ModelChangedError as error:
        say(str(error))
        return CanaryCheck(model, known.model, known.rounding, {"document": None})


def _asked(same: CanaryOptions, bridge: Bridge, watch: Watch) -> Retrieval | None:
    """What canary queries find now, in the way that the evidence recommends."""
    if same.ask is None or same.index is None or same.model is None:
        return None
    from isthmus.encoders import open_encoder
    from isthmus.monitor.retrieval import ask
    from isthmus.spaces.query_log import read_query_log
    from isthmus.stores import open_store

    log = read_query_log(same.ask)
    new, old = (
        None if name is None else open_encoder(name, progress=ProgressBar())
        for name in (same.model, same.old_model)
    )
    with open_store(same.index) as store:
        way = "recommended" if bridge.recommended is not None else "bridge"
        return watch.asked.look(ask(bridge.search(store, way, new=new, old=old), log))


def _shown(found: Monitored) -> list[str]:
    action, why = found.recommended
    lines = [f"{found.rows:,} vectors and {found.results:,} answers"]
    for test in found.tests:
        if test.n:
            mean = "" if test.mean is None else f", found {test.mean:.3f}"
            verdict = "ALARM" if test.alarm else "holds"
            seen = f"{test.n:,} values, p {test.p_as_text}"
            lines.append(f"{verdict}  {test.hypothesis}{mean} ({seen})")
    if found.canary is not None:
        lines.append(f"canary: {found.canary}")
    if found.retrieval is not None:
        r = found.retrieval
        lines.append(
            f"{r.queries:,} canary queries find {r.hit:.3f} of their answers, {r.first:.3f} at the "
            "first look"
        )
    if found.calibration is not None:
        c = found.calibration
        lines.append(
            f"trust: calibration error {c.error:.3f}, Brier {c.brier:.3f}, temperature "
            f"{c.temperature:.2f} over {c.rows:,} answers"
        )
    if found.scores is not None:
        s = found.scores
        lines.append(
            f"scores: translated thresholds let through what the old ones do, but for "
            f"{s.error:.1%} of the first results, over {s.queries:,} queries ({s.way})"
        )
    if found.difference is not None:
        d = found.difference
        lines.append(
            f"newest vectors: mean shifted by {d.mean_shift:.2f} standard deviations, covariance "
            f"changed by {d.covariance_change:.0%}, a classifier is right in "
            f"{d.classifier_accuracy:.0%}"
        )
    lines += [f"alarm: {alarm}" for alarm in found.alarms]
    lines.append(f"recommended: {action} ({why})")
    return lines
