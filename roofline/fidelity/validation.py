"""Predictions against measurements: how far off, by operator class, dtype, chip, framework, role and regime of time.

Roles: ``calibrate`` rows are those that parameters were fitted to, ``test-shapes`` are shapes that no fit has seen, and
``test-chip`` rows are of a chip that no fit has seen. Beside the model stand two baselines on the same rows: the naive
roofline, and the best three constants, ``t0 + max(FLOP / (a peak), bytes / (b bandwidth))``, fitted to the calibrate
rows of each class. Errors are relative to the measured time; figures over all regimes weigh the regimes equally.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadData
from roofline.base.face import CALL, FLAG, NAME, TABLE, optional, takes
from roofline.catalog.load import CHIP, load_chip
from roofline.evidence import measurements
from roofline.evidence.measurements import REGIMES
from roofline.fidelity import exclusions, goals, scores

if TYPE_CHECKING:
    import pandas as pd

    from roofline.hardware.chip import Chip

#: The interval whose coverage is counted, and its half width in standard deviations.
LEVEL, _Z = 0.9, 1.6448536

#: What tells the rows of the table apart.
GROUP = ["class", "dtype", "chip", "framework", "role"]

#: Chips that are validated with their own datasheet and another chip's parameters as well. No estimate uses these: it
#: shows how far one chip's parameters carry.
CARRIED = {"a100-sxm-80gb": "h100-sxm"}

#: Chips that are validated with their own datasheet and their family's parameters as well: what a user gets whose chip
#: nobody has measured.
UNMEASURED = ("a100-sxm-80gb",)

_MEASURED = Path(__file__).parent.parent / "evidence" / "measured"
_TABLES = ("gemm", "attention", "mla_attention", "moe", "collectives", "quantize")
_WORDS = ("chip", "framework", "version", "kernel", "role", "variant", "flags")
_ABOUT = (*_WORDS, "naive_s", "distribution")


@dataclass(frozen=True)
class Validation:
    """Predictions compared with measurements.

    Attributes
    ----------
    table : DataFrame
        One row for each group of :data:`GROUP` and regime ("all": regimes weighted equally): `rows`; `mape`, `median`
        and `p90` of the absolute relative error; `bias` (median of predicted over measured, less 1); `spearman`;
        `coverage` of the 90 % interval; `naive` and `three` (MAPE of the baselines); `parameters` (whose they are).
    rows : DataFrame
        Every usable measured row with `predicted_s`, `lower_s`, `naive_s`, `three_s`, `low_s`, `high_s` (s), `rule`
        (that excludes it, or empty; late rules too in `late_rule`), the columns of :data:`GROUP`, and the prediction
        and its interval were every kernel called tuned (`unlabelled_predicted_s`, `unlabelled_low_s`,
        `unlabelled_high_s`).
    goals : DataFrame
        What was aimed at and what was reached.
    excluded : DataFrame
        Rows that the rules of :mod:`roofline.fidelity.exclusions` take: of those here, and of the complete data.
    bad : DataFrame
        Rows that cannot be used: chip, row, reason. Of measurements of your own those that no machine can be as fast as
        too, which are mostly slips; of public ones a rule excludes those.
    source : str
    """

    table: pd.DataFrame
    rows: pd.DataFrame
    goals: pd.DataFrame
    excluded: pd.DataFrame
    bad: pd.DataFrame
    source: str


def shipped() -> pd.DataFrame:
    """The measured rows that roofline ships: a sample; the README in ``evidence/measured`` says whose and how made."""
    import pandas as pd

    return pd.concat(
        [pd.read_csv(_MEASURED / f"{name}.csv.gz", low_memory=False) for name in _TABLES], ignore_index=True
    )


@takes(data=optional(TABLE), chip=optional(CHIP), full=FLAG, full_from=optional(NAME), progress=optional(CALL))
def validate(
    data: str | os.PathLike[str] | pd.DataFrame | None = None,
    chip: Chip | str | None = None,
    *,
    full: bool = False,
    full_from: str | os.PathLike[str] | None = None,
    progress: Callable[[str], None] | None = None,
) -> Validation:
    """Hold predictions against measured operator times.

    Parameters
    ----------
    data : path or DataFrame, optional
        Measurements of your own, in the columns of :mod:`roofline.evidence.measurements`. Default: those that
        roofline ships.
    chip : Chip or str, optional
        The chip of rows without a column `chip`; with that column, only the rows of this chip.
    full : bool
        All H100, H200, A100 and B200 rows of the installed package aiconfigurator-core 0.12.0 in place of the sample.
    full_from : path, optional
        The same from a folder that the package was unpacked to.
    progress : callable, optional
        Called with a line now and then.

    Returns
    -------
    Validation
        ``table``, the errors by class, dtype and regime of time, and ``rows``.

    Raises
    ------
    BadData
        When the measurements cannot be read or none can be used.

    Examples
    --------
    >>> import pandas as pd
    >>> import roofline as rl
    >>> rows = pd.DataFrame({"op": "gemm", "dtype": "bf16", "m": [64, 4096], "n": 4096, "k": 4096})
    >>> rows["time_s"] = 1.25 * rl.cost(rl.gemm(m=[64, 4096], n=4096, k=4096), "h100-sxm").time_s  # a quarter slower
    >>> rl.validate(rows, "h100-sxm").table["mape"].round(2).tolist()
    [0.2, 0.2, 0.2]
    """
    say = progress or (lambda text: None)
    own = data is not None
    if own and (full or full_from is not None):
        raise BadData("validate: expected either measurements of your own or the full public data, found both")
    if data is not None:
        frame, source = measurements.read(data), str(data) if isinstance(data, str | os.PathLike) else "measurements"
    elif full or full_from is not None:
        from roofline.fidelity import aiconfigurator

        say("reading aiconfigurator-core")
        frame, source = aiconfigurator.read(full_from), f"aiconfigurator-core {aiconfigurator.VERSION}, all rows"
    else:
        frame, source = shipped(), "the shipped sample of aiconfigurator-core 0.12.0"
    frame, chips = _by_chip(frame, chip)
    rows, bad = _predictions(frame, chips, source, lend=not own, say=say)
    say("fitting the three-constant baseline")
    rows["three_s"] = _three_constants(rows)
    kept = rows[rows["rule"] == ""]
    table = _table(kept)
    return Validation(
        table,
        rows,
        goals.reached(rows, scores.summary) if not own else table.iloc[:0],
        _excluded(rows, complete=not own and not full and full_from is None),
        bad,
        source,
    )


def _by_chip(frame: pd.DataFrame, chip: Chip | str | None) -> tuple[pd.DataFrame, dict[str, Chip]]:
    given = load_chip(chip) if isinstance(chip, str) else chip
    for column in _WORDS:
        if column not in frame.columns:
            frame = frame.assign(**{column: "" if column != "role" else "own"})
    words = {c: frame[c].astype(object).where(frame[c].notna(), "").astype(str) for c in _WORDS}
    frame = frame.assign(**words)
    frame["role"] = frame["role"].where(frame["role"] != "", "own")
    if (frame["chip"] == "").any():
        if given is None:
            raise BadData("the measurements have no column 'chip': say whose they are (roofline validate --chip NAME)")
        frame["chip"] = frame["chip"].where(frame["chip"] != "", given.name)
    # The chip that was given is the one of its name: it may be a file that no name leads to.
    chips = {n: given if given is not None and n == given.name else load_chip(n) for n in frame["chip"].unique()}
    if given is not None:
        names = [name for name, known in chips.items() if known.name == given.name]
        frame, chips = frame[frame["chip"].isin(names)], dict.fromkeys(names, given)
        if frame.empty:
            raise BadData(f"no measured row is of the chip {given.name}")
    return frame, chips


def _in_cycles(path: str) -> bool:
    """Whether a parameter is a fixed time of the chip's own doing; how long its power lasts is not."""
    return path.endswith("_s") and not path.endswith("throttle_s")


