"""Predictions against published end-to-end results: served and offline throughput, latencies, ranked pairs.

The results are facts with sources, in ``roofline/evidence/measured/end_to_end.csv``; where each figure was read and
what had to be assumed stands in the README beside it. Three settings were made on some of them, on their systems or
in sight of them: :func:`settings` lists these, a column `set_on` marks the rows, and :func:`with_and_without` counts
both ways. No other parameter is fitted on them; what else was chosen after seeing them is listed on the page that
``end_to_end_report.py`` writes.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, Any, cast

from roofline.base.face import NUMBER, optional, takes
from roofline.catalog.load import load_chip, load_model
from roofline.estimates.estimate import estimate
from roofline.hardware.limits import LIMIT
from roofline.hardware.variants import PLAIN
from roofline.serving.steady import serve

if TYPE_CHECKING:
    import pandas as pd

    from roofline.estimates.language import LanguageEstimate
    from roofline.estimates.recommendation import RecommendationEstimate
    from roofline.estimates.request import RecommendationOptions, RequestOptions
    from roofline.hardware.chip import Chip
    from roofline.models.llm import LanguageModel
    from roofline.models.recommender import Recommender
    from roofline.serving.server import ServingEstimate
    from roofline.serving.steady import LoadOptions

#: Sequences that an engine decodes at a time unless told otherwise: TensorRT-LLM's default ``max_batch_size``.
MAX_BATCH = 2048

#: What a row's `metric` is called by the estimate that predicts it, by `method`.
_FIGURE = {("rank", "samples_per_s"): "pipelined_samples_per_s"}


@functools.cache
def published() -> pd.DataFrame:
    """The table of published results, one a row.

    Columns: id, source, method (``serve``: in-flight batching; ``static``: one batch from prefill to its last token;
    ``rank``: user-item pairs, batches in a pipeline), chip, stack (the
    software, whose parameters are taken where the chip has them), chips, model, metric, value (SI units; of the whole
    system), then the arguments of the prediction: dtypes, degrees of parallelism, lengths and their standard
    deviations (tokens), concurrency (empty: what memory holds), requests
    (of the whole run; empty: endless), chunk, beams, batch, skew; recalled (columns that are
    from memory), set_on (the settings of :func:`settings` that the row had a part in), note, reference.
    """
    return read("end_to_end.csv", {c: [""] for c in _NUMBERS})


def settings() -> pd.DataFrame:
    """What was set on published results, or in sight of them.

    Columns: setting (as in `set_on` of :func:`published`), figure (of which descriptor), set_on (which results).
    """
    return read("settings.csv", {})


def read(name: str, missing: dict[str, list[str]]) -> pd.DataFrame:
    """A table of published results that ships, and what stands for nothing in each of its columns of numbers."""
    import pandas as pd

    with (resources.files("roofline.evidence.measured") / name).open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=False, na_values=missing)


_NUMBERS = (
    "value",
    "tp",
    "dp",
    "ep",
    "prompt",
    "prompt_sd",
    "output",
    "output_sd",
    "concurrency",
    "requests",
    "chunk",
    "beams",
    "batch",
    "skew",
)


#: Whose parameters a prediction takes: those of the software that ran; what a user gets who names no stack. Any other
#: name is a stack's, for all rows; chips that do not have it keep their own figures, as do all for "plain".
NAMED, DEFAULT = "named", "default"

#: What the rows are also predicted with, in words: what a user gets who names no stack, and what that was chosen among.
OTHERS = {
    "no stack named": DEFAULT,
    "plain parameters": PLAIN,
    "trtllm for all": "trtllm",
    "vllm for all": "vllm",
    "sglang for all": "sglang",
}


def predict(row: dict[str, Any], stacks: str = NAMED) -> ServingEstimate | LanguageEstimate | RecommendationEstimate:
    """The estimate that answers for one row of :func:`published`.

    Parameters
    ----------
    row : dict
        A row's columns. With `cap_w` among them, the chips are held to so many watts.
    stacks : str
        :data:`NAMED`, :data:`DEFAULT` or the name of a stack.

    Returns
    -------
    ServingEstimate, LanguageEstimate or RecommendationEstimate
    """
    model = load_model(row["model"])
    chip = load_chip(row["chip"])
    if row.get("cap_w", 0) > 0:
        chip = chip.what_if({LIMIT: row["cap_w"] / chip["power.tdp"]})
    if stacks != DEFAULT:
        wanted = row["stack"] if stacks == NAMED else stacks
        chip = chip.on_stack("+".join(name for name in wanted.split("+") if name in chip.stacks) or PLAIN)
    if row["method"] == "rank":
        ranked: RecommendationOptions = {
            "batch": int(row["batch"]),
            "dtype": row["dtype"],
            "table_dtype": row["weight_dtype"],
            "skew": row["skew"],
            "compiled": True,
            "scale_bytes": 0,  # one scale a table in these submissions: see docs/recommendation.md
        }
        return estimate(cast("Recommender", model), chip, check=False, **ranked)
    asked: RequestOptions = {
        "prompt": int(row["prompt"]),
        "output": int(row["output"]),
        "tp": int(row["tp"]),
        "dp": int(row["dp"]),
        "ep": int(row["ep"]),
        "dtype": row["dtype"] or None,
        "weight_dtype": row["weight_dtype"] or None,
        "kv_dtype": row["kv_dtype"] or None,
    }
    model = _long_enough(model, int(row["prompt"]) + int(row["output"]))
    if row["method"] == "static":
        return estimate(model, chip, batch=int(row["batch"]), check=False, **asked)
    return _served(row, model, chip, asked)


def _served(row: dict[str, Any], model: LanguageModel, chip: Chip, asked: RequestOptions) -> ServingEstimate:
    """What a server does with a row's load: so many requests in flight, or a run of so many."""
    load: LoadOptions = {
        **asked,
        "prompt_sd": float(row["prompt_sd"]),
        "output_sd": float(row["output_sd"]),
        "chunk": int(row["chunk"]),
        "beams": int(row["beams"]),
        "reserve": "reserve" in row["policy"],
        "whole_cache": "whole" in row["policy"],
    }
    if not math.isnan(row["concurrency"]):
        return serve(model, chip, concurrency=int(row["concurrency"]), check=False, **load)
    full = serve(model, chip, check=False, **load)
    if math.isnan(row["requests"]):
        return full
    # All requests are at hand from the start: they go through memory in waves of equal size.
    replicas = int(row["dp"])
    waves = math.ceil(row["requests"] / min(int(full.request.batch), MAX_BATCH * replicas))
    return serve(model, chip, concurrency=max(replicas, round(row["requests"] / waves)), check=False, **load)


