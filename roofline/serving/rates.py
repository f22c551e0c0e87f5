"""Rates over time, read from files: ServeGen's chunks, and a CSV of steps."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import reading
from roofline.base.errors import BadData, shown
from roofline.serving.lengths import LONGEST, Lengths, empirical
from roofline.serving.traffic import Steps, Traffic

if TYPE_CHECKING:
    import pandas as pd

#: A step at the end of a file is as long as the one before, or this long where it is the only one (s): ServeGen's.
STEP_S = 600.0

#: What ServeGen's rows without a header are.
_COLUMNS = ("start", "requests/s", "coefficient of variation", "distribution", "two parameters of it")

_ENTRY = re.compile(r"\s*([0-9]{1,12})\s*:\s*([0-9.eE+-]{1,40})\s*,?")


def is_servegen(content: str) -> bool:
    """Whether a text looks like ServeGen's: rows without a header that name a distribution of gaps."""
    cells = content.lstrip().partition("\n")[0].split(",")
    return len(cells) == 6 and _is_number(cells[0]) and _is_number(cells[1]) and not _is_number(cells[3])


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def steps(file: Path, table: pd.DataFrame, **options: Any) -> Traffic:
    """Traffic of a table of ``start_s`` and ``requests_per_s``.

    Raises
    ------
    BadData
    """
    import pandas as pd

    if "start_s" not in table:
        raise BadData(f"{file}: expected columns start_s and requests_per_s, found {', '.join(table.columns)[:300]}")
    models = list(table["model"].unique()) if "model" in table else []
    if len(models) > 1:
        names = ", ".join(sorted(str(one)[:40] for one in models[:8]))
        raise BadData(f"{file}: expected the rates of one model; say which with model=: {names}")
    start, rate = (
        pd.to_numeric(table[name], errors="coerce").to_numpy(dtype=float) for name in ("start_s", "requests_per_s")
    )
    return Traffic(_steps(file, start, rate), **options)


def servegen(file: Path, **options: Any) -> Traffic:
    """Traffic of one of ServeGen's chunks (a client, or several): its rates, burstiness and lengths.

    The burstiness is that of the mean coefficient of variation, weighted by requests. Lengths come from the data set
    beside the file, all its windows together, unless they are given.

    Raises
    ------
    BadData
    """
    content = reading.text(file)
    rows = [line.split(",") for line in content.splitlines() if line.strip()]
    reading.within(str(file), len(rows), 6)
    try:
        start, rate, variation = (np.array([float(row[i]) for row in rows]) for i in range(3))
    except (ValueError, IndexError) as error:
        raise BadData(f"{file}: expected rows of {', '.join(_COLUMNS)}: {error}") from None
    found = _steps(file, start, rate)
    weight = rate / rate.sum()
    mean = float(weight @ variation)
    if not (math.isfinite(mean) and (variation[rate > 0] >= 0).all()):
        raise BadData(f"{file}: expected coefficients of variation of 0 or more, found {shown(variation.tolist())}")
    burstiness = math.inf if mean < 1e-3 else max(1e-3, 1 / mean**2)
    if options["prompt"] is None or options["output"] is None:
        read = _data_set(file)
        options |= {name: read[name] for name in ("prompt", "output") if options[name] is None}
    return Traffic(found, burstiness=burstiness, **options)


def _steps(file: Path, start: np.ndarray, rate: np.ndarray) -> Steps:
    fine = start.size and np.isfinite(start).all() and np.isfinite(rate).all() and (rate >= 0).all() and rate.any()
    if not fine:
        raise BadData(f"{file}: expected times and rates, finite and not negative and not all 0")
    order = np.argsort(start, kind="stable")
    start, rate = start[order] - start[order[0]], rate[order]
    gaps = np.diff(start)
    if not (gaps > 0).all():
        raise BadData(f"{file}: expected each step to begin at a time of its own, found {shown(start.tolist())}")
    if (rate > 1e9).any() or start[-1] > 1e9:
        raise BadData(f"{file}: expected rates and times of at most 1e9, found {max(rate.max(), start[-1]):g}")
    return Steps(start, rate, float(start[-1] + (gaps[-1] if gaps.size else STEP_S)))


def _data_set(file: Path) -> dict[str, Lengths]:
    """The lengths of the requests of a chunk."""
    beside = file.with_name(file.name.replace("-trace.csv", "-dataset.json"))
    if beside == file or not beside.is_file():
        raise BadData(f"{file}: expected its lengths in {beside.name} beside it; or give prompt and output")
    try:
        windows = json.loads(reading.text(beside))
    except (ValueError, RecursionError) as error:
        raise BadData(f"{beside}: cannot be read as JSON: {error}") from None
    if not isinstance(windows, dict) or not all(isinstance(one, dict) for one in windows.values()):
        raise BadData(f"{beside}: expected windows by their time, found {shown(windows)}")
    return {
        name: _pooled(beside, [one.get(key) for one in windows.values()], key)
        for name, key in (("prompt", "input_tokens"), ("output", "output_tokens"))
    }


def _pooled(file: Path, texts: list[object], key: str) -> Lengths:
    """The mean of distributions, each written as ``{length: probability, ...}``."""
    pooled: dict[int, float] = {}
    for text in texts:
        if text is None:
            continue
        body = str(text).strip()
        inner = body[1:-1] if body[:1] == "{" and body[-1:] == "}" else None
        found = _ENTRY.findall(inner) if inner is not None else []
        if inner is None or _ENTRY.sub("", inner).strip():
            raise BadData(f"{file}: {key}: expected {{length: probability, ...}}, found {shown(text)}")
        for length, share in found:
            if not _is_number(share) or not 1 <= int(length) <= LONGEST:
                continue  # a request without tokens is none
            pooled[int(length)] = pooled.get(int(length), 0.0) + float(share)
    if not any(share > 0 for share in pooled.values()) or any(share < 0 for share in pooled.values()):
        raise BadData(f"{file}: {key}: expected lengths with probabilities, found none")
    return empirical(list(pooled), list(pooled.values()))
