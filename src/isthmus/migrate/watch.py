"""After the cut-over: the same queries asked again and again, and an alarm with a stated error."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

from isthmus.evaluate.bootstrap import Estimate
from isthmus.migrate.migration import Migration
from isthmus.migrate.quality import answered
from isthmus.migrate.serving import LiveSearch

__all__ = ["Watched", "watch"]


@dataclass(frozen=True)
class Watched:
    """One look.

    Attributes:
        number: from 1.
        value: what the live index reaches now.
        loss: against what the old model reached before the migration, with its interval.
        alarm: whether the loss is shown at the error that this look may make.
        level: of the interval.

    Example:
        >>> from isthmus.evaluate import Estimate
        >>> from isthmus.migrate import Watched
        >>> loss = Estimate(value=0.01, low=-0.02, high=0.04)
        >>> print(Watched(3, value=0.61, loss=loss, alarm=False, level=0.99))
        look 3: 0.610, loss 0.010 [-0.020, 0.040]; no loss is shown
    """

    number: int
    value: float
    loss: Estimate
    alarm: bool
    level: float

    def __str__(self) -> str:
        said = "ALARM: below the old model" if self.alarm else "no loss is shown"
        return f"look {self.number}: {self.value:.3f}, loss {self.loss}; {said}"


def watch(
    migration: Migration,
    search: LiveSearch,
    *,
    looks: int | None,
    pause: Callable[[], None],
    false_alarm: float = 0.01,
    seen: Callable[[Watched], None] = lambda _: None,
) -> Watched | None:
    """Ask the plan's queries until a loss is shown; returns the look that showed it, or None.

    The chance of an alarm where there is no loss is at most ``false_alarm`` over all looks
    together, however many: look t may err with the probability ``6 / (π t)² · false_alarm``, and
    these sum to it.  The interval of a look is that of a normal mean over the queries.

    Args:
        migration: that was cut over.
        search: answers queries as the application's does.
        looks: how often; None without end.
        pause: called between two looks.
        false_alarm: probability.
        seen: told about each look.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.encoders import open_encoder
        >>> from isthmus.migrate import LiveSearch, Migration, Models, Plan, watch
        >>> from isthmus.migrate.plan import AskedQueries
        >>> from isthmus.stores import open_store
        >>> new = open_encoder("static:new.safetensors")
        >>> words, clicked = ("bar", "kond", "milt"), ((1,), (2,), (3,))
        >>> asked = AskedQueries(texts=words, clicked=clicked, before=(0.0, 0.0, 0.0))
        >>> plan = Plan.load(Path("plan.json")).model_copy(update={"queries": asked})
        >>> with open_store("lancedb://db#docs.old") as store:
        ...     migration = Migration(plan, Path("plan.json"), store, Models(new))
        ...     search = LiveSearch(plan, store, new=new)
        ...     print(watch(migration, search, looks=2, pause=lambda: None))
        None
    """
    asked = migration.plan.queries
    before = np.array(asked.before)
    number = 0
    while looks is None or number < looks:
        if number:
            pause()
        number += 1
        now = answered(search, asked)  # pyright: ignore[reportArgumentType]
        error = false_alarm * 6 / (math.pi * number) ** 2
        apart = before - now
        mean, spread = float(apart.mean()), float(apart.std(ddof=1)) / math.sqrt(len(apart))
        away = float(-ndtri(error)) * spread
        loss = Estimate(value=mean, low=mean - away, high=mean + away)
        alarm = mean - away > 0
        look = Watched(number, float(now.mean()), loss, alarm, 1 - 2 * error)
        seen(look)
        if alarm:
            return look
    return None
