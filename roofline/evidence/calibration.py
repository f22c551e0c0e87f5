"""Measured operator times -> the efficiency parameters of a chip.

For each operator class and dtype, the few named parameters of its kernel are fitted (:mod:`roofline.evidence.fitting`);
what comes out is a chip to go on with, and a descriptor that extends the original.
"""

from __future__ import annotations

import dataclasses
import datetime
import math
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.base import tomlfile
from roofline.base.errors import BadData, BadDescriptor
from roofline.base.face import CALL, TABLE, TEXT, optional, takes
from roofline.base.files import write_text
from roofline.catalog.load import CHIP, load_chip
from roofline.catalog.places import files_of
from roofline.evidence import measurements
from roofline.evidence.fitting import FEWEST_ROWS, ClassFit, fit_class
from roofline.hardware import variants
from roofline.hardware.chip import Chip
from roofline.hardware.explain import SPELLING
from roofline.hardware.number import Number
from roofline.hardware.schema import NAME, parameter_schema
from roofline.hardware.writer import figure, identifier

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

#: Measured over predicted, in the median, from which the unit of the times is in doubt.
DOUBTFUL = 50


@dataclass(frozen=True)
class Calibration:
    """A calibrated chip, and how it came to be.

    Attributes
    ----------
    chip : Chip
        With the fitted parameters, kind ``measured``.
    base : Chip
        The chip it started from.
    fits : list of ClassFit
    bad : Series
        Rows that could not be used -> why.
    skipped : dict of str to str
        Classes with too few rows.
    source : str
        What the rows were.
    notes : list of str
        What else the reader of the rows should know.
    """

    chip: Chip
    base: Chip
    fits: list[ClassFit]
    bad: pd.Series[str]
    skipped: dict[str, str]
    source: str
    notes: list[str]

    @property
    def report(self) -> pd.DataFrame:
        """One row for each class: rows, held-out rows, errors before and after (fractions), whether it was taken."""
        import pandas as pd

        records = [
            {
                "class": f.name,
                "rows": f.rows,
                "held_out_rows": f.held_out_rows,
                "before": f.before,
                "after": f.after,
                "held_out_before": f.held_out_before,
                "held_out": f.held_out,
                "taken": bool(f.parameters),
                "note": f.note,
            }
            for f in self.fits
        ]
        return pd.DataFrame.from_records(records)

    def to_toml(self, name: str = "") -> str:
        """A descriptor that extends the original with what was fitted, as TOML text. That of a variant stands alone.

        Parameters
        ----------
        name : str, optional
            Of the new chip; default: the original's with ``-calibrated``.
        """
        name = name or identifier(f"{self.base.name}-calibrated")
        if self.base.changes:  # no file has the variant that was fitted
            return self._whole(name)
        table: dict[str, Any] = {
            "schema": 1,
            "name": name,
            "title": f"{self.base.title}, calibrated",
            "extends": self.base.name,
            "status": self.base.status,
            "note": self._note,
        }
        for path, number in self.chip.numbers.items():
            if self.base.numbers.get(path) is not number:
                *outer, last = path.split(".")
                inner = table
                for part in outer:
                    inner = inner.setdefault(part, {})
                inner[last] = figure(path, number)
        table["calibration"] = {
            key: r for key, r in self.chip.calibration.items() if self.base.calibration.get(key) is not r
        }
        return tomlfile.write(table)

    def save(self, path: str | os.PathLike[str], name: str = "") -> Path:
        """Write the descriptor; its name is by default that of the file.

        It extends the original where that can be found by name from anywhere; else (a file elsewhere, a what-if, a
        software stack) it holds everything, and stands alone.
        """
        file = Path(path)
        name = name_for(file, name)
        write_text(file, self.to_toml(name) if self._extends_from(file) else self._whole(name))
        return file

    @property
    def _note(self) -> str:
        """What the descriptor says of itself."""
        if any(f.parameters for f in self.fits):
            return f"Efficiency parameters fitted to {self.source}."
        return f"Efficiency parameters as they were, which no fit to {self.source} improved; spreads from it."

    def _extends_from(self, file: Path) -> bool:
        """Whether `file`, read anew, would find the very chip that was fitted by the name that it extends."""
        _, known = files_of("chips").get(self.base.name, ("", None))
        beside = file.parent / f"{self.base.name}.toml"  # what `extends` looks at first
        if known is None or file.stem == self.base.name or (beside.exists() and not beside.samefile(known)):
            return False
        named = load_chip(self.base.name)
        return named.numbers == self.base.numbers and named.flags == self.base.flags

    def _whole(self, name: str) -> str:
        """A descriptor that stands alone."""
        title, note = f"{self.base.title}, calibrated", self._note
        whole = dataclasses.replace(self.chip, name=name, title=title, note=note, aliases=())
        return whole.to_toml()


def name_for(path: str | os.PathLike[str], name: str = "") -> str:
    """The name of a descriptor to be written: as given, or that of its file.

    Raises
    ------
    BadDescriptor
        Where no descriptor may be called so.
    """
    found = name or Path(path).stem.lower()
    if not re.fullmatch(NAME, found):
        hint = "" if name else "; --name, or `name`, gives one"
        raise BadDescriptor(os.fspath(path), [f"name: {SPELLING}, found {found!r}{hint}"])
    return found


