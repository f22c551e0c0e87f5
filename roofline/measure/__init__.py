"""From a real machine to a descriptor of it, and back: how well the model predicts that machine.

``suites`` says what is measured, ``timing`` how, ``cpu`` and ``gpu`` on what; ``levels`` and ``describe`` turn the
ceilings into a descriptor; ``session`` runs the whole loop and keeps its rows on disk; ``conclude`` makes of them what
a run ends with.
"""

from __future__ import annotations

from roofline.measure.conclude import Result
from roofline.measure.session import Session, backend, measure

__all__ = ["Result", "Session", "backend", "measure"]
