"""Data: a thinned sample of measured operator times; README.md says whose, and how it was made."""
