"""Which maps `isthmus fit` tries, between what."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from isthmus.cli.completions import one_of
from isthmus.cli.inputs import MetricOption
from isthmus.errors import InputError

if TYPE_CHECKING:
    from isthmus.adapters.steps.base import Pools
    from isthmus.progress import Progress

__all__ = ["MapOptions"]

_MAP = "Map"
_REFIT = "prior_ridge(alpha=auto)"


@dataclass(frozen=True)
class MapOptions:
    """Which maps are tried, between what."""

    kind: Annotated[
        str,
        typer.Option(
            help="query: new model's queries search the old index, which stays as it is. "
            "corpus: the stored old vectors are mapped for native queries of the new model.",
            rich_help_panel=_MAP,
            autocompletion=one_of("query", "corpus"),
        ),
    ] = "query"
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            help="Steps joined by |, as in 'unit_norm | procrustes | unit_norm'. Repeatable, "
            "simplest first: the best by held-out ranks is taken. Without it: rotations, ridge "
            "maps, for queries canonical correlations, and the best of these trained by contrast.",
            rich_help_panel=_MAP,
        ),
    ] = None
    prior: Annotated[
        Path | None,
        typer.Option(
            help="A bridge that runs already between the two models: a refit on few new pairs "
            "stays near it (recipes with prior_ridge).",
            rich_help_panel=_MAP,
        ),
    ] = None
    query_weight: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How much a query counts in the fit where an item counts 1.",
            rich_help_panel=_MAP,
        ),
    ] = None
    pool_old: Annotated[
        str | None,
        typer.Option(
            metavar="OLD",
            help="All old vectors, or many, without partners: a file, or the URL of a store (the "
            "default where OLD is one). With --pool-new, few pairs are helped by rows that the map "
            "matches by itself, where held-out queries say that it helps.",
            rich_help_panel=_MAP,
        ),
    ] = None
    pool_new: Annotated[
        str | None,
        typer.Option(
            metavar="NEW",
            help="Some new vectors without partners, of documents or queries.",
            rich_help_panel=_MAP,
        ),
    ] = None
    metric: MetricOption = "cosine"
    old_name: Annotated[
        str | None,
        typer.Option(
            help="The model of OLD, as NAME or NAME@REVISION, for the contract; of a store it is "
            "known from --old.",
            rich_help_panel=_MAP,
        ),
    ] = None
    new_name: Annotated[
        str | None, typer.Option(help="The model of NEW, likewise.", rich_help_panel=_MAP)
    ] = None
    seed: Annotated[
        int, typer.Option(help="Of the split and the samples.", rich_help_panel=_MAP)
    ] = 0
    moments: Annotated[
        Path | None,
        typer.Option(
            help="A folder that isthmus moments wrote, in place of OLD and NEW.",
            rich_help_panel="Data",
        ),
    ] = None

    def sides(self, old: str | None, new: str | None) -> tuple[str, str | None]:
        """OLD and NEW, as given or as the moments name them."""
        if self.moments is None:
            if old is None:
                raise InputError("the data are missing", where="OLD", mend="Give OLD and NEW")
            return old, new
        if old is not None:
            raise InputError(
                "moments name the data that they are of",
                where="--moments",
                mend="Leave OLD and NEW out",
            )
        from isthmus.bridge.parted.moments import read_settings

        known = read_settings(self.moments)
        sides = known["source"], known["target"]
        return sides if self.kind == "corpus" else sides[::-1]

    def fitting(self, index: str, progress: Progress) -> dict[str, Any]:
        """Keyword arguments of `fit`; ``index`` holds the old vectors."""
        from isthmus.bridge import Bridge, Fitting

        running = None if self.prior is None else Bridge.load(self.prior)
        recipe = self.recipe
        if running is not None and not recipe:
            recipe = [_REFIT if self.metric != "cosine" else f"unit_norm | {_REFIT} | unit_norm"]
        return {
            "kind": self.kind,
            "recipe": recipe or "auto",
            "fitting": Fitting(
                seed=self.seed,
                weighting=self.query_weight,
                prior=running,
                pools=self._pools(index, progress),
            ),
        }

    def _pools(self, index: str, progress: Progress) -> Pools | None:
        """The unpaired vectors, in the direction of the bridge; those of ``index`` if a store."""
        from isthmus.bridge import read_pools
        from isthmus.spaces.metric import checked_metric
        from isthmus.stores import is_store_url

        old, new = self.pool_old, self.pool_new
        if new is not None and old is None and is_store_url(index):
            old = index
        if old is None or new is None:
            if old is new:
                return None
            raise InputError(
                "pools are matched to each other, and only one was given",
                mend="Give --pool-old and --pool-new",
            )
        source, target = (new, old) if self.kind == "query" else (old, new)
        return read_pools(source, target, metric=checked_metric(self.metric), progress=progress)
