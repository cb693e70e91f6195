"""Maps from few pairs, or from none."""
