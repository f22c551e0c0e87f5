"""Measured operator times -> the efficiency parameters of a chip.

For each operator class and dtype, the few named parameters of its kernel are fitted: a robust least squares of
ln(predicted / measured), each regime of time weighing the same however many rows it has, then polished on the mean
absolute log ratio. Parameters that describe the hardware (kind ``derived`` or ``datasheet``) stay as they are.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline import measurements
from roofline.chip import Chip
from roofline.descriptor import Number, parameter_schema
from roofline.errors import BadData
from roofline.inference import COST, evaluate_op
from roofline.kernels import by_name
from roofline.op import Op
from roofline.units import DIMENSIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

_TIME = COST.index("time_s")

#: Rows of a class beyond which a stratified sample is fitted.
MOST_ROWS = 3000

#: Fewer rows than this a class are left alone: too few to tell the parameters apart.
FEWEST_ROWS = 20

#: Every fifth shape is held out of the fit to report its error.
HELD_OUT = 5


@dataclass(frozen=True)
class ClassFit:
    """The fit of one operator class and dtype.

    Attributes
    ----------
    kind, dtype : str
    rows, held_out_rows : int
        Rows used and rows kept apart.
    before, after, held_out : float
        Mean absolute relative error, regimes weighted equally: with the parameters the chip came with, with the
        fitted ones, and with these on the rows that were not fitted.
    parameters : dict of str to float
        SI values.
    spread : dict of str to float
        Standard deviation of ln(measured / predicted) by regime, from the 5 % and 95 % quantiles.
    """

    kind: str
    dtype: str
    rows: int
    held_out_rows: int
    before: float
    after: float
    held_out: float
    parameters: dict[str, float]
    spread: dict[str, float]


@dataclass(frozen=True)
class Calibration:
    """A calibrated chip, and how it came to be.

    Attributes
    ----------
    chip : Chip
        With the fitted parameters, kind ``measured``.
    fits : list of ClassFit
    bad : Series
        Row -> why it was not used.
    skipped : dict
        (kind, dtype) -> why the class was not fitted.
    """

    base: Chip
    chip: Chip
    fits: list[ClassFit]
    bad: Any
    skipped: dict[tuple[str, str], str] = field(default_factory=dict)
    source: str = ""

    @property
    def frame(self) -> pd.DataFrame:
        """The fits, one row a class."""
        import pandas as pd

        columns = ["kind", "dtype", "rows", "held_out_rows", "before", "after", "held_out"]
        return pd.DataFrame([{c: getattr(f, c) for c in columns} for f in self.fits], columns=columns)


def calibrate(
    chip: Chip, table: pd.DataFrame, source: str = "measurements", progress: Callable[[str], None] | None = None
) -> Calibration:
    """Fit the efficiency parameters of a chip to measured operator times.

    Parameters
    ----------
    chip : Chip
    table : DataFrame
        In the columns of :mod:`roofline.measurements`.
    source : str, optional
        What the rows are, for the descriptor.
    progress : callable, optional
        Called with a line for each class.

    Returns
    -------
    Calibration

    Raises
    ------
    BadData
        When no row can be used.
    """
    table = measurements.checked(table)
    bad = measurements.faults(table, chip)
    good = table.drop(index=bad.index)
    if good.empty:
        reasons = ", ".join(f"{n} x {r}" for r, n in bad.value_counts().items())
        raise BadData(f"no row of {source} can be used: {reasons}")
    numbers = dict(chip.numbers)
    fits, skipped = [], {}
    predicted = measurements.predict(good, chip)
    for (kind, dtype), part in predicted.groupby(["kind", "dtype"], sort=True):
        if len(part) < FEWEST_ROWS:
            skipped[kind, dtype] = f"{len(part)} rows; at least {FEWEST_ROWS} tell its parameters apart"
            continue
        if progress:
            progress(f"{kind} {dtype}: {len(part):,} rows")
        fit = _fit_class(chip, kind, dtype, good.loc[part.index], part)
        fits.append(fit)
        today = datetime.date.today().isoformat()
        note = f"fitted to {fit.rows:,} rows on {today}; held-out error {fit.held_out:.1%}"
        for name, value in fit.parameters.items() | fit.spread.items():
            path = f"efficiency.{kind}.{dtype}.{name}" if dtype else f"efficiency.{kind}.{name}"
            numbers[path] = Number(value, parameter_schema(name).dimension, "measured", source, note)
    record = dict(chip.calibration)
    for fit in fits:
        key = f"{fit.kind}_{fit.dtype}" if fit.dtype else fit.kind
        record[key] = {"data": source, "rows": fit.rows, "error": round(fit.held_out, 4),
                       "date": datetime.date.today().isoformat()}  # fmt: skip
    fitted = dataclasses.replace(chip, numbers=numbers, calibration=record, bound_cache={})
    return Calibration(chip, fitted, fits, bad, skipped, source)


def error(predicted: np.ndarray, measured: np.ndarray, regime: np.ndarray) -> float:
    """Mean absolute relative error, the regimes that have rows weighing the same."""
    relative = np.abs(predicted / measured - 1)
    return float(np.mean([relative[regime == r].mean() for r in np.unique(regime)]))


def _fit_class(chip: Chip, kind: str, dtype: str, rows: pd.DataFrame, predicted: pd.DataFrame) -> ClassFit:
    from scipy.optimize import least_squares, minimize

    regime = measurements.regime(predicted["naive_s"].to_numpy())
    held = _held_out(rows)
    sample = _stratified(rows.index[~held], regime[~held])
    model = _Model(chip, kind, dtype, rows.loc[sample])
    fit_regime = measurements.regime(predicted.loc[sample, "naive_s"].to_numpy())
    count = np.bincount(fit_regime, minlength=len(measurements.REGIMES))
    weight = 1.0 / count[fit_regime] / len(np.unique(fit_regime))

    def residual(x: np.ndarray) -> np.ndarray:
        return np.sqrt(weight) * model.log_ratio(x)

    def mean_absolute(x: np.ndarray) -> float:
        return float(np.sum(weight * np.abs(model.log_ratio(x))))

    start = model.start
    scale = float(np.sqrt(np.median(weight))) * 0.1
    solved = least_squares(residual, start, loss="soft_l1", f_scale=scale, diff_step=1e-2, max_nfev=60)
    x = solved.x if mean_absolute(solved.x) < mean_absolute(start) else start
    polished = minimize(mean_absolute, x, method="Nelder-Mead",
                        options={"maxfev": 120 * len(x), "initial_simplex": _simplex(x), "adaptive": True})  # fmt: skip
    x = polished.x if polished.fun < mean_absolute(x) else x
    whole = _Model(chip, kind, dtype, rows)
    measured = rows["time_s"].to_numpy(dtype=float)
    after = whole.times(x)
    ratio = np.log(measured / after)
    has_held = bool(held.any())
    return ClassFit(
        kind=kind,
        dtype=dtype,
        rows=int((~held).sum()),
        held_out_rows=int(held.sum()),
        before=error(predicted["predicted_s"].to_numpy(), measured, regime),
        after=error(after[~held], measured[~held], regime[~held]),
        held_out=error(after[held], measured[held], regime[held]) if has_held else math.nan,
        parameters=model.values(x),
        spread=_spreads(ratio, regime),
    )


def _simplex(x: np.ndarray) -> np.ndarray:
    return np.vstack([x, x + 0.25 * np.eye(len(x))])


def _held_out(rows: pd.DataFrame) -> np.ndarray:
    """Every fifth distinct shape: all rows of a shape fall on the same side."""
    import pandas as pd

    skip = {"time_s", "time_std_s", "framework", "version", "kernel", "source", "role", "chip"}
    shape = rows[[c for c in rows.columns if c not in skip]].astype(str).agg("|".join, axis=1)
    return (pd.util.hash_pandas_object(shape, index=False).to_numpy() % HELD_OUT) == 0


def _stratified(index: Any, regime: np.ndarray, seed: int = 0) -> Any:
    """At most MOST_ROWS rows, each regime with as equal a share as it has rows for."""
    generator = np.random.default_rng(seed)
    share = MOST_ROWS // max(1, len(np.unique(regime)))
    chosen = []
    for r in np.unique(regime):
        rows = np.flatnonzero(regime == r)
        chosen.append(rows if len(rows) <= share else generator.choice(rows, share, replace=False))
    return index[np.sort(np.concatenate(chosen))]


def _spreads(ratio: np.ndarray, regime: np.ndarray) -> dict[str, float]:
    """Spread of the residual as a normal standard deviation that holds 90 % of it, over all and by regime."""

    def spread(values: np.ndarray) -> float:
        return max(0.005, float(np.quantile(np.abs(values), 0.9)) / 1.6449)

    found = {"spread": spread(ratio)}
    for r, name in enumerate(SPREAD_NAMES):
        if np.sum(regime == r) >= FEWEST_ROWS:
            found[name] = spread(ratio[regime == r])
    return found


#: Names of the spreads by regime, in the order of :data:`roofline.measurements.REGIMES`.
SPREAD_NAMES = ("spread_under_5us", "spread_5_20us", "spread_20_100us", "spread_100_1000us", "spread_over_1ms")


class _Model:
    """Predicted times of the rows of one class as a function of its free parameters, on a scale of logs."""

    def __init__(self, chip: Chip, kind: str, dtype: str, rows: pd.DataFrame) -> None:
        self.chip, self.kind, self.dtype = chip, kind, dtype
        self.groups: list[tuple[Any, Op]] = [
            (rows.index.get_indexer(index), op) for index, op in measurements.groups(rows)
        ]
        self.measured = rows["time_s"].to_numpy(dtype=float)
        self.names = free_parameters(chip, self.groups[0][1])
        first = [chip.parameter(n, (kind, self.groups[0][1].kernel), dtype) for n in self.names]
        self.first = np.array([float(p.value) for p in first if p is not None])
        self.fraction = np.array([parameter_schema(n).dimension == "fraction" for n in self.names])

    @property
    def start(self) -> np.ndarray:
        """Fractions as logits, the others as logs of their ratio to the value they start from."""
        clipped = np.clip(self.first, 0.02, 0.98)
        return np.where(self.fraction, np.log(clipped / (1 - clipped)), 0.0)

    def values(self, x: np.ndarray) -> dict[str, float]:
        base = np.where(self.first > 0, self.first, 1e-7)
        plain = np.where(self.fraction, 1 / (1 + np.exp(-np.clip(x, -6, 12))), base * np.exp(np.clip(x, -6, 6)))
        return dict(zip(self.names, map(float, plain), strict=True))

    def times(self, x: np.ndarray) -> np.ndarray:
        numbers = dict(self.chip.numbers)
        for name, value in self.values(x).items():
            path = f"efficiency.{self.kind}.{self.dtype}.{name}" if self.dtype else f"efficiency.{self.kind}.{name}"
            numbers[path] = Number(value, parameter_schema(name).dimension, "measured", "fit in progress")
        chip = dataclasses.replace(self.chip, numbers=numbers, bound_cache={})
        out = np.empty(len(self.measured))
        for places, op in self.groups:
            out[places] = evaluate_op(op, chip)[_TIME]
        return out

    def log_ratio(self, x: np.ndarray) -> np.ndarray:
        return np.log(self.times(x) / self.measured)


def free_parameters(chip: Chip, op: Op) -> list[str]:
    """The efficiency parameters of an operator's kernel that a fit may move."""
    import inspect

    free = []
    for name in inspect.signature(by_name()[op.kernel]).parameters:
        if name in op.args or name in chip.machine or name == "matrix_flops":
            continue
        number = chip.parameter(name, (op.kind, op.kernel), op.dtype)
        if number is not None and number.kind in ("estimated", "measured"):
            free.append(name)
    return free


