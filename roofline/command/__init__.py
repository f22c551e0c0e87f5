"""The command ``roofline``."""
