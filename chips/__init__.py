"""Chip descriptors: one TOML file per chip, each figure with its source. To add one, see "Add a chip" in the README."""
