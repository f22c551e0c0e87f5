"""Writing descriptors: what is written is read again as it was."""

from __future__ import annotations

import contextlib
import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, strategies as st

import roofline as rl
from roofline.base import tomlfile
from roofline.base.errors import BadWorkload
from roofline.catalog.load import read_chip
from roofline.evidence.calibration import Calibration
from roofline.hardware.chip import Chip
from roofline.hardware.number import Number
from tests.strategies import CHIPS, changes, chip_names


def same(number: Number) -> Number:
    """A number as a stand-alone file can hold it: its own, and a what-if an estimate."""
    kind = "estimated" if number.kind == "what-if" else number.kind
    return dataclasses.replace(number, inherited="", kind=kind)


def assert_same_figures(again: Chip, chip: Chip) -> None:
    """What was read anew is what was written; doubt of what another chip's measurements say stands in it."""
    assert again.numbers.keys() == chip.numbers.keys()
    for path, number in chip.numbers.items():
        if "spread" not in path:
            assert again.numbers[path] == same(number)
        elif path.startswith("efficiency."):
            kind, _, dtype = path.removeprefix("efficiency.").rpartition(".")[0].partition(".")
            assert again.spreads((kind,), dtype) == pytest.approx(chip.spreads((kind,), dtype), rel=1e-9), path


def rewritten(chip: Chip, folder: Path) -> Chip:
    path = folder / "written.toml"
    path.write_text(chip.to_toml(), encoding="utf-8")
    return read_chip(path)


@pytest.mark.parametrize("name", CHIPS)
def test_a_descriptor_survives_writing_and_reading(name: str, tmp_path: Path) -> None:
    chip = rl.load_chip(name)
    again = rewritten(chip, tmp_path)
    assert_same_figures(again, chip)
    for field in ("name", "title", "vendor", "family", "status", "year", "aliases", "note", "flags", "calibration"):
        assert getattr(again, field) == getattr(chip, field), field
    assert again.to_toml() == chip.to_toml()


@given(name=chip_names, data=st.data())
def test_a_changed_chip_survives_writing_and_reading(
    name: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chip = rl.load_chip(name)
    stack = data.draw(st.sampled_from(["", *chip.stacks]))
    changed = chip.on_stack(stack) if stack else chip
    for path in data.draw(st.lists(st.sampled_from(sorted({**chip.numbers, **chip.defaults})), min_size=1, max_size=3)):
        value = data.draw(changes(path, changed.number(path)).filter(lambda v: not isinstance(v, np.ndarray)))
        with contextlib.suppress(BadWorkload):  # what follows a figure has a range, too
            changed = changed.what_if({path: value})
    again = rewritten(changed, tmp_path_factory.getbasetemp())
    assert_same_figures(again, changed)


def test_awkward_text_survives_writing_and_reading(tmp_path: Path) -> None:
    awkward = 'quotes " and \\ and \u00b5\u4e2d, a\ttab,\na line, {braces} = [brackets] # hash'
    chip = dataclasses.replace(rl.load_chip("mtia-v1"), note=awkward, title=awkward)
    assert rewritten(chip, tmp_path).note == awkward


def test_a_sampled_chip_cannot_be_written() -> None:
    with pytest.raises(BadWorkload, match=r"clock is an array"):
        rl.load_chip("h100").what_if({"clock": [1e9, 2e9]}).to_toml()


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"memory.hbm.bandwidth": "4.8 TB/s"}, "h100-sxm-memory.hbm.bandwidth-4.8tb-s"),
        ({"clock": "1 GHz", "cores.count": 144}, "h100-sxm-clock-1ghz-cores.count-144"),
        ({"efficiency.gemm.compute_fraction": 0.7512345678}, "h100-sxm-efficiency.gemm.compute_fraction-0.7512345678"),
    ],
)
def test_a_variant_is_written_under_a_name_that_loads(changes: dict[str, Any], name: str, tmp_path: Path) -> None:
    again = rewritten(rl.load_chip("h100").what_if(changes), tmp_path)
    assert again.name == name
    assert again.aliases == ()  # `h100` stays the chip as it is
    assert again.changes == {}


def test_what_was_fitted_to_a_variant_stands_alone(tmp_path: Path) -> None:
    variant = rl.load_chip("h100").what_if({"clock": "x1.1"}).on_stack("vllm")
    fitted = Number(0.5, "fraction", "measured", "rows of ours")
    path = "efficiency.gemm.compute_fraction"
    chip = dataclasses.replace(variant, numbers={**variant.numbers, path: fitted})
    found = Calibration(chip, variant, [], pd.Series(dtype=str), {}, "rows of ours", []).to_toml()
    (tmp_path / "written.toml").write_text(found)
    again = read_chip(tmp_path / "written.toml")
    assert again.name == "h100-sxm-clock-2.013ghz-stack-vllm-calibrated"
    assert again["clock"] == variant["clock"] != rl.load_chip("h100")["clock"]
    assert again[path] == 0.5


def test_a_figure_without_a_source_is_not_written() -> None:
    chip = rl.load_chip("h100")
    blank = dataclasses.replace(chip.number("clock"), source=" ")
    with pytest.raises(BadWorkload, match=r"clock has no source"):
        dataclasses.replace(chip, numbers={**chip.numbers, "clock": blank}).to_toml()


KEYS = st.text("abc_-. \"'=#\u00e9", max_size=6)
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cf"]), max_size=20)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | NUMBERS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abcvalue.", max_size=6), PLAIN, max_size=5))
def test_any_table_survives_writing_and_reading(table: dict[str, Any]) -> None:
    assert tomllib.loads(tomlfile.write(table)) == table
