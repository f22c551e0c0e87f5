"""How far predictions are off: the figures of some compared rows, by regime of time and over all regimes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


class Columns(NamedTuple):
    """What figures are counted from: times (s), one row an element, and each row's regime."""

    predicted: np.ndarray
    measured: np.ndarray
    low: np.ndarray
    high: np.ndarray
    naive: np.ndarray
    three: np.ndarray
    regime: np.ndarray

    @classmethod
    def of(cls, rows: pd.DataFrame) -> Columns:
        predicted, measured, low, high, naive, three = (
            rows[name].to_numpy(float)
            for name in ("predicted_s", "measured_s", "low_s", "high_s", "naive_s", "three_s")
        )
        return cls(predicted, measured, low, high, naive, three, rows["regime"].to_numpy())

    def in_regime(self, number: int) -> Columns:
        mine = self.regime == number
        return Columns(*(column[mine] for column in self))


def figures(rows: Columns) -> dict[str, Any]:
    """Errors relative to the measured times, of rows as they come."""
    error = rows.predicted / rows.measured - 1
    fitted = ~np.isnan(rows.three)
    three = np.abs(rows.three[fitted] / rows.measured[fitted] - 1)
    return {
        "rows": len(error),
        "mape": np.abs(error).mean(),
        "median": np.median(np.abs(error)),
        "p90": np.quantile(np.abs(error), 0.9),
        "bias": np.median(error),
        "spearman": _ranks_agree(rows.predicted, rows.measured),
        "coverage": ((rows.measured >= rows.low) & (rows.measured <= rows.high)).mean(),
        "naive": np.abs(rows.naive / rows.measured - 1).mean(),
        "three": three.mean() if len(three) else np.nan,
    }


def _ranks_agree(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation; NaN for fewer than three values, or where all of one are the same."""
    import pandas as pd

    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return np.nan
    return float(np.corrcoef(pd.Series(one).rank(), pd.Series(other).rank())[0, 1])


def summary(rows: pd.DataFrame) -> dict[str, Any]:
    """The figures of some rows (of :class:`roofline.fidelity.validation.Validation`) over all regimes."""
    columns = Columns.of(rows)
    return over_regimes(columns, by_regime(columns))


def by_regime(rows: Columns) -> dict[int, dict[str, Any]]:
    """The figures of each regime of time that has rows."""
    return {int(number): figures(rows.in_regime(number)) for number in np.unique(rows.regime)}


def over_regimes(rows: Columns, regimes: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """The figures of all rows, given those by regime: error and coverage weigh the regimes equally."""
    mean = {k: float(np.mean([r[k] for r in regimes.values()])) for k in ("mape", "coverage", "naive", "three")}
    return figures(rows) | mean
