"""Many estimates at once: grids, sensitivities, frontiers, inverse questions.

All of it is one mechanism: an argument, or a figure of the chip, that is an array.
"""
