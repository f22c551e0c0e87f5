"""Pictures: what is on them. How they look is looked at, not tested."""

from __future__ import annotations

import dataclasses
import errno
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Annotation, Text

import roofline as rl
from roofline.show import plot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox


def texts(ax: object) -> str:
    return " | ".join(t.get_text() for t in ax.texts)  # type: ignore[attr-defined]


def test_a_roofline_shows_ceilings_levels_and_ridge_points() -> None:
    ax = rl.plot_roofline(rl.load_chip("h100-sxm"))
    shown = texts(ax)
    for words in (
        "bf16 matrix 989.4 TFLOP/s",
        "fp8 matrix 1.979 PFLOP/s",
        "hbm 3.35 TB/s",
        "l2 5.5 TB/s",
        "295",
        "591",
    ):
        assert words in shown
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_the_slope_is_the_bandwidth_and_the_roof_the_peak() -> None:
    chip = rl.load_chip("mtia-v1")
    ax = rl.plot_roofline(chip, dtypes=["int8"], levels=["dram"])
    line = next(line for line in ax.lines if len(line.get_xdata()) > 10)
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    np.testing.assert_allclose(y, np.minimum(x * 176e9, 102.4e12), rtol=1e-9)


def test_operators_are_points_at_their_attained_rate() -> None:
    est = rl.estimate("llama-3.1-8b", "h100-sxm", batch=32)
    ax = rl.plot_roofline(est.chip, ops={"prefill": est.prefill.ops, "decode": est.decode.ops})
    row = est.decode.ops.set_index("op").loc["down_proj"]
    spots = np.vstack([c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)])
    wanted = np.array([row["intensity"], row["flops"] / row["time_s"]])
    assert np.any(np.all(np.isclose(spots, wanted, rtol=1e-6), axis=1))
    assert any("down_proj" in t.get_text() for t in ax.texts)
    key = [t.get_text() for t in ax.get_legend().get_texts()]
    assert key == ["prefill", "decode", "product", "attention", "other operator", "2% of the time", "20% of the time"]
    assert "attained" in ax.get_ylabel()
    assert "attained" not in rl.plot_roofline(est.chip).get_ylabel()


def lookups(count: int) -> pd.DataFrame:
    """Many calls of one operator, as a profile has them."""
    size = np.geomspace(3e5, 9e5, count)
    time = size / 2e12 + 3e-6
    columns = {"op": "embedding_bag", "intensity": 0.5, "flops": size / 2, "time_s": time, "share": time / time.sum()}
    return pd.DataFrame(columns)


def test_many_points_of_one_operator_have_one_label() -> None:
    ax = rl.plot_roofline("h100-sxm", ops=lookups(24))
    assert [t.get_text() for t in ax.texts if "embedding" in t.get_text()] == ["embedding_bag 100% (24 points)"]


def boxes(ax: Axes) -> dict[str, Bbox]:
    """Where each label that is not turned stands, in pixels."""
    ax.figure.draw_without_rendering()
    flat = [t for t in ax.texts if not t.get_rotation()]
    return {f"{i} {t.get_text()}": Text.get_window_extent(t).padded(-1) for i, t in enumerate(flat)}


def leaders(ax: Axes) -> dict[str, np.ndarray]:
    """Places along the leader of each label that has one, in pixels, named as :func:`boxes` names the labels."""
    found = {}
    for i, text in enumerate(t for t in ax.texts if not t.get_rotation()):
        arrow = text.arrow_patch if isinstance(text, Annotation) else None
        if arrow is not None:
            ends = arrow.get_transform().transform(arrow.get_path().vertices)
            found[f"{i} {text.get_text()}"] = np.linspace(ends[0], ends[-1], 200)
    return found


def pictures() -> list[Axes]:
    made = []
    for dtype, batch in (("fp8", 64), ("bf16", 64), ("bf16", 1)):
        est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8, dtype=dtype, batch=batch)
        made.append(rl.plot_roofline(est.chip, ops={"prefill": est.prefill.ops, "decode step": est.decode.ops}))
    est = rl.estimate("dlrm-v2", "mtia-v1", batch=4096)
    crowd = pd.concat([lookups(30).assign(op=f"bag {i}", flops=lambda t: t["flops"] * 1.01) for i in range(20)])
    crowd["share"] /= 20
    readme = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8, batch=64, dtype="fp8")
    made += [rl.plot_roofline(readme, size=(12.8, 7.2)), rl.plot_roofline(readme, size=(3.3, 2.9))]
    made += [rl.plot_roofline(est.chip, ops=est.ops), rl.plot_roofline("h100-sxm", ops=crowd, label_share=0.0)]
    return made


