"""From the rows of a measuring run to the calibrated chip, the validation and the files that it ends with."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadData, RooflineError
from roofline.base.files import replacing, write_text
from roofline.catalog import load as catalog
from roofline.estimates.inference import COST, evaluate_op
from roofline.evidence import calibration, measurements
from roofline.measure.record import SHAPE, TEST, read_json, write_json

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip
    from roofline.measure.session import Session


#: Beyond these a run is not fit for use: median error of the fitted model (the model of a quiet machine is 10 % off),
#: median spread of the times of one shape over its rounds, and share of rows that no machine of those ceilings can do.
MOST_ERROR, MOST_SCATTER, MOST_REFUSED = 0.35, 0.3, 0.5


@dataclass
class Result:
    """What a measuring run leaves behind.

    Attributes
    ----------
    chip, calibrated : Chip
        With the measured figures and its family's efficiency parameters; with fitted ones (the same where there were
        too few rows to fit).
    table : DataFrame
        The rows, in the columns of :mod:`roofline.evidence.measurements`.
    refused : DataFrame
        Rows that were not believed, with the reason.
    validation : DataFrame
        By class: rows; median of the absolute relative error with the family's parameters and with the fitted ones;
        `test_rows` and `test`, the same for shapes that nothing was fitted to (NaN without any).
    left_out : dict of str to int
        Why cases were not measured -> how many.
    notes : list of str
        What else there is to say: classes that were not fitted, and why.
    files : dict of str to Path
    why : list of str
        Why the descriptor is not fit for use; empty if it is.
    """

    chip: Chip
    calibrated: Chip
    table: pd.DataFrame
    refused: pd.DataFrame
    validation: pd.DataFrame
    left_out: dict[str, int]
    notes: list[str]
    files: dict[str, Path]
    why: list[str]

    @property
    def fit_for_use(self) -> bool:
        """Whether the calibrated descriptor says more of the machine than a guess."""
        return not self.why


def finish(session: Session, chip: Chip) -> Result:
    """From the rows on file to the calibrated chip, the validation and the files that a run ends with."""
    import pandas as pd

    path = session.descriptor_path
    if not session.rows.rows():
        left = "; ".join(f"{count} x {why}" for why, count in session.plan.left_out.items())
        raise BadData("; ".join([f"{session.rows.path}: no row was measured; left out: {left}", *session.notes]))
    table = measurements.read(session.rows.path)
    refused = pd.read_csv(session.refused.path)
    shapes = table[["op", "time_s", "dtype", *(c for c in table.columns if c in SHAPE)]]
    source = f"roofline measure, {read_json(session.record_path).get('date', '')}"
    unseen = table["role"].eq(TEST)
    calibrated, judged = fit(shapes[~unseen], chip, source, session)
    validation = validate(shapes, unseen, chip, calibrated)
    why = unfit(table, refused, validation, judged)
    if why:
        calibrated = dataclasses.replace(calibrated, note=f"NOT FIT FOR USE: {'; '.join(why)}. {chip.note}")
    write_text(path, calibrated.to_toml())
    calibrated = catalog.read_chip(path)
    write_json(session.record_path, {**read_json(session.record_path), "fit_for_use": not why, "why": why})
    with replacing(session.folder / "validation.csv") as scratch:
        validation.to_csv(scratch, index=False)
    files = {
        "descriptor": path,
        "measurements": session.rows.path,
        "validation": session.folder / "validation.csv",
        "probes": session.probes.path,
        "refused": session.refused.path,
    }
    files["picture"] = picture(shapes, calibrated, session.folder / "roofline.png")
    return Result(chip, calibrated, table, refused, validation, session.plan.left_out, session.notes, files, why)


def unfit(table: pd.DataFrame, refused: pd.DataFrame, validation: pd.DataFrame, judged: int) -> list[str]:
    """Why what was measured is not fit for use: nothing fitted, times that the model does not describe or that scatter.

    Parameters
    ----------
    table, refused, validation : DataFrame
        As of :class:`Result`.
    judged : int
        Classes of operators that had enough rows for a fit, taken or not.
    """
    why = []
    if not judged:
        why.append("no class of operators had enough rows to fit its parameters")
    every = validation[validation["kind"] == "all"].iloc[0]
    for error, where in ((every["after"], "the rows that it was fitted to"), (every["test"], "shapes not fitted")):
        if error > MOST_ERROR:
            why.append(f"the model is {error:.0%} off in the median on {where}, more than {MOST_ERROR:.0%}")
    scatter = float((table["time_std_s"] / table["time_s"]).median())
    if scatter > MOST_SCATTER:
        why.append(
            f"times of one shape scatter by {scatter:.0%} in the median, more than {MOST_SCATTER:.0%}: other "
            f"programs ran"
        )
    share = len(refused) / (len(refused) + len(table))
    if share > MOST_REFUSED:
        why.append(f"{share:.0%} of the rows were refused, more than {MOST_REFUSED:.0%}")
    return why


def fit(table: pd.DataFrame, chip: Chip, source: str, session: Session) -> tuple[Chip, int]:
    """The calibrated chip, and of how many classes there were enough rows.

    One operator after the other, as one with too few rows must spoil nothing for the others.
    """
    judged = 0
    for name, rows in table.groupby("op", sort=False):
        try:
            fitted = calibration.calibrate(chip, rows.dropna(axis=1, how="all"), source=source)
        except RooflineError as error:
            session.notes.append(f"not calibrated: {name}: {error}")
            continue
        session.notes += [f"{f.name}: not calibrated: {f.note}" for f in fitted.fits if f.note]
        chip, judged = fitted.chip, judged + len(fitted.fits)
    return chip, judged


def validate(table: pd.DataFrame, unseen: pd.Series[bool], before: Chip, after: Chip) -> pd.DataFrame:
    """Predicted against measured, by class and over all; see :attr:`Result.validation`."""
    import pandas as pd

    first, second = measurements.predict(table, before), measurements.predict(table, after)
    errors = pd.DataFrame(
        {
            "kind": first["kind"],
            "dtype": first["dtype"],
            "unseen": unseen.reindex(first.index),
            "before": (first["predicted_s"] / table["time_s"].astype(float) - 1).abs(),
            "after": (second["predicted_s"] / table["time_s"].astype(float) - 1).abs(),
        }
    ).dropna(subset="kind")

    def line(kind: str, dtype: str, part: pd.DataFrame) -> dict[str, Any]:
        test = part.loc[part["unseen"], "after"]
        fitted = part[~part["unseen"]]
        return {
            "kind": kind,
            "dtype": dtype,
            "rows": len(fitted),
            "before": fitted["before"].median(),
            "after": fitted["after"].median(),
            "test_rows": len(test),
            "test": test.median(),
        }

    rows = [line(str(kind), str(dtype), part) for (kind, dtype), part in errors.groupby(["kind", "dtype"], sort=True)]
    return pd.DataFrame([*rows, line("all", "", errors)])


def points(table: pd.DataFrame, chip: Chip) -> dict[str, pd.DataFrame]:
    """The rows as points on a roofline, by class: op, kind, intensity, flops, bytes, time_s, share."""
    import pandas as pd

    found: dict[str, list[pd.DataFrame]] = {}
    for index, op in measurements.groups(table):
        cost = dict(zip(COST, (np.broadcast_to(v, len(index)) for v in evaluate_op(op, chip)), strict=True))
        flops = cost["flops"] + cost["vector_flops"]
        frame = pd.DataFrame(
            {
                "op": op.kind,
                "kind": op.kind,
                "flops": flops,
                "bytes": cost["bytes"],
                "intensity": flops / np.maximum(cost["bytes"], 1.0),
                "time_s": table.loc[index, "time_s"].to_numpy(float),
            }
        )
        found.setdefault(f"{op.kind} {op.dtype}".strip(), []).append(frame)
    frames = {label: pd.concat(parts, ignore_index=True) for label, parts in found.items()}
    return {k: f.assign(share=0.02) for k, f in frames.items() if (f["flops"] > 0).any()}


def picture(table: pd.DataFrame, chip: Chip, path: Path) -> Path:
    """The machine's roofline with its measured operators on it."""
    from roofline.show import plot

    ceilings = [d for d in dict.fromkeys(table["dtype"].dropna()) if d in chip.dtypes]
    ax = plot.plot_roofline(
        chip, dtypes=ceilings, ops=points(table, chip) or None, label_share=2.0, title=f"{chip.title}, measured"
    )
    plot.save(ax, str(path))
    return path
