"""Language models: parameter counts against the published ones, the KV cache, and one step's work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from roofline.base.errors import BadWorkload
from roofline.catalog.load import load_model
from roofline.fidelity import models_report
from roofline.models.attention import LatentAttention
from roofline.models.feed_forward import Experts, FeedForward
from roofline.models.forward import mean_context
from roofline.models.huggingface import load
from roofline.work import op
from roofline.work.op import Op
from roofline.work.workload import Workload

CONFIGS = Path(__file__).parent.parent / "roofline" / "models" / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.json"))
MODELS = {name: load(CONFIGS / f"{name}.json") for name in NAMES}


def flops(op: Op) -> Any:
    """Matrix FLOP of an operator, the causal mask left out; 0 for the others."""
    a = op.args
    if op.kind == "gemm":
        return op.count * 2 * a["m"] * a["n"] * a["k"] * a["batch"]
    if op.kind == "attention":
        kv_len = np.minimum(a["kv_len"], a["window"] or np.inf)
        values = a["value_dim"] or a["head_dim"]
        return op.count * 2 * a["batch"] * a["heads"] * a["q_len"] * kv_len * (a["head_dim"] + values)
    if op.kind == "mla_attention":
        width = 2 * a["kv_lora_rank"] + a["rope_dim"]
        return op.count * 2 * a["batch"] * a["heads"] * a["q_len"] * a["kv_len"] * width
    if op.kind == "moe":
        return op.count * 6 * a["tokens"] * a["topk"] * a["hidden"] * a["inter"] / (a["tp"] * a["ep"])
    return 0


def total(workload: Workload) -> Any:
    return sum(flops(op) for op in workload)


def named(workload: Workload, name: str) -> Op:
    (found,) = [op for op in workload if op.name == name]
    return found


# -- Parameters ---------------------------------------------------------------------------------------------------


def test_more_than_a_hundred_models_are_built_in() -> None:
    assert len(NAMES) >= 110


#: Where ours differs from the class of transformers, by how many: tables that it holds as buffers; gates of heads; an
#: output projection that T5's class ties whatever the file says, and the checkpoint does not; a matrix that LongCat's
#: class has of experts which give a token back as it is, and the checkpoint has not.
DIFFERING = {
    "deepseek-v4-flash": 10_240, "step-3.7-flash-fp8": 663_552, "flan-t5-base": 768 * 32128,
    "flan-t5-xl": 2048 * 32128, "flan-t5-xxl": 4096 * 32128, "longcat-flash": -28 * (256 * 2 * 6144 * 2048 - 768),
}  # fmt: skip

#: Models that transformers has no class for, and whose publishers round to a trillion, or say nothing.
UNCOUNTED = {"deepseek-v4-pro-fp8", "kimi-k3", "minimax-m3", "ouro-2.6b"}


@pytest.mark.parametrize("name", NAMES)
def test_parameters_agree_with_what_others_count(name: str) -> None:
    about = json.loads((CONFIGS / f"{name}.json").read_text())["_roofline"]
    assert about["source"]
    params, counted, published = MODELS[name].params, about.get("transformers_params"), about.get("published_params_b")
    if counted is not None:
        assert params - counted == DIFFERING.get(name, 0)
    elif name not in UNCOUNTED:
        assert params / 1e9 == pytest.approx(published, rel=0.001)
    if published is not None:
        assert about["published_source"]
        assert params / 1e9 == pytest.approx(published, rel=0.04)  # "235 B", "1 T": publishers round


def test_the_page_of_models_is_up_to_date() -> None:
    page = Path(__file__).parent.parent / "docs" / "models.md"
    assert page.read_text() == models_report.page(), "python -m roofline.fidelity.models_report > docs/models.md"


def test_names_as_hugging_face_writes_them_lead_to_one_model() -> None:
    spellings: dict[str, str] = {}
    for name, model in MODELS.items():
        for spelling in (name, model.title, *model.aliases):
            assert spellings.setdefault(spelling.lower(), name) == name
    assert load_model("Qwen/Qwen3-Next-80B-A3B-Instruct").name == "qwen3-next-80b-a3b"
    assert load_model("zai-org/GLM-4.6") is load_model("glm-4.7")


@pytest.mark.parametrize(
    ("name", "params_b", "active_b"),
    [
        ("llama-3.1-8b", 8.030, 8.030),  # Hugging Face, safetensors counts
        ("llama-3.1-70b", 70.554, 70.554),
        ("llama-3.1-405b", 405.85, 405.85),
        ("mixtral-8x7b", 46.70, 12.9),  # Jiang et al. 2024: 47 B, 13 B active
        ("deepseek-v3", 671.0, 37.5),  # model card: 671 B, 37 B active
        ("deepseek-v2", 236.0, 21.4),  # DeepSeek-V2 report: 236 B, 21 B active
        ("qwen3-235b-a22b", 235.1, 22.2),  # model card: 235 B, 22 B active
        ("qwen3-30b-a3b", 30.5, 3.35),  # model card: 30.5 B, 3.3 B active
        ("llama-4-scout", 107.77, 17.2),  # text model; model card: 17 B active
        ("llama-4-maverick", 400.71, 17.2),
        ("minimax-m2", 228.7, 11.0),
    ],
)
def test_parameters_of_known_models(name: str, params_b: float, active_b: float) -> None:
    assert MODELS[name].params / 1e9 == pytest.approx(params_b, rel=0.002)
    assert MODELS[name].active_params / 1e9 == pytest.approx(active_b, rel=0.005)


@pytest.mark.parametrize(
    ("name", "total_b", "active_b"), [("gpt-oss-120b", 116.83, 5.13), ("gpt-oss-20b", 20.91, 3.61)]
)
def test_gpt_oss_counts_of_its_model_card(name: str, total_b: float, active_b: float) -> None:
    # The card's active parameters leave out the token embedding.
    model = MODELS[name]
    assert round(model.params / 1e9, 2) == pytest.approx(total_b, abs=0.011)
    assert (model.active_params - model.vocab * model.hidden) / 1e9 == pytest.approx(active_b, abs=0.005)


def test_layer_groups_of_the_uneven_models() -> None:
    gemma = {group.span.window: group.count for group in MODELS["gemma-3-27b"].layers}
    assert gemma == {1024: 52, None: 10}
    layers = MODELS["llama-4-maverick"].layers
    maverick = {(g.span.window, isinstance(g.feed_forward, Experts)): g.count for g in layers}
    assert maverick == {(8192, True): 12, (8192, False): 24, (None, True): 12}
    assert [(g.count, type(g.feed_forward)) for g in MODELS["deepseek-v3"].layers] == [(3, FeedForward), (58, Experts)]
    assert {g.span.window: g.count for g in MODELS["gpt-oss-120b"].layers} == {128: 18, None: 18}


def test_summary_says_what_matters() -> None:
    about = MODELS["llama-4-maverick"].summary()
    assert about["parameters"] == MODELS["llama-4-maverick"].params
    assert about["tokens seen"] == "8,192 in 36 layers, all in 12 layers"
    assert about["experts"] == "1 of 128, width 8,192"
    assert json.loads(json.dumps(about)) == about
    assert MODELS["deepseek-v3"].summary()["attention"] == "latent (MLA)"
    assert "experts" not in MODELS["phi-2"].summary()


# -- KV cache -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kv_bytes"),
    [
        ("llama-2-70b", 2 * 80 * 8 * 128 * 2),  # 327,680 B
        ("llama-3.1-8b", 2 * 32 * 8 * 128 * 2),  # 131,072 B
        ("deepseek-v3", 61 * (512 + 64) * 2),  # 70,272 B: latent and rotary key
        ("gpt-j-6b", 2 * 28 * 4096 * 2),
        ("falcon-7b", 2 * 32 * 64 * 2),  # multi-query
    ],
)
def test_kv_bytes_per_token(name: str, kv_bytes: int) -> None:
    assert MODELS[name].kv_bytes_per_token("bf16") == kv_bytes
    assert MODELS[name].kv_bytes_per_token("fp8") == kv_bytes / 2
    if all(group.span.window is None for group in MODELS[name].layers):
        assert MODELS[name].kv_bytes(3, 1000) == 3 * 1000 * kv_bytes


def test_windows_bound_the_cache() -> None:
    model = MODELS["gemma-3-27b"]
    layer = 2 * 16 * 128 * 2
    assert model.kv_bytes(1, 100_000) == layer * (52 * 1024 + 10 * 100_000)
    assert model.kv_bytes(2, [512, 100_000]).tolist() == [model.kv_bytes(2, 512), model.kv_bytes(2, 100_000)]


# -- One forward step ---------------------------------------------------------------------------------------------


def test_a_dense_step_is_a_handful_of_operators() -> None:
    step = MODELS["llama-3.1-70b"].step(16, 1, 1024)
    assert [op.name for op in step] == [
        "token_embedding",
        "norm",
        "qkv_proj",
        "rope",
        "kv_write",
        "attention",
        "o_proj",
        "residual_add",
        "gate_up_proj",
        "silu_mul",
        "down_proj",
        "final_norm",
        "lm_head",
        "sampling",
    ]
    assert named(step, "qkv_proj").args["n"] == (64 + 2 * 8) * 128
    assert named(step, "norm").count == 160
    for one in step:
        assert all(type(value) in (int, float) for value in one.args.values()), one.name


@pytest.mark.parametrize(
    "name", ["llama-2-70b", "mixtral-8x7b", "phi-2", "gpt-oss-20b", "llama-4-scout", "deepseek-v3"]
)
def test_gemm_flops_are_two_a_parameter_and_token(name: str) -> None:
    model = MODELS[name]
    # A batch of one query to a context of one: what attention itself does is negligible.
    step = model.step(batch=64, q_len=1, kv_len=1)
    # DeepSeek's absorbed form multiplies kv_b_proj's two halves with queries and outputs: the same FLOP.
    small = sum(flops(op) for op in step if op.kind in ("attention", "mla_attention"))
    embedding = model.vocab * model.hidden
    expected = 2 * 64 * (model.active_params - (0 if model.tied else embedding))
    assert total(step) - small == pytest.approx(expected, rel=0.002)


def test_prefill_needs_only_the_last_logits() -> None:
    model = MODELS["llama-3.1-8b"]
    assert named(model.step(2, 512, 512), "lm_head").args["m"] == 2
    assert named(model.step(2, 512, 512, logits="all"), "lm_head").args["m"] == 1024


def test_quantised_arithmetic_quantises_activations_but_not_router_and_head() -> None:
    step = MODELS["mixtral-8x7b"].step(8, 1, 100, dtype="fp8")
    assert named(step, "qkv_proj").args["quantize"] == named(step, "moe").args["quantize"] == 1.0
    for name in ("router", "lm_head"):
        assert (named(step, name).dtype, named(step, name).args["quantize"]) == ("bf16", 0.0)
    assert named(step, "attention").dtype == "bf16"
    assert named(MODELS["mixtral-8x7b"].step(8, 1, 100, "fp8", kv_dtype="fp8"), "attention").dtype == "fp8"
    weight_only = named(MODELS["llama-3.1-8b"].step(8, 1, 100, "bf16", weight_dtype="int4"), "qkv_proj")
    assert (weight_only.args["weight_width"], weight_only.args["quantize"]) == (0.5, 0.0)


def test_a_checkpoint_keeps_its_narrow_weights() -> None:
    gpt = MODELS["gpt-oss-120b"]
    step = gpt.step(1, 1, 100)
    assert (named(step, "moe").args["weight_width"], named(step, "qkv_proj").args["weight_width"]) == (17 / 32, 2.0)
    assert named(gpt.step(1, 1, 100, weight_dtype="bf16"), "moe").args["weight_width"] == 2.0
    deepseek = MODELS["deepseek-v3"]
    assert named(deepseek.step(1, 1, 100), "qkv_a_proj").dtype == "fp8"
    assert named(deepseek.step(1, 1, 100, "bf16"), "moe").args["weight_width"] == 1 + 4 / 128**2
    assert named(deepseek.step(1, 1, 100, "fp4"), "moe").args["weight_width"] == 0.5


def test_latent_attention_absorbs_in_decode_and_expands_in_prefill() -> None:
    model = MODELS["deepseek-v3"]
    decode, prefill = model.step(1, 1, 4096), model.step(1, 4096, 4096)
    assert {"q_absorb", "v_absorb"} <= {op.name for op in decode}
    assert "kv_b_proj" not in {op.name for op in decode}
    expanded = named(prefill, "attention_expanded")
    assert (expanded.args["head_dim"], expanded.args["value_dim"]) == (192, 128)
    attention = model.layers[0].mixer
    assert isinstance(attention, LatentAttention)
    assert [bool(attention.absorbs(q, 100_000)) for q in (1, 170, 171)] == [True, True, False]
    assert not attention.absorbs(64, 64)
    # The form changes where the FLOP of the two are the same, so that neither makes the total jump.
    before, after = (total(model.step(1, q, 100_000)) for q in (170, 171))
    assert after == pytest.approx(before * 171 / 170, rel=0.005)


def test_windows_and_chunks_shorten_attention() -> None:
    gemma = MODELS["gemma-2-9b"].step(1, 1, 8000)
    assert named(gemma, "sliding_attention").args["kv_len"] == 4096
    assert named(gemma, "attention").args["kv_len"] == 8000
    scout = MODELS["llama-4-scout"].step(1, 16384, 16384)
    chunked = named(scout, "chunked_attention").args
    assert (chunked["batch"], chunked["q_len"], chunked["kv_len"]) == (2.0, 8192, 8192)
    assert named(scout, "rope").count == named(scout, "chunked_attention").count == 36


@given(st.integers(1, 300), st.integers(1, 100))
def test_chunks_count_every_pair_once(tokens: int, chunk: int) -> None:
    args = op.attention(batch=1, heads=1, head_dim=64, q_len=tokens, kv_len=tokens, window=chunk, chunked=True).args
    pairs = args["batch"] * args["q_len"] * (args["q_len"] + 1) / 2
    assert pairs == pytest.approx(sum(i % chunk + 1 for i in range(tokens)))


def test_plain_kernels_write_keys_and_values_of_different_size() -> None:
    def scattered(**options: Any) -> float:
        return op.attention(batch=1, heads=4, head_dim=192, q_len=8, kv_len=8, **options).args["scattered"]

    assert scattered(value_dim=128) == 1.0
    assert scattered() == scattered(value_dim=192) == scattered(value_dim=128, stored=False) == 0.0
    assert scattered(value_dim=128, causal=False) == 0.0


@given(
    first=st.integers(1, 60),
    steps=st.integers(1, 60),
    window=st.integers(1, 40),
    chunked=st.booleans(),
)
def test_mean_context_is_the_mean(first: int, steps: int, window: int, chunked: bool) -> None:
    contexts = range(first, first + steps)
    seen = [(n - 1) % window + 1 if chunked else min(n, window) for n in contexts]
    assert mean_context(first, steps, 1, window, chunked) == pytest.approx(np.mean(seen))
    assert mean_context(first, steps) == pytest.approx(np.mean(contexts))
    as_arrays = mean_context(np.array([first]), np.array([steps]), 1, window, chunked)
    assert as_arrays == pytest.approx(np.mean(seen))


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    batch=st.integers(1, 512),
    context=st.integers(2, 100_000),
    steps=st.integers(1, 999),
)
def test_more_work_is_never_less(name: str, batch: int, context: int, steps: int) -> None:
    model = MODELS[name]
    decode = total(model.step(batch, 1, context, steps=steps))
    assert total(model.step(batch + 1, 1, context, steps=steps)) > decode
    if not name.startswith("llama-4"):  # a query at the start of a chunk really does see less than one at its end
        assert total(model.step(batch, 1, context + 1, steps=steps)) >= decode
    assert total(model.step(batch, context, context)) > total(model.step(batch, context - 1, context - 1))
    assert model.kv_bytes(batch, context + 1) >= model.kv_bytes(batch, context)


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(NAMES),
    batches=st.lists(st.integers(1, 512), min_size=1, max_size=3),
    shapes=st.lists(st.tuples(st.integers(1, 20_000), st.integers(0, 9_000)), min_size=1, max_size=3),
    steps=st.integers(1, 500),
)
def test_arrays_give_what_their_points_give(
    name: str, batches: list[int], shapes: list[tuple[int, int]], steps: int
) -> None:
    model = MODELS[name]
    q_len = np.array([q for q, _ in shapes])
    kv_len = q_len + np.array([prefix for _, prefix in shapes])
    whole = np.broadcast_to(
        total(model.step(np.array(batches)[:, None], q_len, kv_len, steps=steps)), (len(batches), len(shapes))
    )
    for i, batch in enumerate(batches):
        for j, (q, prefix) in enumerate(shapes):
            assert whole[i, j] == pytest.approx(total(model.step(batch, q, q + prefix, steps=steps)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 0}, "batch must be a number from 1 to 10\\^15, found 0"),
        ({"batch": -3}, "batch must be a number from 1 to 10\\^15, found -3"),
        ({"q_len": 0}, "q_len must be a number from 1 to 10\\^15, found 0"),
        ({"kv_len": float("nan")}, "kv_len must be a number from 1 to 10\\^15, found nan"),
        ({"q_len": 0.3, "kv_len": 0.5}, "q_len must be a number from 1 to"),
        ({"batch": 10**400}, "batch must be a number from 1 to 10\\^15, found an integer of 1,329 bits"),
        ({"q_len": 100, "kv_len": 50}, "kv_len counts the new tokens too"),
        ({"dtype": "fp9"}, "unknown dtype 'fp9'"),
        ({"kv_dtype": "fp88"}, "did you mean 'fp8'"),
        ({"logits": "some"}, "logits is 'last' or 'all'"),
        ({"batch": "many"}, "batch must be a number"),
    ],
)
def test_steps_that_no_machine_runs(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(BadWorkload, match=message):
        MODELS["llama-3.1-8b"].step(**{"batch": 1, "q_len": 1, "kv_len": 128, **arguments})
