"""What a result shows of itself in a notebook: a table as HTML, and its plots.

The pages' room draws both; it is looked up by name when first asked, since it stands above the
results.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["ShownInNotebook"]


class ShownInNotebook:
    """A result that IPython shows as it prints or as a table, and that plots itself."""

    def _repr_html_(self) -> str:
        return _room().html_of(self)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """What IPython shows in a terminal: the text that `print` shows, not every field."""
        printer.text(type(self).__name__ if cycle else str(self))

    def plot(self, name: str | None = None) -> Any:
        """One of its plots, as a figure of plotly, which a notebook shows.

        Args:
            name: which; the first one unless given.  Those there are stand in the error for
                another name.

        Raises:
            InputError: if there is no such plot.
            MissingExtraError: without plotly (extra ``report``).
        """
        return _room().plot_of(self, name)


def _room() -> Any:
    return import_module("isthmus.report.notebook")