def test_no_label_lies_on_another_and_none_of_a_ceiling_on_a_point() -> None:
    for ax in pictures():
        found = boxes(ax)
        for one, other in itertools.combinations(found, 2):
            assert not found[one].overlaps(found[other]), (one, other)
        for text, leader in leaders(ax).items():
            for other, box in found.items():
                assert other == text or box.count_contains(leader) == 0, (text, other)
        spots = np.vstack([c.get_offsets() for c in ax.collections if isinstance(c, PathCollection)])
        marks = ax.transData.transform(spots)
        for text, box in found.items():
            if "FLOP/s" in text:
                assert box.count_contains(marks) == 0, text


def test_labels_of_ceilings_cross_no_line() -> None:
    for chip in ("h100-sxm", "mtia-v1", "tpu-v5p", "a100"):
        ax = rl.plot_roofline(chip)
        found = boxes(ax)
        for line in ax.lines:
            along = np.column_stack([line.get_xdata(), line.get_ydata()])
            page = ax.transData.transform(along)
            dense = np.column_stack(
                [np.interp(np.linspace(0, 1, 5000), np.linspace(0, 1, len(page)), v) for v in page.T]
            )
            for text, box in found.items():
                assert box.count_contains(dense) == 0, (chip, text)


def test_an_estimated_chip_has_bands() -> None:
    sure = rl.plot_roofline(rl.load_chip("mtia-2i"), levels=["dram"], dtypes=["int8"])
    unsure = rl.plot_roofline(rl.load_chip("artemis"), levels=["dram"], dtypes=["int8"])
    assert len(unsure.collections) > len(sure.collections)


def names_at_the_end(ax: Axes) -> list[str]:
    """What stands beside the ends of the lines, from the top."""
    named = sorted(
        (t for t in ax.texts if isinstance(t, Annotation) and not t.get_annotation_clip()),
        key=lambda t: -t.get_window_extent().y0,
    )
    return [t.get_text() for t in named]


def test_several_chips_share_the_axes() -> None:
    ax = rl.plot_roofline("h100-sxm", "mi300x", "tpu-v5p", "mtia-v1")
    assert names_at_the_end(ax) == [
        "mi300x bf16, ridge 247",
        "h100-sxm bf16, ridge 295",
        "tpu-v5p bf16, ridge 166",
        "mtia-v1 fp16, ridge 291",
    ]
    assert ax.get_title() == "h100-sxm, mi300x, tpu-v5p, mtia-v1: the 16-bit rate and main memory"


@pytest.mark.parametrize("size", [None, (3.4, 2.6)])
def test_labels_of_points_among_several_chips_stay_inside(size: tuple[float, float] | None) -> None:
    """The names of the lines take room on the right, and the points have moved by then."""
    est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8, batch=64, dtype="fp8")
    ax = rl.plot_roofline("h100-sxm", "mtia-v1", ops=est.decode.ops, size=size)
    ax.figure.draw_without_rendering()
    points = [t for t in ax.texts if t.get_text().endswith("%")]
    assert len(points) > 2
    for text in points:
        box = Text.get_window_extent(text)
        assert ax.bbox.count_contains([box.min, box.max]) == 2, text


@pytest.mark.parametrize("size", [None, (3.3, 2.6)])
def test_forty_chips_have_forty_names_apart(size: tuple[float, float] | None) -> None:
    chips = list(rl.list_chips().index)[:40]
    ax = rl.plot_roofline(*chips, size=size)
    ax.figure.draw_without_rendering()
    assert {text.split()[0] for text in names_at_the_end(ax)} == set(chips)
    boxes = [Text.get_window_extent(t).padded(-0.5) for t in ax.texts]
    page = ax.figure.bbox
    for one, other in itertools.pairwise(sorted(boxes, key=lambda box: box.y0)):
        assert not one.overlaps(other)
    assert all(page.x1 >= box.x1 and page.y0 <= box.y0 and box.y1 <= page.y1 for box in boxes)


def test_lines_that_lie_on_each_other_take_turns() -> None:
    ax = rl.plot_roofline("b200", "b300", "h100-sxm")
    level = [line for line in ax.lines if len(set(line.get_ydata())) == 1 and len(line.get_ydata()) == 2]
    patterns = [line._unscaled_dash_pattern for line in level]  # type: ignore[attr-defined]
    assert sorted(patterns[:2]) == [(0, (3.0, 3.0)), (3.0, (3.0, 3.0))]  # where one is drawn the other is not
    assert patterns[2][1] is None


