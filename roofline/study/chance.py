"""Chance, drawn once for all that is compared: what the chips have in common is drawn in common.

Three things are left to chance: figures that carry a range, the scenario of a chip that has several, and the error of
the model on each class of operators. Draws come in independent scramblings of one low-discrepancy sequence, whose
scatter says how far a share of the draws is off.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.estimates.inference import COST, op_spread
from roofline.hardware import uncertainty
from roofline.serving.server import ServingEstimate

if TYPE_CHECKING:
    from roofline.hardware.chip import Chip

#: Share of the variance of the model's error on a class of operators that chips of one family have in common. A
#: judgement, made before any odds were looked at: half, since their kernels and parameters are of one make, and half is
#: what most changes from chip to chip. 0 and 1 are the two ends.
SHARED_ERROR = 0.5

#: The error of the model of power hangs on itself alone.
OF_POWER = {"power": 1.0}

#: Over a grid the error of the model does so too: how much hangs on which class differs from point to point.
OF_TIME = {"time": 1.0}

#: Independent scramblings: enough to tell their scatter, few enough to leave each sequence its evenness.
REPLICATES = 8

_TIME = COST.index("time_s")

#: What a serving engine does beside its operators has an error of its own.
_ENGINE = "engine"


def draw(names: Iterable[str], draws: int, seed: int) -> dict[str, np.ndarray]:
    """Numbers between 0 and 1 for each name: scrambled Sobol points, one scrambling after the other.

    Parameters
    ----------
    names : iterable of str
    draws : int
        In all, a multiple of :data:`REPLICATES`; even most where each scrambling has a power of two.
    seed : int
    """
    names = sorted(set(names))
    if not names:
        return {}
    each = draws // REPLICATES
    seeds = np.random.SeedSequence(seed).generate_state(REPLICATES)
    points = np.concatenate([uncertainty.sobol(len(names), each, int(one)) for one in seeds])
    return dict(zip(names, points.T, strict=True))


def probability(holds: np.ndarray) -> tuple[float, float]:
    """The share of the draws in which something holds, and the standard error of that share.

    The scramblings are independent of each other, each an unbiased answer: the error is that of their mean (Owen 1998).
    It is never below that of one draw more on either side (Laplace's rule), where the draws happen to agree.

    Parameters
    ----------
    holds : ndarray
        Of bool, one a draw, in the order of :func:`draw`.
    """
    share, middle = float(np.mean(holds)), 1 / (len(holds) + 2)
    each = np.asarray(holds, dtype=float).reshape(REPLICATES, -1).mean(axis=1)
    error = float(np.std(each, ddof=1)) / math.sqrt(REPLICATES)
    return share, max(error, math.sqrt(middle * (1 - middle) / len(holds)))


# The error of the model ---------------------------------------------------------------------------------------------


def error_weights(est: Any) -> dict[str, float]:
    """How much of the error of an estimate of one point hangs on each class of operators; squares sum to 1.

    The same as stand behind :attr:`roofline.estimates.inference.Phase.spread`: each class's spread by its share of the
    time, and what engines do besides.
    """
    phases = est.phases
    if isinstance(est, ServingEstimate):
        times = [1.0 - float(est.mixed_share), float(est.mixed_share)]
    else:
        times = [1.0, float(est.request.output - 1)] if len(phases) > 1 else [1.0]
    parts: dict[str, float] = {}
    whole = 0.0
    for phase, often in zip(phases, times, strict=True):
        for op, values in zip(phase.workload, phase.costs, strict=True):
            time = float(often * op.count * values[_TIME] * phase.scale)
            parts[op.kind] = parts.get(op.kind, 0.0) + float(op_spread(op, values, est.chip)) * time
            whole += time
    parts[_ENGINE] = float(est.chip.get("overheads.engine_spread", 0.0)) * whole
    size = math.sqrt(sum(part**2 for part in parts.values()))
    return {kind: part / size for kind, part in parts.items()} if size else {}


def error_names(chip: Chip, weights: Mapping[str, float]) -> list[str]:
    """The chances that the error of an estimate on a chip hangs on."""
    return [name for kind in weights for name in _error_parts(chip, kind)]


def error_scores(chip: Chip, weights: Mapping[str, float], uniform: Mapping[str, np.ndarray], shared: float) -> Any:
    """Standard normal scores of an estimate's error, one a draw.

    The error on a class of operators has two parts: what chips of one family have in common (the form of the model, the
    family's parameters, the habits of its software), a share `shared` of the variance, and what each chip has for
    itself on its software. Variants of one chip on one stack (what-ifs, scenarios) have both in common; chips of two
    families neither.
    """
    from scipy.special import ndtri

    score: object = 0.0
    for kind, weight in weights.items():
        common, own = (ndtri(np.clip(uniform[name], 1e-15, 1 - 1e-15)) for name in _error_parts(chip, kind))
        score = score + weight * (math.sqrt(shared) * common + math.sqrt(1 - shared) * own)
    return score


def _error_parts(chip: Chip, kind: str) -> tuple[str, str]:
    own = f"{chip.name.partition('[')[0]} {chip.stack}".rstrip()
    return f"error:family {chip.family}:{kind}", f"error:{own}:{kind}"
