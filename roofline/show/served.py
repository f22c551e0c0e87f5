"""Pictures of servers under load: percentiles against the rate, distributions, time lines, throughput against speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.base.face import NUMBER, TEXT, Kind, optional, takes
from roofline.base.units import text
from roofline.show import canvas, scales

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.axes import Axes

#: What requests see, as a picture calls it.
CALLED = {
    "ttft_s": "time to first token",
    "tpot_s": "time per output token",
    "itl_s": "gap between tokens",
    "e2e_s": "whole request",
    "latency_s": "latency of a query",
    "queue_s": "wait for a batch",
}

#: Percentiles, and how dark each is drawn.
_DRAWN = {"p50": 0.45, "p90": 0.7, "p99": 1.0}

_LIMIT = "#B00020"

RUN = Kind("a run of simulate", lambda value: hasattr(value, "timeline") and hasattr(value, "figure"))
LIMIT = optional(Kind("seconds", lambda value: NUMBER.holds(value) and 0 < value < 1e9))
_PAGE = {"title": optional(TEXT), "ax": optional(canvas.AXES)}


@canvas.picture
@takes(figure=optional(TEXT), slo=LIMIT, **_PAGE)
def plot_percentiles(
    data: xr.Dataset,
    figure: str | None = None,
    *,
    slo: float | None = None,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Percentiles of what requests see against the rate or the clients, and where they cross a limit.

    Parameters
    ----------
    data : Dataset
        From :func:`roofline.simulate` of traffic with a list of rates or of clients.
    figure : str, optional
        ``ttft_s``, ``tpot_s``, ``itl_s`` or ``e2e_s``; of queries ``latency_s`` or ``queue_s``. Default: the first.
    slo : float, optional
        A limit (s), drawn across.
    title : str, optional
        Above the picture.
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    Axes
        Of matplotlib: ``.figure.savefig(path)`` writes PNG, SVG or PDF by the ending.

    Raises
    ------
    BadWorkload, UnknownName
        For data of another kind, or without that figure.

    Examples
    --------
    >>> import roofline as rl
    >>> traffic = rl.Traffic(rate=[2, 8], prompt=512, output=64, requests=50)
    >>> curve = rl.simulate("llama-3.1-8b", "h100-sxm", traffic)
    >>> rl.plot_percentiles(curve, "ttft_s", slo=0.5).get_ylabel()
    'time to first token'
    """
    across, chosen = _curve(data, figure)
    page, scale = _page(ax, size)
    x = data[across].values
    values = {part: data[chosen].sel(statistic=part).values for part in _DRAWN}
    if not any(np.isfinite(one).any() for one in values.values()):
        raise BadWorkload("plot_percentiles: no request was answered at any rate: there is nothing to draw")
    entries: list[tuple[Any, str]] = []
    for part, alpha in _DRAWN.items():
        look: dict[str, Any] = {"linewidth": 1.5 * scale, "markersize": 3.5 * scale, "alpha": alpha}
        (line,) = page.plot(x, values[part], "o-", color=canvas.COLOURS[0], **look)
        entries.insert(0, (line, part))
    finite = np.concatenate([one[np.isfinite(one)] for one in values.values()])
    marks = finite if slo is None else np.append(finite, slo)
    scales.figure_axis(page.yaxis, chosen, CALLED[chosen], marks, scale, "s")
    scales.figure_axis(page.xaxis, across, "requests/s" if across == "rate" else "clients", x, scale)
    full = data["saturated"].values
    if full.any():
        begins = float(x[full].min())
        before = x[x < begins]
        edge = float(np.sqrt(before.max() * begins)) if before.size else begins
        shade = page.axvspan(edge, float(x.max()) * 1.001, color="0.5", alpha=0.13, linewidth=0, zorder=0)
        entries.append((shade, "saturated"))
    if slo is not None:
        entries.append((page.axhline(slo, **_limit(scale)), f"limit {text(slo, 's', 3)}"))
    _finish(page, title, entries, scale, ax is None)
    return page


