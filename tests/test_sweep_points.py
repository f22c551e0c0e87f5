"""A sweep equals its points, one by one: whatever its axes are, and however it is cut."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.estimates import stacks
from roofline.hardware import uncertainty
from roofline.study import definition

#: Axes that any model may have, and those of one family; the last values are impossible somewhere.
SHARED: dict[str, list[Any]] = {
    "batch": [8, 64, 1000],
    "dtype": [None, "int8", "fp8"],
    "usable_memory": [0.05, 0.9],
    "stack": ["", None, "vllm"],
    "clock": ["x0.9", "x1.1"],
    "memory.main.bandwidth": ["1 TB/s", "x1.5", 3e12],
    "overheads.step": [1e-6, "x3"],
    "memory.hbm.capacity": ["x0.2", "x2"],
}
OWN: dict[str, dict[str, list[Any]]] = {
    "llama-3.1-8b": {"prompt": [100, 4000], "output": [1, 300], "tp": [1, 2, 3], "prefix": [0, 64, 200]},
    "mixtral-8x7b": {"prompt": [100, 32000], "output": [16, 900], "tp": [1, 4], "ep": [1, 2, 3], "dp": [1, 16]},
    "rm1": {"devices": [1, 4, 16], "skew": [0.0, 1.05], "compiled": [False, True]},
}
CHIPS = ["h100-sxm", "mi300x", "artemis", "mtia-v1"]


@st.composite
def questions(draw: Any) -> tuple[list[str], list[str], dict[str, Any], int]:
    """Models, chips, axes, draws: a grid of a few dozen points."""
    models = draw(st.lists(st.sampled_from(sorted(OWN)), min_size=1, max_size=2, unique=True))
    chips = draw(st.lists(st.sampled_from(CHIPS), min_size=1, max_size=2, unique=True))
    known = SHARED | {name: values for model in models for name, values in OWN[model].items()}
    names = draw(st.lists(st.sampled_from(sorted(known)), max_size=4, unique=True))
    if "memory.hbm.capacity" in names and not any(chip in CHIPS[:2] for chip in chips):
        names.remove("memory.hbm.capacity")
    axes = {name: draw(st.sampled_from([known[name], known[name][:2], known[name][0]])) for name in names}
    return models, chips, axes, draw(st.sampled_from([0, 0, 3]))


def alone(model: str, chip: rl.Chip, options: dict[str, Any], draw: int | None, chips: list[str], draws: int) -> Any:
    """The estimate of one point, made by hand."""
    if draw is not None:
        names = sorted({name for one in chips for name in uncertainty.chances(rl.load_chip(one))})
        if names:
            points = uncertainty.sobol(len(names), draws, 5)
            uniform = dict(zip(names, points[draw : draw + 1].T, strict=True))
            sampled = uncertainty.settled(chip, uniform)
            numbers, defaults = (
                {
                    p: n if np.ndim(n.value) == 0 else dataclasses.replace(n, value=n.value.item())
                    for p, n in own.items()
                }
                for own in (sampled.numbers, sampled.defaults)
            )
            chip = dataclasses.replace(sampled, numbers=numbers, defaults=defaults)
    changes = {name: options.pop(name) for name in list(options) if "." in name or name == "clock"}
    loaded = rl.load_model(model)
    software = {"stack": options.pop("stack", None), "weight_dtype": options.get("weight_dtype")}
    chip, _ = stacks.chosen(loaded, chip, software)
    chip = chip.what_if(changes) if changes else chip
    if "devices" in options:  # of a recommendation model, whose tables a grid splits evenly
        options["placement"] = "even"
    return rl.estimate(loaded, chip, check=False, **options)


@settings(max_examples=12)
@given(questions(), st.randoms(use_true_random=False), st.sampled_from([3, 10**6]))
def test_a_sweep_equals_its_points(asked: Any, random: Any, most: int) -> None:
    models, chips, axes, draws = asked
    given_axes = {name: values for name, values in axes.items() if isinstance(values, list)}
    places = itertools.product(models, chips, *(range(len(v)) for v in given_axes.values()), range(draws or 1))
    every = [dict(zip(("model", "chip", *given_axes, "draw"), place, strict=True)) for place in places]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(definition, "MOST", most)
        try:
            data = rl.sweep(models, chips, draws=draws, seed=5, **axes)
        except (rl.BadWorkload, rl.UnknownName):  # only where no point of it is possible
            assert not any(
                _possible(at, axes, given_axes, draws, chips) for at in random.sample(every, min(4, len(every)))
            )
            return
    assert list(data.dims) == ["model", "chip", *given_axes, *(["draw"] if draws else [])]
    for at in random.sample(every, min(6, len(every))):
        point = data.isel(
            {
                d: models.index(at[d]) if d == "model" else chips.index(at[d]) if d == "chip" else at[d]
                for d in map(str, data.dims)
            }
        )
        est = _possible(at, axes, given_axes, draws, chips)
        assert bool(point["possible"]) == (est is not None)
        assert (point.roofline.why_text().item() == "") == (est is not None)
        for name in data.data_vars:
            if est is None:
                assert name in ("fits", "bound", "possible", "why") or np.isnan(point[name])
            elif hasattr(est, str(name)) and name != "bound":
                assert float(point[name]) == pytest.approx(float(getattr(est, str(name))), rel=1e-12), name
        if est is not None:
            assert point.roofline.bound_text().item() == est.bound


def _possible(
    at: dict[str, Any], axes: dict[str, Any], given_axes: dict[str, Any], draws: int, chips: list[str]
) -> Any:
    """The estimate of a point by itself, None where it is refused; options of the other family left out."""
    options = {name: given_axes[name][at[name]] if name in given_axes else value for name, value in axes.items()}
    ranker = at["model"] == "rm1"
    other = {name for model, own in OWN.items() for name in own if (model == "rm1") != ranker}
    options = {name: value for name, value in options.items() if name not in other}
    try:
        return alone(at["model"], rl.load_chip(at["chip"]), options, at["draw"] if draws else None, chips, draws)
    except (rl.BadWorkload, rl.UnknownName):
        return None
