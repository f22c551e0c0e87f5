"""The parameters of one class of operators fitted to its measured times.

A robust least squares of ln(predicted / measured), each regime of time weighing the same however many rows it has, then
polished on the mean absolute log ratio. A weak pull to where the fit starts settles what the rows do not determine;
parameters that no row feels are left alone, and so are those that describe the hardware or the algorithm (kind
``derived`` or ``datasheet``). Every fifth shape is held out; a fit that does no better on those than the parameters it
began with is not taken.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.estimates.inference import COST, evaluate_op
from roofline.evidence import measurements
from roofline.hardware import ranges
from roofline.hardware.chip import Chip
from roofline.hardware.machine import SPREADS
from roofline.hardware.number import Number
from roofline.hardware.schema import parameter_schema
from roofline.kernels import by_name
from roofline.kernels._jit import SMALL
from roofline.work.op import Op

if TYPE_CHECKING:
    import pandas as pd

_TIME = COST.index("time_s")

#: Rows of a class beyond which a stratified sample is fitted.
MOST_ROWS = 2000

#: Fewer rows than this a class are left alone: too few to tell the parameters apart.
FEWEST_ROWS = 20

#: Every fifth shape is held out of the fit to report its error.
HELD_OUT = 5

#: The pull to the starting values: an e-fold away costs this much mean squared log ratio.
PULL = 1e-4

#: Least spread: repeated measurements of one shape differ by 3-5 % at the 90th percentile.
REPEATABILITY = 0.025

#: Places that a fit starts from: the chip's own parameters, and these moved at random.
STARTS = 4

#: How far a parameter is moved (logs, logits) to see whether any row feels it.
MOVE = 0.7

#: Columns that tell no shape apart.
_NO_SHAPE = ("time_s", "time_std_s", "chip", "framework", "version", "kernel", "source", "role", "flags", "variant")


@dataclass(frozen=True)
class ClassFit:
    """The fit of one operator class and dtype.

    Attributes
    ----------
    kind, dtype : str
    rows, held_out_rows : int
        Rows fitted and rows kept apart.
    before, after, held_out : float
        Mean absolute relative error, regimes weighted equally: of all rows with the parameters the chip came with, of
        the fitted rows with the fitted ones, and with these on the rows that were not fitted (NaN without any).
    held_out_before : float
        On the same held-out rows with the parameters the chip came with.
    parameters : dict of str to float
        SI values; empty when the fit was not taken.
    spread : dict of str to float
        Standard deviation of ln(measured / predicted), over all and by regime.
    note : str
        Why the fit was not taken.
    """

    kind: str
    dtype: str
    rows: int
    held_out_rows: int
    before: float
    after: float
    held_out: float
    held_out_before: float
    parameters: dict[str, float]
    spread: dict[str, float]
    note: str = ""

    @property
    def name(self) -> str:
        """The class as descriptors write it: ``gemm.fp8``."""
        return f"{self.kind}.{self.dtype}" if self.dtype else self.kind


def fit_class(chip: Chip, kind: str, dtype: str, rows: pd.DataFrame, predicted: pd.DataFrame) -> ClassFit:
    """Fit one class.

    Parameters
    ----------
    chip : Chip
        With the parameters to begin with.
    kind, dtype : str
    rows : DataFrame
        Measurements of that class, numbers as numbers.
    predicted : DataFrame
        What the chip predicts of them (:func:`roofline.evidence.measurements.predict`).
    """
    from scipy.optimize import least_squares, minimize

    regime = np.asarray(measurements.regime(predicted["naive_s"].to_numpy(dtype=float)))
    unseen = _held_out(rows)
    sample = np.flatnonzero(~unseen)[_stratified(regime[~unseen])]
    model = _Model(chip, kind, dtype, rows.iloc[sample])
    count = np.bincount(regime[sample], minlength=len(measurements.REGIMES))
    weight = 1.0 / count[regime[sample]] / len(np.unique(regime[sample]))

    def residual(x: np.ndarray) -> np.ndarray:
        return np.append(np.sqrt(weight) * model.log_ratio(x), math.sqrt(PULL) * (x - model.start))

    def mean_absolute(x: np.ndarray) -> float:
        return float(np.sum(weight * np.abs(model.log_ratio(x))) + PULL * np.sum((x - model.start) ** 2))

    x = model.start
    if model.names:
        scale = float(np.sqrt(np.median(weight))) * 0.1
        generator = np.random.default_rng(0)
        starts = [x, *(x + generator.normal(0.0, 0.5, (STARTS - 1, len(x))))]
        for start in starts:  # parameters trade off against each other: one start ends in a corner now and then
            solved = least_squares(residual, start, loss="soft_l1", f_scale=scale, diff_step=[1e-2], max_nfev=25)
            x = solved.x if mean_absolute(solved.x) < mean_absolute(x) else x
        for size in (0.25, -0.1):
            simplex = np.vstack([x, x + size * np.eye(len(x))])
            options: Any = {
                "maxfev": 60 * len(x),
                "initial_simplex": simplex,
                "adaptive": True,
                "fatol": 1e-5,
                "xatol": 1e-3,
            }
            polished = minimize(mean_absolute, x, method="Nelder-Mead", options=options)
            x = polished.x if polished.fun < mean_absolute(x) else x
    whole = _Model(chip, kind, dtype, rows, model.names)
    measured = rows["time_s"].to_numpy(dtype=float)
    before, after = predicted["predicted_s"].to_numpy(dtype=float), whole.times(x)
    was, now = (error(p[unseen], measured[unseen], regime[unseen]) for p in (before, after))
    note = ""
    if not model.names:
        note = "no parameter of it may be fitted"
    elif unseen.any() and not now < was:
        note = "no better on the rows held out than the parameters it began with: these stay"
    final = before if note else after
    return ClassFit(
        kind,
        dtype,
        int((~unseen).sum()),
        int(unseen.sum()),
        error(before, measured, regime),
        error(final[~unseen], measured[~unseen], regime[~unseen]),
        error(final[unseen], measured[unseen], regime[unseen]),
        was,
        {} if note else model.values(x),
        spreads(np.log(measured / final), regime),
        note,
    )


def error(predicted: np.ndarray, measured: np.ndarray, regime: np.ndarray) -> float:
    """Mean absolute relative error, the regimes that have rows weighing the same; NaN without rows."""
    relative = np.abs(predicted / measured - 1)
    return float(np.mean([relative[regime == r].mean() for r in np.unique(regime)])) if len(regime) else math.nan


def _held_out(rows: pd.DataFrame) -> np.ndarray:
    """Every fifth distinct shape: all rows of a shape fall on the same side. None of a table of few shapes."""
    import pandas as pd

    shape = rows[[c for c in rows.columns if c not in _NO_SHAPE]].astype(object)
    codes = pd.util.hash_pandas_object(shape.where(shape.notna(), "").astype(str), index=False).to_numpy()
    distinct, place = np.unique(codes, return_inverse=True)
    if len(distinct) < 3 * HELD_OUT:
        return np.zeros(len(rows), dtype=bool)
    return np.asarray(place % HELD_OUT == 0)


def _stratified(regime: np.ndarray, seed: int = 0) -> np.ndarray:
    """Places of at most MOST_ROWS rows, each regime with as equal a share as it has rows for."""
    generator = np.random.default_rng(seed)
    share = MOST_ROWS // max(1, len(np.unique(regime)))
    chosen = []
    for r in np.unique(regime):
        rows = np.flatnonzero(regime == r)
        chosen.append(rows if len(rows) <= share else generator.choice(rows, share, replace=False))
    return np.sort(np.concatenate(chosen))


def spreads(ratio: np.ndarray, regime: np.ndarray, weight: np.ndarray | None = None) -> dict[str, float]:
    """Spread of log ratios as the standard deviation whose normal 90 % interval holds 90 % of them.

    Over all regimes (weighted equally), and for each regime of at least :data:`FEWEST_ROWS` rows.

    Parameters
    ----------
    ratio : ndarray
        ln(measured / predicted).
    regime : ndarray of int
    weight : ndarray, optional
        Of the rows within a regime; default: the same.
    """
    weight = np.ones(len(ratio)) if weight is None else weight
    share = np.zeros(len(ratio))
    found = {}
    for r in np.unique(regime):
        mine = regime == r
        share[mine] = weight[mine] / weight[mine].sum()
        if mine.sum() >= FEWEST_ROWS:
            found[SPREADS[r]] = _spread(ratio[mine], weight[mine])
    return {"spread": _spread(ratio, share), **found}


def _spread(ratio: np.ndarray, weight: np.ndarray) -> float:
    size = np.abs(ratio)
    order = np.argsort(size)
    reached = np.cumsum(weight[order]) / weight.sum()
    return max(REPEATABILITY, float(size[order][np.searchsorted(reached, 0.9 - 1e-12)]) / 1.6449)


class _Model:
    """Predicted times of the rows of one class as a function of its free parameters, on a scale of logs."""

    def __init__(self, chip: Chip, kind: str, dtype: str, rows: pd.DataFrame, names: list[str] | None = None) -> None:
        self.chip, self.place = chip, f"efficiency.{kind}.{dtype}" if dtype else f"efficiency.{kind}"
        self.groups: list[tuple[Any, Op]] = [
            (rows.index.get_indexer(index), op) for index, op in measurements.groups(rows)
        ]
        self.measured = rows["time_s"].to_numpy(dtype=float)
        first = self.groups[0][1]
        if len(rows) > 50:  # thousands of evaluations to come: as many points as have the kernel compiled
            many = {k: np.resize(v, SMALL) for k, v in first.args.items() if isinstance(v, np.ndarray)}
            evaluate_op(first.with_args(**many), chip)
        own = tuple(f"efficiency.{name}." for name in (kind, first.kernel))
        others = {p for p in chip.numbers if p.startswith(("efficiency.", "stack.")) and not p.startswith(own)}
        self.asked = {p: n for p, n in chip.numbers.items() if p not in others}
        candidates = free_parameters(chip, first) if names is None else names
        value = {n: chip.parameter(n, (kind, first.kernel), dtype) for n in candidates}
        self._set([n for n in candidates if value[n] is not None], value)
        if names is None:  # leave out what no row feels: most kernels have parameters of one phase or dtype only
            start, base = self.start, self.times(self.start)
            # In both directions: a resource that hides behind another one may be too fast as it stands, not too slow.
            felt = [
                any(np.abs(np.log(self.times(start + move) / base)).max() > 1e-4 for move in (move_by, -move_by))
                for move_by in MOVE * np.eye(len(start))
            ]
            self._set([n for n, f in zip(self.names, felt, strict=True) if f], value)

    def _set(self, names: list[str], value: dict[str, Number | None]) -> None:
        self.names = names
        self.first = np.array([float(n.value) for name in names if (n := value[name]) is not None])
        self.fraction = np.array([parameter_schema(n).dimension == "fraction" for n in names], dtype=bool)

    @property
    def start(self) -> np.ndarray:
        """Fractions as logits, the others as logs of their ratio to the value they start from."""
        clipped = np.clip(self.first, 0.02, 0.98)
        return np.where(self.fraction, np.log(clipped / (1 - clipped)), 0.0)

    def values(self, x: np.ndarray) -> dict[str, float]:
        """The parameters in SI units."""
        base = np.where(self.first > 0, self.first, 1e-7)  # a time of nothing starts from a tenth of a microsecond
        plain = np.where(self.fraction, 1 / (1 + np.exp(-np.clip(x, -6, 12))), base * np.exp(np.clip(x, -6, 6)))
        allowed = [ranges.of(n, parameter_schema(n).dimension) for n in self.names]
        clipped = np.clip(plain, [r.least for r in allowed], [r.most for r in allowed])
        return dict(zip(self.names, map(float, clipped), strict=True))

    def times(self, x: np.ndarray) -> np.ndarray:
        """Predicted times of the rows (s)."""
        numbers = dict(self.asked)  # a chip is made thousands of times: without what this class asks nothing of
        for name, value in self.values(x).items():
            numbers[f"{self.place}.{name}"] = Number(value, parameter_schema(name).dimension, "measured", "fit")
        chip = dataclasses.replace(self.chip, numbers=numbers)
        out = np.empty(len(self.measured))
        for places, op in self.groups:
            out[places] = evaluate_op(op, chip)[_TIME]
        return out

    def log_ratio(self, x: np.ndarray) -> np.ndarray:
        """ln(predicted / measured) of the rows."""
        ratio: np.ndarray = np.log(self.times(x) / self.measured)
        return ratio


def free_parameters(chip: Chip, op: Op) -> list[str]:
    """The efficiency parameters of an operator's kernel that a fit may move."""
    free = []
    for name in inspect.signature(by_name()[op.kernel]).parameters:
        if name in op.args or name in chip.machine or name == "matrix_flops":
            continue
        number = chip.parameter(name, (op.kind, op.kernel), op.dtype)
        if number is not None and number.kind in ("estimated", "measured"):
            free.append(name)
    return free
