"""Recorded traffic: requests as they came to somebody's server, played again.

Read are the columns of Azure's traces (``TIMESTAMP``, ``ContextTokens``, ``GeneratedTokens``), of BurstGPT's
(``Timestamp``, ``Request tokens``, ``Response tokens``), of Vidur's, of a plain CSV (``arrival_s``, ``prompt_tokens``,
``output_tokens``, and ``block_ids`` or ``prefix_id`` and ``prefix_tokens``), Mooncake's JSON lines (``timestamp`` in
ms, ``input_length``, ``output_length``, ``hash_ids``), and rates over time: ServeGen's ``chunk-*-trace.csv`` with the
``chunk-*-dataset.json`` beside it, or a CSV of ``start_s`` and ``requests_per_s``.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base import reading
from roofline.base.errors import BadData, BadWorkload, UnknownName, shown
from roofline.base.face import NAME, TEXT, optional, takes
from roofline.serving import rates
from roofline.serving.blocks import Blocks, block_tokens, from_lists, from_text
from roofline.serving.lengths import LONGEST, Lengths, empirical
from roofline.serving.traffic import Requests, Traffic, between, count, patience

if TYPE_CHECKING:
    import pandas as pd

#: What each column is called in one trace or another, in lower case; of several, the first that is there.
ARRIVALS = ("arrival_s", "timestamp", "arrived_at", "arrival_time_s", "time_s")
PROMPTS = (
    "prompt_tokens", "contexttokens", "request tokens", "input_length", "input_tokens", "num_prefill_tokens", "prompt",
)  # fmt: skip
OUTPUTS = (
    "output_tokens", "generatedtokens", "response tokens", "output_length", "num_decode_tokens", "output",
)  # fmt: skip
BLOCKS = ("block_ids", "hash_ids")

_TRACES = resources.files("roofline.serving") / "traces"


class Trace(Traffic):
    """Requests that were recorded. `rate` is their mean; :meth:`scaled` plays them faster, :meth:`head` fewer of them.

    Attributes
    ----------
    name : str
        Of the trace or its file.
    left_out : int
        Rows that had no prompt or no output token, as requests that failed have none.
    """

    def __init__(self, name: str, recorded: Requests, *, left_out: int = 0, rate: Any = None) -> None:
        self.name, self.left_out, self._recorded = name, left_out, recorded
        own = min(len(recorded) / max(float(recorded.arrival_s[-1]), 1e-3), 1e9)
        super().__init__(
            own if rate is None else rate,
            prompt=empirical(recorded.prompt),
            output=empirical(recorded.output),
            requests=len(recorded),
            timeout_s=recorded.timeout_s,
        )
        self._own_rate = own

    def drawn(self, seed: int = 0) -> Requests:
        """The requests as they were recorded, whatever the seed.

        Raises
        ------
        BadWorkload
            For traffic with several rates: draw each of :meth:`each`.
        """
        if self.axis is not None:
            raise BadWorkload(f"Trace: expected one rate, found {len(self.axis[1])}: draw one at a time")
        return self._recorded

    def changed(self, **changes: Any) -> Trace:
        """The same at another `rate` (or a list of them), or with another `timeout_s`.

        Raises
        ------
        BadWorkload
            For anything else: what was recorded is as it is.
        """
        for name in changes:
            if name not in ("rate", "timeout_s"):
                raise BadWorkload(f"Trace: only rate and timeout_s can be changed of what was recorded, found {name}")
        recorded = self._recorded
        if "timeout_s" in changes:
            recorded = replace(recorded, timeout_s=patience(changes["timeout_s"]))
        rate = changes.get("rate", self.rate)
        asked = Traffic(rate).rate
        if isinstance(asked, float):
            recorded = replace(recorded, arrival_s=recorded.arrival_s * (self._own_rate / asked))
            asked = None
        return Trace(self.name, recorded, left_out=self.left_out, rate=asked)

    def scaled(self, factor: float) -> Trace:
        """The same requests, coming so many times as fast.

        Raises
        ------
        BadWorkload
        """
        by = between("scaled: factor", factor, 1e-6, 1e6)
        if self.axis is not None:
            return self.changed(rate=self.rate * by)
        return Trace(
            self.name, replace(self._recorded, arrival_s=self._recorded.arrival_s / by), left_out=self.left_out
        )

    def head(self, requests: float | None = None, *, seconds: float | None = None) -> Trace:
        """The first so many requests, or those of the first so many seconds.

        Raises
        ------
        BadWorkload
        """
        if seconds is None:
            n = count("head: requests", requests)
        else:
            limit = between("head: seconds", seconds, 0, 1e9)
            n = int(np.searchsorted(self._recorded.arrival_s, limit, side="right"))
        rate = self.rate if self.axis else None
        return Trace(self.name, self._recorded.head(n), left_out=self.left_out, rate=rate)

    def __repr__(self) -> str:
        without = f" ({self.left_out:,} rows without tokens left out)" if self.left_out else ""
        return f"<Trace {self.name}: {self._extent_text()} {self._load_text()}, {self._length_text()}{without}>"


@takes(path=NAME, model=optional(TEXT))
def load_traffic(
    path: str | os.PathLike[str],
    *,
    model: str | None = None,
    prompt: float | Lengths | None = None,
    output: float | Lengths | None = None,
    timeout_s: float | None = None,
) -> Traffic:
    """Recorded traffic from a file, or one of the traces that ship.

    Parameters
    ----------
    path : str or path
        A file (packed or not) with the columns of Azure's, BurstGPT's, Mooncake's, Vidur's or ServeGen's traces or of a
        plain CSV (see the module), or ``"azure-2023-conv"``, ``"mooncake-conversation"``.
    model : str, optional
        Where a file has a column ``model``: only the rows of this one.
    prompt, output : number or distribution, optional
        Tokens, where a file has rates alone (1024, 256).
    timeout_s : number, optional
        After which a client gives up (s). Default: never.

    Returns
    -------
    Traffic
        A :class:`Trace`: the requests themselves, the first at 0 s, in the order of arrival; rows without a prompt or
        an output are counted in ``left_out``. Of a file of rates, traffic whose rate changes in steps.

    Raises
    ------
    BadData
        When the file cannot be read or has other columns: which were expected and found.
    UnknownName
        For a name that is neither a file nor a trace that ships.
    BadWorkload

    Examples
    --------
    >>> import roofline as rl
    >>> rl.load_traffic("azure-2023-conv").head(100)
    <Trace azure-2023-conv: 100 requests at 2.34274/s, prompt 801.97, output 170.52>
    """
    file = _file(path)
    content = reading.text(file)
    lengths = {"prompt": prompt, "output": output, "timeout_s": timeout_s}
    if content.lstrip()[:1] in ("{", "["):
        _refuse_lengths(file, lengths)
        return _trace(file, _json_lines(file, content), timeout_s)
    if rates.is_servegen(content):
        return rates.servegen(file, **lengths)
    table = reading.csv_table(file)
    table = _of_model(file, table.set_axis([str(name).strip().lower() for name in table.columns], axis=1), model)
    if "requests_per_s" in table:
        return rates.steps(file, table, **lengths)
    _refuse_lengths(file, lengths)
    return _trace(file, table, timeout_s)


def _file(path: str | os.PathLike[str]) -> Path:
    shipped = {one.name.removesuffix(".csv.gz"): one for one in _TRACES.iterdir() if one.name.endswith(".csv.gz")}
    if isinstance(path, str) and path in shipped:
        return Path(str(shipped[path]))
    text = os.fspath(path)
    if isinstance(path, str) and not Path(text).suffix and os.sep not in text and not Path(text).exists():
        raise UnknownName("trace", text, shipped, "(or give the path of a file)")
    return reading.existing(path)


def _refuse_lengths(file: Path, lengths: dict[str, Any]) -> None:
    for name in ("prompt", "output"):
        if lengths[name] is not None:
            raise BadWorkload(f"load_traffic: {name}: {file.name} says how long its requests are; leave it out")


def _of_model(file: Path, table: pd.DataFrame, model: str | None) -> pd.DataFrame:
    """The rows of one model."""
    if model is None:
        return table
    if "model" not in table:
        raise BadData(f"{file}: model={model!r} was asked for, and there is no column model")
    kept = table[table["model"].astype(str) == model]
    if kept.empty:
        raise UnknownName(f"model of {file.name}", model, {str(one)[:80] for one in table["model"].unique()[:100]})
    return kept


# Requests, one a row -------------------------------------------------------------------------------------------------


def _json_lines(file: Path, content: str) -> pd.DataFrame:
    """Mooncake's requests, with the columns of a plain CSV."""
    import json

    import pandas as pd

    rows = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadData(f"{file}: line {number}: expected one JSON object, found {shown(line)} ({error})") from None
        if not isinstance(row, dict) or not {"timestamp", "input_length", "output_length"} <= row.keys():
            raise BadData(
                f"{file}: line {number}: expected an object with timestamp, input_length and output_length "
                f"(Mooncake's), found {shown(row)}"
            )
        rows.append((row["timestamp"], row["input_length"], row["output_length"], row.get("hash_ids", ())))
        reading.within(str(file), len(rows), 1)
    table = pd.DataFrame(rows, columns=["arrival_s", "prompt_tokens", "output_tokens", "block_ids"])
    table["arrival_s"] = _numbers(file, "timestamp", table["arrival_s"]) / 1e3
    if not any(isinstance(one, list) and one for one in table["block_ids"]):
        return table.drop(columns="block_ids")
    return table


