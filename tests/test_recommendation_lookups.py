"""Lookups respond to the chip: every figure that moves them in silicon moves them here, and in the right direction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.catalog.load import load_model
from roofline.estimates import residence as residences
from roofline.estimates.residence import residence
from roofline.hardware.chip import Chip
from roofline.kernels import lookups as kernels
from roofline.models import description
from roofline.models.recommender import Recommender
from tests.strategies import CHIPS

MODELS = [name for name, kind in rl.list_models()["kind"].items() if kind == "recommendation"]
LARGER = (
    "memory.main.bandwidth",
    "memory.cache.capacity",
    "memory.cache.bandwidth",
    "memory.main.channels",
    "cores.count",
    "clock",
)
FAST = dict.fromkeys(LARGER, ("x2", "x16"))
SLOW = dict.fromkeys(("memory.main.latency", "memory.cache.latency", "latency.memory", "latency.cache"), ("x0.5",))
CLOSE = 1 + 2e-3  # a sum of many roundings, and Newton's last step


def ranked(model: str, chip: Chip, **options: Any) -> Any:
    return rl.estimate(model, chip, check=False, **{"batch": 1024, "skew": 0.8, **options})


def has(chip: Chip, path: str) -> bool:
    return chip.get(path) is not None and not (path.startswith("memory.cache") and chip.cache_level == chip.main_level)


@given(
    model=st.sampled_from(MODELS),
    name=st.sampled_from(CHIPS),
    batch=st.sampled_from([1, 64, 2048, 65536]),
    skew=st.sampled_from([0.0, 0.4, 0.9, 1.1, 1.6]),
    change=st.sampled_from([(p, v) for p, vs in (FAST | SLOW).items() for v in vs]),
)
@settings(max_examples=60, deadline=None)
def test_no_better_figure_slows_a_model(
    model: str, name: str, batch: int, skew: float, change: tuple[str, str]
) -> None:
    chip = rl.load_chip(name)
    path, value = change
    if not has(chip, path):
        return
    before, after = (ranked(model, c, batch=batch, skew=skew) for c in (chip, chip.what_if({path: value})))
    # More cores lengthen the combining of attention's parts, and nothing else.
    limit = 1.1 if path == "cores.count" and any(one.kind == "attention" for one in before.step.workload) else CLOSE
    assert after.time_s <= before.time_s * limit
    assert after.lower_s <= before.lower_s * CLOSE


def bag(**changes: Any) -> Any:
    return rl.embedding_bag(
        **{
            "batch": 2048,
            "tables": 8,
            "rows": 10**7,
            "dim": 64,
            "pooling": 10,
            "dtype": "fp16",
            "skew": 0.9,
            "warm": True,
            **changes,
        }
    )


#: What names a bound of lookups: figures that are then worth something, and those that are not.
NAMED = {
    "latency": ("memory.main.latency", "cores.count", "efficiency.embedding_bag.inflight_rows"),
    "bandwidth": ("memory.main.bandwidth", "memory.main.channels"),
}


@pytest.mark.parametrize(
    ("chip", "stack", "changes", "waits"),
    [
        ("mtia-v1", "", {}, "latency"),
        ("mtia-v1", "handwritten", {}, "bandwidth"),
        ("mtia-2i", "", {}, "latency"),
        ("artemis", "", {}, "latency"),
        ("artemis", "", {"dim": 1024}, "bandwidth"),
        ("a100-sxm-80gb", "", {"dim": 256}, "bandwidth"),
    ],
)
def test_each_figure_that_the_bound_names_is_worth_something(
    chip: str, stack: str, changes: dict[str, Any], waits: str
) -> None:
    one = rl.load_chip(chip)
    one = one.on_stack(stack) if stack else one
    cost = rl.cost(bag(**changes), one)
    assert cost.bound == f"memory:{one.main_level}"
    for path in NAMED[waits]:
        path = (
            path
            if has(one, path)
            else path.replace("memory.main.", "latency.").replace("latency.latency", "latency.memory")
        )
        better = one.what_if(
            {path: "x0.9" if "latency" in path else "x2" if path.endswith(("count", "channels")) else "x1.1"}
        )
        assert rl.cost(bag(**changes), better).time_s < 0.97 * cost.time_s, path


def test_what_used_to_move_nothing_moves() -> None:
    """DLRM-v2 on MTIA v1: SRAM, DRAM bandwidth, DRAM latency, SRAM latency, channels and cores."""
    chip = rl.load_chip("mtia-v1")
    plain = rl.estimate("dlrm-v2", chip, batch=1024, dtype="int8").samples_per_s
    for change, least in (
        ({"memory.sram.capacity": "256 GB"}, 1.15),
        ({"memory.sram.capacity": "x2"}, 1.01),
        ({"memory.dram.bandwidth": "100 TB/s"}, 1.005),
        ({"memory.dram.latency": "0.5 us"}, 1.2),
        ({"memory.sram.latency": "x0.5"}, 1.003),
        ({"cores.count": 128}, 1.3),
        ({"memory.dram.channels": 32}, 1.0),
    ):
        assert rl.estimate("dlrm-v2", chip.what_if(change), batch=1024, dtype="int8").samples_per_s > least * plain
    hbm, lpddr = (rl.estimate("rm2", c, batch=256, dtype="int8").samples_per_s for c in ("artemis-hbm", "artemis"))
    assert hbm > 1.0005 * lpddr


@pytest.mark.parametrize("stack", ["", "handwritten"])
def test_long_rows_come_at_a_higher_rate(stack: str) -> None:
    """A row costs its latency and the opening of its page whatever its length: 512 B bring more than 64."""
    chip = rl.load_chip("mtia-v1")
    chip = chip.on_stack(stack) if stack else chip
    rates = []
    for dim in (32, 64, 128, 256):
        cost = rl.cost(bag(dim=dim, skew=0, rows=10**9), chip)
        rates.append(cost.memory_bytes / cost.time_s)
    assert rates == sorted(rates)
    assert rates[-1] > 1.5 * rates[0]


def hits(chip: Chip, model: Recommender, skew: float) -> float:
    est = ranked(model.name, chip, skew=skew)
    found, looked_up = 0.0, 0.0
    for one, values in zip(est.step.workload, est.step.costs, strict=True):
        if one.kind == "embedding_bag":
            found += values[3]
            looked_up += values[4]
    return 1 - found / looked_up


@given(
    name=st.sampled_from(["mtia-v1", "mtia-2i", "artemis", "epyc-9654", "h200"]),
    model=st.sampled_from(MODELS),
    skew=st.floats(0.0, 1.5),
    more=st.sampled_from([1.3, 4.0, 50.0]),
)
@settings(max_examples=25, deadline=None)
def test_more_cache_and_more_skew_never_lower_the_hit_rate(name: str, model: str, skew: float, more: float) -> None:
    chip, one = rl.load_chip(name), load_model(model)
    assert isinstance(one, Recommender)
    larger = chip.what_if({"memory.cache.capacity": f"x{more}"})
    before = hits(chip, one, skew)
    assert hits(larger, one, skew) >= before - 2e-3
    assert hits(chip, one, skew + 0.3) >= before - 0.02  # between the two forms of popularity


@given(
    rows=st.sampled_from([2e4, 131_263.0, 1e7]),
    batch=st.sampled_from([1e2, 8e3, 1e5]),
    share=st.sampled_from([0.0, 0.01, 0.3, 0.97]),
    kept=st.sampled_from([0.0, 0.5, 1.0]),
    skew=st.floats(0.0, 1.2),
    more=st.floats(1e-3, 0.5),
)
def test_more_skew_never_raises_misses(
    rows: float, batch: float, share: float, kept: float, skew: float, more: float
) -> None:
    held = rows * share
    once, more_often = (
        kernels.lookups_missed(batch, rows, s, 1.0, 0.0, held, held * kept, 0.0) for s in (skew, skew + more)
    )
    assert more_often[1] <= once[1] * (1 + 1e-6) + 1e-6
    assert more_often[0] <= once[0] * (1 + 1e-6)


def test_activations_and_weights_come_before_rows() -> None:
    chip, model = rl.load_chip("mtia-2i"), load_model("dlrm-v2")
    assert isinstance(model, Recommender)
    step = model.step(1024, "fp16")
    held = residence(step, model.dense_bytes("fp16"), chip)
    assert held.activations_bytes == 1024 * 3456 * 2 * 4  # the cross network's sum: three tensors in, one out
    assert held.weights_bytes == model.dense_bytes("fp16")
    assert held.rows_bytes == pytest.approx(256e6 - held.activations_bytes - held.weights_bytes)
    full = residence(model.step(65536, "fp16"), model.dense_bytes("fp16"), chip)
    assert full.rows_bytes == full.weights_bytes == 0


def test_software_that_pins_rows_beats_the_last_used() -> None:
    """The most popular rows for their bytes, over tables of all sizes: never fewer hits than what was used last."""
    chip = rl.load_chip("mtia-2i")
    model = load_model("dlrm-terabyte")
    assert isinstance(model, Recommender)
    for skew in (0.6, 1.0):
        pins = chip.what_if({"efficiency.embedding_bag.pinned_share": 1})
        assert hits(pins, model, skew) > hits(chip, model, skew)


def rooms_by_root(parts: list[residences._Share], room: float) -> list[float]:
    """Bytes of each part, by the root of what all take together over the steps that the cache looks back on."""

    def taken(log_steps: float) -> list[float]:
        steps, sizes = math.exp(log_steps), []
        for one in parts:
            draws = one.draws * (min(steps, 1.0) + (1.0 - one.repeat) * max(steps - 1.0, 0.0))
            lists, _ = kernels.distinct(
                draws, one.rows, one.skew, kernels.first_rank(one.skew), math.log(one.rows + 0.5)
            )
            sizes.append(one.tables * one.size * kernels.rows_of(min(lists, one.rows), one.rows, one.together))
        return sizes

    return taken(float(scipy.optimize.brentq(lambda log_steps: sum(taken(log_steps)) - room, -7.0, 35.0)))


def test_a_cache_is_full_of_what_was_last_used_however_its_parts_vary() -> None:
    """Small tables are seen whole long before large ones: the bytes of all together bend up and down on their way."""
    tables = [(18, 6733.0), (3, 1_354_463.0), (5, 4e7)]
    room = 100e6
    alike = [residences._Share(n, rows, 128.0, 1024.0, 0.0) for n, rows in tables]
    whole, *rest = residences._last_used(alike, room)
    assert whole == pytest.approx(18 * 6733 * 128, rel=1e-4)
    assert whole + sum(rest) == pytest.approx(room, rel=1e-3)
    assert rooms_by_root(alike, room) == pytest.approx([whole, *rest], rel=1e-3)


SHARES = st.builds(
    residences._Share,
    st.floats(1, 100),
    st.floats(1, 1e9),
    st.sampled_from([64.0, 128.0, 512.0]),
    st.floats(1, 1e6),
    st.floats(0, 2),
    st.sampled_from([1.0, 8.0]),
    st.sampled_from([0.0, 0.5, 0.99]),
)


@given(
    here=st.tuples(SHARES, SHARES),
    there=st.tuples(SHARES, SHARES),
    varied=st.sets(st.sampled_from(residences._Share._fields)),
    rooms=st.lists(st.floats(1e3, 1e11), min_size=2, max_size=2),
)
@settings(max_examples=50, deadline=None)
def test_rooms_of_an_array_are_those_of_its_points(
    here: tuple[Any, Any], there: tuple[Any, Any], varied: set[str], rooms: list[float]
) -> None:
    """Whatever varies of the tables that share a cache: how many, their rows, how they are drawn."""
    pairs = list(zip(here, there, strict=True))
    second = [one._replace(**{name: getattr(other, name) for name in varied}) for one, other in pairs]
    arrays = [
        one._replace(**{name: np.array([getattr(one, name), getattr(other, name)]) for name in varied})
        for one, other in pairs
    ]
    both = residences._last_used(arrays, np.array(rooms))
    many = residences._last_used(arrays, np.array(rooms) * np.linspace(1.0, 2.0, 40)[:, None])  # as samples of a chip
    for i, parts in enumerate((here, second)):
        alone = residences._last_used(parts, rooms[i])
        for found in (both, [size[0] for size in many]):
            assert [float(np.broadcast_to(size, 2)[i]) for size in found] == pytest.approx(alone, rel=1e-13)


def test_batches_alone_are_as_batches_together() -> None:
    """A user's tables are looked up once a batch, the items' for each of them: at other ratios from point to point."""
    chip, batches = rl.load_chip("a100-pcie-40gb"), [96, 48, 7]
    together = rl.estimate("meta-retrieval", chip, batch=batches, check=False).pipelined_samples_per_s
    for batch, rate in zip(batches, together, strict=True):
        alone = rl.estimate("meta-retrieval", chip, batch=batch, check=False).pipelined_samples_per_s
        assert rate == pytest.approx(alone, rel=1e-12)


def test_what_batches_repeat_is_worth_something_where_the_cache_looks_back_on_one() -> None:
    """As an option, or of a table; never to the detriment; of arrays as of each point; refused where it is no share."""
    chip, batch = rl.load_chip("mtia-2i"), 512
    rates = ranked("meta-lc2", chip, batch=batch, repeat=[0.0, 0.3, 0.6, 0.9]).samples_per_s
    assert list(rates) == sorted(rates)
    assert rates[-1] > 1.2 * rates[0]
    for repeat, rate in zip((0.0, 0.3, 0.6, 0.9), rates, strict=True):
        assert ranked("meta-lc2", chip, batch=batch, repeat=repeat).samples_per_s == pytest.approx(rate, rel=1e-9)
    # A tenth of the SRAM does not look back on a batch: nothing that it repeats is found for that.
    small = chip.what_if({"memory.sram.capacity": "x0.1"})
    assert ranked("meta-lc2", small, batch=4096, repeat=0.9).samples_per_s == pytest.approx(
        ranked("meta-lc2", small, batch=4096).samples_per_s
    )
    raw = {
        "title": "t",
        "source": "s",
        "tables": [{"rows": 10**7, "dim": 64, "pooling": 9, "count": 50}],
        "block": [{"type": "mlp", "input": ["embedding"], "layers": [3200, 8]}],
    }
    own = description.read({**raw, "tables": [{**raw["tables"][0], "repeat": 0.6}]}, "own")  # type: ignore[dict-item]
    asked = rl.estimate(description.read(raw, "own"), chip, batch=batch, repeat=0.6)
    assert rl.estimate(own, chip, batch=batch).time_s == asked.time_s
    assert rl.estimate(own, chip, batch=batch, repeat=0).time_s > asked.time_s
    with pytest.raises(rl.BadWorkload, match=r"repeat: expected a share from 0 to 0.99, found 1"):
        ranked("meta-lc2", chip, repeat=1)
    with pytest.raises(rl.BadWorkload, match="scale_bytes: expected bytes beside each row, from 0 to 4096, found -1"):
        ranked("meta-lc2", chip, scale_bytes=-1)
    with pytest.raises(rl.BadModel, match=r"tables\[0\].repeat: expected a number of at most 0.99, found 1.5"):
        description.read({**raw, "tables": [{**raw["tables"][0], "repeat": 1.5}]}, "own")  # type: ignore[dict-item]


def test_rows_of_several_tables_that_repeat_fill_a_cache() -> None:
    """What all tables take of a cache that looks back on the same batches: together its room, however they repeat."""
    parts = [
        residences._Share(8, 1e6, 128.0, 5000.0, 1.0, 1.0, 0.5),
        residences._Share(4, 1e5, 128.0, 500.0, 0.6, 4.0, 0.5),
        residences._Share(2, 1e7, 128.0, 2000.0, 0.0, 1.0, 0.0),
    ]
    for room in (1e5, 2e6, 3e7):
        rooms = residences._last_used(parts, room)
        assert sum(rooms) == pytest.approx(room, rel=1e-3)
        assert rooms_by_root(parts, room) == pytest.approx(rooms, rel=0.02)


@pytest.mark.parametrize("name", ["mtia-v1", "mtia-2i"])
def test_software_that_pins_rows_is_a_stack_of_the_chip(name: str) -> None:
    """It pays where rows differ in popularity and batches are small, so that the last ones tell little of the next."""
    chip = rl.load_chip(name)
    model = load_model("dlrm-terabyte")
    assert isinstance(model, Recommender)
    assert hits(chip.on_stack("pinned"), model, 1.0) > hits(chip, model, 1.0)
