"""Every picture: rooflines, bars, grids. This room alone knows matplotlib; it draws results, it computes none."""

from roofline.show.bars import plot_breakdown, plot_sensitivity
from roofline.show.canvas import save
from roofline.show.grids import plot_frontier, plot_validation
from roofline.show.rooflines import plot_roofline

__all__ = ["plot_breakdown", "plot_frontier", "plot_roofline", "plot_sensitivity", "plot_validation", "save"]