def _trace(file: Path, table: pd.DataFrame, timeout_s: float | None) -> Trace:
    if table.empty:
        raise BadData(f"{file}: expected requests, found no row")
    names = {what: _named(file, table, what, names) for what, names in (("arrival", ARRIVALS), ("prompt", PROMPTS))}
    names["output"] = _named(file, table, "output", OUTPUTS)
    arrival = _times(file, names["arrival"], table[names["arrival"]])
    prompt, output = (_numbers(file, names[what], table[names[what]]) for what in ("prompt", "output"))
    for what, found in (("prompt", prompt), ("output", output)):
        if not ((found >= 0) & (found <= LONGEST) & (found == np.rint(found))).all():
            where = int(np.flatnonzero(~((found >= 0) & (found <= LONGEST) & (found == np.rint(found))))[0])
            raise BadData(
                f"{file}: column {names[what]!r}, row {where + 1}: expected whole tokens, found {found[where]:g}"
            )
    kept = np.flatnonzero((prompt > 0) & (output > 0))
    if not kept.size:
        raise BadData(f"{file}: expected requests with a prompt and an output, found none in {len(table):,} rows")
    order = kept[np.argsort(arrival[kept], kind="stable")]
    blocks = _blocks(file, table, prompt, order)
    prefix_id, prefix_tokens = _prefixes(file, table, prompt, order)
    requests = Requests(
        arrival_s=arrival[order] - arrival[order[0]],
        prompt=prompt[order].astype(np.int32),
        output=output[order].astype(np.int32),
        pairs=np.empty(0, np.int32),
        prefix_id=prefix_id,
        prefix_tokens=prefix_tokens,
        blocks=blocks.names,
        block_start=blocks.start,
        block_tokens=blocks.tokens,
        timeout_s=patience(timeout_s),
    )
    return Trace(file.name.removesuffix(".gz").removesuffix(".csv"), requests, left_out=len(table) - len(kept))


