"""Software stacks: which one is taken where none is named, what it is called, and what-ifs on it."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.base.errors import BadDescriptor, BadWorkload, UnknownName
from roofline.catalog.load import read_chip
from roofline.estimates.stacks import best_known
from tests.conftest import Run
from tests.strategies import CHIPS, changes

H100 = rl.load_chip("h100-sxm")
SMALL = {"batch": 4, "prompt": 64, "output": 8}

#: A figure that the default stack has, and one of a class that it leaves alone.
LAID, LEFT = "efficiency.attention.launch_s", "efficiency.gemm.launch_s"


# Which one ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "chip", "stack"),
    [
        ("llama-3.1-8b", "h100-sxm", "trtllm"),
        ("llama-2-7b", "h100-sxm", "trtllm+trtllm_mmha"),  # 32 heads on 32
        ("gpt-oss-20b", "h200", "trtllm+trtllm_fp4"),
        ("mixtral-8x7b", "h100-sxm", "trtllm"),
        ("llama-3.1-8b", "a100-pcie-80gb", "trtllm"),  # inherited
        ("gpt-oss-20b", "h100-pcie", "trtllm"),  # whose own figures of experts the H100's are not laid on
        ("llama-3.1-8b", "l40s", ""),
        ("gpt-j-6b", "l40s", "trtllm_mmha"),
        ("llama-3.1-8b", "mi300x", ""),
        ("dlrm-v2", "h100-sxm", ""),
    ],
)
def test_the_best_known_stack_is_taken_where_none_is_named(model: str, chip: str, stack: str) -> None:
    est = rl.estimate(model, chip, batch=1, check=False)
    assert est.chip.stack == stack
    notes = [note for note in est.notes if note.startswith("software: ")]
    assert [note.partition(",")[0] for note in notes] == ([f"software: {stack}"] if stack else [])
    named = rl.load_chip(chip).on_stack(stack) if stack else rl.load_chip(chip)
    assert est.time_s == rl.estimate(model, named, batch=1, check=False).time_s


def test_weights_that_are_asked_for_decide_what_experts_run_on() -> None:
    model = rl.load_model("mixtral-8x7b")
    assert best_known(model, H100, "fp4") == "trtllm+trtllm_fp4"
    assert best_known(model, H100, "fp8") == "trtllm"
    assert best_known(rl.load_model("gpt-oss-20b"), H100, "bf16") == "trtllm"


@pytest.mark.parametrize("plain", ["plain", "", " plain "])
def test_plain_is_not_the_same_as_nothing(plain: str) -> None:
    est = rl.estimate("llama-3.1-8b", H100, stack=plain, **SMALL)
    assert est.chip.stack == "plain"
    assert est.chip.name == "h100-sxm[stack=plain]"
    assert not est.notes
    assert {p: est.chip[p] for p in (LAID, LEFT)} == {p: H100[p] for p in (LAID, LEFT)}
    assert est.time_s != rl.estimate("llama-3.1-8b", H100, **SMALL).time_s
    assert est.time_s == rl.estimate("llama-3.1-8b", H100.on_stack(plain), **SMALL).time_s


@pytest.mark.parametrize("ask", [rl.estimate, rl.serve, rl.fewest_chips], ids=lambda f: f.__name__)
def test_a_named_stack_is_that_of_the_chip(ask: Any) -> None:
    options = {"prompt": 64, "output": 8}
    named, put = (
        ask("llama-3.1-8b", H100, stack="vllm", **options),
        ask("llama-3.1-8b", H100.on_stack("vllm"), **options),
    )
    if ask is rl.fewest_chips:
        assert named.equals(put)
        assert not named.equals(ask("llama-3.1-8b", H100, **options))
        return
    assert named.chip.stack == put.chip.stack == "vllm"
    assert named.time_s == put.time_s
    assert not named.notes  # who names one is told nothing


def test_a_recommendation_model_takes_a_stack_that_is_named() -> None:
    assert rl.estimate("dlrm-v2", H100, stack="vllm").chip.stack == "vllm"


@pytest.mark.parametrize("stack", [["", "vllm"], 3, True])
def test_a_stack_is_one_name(stack: Any) -> None:
    with pytest.raises(BadWorkload, match="stack: expected one software stack, 'plain' for none"):
        rl.estimate("llama-3.1-8b", H100, stack=stack)


def test_an_unknown_stack_suggests_the_nearest() -> None:
    with pytest.raises(UnknownName, match="vllm"):
        rl.estimate("llama-3.1-8b", H100, stack="vlm")
    with pytest.raises(UnknownName, match="plain"):
        rl.estimate("llama-3.1-8b", "mi300x", stack="plan")


def test_one_operator_is_costed_on_the_chip_as_it_is() -> None:
    op = rl.attention(batch=8, heads=32, kv_heads=8, head_dim=128, q_len=1, kv_len=512, dtype="bf16")
    assert rl.cost(op, H100).time_s == rl.cost(op, H100.on_stack("plain")).time_s
    assert rl.cost(op, H100).time_s != rl.cost(op, H100.on_stack("trtllm")).time_s


def test_what_moves_a_figure_is_what_the_default_stack_has() -> None:
    moves = rl.sensitivity("llama-3.1-8b", H100, figure="tpot_s", **SMALL)
    named = rl.sensitivity("llama-3.1-8b", H100.on_stack("trtllm"), figure="tpot_s", **SMALL)
    assert moves.equals(named)
    assert moves.loc[LAID, "value"] == H100[f"stack.trtllm.{LAID}"]


def test_a_grid_over_stacks_is_its_points_one_by_one() -> None:
    stacks, factors = [None, "", "vllm"], ["x1", "x2"]
    grid = rl.sweep("llama-3.1-8b", H100, stack=stacks, **{LAID: factors}, **SMALL)
    points = [
        [
            rl.estimate("llama-3.1-8b", (H100 if s is None else H100.on_stack(s)).what_if({LAID: f}), **SMALL).tpot_s
            for f in factors
        ]
        for s in stacks
    ]
    assert grid["tpot_s"].values == pytest.approx(np.array(points), rel=1e-12)
    unnamed = rl.sweep("llama-3.1-8b", H100, **{LAID: factors}, **SMALL)["tpot_s"]
    assert unnamed.values == pytest.approx(np.array(points[0]), rel=1e-12)
    assert len(set(np.round(points, 9).ravel())) == 6


# Laying it ------------------------------------------------------------------------------------------------------


def test_laying_a_stack_twice_changes_nothing_and_costs_nothing() -> None:
    vllm = H100.on_stack("vllm")
    assert vllm.on_stack("vllm") is vllm
    assert H100.on_stack(" vllm ") is vllm
    both = H100.on_stack("trtllm+trtllm_fp4")
    assert both.on_stack("trtllm_fp4") is both.on_stack("trtllm + trtllm_fp4") is both
    plain = H100.on_stack("plain")
    assert plain.on_stack("") is plain
    assert plain.on_stack("vllm").name == vllm.name
    assert rl.load_chip("mi300x").on_stack("plain") is rl.load_chip("mi300x")  # which has no other
    again = pickle.loads(pickle.dumps(both))
    assert (again.stack, again[LAID]) == (both.stack, both[LAID])


def test_a_chip_on_a_stack_has_no_plain_figures_any_more() -> None:
    with pytest.raises(BadWorkload, match="is on vllm already: expected the chip as it was loaded"):
        rl.estimate("llama-3.1-8b", H100.on_stack("vllm"), stack="plain")


@settings(max_examples=25)
@given(st.data())
def test_a_what_if_holds_before_a_stack_is_laid_and_after(data: st.DataObject) -> None:
    """Absolute values and factors, on figures that the stack has and that it has not, and on what others follow."""
    chip = rl.load_chip(data.draw(st.sampled_from([c for c in CHIPS if rl.load_chip(c).stacks])))
    stack = data.draw(st.sampled_from(chip.stacks))
    prefix = f"stack.{stack}."
    has = sorted(p.removeprefix(prefix) for p in chip.numbers if p.startswith(prefix))
    known = [*sorted({*has} & {*chip.numbers, *chip.defaults}), "clock", "cores.count", "memory.main.bandwidth"]
    path = data.draw(st.sampled_from(known))
    value = data.draw(st.one_of(st.sampled_from(["x1.02", "x0.9"]), changes(path, chip.on_stack(stack).number(path))))
    try:
        after = chip.on_stack(stack).what_if({path: value})
        before = chip.what_if({path: value}).on_stack(stack)
    except BadWorkload:
        return  # beyond the range of that figure, or of one that follows it
    assert before.name == after.name
    assert before.numbers.keys() == after.numbers.keys()
    for figure, number in after.numbers.items():
        assert np.array_equal(number.value, before.numbers[figure].value), figure


def test_a_what_if_wins_over_the_default_stack() -> None:
    slow = rl.estimate("llama-3.1-8b", H100.what_if({LAID: "100 us"}), **SMALL)
    assert slow.chip[LAID] == 100e-6
    assert slow.chip.stack == "trtllm"
    assert slow.tpot_s > rl.estimate("llama-3.1-8b", H100, **SMALL).tpot_s
    twice = rl.estimate("llama-3.1-8b", H100.what_if({LAID: "x2"}), **SMALL)
    assert twice.chip[LAID] == 2 * H100[f"stack.trtllm.{LAID}"]  # of the figure that the estimate would have taken
    own = H100.what_if({LAID: "100 us", f"stack.trtllm.{LAID}": "50 us"})
    assert rl.estimate("llama-3.1-8b", own, **SMALL).chip[LAID] == 50e-6
    many = rl.estimate("llama-3.1-8b", H100.what_if({LAID: ["10 us", "20 us"]}), **SMALL)
    assert many.tpot_s.shape == (2,)


def test_a_what_if_that_one_stack_cannot_follow_stands_in_the_way_of_that_one_alone() -> None:
    """TensorRT-LLM's share is nearly one, SGLang has none of its own."""
    path = "efficiency.attention.decode_compute_fraction"
    factor = 1.01 / H100[f"stack.trtllm.{path}"]
    assert factor * H100[path] < 1
    fast = H100.what_if({path: f"x{factor}"})
    with pytest.raises(BadWorkload, match=r"stack\.trtllm\.efficiency.*fraction of at most 1"):
        rl.estimate("llama-3.1-8b", fast, **SMALL)
    for stack in ("plain", "sglang"):
        assert rl.estimate("llama-3.1-8b", fast, stack=stack, **SMALL).chip[path] == factor * H100[path]
    assert rl.estimate("llama-3.1-8b", fast.what_if({path: 0.5}), **SMALL).chip[path] == 0.5


