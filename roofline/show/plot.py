"""Every picture: rooflines, bars, grids. This room alone knows matplotlib; it draws results, it computes none."""

from roofline.show.bars import plot_breakdown, plot_indices, plot_sensitivity
from roofline.show.canvas import save
from roofline.show.choice import plot_grid
from roofline.show.grids import plot_frontier, plot_pareto, plot_validation
from roofline.show.heatmaps import plot_heatmap
from roofline.show.lines import plot_band, plot_line
from roofline.show.odds import plot_comparison, plot_odds
from roofline.show.rooflines import plot_roofline
from roofline.show.served import plot_cdf, plot_percentiles, plot_timeline, plot_tradeoff

__all__ = [
    "plot_band",
    "plot_breakdown",
    "plot_cdf",
    "plot_comparison",
    "plot_frontier",
    "plot_grid",
    "plot_heatmap",
    "plot_indices",
    "plot_line",
    "plot_odds",
    "plot_pareto",
    "plot_percentiles",
    "plot_roofline",
    "plot_sensitivity",
    "plot_timeline",
    "plot_tradeoff",
    "plot_validation",
    "save",
]
