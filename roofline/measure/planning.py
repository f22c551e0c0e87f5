"""Which cases a run measures in the time that it has: what can be run here, what each takes, and in how many rounds."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadWorkload
from roofline.estimates.inference import COST, evaluate_op
from roofline.evidence import columns, measurements
from roofline.measure import collectives, suites
from roofline.measure.backend import Backend
from roofline.measure.record import key
from roofline.measure.suites import Case
from roofline.work import op as operators

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip

#: By size: time for all but what follows the last operator, for the samples of one case in one round, and the longest
#: call worth measuring (s).
LIMIT_S = {"tiny": 60.0, "quick": 85.0, "full": 510.0}
CASE_S = {"tiny": 0.004, "quick": 0.08, "full": 0.15}
LONGEST_S = {"tiny": 0.05, "quick": 0.08, "full": 0.4}

#: Times that every case is measured, some minutes apart: what else a shared machine does comes and goes in minutes, and
#: would otherwise fall on one class of operators and not on the next. Fewer where the time does not reach.
ROUNDS = {"tiny": 1, "quick": 2, "full": 4}

#: Why a row was not believed that may be once the ceilings are measured again.
TOO_FAST = f"faster than the machine's own ceilings by more than {measurements.MARGIN:.0%}"

_LOWER, _TIME = COST.index("lower_s"), COST.index("time_s")


def operator(case: Case | dict[str, str]) -> operators.Op:
    """The operator of a case, or of a row as text."""
    found: operators.Op = getattr(operators, str(case["op"]))(**columns.arguments(case))
    return found


def too_fast(case: Case | dict[str, str], time_s: float, chip: Chip) -> bool:
    """Whether a time beats what the machine's ceilings allow, by more than the margin of a measurement."""
    return time_s < float(evaluate_op(operator(case), chip)[_LOWER]) * (1 - measurements.MARGIN)


@dataclass
class Work:
    """A case still to measure: what it takes a round (s), and how many rounds it is still to have."""

    case: Case
    seconds: float
    rounds: int


@dataclass
class Plan:
    """What a run is to do.

    Attributes
    ----------
    work, links : list of Work
        Operators, in the order of their suites; collectives between devices.
    unseen : set
        Keys of the shapes that nothing will be fitted to.
    left_out : dict of str to int
        Why cases are not measured -> how many.
    """

    work: list[Work] = field(default_factory=list)
    links: list[Work] = field(default_factory=list)
    unseen: set[Any] = field(default_factory=set)
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, why: str, count: int = 1) -> None:
        """Note that cases are not measured."""
        self.left_out[why] = self.left_out.get(why, 0) + count


def plan(
    backend: Backend,
    chip: Chip,
    size: str,
    names: tuple[str, ...],
    rows: Iterable[dict[str, str]],
    refused: Iterable[dict[str, str]],
    deadline: float,
) -> Plan:
    """The cases still to measure, cut to the time there is.

    Parameters
    ----------
    backend : Backend
    chip : Chip
        The machine as far as it is measured.
    size : str
    names : tuple of str
        Of suites.
    rows, refused : iterable of dict
        What is on file.
    deadline : float
        On the monotonic clock.
    """
    cache = backend.system.cache_bytes or float(chip.machine["cache_capacity"])
    flush_s = 1.5 * cache / float(chip.machine["memory_bandwidth"])
    done = _done(rows, refused, ROUNDS[size])
    grid = suites.cases(backend.kind, size, names, cache)
    drawn = suites.held_out(backend.kind, size, names, cache)
    found = Plan(unseen={key(case) for case in drawn})
    for case in [*grid, *drawn]:
        if case["op"] in collectives.KINDS:
            if backend.devices < 2:
                found.leave_out("one device: no collectives")
                continue
            case["devices"] = backend.devices
            if key(case) not in done:
                found.links.append(Work(case, 0.2, 1))  # nothing is known yet of the links
            continue
        rounds = ROUNDS[size] - done.get(key(case), 0)
        if rounds < 1:
            continue
        try:
            call = float(evaluate_op(operator(case), chip)[_TIME])
        except BadWorkload:
            found.leave_out(f"no {case.get('dtype')} rate on this machine")
            continue
        if call > LONGEST_S[size]:
            found.leave_out(f"a call over {LONGEST_S[size]:g} s")
            continue
        flushed = flush_s if case["op"] in ("embedding_bag", "token_embedding") else 0.0
        found.work.append(Work(case, max(CASE_S[size], 7 * (call + flushed)) + 0.02, rounds))
    _cut(found, deadline - time.monotonic())
    return found


def _done(rows: Iterable[dict[str, str]], refused: Iterable[dict[str, str]], all_rounds: int) -> dict[Any, int]:
    """Shape -> rounds that it has had; all of them where its output was wrong."""
    done: dict[Any, int] = {}
    again: list[dict[str, str]] = []
    for row in refused:
        if row["reason"] == TOO_FAST:
            again.append(row)
        else:
            done[key(row)] = all_rounds
    for row in [*rows, *again]:
        done[key(row)] = done.get(key(row), 0) + int(row["rounds"])
    return done


def _cut(found: Plan, left_s: float) -> None:
    """Leave out what one round has no time for, at random: the same share of the unseen shapes and of the others."""
    once = sum(work.seconds for work in [*found.work, *found.links])
    if once <= left_s:
        return
    share = max(left_s, 1.0) / once
    every = [*found.work, *found.links]
    unseen = [work for work in every if key(work.case) in found.unseen]
    others = [work for work in every if key(work.case) not in found.unseen]
    kept = {
        id(work)
        for part in (unseen, others)
        if part
        for work in random.Random(0).sample(part, max(1, int(share * len(part))))  # noqa: S311  no secret
    }
    found.leave_out("no time left in this run", len(every) - len(kept))
    found.work = [work for work in found.work if id(work) in kept]
    found.links = [work for work in found.links if id(work) in kept]
