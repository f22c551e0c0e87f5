"""What everything stands on: units, numbers that may be arrays, errors, bounded reading of TOML."""