# Descriptors ----------------------------------------------------------------------------------------------------


def variant(tmp_path: Path, text: str) -> rl.Chip:
    path = tmp_path / "mine.toml"
    path.write_text(f'schema = 1\nname = "mine"\nextends = "h100-sxm"\nsource = "me"\nkind = "measured"\n{text}')
    return read_chip(path)


def test_a_default_is_not_laid_over_figures_of_a_variants_own(tmp_path: Path) -> None:
    assert set(variant(tmp_path, "").default_stack) == {"language", "multi_head", "fp4_experts"}
    mine = variant(tmp_path, '[efficiency.attention]\nlaunch_s = "3 us"\n')
    assert set(mine.default_stack) == {"multi_head", "fp4_experts"}
    assert rl.estimate("llama-3.1-8b", mine, **SMALL).chip[LAID] == 3e-6
    said = variant(tmp_path, '[efficiency.attention]\nlaunch_s = "3 us"\n[default_stack]\nlanguage = "vllm"\n')
    assert said.default_stack["language"]["value"] == "vllm"
    assert not variant(tmp_path, "").on_stack("plain").default_stack.keys() ^ H100.default_stack.keys()
    none = variant(tmp_path, 'without = ["default_stack"]\n')
    assert rl.estimate("llama-3.1-8b", none, **SMALL).chip.stack == ""