def carried(chip: Chip, source: Chip) -> Chip:
    """A chip with its own datasheet and the efficiency parameters of another: what is known before it is measured.

    Fixed times are mostly instructions, and pipelines that fill: they are carried as cycles of the clock. Its spreads
    are those of its family, as of any chip that nobody has measured.
    """
    numbers = {p: n for p, n in chip.numbers.items() if not p.startswith(("efficiency.", "stack."))}
    known = "clock" in chip.numbers and "clock" in source.numbers
    slower = source["clock"] / chip["clock"] if known else 1.0
    lent = {
        p: dataclasses.replace(n, inherited=source.name, value=n.value * slower if _in_cycles(p) else n.value)
        for p, n in source.numbers.items()
        if p.startswith(("efficiency.", "stack.")) and ".spread" not in p
    }
    return dataclasses.replace(chip, numbers={**numbers, **lent})


def unmeasured(chip: Chip) -> Chip:
    """A chip as it would be had nobody measured it: its own datasheet, the efficiency parameters of its family."""
    fitted = ("efficiency.", "stack.", "overheads.", "latency.", "calibration.")
    numbers = {p: n for p, n in chip.numbers.items() if not p.startswith(fitted)}
    return dataclasses.replace(chip, numbers=numbers, default_stack={})


def stacks_of(chip: Chip, framework: str, variant: str, op: str, version: str) -> tuple[str, ...]:
    """The stacks of a chip that a row is predicted with, laid one upon the other; none for the plain parameters.

    A framework's stack for the variant (``sglang_block_triton``, else ``sglang_block``) is taken rather than its
    general one; what differs in one version (``trtllm_1_3_0rc10``) comes on top.
    """
    known = {p.split(".")[1] for p in chip.numbers if p.startswith("stack.") and p.split(".")[3] == op}
    words = variant.replace("-", "_").split()
    names = [f"{framework}_{'_'.join(words[:n])}" for n in range(len(words), 0, -1)] + [framework]
    general = next((name for name in names if name in known), "")
    newer = f"{framework}_{version.replace('.', '_')}"
    return tuple(name for name in (general, newer) if name in known)