def test_ceilings_of_one_height_share_a_label() -> None:
    ax = rl.plot_roofline("h100-sxm", dtypes=["fp8", "int8", "bf16"])
    named = [t.get_text() for t in ax.texts if "matrix" in t.get_text()]
    assert named == ["fp8, int8 matrix 1.979 PFLOP/s, ridge 591", "bf16 matrix 989.4 TFLOP/s, ridge 295"]


def test_ridge_points_are_numbers_that_people_read() -> None:
    chip = rl.load_chip("h100-sxm").what_if({"memory.hbm.bandwidth": "1.1444 TB/s"})
    labels = [t.get_text() for t in rl.plot_roofline(chip, dtypes=["fp8"]).texts]
    assert any("ridge 1,729" in text for text in labels)
    assert not any("e+0" in text for text in labels)


def test_an_estimate_is_a_picture_with_a_title_that_says_what_was_asked() -> None:
    est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8, batch=64, dtype="fp8")
    words = "Llama 3.1 70B on 8 x NVIDIA H100 SXM5 80GB [stack trtllm] (tp=8)\nbatch 64, prompt 1,024, output 256, fp8"
    assert rl.plot_roofline(est).get_title() == words
    assert rl.plot_roofline("h100-sxm", ops=est).get_title() == words
    assert rl.plot_roofline(est, title="mine").get_title() == "mine"
    bars = rl.plot_breakdown(est)
    assert bars.get_title() == words
    assert [t.get_text().split("\n")[0] for t in bars.get_yticklabels()] == ["prefill", "decode step"]
    with pytest.raises(rl.BadWorkload, match="draw it alone"):
        rl.plot_roofline(est, "h200")


def test_a_phase_is_drawn_as_its_table_is() -> None:
    est = rl.estimate("llama-3.1-8b", "h100-sxm", batch=8)
    widths = [[p.get_width() for p in rl.plot_breakdown(what).patches] for what in (est.prefill, est.prefill.ops)]
    assert widths[0] == widths[1]
    shown = [rl.plot_roofline("h100-sxm", ops=what).texts for what in (est.decode, est.decode.ops)]
    assert len({tuple(t.get_text() for t in texts) for texts in shown}) == 1


def test_a_cloud_of_points_is_few_artists() -> None:
    count = 50_000
    rng = np.random.default_rng(7)
    flops, intensity = 10 ** rng.uniform(6, 12, count), 10 ** rng.uniform(-1, 3, count)
    time = np.maximum(flops / 5e14, flops / intensity / 2e12) * rng.uniform(1, 5, count)
    ops = pd.DataFrame(
        {
            "op": [f"kernel {i}" for i in range(count)],
            "kind": "",
            "intensity": intensity,
            "flops": flops,
            "time_s": time,
            "share": time / time.sum(),
        }
    )
    ax = rl.plot_roofline("h100-sxm", ops={"profile": ops})
    marks = [c for c in ax.collections if isinstance(c, PathCollection)]
    assert [len(c.get_offsets()) for c in marks] == [count]
    assert marks[0].get_rasterized()  # fifty thousand shapes are no SVG that opens
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["profile", "2% of the time", "20% of the time"]


HOSTILE = r"$\frac{a}$ $x_{ 5$"


def test_a_dollar_sign_is_a_dollar_sign(tmp_path: Path) -> None:
    ops = lookups(3).assign(op=HOSTILE, bound=HOSTILE, kind="gemm")
    chip = dataclasses.replace(rl.load_chip("h100-sxm"), title=HOSTILE, name="a" + HOSTILE)
    table = pd.DataFrame({"elasticity": [1.0]}, index=[HOSTILE])
    grid = pd.DataFrame({"tpot_s": [1.0, 2.0], HOSTILE: [1.0, 2.0], "dtype": HOSTILE})
    rows = pd.DataFrame({"class": [HOSTILE], "measured_s": [1e-3], "predicted_s": [2e-3]})
    made = [
        rl.plot_roofline(chip, ops={HOSTILE: ops}),
        rl.plot_roofline(chip, "h200"),
        rl.plot_roofline(chip, title=HOSTILE),
        rl.plot_breakdown(ops, labels=[HOSTILE], title=HOSTILE),
        plot.plot_sensitivity(table, HOSTILE, title=HOSTILE),
        plot.plot_frontier(grid, grid, "tpot_s", HOSTILE, names=["dtype"], labels={"tpot_s": HOSTILE}, title=HOSTILE),
        plot.plot_validation(rows, HOSTILE),
    ]
    for i, ax in enumerate(made):
        plot.save(ax, tmp_path / f"{i}.svg")
    plot.save(made[0], tmp_path / "0.png")