def descriptor_text(result: Calibration, name: str) -> str:
    """A descriptor that extends the original with the fitted parameters, as TOML text.

    Parameters
    ----------
    result : Calibration
    name : str
        Of the new chip.
    """
    lines = [
        "schema = 1",
        f'name = "{name}"',
        f'title = "{result.base.title}, calibrated"',
        f'extends = "{result.base.name}"',
        f'status = "{result.base.status}"',
        f'note = "Efficiency parameters fitted to {_quoted(result.source)}."',
        "",
    ]
    tables: dict[str, list[str]] = {}
    for path, n in result.chip.numbers.items():
        if path not in result.base.numbers or result.base.numbers[path] != n:
            table, _, key = path.rpartition(".")
            value = n.value if DIMENSIONS[n.dimension][0] == "" else f'"{n.value:.6g} {DIMENSIONS[n.dimension][0]}"'
            value = f"{value:.6g}" if isinstance(value, float) else value
            source, note = _quoted(n.source), _quoted(n.note)
            entry = f'{key} = {{ value = {value}, source = "{source}", kind = "{n.kind}", note = "{note}" }}'
            tables.setdefault(table, []).append(entry)
    for table, entries in tables.items():
        lines += [f"[{table}]", *entries, ""]
    for fit in result.fits:
        key = f"{fit.kind}_{fit.dtype}" if fit.dtype else fit.kind
        r = result.chip.calibration[key]
        error = r["error"] if math.isfinite(r["error"]) else 0.0
        lines += [f"[calibration.{key}]", f'data = "{_quoted(r["data"])}"', f"rows = {r['rows']}", f"error = {error}"]
        lines += [f'date = "{r["date"]}"', ""]
    return "\n".join(lines)


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