def _long_enough(model: LanguageModel, tokens: int) -> LanguageModel:
    """The model; with more positions where need be, as benchmarks with random weights run beyond those it has."""
    return model if tokens <= model.max_positions else replace(model, max_positions=tokens)


def figure(row: dict[str, Any]) -> str:
    """The estimate's name for a row's metric."""
    return _FIGURE.get((row["method"], row["metric"]), str(row["metric"]))


def _scale(row: dict[str, Any]) -> float:
    """Systems of a row that share nothing: a recommendation model that fits one chip runs once on each."""
    return float(row["dp"]) if row["method"] == "rank" else 1.0


def _naive(row: dict[str, Any], result: Any) -> float:
    """The same figure from a roofline alone: every operator at its datasheet bound, nothing else."""
    if row["method"] == "serve":
        return float(result.ideal[row["metric"]])
    if row["method"] == "rank":
        return float(result.ideal_samples_per_s)
    r = result.request
    if row["metric"] == "ttft_s":
        return float(result.prefill.lower_s)
    return float(r.batch * r.output / result.lower_s)


def _bound(row: dict[str, Any], result: Any) -> str:
    """What bounds the phase that the figure is about."""
    if row["metric"] == "ttft_s":
        return str(result.prefill.bound)
    return str(result.pipelined_bound if row["method"] == "rank" else result.bound)


def _setting(row: dict[str, Any], result: Any) -> str:
    """The row's arguments in a few words."""
    if row["method"] == "rank":
        return f"{row['dtype']}, batch {row['batch']:,.0f}"
    at_once = f"batch {row['batch']:,.0f}" if row["method"] == "static" else f"{result.active:,.0f} in flight"
    split = "x".join(f"{name}{row[name]:.0f}" for name in ("tp", "dp") if row[name] > 1) or "tp1"
    return f"{row['dtype']}, {split}, {row['prompt']:.0f}/{row['output']:.0f}, {at_once}"


