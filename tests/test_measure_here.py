"""Measuring the machine at hand, on a tiny grid. No test asserts a speed."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from roofline.base.errors import BadWorkload
from roofline.catalog import load as catalog
from roofline.measure import backend, measure, suites
from roofline.measure.backend import CannotMeasure
from roofline.measure.cpu import Cpu

torch_here = importlib.util.find_spec("torch") is not None


def test_this_processor_on_a_tiny_grid(tmp_path: Path) -> None:
    result = measure(
        using=Cpu(threads=1),
        out=tmp_path,
        name="here",
        size="tiny",
        names=("gemm", "attention", "gather", "elementwise"),
    )
    chip = catalog.load_chip(result.files["descriptor"])
    assert chip.status == "shipping"
    # On a busy machine the ceilings come out too low, and true rows are refused: that is no fault of theirs.
    rows = pd.concat([result.table, result.refused])
    wanted = {"gemm", "attention", "token_embedding", "elementwise", "rms_norm", "softmax"}
    assert wanted <= set(rows["op"]), result.left_out
    assert (rows["time_s"] > 0).all()
    assert (rows["error"] < 1e-4).all()
    assert result.validation["before"].notna().all()


@pytest.mark.parametrize(
    "case",
    [
        {"op": "gemm", "m": 7, "n": 33, "k": 65, "dtype": "fp64"},
        {"op": "attention", "batch": 2, "heads": 4, "kv_heads": 2, "head_dim": 16, "q_len": 300, "kv_len": 300},
        {"op": "attention", "batch": 2, "heads": 6, "kv_heads": 2, "head_dim": 16, "q_len": 1, "kv_len": 77},
        {"op": "embedding_bag", "tables": 2, "rows": 1000, "dim": 12, "pooling": 5, "batch": 9, "dtype": "int8"},
        {"op": "embedding_bag", "tables": 2, "rows": 1000, "dim": 12, "pooling": 5, "batch": 9, "skew": 1.2},
        {"op": "silu_mul", "rows": 5, "cols": 40},
        {"op": "layer_norm", "rows": 5, "cols": 40},
    ],
    ids=lambda case: f"{case['op']}-{case.get('dtype', 'fp32')}-{case.get('q_len', '')}",
)
def test_what_is_timed_is_right(case: suites.Case) -> None:
    processor = Cpu(threads=1)
    processor.cache_bytes = processor.private_bytes = 2.0**20
    prepared = processor.prepare(case)
    assert prepared.check() <= prepared.tolerance
    timed = processor.time(prepared, 0.001)
    assert 0 < timed.low_s <= timed.median_s


def test_a_processor_says_what_it_cannot_measure() -> None:
    with pytest.raises(CannotMeasure, match="bf16"):
        Cpu(threads=1).prepare({"op": "gemm", "m": 8, "n": 8, "k": 8, "dtype": "bf16"})


@pytest.mark.skipif(not torch_here, reason="PyTorch is not installed: pip install torch")
def test_pytorch_on_a_tiny_grid(tmp_path: Path) -> None:
    import torch

    torch.set_num_threads(1)
    result = measure("cpu", engine="torch", out=tmp_path, name="here", size="tiny", names=("gemm", "elementwise"))
    assert set(result.table["framework"]) == {"torch"}
    assert "torch" in catalog.load_chip(result.files["descriptor"]).note
    found = backend("cpu", "torch")
    for dtype, q_len in (("bf16", 1), ("fp32", 32)):
        prepared = found.prepare(
            {
                "op": "attention",
                "batch": 2,
                "heads": 4,
                "kv_heads": 2,
                "head_dim": 32,
                "q_len": q_len,
                "kv_len": 32,
                "dtype": dtype,
            }
        )
        assert prepared.check() <= prepared.tolerance


@pytest.mark.skipif(torch_here, reason="PyTorch is installed")
def test_a_gpu_without_pytorch_says_what_to_install() -> None:
    with pytest.raises(BadWorkload, match="pip install torch"):
        backend("cuda")
