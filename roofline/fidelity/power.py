"""Published power beside what the model of power says: chips under language models, servers at the wall.

Rows stand in ``roofline/evidence/measured/power.csv``: what the chips' own sensors read (`chip_power_w`) and what a
meter at the wall of a server of several chips did (`power_w`). Those whose `set_on` names ``power`` or ``server`` had a
part in setting that part of the model; the others show what it is worth.

Rows with a limit (`cap_w`) ran on chips that were held below their TDP: so are those of the estimates
(:mod:`roofline.hardware.limits`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from roofline.catalog.load import load_chip
from roofline.estimates import power
from roofline.fidelity import end_to_end
from roofline.hardware import limits

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from roofline.hardware.chip import Chip

_TEXT = ("stack", "model", "dtype", "weight_dtype", "kv_dtype", "policy", "set_on", "note")
_NUMBERS = (
    "rate",
    "tp",
    "dp",
    "ep",
    "prompt",
    "prompt_sd",
    "output",
    "output_sd",
    "concurrency",
    "chunk",
    "beams",
    "batch",
    "skew",
    "cap_w",
)


def published() -> pd.DataFrame:
    """Every published figure, one a row; the file's README says what each source is."""
    table = end_to_end.read("power.csv", {name: [""] for name in _NUMBERS})
    return table.assign(requests=math.nan)


def predict(row: dict[str, Any]) -> tuple[float, float, Any]:
    """Power of one chip and of the row's system (W), and the estimate behind them, if there is one."""
    chip, estimate = load_chip(row["chip"]), None
    if row["method"] == "idle":
        one = power.idle_w(chip)
    elif row["method"] == "full":
        one = chip["power.tdp"]
    else:
        estimate = end_to_end.predict(row)
        one = _pipelined(estimate) if row["method"] == "rank" else estimate.chip_power_w
    if not math.isnan(row["cap_w"]):
        one = min(one, row["cap_w"])
    return float(one), float(power.wall_w(chip, one)) * row["chips"], estimate


def _pipelined(estimate: Any) -> float:
    """Power of a chip whose batches overlap with what the host does: as much above idle, in less time."""
    chip: Chip = estimate.chip
    faster = estimate.pipelined_samples_per_s / estimate.samples_per_s
    return float(power.watts(chip, min(power.load(chip, estimate.step) * faster, 1.0)))


def rows() -> pd.DataFrame:
    """Every published figure beside its prediction.

    Returns
    -------
    DataFrame
        id, source, chip, chips, model, setting, metric, published, predicted (W), ratio, error; `naive`: the same with
        every chip at its TDP or its limit; `rate_ratio`: predicted over published throughput; `joule_ratio`: predicted
        over published work for a joule (chips alone, or at the wall, as the row's watts); set_on, note.
    """
    import pandas as pd

    out = []
    for record in published().to_dict("records"):
        row = {str(k): v for k, v in record.items()}
        one, wall, estimate = predict(row)
        value = one if row["metric"] == "chip_power_w" else wall
        chip = load_chip(row["chip"])
        most = chip["power.tdp"] if math.isnan(row["cap_w"]) else row["cap_w"]
        naive = most if row["metric"] == "chip_power_w" else float(power.wall_w(chip, most)) * row["chips"]
        rate = math.nan if estimate is None else _rate(row, estimate) / row["rate"]
        out.append(
            {
                "id": row["id"],
                "source": row["source"],
                "chip": row["chip"],
                "chips": row["chips"],
                "model": row["model"],
                "setting": _setting(row),
                "metric": row["metric"],
                "published": row["value"],
                "predicted": value,
                "ratio": value / row["value"],
                "error": abs(value / row["value"] - 1),
                "naive": naive / row["value"],
                "rate_ratio": rate,
                "joule_ratio": rate * row["value"] / value,
                "set_on": row["set_on"],
                "note": row["note"],
            }
        )
    return pd.DataFrame.from_records(out)