def rows(level: float | None = 0.9, source: str | None = None, stacks: str = NAMED) -> pd.DataFrame:
    """Every published result beside its prediction.

    Parameters
    ----------
    level : float, optional
        Probability of the intervals; None leaves them out, which is faster.
    source : str, optional
        Only the rows of one source.
    stacks : str
        :data:`NAMED`: the parameters of the software that ran, where a chip has them; :data:`DEFAULT`: what a user gets
        who names none; else the name of one stack for all rows, ``"plain"`` for none.

    Returns
    -------
    DataFrame
        id, source, chip, chips, model, metric, published, predicted, low, high, naive (SI units); `ratio` and
        `naive_ratio`: predicted over published; error: ``|ratio - 1|``; `covered`: whether the interval holds the
        published figure; bound, setting (the arguments in words), set_on, note.
    """
    import pandas as pd

    out = []
    for record in published().to_dict("records"):
        row = {str(k): v for k, v in record.items()}
        if source is not None and row["source"] != source:
            continue
        result, name, scale = predict(row, stacks), figure(row), _scale(row)
        value = float(getattr(result, name)) * scale
        low, high = (float("nan"),) * 2 if level is None else result.interval(level, name)
        naive = _naive(row, result) * scale
        out.append(
            {
                "id": row["id"],
                "source": row["source"],
                "chip": row["chip"],
                "chips": row["chips"],
                "model": row["model"],
                "metric": row["metric"],
                "published": row["value"],
                "predicted": value,
                "low": low * scale,
                "high": high * scale,
                "naive": naive,
                "ratio": value / row["value"],
                "naive_ratio": naive / row["value"],
                "error": abs(value / row["value"] - 1),
                "covered": low * scale <= row["value"] <= high * scale,
                "bound": _bound(row, result),
                "setting": _setting(row, result),
                "set_on": row["set_on"],
                "note": row["note"],
            }
        )
    return pd.DataFrame.from_records(out)


#: What makes one system: a source with many rows of it counts it once.
SYSTEM = ("source", "chip", "chips", "model")

#: The metrics that the headline is about: throughput and time per output token.
SERVED = ("tokens_per_s", "total_tokens_per_s", "tpot_s")


