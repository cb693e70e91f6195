"""``isthmus monitor``: live traffic against a bridge's evidence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isthmus.cli.alarm import AlarmOptions
from isthmus.cli.console import ProgressBar, say, show, show_json, warn
from isthmus.cli.inputs import BridgeOption
from isthmus.cli.option_groups import grouped
from isthmus.cli.outputs import WRITTEN
from isthmus.cli.reports import PageOptions
from isthmus.cli.watch_options import JUDGED, BoundOptions, DriftOptions, open_watch
from isthmus.cli.webhook import post_alarm
from isthmus.errors import InputError, ModelChangedError

if TYPE_CHECKING:
    from isthmus.bridge import Bridge
    from isthmus.encoders import CanaryCheck
    from isthmus.monitor import Monitored, Watch
    from isthmus.monitor.retrieval import Retrieval

__all__ = ["monitor_command"]

_NEEDED = {
    "hit": "'hit' on a line of a log",
    "gap": "'hit' and 'group' on lines of a log",
    "refused": "vectors",
    "overconfidence": "'same' and 'trust' on a line of a log",
    "scores": "'scores' and 'old_scores' on a line of a log, and the thresholds of the way",
    "retrieval": "--ask",
}
"""What a bound is tested on, by the first part of its name."""


@dataclass(frozen=True)
class CanaryOptions:
    """Whether the model that answers is still the one that was recorded."""

    canary: Annotated[
        Path | None,
        typer.Option(
            help="What isthmus canary record wrote, checked with --model.", rich_help_panel=JUDGED
        ),
    ] = None
    model: Annotated[
        str | None,
        typer.Option(
            metavar="ENC", help="The model that answers now, as st:NAME.", rich_help_panel=JUDGED
        ),
    ] = None

    ask: Annotated[
        Path | None,
        typer.Option(
            metavar="LOG",
            help="Fixed queries with their answers (a log as for isthmus fit --queries), which "
            "--index is asked at every look, encoded by --model: an alarm where they find less "
            "than at the first, or break a bound 'retrieval >= 0.8'.",
            rich_help_panel=JUDGED,
        ),
    ] = None
    index: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The store that --ask searches.", rich_help_panel=JUDGED),
    ] = None
    old_model: Annotated[
        str | None,
        typer.Option(
            metavar="ENC",
            help="The old model, where the recommended way asks it.",
            rich_help_panel=JUDGED,
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
            help="A log (.jsonl, .ndjson or .json, plain or packed) with vector, hit, same, trust, "
            "scores, old_scores or group on each line; a file of vectors; or the URL of a store, "
            "whose items are looked at.",
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
            "every minute costs no false alarms. Options that are left out are those of its first "
            "look, and others than those are refused. A log that was rotated or cut is read from "
            "its start; what was written to the old one after the last look is looked at if that "
            "one is given once more, before the new one."
        ),
        WRITTEN,
    ] = None,
) -> None:
    """Watch live vectors and results: has what is asked changed, or the model, or the answers?

    Exit code 1 on an alarm, or where no value came for a bound that is stated. What is
    recommended: nothing, to fit again near the running bridge, or to roll back. All tests may be
    looked at after every row; together they raise a false alarm, ever, with a chance of at most
    --alpha.

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
    from isthmus.monitor import Watch, read_traffic

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
    watch = open_watch(loaded, traffic, state, drift, stated)
    notices: list[str] = []
    for seen in read_traffic(traffic, watch.cursor):
        watch.update(seen)
        if seen.notice is not None:
            notices.append(seen.notice)
            warn(f"notice: {seen.notice}")
    retrieval = _asked(same, loaded, watch)
    found = watch.result(checked, retrieval)
    with together():
        if state is not None:
            watch.save(state, overwrite=True)
        if shown.report is not None:
            from isthmus.monitor import write_monitor_report

            write_monitor_report(found, shown.report, name=traffic, overwrite=shown.overwrite)
    told = {**found.as_dict(), "notices": notices}
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
    if found.alarms or found.untested:
        raise typer.Exit(1)


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
    for bound in found.untested:
        needed = _NEEDED[bound.split()[0].partition(".")[0]]
        lines.append(f"NOT TESTED  {bound}: no value came, which takes {needed}")
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
