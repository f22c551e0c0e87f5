"""One peer at work, in an interpreter that has it: ``python benchmarks/peer.py TOOL`` prints what it answers as JSON.

``benchmarks/peers.py`` calls this. Nothing of roofline is imported here, so that an environment of the peers' own will
do: what they require does not go together with everything else.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Any

#: Seconds of the prefill and of a decode step, of so many prompts of a length, in the middle of an output; None where
#: the tool does not say.
Answer = tuple[float | None, float | None]
Ask = Callable[[int, int, int], Answer]

#: The question that all are asked.
BATCH, PROMPT, OUTPUT = 16, 2048, 256
CHIPS = ("h100", "a100")


def aiconfigurator(chip: str) -> Ask:
    """Its Rust engine, tables loaded and the plan made before."""
    from aiconfigurator_core.sdk.engine import EngineHandle

    engine = EngineHandle.compile("meta-llama/Meta-Llama-3.1-70B", f"{chip}_sxm", "trtllm", tp_size=8)

    def ask(batch: int, prompt: int, output: int) -> Answer:
        prefill = engine.predict_prefill_latency(batch, prompt)
        return prefill / 1e3, engine.predict_decode_latency(batch, prompt + output // 2) / 1e3

    return ask


def genz(chip: str) -> Ask:
    from GenZ import decode_moddeling, prefill_moddeling

    system = {"h100": "H100_GPU", "a100": "A100_80GB_GPU"}[chip]

    def ask(batch: int, prompt: int, output: int) -> Answer:
        asked = {
            "model": "llama2_70b",
            "batch_size": batch,
            "input_tokens": prompt,
            "tensor_parallel": 8,
            "bits": "bf16",
        }
        prefill = prefill_moddeling(system_name=system, **asked)
        decode = decode_moddeling(system_name=system, output_tokens=output, **asked)
        return float(prefill["Latency"]) / 1e3, float(decode["Latency"]) / 1e3

    return ask


def llm_analysis(chip: str) -> Ask:
    from llm_analysis.analysis import LLMAnalysis, ParallelismConfig
    from llm_analysis.config import get_dtype_config_by_name, get_gpu_config_by_name, get_model_config_by_name

    analysis = LLMAnalysis(
        get_model_config_by_name("upstage_Llama-2-70b-instruct-v2"),
        get_gpu_config_by_name(f"{chip}-sxm-80gb"),
        get_dtype_config_by_name("w16a16e16"),
        ParallelismConfig(tp_size=8, sp_size=8),
    )

    def ask(batch: int, prompt: int, output: int) -> Answer:
        found = analysis.inference(batch_size_per_gpu=batch, seq_len=prompt, num_tokens_to_generate=output)
        return found["prefill_latency"], found["decode_latency"]

    return ask


def servcalc(chip: str) -> Ask:
    """It knows no split: one chip with the sum of eight."""
    from servcalc import GpuSpec, Workload, estimate
    from servcalc.estimate import load_arch

    bandwidth, flops = {"h100": (3350, 989), "a100": (2039, 312)}[chip]
    eight = GpuSpec("eight", 8 * 80 * 2**30, 8 * bandwidth, 8 * flops)
    arch = load_arch(CONFIG)

    def ask(batch: int, prompt: int, output: int) -> Answer:
        (point,) = estimate(arch, eight, workload=Workload(prompt, output, (batch,))).points
        return point.ttft_ms.mid / 1e3, point.itl_ms.mid / 1e3

    return ask


def mlsysim(chip: str) -> Ask:
    """It knows no split: one chip with the sum of eight."""
    from mlsysim import Hardware, Models
    from mlsysim.engine.solvers.serving import ServingModel

    node = getattr(Hardware.Cloud, chip.upper())
    rates = {name: 8 * rate for name, rate in node.compute.precision_flops.items()}
    compute = node.compute.model_copy(update={"peak_flops": 8 * node.compute.peak_flops, "precision_flops": rates})
    memory = {"capacity": 8 * node.memory.capacity, "bandwidth": 8 * node.memory.bandwidth}
    eight = node.model_copy(update={"compute": compute, "memory": node.memory.model_copy(update=memory)})
    solver = ServingModel()

    def ask(batch: int, prompt: int, output: int) -> Answer:
        found = solver.solve(Models.Language.Llama2_70B, eight, seq_len=prompt, batch_size=batch)
        return found.ttft.to("s").magnitude, found.itl.to("s").magnitude

    return ask


def ridgepoint(chip: str) -> Ask:
    """It answers for one request at a time."""
    from ridgepoint import fit

    def ask(batch: int, prompt: int, output: int) -> Answer:
        said = json.loads(answer(prompt, output))["speed"]
        return said["ttft_s"]["best"], 1 / said["decode_tok_s"]["best"]

    def answer(prompt: int, output: int) -> str:
        asked = {"count": 8, "dtype": "bf16", "kv_cache_dtype": "bf16"}
        return str(fit("llama-3-70b", f"{chip}-80gb", ctx=prompt + output // 2, prompt=prompt, as_json=True, **asked))

    ask.timed = lambda batch, prompt, output: answer(prompt, output)  # type: ignore[attr-defined]  # without our reading
    return ask


#: What servcalc reads: the shape of Llama-2-70B (meta-llama/Llama-2-70b-hf, config.json).
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 8192,
    "intermediate_size": 28672,
    "num_hidden_layers": 80,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}

#: Tool -> its distribution, and what asks it.
TOOLS: dict[str, tuple[str, Callable[[str], Ask]]] = {
    "aiconfigurator": ("aiconfigurator-core", aiconfigurator),
    "GenZ": ("genz-llm", genz),
    "llm-analysis": ("llm-analysis", llm_analysis),
    "servcalc": ("servcalc", servcalc),
    "mlsysim": ("mlsysim", mlsysim),
    "ridgepoint": ("ridgepoint", ridgepoint),
}


def core_s(ask: Callable[[int, int, int], Any]) -> float:
    """Processor time of one question, of those that differ from each other, as a tool may keep its answers.

    The best of several runs of many questions, as ours is the best of several sweeps: other work on the machine makes
    all of them slower.
    """
    asked = ((1 + i % 64, 128 + 16 * (i % 97), 2 + i % 300) for i in itertools.count())
    ask(*next(asked))
    start = time.process_time()
    ask(*next(asked))
    several = max(2, min(2000, int(0.2 / max(time.process_time() - start, 1e-6))))
    means = []
    for _ in range(5):
        questions = list(itertools.islice(asked, several))
        begun = time.process_time()
        for question in questions:
            ask(*question)
        means.append((time.process_time() - begun) / several)
    return min(means)


def main(tool: str) -> None:
    logging.disable(logging.CRITICAL)
    distribution, make = TOOLS[tool]
    version = importlib.metadata.version(distribution)
    asks = {chip: make(chip) for chip in CHIPS}
    answers = {chip: ask(BATCH, PROMPT, OUTPUT) for chip, ask in asks.items()}
    timed = getattr(asks["h100"], "timed", asks["h100"])
    print(json.dumps({"version": version, "core_s": core_s(timed), "answers": answers}))


if __name__ == "__main__":
    main(sys.argv[1])