def limited() -> pd.DataFrame:
    """Throughput under a limit of power, over that without: published, by the law of the clock alone, and estimated.

    Returns
    -------
    DataFrame
        model, cap_w, tdp_w, published, law, predicted; set_on: whether the law was set on it. One row each of NVIDIA's
        H200 under a limit (MLPerf Inference v4.1, Offline), beside the best submission of that chip without.
    """
    import pandas as pd

    free = end_to_end.published().query("source == 'mlperf-4.1' and chip == 'h200'").set_index("model")
    out = []
    for record in published().query("source == 'mlperf-4.1' and note.str.startswith('Offline')").to_dict("records"):
        row = {str(k): v for k, v in record.items()}
        chip, without = load_chip(row["chip"]), free.loc[row["model"]]
        under, above = (_rate(row, predict({**row, "cap_w": watts})[2]) for watts in (row["cap_w"], math.nan))
        out.append(
            {
                "model": row["model"],
                "cap_w": row["cap_w"],
                "tdp_w": chip["power.tdp"],
                "published": row["rate"] / row["chips"] / (without["value"] / without["chips"]),
                "law": limits.sustained_clock(row["cap_w"] / chip["power.tdp"], chip["power.floor_share"]),
                "predicted": under / above,
                "set_on": without["set_on"] == "clock",
            }
        )
    return pd.DataFrame.from_records(out)


def _rate(row: dict[str, Any], estimate: Any) -> float:
    return float(estimate.pipelined_samples_per_s * row["dp"] if row["method"] == "rank" else estimate.tokens_per_s)


def _setting(row: dict[str, Any]) -> str:
    if row["method"] in ("idle", "full"):
        return {"idle": "at rest", "full": "at full load"}[row["method"]]
    if row["method"] == "rank":
        return f"{row['dtype']}, batch {row['batch']:,.0f}"
    return f"{row['dtype']}, {row['concurrency']:,.0f} in flight"


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of chips under language models, by chip and by what they are good for.

    Returns
    -------
    DataFrame
        chip, rows (in words), count, `error` (mean of |ratio - 1|), `bias` (mean of ratio - 1), `naive` (mean error of
        every chip at its TDP), `scatter` (standard deviation of ln ratio), `joules` (median of |joule_ratio - 1|).
    """
    import numpy as np
    import pandas as pd

    table = table[table["metric"] == "chip_power_w"]
    near = table["rate_ratio"].between(1 / RATE_NEAR, RATE_NEAR)
    parts = {
        "set on": (table["set_on"] == "power") & near,
        "not set on, throughput within a factor of 1.5": (table["set_on"] == "") & near,
        "throughput further off": ~near,
    }
    out = []
    for chip in table["chip"].unique():
        for words, which in parts.items():
            part = table[which & (table["chip"] == chip)]
            if len(part):
                out.append(
                    {
                        "chip": chip,
                        "rows": words,
                        "count": len(part),
                        "error": part["error"].mean(),
                        "bias": (part["ratio"] - 1).mean(),
                        "naive": (part["naive"] - 1).abs().mean(),
                        "scatter": float(np.std(np.log(part["ratio"]))),
                        "joules": (part["joule_ratio"] - 1).abs().median(),
                    }
                )
    return pd.DataFrame.from_records(out)


#: Throughput is near where it is within this factor: else the chip waited for something that the estimate has not.
RATE_NEAR = 1.5


def fit() -> dict[str, float]:
    """The three shares of load by least squares on the rows that they were set on, from no more than the model's form.

    Returns
    -------
    dict of str to float
        active_share, compute_share, memory_share; `roofline/chips/families/gpu.toml` has them rounded.
    """
    import numpy as np
    from scipy.optimize import least_squares

    names, above, terms = ("active_share", "compute_share", "memory_share"), [], []
    for record in published().query("set_on == 'power'").to_dict("records"):
        row = {str(k): v for k, v in record.items()}
        estimate = predict(row)[2]
        alone = [estimate.chip.what_if({f"power.{one}": float(one == name) for one in names}) for name in names]
        idle, tdp = power.idle_w(estimate.chip), estimate.chip["power.tdp"]
        above.append((row["value"] - idle) / (tdp - idle))
        terms.append([_load(estimate, chip) for chip in alone])
    design, wanted = np.array(terms), np.array(above)

    def missed(shares: np.ndarray) -> np.ndarray:
        return np.asarray(np.minimum(design @ shares, 1.0) - wanted)

    found = least_squares(missed, np.full(3, 0.4), bounds=(0, 5))
    return dict(zip(names, map(float, found.x), strict=True))


def _load(estimate: Any, chip: Chip) -> float:
    """Mean load over the phases with the shares of a chip."""
    parts = [(weight, power.load(chip, phase, busy)) for phase, weight, busy in estimate._loads()]
    return float(sum(weight * load for weight, load in parts) / sum(weight for weight, _ in parts))