@canvas.picture
@takes(figure=optional(TEXT), slo=LIMIT, **_PAGE)
def plot_cdf(
    runs: Any,
    figure: str | None = None,
    *,
    slo: float | None = None,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The share of the requests that saw at most so many seconds, a curve for each run.

    Parameters
    ----------
    runs : run, or dict of str to run
        From :func:`roofline.simulate`, with the names of the curves.
    figure : str, optional
        ``ttft_s``, ``tpot_s``, ``itl_s`` or ``e2e_s``; of queries ``latency_s`` or ``queue_s``. Default: the first.
    slo : float, optional
        A limit (s), drawn across.
    title : str, optional
        Above the picture.
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    Axes
        Of matplotlib: ``.figure.savefig(path)`` writes PNG, SVG or PDF by the ending.

    Raises
    ------
    BadWorkload, UnknownName

    Examples
    --------
    >>> import roofline as rl
    >>> traffic = rl.Traffic(rate=4, prompt=512, output=64, requests=50)
    >>> run = rl.simulate("llama-3.1-8b", "h100-sxm", traffic)
    >>> rl.plot_cdf(run, "ttft_s").get_xlabel()
    'time to first token'
    """
    named = runs if isinstance(runs, Mapping) else {"": runs}
    if not named or not all(RUN.holds(one) for one in named.values()):
        raise BadWorkload(f"plot_cdf: expected a run of simulate, or several by name, found {shown(runs)}")
    first = next(iter(named.values()))
    known = [one for one in CALLED if hasattr(first, one)]
    chosen = known[0] if figure is None else figure
    if not all(hasattr(one, chosen) for one in named.values()) or chosen not in CALLED:
        raise UnknownName("figure of these runs", chosen, known)
    page, scale = _page(ax, size)
    curves = {name: getattr(one, chosen).steps() for name, one in named.items()}
    for (name, (seconds, share)), colour in zip(curves.items(), canvas.palette(), strict=False):
        at, height = np.append(seconds[0], seconds), 100 * np.append(0.0, share)
        page.step(at, height, where="post", color=colour, linewidth=1.5 * scale, label=name)
    every = np.concatenate([seconds[seconds > 0] for seconds, _ in curves.values()])
    scales.figure_axis(page.xaxis, chosen, CALLED[chosen], every, scale, "s")
    page.set_ylim(0, 101)
    what = "gaps" if chosen == "itl_s" else "requests"
    page.set_ylabel(f"share of the {what} (%)", fontsize=9 * scale)
    page.tick_params(labelsize=8.5 * scale)
    entries: list[tuple[Any, str]] = [(line, str(line.get_label())) for line in page.lines if named.keys() != {""}]
    for share in (50, 90, 99):
        page.axhline(share, color="0.75", linewidth=0.7, linestyle=":")
    if slo is not None:
        entries.append(
            (
                page.axvline(slo, color=_LIMIT, linewidth=1.1 * scale, linestyle=(0, (5, 3))),
                f"limit {text(slo, 's', 3)}",
            )
        )
    _finish(page, title, entries, scale, ax is None)
    for share in (50, 90, 99):
        where: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "center"}
        canvas.write(page, f"p{share}", (1, share), (-2 * scale, 0), "0.35", fontsize=7.5 * scale, **where)
    return page


@canvas.picture
@takes(run=RUN, **_PAGE)
def plot_timeline(
    run: Any,
    *,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The queue, what runs, and how full the KV cache (of queries: the batches) is, over the time of a run.

    Parameters
    ----------
    run : run
        From :func:`roofline.simulate`; of several replicas a line each.
    title : str, optional
        Above the picture.
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    Axes
        The frame in which the rows stand, its ``child_axes``.

    Raises
    ------
    BadWorkload

    Examples
    --------
    >>> import roofline as rl
    >>> traffic = rl.Traffic(rate=4, prompt=512, output=64, requests=50)
    >>> run = rl.simulate("llama-3.1-8b", "h100-sxm", traffic)
    >>> len(rl.plot_timeline(run).child_axes)
    3
    """
    table = run.timeline
    if table.empty:
        raise BadWorkload("plot_timeline: nothing ran: there is nothing to draw")
    rows = {"waiting": "waiting", "running": "running"}
    rows |= {"kv_share": "KV cache (%)"} if "kv_share" in table else {"batch": "samples\nof a batch"}
    page, scale = _page(ax, size)
    pages = _rows(page, len(rows))
    for one, (column, label), colour in zip(pages, rows.items(), canvas.COLOURS, strict=False):
        values = table[column] * (100 if column == "kv_share" else 1)
        parts = [values] if "replica" not in table else [part for _, part in values.groupby(table["replica"])]
        look: dict[str, Any] = {"color": colour, "linewidth": 0.9 * scale, "alpha": 0.9 if len(parts) == 1 else 0.5}
        for part in parts:
            one.step(table.loc[part.index, "time_s"], part, where="post", **look)
        one.set_ylim(0, 105 if column == "kv_share" else max(1.0, float(values.max())) * 1.08)
        one.set_ylabel(label, fontsize=8.5 * scale)
        one.tick_params(labelsize=8 * scale, labelbottom=one is pages[-1])
        one.grid(True, color="0.9", linewidth=0.7)
        one.set_axisbelow(True)
        one.margins(x=0.01)
    pages[-1].set_xlabel("time (s)", fontsize=9 * scale)
    if title:
        canvas.title(page, title, 10 * scale)
    return page


@canvas.picture
@takes(**_PAGE)
def plot_tradeoff(
    data: Any,
    *,
    title: str | None = None,
    size: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Output tokens per second and chip against those that a user sees (1 / TPOT): what speed costs in throughput.

    Parameters
    ----------
    data : Dataset, or dict of str to Dataset
        From :func:`roofline.simulate` of traffic with a list of rates or of clients; a curve each.
    title : str, optional
        Above the picture.
    size : (float, float), optional
        Width and height (inches) of a new figure; text goes with it.
    ax : Axes, optional
        Where to draw; default: a new figure.

    Returns
    -------
    Axes
        Of matplotlib: ``.figure.savefig(path)`` writes PNG, SVG or PDF by the ending.

    Raises
    ------
    BadWorkload

    Examples
    --------
    >>> import roofline as rl
    >>> traffic = rl.Traffic(rate=[2, 8], prompt=512, output=64, requests=50)
    >>> curve = rl.simulate("llama-3.1-8b", "h100-sxm", traffic)
    >>> rl.plot_tradeoff(curve).get_xlabel()
    'output tokens/s of a user (1 / median TPOT)'
    """
    named = data if isinstance(data, Mapping) and not hasattr(data, "data_vars") else {"": data}
    if not named:
        raise BadWorkload("plot_tradeoff: expected a Dataset of simulate, or several by name, found none")
    page, scale = _page(ax, size)
    entries: list[tuple[Any, str]] = []
    seen, hollow = [], None
    for (name, one), colour in zip(named.items(), canvas.palette(), strict=False):
        across, _ = _curve(one, "tpot_s")
        user, chip = 1 / one["tpot_s"].sel(statistic="p50").values, one["tokens_per_s_per_chip"].values
        full = one["saturated"].values
        (line,) = page.plot(user, chip, "-", color=colour, linewidth=1.5 * scale)
        page.plot(user[~full], chip[~full], "o", color=colour, markersize=4.5 * scale)
        if full.any():
            (hollow,) = page.plot(
                user[full], chip[full], "o", color=colour, markersize=4.5 * scale, markerfacecolor="white"
            )
        entries += [(line, name)] if name else []
        seen.append((user, chip, one[across].values, across, colour))
    entries += [(hollow, "saturated")] if hollow is not None else []
    for axis, label, values in (
        (page.xaxis, "output tokens/s of a user (1 / median TPOT)", np.concatenate([one[0] for one in seen])),
        (page.yaxis, "output tokens/s of a chip", np.concatenate([one[1] for one in seen])),
    ):
        scales.figure_axis(axis, "tokens_per_s", label, values, scale)
    _finish(page, title, entries, scale, ax is None)
    for user, chip, values, across, colour in seen:
        for i in {0, len(values) // 2, len(values) - 1}:
            unit = "/s" if across == "rate" else " clients"
            canvas.write(
                page,
                f"{values[i]:g}{unit}",
                (user[i], chip[i]),
                (5 * scale, 4 * scale),
                canvas.dark(colour),
                fontsize=7 * scale,
            )
    return page


# What they share ------------------------------------------------------------------------------------------------------


def _curve(data: Any, figure: str | None) -> tuple[str, str]:
    """The axis and the figure of runs over an axis."""
    sizes = getattr(data, "sizes", {})
    across = next((name for name in ("rate", "concurrency") if name in sizes), None)
    if across is None or "statistic" not in sizes or "saturated" not in data:
        raise BadWorkload(
            "expected a Dataset of simulate over rates or clients, such as that of Traffic(rate=[1, 2, 4]), "
            f"found {shown(data)}"
        )
    known = [name for name in CALLED if name in data]
    if figure is not None and figure not in known:
        raise UnknownName("figure of these runs", figure, known)
    return across, figure or known[0]


def _page(ax: Axes | None, size: tuple[float, float] | None) -> tuple[Axes, float]:
    page = canvas.axes(ax, canvas.sized(size, canvas.USUAL))
    return page, canvas.scale(page)


def _limit(scale: float) -> dict[str, Any]:
    """How the line of a limit looks."""
    return {"color": _LIMIT, "linewidth": 1.1 * scale, "linestyle": (0, (5, 3))}


def _rows(page: Axes, count: int) -> Sequence[Axes]:
    """Axes one below the other in the frame of others, which share the one across."""
    page.set_axis_off()
    high = (1 - 0.04 * (count - 1)) / count
    first = page.inset_axes((0.0, 1 - high, 1.0, high))
    more = [page.inset_axes((0.0, 1 - high - i * (high + 0.04), 1.0, high), sharex=first) for i in range(1, count)]
    return [first, *more]


def _finish(page: Axes, title: str | None, entries: list[tuple[Any, str]], scale: float, own: bool) -> None:
    page.grid(True, which="major", color="0.9", linewidth=0.7)
    page.set_axisbelow(True)
    if title:
        canvas.title(page, title, 10 * scale)
    canvas.key(page, entries, 7.5 * scale, 33 * scale if own else None)
    page.figure.draw_without_rendering()  # type: ignore[union-attr]  # how wide the page is becomes settled
