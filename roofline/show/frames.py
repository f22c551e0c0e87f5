"""Breakdowns in whatever form they come: estimates, phases, tables; what is none of these is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, shown

if TYPE_CHECKING:
    import pandas as pd

#: What a picture needs to know of an operator.
COLUMNS = ("op", "intensity", "flops", "time_s", "share")

_EXPECTED = "a breakdown such as est.decode.ops, a phase such as est.decode, or an estimate"


def is_estimate(value: object) -> bool:
    """Whether this is what ``estimate`` or ``serve`` returns; asked without importing them."""
    return hasattr(type(value), "FIGURES")


def named(where: str, given: Any, needed: tuple[str, ...] = COLUMNS) -> dict[str, pd.DataFrame]:
    """Breakdowns by name; one that has no name goes by "".

    Parameters
    ----------
    where : str
        The argument, for messages.
    given : DataFrame, Phase, estimate or mapping of the first two
    needed : tuple of str, optional
        Columns that each must have.

    Raises
    ------
    BadWorkload
        For anything else, for none at all, and for a table without these columns or with words in them.
    """
    if is_estimate(given):
        from roofline.show.words import phases

        given = dict(phases(given))
    if not isinstance(given, Mapping):
        given = {"": given}
    if not given:
        raise BadWorkload(f"{where}: expected at least one breakdown such as {{'decode': est.decode.ops}}, found none")
    return {str(name): _table(where, one, needed) for name, one in given.items()}


def _table(where: str, given: Any, needed: tuple[str, ...]) -> pd.DataFrame:
    import pandas as pd

    frame = given.ops if hasattr(given, "workload") and hasattr(type(given), "ops") else given
    if not isinstance(frame, pd.DataFrame):
        raise BadWorkload(f"{where}: expected {_EXPECTED}, found {shown(given)}")
    missing = set(needed) - set(frame.columns)
    if missing:
        raise BadWorkload(f"{where}: expected the columns of est.decode.ops, missing {', '.join(sorted(missing))}")
    for name in (n for n in needed if n not in ("op", "bound")):
        column = frame[name]
        if column.dtype.kind not in "iuf" or not np.isfinite(column.to_numpy(float)).all():
            raise BadWorkload(f"{where}: expected finite numbers in the column {name!r}")
    return frame


def points(ops: object) -> pd.DataFrame | None:
    """The operators that have a place on log axes, with their series and attained FLOP/s; None where none was given.

    Operators without arithmetic (copies, collectives, overheads) have none.
    """
    import pandas as pd

    if ops is None:
        return None
    tables = [frame.assign(series=series) for series, frame in named("ops", ops).items()]
    table: pd.DataFrame = pd.concat(tables, ignore_index=True)
    placed = table.loc[(table["flops"] > 0) & (table["intensity"] > 0) & (table["time_s"] > 0)]
    return placed.assign(attained=placed["flops"] / placed["time_s"])
