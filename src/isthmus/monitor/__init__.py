"""Watch live vectors and results against a bridge's evidence; looking often costs nothing."""

from isthmus.monitor.sequential import MeanTest, Side

__all__ = ["MeanTest", "Side"]