def test_names_that_no_font_writes_are_drawn_all_the_same(tmp_path: Path) -> None:
    ops = lookups(3).assign(op="\u4e2d\u6587 \x00\x1b[31m\n" + "long " * 100, bound="\u4e2d")
    for ax in (rl.plot_roofline("h100-sxm", ops=ops), rl.plot_breakdown(ops)):
        plot.save(ax, tmp_path / "picture.svg")
        assert "\x1b" not in (tmp_path / "picture.svg").read_text()


def test_a_breakdown_fills_the_bar() -> None:
    est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8)
    ax = rl.plot_breakdown(est.prefill.ops, est.decode.ops, labels=["prefill", "decode"])
    for row in (0, 1):
        widths = [p.get_width() for p in ax.patches if abs(p.get_y() + p.get_height() / 2 - row) < 0.1]
        assert sum(widths) == pytest.approx(1.0)


def test_names_of_a_breakdown_stand_apart_and_inside() -> None:
    est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8)
    named = est.decode.ops.assign(op=[f"an_operator_with_a_long_name_{i}" for i in range(len(est.decode.ops))])
    for size in (None, (3.3, 4.6), (12.8, 7.2)):
        ax = rl.plot_breakdown(named, est.prefill, labels=["decode step", "prefill"], size=size)
        figure = ax.figure
        figure.draw_without_rendering()
        page = figure.bbox
        boxes = [t.get_window_extent() for t in [*ax.get_legend().get_texts(), *ax.get_yticklabels(), *ax.texts]]
        for one, other in itertools.combinations(boxes, 2):
            assert not one.padded(-0.5).overlaps(other.padded(-0.5))
        assert all(page.x0 <= b.x0 and b.x1 <= page.x1 and page.y0 <= b.y0 and b.y1 <= page.y1 for b in boxes)
        assert ax.get_legend().get_texts()[-1].get_text() == "other"


def test_a_tornado_has_the_largest_on_top() -> None:
    table = rl.sensitivity("llama-3.1-8b", "h100-sxm", batch=8)
    ax = plot.plot_sensitivity(table, "tokens_per_s", most=5)
    assert [t.get_text() for t in ax.get_yticklabels()] == list(table.index[:5])
    assert [p.get_width() for p in ax.patches] == pytest.approx(list(table["elasticity"][:5]))
    with pytest.raises(rl.BadWorkload, match="expected a table from sensitivity"):
        plot.plot_sensitivity(table.drop(columns="elasticity"))
    with pytest.raises(rl.BadWorkload, match="no figure moves the result"):
        plot.plot_sensitivity(table.iloc[:0])


def test_a_frontier_joins_the_points_that_no_other_beats() -> None:
    grid = rl.sweep("llama-3.1-8b", "h100-sxm", batch=[1, 8, 64], tp=[1, 2, 4])
    best = rl.pareto(grid, maximise=["tokens_per_s_per_chip"], minimise=["tpot_s"])
    every = grid.to_dataframe().reset_index()
    ax = plot.plot_frontier(every, best, "tpot_s", "tokens_per_s_per_chip", names=["batch", "tp"])
    assert sorted(ax.lines[0].get_xdata()) == pytest.approx(sorted(best["tpot_s"]))
    assert len(ax.collections[0].get_offsets()) == len(every)
    assert any(t.get_text() == "batch=64, tp=1" for t in ax.texts)
    with pytest.raises(rl.BadWorkload, match="no column latency_s"):
        plot.plot_frontier(every, best, "latency_s", "tpot_s")
    with pytest.raises(rl.BadWorkload, match="nothing in the grid fits"):
        plot.plot_frontier(every, best.iloc[:0], "ttft_s", "tpot_s")


def test_a_picture_that_was_there_stays_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ax = rl.plot_roofline("h100-sxm")
    for ending in ("png", "svg", "pdf"):
        old = tmp_path / f"old.{ending}"
        old.write_text("old")
        with monkeypatch.context() as full:
            full.setattr(Figure, "savefig", fill)
            with pytest.raises(OSError, match="No space left"):
                plot.save(ax, old)
        assert old.read_text() == "old"
        assert [path.name for path in tmp_path.iterdir()] == [old.name]
        plot.save(ax, old)
        assert old.stat().st_size > 5000
        old.unlink()


