"""Operators through PyTorch: buffers of random numbers, a call to run and a check against a reference in float64."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from roofline.base.units import DTYPE_BYTES
from roofline.measure.backend import REFERENCE, TOLERANCE, CannotMeasure, Prepared, ring_count
from roofline.measure.suites import Case
from roofline.measure.timing import relative_error, zipf

#: A tensor of PyTorch, which need not be installed; and a call of what is timed.
Tensor: TypeAlias = Any
Run: TypeAlias = Callable[[int], Tensor]

_CHECKED = 8  # rows of an output that are compared with the reference

#: Dtypes of each operator class, where it is not any float.
_FLOATS = ("fp32", "bf16", "fp16")
_DTYPES = {"gemm": ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8"), "embedding_bag": ("fp32", "bf16", "fp16", "int8")}


class Buffers:
    """Tensors on a device that calls are cycled through.

    Parameters
    ----------
    torch : module
    device : str
    memory_bytes, cache_bytes : float
        Of the device; the last-level cache.
    seed : int
    """

    def __init__(self, torch: ModuleType, device: str, memory_bytes: float, cache_bytes: float, seed: int) -> None:
        self.torch, self.device = torch, device
        self.memory_bytes, self.cache_bytes = memory_bytes, cache_bytes
        self.random = np.random.default_rng(seed)
        self.types = {
            "fp64": torch.float64,
            "fp32": torch.float32,
            "tf32": torch.float32,
            "bf16": torch.bfloat16,
            "fp16": torch.float16,
            "fp8": torch.float8_e4m3fn,
            "int8": torch.int8,
        }
        self._pools: dict[str, Any] = {}

    def clear(self) -> None:
        """Give all of them back."""
        self._pools.clear()

    def pool(self, dtype: str, elements: int) -> Tensor:
        """At least so many random elements."""
        size = DTYPE_BYTES[dtype]
        if elements * size > 0.4 * self.memory_bytes:
            raise CannotMeasure(f"needs {elements * size / 2**30:.1f} GiB of buffers")
        have = self._pools.get(dtype)
        if have is None or have.numel() < elements:
            self._pools.pop(dtype, None)
            if elements * size + sum(p.nbytes for p in self._pools.values()) > 0.5 * self.memory_bytes:
                self._pools.clear()
            block = max(1, min(elements, 2**24))
            kind = self.types[dtype]
            if dtype == "int8":
                random = self.torch.randint(-127, 128, (block,), dtype=kind, device=self.device)
            else:
                random = self.torch.randn(block, device=self.device).to(kind)
            have = self.torch.empty(-(-elements // block) * block, dtype=kind, device=self.device)
            for start in range(0, have.numel(), block):
                have[start : start + block].copy_(random)
            self._pools[dtype] = have
        return have

    def ring(self, dtype: str, shape: tuple[int, ...], span_bytes: float) -> list[Tensor]:
        """Views of random numbers, so many that `span_bytes` pass before one comes again."""
        elements = math.prod(shape)
        count = ring_count(elements * DTYPE_BYTES[dtype], span_bytes, 4096)
        pool = self.pool(dtype, elements * count)
        return [pool[i * elements : (i + 1) * elements].view(shape) for i in range(count)]

    def outputs(self, dtype: str, shape: tuple[int, ...], count: int = 1) -> list[Tensor]:
        """Buffers to write, poisoned."""
        if count * math.prod(shape) * DTYPE_BYTES[dtype] > 0.3 * self.memory_bytes:
            raise CannotMeasure("its outputs would fill the memory")
        return [self.torch.full(shape, math.nan, dtype=self.types[dtype], device=self.device) for _ in range(count)]

    def flush(self) -> None:
        """Pass more than the last-level cache holds."""
        pool = self._pools.get("flush")
        if pool is None:
            pool = self._pools["flush"] = self.torch.ones(int(2.0 * self.cache_bytes) // 4, device=self.device)
        pool.mul_(1.0)

    def numbers(self, tensor: Tensor) -> Any:
        """A tensor as float64 on the host."""
        return tensor.to(self.torch.float64).cpu().numpy()

    def indices(self, rows: int, skew: float, shape: tuple[int, ...]) -> Tensor:
        """Random row numbers, int64, on the device."""
        return self.torch.from_numpy(np.ascontiguousarray(zipf(self.random, rows, skew, shape), dtype=np.int64)).to(
            self.device
        )


class Operators:
    """Operators on the buffers of a device.

    Parameters
    ----------
    buffers : Buffers
    cuda : bool
    private_bytes : float
        What must pass before a core's own caches have forgotten a tensor.
    """

    def __init__(self, buffers: Buffers, cuda: bool, private_bytes: float) -> None:
        self.buffers, self.cuda, self.private_bytes = buffers, cuda, private_bytes
        self.torch, self.device, self.random = buffers.torch, buffers.device, buffers.random

    def prepare(self, case: Case) -> Prepared:
        """Buffers, a way to run and a way to check a case; see :class:`~roofline.measure.backend.Backend`."""
        options = {k: v for k, v in case.items() if k != "op"}
        op, dtype = case["op"], options.get("dtype", "fp32")
        makers: dict[str, Callable[..., Prepared]] = {
            "gemm": self._gemm,
            "attention": self._attention,
            "embedding_bag": self._bag,
            "token_embedding": self._gather,
        }
        if dtype not in _DTYPES.get(op, _FLOATS):
            raise CannotMeasure(f"PyTorch has no {dtype} {op}")
        try:
            if op in makers:
                return makers[op](**options)
            return self._rowwise(op, **options)
        except (RuntimeError, NotImplementedError) as error:  # out of memory; no such kernel on this device
            self.buffers.clear()
            raise CannotMeasure(f"{op} {dtype}: {str(error).splitlines()[0][:120]}") from None

    def product(self, m: int, n: int, k: int, dtype: str, span: float, sets: int) -> tuple[Run, Tensor, Tensor, Tensor]:
        """A product of call i, and its rings of A, B (as [n, k]) and C."""
        torch = self.torch
        width = DTYPE_BYTES[dtype]
        a, b = self.buffers.ring(dtype, (m, k), sets * m * k * width), self.buffers.ring(dtype, (n, k), span)
        if dtype == "fp8":
            if m % 16 or n % 16 or k % 16:
                raise CannotMeasure("torch._scaled_mm wants sizes that are multiples of 16")
            c = self.buffers.outputs("bf16", (m, n), sets)
            one = torch.ones((), device=self.device)

            def scaled(i: int) -> None:
                torch._scaled_mm(
                    a[i % len(a)],
                    b[i % len(b)].t(),
                    scale_a=one,
                    scale_b=one,
                    out_dtype=torch.bfloat16,
                    out=c[i % sets],
                )

            return scaled, a, b, c
        c = self.buffers.outputs(dtype, (m, n), sets)

        def run(i: int) -> None:
            torch.matmul(a[i % len(a)], b[i % len(b)].t(), out=c[i % sets])

        return run, a, b, c

    def _gemm(self, m: int, n: int, k: int, dtype: str = "bf16", reuse: bool = False) -> Prepared:
        self.torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
        sets = 1 if reuse else ring_count(DTYPE_BYTES[dtype] * (m * k + k * n + m * n), self.private_bytes, 64)
        run, a, b, c = self.product(m, n, k, dtype, 0.0 if reuse else 2.0 * self.buffers.cache_bytes, sets)

        def check() -> float:
            c[0].fill_(math.nan)
            run(0)
            some = self.torch.from_numpy(self.random.integers(0, m, _CHECKED)).to(self.device)
            wanted = self.buffers.numbers(a[0][some]) @ self.buffers.numbers(b[0]).T
            return relative_error(self.buffers.numbers(c[0][some]), wanted)

        return Prepared(run, check, TOLERANCE[dtype])

    def _attention(
        self, batch: int, heads: int, kv_heads: int, head_dim: int, q_len: int, kv_len: int, dtype: str = "bf16"
    ) -> Prepared:
        attend = self.torch.nn.functional.scaled_dot_product_attention
        keys = self.buffers.ring(dtype, (2, batch, kv_heads, kv_len, head_dim), 2.0 * self.buffers.cache_bytes)
        queries = self.buffers.ring(dtype, (batch, heads, q_len, head_dim), self.private_bytes)
        kept: list[Tensor] = [None]

        def run(i: int) -> None:
            k, v = keys[i % len(keys)]
            kept[0] = attend(queries[i % len(queries)], k, v, is_causal=q_len > 1, enable_gqa=heads != kv_heads)

        def check() -> float:
            run(0)
            worst = 0.0
            for b, h, row in self.random.integers(0, [batch, heads, q_len], (4, 3)):
                seen = kv_len - q_len + row + 1
                q = self.buffers.numbers(queries[0][b, h, row])
                k, v = (self.buffers.numbers(t[b, h // (heads // kv_heads), :seen]) for t in keys[0])
                s = k @ q / math.sqrt(head_dim)
                p = np.exp(s - s.max())
                worst = max(worst, relative_error(self.buffers.numbers(kept[0][b, h, row]), p / p.sum() @ v))
            return worst

        return Prepared(run, check, TOLERANCE[dtype])

    def _bag(
        self,
        tables: int,
        rows: int,
        dim: int,
        pooling: int,
        batch: int,
        skew: float = 0.0,
        dtype: str = "fp32",
        reuse: bool = False,
    ) -> Prepared:
        torch = self.torch
        if tables * batch * max(pooling, dim) > (2**30 if self.cuda else 2**26):
            raise CannotMeasure(f"{tables * batch * pooling:,} lookups a call")
        # Tables of one shape are rows of one table: the same lines of memory are touched.
        table = self.buffers.ring(dtype, (tables * rows, dim), 0.0)[0]
        shift = torch.arange(tables, device=self.device)[:, None, None] * rows
        sets = 1 if reuse else 4
        indices = [
            (self.buffers.indices(rows, skew, (tables, batch, pooling)) + shift).view(tables * batch, pooling)
            for _ in range(sets)
        ]
        kept: list[Tensor] = [None]
        if dtype == "int8":
            scales = torch.rand(tables * rows, 1, device=self.device)
            pooled = self._compiled("int8_bag", lambda t, s, i: (t[i].to(torch.float32) * s[i]).sum(1))
        else:
            scales = None

        def run(i: int) -> None:
            chosen = indices[i % sets]
            if scales is None:
                kept[0] = torch.nn.functional.embedding_bag(chosen, table, mode="sum")
            else:
                kept[0] = pooled(table, scales, chosen)

        def check() -> float:
            run(0)
            worst = 0.0
            for bag in self.random.integers(0, tables * batch, 4):
                rows_of = self.buffers.numbers(table[indices[0][bag]])
                if scales is not None:
                    rows_of = rows_of * self.buffers.numbers(scales[indices[0][bag]])
                worst = max(worst, relative_error(self.buffers.numbers(kept[0][bag]), rows_of.sum(axis=0)))
            return worst

        return Prepared(run, check, TOLERANCE["fp32" if dtype == "int8" else dtype], flush=not reuse)

    def _compiled(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """One kernel made of several operations, which eager PyTorch would run one by one; kept by name."""
        key = f"compiled {name}"
        if key not in self._kept:
            self._kept[key] = self.torch.compile(function, dynamic=True)
        found: Callable[..., Any] = self._kept[key]
        return found

    @functools.cached_property
    def _kept(self) -> dict[str, Any]:
        return {}

    def _gather(self, rows: int, cols: int, table_rows: int, dtype: str = "fp32") -> Prepared:
        table = self.buffers.ring(dtype, (table_rows, cols), 0.0)[0]
        indices = [self.buffers.indices(table_rows, 0.0, (rows,)) for _ in range(4)]
        out = self.buffers.outputs(dtype, (rows, cols))[0]

        def run(i: int) -> None:
            self.torch.index_select(table, 0, indices[i % 4], out=out)

        def check() -> float:
            out.fill_(math.nan)
            run(0)
            return relative_error(self.buffers.numbers(out[:1000]), self.buffers.numbers(table[indices[0][:1000]]))

        return Prepared(run, check, 0.0, flush=True)

    def _rowwise(self, op: str, rows: int, cols: int, dtype: str = "bf16") -> Prepared:
        torch = self.torch
        functional = torch.nn.functional
        ones = torch.ones(cols, dtype=self.buffers.types[dtype], device=self.device)
        known: dict[str, tuple[int, Callable[[Tensor, Tensor], Tensor]]] = {
            "elementwise": (1, lambda x, y: torch.mul(x[0], 1.5, out=y)),
            "residual_add": (2, lambda x, y: torch.add(x[0], x[1], out=y)),
            "softmax": (1, lambda x, y: torch.softmax(x[0], -1, out=y)),
            "rms_norm": (1, lambda x, y: functional.rms_norm(x[0], (cols,), ones, 1e-5)),
            "layer_norm": (1, lambda x, y: functional.layer_norm(x[0], (cols,), ones, ones, 1e-5)),
        }
        if op == "silu_mul":
            fused = self._compiled("silu_mul", lambda a, b: functional.silu(a) * b)
            known[op] = (2, lambda x, y: fused(x[0], x[1]))
        if op not in known:
            raise CannotMeasure(f"no PyTorch call for {op}")
        reads, function = known[op]
        width = DTYPE_BYTES[dtype]
        sets = ring_count(width * rows * cols * (reads + 1), self.private_bytes, 256)
        ring = self.buffers.ring(dtype, (reads, rows, cols), sets * width * reads * rows * cols)
        outputs = self.buffers.outputs(dtype, (rows, cols), sets)
        kept: list[Tensor] = [None]

        def run(i: int) -> None:
            kept[0] = function(ring[i % len(ring)], outputs[i % sets])

        def check() -> float:
            outputs[0].fill_(math.nan)
            run(0)
            some = self.torch.from_numpy(self.random.integers(0, rows, _CHECKED)).to(self.device)
            x = self.buffers.numbers(ring[0][:, some])
            return relative_error(self.buffers.numbers(kept[0][some]), REFERENCE[op](x))

        return Prepared(run, check, TOLERANCE[dtype])
