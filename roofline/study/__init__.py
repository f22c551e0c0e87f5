"""Many estimates at once: grids, sensitivities, frontiers, inverse questions."""
