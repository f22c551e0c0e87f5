"""Room for a KV cache as engines' logs have it beside what is predicted, as a table of the validation page."""

from __future__ import annotations

import math
from typing import Any

from roofline.fidelity import memory
from roofline.show.table import Table

#: The share by which a row may be off before it is told.
_NEAR = 0.05


def in_one() -> Table:
    """Every log and its prediction, with what is noted of it; misses stay."""
    found = memory.rows()
    table = Table(
        "Room for a KV cache: predicted against engines' logs",
        ["model", "chip", ">tp", ">pp", "software", "set", ">logged", ">predicted", ">ratio", "note"],
        expendable=["pp", "set"],
        prose=["note"],
    )
    for row in found.to_dict("records"):
        table.rows.append(_row({str(key): value for key, value in row.items()}))
    ratios = found["ratio"].dropna()
    off = (ratios - 1).abs()
    table.notes += [
        f"{len(found)} logs: {int((off <= _NEAR).sum())} of {len(off)} with room within 5 %, "
        f"{int((off <= 2 * _NEAR).sum())} within 10 %, half within {float(off.median()):.2%}. Tokens as the engine "
        "prints them when it starts, or GiB where it prints only these.",
        "'chosen': the figures of what an engine sets aside, or their form, were taken from the row or in sight of "
        "it; 'seen': known before; 'held out': found after the figures were committed.",
    ]
    return table


def _row(row: dict[str, Any]) -> list[str]:
    tokens = not math.isnan(row["tokens"])
    starts = row["logged"] > 0

    def size(value: float) -> str:
        return f"{value:,.0f} tokens" if tokens else f"{value:,.2f} GiB"

    predicted = size(row["predicted"]) if row["starts"] else "does not start"
    return [
        row["model"],
        row["chip"],
        f"{row['tp']:.0f}",
        f"{row['pp']:.0f}",
        row["stack"],
        row["set"],
        size(row["logged"]) if starts else "does not start",
        predicted,
        f"{row['ratio']:.3f}" if starts else "",
        row["note"] if isinstance(row["note"], str) else "",
    ]
