"""Every law in every named regime of every kernel, on chips of every family."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import event, given, settings, strategies as st

from roofline import kernels
from roofline.estimates.inference import COST, evaluate_op
from roofline.hardware.chip import Chip
from roofline.kernels import reference
from roofline.work.op import Op
from tests.regimes import REGIMES, Regime, chip_in, chips_of
from tests.test_laws import CLOSE, RATES, TIMES, arguments_of, suited

#: Of each regime; ``pytest --hypothesis-profile=explore`` tries a thousand.
EXAMPLES = 50


def examples() -> Any:
    longer = settings.get_current_profile_name() == "explore"
    return settings(max_examples=settings.default.max_examples if longer else EXAMPLES)


def made(regime: Regime, arguments: dict[str, Any], chip: Chip) -> Op:
    """The operator, in the dtype that the chip has."""
    return suited(regime.function(**arguments), chip)


def bounds_enclose_the_expected_time(one: Op, chip: Chip) -> None:
    cost = dict(zip(COST, evaluate_op(one, chip), strict=True))
    assert all(math.isfinite(v) and v >= 0 for v in cost.values()), cost
    assert cost["lower_s"] <= cost["time_s"] * CLOSE
    assert cost["time_s"] <= cost["upper_s"] * CLOSE
    assert cost["memory_bytes"] <= chip.machine["memory_bandwidth"] * cost["time_s"] * CLOSE, "MBU above 1"
    if cost["flops"]:
        assert cost["flops"] <= chip.rate(one.dtype) * cost["time_s"] * CLOSE, "MFU above 1"


def kernel_and_twin_agree(one: Op, chip: Chip) -> None:
    arguments = arguments_of(one, chip)
    fast = kernels.by_name()[one.kernel](**arguments)
    plain = reference.by_name()[one.kernel](**{k: np.array([v]) for k, v in arguments.items()})
    for quantity, a, b in zip(COST, fast, plain, strict=True):
        assert a == pytest.approx(float(np.broadcast_to(b, 1)[0]), rel=1e-9, abs=1e-30), f"twin: {quantity}"


def scaling_all_rates_divides_the_ideal_time(one: Op, chip: Chip, factor: float) -> None:
    rates = [p for p, n in chip.numbers.items() if n.dimension in ("rate", "bandwidth")]
    scaled = chip.what_if({p: chip[p] * factor for p in rates})
    before, after = evaluate_op(one, chip)[TIMES[0]], evaluate_op(one, scaled)[TIMES[0]]
    assert after == pytest.approx(before / factor, rel=1e-9), "ideal time"


def a_rate_shrinks_every_time(one: Op, chip: Chip, rate: str, factor: float) -> None:
    if rate == "matrix":
        rate = next(p for p in chip.numbers if p.startswith("engines.") and p.endswith(chip.widest_matrix))
    if chip.get(rate) is None:
        return  # this chip has no such figure
    before, after = evaluate_op(one, chip), evaluate_op(one, chip.what_if({rate: chip[rate] * factor}))
    for i in TIMES:
        assert after[i] <= before[i] * CLOSE, f"{COST[i]} with more {rate}"


def a_size_grows_every_time_and_an_array_equals_its_points(
    regime: Regime, arguments: dict[str, Any], chip: Chip, size: str, factor: float
) -> None:
    larger = math.ceil(arguments[size] * factor)
    values = [arguments[size], larger, arguments[size]]
    together = evaluate_op(made(regime, {**arguments, size: values}, chip), chip)
    before, after = (evaluate_op(made(regime, {**arguments, size: v}, chip), chip) for v in values[:2])
    for i in TIMES:
        assert before[i] <= after[i] * CLOSE, f"{COST[i]} with more {size}"
    for i, alone in enumerate((before, after, before)):
        for quantity, a, b in zip(COST, together, alone, strict=True):
            assert float(np.broadcast_to(a, 3)[i]) == pytest.approx(b, rel=1e-12), f"array: {quantity} along {size}"


@pytest.mark.parametrize("name", REGIMES)
def test_laws_hold(name: str) -> None:
    regime = REGIMES[name]
    names = chips_of(regime)

    @examples()
    @given(st.data(), st.floats(1.0, 8.0), st.floats(0.1, 10.0))
    def laws(data: st.DataObject, factor: float, scale: float) -> None:
        chip = chip_in(regime, data.draw(names))
        arguments = data.draw(regime.arguments)
        one = made(regime, arguments, chip)
        event(chip.family)
        bounds_enclose_the_expected_time(one, chip)
        kernel_and_twin_agree(one, chip)
        scaling_all_rates_divides_the_ideal_time(one, chip, scale)
        a_rate_shrinks_every_time(one, chip, data.draw(st.sampled_from(RATES)), factor)
        sizes = [name for name in regime.sizes if name in arguments]
        if sizes:
            size = data.draw(st.sampled_from(sizes))
            a_size_grows_every_time_and_an_array_equals_its_points(regime, arguments, chip, size, factor)

    laws()


def test_every_kernel_has_a_regime() -> None:
    from tests.operators import ARGUMENTS

    functions = {regime.function for regime in REGIMES.values()}
    assert functions == set(ARGUMENTS)
