"""Blocks of the newer ranking models against sizes worked out by hand, and what runs or is looked up once a request."""

from __future__ import annotations

from typing import Any

import pytest

import roofline as rl
from roofline.base.errors import BadModel
from roofline.catalog.load import load_model
from roofline.models import description
from roofline.models.recommender import Recommender

# Linear and causal attention FLOP a token, over all layers: 2 d h (4 dqk + d) and, at length N, 2 h (dqk + dv) N / 2.
HSTU = {
    "hstu-ml-1m": (200, 50_000, 40_000),
    "hstu-ml-20m-large": (200, 10_485_760, 1_638_400),
    "hstu-amzn-books-large": (50, 655_360, 102_400),
    "hstu-ml-3b-large": (500, 10_485_760, 4_096_000),
}


def model(*blocks: dict[str, Any], tables: list[dict[str, Any]] | None = None, **more: Any) -> Recommender:
    raw = {
        "title": "Blocks",
        "source": "here",
        "block": list(blocks),
        "tables": tables or [{"count": 10, "rows": 1000, "dim": 16}],
        **more,
    }
    return description.read(raw, "blocks")


def test_wukong_multiplies_by_a_few_columns_first() -> None:
    """X (X^T Y) of 10 x 16 by Y of 10 x 3, an MLP of 30 to 20 to 4 x 16, 5 sums of 10, and a skip of 10 to 9."""
    block = {"type": "wukong", "layers": 1, "rank": 3, "fm_vectors": 4, "linear_vectors": 5, "hidden": [20]}
    one = model({**block, "input": "embedding"})
    macs = 2 * 10 * 3 * 16 + 30 * 20 + 20 * 64 + 10 * 5 * 16 + 10 * 9 * 16
    assert one.flops_per_sample == 2 * macs
    two = model({**block, "input": "embedding", "layers": 2})
    again = 2 * 9 * 3 * 16 + 27 * 20 + 20 * 64 + 9 * 5 * 16  # of 9 vectors, which need no skip of their own
    assert two.flops_per_sample == 2 * (macs + again)
    assert two.steps[-1].name == "wukong.1.norm"


def test_dhen_sums_what_its_modules_make() -> None:
    """10 vectors of 16: six sums; 45 products through 45 to 7 to 96; attention; a cross layer of rank 7; a skip."""
    linear, skip = 10 * 6 * 16, 10 * 6 * 16
    dot = 45 * 16 + 45 * 7 + 7 * 96
    attention = 10 * 16 * 48 + 2 * 10 * 10 * 16 + 10 * 16 * 16 + linear
    cross = 2 * 160 * 7 + linear
    for modules, macs in (
        (["linear"], linear),
        (["dot"], dot),
        (["attention"], attention),
        (["cross"], cross),
        (["linear", "dot", "attention", "cross"], linear + dot + attention + cross),
    ):
        one = model(
            {
                "type": "dhen",
                "input": "embedding",
                "layers": 1,
                "vectors": 6,
                "modules": modules,
                "heads": 4,
                "hidden": [7],
            }
        )
        assert one.flops_per_sample == 2 * (macs + skip), modules


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (
            {"type": "dhen", "layers": 1, "vectors": 4, "modules": ["attention"], "heads": 3},
            "divisor of the width 16, found 3",
        ),
        ({"type": "dhen", "layers": 1, "vectors": 4, "modules": ["cross"]}, "rank of the cross module first"),
        ({"type": "self_attention", "layers": 1, "heads": 5, "hidden": 8}, "divisor of the width 16, found 5"),
        ({"type": "mlp", "layers": [160, 1], "once": True}, "once: takes 'embedding', which differs"),
    ],
)
def test_blocks_that_do_not_fit_are_told(block: dict[str, Any], says: str) -> None:
    with pytest.raises(BadModel, match=says):
        model({**block, "input": "embedding"}, pairs_per_request=10)


@pytest.mark.parametrize("name", HSTU)
def test_hstu_counts_the_published_shapes(name: str) -> None:
    one, (tokens, linear, attention) = load_model(name), HSTU[name]
    assert isinstance(one, Recommender)
    # The published count halves the square; a token also sees itself: (N + 1) / N of it.
    assert one.flops_per_sample == linear * tokens + attention * (tokens + 1)


