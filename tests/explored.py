"""What the tests of the page share: a small question, names that are scripts, a chip to drop, lines of few points."""

from __future__ import annotations

import pytest

SMALL = "model=llama-3.1-8b&chip=h100-sxm&batch=8"
SCRIPT = "<script>alert(1)</script>"

#: A chip of one's own; in its place goes the source of its bandwidth.
CHIP = """
schema = 1
name = "mine"
extends = "h100-sxm"
year = 2027
[memory.hbm]
bandwidth = {{ value = "4 TB/s", source = "{}", kind = "estimated" }}
"""


def fewer_points(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines as they are, of fewer points: before kernels are compiled each takes its time."""
    monkeypatch.setattr("roofline.explorer.lines.POINTS", 21)
    monkeypatch.setattr("roofline.explorer.lines.KNOTS", 3)
