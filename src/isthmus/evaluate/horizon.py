"""What a recommendation costs over time: what to run now, and when re-embedding is cheaper."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from isthmus.errors import InputError
from isthmus.evaluate.price import Price

if TYPE_CHECKING:
    from isthmus.evaluate.evaluation import Evaluation

__all__ = ["Horizon", "horizon_sentences", "parse_horizon"]

_DAY = 86_400


class Horizon(BaseModel):
    """The size of the index and the pace of the house; None for what is not known.

    Example:
        >>> Horizon(rows=2_100_000, encodings_per_second=65).days_to_reembed
        0.37393162393162394
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    rows: int | None = Field(default=None, gt=0)
    """Items of the index."""
    queries_per_day: float | None = Field(default=None, gt=0)
    """Queries that will be asked."""
    encodings_per_second: float | None = Field(default=None, gt=0)
    """Items that the new model encodes."""
    money_per_1000: float | None = Field(default=None, gt=0)
    """Price of a thousand encodings, in any currency."""
    latency_seconds: float | None = Field(default=None, gt=0)
    """What a search and the items that it encodes may take for a query; ways that need more are not
    recommended.  Searches are timed where the ways are run on a store."""
    days_to_old_off: float | None = Field(default=None, ge=0)
    """Days until the old encoder is switched off."""

    @property
    def days_to_reembed(self) -> float | None:
        """Days that encoding every row takes; None where rows or speed are not known."""
        if self.rows is None or self.encodings_per_second is None:
            return None
        return self.rows / self.encodings_per_second / _DAY

    def too_slow(self, price: Price, searching: float = 0.0) -> bool:
        """Whether a way takes longer for a query than the latency allows.

        Args:
            price: whose items are encoded, nothing being kept.
            searching: seconds of the search itself, where they were measured.
        """
        if self.latency_seconds is None:
            return False
        encoding = 0.0
        if self.encodings_per_second is not None:
            encoding = price.encodings / self.encodings_per_second
        return searching + encoding > self.latency_seconds


def parse_horizon(given: Iterable[str]) -> Horizon:
    """Read ``rows=2100000`` and the like, one figure each.

    Raises:
        InputError: for a figure that there is not, or that is no positive number.

    Example:
        >>> parse_horizon(["rows=1e6", "queries_per_day=5000"]).rows
        1000000
    """
    figures: dict[str, float] = {}
    for text in given:
        name, _, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if name not in Horizon.model_fields:
            raise InputError(
                f"there is no figure '{name}'",
                where="horizon",
                mend=f"Write for example rows=2100000; the figures are: "
                f"{', '.join(Horizon.model_fields)}",
            )
        try:
            figures[name] = float(value)
        except ValueError:
            raise InputError(f"'{value}' is not a number", where=f"horizon, {name}") from None
    try:
        return Horizon.model_validate(figures)
    except ValidationError as error:
        raise InputError(
            f"{error.errors()[0]['msg'].lower()}",
            where=f"horizon, {error.errors()[0]['loc'][0]}",
            mend="Give positive numbers",
        ) from None


def horizon_sentences(found: Evaluation) -> Iterator[str]:
    """What to run now, what to move to, and after how many queries re-embedding is cheaper."""
    horizon, name = found.rule.horizon, found.recommended
    new = found.arms.get("new")
    if name is None or found.evidence_kind != "relevance":
        return
    price = found.arms[name].price or Price()
    if name == "new":
        yield f"now: re-embed everything{_cost(horizon, 1.0)}"
        return
    gain = None if new is None else new.to_old_at_once
    better = gain is not None and gain.low is not None and gain.low > 0
    needs_old = price.old_query or name == "old"
    off = horizon.days_to_old_off
    if needs_old and off is not None:
        takes = horizon.days_to_reembed
        left = f"the old encoder is off in {off:g} days, and {name} ends with it"
        if takes is not None:
            fits = "in time" if takes <= off else "not in time"
            left += f": re-embedding everything takes {_days(takes)}, {fits}"
        yield left
    if not price.encodings:
        if better:
            yield (
                f"now: {name}, which encodes no items; re-embedding everything is the next step"
                f"{_cost(horizon, 1 - price.reembedded)} where its gain over the old model, "
                f"{gain}, is worth that"
            )
        return
    rest = 1 - price.reembedded
    per_query = price.encodings
    if horizon.rows is None:
        yield (
            f"re-embedding everything costs as many encodings as rows / {per_query:.3g} queries of "
            f"{name} where nothing is kept ({price.encodings_cached:.3g} per query where it is): "
            "to know when it is cheaper, give the rows of the index and the queries per day "
            "(--horizon rows=... --horizon queries_per_day=...)"
        )
        return
    queries = rest * horizon.rows / per_query
    sentence = (
        f"now: {name}, at {per_query:.3g} encodings per query{_money(horizon, per_query)}; "
        f"re-embedding the {rest * horizon.rows:,.0f} rows{_cost(horizon, rest)} costs as much "
        f"as {queries:,.0f} queries of it"
    )
    if horizon.queries_per_day is not None:
        sentence += f", {_days(queries / horizon.queries_per_day)} at {horizon.queries_per_day:,g} "
        sentence += "a day"
    if better:
        sentence += "; then move to re-embedding, popular items first"
    else:
        sentence += "; nothing is to be moved to: the new model alone is not shown to be better"
    yield sentence


def _cost(horizon: Horizon, share: float) -> str:
    takes = horizon.days_to_reembed
    told = [] if takes is None else [_days(takes * share)]
    if horizon.rows is not None and horizon.money_per_1000 is not None:
        told.append(f"{share * horizon.rows / 1000 * horizon.money_per_1000:,.2f} in money")
    return f" ({', '.join(told)})" if told else ""


def _money(horizon: Horizon, encodings: float) -> str:
    if horizon.money_per_1000 is None:
        return ""
    return f" ({encodings * horizon.money_per_1000:,.2g} in money for a thousand queries)"


def _days(days: float) -> str:
    if days < 2:
        return f"{24 * days:.2g} hours"
    return f"{days:,.2g} days" if days < 100 else f"{days:,.0f} days"
