"""An estimate in a few sentences: what bounds it, which changes would help most, and what takes over then."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from roofline.base import units
from roofline.base.errors import BadWorkload, RooflineError, shown
from roofline.base.face import TEXT, optional, takes
from roofline.base.units import DTYPE_BYTES
from roofline.estimates.estimate import estimate
from roofline.estimates.language import LanguageEstimate
from roofline.estimates.recommendation import RecommendationEstimate
from roofline.hardware.variants import text_of
from roofline.study import variables
from roofline.study.sensitivity import varied

if TYPE_CHECKING:
    import pandas as pd

#: A chip's figures are doubled, or halved where less is better.
_FACTOR = 2.0

#: Changes that are named, and the least relative gain of one that is worth a word.
_NAMED, _LEAST = 3, 0.005

#: What stands for a figure of the chip: rates, bandwidths, capacities and fixed times of the hardware.
_HARDWARE = ("engines.", "memory.", "links.", "latency.", "overheads.")


@dataclass(frozen=True)
class Change:
    """One change of the chip, the plan or the dtype, and what comes of it.

    Attributes
    ----------
    kind : str
        ``chip``, ``plan`` or ``dtype``.
    change : str
        What is changed: ``"memory.hbm.bandwidth x2 (6.7 TB/s)"``, ``"tp=16"``.
    result : float
        The figure after it.
    gain : float
        How much better the figure gets: 0.5 is one and a half times the rate, or the time divided by one and a half.
    chips : int
        Chips in all, after it.
    bounds : dict of str to str
        What bounds each phase after it.
    then : str
        What takes over, in words.
    """

    kind: str
    change: str
    result: float
    gain: float
    chips: int
    bounds: dict[str, str]
    then: str


@dataclass(frozen=True)
class Explanation:
    """Why an estimate is what it is; ``str()`` is the text.

    Attributes
    ----------
    est : Estimate
    figure : str
        What changes are ranked by.
    sentences : tuple of str
    changes : tuple of Change
        Every change that was tried and moves the figure for the better, the best first.
    """

    est: Any
    figure: str
    sentences: tuple[str, ...]
    changes: tuple[Change, ...]

    def __str__(self) -> str:
        return " ".join(self.sentences)

    def __repr__(self) -> str:
        return str(self)

    @property
    def table(self) -> pd.DataFrame:
        """The changes, one a row: change, kind, result, gain, chips, and what bounds each phase after it."""
        import pandas as pd

        rows = [
            {
                "change": c.change,
                "kind": c.kind,
                "result": c.result,
                "gain": c.gain,
                "chips": c.chips,
                **{f"{name} bound": bound for name, bound in c.bounds.items()},
            }
            for c in self.changes
        ]
        columns = ["change", "kind", "result", "gain", "chips"]
        return pd.DataFrame(rows, columns=columns + [f"{name} bound" for name in variables.phases(self.est)])


@takes(figure=optional(TEXT))
def explain(est: Any, figure: str | None = None) -> Explanation:
    """What bounds each phase, which three changes would help most and by how much, and what takes over then.

    Tried are: each rate, bandwidth and capacity of the chip doubled, each latency and overhead halved, one at a time;
    twice the chips, in every way of splitting the model that there is, and the same chips split otherwise; and each
    narrower dtype that the chip computes in, or that weights, KV cache or tables can be held in. What
    other figures follow (``clock``, ``cores.count``, memory channels) moves several of these at once and is left to
    :func:`roofline.sensitivity`.

    Parameters
    ----------
    est : LanguageEstimate or RecommendationEstimate
        One point.
    figure : str, optional
        What is to get better, such as ``"tpot_s"``; default: `tokens_per_s` or `samples_per_s`, of the whole system.

    Returns
    -------
    Explanation
        ``str()`` of it is the text; ``table`` has every change that helps.

    Raises
    ------
    BadWorkload
        For what is no estimate of one point, and an unknown figure.

    Examples
    --------
    >>> import roofline as rl
    >>> est = rl.estimate("llama-3.1-8b", "h100-sxm", batch=16)
    >>> str(rl.explain(est)).startswith("Prefill is bound by compute")
    True
    """
    if not isinstance(est, LanguageEstimate | RecommendationEstimate):
        raise BadWorkload(f"explain: expected what roofline.estimate returns, found {shown(est)}")
    if np.shape(est.time_s):
        raise BadWorkload("explain: expected the estimate of one point, found arrays; estimate one of them alone")
    figure = variables.figure_named("explain", est, figure)
    tried = [*_of_chip(est, figure), *_of_plan(est, figure), *_of_dtype(est, figure)]
    helping = sorted((one for one in tried if one.gain > _LEAST), key=lambda one: -one.gain)
    return Explanation(est, figure, tuple(_sentences(est, figure, helping)), tuple(helping))


# What is tried ------------------------------------------------------------------------------------------------------


def _options(est: Any) -> dict[str, Any]:
    """What the estimate was asked, as options."""
    r = est.request
    kept = {"batch": r.batch, "dtype": r.dtype, "usable_memory": r.usable_memory, **vars(r.terms)}
    if isinstance(est, LanguageEstimate):
        kept |= {"prompt": r.prompt, "output": r.output, "prefix": r.prefix}
        kept |= {name: getattr(r.plan, name) for name in variables.PLAN}
        return kept | {"weight_dtype": r.weight_dtype, "kv_dtype": r.kv_dtype}
    kept |= {"devices": r.devices, "skew": r.skew, "compiled": r.compiled, "fused": r.fused}
    kept |= {"table_dtype": r.table_dtype, "repeat": r.repeat, "scale_bytes": r.scale_bytes}
    # A placement is of so many chips and such rows: for others the tables are placed anew.
    return kept | ({} if r.placement is None else {"placement": "auto"})


def _of_chip(est: Any, figure: str) -> Iterator[Change]:
    """Each figure of the hardware by itself: all of them are one estimate."""
    chip, changes = est.chip, {}
    for path in {**chip.defaults, **chip.numbers}:
        value, number = chip[path], chip.number(path)
        if not path.startswith(_HARDWARE) or path in chip.drivers or "spread" in path or not value:
            continue
        new = value / _FACTOR if number.dimension == "time" else value * _FACTOR
        if variables.allowed(chip, path, new):
            changes[path] = new
    after = type(est)(est.model, varied(chip, changes), est.request)
    results = np.broadcast_to(getattr(after, figure), (len(changes),))
    states = _states(after, len(changes))
    for i, (path, value) in enumerate(changes.items()):
        yield _change(est, figure, "chip", _chip_text(est, path, value), float(results[i]), int(est.devices), states[i])


def _chip_text(est: Any, path: str, value: float) -> str:
    number = replace(est.chip.number(path), value=float(value))
    how = "halved" if number.dimension == "time" else "doubled"
    return f"{path} {how} to {text_of(number)}"


def _of_plan(est: Any, figure: str) -> Iterator[Change]:
    asked = _options(est)
    if isinstance(est, RecommendationEstimate):
        ways = [{"devices": est.request.devices * 2}]
    else:
        plan = {name: int(asked[name]) for name in variables.PLAN}
        ways = [{name: width * 2} for name, width in plan.items()]
        ways += [
            {one: plan[one] * 2, other: plan[other] // 2}
            for one in plan
            for other in plan
            if one != other and plan[other] % 2 == 0
        ]
    for way in ways:
        text = ", ".join(f"{name}={value}" for name, value in way.items())
        yield from _other(est, figure, "plan", text, asked | way)


def _of_dtype(est: Any, figure: str) -> Iterator[Change]:
    asked = _options(est)
    own = {"dtype": est.request.dtype}
    narrower = ("fp8", "int8", "fp4", "int4")
    if isinstance(est, LanguageEstimate):
        own |= {name: asked[name] or est.request.dtype for name in ("weight_dtype", "kv_dtype")}
    else:
        own |= {"table_dtype": asked["table_dtype"] or est.request.dtype}
    for name, present in own.items():
        equal: dict[float, Change] = {}  # dtypes of one width often come to the same
        for dtype in narrower:
            if DTYPE_BYTES[dtype] < DTYPE_BYTES[present]:
                for one in _other(est, figure, "dtype", f"{name}={dtype}", asked | {name: dtype}):
                    known = equal.get(one.result)
                    equal[one.result] = replace(known, change=f"{known.change} or {dtype}") if known else one
        yield from equal.values()


def _other(est: Any, figure: str, kind: str, text: str, options: dict[str, Any]) -> Iterator[Change]:
    """The change as an estimate of its own, where there is one that fits."""
    try:
        after = estimate(est.model, est.chip, check=False, **options)
        result = float(getattr(after, figure))
    except RooflineError:
        return  # no such plan, or no such rate
    if after.fits or not est.fits:
        yield _change(est, figure, kind, text, result, int(after.devices), _states(after, 1)[0])


class _State(NamedTuple):
    """How a phase stands: its time (s), what bounds it, and the share of the time that this takes."""

    time_s: float
    bound: str
    share: float


def _states(est: Any, count: int) -> list[dict[str, _State]]:
    """How each phase stands at each of so many points."""
    states: list[dict[str, _State]] = [{} for _ in range(count)]
    for name, phase in variables.phases(est).items():
        times, bounds = np.broadcast_to(phase.time_s, (count,)), np.broadcast_to(phase.bound, (count,))
        by_bound = {bound: np.broadcast_to(time, (count,)) for bound, time in phase.time_by_bound.items()}
        for i, state in enumerate(states):
            bound, time = str(bounds[i]), float(times[i])
            state[name] = _State(time, bound, float(by_bound[bound][i]) / time)
    return states


def _change(est: Any, figure: str, kind: str, text: str, result: float, chips: int, after: dict[str, _State]) -> Change:
    before, value = _states(est, 1)[0], float(getattr(est, figure))
    gain = (value / result if variables.less_is_better(figure) else result / value) - 1
    bounds = {name: state.bound for name, state in after.items()}
    return Change(kind, text, result, gain, chips, bounds, _then(before, after))


def _then(before: dict[str, _State], after: dict[str, _State]) -> str:
    """What bounds the phases after a change: those where it is another, else the one whose time changed the most."""
    others = [f"{now.bound} takes over in {name}" for name, now in after.items() if now.bound != before[name].bound]
    if others:
        return "then " + " and ".join(others)
    name = max(before, key=lambda one: abs(math.log(before[one].time_s / after[one].time_s)))
    was, now = before[name], after[name]
    return f"where {now.bound} still bounds {name}, with {now.share:.0%} of its time instead of {was.share:.0%}"


# What is said of it -------------------------------------------------------------------------------------------------


def _sentences(est: Any, figure: str, changes: list[Change]) -> Iterator[str]:
    yield from (_bound_sentence(name, phase) for name, phase in variables.phases(est).items())
    if not est.fits:
        yield "It does not fit into the memory of its chips."
    yield from _set_aside(est)
    if not changes:
        yield f"No single change of chip, plan or dtype that was tried makes {figure} better by half a percent."
        return
    named = changes[:_NAMED]
    words = {1: "The change that would help", 2: "The two changes that would help"}
    yield f"{words.get(len(named), 'The three changes that would help')} {figure} most:"
    for i, one in enumerate(named):
        end = "." if i == len(named) - 1 else ";"
        yield f"({i + 1}) {one.change}, {_gain_text(est, figure, one)}, {one.then}{end}"


def _set_aside(est: Any) -> Iterator[str]:
    """What the serving engine takes of a chip's memory before there is a cache, where it is known of the stack."""
    memory = est.memory
    terms = {name: size for name, size in memory.engine_bytes.items() if size}
    if not terms:
        return
    taken = ", ".join(f"{units.text(size, 'B', 3)} for {name}" for name, size in terms.items())
    tokens = est.kv_tokens
    yield (
        f"Of a chip's {units.text(memory.usable_bytes, 'B', 3)}, {est.chip.stack} sets aside {taken} beside weights of "
        f"{units.text(memory.weights_bytes, 'B', 3)} and a pass of {units.text(memory.activations_bytes, 'B', 3)}: "
        f"room for a KV cache of {tokens:,.0f} tokens."
    )


