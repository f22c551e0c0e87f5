"""Placements: never worse than whole tables dealt out greedily, as good as trying all, and read, changed, estimated."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.catalog.load import load_model
from roofline.estimates.placement import ALL, Placement, Shard
from roofline.estimates.placing import loads
from roofline.models import description
from roofline.models.recommender import Recommender

BATCH = 2048


def model(tables: list[tuple[int, int, float]]) -> Recommender:
    """Tables of (rows, dim, pooling), and a layer on top."""
    raw = {
        "title": "Placed", "source": "here",
        "tables": [{"name": f"t{i}", "rows": r, "dim": d, "pooling": float(p)} for i, (r, d, p) in enumerate(tables)],
        "block": [{"type": "mlp", "input": [f"t{i}" for i in range(len(tables))],
                   "layers": [sum(d for _, d, _ in tables), 8]}],
    }  # fmt: skip
    return description.read(raw, "placed")


TABLES = st.lists(
    st.tuples(
        st.sampled_from([50, 10**4, 10**6, 10**7]),
        st.sampled_from([16, 32, 64, 128]),
        st.sampled_from([1.0, 4.0, 30.0, 100.0]),
    ),
    min_size=1,
    max_size=12,
)


@given(tables=TABLES, devices=st.sampled_from([1, 2, 3, 8]), chip=st.sampled_from(["h100-sxm", "mtia-300", "a100"]))
@settings(max_examples=12, deadline=None)
def test_it_is_never_worse_than_whole_tables_dealt_out_greedily(
    tables: list[tuple[int, int, float]], devices: int, chip: str
) -> None:
    one = model(tables)
    best, greedy = (rl.place(one, chip, devices=devices, batch=BATCH, how=how) for how in ("auto", "table"))
    assert loads(best, chip, batch=BATCH).max() <= loads(greedy, chip, batch=BATCH).max() * (1 + 1e-9)
    assert {(s.group, s.index) for s in best.shards} == {(i, 0) for i in range(len(tables))}
    assert sum(best.frame["bytes"].where(best.frame["device"] != ALL, 0)) <= one.table_bytes("fp16") * 1.0001


@given(tables=st.lists(TABLES.map(lambda drawn: drawn[0]), min_size=1, max_size=3))
@settings(max_examples=4, deadline=None)
def test_few_tables_are_placed_as_well_as_by_trying_all(tables: list[tuple[int, int, float]]) -> None:
    one, chip, devices = model(tables), "h100-sxm", 2

    def ways(i: int) -> list[tuple[Shard, ...]]:
        columns = tuple(Shard(i, 0, "column", "memory", d, 0.5) for d in range(devices))
        return [
            (Shard(i, 0, "table", "memory", 0),),
            (Shard(i, 0, "table", "memory", 1),),
            (Shard(i, 0, "row", "memory", ALL),),
            (Shard(i, 0, "replicated", "memory", ALL),),
            *([columns] if tables[i][1] >= 32 else []),
        ]

    least = min(
        loads(Placement(one, devices, tuple(itertools.chain(*plan)), "fp16"), chip, batch=BATCH).max()
        for plan in itertools.product(*(ways(i) for i in range(len(tables))))
    )
    found = rl.place(one, chip, devices=devices, batch=BATCH, dtype="fp16")
    assert loads(found, chip, batch=BATCH).max() == pytest.approx(least, rel=1e-9)


@pytest.mark.parametrize("name", ["dlrm-v2", "rm1", "meta-early-stage", "dlrm-v3"])
def test_all_on_one_chip_is_not_sharded(name: str) -> None:
    options: dict[str, Any] = {"batch": 512, "dtype": "bf16", "table_dtype": "int4", "check": False}
    plain = rl.estimate(name, "h200", **options)
    plan = rl.place(name, "b200" if name == "dlrm-v3" else "h200", table_dtype="int4", tiers=("memory", "host"))
    here = replace(plan, shards=tuple(replace(s, tier="memory") for s in plan.shards))
    placed = rl.estimate(name, "h200", placement=here, **options)
    assert placed.time_s == pytest.approx(plain.time_s)
    assert placed.lower_s == pytest.approx(plain.lower_s)
    assert placed.imbalance == 1.0
    everywhere = replace(here, shards=tuple(replace(s, how="replicated", device=ALL) for s in here.shards))
    assert rl.estimate(name, "h200", placement=everywhere, **options).time_s == pytest.approx(plain.time_s)


def test_a_chip_without_tables_is_sent_nothing() -> None:
    """One table on two chips, no dense features: the other chip has no indices to read, and computes all the same."""
    one = model([(10**6, 64, 4.0)])
    whole = rl.place(one, "h100-sxm", devices=2, batch=BATCH, how="table")
    estimate = rl.estimate(one, "h100-sxm", devices=2, batch=BATCH, placement=whole)
    assert estimate.imbalance == pytest.approx(2.0)
    assert sum(op.name == "input_copy" for op in estimate.step.workload) == 1


def test_an_even_split_is_every_table_by_rows_without_its_partial_sums() -> None:
    """It is a bound: the same lookups, an eighth of the numbers sent."""
    options: dict[str, Any] = {"batch": 8192, "devices": 8, "dtype": "bf16"}
    even = rl.estimate("rm2", "h100-sxm", placement="even", **options)
    rows = rl.place("rm2", "h100-sxm", devices=8, how="row")
    placed = rl.estimate("rm2", "h100-sxm", placement=rows, **options)
    (exchange,), (sums,) = ([o for o in e.step.workload if o.kind == "all_to_all"] for e in (even, placed))
    assert sums.args["bytes"] == pytest.approx(8 * exchange.args["bytes"])
    assert placed.time_s > even.time_s
    assert "evenly" in even.notes[0]
    assert not placed.notes


def test_what_is_dear_is_spread_and_what_is_small_copied() -> None:
    """104 GB of tables on chips of 80: not all can be copied."""
    plan = rl.place("dlrm-v2", "a100", devices=8, batch=65536, table_dtype="fp32")
    frame = plan.frame.set_index("table")
    assert "replicated" in set(frame["how"])
    assert set(frame["how"]) > {"replicated"}
    assert "table" not in np.atleast_1d(frame.loc["embedding[20]", "how"])  # a hundred lookups of 214
    greedy = rl.place("dlrm-v2", "a100", devices=8, batch=65536, how="table", table_dtype="fp32")
    estimate, dealt = (
        rl.estimate("dlrm-v2", "a100", devices=8, batch=65536, placement=one, table_dtype="fp32")
        for one in (plan, greedy)
    )
    assert estimate.samples_per_s > dealt.samples_per_s
    assert 1 <= estimate.imbalance < dealt.imbalance
    assert estimate.memory.weights_bytes >= max(plan.device_bytes)


def test_tables_that_do_not_fit_go_to_the_host_and_the_link_carries_them() -> None:
    with pytest.raises(rl.DoesNotFit, match="the tables of dlrm-v2 in fp32 do not fit 1 x h100-sxm this way"):
        rl.place("dlrm-v2", "h100-sxm", table_dtype="fp32")
    options: dict[str, Any] = {"batch": 4096, "dtype": "fp16", "table_dtype": "fp32"}
    host, kept = (
        rl.place("dlrm-v2", "h100-sxm", table_dtype="fp32", batch=4096, tiers=("memory", tier))
        for tier in ("host", "kept")
    )
    remote = replace(kept, shards=tuple(replace(s, tier=s.tier.replace("kept", "remote")) for s in kept.shards))
    times = {}
    for tier, plan in (("host", host), ("kept", kept), ("remote", remote)):
        assert set(plan.frame["tier"]) == {"memory", tier}
        est = rl.estimate("dlrm-v2", "h100-sxm", placement=plan, skew=0.9, **options)
        assert est.fits
        assert {"host_lookup", "remote_lookup"} & set(est.ops["kind"])
        times[tier] = est.time_s
    assert times["remote"] > times["host"]  # the network is slower than the link
    faster = rl.load_chip("h100-sxm").what_if({"links.host.bandwidth": "x2"})
    assert rl.estimate("dlrm-v2", faster, placement=host, skew=0.9, **options).time_s < times["host"]


def test_a_placement_is_read_changed_and_refused() -> None:
    plan = rl.place("rm1", "h100-sxm", devices=2)
    assert list(plan.frame.columns) == [
        "table",
        "rows",
        "dim",
        "pooling",
        "how",
        "tier",
        "device",
        "columns",
        "bytes",
    ]
    moved = plan.moved("embedding[3]", device=1).moved("embedding[0]", how="row")
    frame = moved.frame.set_index("table")
    assert (frame.loc["embedding[3]", "device"], frame.loc["embedding[0]", "how"]) == (1, "row")
    again = Placement.of(load_model("rm1"), moved.frame, 2, moved.table_dtype)
    assert set(again.shards) == set(moved.shards)
    assert "row" in repr(moved)
    with pytest.raises(rl.UnknownName, match="embedding"):
        plan.moved("embeding[3]")
    with pytest.raises(rl.UnknownName, match="way to split a table"):
        plan.moved("embedding[3]", how="tables")
    with pytest.raises(rl.BadWorkload, match="device from 0 to 1"):
        plan.moved("embedding[3]", device=2)
    with pytest.raises(rl.BadWorkload, match="every table once"):
        replace(plan, shards=plan.shards[1:])
    other = {"devices": 2, "table_dtype": "int8"}
    for wrong, says in (({"devices": 4}, "devices 4, found 2"), (other, "table dtype 'int8'")):
        with pytest.raises(rl.BadWorkload, match=says):
            rl.estimate("rm1", "h100-sxm", placement=plan, **wrong)
    with pytest.raises(rl.UnknownName, match="placement"):
        rl.estimate("rm1", "h100-sxm", devices=2, placement="best")
    with pytest.raises(rl.BadWorkload, match="language model"):
        rl.place("llama-3-8b", "h100-sxm")


def test_auto_is_what_place_finds() -> None:
    plan = rl.place("dlrm-terabyte", "h100-sxm", devices=4, batch=4096)
    options: dict[str, Any] = {"devices": 4, "batch": 4096}
    auto = rl.estimate("dlrm-terabyte", "h100-sxm", placement="auto", **options)
    assert auto.time_s == rl.estimate("dlrm-terabyte", "h100-sxm", placement=plan, **options).time_s
    low, high = auto.interval(0.9, "samples_per_s")
    assert low < auto.samples_per_s < high
    many = rl.estimate("dlrm-terabyte", "h100-sxm", placement=plan, devices=4, batch=[4096, 8192])
    assert many.time_s[0] == pytest.approx(auto.time_s)


def test_one_point_is_placed_by_cost_and_a_grid_split_evenly() -> None:
    """Unless one asks for another: a plan made for one point is for no other, and one for each would be dear."""
    options: dict[str, Any] = {"devices": 4, "batch": 4096}
    usual, auto, even = (
        rl.estimate("dlrm-terabyte", "a100", placement=how, **options) for how in (None, "auto", "even")
    )
    assert usual.time_s == auto.time_s < even.time_s
    assert "placed by cost: 26 replicated" in usual.notes[0]
    grid = rl.sweep("dlrm-terabyte", "a100", devices=4, batch=[4096, 8192])
    assert float(grid["latency_s"][0]) == pytest.approx(even.time_s)
    several = rl.estimate("dlrm-terabyte", "a100", devices=[1, 4], batch=4096)
    assert several.time_s[1] == pytest.approx(even.time_s)
    assert "evenly" in several.notes[0]
    assert rl.estimate("dlrm-terabyte", "a100", batch=4096).notes == ()
    # Tables that fit no way are refused as ever, with what would fit.
    with pytest.raises(rl.DoesNotFit, match="devices="):
        rl.estimate("dlrm-v3", "a100", devices=2, dtype="fp16")


# Tables in a scratchpad ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("devices", [1, 4])
def test_tables_go_into_the_scratchpad_where_that_is_faster(devices: int) -> None:
    options: dict[str, Any] = {"devices": devices, "batch": 2048, "dtype": "fp16", "skew": 0.6}
    before, after = (
        rl.place("dlrm-terabyte", "mtia-2i", tiers=tiers, **options) for tiers in (("memory",), ("sram", "memory"))
    )
    assert "sram" in set(after.frame["tier"])
    weighed = {"batch": 2048, "skew": 0.6}
    assert loads(after, "mtia-2i", **weighed).max() < loads(before, "mtia-2i", **weighed).max()
    plain, placed = (rl.estimate("dlrm-terabyte", "mtia-2i", placement=p, **options) for p in (before, after))
    assert placed.samples_per_s > plain.samples_per_s
    found = placed.ops.set_index("op")
    pinned = [name for name in found.index if name.startswith("embedding.sram")]
    costs = dict(zip((one.name for one in placed.step.workload), placed.step.costs, strict=True))
    assert pinned
    assert all(costs[name].memory_bytes == 0 for name in pinned)  # all of their rows are there
    assert placed.memory.weights_bytes < plain.memory.weights_bytes
    assert "in SRAM" in repr(after)


def test_a_scratchpad_holds_what_activations_and_weights_leave() -> None:
    plan = rl.place("dlrm-terabyte", "mtia-2i", batch=2048)
    for i in (0, 9, 10):
        plan = plan.moved(f"embedding[{i}]", tier="sram")
    with pytest.raises(rl.BadWorkload, match=r"activations and weights leave .* to rows; place fewer there"):
        rl.estimate("dlrm-terabyte", "mtia-2i", batch=2048, placement=plan)
    small = rl.place("dlrm-terabyte", "h100-sxm", dtype="fp16").moved("embedding[2]", tier="sram")
    with pytest.raises(rl.BadWorkload, match="the l2 of h100-sxm is a cache"):
        rl.estimate("dlrm-terabyte", "h100-sxm", dtype="fp16", placement=small)
    with pytest.raises(rl.BadWorkload, match="sram is a scratchpad that software fills"):
        rl.place("dlrm-terabyte", "h100-sxm", tiers=("sram", "memory"))


@pytest.mark.parametrize(("dtype", "beside"), [("int8", 4), ("int4", 4), ("fp16", 0), ("fp8", 0)])
def test_rows_of_integers_lie_beside_their_scales(dtype: str, beside: int) -> None:
    """fp16 scale and bias, as FBGEMM stores them: 4 bytes a row of the table and of what is placed; or as asked."""
    one = load_model("rm1")  # eight tables of 4,000,000 rows of 32 numbers
    width = {"int8": 1, "int4": 0.5, "fp16": 2, "fp8": 1}[dtype]
    rows = 8 * 4_000_000
    assert one.table_bytes(dtype) == rows * (32 * width + beside)
    assert one.table_bytes(dtype, 0) == rows * 32 * width
    options: dict[str, Any] = {"devices": 2, "dtype": "bf16", "table_dtype": dtype}
    assert sum(rl.place("rm1", "b200", how="table", **options).device_bytes) == rows * (32 * width + beside)
    assert sum(rl.place("rm1", "b200", how="table", scale_bytes=8, **options).device_bytes) == rows * (32 * width + 8)
    est, without = (rl.estimate("rm1", "h100-sxm", scale_bytes=b, check=False, table_dtype=dtype) for b in (None, 0))
    assert est.memory.weights_bytes - without.memory.weights_bytes == rows * beside
    assert est.time_s >= without.time_s


@pytest.mark.parametrize("devices", [1024, 2**40])
def test_chips_beyond_number_are_split_over_evenly(devices: int) -> None:
    """What is compared grows with their square; nothing of it is made."""
    asked: dict[str, Any] = {"devices": devices, "batch": devices, "check": False}
    usual, even = (rl.estimate("dlrm-v2", "a100", **asked, **more) for more in ({}, {"placement": "even"}))
    assert usual.latency_s == even.latency_s
    message = rf"at most \d+ chips .* found devices={devices:,}; placement='even'"
    with pytest.raises(rl.BadWorkload, match=message):
        rl.place("dlrm-v2", "a100", devices=devices)
    with pytest.raises(rl.BadWorkload, match=message):
        rl.estimate("dlrm-v2", "a100", placement="auto", **asked)


def test_tables_may_be_looked_up_one_by_one() -> None:
    """A kernel a table instead of one for all: as many starts more as there are tables but one."""
    whole, each = (rl.estimate("dlrm-v2", "h100-sxm", batch=2048, fused=fused) for fused in (True, False))
    chip = whole.chip
    launch = chip.parameter("launch_s", ("embedding_bag",), "bf16").value + chip["latency.memory"]  # for its rows
    lookups = [est.step.ops.query("kind == 'embedding_bag'")["time_s"].sum() for est in (whole, each)]
    tables = whole.model.tables[0].tables
    assert lookups[1] - lookups[0] == pytest.approx((tables - 1) * launch, rel=1e-9)
    assert len(each.step.ops) > len(whole.step.ops)  # nonlinearities are kernels of their own
    with pytest.raises(rl.BadWorkload, match="compiled=False beside fused=False"):
        rl.estimate("dlrm-v2", "h100-sxm", compiled=True, fused=False)