def fill(_: Figure, path: Path, **__: object) -> None:
    """A disk that is full after a few bytes."""
    Path(path).write_text("half")
    raise OSError(errno.ENOSPC, "No space left on device", str(path))


@pytest.mark.parametrize("chip", ["cerebras-wse3", "groq-lpu", "epyc-9654", "v100-sxm2", "tpu-v4", "artemis-hbm"])
def test_odd_chips_draw(chip: str, tmp_path: Path) -> None:
    ax = rl.plot_roofline(rl.load_chip(chip))
    plot.save(ax, str(tmp_path / "chip.svg"))
    assert (tmp_path / "chip.svg").stat().st_size > 5000


def test_bad_input_is_told(tmp_path: Path) -> None:
    chip = rl.load_chip("h100-sxm")
    with pytest.raises(rl.BadWorkload, match="at least one chip"):
        rl.plot_roofline()
    with pytest.raises(rl.BadWorkload, match="missing share, time_s"):
        rl.plot_roofline(chip, ops=pd.DataFrame({"op": ["a"], "intensity": [1.0], "flops": [1.0]}))
    with pytest.raises(rl.BadWorkload, match="has no fp4 rate"):
        rl.plot_roofline(chip, dtypes=["fp4"])
    with pytest.raises(rl.UnknownName, match=r"memory\.hbm\.bandwidth"):
        rl.plot_roofline(chip, levels=["hbn"])
    with pytest.raises(rl.BadWorkload, match="at least one breakdown"):
        rl.plot_breakdown()
    with pytest.raises(rl.BadWorkload, match=r"at least one breakdown such as \{'decode': .*\}, found none"):
        rl.plot_roofline(chip, ops={})
    for wrong in (8, "decode", [1.0], b"", object(), {"decode": 8}):
        with pytest.raises(rl.BadWorkload, match=r"a phase such as est\.decode, or an estimate"):
            rl.plot_roofline(chip, ops=wrong)
        with pytest.raises(rl.BadWorkload, match=r"a phase such as est\.decode, or an estimate"):
            rl.plot_breakdown(wrong)
    with pytest.raises(rl.BadWorkload, match="missing bound"):
        rl.plot_breakdown(lookups(2))
    with pytest.raises(rl.BadWorkload, match="finite numbers in the column 'flops'"):
        rl.plot_roofline(chip, ops=lookups(2).assign(flops="many"))
    with pytest.raises(rl.BadWorkload, match="expected 1 names, one a bar"):
        rl.plot_breakdown(lookups(2).assign(bound="x"), labels=["a", "b"])
    for size in ("big", 7, (7,), (0, 3), (float("nan"), 3)):
        with pytest.raises(rl.BadWorkload, match="size: expected"):
            rl.plot_roofline(chip, size=size)  # type: ignore[arg-type]
    with pytest.raises(rl.BadWorkload, match=r"\.png, \.svg or \.pdf"):
        plot.save(rl.plot_roofline(chip), str(tmp_path / "picture.bmp"))
    with pytest.raises(rl.BadWorkload, match="does not exist"):
        plot.save(rl.plot_roofline(chip), str(tmp_path / "nowhere" / "picture.png"))


@pytest.mark.parametrize("size", [(12.8, 7.2), (3.3, 2.9)], ids=["slide", "column"])
def test_titles_and_values_stay_on_the_page_and_off_the_names(size: tuple[float, float]) -> None:
    title = (
        "What moves tpot_s?\nLlama 3.1 70B on 8 x NVIDIA H100 SXM5 80GB (tp=8)\n"
        "batch 64, prompt 1,024, output 256, bf16"
    )
    figures = ["memory.hbm.bandwidth", "efficiency.gemm.memory_fraction", "efficiency.all_reduce.switch_fraction"]
    table = pd.DataFrame({"elasticity": [-0.44, -0.43, 0.06]}, index=figures)
    tornado = plot.plot_sensitivity(table, "tpot_s", title=title, size=size)
    several = rl.plot_roofline(*rl.list_chips().index[:10], size=size)
    for ax in (tornado, several):
        page = ax.figure
        page.draw_without_rendering()
        held = page.bbox.padded(1)
        for text in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts):
            if text.get_text():
                box = text.get_window_extent()
                assert held.x0 <= box.x0 <= box.x1 <= held.x1, text
                assert held.y0 <= box.y0 <= box.y1 <= held.y1, text
    names = [label.get_window_extent() for label in tornado.get_yticklabels()]
    assert len(tornado.texts) == len(names)
    assert not any(value.get_window_extent().overlaps(name) for value in tornado.texts for name in names)