def _named(file: Path, table: pd.DataFrame, what: str, names: Iterable[str]) -> str:
    found = next((name for name in names if name in table), None)
    if found is None:
        columns = ", ".join(map(str, table.columns))[:300]
        raise BadData(f"{file}: expected a column of {what}s ({', '.join(names)}), found {columns}")
    return found


def _numbers(file: Path, name: str, column: pd.Series[Any]) -> np.ndarray:
    """A column as finite floats."""
    import pandas as pd

    if column.map(lambda value: isinstance(value, bool)).any() if column.dtype == object else column.dtype == bool:
        raise BadData(f"{file}: column {name!r}: expected numbers, found True or False")
    try:
        found = pd.to_numeric(column, errors="coerce").to_numpy(dtype=float)
    except (TypeError, ValueError, OverflowError):  # a list, an integer that no float holds
        raise BadData(f"{file}: column {name!r}: expected numbers, found {shown(column.iloc[0])}") from None
    bad = np.flatnonzero(~np.isfinite(found))
    if bad.size:
        raise BadData(
            f"{file}: column {name!r}, row {bad[0] + 1}: expected a number, found {shown(column.iloc[bad[0]])}"
        )
    return found


def _times(file: Path, name: str, column: pd.Series[Any]) -> np.ndarray:
    """Times of arrival (s): numbers as they are, dates as Azure writes them from the earliest on."""
    import pandas as pd

    if not pd.api.types.is_string_dtype(column) or column.map(lambda v: str(v).replace(".", "", 1).isdigit()).all():
        return _numbers(file, name, column)
    try:
        dates = pd.to_datetime(column, format="ISO8601", utc=True)
    except (ValueError, OverflowError, TypeError) as error:
        raise BadData(f"{file}: column {name!r}: expected seconds or dates (ISO 8601): {error}") from None
    if dates.isna().any():
        raise BadData(f"{file}: column {name!r}, row {int(np.argmax(dates.isna())) + 1}: expected a date, found none")
    return (dates - dates.min()).dt.total_seconds().to_numpy(dtype=float)


def _blocks(file: Path, table: pd.DataFrame, prompt: np.ndarray, order: np.ndarray) -> Blocks:
    """The names of the blocks of each request, in the order of arrival."""
    name = next((one for one in BLOCKS if one in table), None)
    if name is None:
        return Blocks.none()
    cells = table[name].iloc[order]
    as_lists = cells.map(lambda cell: isinstance(cell, list | tuple)).all()
    found = (from_lists if as_lists else from_text)(f"{file}: column {name!r}", list(cells))
    return found._replace(tokens=block_tokens(f"{file}: column {name!r}", prompt[order], np.diff(found.start)))


def _prefixes(file: Path, table: pd.DataFrame, prompt: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which shared prefix each prompt begins with (-1 for none), and its tokens."""
    if "prefix_tokens" not in table or "prefix_id" not in table:
        return np.full(len(order), -1, np.int32), np.zeros(len(order), np.int32)
    which, tokens = (_numbers(file, name, table[name])[order] for name in ("prefix_id", "prefix_tokens"))
    for name, found, least, most in (
        ("prefix_id", which, -1.0, np.full(len(order), 2.0**31 - 1)),
        ("prefix_tokens", tokens, 0.0, prompt[order]),
    ):
        bad = np.flatnonzero(~((found >= least) & (found <= most) & (found == np.rint(found))))
        if bad.size:
            raise BadData(
                f"{file}: column {name!r}: expected whole numbers from {least:g} to {most[bad[0]]:g}, "
                f"found {found[bad[0]]:g}"
            )
    return which.astype(np.int32), np.where(which < 0, 0, tokens).astype(np.int32)
