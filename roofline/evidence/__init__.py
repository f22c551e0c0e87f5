"""Measured times, the rows that ship, and the parameters fitted to them."""