def _predictions(
    frame: pd.DataFrame, chips: dict[str, Chip], source: str, lend: bool, say: Callable[[str], None]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    import pandas as pd

    found: list[pd.DataFrame] = []
    bad: list[tuple[str, Any, str]] = []
    for name, chip in chips.items():
        part = frame[frame["chip"] == name]
        say(f"{name}: {len(part):,} rows")
        made = [_predicted(part, chip, bad, lend)]
        if lend and name in CARRIED:
            lender = load_chip(CARRIED[name])
            lent = _predicted(part, carried(chip, lender), [], lend)
            made.append(lent.assign(chip=f"{name} < {lender.name}", role="not fitted"))
        if lend and name in UNMEASURED:
            plain = _predicted(part, unmeasured(chip), [], lend)
            made.append(plain.assign(chip=f"{name} < {chip.family} family", role="family's"))
        found += [m for m in made if len(m)]
    if not found:
        why = pd.Series({row: reason for _, row, reason in bad}, dtype=object)
        raise BadData(f"no row of {source} can be used: {measurements.reasons(why)}")
    rows = pd.concat(found, ignore_index=True)
    rows["rule"] = exclusions.excluded(rows["flags"])
    rows["late_rule"] = exclusions.excluded(rows["flags"], late=True)
    return rows, pd.DataFrame(bad, columns=["chip", "row", "reason"])


def _predicted(frame: pd.DataFrame, chip: Chip, bad: list[tuple[str, Any, str]], public: bool) -> pd.DataFrame:
    """The usable rows of one chip with what the model says of them, with the label of untuned kernels and without.

    Rows beyond the bound are flagged where they are `public`, and bad in a table of somebody's own.
    """
    rows = _labelled(frame, chip, bad, public)
    if rows.empty:
        return rows
    rows = rows.assign(**{f"unlabelled_{name}": rows[name] for name in _PREDICTIONS})
    untuned = frame[frame["tuned"].eq(False)] if "tuned" in frame.columns else frame.iloc[:0]
    if len(untuned):
        other = _labelled(untuned.drop(columns="tuned"), chip, [], public)
        for name in _PREDICTIONS if len(other) else ():
            rows.loc[other.index, f"unlabelled_{name}"] = other[name]
    return rows


_PREDICTIONS = ("predicted_s", "low_s", "high_s")


def _labelled(frame: pd.DataFrame, chip: Chip, bad: list[tuple[str, Any, str]], public: bool) -> pd.DataFrame:
    """The usable rows of one chip with what the model says of them; `public` ones beyond the bound are flagged."""
    import pandas as pd

    parts = []
    for (framework, variant, op, version), rows in frame.groupby(["framework", "variant", "op", "version"], sort=False):
        under, stacks = chip, stacks_of(chip, str(framework), str(variant), str(op), str(version))
        for stack in stacks:
            under = under.on_stack(stack)
        rows = rows[[c for c in rows.columns if c in ("op", "time_s") or rows[c].notna().any()]]
        arguments = rows.drop(columns=[c for c in _ABOUT if c in rows.columns])
        why, predicted = measurements.judged(arguments, under)
        too_fast = why.index[why == measurements.TOO_FAST] if public else why.index[:0]
        why = why.drop(index=too_fast)
        bad += [(chip.name, row, reason) for row, reason in why.items()]
        good = measurements.numeric(arguments.drop(index=why.index))
        if good.empty:
            continue
        predicted = predicted.loc[good.index].drop(columns=["kind", "dtype"])
        about = rows.loc[good.index, [c for c in _ABOUT if c in rows.columns and c != "naive_s"]]
        labels: dict[str, Any] = {"class": _class(str(op), str(variant)), "dtype": _dtype(good, str(op), str(variant))}
        made = pd.concat([about, predicted], axis=1).assign(
            measured_s=good["time_s"], stack=" + ".join(stacks), **labels
        )
        if len(too_fast):
            made.loc[too_fast, "flags"] = exclusions.IMPOSSIBLE + ";" + made.loc[too_fast, "flags"].astype(str)
        for column in ("head_dim", "ep"):
            made[column] = good.get(column, np.nan)
        parts.append(made)
    if not parts:
        return frame.iloc[:0]
    rows = pd.concat(parts)
    half = np.exp(_Z * rows["spread"].astype(float))
    rows["low_s"] = np.maximum(rows["predicted_s"] / half, rows["lower_s"])
    rows["high_s"] = np.maximum(rows["predicted_s"] * half, rows["lower_s"])
    rows["regime"] = measurements.regime(rows["naive_s"].to_numpy(dtype=float))
    return rows


def _class(op: str, variant: str) -> str:
    if op == "mla_attention":
        return f"MLA {variant}".strip()
    return f"attention {variant}".strip() if op == "attention" else op


def _dtype(rows: pd.DataFrame, op: str, variant: str) -> pd.Series[str]:
    """How the table names a row's dtypes: ``fp8 block``, ``bf16, fp8 KV``."""
    import pandas as pd

    plain = rows["dtype"] if "dtype" in rows else pd.Series("", index=rows.index)
    dtype = plain.astype(object).where(plain.notna(), "").astype(str)
    if op in ("gemm", "moe"):
        return dtype + (f" {variant}" if variant else "")
    if op in ("attention", "mla_attention") and "kv_dtype" in rows:
        query = rows["query_dtype"].fillna(dtype) if "query_dtype" in rows else dtype
        narrow = rows["kv_dtype"].notna() & (rows["kv_dtype"] != query)
        return query.where(~narrow, query + ", " + rows["kv_dtype"].astype(str) + " KV")
    return dtype.where(dtype != "", variant)


# Baselines and figures -------------------------------------------------------------------------------------------


def _three_constants(rows: pd.DataFrame) -> pd.Series[float]:
    """Times (s) by the best three constants of each class, fitted to calibrate rows; NaN where there are none."""
    import pandas as pd

    out = pd.Series(np.nan, index=rows.index)
    usable = rows[rows["rule"] == ""]
    keys = ["class", "dtype", "framework", "chip"]
    given = usable[usable["role"].isin(["calibrate", "own"])].groupby(keys)
    fitted = {key: _fit_three(part) for key, part in given if len(part) >= 12}
    for key, part in usable.groupby(keys):
        own, _, lender = str(key[-1]).partition(" < ")
        lender = {**CARRIED, "h200": "h100-sxm"}.get(own, own) if lender or own == "h200" else own
        constants = fitted.get((*key[:-1], lender))
        if constants is not None:
            out[part.index] = _three(constants, *_ideal_times(part))
    return out


def _ideal_times(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The times (s) of computing and of moving bytes at full rates."""
    moved = np.maximum(rows["memory_s"].to_numpy(float), rows["link_s"].to_numpy(float))
    return rows["compute_s"].to_numpy(float), moved


def _three(constants: np.ndarray, computing: np.ndarray, moving: np.ndarray) -> np.ndarray:
    fixed, compute, memory = np.exp(constants)
    found: np.ndarray = fixed + np.maximum(computing / compute, moving / memory)
    return found


def _fit_three(rows: pd.DataFrame) -> np.ndarray:
    from scipy.optimize import minimize

    measured = np.log(rows["measured_s"].to_numpy(float))
    weight = 1.0 / rows.groupby("regime")["regime"].transform("size").to_numpy(float)
    weight /= weight.sum()
    computing, moving = _ideal_times(rows)

    def loss(x: np.ndarray) -> float:
        return float(np.sum(weight * np.abs(np.log(_three(x, computing, moving)) - measured)))

    starts = [np.log([t0, a, b]) for t0 in (3e-6, 10e-6) for a, b in ((0.75, 0.8), (0.4, 0.5))]
    found = [minimize(loss, x, method="Nelder-Mead", options={"maxfev": 400}) for x in starts]
    return min(found, key=lambda f: float(f.fun)).x


def _table(rows: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    records = []
    key: Any
    for key, part in rows.groupby(GROUP, sort=False):
        head = dict(zip(GROUP, key, strict=True))
        whose = ", ".join(sorted({str(stack) or "default" for stack in part["stack"]}))
        columns = scores.Columns.of(part)
        regimes = scores.by_regime(columns)
        records.append({**head, "regime": "all", **scores.over_regimes(columns, regimes), "parameters": whose})
        for number, figures in regimes.items():
            records.append({**head, "regime": REGIMES[number], **figures, "parameters": whose})
    return pd.DataFrame.from_records(records)


def carries(rows: pd.DataFrame) -> pd.DataFrame:
    """How far parameters carry to chips that they were not fitted on, class by class.

    Parameters
    ----------
    rows : DataFrame
        As of :class:`Validation`, without those that a rule excludes.

    Returns
    -------
    DataFrame
        chip (``A < B``: whose datasheet, whose parameters), class, lines (of the table), rows, least, most and mean
        error, naive (mean), coverage (mean) over the lines.
    """
    import pandas as pd

    def line(part: pd.DataFrame) -> dict[str, Any]:
        lines = [scores.summary(mine) for _, mine in part.groupby(["dtype", "framework"])]
        errors = [s["mape"] for s in lines]
        mean = {name: float(np.mean([s[name] for s in lines])) for name in ("naive", "coverage")}
        return {
            "lines": len(lines),
            "rows": len(part),
            "least": min(errors),
            "most": max(errors),
            "mean": float(np.mean(errors)),
            **mean,
        }

    lent = rows[rows["chip"].str.contains(" < ")]
    words = lent["class"].where(~lent["class"].isin(goals.NCCL), "collectives")
    groups = lent.groupby([words, "chip"], sort=False)
    return pd.DataFrame.from_records([{"class": c, "chip": chip, **line(part)} for (c, chip), part in groups])


def _excluded(rows: pd.DataFrame, complete: bool) -> pd.DataFrame:
    """Rows that each rule takes: chip, class and framework; `complete` counts those of all public data."""
    import pandas as pd

    rows = rows[~rows["chip"].str.contains("<")]
    taken = rows[rows["late_rule"] != ""]
    keys = ["late_rule", "class", "dtype", "framework", "chip", "role"]
    table = taken.groupby(keys).size().rename("rows").reset_index().rename(columns={"late_rule": "rule"})
    table["late"] = [exclusions.BY_FLAG[r].late for r in table["rule"]]
    if complete:
        counts = pd.read_csv(_MEASURED / "counts.csv", keep_default_na=False)
        counts["rule"] = exclusions.excluded(counts["rule"], late=True)
        whole = counts.groupby("rule")["rows"].sum()
        table.attrs["complete"] = {
            rule.flag: int(whole.get(rule.flag, 0)) for rule in exclusions.RULES if rule.flag != exclusions.IMPOSSIBLE
        }
        table.attrs["complete_rows"] = int(counts["rows"].sum())
    return table
