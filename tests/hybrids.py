"""What papers and cards claim that hybrids save over long contexts, and what is estimated of the same comparison.

A claim is a ratio of two models: of speed, of bytes or of FLOP. Few say on what it was measured. Where they do not, the
machine is the fewest H100s, a power of two, that hold both models, tensor and expert parallelism over all of them, and
a throughput is that of the largest batch that fits. ``benchmarks/hybrids.py`` writes the table of ``docs/hybrids.md``.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import roofline as rl
from roofline.models import huggingface
from roofline.models.llm import LanguageModel

CLASSES: dict[str, Any] = json.loads((Path(__file__).parent / "data" / "class_defaults.json").read_text())

#: Configurations of models that are not built in; the rest are the classes' own, which are those of the checkpoints.
CONFIGS: dict[str, dict[str, Any]] = {
    # Nemotron-H-56B-Base: 54 Mamba-2, 54 feed-forward and 10 attention layers (arXiv 2504.03624, table 1; recalled).
    "nemotron-h-56b": {
        "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hidden_size": 8192,
        "intermediate_size": 32768, "num_hidden_layers": 118, "hybrid_override_pattern": "M-" * 54 + "*" * 10,
        "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128, "mamba_num_heads": 256,
        "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 256, "chunk_size": 256, "vocab_size": 131072,
    },
    # MiniMax-M1: every eighth of 80 layers attends (arXiv 2501.08313, section 2; recalled).
    "minimax-m1": {
        "architectures": ["MiniMaxM1ForCausalLM"], "model_type": "minimax_m1", "hidden_size": 6144,
        "intermediate_size": 9216, "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8,
        "head_dim": 128, "rotary_dim": 64, "num_local_experts": 32, "num_experts_per_tok": 2, "vocab_size": 200064,
        "attn_type_list": [int(i % 8 == 7) for i in range(80)],
    },
    # tiiuae/Falcon-H1-34B (arXiv 2507.22448, table 5; recalled).
    "falcon-h1-34b": {
        "architectures": ["FalconH1ForCausalLM"], "model_type": "falcon_h1", "hidden_size": 5120,
        "intermediate_size": 21504, "num_hidden_layers": 72, "num_attention_heads": 20, "num_key_value_heads": 4,
        "head_dim": 128, "mamba_d_ssm": 4096, "mamba_n_heads": 32, "mamba_d_head": 128, "mamba_n_groups": 2,
        "mamba_d_state": 256, "vocab_size": 261120,
    },
    # nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16, its config.json.
    "nemotron-3-nano-30b": {
        "architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hidden_size": 2688,
        "intermediate_size": 1856, "num_hidden_layers": 52, "num_attention_heads": 32, "num_key_value_heads": 2,
        "head_dim": 128, "mamba_num_heads": 64, "mamba_head_dim": 64, "n_groups": 8, "ssm_state_size": 128,
        "chunk_size": 128, "vocab_size": 131072, "n_routed_experts": 128, "n_shared_experts": 1,
        "num_experts_per_tok": 6, "moe_intermediate_size": 1856, "moe_shared_expert_intermediate_size": 3712,
        "hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME",
    },
    "kimi-linear-48b": CLASSES["kimi_linear"]["config"],
    # The same with latent attention in every layer: what the paper compares with.
    "kimi-all-latent-48b": CLASSES["kimi_linear"]["config"] | {"layer_types": ["full_attention"] * 27},
    "qwen3-next-80b": CLASSES["qwen3_next"]["config"],
    "jamba-v0.1": CLASSES["jamba"]["config"],
}  # fmt: skip


@cache
def model(name: str) -> LanguageModel:
    """A model by name, made for any length: claims pass what some were trained for."""
    known = name in CONFIGS
    found = huggingface.read(copy.deepcopy(CONFIGS[name]), name) if known else rl.load_model(name)
    assert isinstance(found, LanguageModel)
    return replace(found, max_positions=2**24)


class Setting(NamedTuple):
    """What a comparison is made on."""

    chip: str
    tp: int
    prompt: int
    output: int
    batch: int | None = 1

    def estimate(self, name: str) -> Any:
        """The estimate of one model; where no batch is given, of the largest that fits."""
        made = model(name)
        ask = partial(
            rl.estimate,
            made,
            self.chip,
            tp=self.tp,
            ep=self.tp if made.experts else 1,
            prompt=self.prompt,
            output=self.output,
            dtype="bf16",
        )
        batch = self.batch or int(ask(batch=1).memory.largest_batch)
        return ask(batch=batch)

    def __str__(self) -> str:
        batch = "the largest batch" if self.batch is None else f"batch {self.batch}"
        return f"{self.tp} x {self.chip}, {self.prompt:,} in and {self.output:,} out, {batch}"


class Claim(NamedTuple):
    """One comparison.

    Attributes
    ----------
    what, against : str
        The models.
    figure : str
        What is compared, in words.
    says : float
        The claim.
    ours : callable
        What is estimated.
    setting : str
        On what.
    source : str
        Where the claim was read, in November 2026 unless it is said to be recalled.
    """

    what: str
    against: str
    figure: str
    says: float
    ours: Callable[[], float]
    setting: str
    source: str

    @property
    def off(self) -> float:
        """How far off the estimate is, as a share of the claim."""
        return self.ours() / self.says - 1


def _speed(what: str, against: str, figure: str, key: str, says: float, on: Setting, source: str) -> Claim:
    """How many times faster one model is: times the other way round, rates as they are."""

    def ours() -> float:
        one, other = (float(getattr(on.estimate(name), key)) for name in (what, against))
        return one / other if key.endswith("tokens_per_s") else other / one

    return Claim(what, against, figure, says, ours, str(on), source)


def _cache(what: str, against: str, context: int, says: float, source: str) -> Claim:
    def ours() -> float:
        one, other = (float(model(name).kv_bytes(1, context)) for name in (what, against))
        return one / other

    return Claim(what, against, "KV cache, share", says, ours, f"{context:,} tokens in 16 bits", source)


def _flops(n: int, says: float, written_out: bool, source: str) -> Claim:
    """FLOP of `n` tokens: one by one as they are generated, or as one pass over all of them."""
    phase, form = ("prefill", "latents expanded") if written_out else ("decode", "latents absorbed")
    on = Setting("h200", 8, n if written_out else 1, 1 if written_out else n)

    def ours() -> float:
        one, other = (float(getattr(on.estimate(name), phase).flops) for name in ("minimax-m1", "deepseek-r1"))
        return one / other

    return Claim("minimax-m1", "deepseek-r1", f"FLOP, share, {form}", says, ours, f"{n:,} tokens generated", source)


KIMI = "MoonshotAI/Kimi-Linear, README"
KIMI_CARD = "the card of moonshotai/Kimi-Linear-48B-A3B-Instruct"
KIMI_FIGURE = "arXiv 2510.26692, figure of prefill times (as described at subtext.edge.nugit.net)"
NEXT = "alibabacloud.com/blog, Qwen3-Next: Towards Ultimate Training & Inference Efficiency"
NEXT_SHORT = "reportify.ai/social-media/718848039649623, after Qwen's announcement"
NEMOTRON = "arXiv 2504.03624, abstract; lengths at circavoyant.com"
JAMBA = "arXiv 2403.19887, table 1 and figure 3 (as told at besthub.dev; the caches of others recalled)"
M1 = "arXiv 2506.13585, abstract"
FALCON = "arXiv 2507.22448, as summed up at alphaxiv.org"
NANO = "banandre.com/blog, NVIDIA releases Nemotron-3-Nano"

LONG, MILLION = 131072, 1048576

CLAIMS: tuple[Claim, ...] = (
    _cache("jamba-v0.1", "mixtral-8x7b", 262144, 4 / 32, JAMBA),
    _cache("jamba-v0.1", "llama-2-7b", 262144, 4 / 128, JAMBA),
    _cache("kimi-linear-48b", "kimi-all-latent-48b", MILLION, 0.25, KIMI),
    _speed("kimi-linear-48b", "kimi-all-latent-48b", "decode", "decode_tokens_per_s", 3.98,
           Setting("h100-sxm", 4, LONG - 64, 64, None), KIMI_CARD),
    _speed("kimi-linear-48b", "kimi-all-latent-48b", "decode, up to", "decode_tokens_per_s", 6,
           Setting("h100-sxm", 4, MILLION - 64, 64, None), KIMI),
    _speed("kimi-linear-48b", "kimi-all-latent-48b", "prefill", "ttft_s", 2.9,
           Setting("h100-sxm", 4, MILLION, 1), KIMI_FIGURE),
    _speed("qwen3-next-80b", "qwen3-32b", "prefill, nearly", "ttft_s", 7,
           Setting("h100-sxm", 4, 4096, 1, 8), NEXT_SHORT),
    _speed("qwen3-next-80b", "qwen3-32b", "prefill, more than", "ttft_s", 10, Setting("h100-sxm", 4, LONG, 1), NEXT),
    _speed("qwen3-next-80b", "qwen3-32b", "decode, more than", "decode_tokens_per_s", 10,
           Setting("h100-sxm", 4, LONG, 64, None), NEXT),
    _speed("nemotron-h-56b", "llama-3.1-70b", "all, up to", "tokens_per_s", 3,
           Setting("h100-sxm", 4, 65536, 1024, None), NEMOTRON),
    _speed("nemotron-h-56b", "qwen2.5-72b", "all, up to", "tokens_per_s", 3,
           Setting("h100-sxm", 4, 65536, 1024, None), NEMOTRON),
    _speed("jamba-v0.1", "mixtral-8x7b", "all", "tokens_per_s", 3,
           Setting("a100-sxm-80gb", 4, LONG, 512, None), JAMBA),
    _flops(100_000, 0.25, True, M1),
    _flops(100_000, 0.25, False, M1),
    _speed("falcon-h1-34b", "qwen2.5-32b", "prefill, up to", "ttft_s", 4, Setting("h100-sxm", 4, 262144, 1), FALCON),
    _speed("falcon-h1-34b", "qwen2.5-32b", "decode, up to", "decode_tokens_per_s", 8,
           Setting("h100-sxm", 4, 4096, 262144, None), FALCON),
    _speed("nemotron-3-nano-30b", "qwen3-30b-a3b", "all, up to", "tokens_per_s", 3.3,
           Setting("h200", 1, 8192, 16384, None), NANO),
)  # fmt: skip

#: How far off an estimate may be to count as what was claimed.
WITHIN = 0.25


def rows() -> Iterator[str]:
    """The table of the page."""
    yield "| model | against | figure | on | claim | here | off | source |"
    yield "| --- | --- | --- | --- | ---: | ---: | ---: | --- |"
    for one in CLAIMS:
        said, here = (f"{value:.1%}" if one.says < 1 else f"{value:.2f}" for value in (one.says, one.ours()))
        mark = "" if abs(one.off) <= WITHIN else " (missed)"
        yield (
            f"| {one.what} | {one.against} | {one.figure} | {one.setting} | {said} | {here} | {one.off:+.0%}{mark} "
            f"| {one.source} |"
        )
