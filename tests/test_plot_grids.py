"""Pictures of grids, of comparisons and of indices: what is on them. How they look is looked at, not tested."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from matplotlib.collections import LineCollection, PolyCollection, QuadMesh

import roofline as rl
from roofline.base.numeric import quantiles
from roofline.command import main as cli
from roofline.show import regions
from roofline.study import datasets
from roofline.study.comparing import Comparison

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

WORDS = ("compute", "memory:hbm", "none")


def grid(**axes: Any) -> xr.Dataset:
    """A grid as a sweep returns it, its figures made up: tokens_per_s grows along every axis."""
    datasets.register()
    shape = tuple(len(values) for values in axes.values())
    numbers = [np.arange(len(values)) + 1.0 for values in axes.values()]
    rate = 100.0 * np.prod(np.meshgrid(*numbers, indexing="ij"), axis=0)
    dims = tuple(axes)
    flags = {"flag_values": np.arange(3, dtype=np.uint8), "flag_meanings": " ".join(WORDS)}
    coords: dict[str, Any] = {name: (name, np.asarray(values)) for name, values in axes.items()}
    fixed = {"model": "llama", "chip": "h100"}
    return xr.Dataset(
        {
            "tokens_per_s": (dims, rate, {"units": "tokens/s", "long_name": "output tokens"}),
            "tpot_s": (dims, 1 / rate, {"units": "s", "long_name": "time per output token"}),
            "fits": (dims, np.ones(shape, dtype=bool)),
            "bound": (dims, np.zeros(shape, dtype=np.uint8), flags),
            "possible": (dims, np.ones(shape, dtype=bool)),
        },
        coords={**coords, **{name: one for name, one in fixed.items() if name not in axes}},
        attrs={"options": "prompt=512"},
    )


def key(ax: Axes) -> list[str]:
    legend = ax.get_legend()
    return [text.get_text() for text in legend.get_texts()] if legend else []


def of(ax: Axes, style: str, marker: str) -> list[Line2D]:
    """The lines of a style and a mark."""
    return [line for line in ax.lines if (line.get_linestyle(), line.get_marker()) == (style, marker)]


def test_a_line_for_each_value_of_a_second_axis() -> None:
    data = grid(batch=[1, 2, 4, 8], tp=[4, 1])
    ax = data.roofline.line(x="batch", hue="tp")
    assert key(ax) == ["tp=1", "tp=4"]  # numbers in order
    for line, tp in zip(of(ax, "-", "o"), (1, 4), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), data["tokens_per_s"].sel(tp=tp))
    assert ax.get_xscale() == "log"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "4", "8"]
    assert ax.get_ylabel() == "output tokens (tokens/s)"
    assert ax.get_title() == "llama on h100\nprompt=512"
    assert ax.get_ylim()[0] == 0


def test_what_does_not_fit_is_hollow_and_what_is_impossible_no_part_of_a_line() -> None:
    data = grid(batch=[1, 2, 3, 4, 5, 6])
    data["fits"][4:] = False
    data["possible"][2] = False
    data["tokens_per_s"][2] = np.nan
    ax = data.roofline.line()
    (solid,), (dotted,), (crosses,) = of(ax, "-", "o"), of(ax, ":", "None"), of(ax, "None", "x")
    hollow = next(line for line in of(ax, "None", "o") if len(line.get_xdata()))
    np.testing.assert_array_equal(np.isnan(solid.get_ydata()), [0, 0, 1, 0, 1, 1])
    np.testing.assert_array_equal(np.isnan(dotted.get_ydata()), [1, 1, 1, 0, 0, 0])
    assert hollow.get_markerfacecolor() == "white"
    assert list(hollow.get_xdata()) == [5, 6]
    assert list(crosses.get_xdata()) == [3]
    assert key(ax) == ["does not fit into the memory", "impossible"]
    nothing = data.assign(possible=data["possible"] & False)
    with pytest.raises(rl.BadWorkload, match="no point of it is possible"):
        nothing.roofline.line()
    with pytest.raises(rl.BadWorkload, match="tpot_s has no number"):
        data.assign(tpot_s=data["tpot_s"] * np.nan).roofline.line(figure="tpot_s")


def test_bands_hold_half_and_nine_in_ten_of_the_draws() -> None:
    data = grid(batch=[1, 4, 16], draw=range(40))
    data["fits"][2, :30] = False
    for ax in (data.roofline.band(), data.roofline.plot()):
        low, upper, middle = quantiles(data["tokens_per_s"].to_numpy().T, 0.05, 0.75, 0.5)
        (solid,) = of(ax, "-", "o")
        np.testing.assert_allclose(solid.get_ydata()[:2], middle[:2])
        assert np.isnan(solid.get_ydata()[2])  # in more than half of the draws it does not fit
        nine, half = (band.get_paths()[0].vertices[:, 1] for band in ax.collections)
        assert nine.min() == pytest.approx(low.min())
        assert half.max() == pytest.approx(upper.max())
        assert key(ax)[:2] == ["50 % of 40 draws", "90 %"]
    one = data.isel(batch=0).roofline.band()  # of the chip alone
    assert [t.get_text() for t in one.get_xticklabels()] == ["h100"]
    with pytest.raises(rl.BadWorkload, match=r"band: expected a grid with draws .* sweep\(\.\.\., draws=256\)"):
        data.isel(draw=0).roofline.band()


def test_words_are_places_without_a_line_between_them() -> None:
    ax = grid(chip=["h100", "mi300x"], dtype=["bf16", "fp8"], draw=range(8)).roofline.plot()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["h100", "mi300x"]
    assert key(ax)[:2] == ["dtype=bf16", "dtype=fp8"]
    assert not of(ax, "-", "o")
    assert len([line for line in of(ax, "None", "o") if len(line.get_xdata())]) == 2


def test_regions_of_a_heat_map_are_those_of_the_bounds() -> None:
    data = grid(batch=[1, 2, 4, 8, 16, 32], prompt=[128, 256, 512, 1024, 2048])
    data["bound"][3:, 2:] = 1
    data["bound"][0, 0] = 1  # a region that no name finds room in
    data["fits"][5, :] = False
    data["possible"][:, 0] = False
    data["tokens_per_s"][:, 0] = np.nan
    ax = data.roofline.heatmap(x="batch", y="prompt", size=(5.0, 4.0))
    mesh = next(c for c in ax.collections if isinstance(c, QuadMesh))
    np.testing.assert_array_equal(mesh.get_array(), np.ma.masked_invalid(data["tokens_per_s"].T))
    assert {t.get_text().replace("\n", "") for t in ax.texts} == {"compute", "memory:hbm"}
    for text in ax.texts:
        near = data.isel(
            {
                name: int(np.abs(np.log(data[name].to_numpy() / at)).argmin())
                for name, at in zip(("batch", "prompt"), text.xy, strict=True)
            }
        )
        assert WORDS[int(near["bound"])] == text.get_text().replace("\n", "")
        assert bool(near["possible"])
    bands = [c for c in ax.collections if isinstance(c, PolyCollection) and c.get_hatch()]
    assert [len(c.get_paths()) for c in bands] == [4, 1]  # a band a row that does not fit, and one impossible row
    assert key(ax) == ["does not fit into the memory", "impossible", "what bounds most of the time"]
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "output tokens (tokens/s)"


def test_lines_run_wherever_the_bound_changes_and_nowhere_else() -> None:
    codes = np.random.default_rng(3).integers(0, 3, (7, 9)).astype(np.uint8)
    x, y = np.arange(10.0), np.arange(8.0)
    drawn = {tuple(map(tuple, line)) for line in regions.borders((x, y), codes)}
    wanted = {((j + 1.0, i), (j + 1.0, i + 1.0)) for i in range(7) for j in range(8) if codes[i, j] != codes[i, j + 1]}
    wanted |= {((j, i + 1.0), (j + 1.0, i + 1.0)) for i in range(6) for j in range(9) if codes[i, j] != codes[i + 1, j]}
    assert drawn == wanted


def test_a_region_without_room_has_a_number_that_the_key_explains() -> None:
    data = grid(batch=list(range(1, 31)), prompt=list(range(1, 31)))
    data["bound"][28:, 28:] = 1
    ax = data.roofline.heatmap()
    assert [t.get_text() for t in ax.texts] == ["compute", "1"]
    assert key(ax) == ["what bounds most of the time", "memory:hbm"]


def test_the_picture_goes_by_the_axes() -> None:
    numbers = grid(batch=[1, 2, 4, 8, 16], prompt=[1, 2, 4, 8, 16])
    drawn = numbers.drop_vars("bound").roofline.plot().collections  # of what has no bound there are no regions
    assert [type(one) for one in drawn[:1]] == [QuadMesh]
    assert not [one for one in drawn if isinstance(one, LineCollection)]
    assert key(numbers.isel(prompt=slice(2)).roofline.plot()) == ["prompt=1", "prompt=2"]


def test_a_frontier_is_drawn_from_its_grid() -> None:
    data = grid(batch=[1, 2, 4], tp=[1, 2]).rename(tokens_per_s="tokens_per_s_per_chip")
    data["tpot_s"] = 1 / data["tpot_s"] / 1e4
    data["fits"][2, 1] = False
    ax = data.roofline.pareto()
    best = rl.pareto(data, maximise=["tokens_per_s_per_chip"], minimise=["tpot_s"])
    assert sorted(ax.lines[0].get_xdata()) == sorted(best["tpot_s"])
    assert [len(c.get_offsets()) for c in ax.collections] == [5, 1]
    assert key(ax) == ["no other point beats it", "the other points", "does not fit"]
    with pytest.raises(rl.BadWorkload, match="two figures to draw against each other, found tpot_s"):
        data.roofline.pareto(minimise="tpot_s")


def test_bars_of_a_comparison() -> None:
    found = comparison()
    ax = rl.plot_comparison(found)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["dlrm", "one", "two", "llama", "one", "two"]
    assert [p.get_width() for p in ax.patches] == pytest.approx([1.0, 0.25, 1.0])  # of the largest of a workload
    assert [t.get_text() for t in ax.texts] == [
        "20 k samples/s",
        "5,000 samples/s, fits 25%",
        "100 tokens/s",
        "does not fit",
    ]
    assert [bool(p.get_hatch()) for p in ax.patches] == [False, True, False]
    odds = rl.plot_odds(found)
    assert [t.get_text() for t in odds.get_yticklabels()] == [
        "dlrm",
        "one beats two",
        "llama",
        "two beats one",
        "one: tpot_s at most 100 ms",
    ]
    assert [p.get_width() for p in odds.patches] == pytest.approx([0.9, 0.75, 0.5])
    with pytest.raises(rl.UnknownName, match="did you mean 'per_chip'"):
        rl.plot_comparison(found, "per_chips")
    with pytest.raises(rl.BadWorkload, match="no chip has a value of usd_per_million"):
        rl.plot_comparison(found, "usd_per_million")
    with pytest.raises(rl.BadWorkload, match="expected what compare returns, found 3"):
        rl.plot_odds(3)


def comparison() -> Comparison:
    table = pd.DataFrame(
        {
            "workload": ["dlrm", "dlrm", "llama", "llama"],
            "chip": ["one", "two"] * 2,
            "fits": [1.0, 0.25, 1.0, 0.0],
            "unit": ["samples/s"] * 2 + ["tokens/s"] * 2,
            "per_chip": [2e4, 5e3, 100.0, np.nan],
            "per_chip_low": [1e4, 4e3, 90.0, np.nan],
            "per_chip_high": [3e4, 6e3, 120.0, np.nan],
            "usd_per_million": np.nan,
        }
    )
    odds = pd.DataFrame(
        [
            ("dlrm", "one", "two", 0.9),
            ("dlrm", "two", "one", 0.1),
            ("llama", "one", "two", 0.25),
            ("llama", "two", "one", 0.75),
        ],
        columns=["workload", "chip", "other", "odds"],
    ).assign(figure="per_chip", by=1.0, error=0.02)
    targets = pd.DataFrame(
        {"workload": ["llama"], "chip": "one", "figure": "tpot_s", "target": 0.1, "odds": 0.5, "error": 0.1}
    )
    return Comparison(table, odds, targets, {})


def test_bars_of_indices() -> None:
    table = pd.DataFrame(
        {"first": [0.5, -0.01], "first_error": 0.1, "total": [0.6, 0.3], "total_error": 0.05}, index=["clock", "cores"]
    )
    ax = rl.plot_indices(table)
    assert [t.get_text() for t in ax.get_yticklabels()] == ["clock", "cores"]
    assert sorted(p.get_width() for p in ax.patches) == pytest.approx([0.0, 0.3, 0.5, 0.6])
    assert key(ax) == ["first order", "total"]
    with pytest.raises(rl.BadWorkload, match="nothing in doubt moves"):
        rl.plot_indices(table.iloc[:0])
    with pytest.raises(rl.BadWorkload, match="expected a table from indices, found 3"):
        rl.plot_indices(3)  # type: ignore[arg-type]


def test_what_is_not_there_is_told_with_the_nearest() -> None:
    data = grid(batch=[1, 2, 4], tp=[1, 2], prompt=[512, 1024])
    with pytest.raises(rl.UnknownName, match=r"axis of the grid \(x=\) is called 'bacth'; did you mean 'batch'"):
        data.roofline.line(x="bacth")
    with pytest.raises(rl.UnknownName, match="no figure of the grid is called 'tpot'; did you mean 'tpot_s'"):
        data.roofline.heatmap(figure="tpot")
    with pytest.raises(
        rl.BadWorkload, match=r"prompt \(2 values\)\. Fix them: grid\.sel\(prompt=512\), or -a prompt=512"
    ):
        data.roofline.line(x="batch", hue="tp")
    with pytest.raises(rl.BadWorkload, match=r"draw \(3 values\)\. Fix them: grid\.sel\(draw=0\)$"):
        grid(batch=[1, 2], tp=[1, 2], draw=range(3)).roofline.heatmap()
    with pytest.raises(rl.BadWorkload, match="2 axes of several values, found batch; line draws one"):
        data.isel(tp=0, prompt=0).roofline.heatmap()
    with pytest.raises(rl.BadWorkload, match="found 'batch' for both"):
        data.roofline.line(x="batch", hue="batch")
    with pytest.raises(rl.BadWorkload, match="at most 24 lines, found 30 values of tp"):
        grid(batch=range(1, 40), tp=range(1, 31)).roofline.line()
    with pytest.raises(rl.BadWorkload, match="expected text, or None, found 3"):
        data.roofline.line(x=3)
    with pytest.raises(rl.BadWorkload, match="expected a grid with figures, found fits"):
        data[["fits"]].roofline.line()


def test_everything_stays_on_a_narrow_page() -> None:
    hostile = r"$\frac{a}$ $x_{ 5$"
    data = grid(batch=[2**i for i in range(12)], chip=[hostile, "a-chip-of-a-very-long-name", "c"])
    data = data.assign_coords(batch=data["batch"].assign_attrs(units="tokens", long_name=hostile))
    made = [
        data.roofline.line(size=(3.3, 2.6)),
        data.roofline.heatmap(size=(3.3, 2.6)),
        rl.plot_odds(comparison(), size=(3.3, 2.6)),
    ]
    for ax in made:
        ax.figure.draw_without_rendering()
        page = ax.figure.bbox.padded(1)
        low, high = ax.get_xlim()
        ticks = [t for t in ax.get_xticklabels() if t.get_text() and low <= t.get_position()[0] <= high]
        shown = [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts, *ticks, *ax.get_yticklabels()]
        for text in shown:
            box = text.get_window_extent()
            assert not text.get_text() or page.x0 <= box.x0 <= box.x1 <= page.x1, text
        boxes = [label.get_window_extent() for label in ticks]
        assert not any(one.overlaps(other) for one, other in itertools.pairwise(boxes))


def test_the_command_draws_what_it_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(line: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["roofline", *line.split(), "--size", "3.3x2.6"])
        code = cli.run()
        return code, capsys.readouterr().err

    asked = "sweep rm1 -c mtia-v1 -a batch=64,256 --figure latency_s"
    assert run(f"{asked} --plot {tmp_path / 'line.svg'}")[0] == 0
    assert "latency of a batch" in (tmp_path / "line.svg").read_text()
    code, err = run(f"{asked} -a skew=0,1 -a devices=1,2 --plot {tmp_path / 'none.svg'}")
    assert code == 2
    assert "or -a devices=1 in the command" in " ".join(err.split())
    both = f"--plot {tmp_path / 'bars.png'} --plot-odds {tmp_path / 'odds.png'}"
    assert run(f"compare mtia-v1 a100 -m rm1 --draws 16 {both}")[0] == 0
    assert all((tmp_path / name).stat().st_size > 5000 for name in ("bars.png", "odds.png"))