def _bound_sentence(name: str, phase: Any) -> str:
    shares = sorted(((t / phase.time_s, b) for b, t in phase.time_by_bound.items() if t > 0), reverse=True)
    (most, first), others = shares[0], ", ".join(f"{b} {s:.0%}" for s, b in shares[1:3] if s >= 0.005)
    by_name: dict[str, float] = {}
    for record in phase.records:
        by_name[record["op"]] = by_name.get(record["op"], 0.0) + record["share"]
    longest = sorted(by_name.items(), key=lambda pair: -pair[1])[:2]
    operators = " and ".join(f"{op} ({share:.0%})" for op, share in longest)
    rest = f" ({others})" if others else ""
    return f"{name.capitalize()} is bound by {first} for {most:.0%} of its time{rest}; most of it goes to {operators}."


def _gain_text(est: Any, figure: str, one: Change) -> str:
    after = variables.figure_text(est, figure, one.result)
    chips = f" on {one.chips} chips instead of {int(est.devices)}" if one.chips != est.devices else ""
    less = variables.less_is_better(figure)
    change = one.gain / (1 + one.gain) if less else one.gain
    sign = "-" if less else "+"
    digits = 0 if change >= 0.1 or math.isclose(change, 0) else 1
    return f"{sign}{change:.{digits}%} to {after}{chips}"
