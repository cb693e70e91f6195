"""Two frozen models whose vectors meet in one space: both maps in closed form, then refined.

Nothing here needs more than NumPy and SciPy to run.
"""