def _systems(table: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The rows of each system as one: how many, medians of their errors and ratios, how many are in their interval."""
    data = table.assign(naive_error=(table["naive_ratio"] - 1).abs())
    return data.groupby(list(by), as_index=False).agg(
        rows=("ratio", "size"),
        error=("error", "median"),
        naive_error=("naive_error", "median"),
        ratio=("ratio", "median"),
        covered=("covered", "sum"),
    )


def summary(table: pd.DataFrame | None = None) -> pd.DataFrame:
    """Median errors over systems, by source and metric, and over all.

    A system is a chip, a number of them and a model in one source; its error is the median over its rows, so that a
    source with many rows of one system counts once.

    Parameters
    ----------
    table : DataFrame, optional
        From :func:`rows`; default: all of them.

    Returns
    -------
    DataFrame
        source, metric, systems, rows, error, naive_error (medians over systems), bias (median ratio over systems),
        coverage (share of rows inside their interval). The last line leaves out the rows that the width of the
        intervals was set on.
    """
    import pandas as pd

    table = rows() if table is None else table
    named = table["metric"].map(lambda m: "throughput" if m in SERVED and m != "tpot_s" else m)
    systems = _systems(table.assign(metric=named), (*SYSTEM, "metric"))

    def line(source: str, metric: str, part: pd.DataFrame) -> dict[str, object]:
        count = int(part["rows"].sum())
        return {
            "source": source,
            "metric": metric,
            "systems": len(part),
            "rows": count,
            "error": part["error"].median(),
            "naive_error": part["naive_error"].median(),
            "bias": part["ratio"].median(),
            "coverage": part["covered"].sum() / count,
        }

    lines = [line(str(key[0]), str(key[1]), part) for key, part in systems.groupby(["source", "metric"])]
    lines += [line("all", str(metric), part) for metric, part in systems.groupby("metric")]
    served = systems[systems["metric"].isin(["throughput", "tpot_s"])]
    lines.append(line("all", "TPOT and throughput", served))
    others = table[table["metric"].isin(SERVED) & ~_had_a_part(table, "engine_spread")]
    if len(others):
        lines.append(line("all", "TPOT and throughput, without the rows of engine_spread", _systems(others, SYSTEM)))
    return pd.DataFrame.from_records(lines)


def _had_a_part(table: pd.DataFrame, setting: str) -> pd.Series[bool]:
    """Whether each row is marked as one that a setting was made on."""
    return table["set_on"].str.split().map(lambda names: setting in names)


def with_and_without(table: pd.DataFrame | None = None) -> pd.DataFrame:
    """TPOT and throughput with and without the rows that a setting was made on.

    Parameters
    ----------
    table : DataFrame, optional
        From :func:`rows`; default: all of them.

    Returns
    -------
    DataFrame
        rows_of (which rows, in words), systems, rows, error, naive_error (medians over systems), within_15 (share of
        systems right within 15 %), coverage (share of rows inside their interval).
    """
    import pandas as pd

    table = rows() if table is None else table
    served = table[table["metric"].isin(SERVED)]
    spread, clock, mi300x = (_had_a_part(served, name) for name in ("engine_spread", "clock", "mi300x"))
    parts = {
        "all": spread | ~spread,
        "those that engine_spread was set on": spread,
        "all but these": ~spread,
        "all but these and those of clock": ~(spread | clock),
        "all but these and those of mi300x": ~(spread | mi300x),
        "all but those of any setting": ~(spread | clock | mi300x),
    }

    def line(name: str, data: pd.DataFrame) -> dict[str, object]:
        systems = _systems(data, SYSTEM)
        return {
            "rows_of": name,
            "systems": len(systems),
            "rows": len(data),
            "error": systems["error"].median(),
            "naive_error": systems["naive_error"].median(),
            "within_15": (systems["error"] < 0.15).mean(),
            "coverage": data["covered"].mean(),
        }

    return pd.DataFrame.from_records([line(name, served[mask]) for name, mask in parts.items()])


def others() -> dict[str, pd.DataFrame]:
    """The rows predicted with each of :data:`OTHERS`, by what it is called there; without intervals."""
    return {name: rows(None, stacks=stacks) for name, stacks in OTHERS.items()}


def sensitivity(table: pd.DataFrame | None = None, beside: dict[str, pd.DataFrame] | None = None) -> pd.DataFrame:
    """How the median error of TPOT and throughput depends on what counts as a system, and on the choice of stacks.

    Parameters
    ----------
    table : DataFrame, optional
        From :func:`rows`; default: all of them.
    beside : dict of str to DataFrame, optional
        From :func:`others`; default: computed.

    Returns
    -------
    DataFrame
        counted (by what), systems, error (median over systems), within_15 (share of systems right within 15 %).
    """
    import pandas as pd

    ways = {
        "source, chip, number of chips, model": SYSTEM,
        "source, chip, model": ("source", "chip", "model"),
        "chip, model": ("chip", "model"),
        "source": ("source",),
        "row": ("id",),
    }

    def line(name: str, data: pd.DataFrame, by: Sequence[str]) -> dict[str, object]:
        errors = _systems(data[data["metric"].isin(SERVED)], by)["error"]
        return {"counted": name, "systems": len(errors), "error": errors.median(), "within_15": (errors < 0.15).mean()}

    table = rows(None) if table is None else table
    lines = [line(name, table, by) for name, by in ways.items()]
    for name, data in (others() if beside is None else beside).items():
        lines.append(line(f"as the first, {name}", data, SYSTEM))
        apart = data[~_had_a_part(data, "engine_spread")]
        lines.append(line(f"as the first, {name}, without the rows of engine_spread", apart, SYSTEM))
    return pd.DataFrame.from_records(lines)


@takes(level=optional(NUMBER))
def validate_end_to_end(level: float | None = 0.9) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Published end-to-end results against predictions. Rows that a setting was made on are marked (`set_on`).

    Parameters
    ----------
    level : float, optional
        Probability of the intervals; None leaves them out.

    Returns
    -------
    tuple of DataFrame
        :func:`summary` and :func:`rows`.

    Examples
    --------
    >>> import roofline as rl
    >>> summary, rows = rl.validate_end_to_end(level=None)
    >>> sorted(summary.columns)
    ['bias', 'coverage', 'error', 'metric', 'naive_error', 'rows', 'source', 'systems']
    """
    table = rows(level)
    return summary(table), table
