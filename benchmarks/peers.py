"""The same question put to comparable tools, in one run: ``python benchmarks/peers.py > docs/peers.md``.

Every peer that is installed is asked here, in a process of its own; of one that is not this says so on stderr, and how
to get it. What they require does not go together: ``--python`` names the interpreter of an environment that has them.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import fused
import speed
from peer import BATCH, OUTPUT, PROMPT, TOOLS, core_s

import roofline as rl

HERE = Path(__file__).parent

#: Of each peer: what it does, and what is to be known of its answer.
METHODS = {
    "aiconfigurator": "interpolates measured kernels (TensorRT-LLM), in Rust; Llama-3.1-70B",
    "GenZ": "roofline",
    "llm-analysis": "formula",
    "servcalc": "roofline; one chip with the sum of eight",
    "mlsysim": "formula; one chip with the sum of eight",
    "ridgepoint": "formula, in Rust; one request, Llama-3-70B",
}

#: Not to be had by pip: tool, method, and what it printed in November 2026: ms on eight H100, and on eight A100.
READ = [
    ("aiconfigurator 0.12, speed of light", "roofline", (1034, 5.87), (2533, 9.62)),
    ("LLM-Viewer", "roofline; one chip with the sum of eight", (700, 6.11), (1998, 9.21)),
    ("Calculon", "formula", (1814, None), (4179, None)),
]


class Row(NamedTuple):
    """A line of the table."""

    tool: str
    method: str
    core_s: float | None  # processor time of a prefill and a decode step
    h100_ms: tuple[float | None, float | None]  # prefill, decode step
    a100_ms: tuple[float | None, float | None]


def ours() -> list[Row]:
    """One estimate alone, with its breakdown, and what it says."""
    asked: dict[str, Any] = {"tp": 8, "batch": BATCH, "prompt": PROMPT, "output": OUTPUT}
    h100, a100 = (rl.estimate("llama-2-70b", chip, **asked) for chip in ("h100-sxm", "a100-sxm-80gb"))
    kinds = (
        ("expected", "operator costs", "time_s"),
        ("lower bound", "ideal times", "lower_s"),
        ("upper bound", "nothing overlapped", "upper_s"),
    )
    return [
        Row(
            f"roofline {rl.__version__}, {kind}",
            method,
            one_estimate() if kind == "expected" else None,
            *((1e3 * getattr(e.prefill, name), 1e3 * getattr(e.decode, name)) for e in (h100, a100)),
        )
        for kind, method, name in kinds
    ]


def one_estimate() -> float:
    """Processor time (s) of one estimate of a model and a chip at hand."""
    model, chip = rl.load_model("llama-2-70b"), rl.load_chip("h100-sxm")

    def ask(batch: int, prompt: int, output: int) -> float:
        est = rl.estimate(model, chip, tp=8, batch=batch, prompt=prompt, output=output)
        return float(est.ttft_s + est.tpot_s)

    return core_s(ask)


def asked(tool: str, python: str) -> Row | None:
    """What an installed peer says; None, and a word on stderr, where it is not."""
    distribution, _ = TOOLS[tool]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, str(HERE / "peer.py"), tool], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        why = (done.stderr.strip().splitlines() or ["no word"])[-1]
        print(f"{tool}: left out ({why}); pip install {distribution}", file=sys.stderr)
        return None
    found = json.loads(done.stdout.strip().splitlines()[-1])
    h100, a100 = (tuple(None if s is None else 1e3 * s for s in found["answers"][chip]) for chip in ("h100", "a100"))
    return Row(f"{tool} {found['version']}", METHODS[tool], found["core_s"], h100, a100)  # type: ignore[arg-type]


def line(row: Row, base_s: float) -> str:
    """A row as Markdown, with how many of our points its time is worth."""
    cells = [" / ".join("-" if v is None else f"{v:.4g}" for v in pair) for pair in (row.h100_ms, row.a100_ms)]
    time_us = "" if row.core_s is None else f"{1e6 * row.core_s:,.3g}"
    ratio = "" if row.core_s is None else f"{row.core_s / base_s:,.0f}x"
    return f"| {row.tool} | {row.method} | {time_us} | {ratio} | {cells[0]} | {cells[1]} |"


def main(python: str) -> None:
    tree = str(HERE.parent)
    for name in ("decode_steps", "whole_estimates"):  # to keep what is compiled
        speed.in_process(name, False, tree)
    steps, whole = (
        min(speed.in_process(n, False, tree) for _ in range(3)) for n in ("decode_steps", "whole_estimates")
    )
    machine = f"{os.cpu_count()} shared cores, Python {platform.python_version()}"
    versions = ", ".join(f"{n} {importlib.metadata.version(n)}" for n in ("numpy", "numba"))
    rows = [*ours(), *(row for row in (asked(tool, python) for tool in TOOLS) if row)]
    peers = [row for row in rows[3:] if row.core_s is not None]
    print(f"""# The same question put to comparable tools

Written by `python benchmarks/peers.py > docs/peers.md` on {time.strftime("%d %B %Y")}, in one run on one machine
({machine}, {versions}). Peers that pip installs were asked then and there, each in
a process of its own; the rest of the table is what they printed in November 2026. None of it is a measurement of an
accelerator; aiconfigurator interpolates measured kernels and is the nearest to one.

## What they say, and how long one answer takes

Llama-2-70B, bf16, TP8, batch {BATCH}, prompt {PROMPT}, output {OUTPUT}, on eight H100 SXM and eight A100 SXM (80 GB):
prefill and a decode step in ms. The time is the processor's for a prefill and a decode step, of sizes that differ from
question to question, asked one by one in Python, everything loaded before; the ratio is that to a point of one of our
grids, below.

| tool | method | core-us a question | to a point of ours | H100 prefill / decode | A100 prefill / decode |
| --- | --- | ---: | ---: | ---: | ---: |""")
    for row in [*rows, *(Row(tool, method, None, *pairs) for tool, method, *pairs in READ)]:  # type: ignore[arg-type]
        print(line(row, 1e-9 * whole))
    print(f"""
## A million points

| over 1000 x 1000 batches and contexts, Llama-70B | core-ns a point |
| --- | ---: |
| ours, whole estimates: prefill, decode, bounds, what fits | {whole:.3g} |
| ours, a decode step: every operator, lower and upper bound, what bounds it | {steps:.3g} |
| fused by hand: ideal rooflines of the same operators, the time alone (`benchmarks/fused.py`) | {fused.core_ns():.3g} |
""")
    for what, some in (
        ("that answers for a batch", [row for row in peers if "one request" not in row.method]),
        ("of all, a formula for one request", [row for row in peers if "one request" in row.method]),
    ):
        if some:
            fastest = min(some, key=lambda row: row.core_s or 0.0)
            ratio = 1e9 * (fastest.core_s or 0.0) / whole
            print(f"- The fastest peer {what}, {fastest.tool}, takes {ratio:.0f} times as long as a point of ours.")
    print("- None of them answers for an array at once.")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="an interpreter that has the peers installed")
    main(parser.parse_args().python)