@takes(chip=CHIP, data=TABLE, source=TEXT, progress=optional(CALL))
def calibrate(
    chip: Chip | str | os.PathLike[str],
    data: str | os.PathLike[str] | pd.DataFrame,
    *,
    source: str = "",
    progress: Callable[[str], None] | None = None,
) -> Calibration:
    """Fit the efficiency parameters of a chip to measured operator times.

    Parameters
    ----------
    chip : Chip or str
        The chip that the rows were measured on: an object, a name, or the path of a descriptor.
    data : path or DataFrame
        CSV or Parquet in the columns of :mod:`roofline.evidence.measurements`.
    source : str, optional
        What the rows are, for the descriptor. Default: the name of the file.
    progress : callable, optional
        Called with a line for each class.

    Returns
    -------
    Calibration
        ``.chip`` to go on with, ``.report``, ``.bad``, ``.save(path)``.

    Raises
    ------
    BadData
        When the file cannot be read or no row of it can be used.

    Examples
    --------
    >>> import pandas as pd
    >>> import roofline as rl
    >>> m = [2**i for i in range(5, 12)] * 4
    >>> k = [1024] * 7 + [2048] * 7 + [4096] * 7 + [8192] * 7
    >>> rows = pd.DataFrame({"op": "gemm", "dtype": "bf16", "m": m, "n": 4096, "k": k})
    >>> rows["time_s"] = 1.1 * rl.cost(rl.gemm(m=m, n=[4096] * 28, k=k), "h100-sxm").time_s  # a tenth slower
    >>> fitted = rl.calibrate("h100-sxm", rows)
    >>> bool(fitted.report["after"].iloc[0] < fitted.report["before"].iloc[0])
    True
    """
    chip = chip if isinstance(chip, Chip) else load_chip(chip)
    source = source or ("measured rows" if not isinstance(data, str | os.PathLike) else Path(data).name)
    good, bad, notes = _usable(measurements.read(data), chip, source)
    predicted = measurements.predict(good, chip)
    notes += _in_doubt(good, predicted)
    fits, skipped = _fits(chip, good, predicted, progress)
    if not fits:
        raise BadData(f"{source}: too few rows of any class: " + "; ".join(f"{c}: {w}" for c, w in skipped.items()))
    if not any(f.parameters for f in fits):
        notes.append(
            "every parameter stays as it was: no fit did better on the rows held out. A descriptor written of "
            "this differs in its spreads alone"
        )
    return Calibration(_fitted(chip, fits, source), chip, fits, bad, skipped, source, notes)


def _usable(table: pd.DataFrame, chip: Chip, source: str) -> tuple[pd.DataFrame, pd.Series[str], list[str]]:
    """The rows that may be fitted, what is wrong with others, and what is to be said of the table."""
    if "chip" in table.columns:
        table = table.drop(columns="chip")  # the caller says which chip it is
    notes = measurements.unused(table)
    if "role" in table.columns:
        tests = table["role"].astype(str).str.startswith("test")
        if tests.any():
            notes.append(f"{int(tests.sum()):,} rows whose role begins with 'test' were not fitted")
            table = table[~tests]
    bad = measurements.faults(table, chip)
    good = measurements.numeric(table.drop(index=bad.index))
    if good.empty:
        raise BadData(f"no row of {source} can be used: {measurements.reasons(bad)}")
    return good, bad, notes


def _in_doubt(good: pd.DataFrame, predicted: pd.DataFrame) -> list[str]:
    """What is to be said of times that are far from any expectation."""
    slower = float((good["time_s"].loc[predicted.index].astype(float) / predicted["predicted_s"]).median())
    if slower <= DOUBTFUL:
        return []
    return [f"the times are {slower:,.0f} times as long as expected in the median: are they in seconds?"]


def _fits(
    chip: Chip, good: pd.DataFrame, predicted: pd.DataFrame, progress: Callable[[str], None] | None
) -> tuple[list[ClassFit], dict[str, str]]:
    """A fit of every class that has rows enough; of the others, why there is none."""
    fits, skipped = [], {}
    for (kind, dtype), part in predicted.groupby(["kind", "dtype"], sort=True):
        if len(part) < FEWEST_ROWS:
            skipped[f"{kind} {dtype}".strip()] = f"{len(part)} rows, expected at least {FEWEST_ROWS}"
            continue
        if progress:
            progress(f"{kind} {dtype}: {len(part):,} rows".replace(" :", ":"))
        fits.append(fit_class(chip, str(kind), str(dtype), good.loc[part.index], part))
    return fits, skipped


def _fitted(chip: Chip, fits: list[ClassFit], source: str) -> Chip:
    """The chip with the parameters and spreads of the fits, each with where it comes from."""
    numbers, record = dict(chip.numbers), dict(chip.calibration)
    today = datetime.date.today().isoformat()
    for fit in fits:
        error = fit.held_out if math.isfinite(fit.held_out) else fit.after
        note = f"{fit.rows} rows, {today}; error {error:.1%} on {'rows not fitted' if fit.held_out_rows else 'them'}"
        for name, value in {**fit.parameters, **fit.spread}.items():
            value = float(f"{value:.5g}")
            dimension = parameter_schema(name).dimension
            numbers[f"efficiency.{fit.name}.{name}"] = Number(value, dimension, "measured", f"Fitted to {source}", note)
        if fit.parameters:
            key = f"{fit.kind}_{fit.dtype}" if fit.dtype else fit.kind
            record[key] = {"data": source, "rows": fit.rows, "error": round(error, 4), "date": today}
    own = {path for path, number in numbers.items() if chip.numbers.get(path) is not number}
    default = variants.still_best(chip.default_stack, numbers, own)
    return dataclasses.replace(chip, numbers=numbers, calibration=record, default_stack=default)