def test_jagged_histories_cost_their_mean_square() -> None:
    block = {"type": "hstu", "input": "embedding", "layers": 1, "heads": 2, "qk_dim": 8, "linear_dim": 8}
    tables = [{"rows": 1000, "dim": 16, "sequence": 100}]
    even, jagged = (model({**block, "jagged": sd}, tables=tables) for sd in (0.0, 1.0))
    linear = 100 * (16 * 64 + 16 * 16)
    assert even.flops_per_sample == 2 * (linear + 100 * 101 // 2 * 32)
    assert jagged.flops_per_sample == 2 * (linear + 141 * 142 // 2 * 32)  # 100 sqrt 2


def test_the_part_of_the_user_runs_once_for_all_candidates() -> None:
    user = {"name": "user", "count": 5, "rows": 1000, "dim": 16, "pooling": 20, "once": True}
    item = {"name": "item", "count": 5, "rows": 1000, "dim": 16}
    blocks = [
        {"type": "mlp", "name": "tower", "input": "user", "layers": [80, 64], "once": True},
        {"type": "mlp", "name": "top", "input": ["tower", "item"], "layers": [144, 1]},
    ]
    one = model(*blocks, tables=[user, item], pairs_per_request=50)
    assert one.lookups == 5 * 20 / 50 + 5
    assert one.flops_per_sample == 2 * (80 * 64 / 50 + 144)
    step = {o.name: o.args for o in one.step(1000, "fp16")}
    assert step["tower.0"]["m"] == 20  # requests
    assert step["embedding.user"]["batch"] == 20
    assert step["top.0"]["m"] == step["embedding.item"]["batch"] == 1000
    copied = step["top.broadcast.tower"]
    assert (copied["rows"], copied["cols"], copied["reads"]) == (1000, 64, 1 / 50)
    assert {o.name: o.args for o in one.step(10, "fp16")}["tower.0"]["m"] == 1  # at least one request


def test_a_measured_popularity_is_tables_of_equal_rows() -> None:
    """A hundredth of the rows with six tenths of the lookups: as two tables that share them, for any cache."""
    sizes = {"rows": 10**8, "dim": 32}
    top = {"type": "mlp", "input": "embedding", "layers": [32, 1]}
    one = model(top, tables=[{**sizes, "pooling": 10, "popularity": [[0.01, 0.6], [0.99, 0.4]]}])
    hot, cold = one.bags
    assert (hot.rows, hot.pooling, cold.rows, cold.pooling) == (10**6, 6.0, 99_000_000, 4.0)
    assert one.lookups == 10
    even = model(top, tables=[{**sizes, "pooling": 10}])
    assert rl.estimate(one, "mtia-2i", batch=512).time_s < rl.estimate(even, "mtia-2i", batch=512).time_s
    with pytest.raises(BadModel, match=r"shares of the rows that sum to 1, found 0\.9"):
        model(top, tables=[{**sizes, "popularity": [[0.5, 0.5], [0.4, 0.5]]}])
    with pytest.raises(BadModel, match="skew or popularity"):
        model(top, tables=[{**sizes, "skew": 1.0, "popularity": [[0.5, 0.5], [0.5, 0.5]]}])


def test_each_table_has_its_own_skew_until_one_is_asked_for() -> None:
    one = load_model("meta-lc1")
    assert isinstance(one, Recommender)
    assert {o.args["skew"] for o in one.step(8) if o.kind == "embedding_bag"} == {1.0}
    assert {o.args["skew"] for o in one.step(8, skew=0.3) if o.kind == "embedding_bag"} == {0.3}


@pytest.mark.parametrize(
    ("name", "mflop"),
    [("meta-lc1", 15), ("meta-lc2", 50), ("meta-lc3", 57), ("meta-lc4", 91), ("meta-lc5", 105), ("meta-hc1", 480),
     ("meta-hc2", 600), ("meta-hc3", 940), ("meta-hc4", 1000)],
)  # fmt: skip
def test_the_nine_models_have_the_published_flop(name: str, mflop: float) -> None:
    one = load_model(name)
    assert isinstance(one, Recommender)
    assert one.flops_per_sample == pytest.approx(mflop * 1e6, rel=0.02)
    assert one.table_bytes("fp16") < (2 if name == "meta-hc3" else 1) * 115e9  # one chip's memory, two for HC3


@pytest.mark.parametrize(
    ("name", "gigabytes", "gflop"),
    [("meta-retrieval", (50, 100), (0.001, 0.01)), ("meta-early-stage", (100, 300), (0.01, 0.1)),
     ("meta-late-stage", (100, 300), (0.2, 2)), ("meta-hstu-retrieval", (900, 1100), (9, 11)),
     ("meta-hstu-ranking", (1900, 2200), (75, 85))],
)  # fmt: skip
def test_the_classes_are_within_the_published_ranges(name: str, gigabytes: Any, gflop: Any) -> None:
    one = load_model(name)
    assert isinstance(one, Recommender)
    assert gigabytes[0] <= one.table_bytes("fp16") / 1e9 <= gigabytes[1]
    assert gflop[0] <= one.flops_per_sample / 1e9 <= gflop[1]


def test_service_times_and_what_lookups_wait_for() -> None:
    est = rl.estimate("dlrm-v2", "mtia-v1", batch=1024, dtype="int8")
    bags = est.ops[est.ops["kind"] == "embedding_bag"]
    assert set(bags["waits"]) == {"latency"}
    assert set(est.ops.loc[est.ops["kind"] != "embedding_bag", "waits"]) == {""}
    times = est.service([256, 1024, 4096])
    assert times["latency_s"].is_monotonic_increasing
    assert times["latency_s"][1] == est.latency_s
    assert times["pace_s"][1] == pytest.approx(1024 / est.pipelined_samples_per_s)
    assert (times["pace_s"] <= times["latency_s"]).all()
    with pytest.raises(rl.BadWorkload, match="batch"):
        est.service([0])


def test_a_serving_process_adds_its_own_work() -> None:
    options: dict[str, Any] = {"batch": 256, "dtype": "fp16", "compiled": True}
    plain = rl.estimate("dlrm-nvidia-t15", "a100-sxm-80gb", **options)
    served = rl.estimate("dlrm-nvidia-t15", "a100-sxm-80gb", host="triton-tensorflow", **options)
    names = set(served.ops["op"])
    assert {"triton-tensorflow", "handoff"} <= names
    assert "framework" not in names
    assert plain.ops["time_s"].sum() == pytest.approx(plain.time_s)
    with pytest.raises(rl.UnknownName, match="triton-tensorflow"):
        rl.estimate("dlrm-nvidia-t15", "a100-sxm-80gb", host="triton-tensorflo", **options)
