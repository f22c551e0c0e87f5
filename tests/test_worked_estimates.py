"""Estimates worked by hand on a plain chip (see plain.py): memory, the rows of a breakdown, the figures of a request.

Shapes are those of the models' config.json files; where a count was published, it stands beside ours.
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest

import roofline as rl
from roofline.estimates.inference import Phase
from roofline.hardware.chip import Chip
from roofline.work import op
from roofline.work.workload import workload
from tests.plain import plain

US = 1e-6

#: A chip large enough for the models here, otherwise plain.
ROOMY = plain().what_if({"memory.dram.capacity": "400 GB"})

# Memory -------------------------------------------------------------------------------------------------------------

#: Llama 3.1 8B: 4096 wide, 32 query heads and 8 key/value heads of 128, 14,336 in the feed-forward, 128,256 words.
QKV, OUT, GATED, NORMS, WORDS = (32 + 2 * 8) * 128 * 4096, 4096 * 4096, 3 * 4096 * 14336, 2 * 4096, 128_256 * 4096


def memory(model: str, **options: Any) -> Any:
    return rl.estimate(model, ROOMY, **options).memory


def test_the_memory_of_a_dense_model() -> None:
    """8,030,261,248 parameters, as the checkpoint's safetensors count; in bf16 131,072 bytes of cache a token.

    Activations: 4 x 1024 tokens hold the residual stream twice and gate, up and their product; and logits in fp32.
    """
    parameters = 32 * (QKV + OUT + GATED + NORMS) + 2 * WORDS + 4096
    assert parameters == 8_030_261_248
    held = memory("llama-3.1-8b", batch=4, prompt=1024, output=256)
    assert held.weights_bytes == 2 * parameters
    assert held.cache_bytes == 4 * (1024 + 256) * 131_072 == 4 * 1280 * 2 * 32 * 8 * 128 * 2
    assert held.activations_bytes == 4 * 1024 * (2 * 4096 + 3 * 14336) * 2 + 4 * 128_256 * 4
    assert held.usable_bytes == 0.9 * 400e9


def test_the_dtypes_of_memory() -> None:
    """fp8: linear layers in one byte, norms and both ends in two; the cache as asked for, 16 bits if not."""
    linear = 32 * (QKV + OUT + GATED)
    wide = 2 * (32 * NORMS + 2 * WORDS + 4096)
    assert memory("llama-3.1-8b", dtype="fp8").weights_bytes == linear + wide
    assert memory("llama-3.1-8b", weight_dtype="int4").weights_bytes == linear / 2 + wide
    assert memory("llama-3.1-8b", dtype="fp8", prompt=1000, output=24).cache_bytes == 1024 * 131_072
    assert memory("llama-3.1-8b", kv_dtype="fp8", prompt=1000, output=24).cache_bytes == 1024 * 65_536


def test_the_memory_of_one_of_several_chips() -> None:
    """tp = 4 splits all but the norms; at tp = 16 two chips share a key/value head, so each holds a whole one.

    pp = 2 halves the layers and leaves one end to a chip; dp = 2 halves the sequences.
    """
    four = memory("llama-3.1-8b", tp=4, batch=4, prompt=1000, output=24)
    assert four.weights_bytes == 2 * (32 * ((QKV + OUT + GATED) // 4 + NORMS) + 2 * WORDS // 4 + 4096)
    assert four.cache_bytes == 4 * 1024 * 131_072 / 4
    assert four.activations_bytes == 4000 * (2 * 4096 + 3 * 14336 / 4) * 2 + 4 * 128_256 * 4
    sixteen = memory("llama-3.1-8b", tp=16, batch=4, prompt=1000, output=24)
    qkv = (2 + 2 * 1) * 128 * 4096
    linear = 32 * (qkv + (OUT + GATED) // 16 + NORMS)
    assert sixteen.weights_bytes == pytest.approx(2 * (linear + 2 * WORDS // 16 + 4096))
    assert sixteen.cache_bytes == 4 * 1024 * 131_072 / 8
    two = memory("llama-3.1-8b", pp=2, batch=4, prompt=1000, output=24)
    assert two.weights_bytes == 2 * (16 * (QKV + OUT + GATED + NORMS) + WORDS + 4096)
    assert two.cache_bytes == 4 * 1024 * 131_072 / 2
    assert two.activations_bytes == 2 * 1000 * (2 * 4096 + 3 * 14336) * 2 + 2 * 128_256 * 4  # a microbatch of 2
    assert memory("llama-3.1-8b", dp=2, batch=4, prompt=1000, output=24).cache_bytes == 2 * 1024 * 131_072


def test_the_largest_batch() -> None:
    """Of 90 GB, 16.06 are weights; a sequence of 2048 tokens is 268 MB and 0.5 of logits; 8130 tokens (271 x 30) are
    prefilled at a time. 271 sequences fit, 272 do not."""

    def needs(batch: int) -> int:
        prefilled = batch * (8192 // batch)
        return 2 * 8_030_261_248 + batch * (2048 * 131_072 + 4 * 128_256) + prefilled * (2 * 4096 + 3 * 14336) * 2

    most = rl.estimate("llama-3.1-8b", plain(), prompt=1024, output=1024).memory.largest_batch
    assert most == 271
    assert needs(271) <= 90e9 < needs(272)


def test_the_memory_of_experts() -> None:
    """Mixtral 8x7B: 46,702,792,704 parameters as published; ep = 8 leaves one expert of eight to a chip, tp = 2 half of
    the attention; routers stay whole. A token is held twice over, once an expert."""
    attention, expert, router, ends = QKV + OUT, 3 * 4096 * 14336, 8 * 4096, 32_000 * 4096
    assert 32 * (attention + 8 * expert + router + NORMS) + 2 * ends + 4096 == 46_702_792_704
    whole = memory("mixtral-8x7b", batch=1, prompt=1000, output=24)
    assert whole.weights_bytes == 2 * 46_702_792_704
    assert whole.activations_bytes == 1000 * (2 * 4096 + 2 * (4096 + 3 * 14336)) * 2 + 4 * 32_000
    spread = memory("mixtral-8x7b", tp=2, dp=4, ep=8, batch=8, prompt=1000, output=24)
    layer = attention // 2 + expert + router + NORMS
    assert spread.weights_bytes == 2 * (32 * layer + 2 * ends // 2 + 4096)
    assert spread.cache_bytes == 2 * 1024 * 131_072 / 2
    assert spread.activations_bytes == 2000 * (2 * 4096 + 2 * (4096 / 2 + 3 * 14336 / 2)) * 2 + 4 * 2 * 32_000


def test_the_memory_of_a_latent_cache() -> None:
    """DeepSeek-V2 Lite (2024, appendix B: 15.7 B parameters): 16 heads, a latent of 512 and 64 rotated numbers a token
    and layer, which each of tp chips holds whole; one dense layer, 26 of 64 experts and two shared ones."""
    query, latent, expand, out = 2048 * 16 * (128 + 64), 2048 * (512 + 64), 512 * 16 * (128 + 128), 16 * 128 * 2048
    dense, expert, router, ends = 3 * 2048 * 10944, 3 * 2048 * 1408, 64 * 2048, 102_400 * 2048
    whole = 27 * (query + latent + expand + out + 512 + 2 * 2048) + dense + 26 * (66 * expert + router)
    whole += 2 * ends + 2048
    assert whole == pytest.approx(15.7e9, rel=0.002)
    alone = memory("deepseek-v2-lite", prompt=1000, output=24)
    assert alone.weights_bytes == 2 * whole
    assert alone.cache_bytes == 1024 * 27 * (512 + 64) * 2
    split = memory("deepseek-v2-lite", tp=2, prompt=1000, output=24)
    half = 27 * ((query + expand + out) // 2 + latent + 512 + 2 * 2048) + dense // 2 + 26 * (33 * expert + router)
    assert split.weights_bytes == 2 * (half + 2 * ends // 2 + 2048)
    assert split.cache_bytes == alone.cache_bytes


# A breakdown --------------------------------------------------------------------------------------------------------

#: One decode step of 16 sequences at 1024 tokens of context, 300 us of the host.
STEP: dict[str, Any] = {"batch": 16, "prompt": 1023, "output": 2}


def product(n: int, k: int) -> tuple[int, int, float]:
    """16 rows against weights of n x k: FLOP, bytes, and the time of the weights, which is the longest.

    Where all is more than the cache holds, the rows are lost with it, three bytes for each too many.
    """
    weights, rows = 2 * k * n, 2 * 16 * (k + n)
    lost = max(0.0, min(1.0, 3 * (1 - 100e6 / (weights + rows))))
    return 2 * 16 * n * k, weights + rows, (weights + lost * rows) / 1e12


def stream(numbers: int, flops: int, read: int, written: int, again: int = 0) -> tuple[int, int, float]:
    """So many numbers with so many FLOP, and so many bytes each; `again` are read once more, all from the cache."""
    passes = (read + written + again) * numbers
    return flops * numbers, (read + written) * numbers, max(passes, flops * numbers) / 10e12


#: 128 blocks (a sequence and key/value head) in two waves, of 8 tiles of 128 keys; the rest as in test_worked_kernels.
_KV, _IO, _TILE_S = 16 * 8 * 1024 * 256 * 2, 16 * 32 * 256 * 2, 64 * 128 * (4 * 128 / 1e12 + 5 / 0.1e12)
_START_S = 16 * 8 * 256 * 2 / 1e12 + 2 * (4 * 256 * 2 / 100e9 + _TILE_S)
ATTENDED = ((4 * 128 + 5) * 16 * 32 * 1024, _KV + _IO, _START_S + _KV / 1e12)

#: Label -> kind, count, (FLOP, bytes, time) of one, and what bounds it.
ROWS = {
    "framework": ("step_overhead", 1, (0, 0, 300 * US), "overhead"),
    # 16 rows out of the table, cold: both ways through the cache, the read at a tenth of its rate.
    "token_embedding": ("token_embedding", 1, (0, 4 * 65_536, (2 + 20) * 65_536 / 10e12), "memory:dram"),
    "norm": ("rms_norm", 64, stream(16 * 4096, 4, 2, 2, 2), "memory:cache"),
    "qkv_proj": ("gemm", 32, product(6144, 4096), "memory:dram"),
    "rope": ("rope", 32, stream(16 * (32 + 8) * 128, 3, 2, 2), "memory:cache"),
    "kv_write": ("copy", 32, stream(16 * 2 * 8 * 128, 0, 2, 2), "memory:cache"),
    "attention": ("attention", 32, ATTENDED, "memory:dram"),
    "o_proj": ("gemm", 32, product(4096, 4096), "memory:dram"),
    # The norm's kernel has the sum in hand: the residual is read and written beside it, the other operand is not.
    "residual_add": ("residual_add", 64, stream(16 * 4096, 1, 2, 2), "memory:cache"),
    "gate_up_proj": ("gemm", 32, product(28_672, 4096), "memory:dram"),
    "silu_mul": ("silu_mul", 32, stream(16 * 14_336, 5, 4, 2), "memory:cache"),
    "down_proj": ("gemm", 32, product(4096, 14_336), "memory:dram"),
    "final_norm": ("rms_norm", 1, stream(16 * 4096, 4, 2, 2, 2), "memory:cache"),
    "lm_head": ("gemm", 1, product(128_256, 4096), "memory:dram"),
    # Maximum, exponential, sum ...: 6 FLOP a word take longer than its 4 bytes.
    "sampling": ("sampling", 1, stream(16 * 128_256, 6, 2, 0, 2), "compute"),
}


def hosted(seconds: str, **changes: Any) -> Chip:
    """The plain chip with a host that takes so long for a step."""
    return plain().what_if({"overheads.step": seconds, **changes})


def decoding() -> Any:
    return rl.estimate("llama-3.1-8b", hosted("300 us"), **STEP)


def test_every_column_of_a_breakdown() -> None:
    table = decoding().decode.ops
    assert list(table["op"]) == list(ROWS)
    bounds = ["lower_s", "upper_s"]  # of which the next test says more
    whole = sum(count * time for _, count, (_, _, time), _ in ROWS.values())
    for row in table.drop(columns=bounds).to_dict("records"):
        kind, count, (flops, size, time), bound = ROWS[row["op"]]
        assert row == {
            "op": row["op"],
            "kind": kind,
            "dtype": "bf16" if size else "",
            "count": count,
            "flops": pytest.approx(count * flops),
            "bytes": pytest.approx(count * size),
            "intensity": pytest.approx(flops / size if size else 0),
            "time_s": pytest.approx(count * time, rel=1e-9),
            "share": pytest.approx(count * time / whole, rel=1e-9),
            "bound": bound,
        }, row["op"]


def test_the_bounds_of_a_breakdown() -> None:
    """Lower: the largest of FLOP, memory and cache, at full rate; nothing of the host. Upper: all of it in turn."""
    est = decoding()
    rows = {row["op"]: row for row in est.decode.records}
    for name, count, n, k in (
        ("qkv_proj", 32, 6144, 4096),
        ("down_proj", 32, 4096, 14_336),
        ("lm_head", 1, 128_256, 4096),
    ):
        assert rows[name]["lower_s"] == pytest.approx(count * 2 * n * k / 1e12)
    assert rows["attention"]["lower_s"] == pytest.approx(32 * _KV / 1e12)
    assert rows["norm"]["lower_s"] == pytest.approx(64 * 16 * 4096 * 4 / 10e12)
    assert rows["framework"]["lower_s"] == 0
    assert rows["framework"]["upper_s"] == 300 * US
    assert rows["norm"]["upper_s"] == pytest.approx(64 * 16 * 4096 * (4 + 6) / 10e12)
    # Gate and up: 224 tiles of 64 x 128 fetch 4096 x (64 + 128) numbers each, and 16 rows are written; 235 MB of
    # weights leave nothing in the cache.
    busy = 2 * 16 * 28_672 * 4096 / 100e12 + (224 * 4096 * (64 + 128) * 2 + 16 * 28_672 * 2) / 10e12
    assert rows["gate_up_proj"]["upper_s"] == pytest.approx(32 * (busy + product(28_672, 4096)[1] / 1e12))
    # Attention: two waves of 7 tiles, and of 1024 keys at the 100 GB/s of a core, beside memory.
    stream_s = 2 * 1024 * 256 * 2 / 100e9
    uncut = _START_S + 2 * 7 * _TILE_S + stream_s + _KV / 1e12
    cut = _START_S + 1.28 * 7 * _TILE_S + 1.28 * 1024 * 256 * 2 / 100e9 + _KV / 1e12 + 128 * 4 * 128 * 8 / 10e12
    assert cut < uncut
    assert rows["attention"]["upper_s"] == pytest.approx(32 * cut)
    for name in ("lower_s", "time_s", "upper_s"):
        assert getattr(est.decode, name) == pytest.approx(sum(row[name] for row in rows.values()))


def test_utilisation() -> None:
    """MFU: FLOP of the matrix engine in prefill and decode, over 100 TFLOP/s and the time of both. MBU: of decode."""
    est = decoding()
    linear = 6144 * 4096 + 4096 * 4096 + 3 * 4096 * 14_336
    head, pairs = 128_256 * 4096, 16 * 32 * 32
    decode = 2 * 16 * (32 * linear + head) + 4 * 128 * pairs * 1024
    prefill = 2 * 16 * (1023 * 32 * linear + head) + 4 * 128 * pairs * 1023 * 1024 / 2
    assert est.decode.flops == decode
    assert est.prefill.flops == prefill
    assert est.time_s == pytest.approx(est.ttft_s + est.tpot_s)
    assert est.decode.mfu == pytest.approx(decode / 100e12 / est.tpot_s)
    assert est.mfu == pytest.approx((prefill + decode) / 100e12 / est.time_s)
    products = sum(count * time for kind, count, (_, _, time), _ in ROWS.values() if kind == "gemm") * 1e12
    assert products == pytest.approx(2 * (32 * linear + head), rel=0.004)  # weights, and rows that they push out
    read = products + 32 * _KV + 16 * 4096 * 2  # beside them the cache, and 16 rows of the token table
    assert est.decode.memory_bytes == pytest.approx(read)
    assert est.mbu == est.decode.mbu == pytest.approx(read / 1e12 / est.tpot_s)


def test_the_figures_of_a_request() -> None:
    """16 requests of 1000 + 25 tokens: one prefill, 24 steps at the mean context of 1001 ... 1024 tokens."""
    est = rl.estimate("llama-3.1-8b", hosted("300 us"), batch=16, prompt=1000, output=25)
    whole = est.ttft_s + 24 * est.tpot_s
    assert est.time_s == pytest.approx(whole)
    assert est.lower_s == pytest.approx(est.prefill.lower_s + 24 * est.decode.lower_s)
    assert est.upper_s == pytest.approx(est.prefill.upper_s + 24 * est.decode.upper_s)
    assert est.tokens_per_s == pytest.approx(16 * 25 / whole)
    assert est.total_tokens_per_s == pytest.approx(16 * 1025 / whole)
    assert est.decode_tokens_per_s == pytest.approx(16 / est.tpot_s)
    (attention,) = [one for one in est.decode.workload if one.kind == "attention"]
    assert attention.args["kv_len"] == (1001 + 1024) / 2


def test_a_cached_prefix_is_not_computed_again() -> None:
    """Of 1000 tokens 600 are cached: 400 go through the layers, and see 601 ... 1000 keys."""
    est = rl.estimate("llama-3.1-8b", plain(), batch=2, prompt=1000, prefix=600, output=1)
    linear, head = 6144 * 4096 + 4096 * 4096 + 3 * 4096 * 14_336, 128_256 * 4096
    pairs = 2 * 32 * 32 * 400 * (601 + 1000) / 2
    assert est.prefill.flops == 2 * 2 * (400 * 32 * linear + head) + 4 * 128 * pairs
    assert est.memory.cache_bytes == 2 * 1001 * 131_072
    assert est.time_s == est.ttft_s == est.prefill.time_s


# Intervals ----------------------------------------------------------------------------------------------------------


def test_spreads_add_in_quadrature_between_classes() -> None:
    """3 s of the host (spread 0.4) and 1 s of a copy (0.3), 0.1 beside: the root of (0.3^2 + 0.075^2 + 0.1^2)."""
    wide = {
        f"efficiency.{kind}.{name}": value
        for kind, value in (("step_overhead", 0.4), ("host_copy", 0.3))
        for name in ("spread_under_5us", "spread_over_1ms")
    }
    chip = hosted("1 s", **wide, **{"overheads.engine_spread": 0.1})
    work = workload(op.step_overhead(count=3), op.host_copy(bytes=50e9))
    assert Phase(work, chip).spread == pytest.approx(math.sqrt((0.75 * 0.4) ** 2 + (0.25 * 0.3) ** 2 + 0.1**2))


@pytest.mark.parametrize(("level", "deviations"), [(0.9, 1.645), (0.5, 0.6745)])
def test_the_width_of_an_interval(level: float, deviations: float) -> None:
    """Errors are log-normal: 90 % lie within exp(1.645 sigma), half within exp(0.6745 sigma) (tables of the normal).

    Nearly all the time is the host's (1 s, spread 0.1), so sigma is the root of 0.1^2 + 0.2^2. 256 samples tell
    a quantile within 1 % of its distance.
    """
    assert NormalDist().inv_cdf((1 + level) / 2) == pytest.approx(deviations, abs=5e-4)
    est = rl.estimate("llama-3.1-8b", hosted("1 s", **{"overheads.engine_spread": 0.2}), batch=1, prompt=16, output=2)
    width = deviations * math.sqrt(0.05)
    for figure, value in (("tpot_s", est.tpot_s), ("ttft_s", est.ttft_s), ("time_s", est.time_s)):
        low, high = (math.log(end / value) for end in est.interval(level, figure))
        assert (low, high) == (pytest.approx(-width, rel=0.03), pytest.approx(width, rel=0.03))
    low, high = est.interval(level, "tokens_per_s")
    assert (low, high) == (
        pytest.approx(2 / est.interval(level, "time_s")[1], rel=1e-3),
        pytest.approx(2 / est.interval(level, "time_s")[0], rel=1e-3),
    )


@pytest.mark.parametrize(("level", "more"), [(0.5, 1e-4), (0.9, 5e-4), (0.99, 1e-3)])
def test_an_interval_holds_as_often_as_it_says(level: float, more: float) -> None:
    """At least so, and hardly more: between the outermost of 256 samples a straight line lies outside of the curve."""
    est = rl.estimate("llama-3.1-8b", hosted("1 s", **{"overheads.engine_spread": 0.2}), batch=1, prompt=16, output=2)
    low, high = est.interval(level, "tpot_s")
    normal = NormalDist(math.log(est.tpot_s), float(est.decode.spread))
    held = normal.cdf(math.log(high)) - normal.cdf(math.log(low))
    assert level - 1e-4 <= held <= level + more


def test_no_sample_is_faster_than_the_lower_bound() -> None:
    est = rl.estimate("llama-3.1-8b", plain(), batch=1, prompt=16, output=2)
    assert est.tpot_s < est.decode.lower_s * math.exp(0.1)  # the plain chip is near its bound, within its doubt
    assert est.interval(0.9, "tpot_s")[0] == est.decode.lower_s


# A recommendation model ---------------------------------------------------------------------------------------------

RANKER = """
title = "Small ranker"
source = "made up"
dense_features = 13
tables = [{ rows = 1_000_000, count = 4, dim = 64, pooling = 5 }]
block = [
  { type = "mlp", name = "bottom", input = "dense", layers = [13, 64] },
  { type = "dot", input = ["bottom", "embedding"], keep = "bottom" },
  { type = "mlp", name = "top", layers = [74, 32, 1] },
]
"""


def ranked(folder: Path, **options: Any) -> Any:
    path = folder / "ranker.toml"
    path.write_text(RANKER, encoding="utf-8")
    return rl.estimate(str(path), hosted("10 us"), batch=1000, table_dtype="fp32", **options)


def lookups(tables: int, samples: int) -> float:
    """1000 bags of 5 rows of 256 bytes in each table: 5000 draws of a million, 1 us after the first is asked for.

    The cache of 100 MB has rows of the batches before, all but what passed through since: the largest step's numbers
    (five vectors a sample, read and written) and the weights. What is drawn misses as a row never seen until the cache
    is full again, and from then on as often as it has not the row.
    """
    rows, row_bytes = 1e6, tables * 256
    passed = samples * 5 * 64 * (2 + 2) + 2 * (14 * 64 + 75 * 32 + 33)
    room, kept = 100e6 / row_bytes, (100e6 - passed) / row_bytes
    until_full = rows * (math.log(1 - kept / rows) - math.log(1 - room / rows))  # draws that show so many rows
    missed = room - kept + (5000 - until_full) * (1 - room / rows)
    return US + missed * row_bytes / 1e12


def test_a_ranker_on_one_chip(tmp_path: Path) -> None:
    """Vectors of 4 tables and of the dense features: 5 of 64, 10 pairs; 64 + 10 numbers into the top layers."""
    est = ranked(tmp_path)
    assert est.memory.weights_bytes == 4 * 1_000_000 * 64 * 4 + 2 * (14 * 64 + 75 * 32 + 33)
    assert est.memory.activations_bytes == 3 * 1000 * 4 * 64 * 2
    times = {row["op"]: row["time_s"] for row in est.ops.to_dict("records")}
    tile = 2 * 64 * 64 * 64 / 1e12  # of 64 x 64 outputs over 64 of k, on a core: what few rows cost at least
    by_hand = {
        "framework": 10 * US,
        "input_copy": 1000 * (13 * 4 + 20 * 8) / 50e9,  # fp32 features, 8 bytes an index
        "embedding": lookups(4, 1000),
        "bottom.0": tile,  # k = 13 is padded to 64
        "dot.concat": 1000 * 5 * 64 * 4 / 10e12,
        "dot": (1000 * 64 * (64 + 64) * 2 + 1000 * 25 * 2) / 10e12,  # a tile for each square of 5 x 5
        "dot.pick": 1000 * 74 * 4 / 10e12,
        "top.0": tile + 2 * 8 * 16 * 64 * 64 / 10e12,  # k = 74 is padded to 128, and split in two
        "top.1": tile,
        "output_copy": 1000 * 4 / 50e9,
    }
    assert times == {name: pytest.approx(time, rel=1e-9) for name, time in by_hand.items()}
    whole = sum(by_hand.values())
    assert est.latency_s == pytest.approx(whole)
    assert est.samples_per_s == est.samples_per_s_per_chip == pytest.approx(1000 / whole)
    assert est.sparse_share == pytest.approx(lookups(4, 1000) / whole)
    # With batches in a pipeline the chip sets the pace; the copy in needs less, and the host's 10 us on 8 cores.
    chip = whole - 10 * US - by_hand["input_copy"] - by_hand["output_copy"]
    assert est.pipelined_samples_per_s == pytest.approx(1000 / chip)
    slow = rl.estimate(est.model, hosted("1 ms"), batch=1000, table_dtype="fp32")
    assert slow.pipelined_samples_per_s == pytest.approx(8 * 1000 / 1e-3)


def test_a_ranker_on_two_chips(tmp_path: Path) -> None:
    """Two tables a chip for all samples, 500 samples a chip for the dense part; between them 1000 x 256 numbers of
    2 bytes change places, half of what a chip has looked up goes to the other, and half stays (read and written)."""
    est = ranked(tmp_path, devices=2, placement="even")
    times = {row["op"]: row["time_s"] for row in est.ops.to_dict("records")}
    exchange = 1000 * 4 * 64 * 2 / 2 / 2
    assert times["input_copy"] == pytest.approx((500 * 13 * 4 + 1000 * 20 * 8 / 2) / 50e9)
    assert times["embedding"] == pytest.approx(lookups(2, 500))
    assert times["embedding_all_to_all"] == pytest.approx(exchange / 100e9 + 2 * exchange / 1e12)
    assert est.sparse_share == pytest.approx((times["embedding"] + times["embedding_all_to_all"]) / est.latency_s)
    assert est.memory.weights_bytes == 2 * 1_000_000 * 64 * 4 + 2 * (14 * 64 + 75 * 32 + 33)
    assert est.samples_per_s == 2 * est.samples_per_s_per_chip == pytest.approx(1000 / est.latency_s)
