"""Moving a live index to a new model: planned, filled, served meanwhile, cut over, rolled back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isthmus.lazy import lazy_names

if TYPE_CHECKING:
    from isthmus.migrate.backfill import Limits
    from isthmus.migrate.dual_write import DualWriter
    from isthmus.migrate.journal import Journal, State
    from isthmus.migrate.migration import Migration
    from isthmus.migrate.models import Models
    from isthmus.migrate.plan import Plan
    from isthmus.migrate.planning import Planned, PlannedModels, PlanOptions, make_plan
    from isthmus.migrate.restore import Restored
    from isthmus.migrate.serving import LiveSearch
    from isthmus.migrate.status import Status
    from isthmus.migrate.watch import Watched, watch

_HOMES = {
    "isthmus.migrate.backfill": ("Limits",),
    "isthmus.migrate.dual_write": ("DualWriter",),
    "isthmus.migrate.journal": ("Journal", "State"),
    "isthmus.migrate.migration": ("Migration",),
    "isthmus.migrate.models": ("Models",),
    "isthmus.migrate.plan": ("Plan",),
    "isthmus.migrate.planning": ("PlanOptions", "Planned", "PlannedModels", "make_plan"),
    "isthmus.migrate.restore": ("Restored",),
    "isthmus.migrate.serving": ("LiveSearch",),
    "isthmus.migrate.status": ("Status",),
    "isthmus.migrate.watch": ("Watched", "watch"),
}

__all__ = [
    "DualWriter",
    "Journal",
    "Limits",
    "LiveSearch",
    "Migration",
    "Models",
    "Plan",
    "PlanOptions",
    "Planned",
    "PlannedModels",
    "Restored",
    "State",
    "Status",
    "Watched",
    "make_plan",
    "watch",
]

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