def test_a_default_stack_is_one_that_the_chip_has(tmp_path: Path) -> None:
    with pytest.raises(BadDescriptor, match=r"stack\.language: the chip has no stack 'vlm'; did you mean 'vllm'"):
        variant(tmp_path, '[default_stack]\nlanguage = "vlm"\n')
    with pytest.raises(BadDescriptor, match=r"default_stack\.langauge: unknown key; did you mean 'language'"):
        variant(tmp_path, '[default_stack]\nlangauge = "vllm"\n')


def test_a_default_goes_with_the_figures_of_its_stack(tmp_path: Path) -> None:
    """Whether a variant leaves out all of them or every table of them; one of its own is not taken away but refused."""
    known = H100.default_stack
    stack = known["multi_head"]["value"]
    kept = {key for key, one in known.items() if stack not in one["value"].split("+")}
    assert kept
    gone = [".".join(p.split(".")[:4]) for p in H100.numbers if p.startswith(f"stack.{stack}.")]
    for without in ([f"stack.{stack}"], list(dict.fromkeys(gone))):
        chip = variant(tmp_path, f"without = {without}\n")
        assert chip.default_stack.keys() == kept
        again = tmp_path / "again.toml"
        again.write_text(chip.to_toml(), encoding="utf-8")
        assert read_chip(again).default_stack.keys() == kept
    with pytest.raises(BadDescriptor, match=rf"default_stack\.language: the chip has no stack '{stack}'"):
        variant(tmp_path, f'without = ["stack.{stack}"]\n[default_stack]\nlanguage = "{stack}"\n')
    with pytest.raises(BadDescriptor, match=r"default_stack\.language: the table of the stack 'own' has no figures"):
        variant(tmp_path, '[stack.own]\n[default_stack]\nlanguage = "own"\n')


