"""Two networks joined at a cut by a map that is fitted in closed form."""

from isthmus.nn.stitching.grid import CutResult, StitchGrid, stitch_grid
from isthmus.nn.stitching.options import StitchOptions
from isthmus.nn.stitching.stitched import Stitched, stitch
from isthmus.nn.stitching.storage import load_stitched, save_stitched

__all__ = [
    "CutResult",
    "StitchGrid",
    "StitchOptions",
    "Stitched",
    "load_stitched",
    "save_stitched",
    "stitch",
    "stitch_grid",
]
