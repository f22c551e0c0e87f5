"""Pictures: what is on them. How they look is looked at, not tested."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.text import Text

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
    spots = np.array([c.get_offsets()[0] for c in ax.collections if len(c.get_offsets()) == 1])
    wanted = np.array([row["intensity"], row["flops"] / row["time_s"]])
    assert np.any(np.all(np.isclose(spots, wanted, rtol=1e-6), axis=1))
    assert any("down_proj" in t.get_text() for t in ax.texts)
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["prefill", "decode"]


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


def pictures() -> list[Axes]:
    made = []
    for dtype, batch in (("fp8", 64), ("bf16", 64), ("bf16", 1)):
        est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8, dtype=dtype, batch=batch)
        made.append(rl.plot_roofline(est.chip, ops={"prefill": est.prefill.ops, "decode step": est.decode.ops}))
    est = rl.estimate("dlrm-v2", "mtia-v1", batch=4096)
    crowd = pd.concat([lookups(30).assign(op=f"bag {i}", flops=lambda t: t["flops"] * 1.01) for i in range(20)])
    crowd["share"] /= 20
    made += [rl.plot_roofline(est.chip, ops=est.ops), rl.plot_roofline("h100-sxm", ops=crowd, label_share=0.0)]
    return made


def test_no_label_lies_on_another_and_none_of_a_ceiling_on_a_point() -> None:
    for ax in pictures():
        found = boxes(ax)
        for one, other in itertools.combinations(found, 2):
            assert not found[one].overlaps(found[other]), (one, other)
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


def test_several_chips_share_the_axes() -> None:
    ax = rl.plot_roofline(*(rl.load_chip(n) for n in ("h100-sxm", "mi300x", "tpu-v5p", "mtia-v1")))
    names = [t.get_text().split()[0] for t in ax.get_legend().get_texts()]
    assert names == ["h100-sxm", "mi300x", "tpu-v5p", "mtia-v1"]
    # The ridge points stand in the legend: beside the lines they would lie on those of other chips.
    assert ax.get_legend().get_texts()[0].get_text() == "h100-sxm (bf16, hbm), ridge 295"
    assert not ax.texts


def test_a_breakdown_fills_the_bar() -> None:
    est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=8)
    ax = rl.plot_breakdown(est.prefill.ops, est.decode.ops, labels=["prefill", "decode"])
    for row in (0, 1):
        widths = [p.get_width() for p in ax.patches if abs(p.get_y() + p.get_height() / 2 - row) < 0.1]
        assert sum(widths) == pytest.approx(1.0)


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
    with pytest.raises(rl.BadWorkload, match=r"\.png, \.svg or \.pdf"):
        plot.save(rl.plot_roofline(chip), str(tmp_path / "picture.bmp"))
    with pytest.raises(rl.BadWorkload, match="does not exist"):
        plot.save(rl.plot_roofline(chip), str(tmp_path / "nowhere" / "picture.png"))