def test_what_is_written_of_a_stack_takes_no_other(tmp_path: Path) -> None:
    for chip, stack in ((H100, "trtllm"), (H100.on_stack("vllm"), ""), (H100.on_stack("plain"), "")):
        path = tmp_path / "written.toml"
        path.write_text(chip.to_toml(), encoding="utf-8")
        again = rl.estimate("llama-3.1-8b", path, **SMALL)
        assert again.chip.stack == stack
        assert again.time_s == pytest.approx(rl.estimate("llama-3.1-8b", chip, **SMALL).time_s, rel=1e-12)


# The command ----------------------------------------------------------------------------------------------------


def test_the_command_says_which_software(run: Run) -> None:
    line = ("estimate", "llama-3.1-8b", "--chip", "h100-sxm", "--no-ops")
    _, text, _ = run(*line)
    assert "[stack trtllm]" in text
    assert "software: trtllm, the best known of this chip; stack='plain' for the chip's own figures" in text
    default, plain, vllm = (
        json.loads(run(*line, "--json", *more)[1]) for more in ((), ("--stack", "plain"), ("--stack", "vllm"))
    )
    assert [one["stack"] for one in (default, plain, vllm)] == ["trtllm", "plain", "vllm"]
    assert default["notes"][0].startswith("software: trtllm")
    assert plain["notes"] == []
    assert len({one["tpot_s"] for one in (default, plain, vllm)}) == 3


def test_the_command_changes_figures_of_the_stack(run: Run) -> None:
    line = ("estimate", "llama-3.1-8b", "--chip", "h100-sxm", "--json", "--stack", "vllm", "--set")
    of_vllm = [p.removeprefix("stack.vllm.") for p in H100.numbers if p.startswith("stack.vllm.")]
    alone = next(p for p in of_vllm if p not in H100.numbers and p not in H100.defaults and "spread" not in p)
    for change in (f"{LAID}=100 us", f"{alone}=x1.01"):
        code, out, err = run(*line, change)
        assert code == 0, err
        assert json.loads(out)["stack"] == "vllm"
