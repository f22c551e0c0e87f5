"""From a real machine to a descriptor of it, and back: how well the model predicts that machine.

``suites`` says what is measured, ``timing`` how, ``cpu`` and ``gpu`` on what; ``levels`` and ``describe`` turn the
ceilings into a descriptor; ``session`` goes through the cases and keeps their rows on disk; ``conclude`` makes of them
what a run ends with; ``run`` is the whole loop in one call.
"""

from __future__ import annotations

from roofline.measure.conclude import Result
from roofline.measure.run import measure
from roofline.measure.session import Session, backend

__all__ = ["Result", "Session", "backend", "measure"]
