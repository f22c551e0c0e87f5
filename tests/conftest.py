"""Hypothesis repeats the same examples in every run; ``pytest --hypothesis-profile=explore`` looks further."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

# So that `from tests.strategies import ...` works however pytest is started; last, so that an installed roofline wins.
sys.path.append(str(Path(__file__).parents[1]))

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("repeatable")
