"""Chips and models by name or path: where the files lie, and loading them."""
