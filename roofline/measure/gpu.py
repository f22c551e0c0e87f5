"""The PyTorch backend: a GPU, timed with device events; or PyTorch on a processor.

The state of the caches is the one that :mod:`roofline.measure.cpu` describes. Working sets below what a launch costs
cannot be told apart by library calls: streams are replayed as a graph to bring that cost down, and levels inside the
last-level cache are not measured.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.units import DTYPE_BYTES
from roofline.measure import system
from roofline.measure.backend import REFERENCE, TOLERANCE, CannotMeasure, Prepared, Probe, ring_count
from roofline.measure.suites import Case, stream_sizes
from roofline.measure.system import Cache, System
from roofline.measure.timing import Timing, on_host, relative_error, summary, zipf

_CHECKED = 8  # rows of an output that are compared with the reference
_GRAPH = 20  # calls of a stream in one graph

#: Dtypes of each operator class, where it is not any float.
_FLOATS = ("fp32", "bf16", "fp16")
_DTYPES = {"gemm": ("fp64", "fp32", "tf32", "bf16", "fp16", "fp8"), "embedding_bag": ("fp32", "bf16", "fp16", "int8")}


class Torch:
    """A device through PyTorch.

    Parameters
    ----------
    device : str
        ``"cuda"`` or ``"cpu"``.

    Raises
    ------
    BadWorkload
        When PyTorch is not installed or sees no such device.
    """

    framework = "torch"

    def __init__(self, device: str = "cuda", seed: int = 0) -> None:
        try:
            import torch
        except ImportError:
            raise BadWorkload("measuring through PyTorch needs it: pip install 'roofline[gpu]'") from None
        if device == "cuda" and not torch.cuda.is_available():
            raise BadWorkload(f"torch {torch.__version__} sees no GPU")
        self.torch, self.device, self.cuda = torch, device, device == "cuda"
        self.name, self.kind = f"torch-{device}", "gpu" if self.cuda else "cpu"
        self.version = str(torch.__version__)
        self.devices = torch.cuda.device_count() if self.cuda else 1
        self.random = np.random.default_rng(seed)
        torch.manual_seed(seed)
        torch.set_grad_enabled(False)
        self.types = {"fp64": torch.float64, "fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16,
                      "fp16": torch.float16, "fp8": torch.float8_e4m3fn, "int8": torch.int8}  # fmt: skip
        self.system = self._gpu() if self.cuda else _with(system.host(), torch=self.version)
        self.cache_bytes = self.system.cache_bytes or 32 * 2.0**20
        # On a GPU nothing between the cores and the last-level cache keeps a tensor from one call to the next.
        self.private_bytes = 2.0**22 if self.cuda else max(3 * self.system.private_bytes, 2.0**22)
        self._pools: dict[str, Any] = {}

    def _gpu(self) -> System:
        torch = self.torch
        properties = torch.cuda.get_device_properties(0)
        runtime = f"rocm {torch.version.hip}" if torch.version.hip else f"cuda {torch.version.cuda}"
        clock = float(getattr(properties, "clock_rate", 0)) * 1e3
        l2 = float(getattr(properties, "L2_cache_size", 0))
        return System(
            title=properties.name, vendor="AMD" if torch.version.hip else "NVIDIA",
            core_name="CU" if torch.version.hip else "SM", cores=int(properties.multi_processor_count),
            caches=(Cache("l2", l2, False),) if l2 else (), memory_bytes=float(properties.total_memory),
            clock_hz=clock, software={**system.software(), "torch": self.version, "runtime": runtime},
        )  # fmt: skip

    # Buffers ----------------------------------------------------------------------------------------------------

    def pool(self, dtype: str, elements: int) -> Any:
        """At least so many random elements."""
        size = DTYPE_BYTES[dtype]
        if elements * size > 0.4 * self.system.memory_bytes:
            raise CannotMeasure(f"needs {elements * size / 2**30:.1f} GiB of buffers")
        have = self._pools.get(dtype)
        if have is None or have.numel() < elements:
            self._pools.pop(dtype, None)
            if elements * size + sum(p.nbytes for p in self._pools.values()) > 0.5 * self.system.memory_bytes:
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

    def ring(self, dtype: str, shape: tuple[int, ...], span_bytes: float) -> list[Any]:
        """Views of random numbers, so many that `span_bytes` pass before one comes again."""
        elements = math.prod(shape)
        count = ring_count(elements * DTYPE_BYTES[dtype], span_bytes, 4096)
        pool = self.pool(dtype, elements * count)
        return [pool[i * elements : (i + 1) * elements].view(shape) for i in range(count)]

    def outputs(self, dtype: str, shape: tuple[int, ...], count: int = 1) -> list[Any]:
        """Buffers to write, poisoned."""
        if count * math.prod(shape) * DTYPE_BYTES[dtype] > 0.3 * self.system.memory_bytes:
            raise CannotMeasure("its outputs would fill the memory")
        return [self.torch.full(shape, math.nan, dtype=self.types[dtype], device=self.device) for _ in range(count)]

    def flush(self) -> None:
        """Pass more than the last-level cache holds."""
        pool = self._pools.get("flush")
        if pool is None:
            pool = self._pools["flush"] = self.torch.ones(int(2.0 * self.cache_bytes) // 4, device=self.device)
        pool.mul_(1.0)

    def numbers(self, tensor: Any) -> Any:
        """A tensor as float64 on the host."""
        return tensor.to(self.torch.float64).cpu().numpy()

    def indices(self, rows: int, skew: float, shape: tuple[int, ...]) -> Any:
        """Random row numbers, int64, on the device."""
        return self.torch.from_numpy(np.ascontiguousarray(zipf(self.random, rows, skew, shape), dtype=np.int64)).to(
            self.device
        )

    # Timing -----------------------------------------------------------------------------------------------------

    def time(self, prepared: Prepared, budget_s: float) -> Timing:
        """Time one call: device events on a GPU, the host clock on a processor."""
        flush = self.flush if prepared.flush else None
        if not self.cuda:
            return on_host(prepared.run, budget_s, flush)
        torch = self.torch
        for i in range(3):
            prepared.run(i)
        torch.cuda.synchronize()
        once = self._events(prepared.run, 3, 5, 1, flush)
        calls = 1 if flush else max(1, int(np.ceil(200e-6 / max(float(np.median(once)), 1e-7))))
        count = int(np.clip(budget_s / max(float(np.median(once)) * calls, 1e-6), 10, 200))
        return summary(self._events(prepared.run, 8, count, calls, flush), calls)

    def _events(
        self, run: Callable[[int], Any], number: int, count: int, calls: int, flush: Callable[[], None] | None
    ) -> list[float]:
        """Times of one call (s): `count` samples of `calls` calls, queued without waiting between them."""
        make = functools.partial(self.torch.cuda.Event, enable_timing=True)
        pairs = [(make(), make()) for _ in range(count)]
        for begin, end in pairs:
            if flush:
                flush()
            begin.record()
            for i in range(number, number + calls):
                run(i)
            end.record()
            number += calls
        self.torch.cuda.synchronize()
        return [begin.elapsed_time(end) * 1e-3 / calls for begin, end in pairs]

    def _best(self, run: Callable[[], Any], repeats: int, calls: int = 1) -> tuple[float, list[float]]:
        """The shortest time of a call (s) and all samples, each of `calls` calls; a graph of them on a GPU."""
        if not self.cuda:
            timing = [on_host(lambda _: run(), 0.0, least=repeats).low_s for _ in range(2)]
            return min(timing), timing
        torch = self.torch
        for _ in range(3):
            run()
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            for _ in range(calls):
                run()
        graph.replay()
        samples = [s / calls for s in self._events(lambda _: graph.replay(), 0, repeats, 1, None)]
        return min(samples), samples

    # Ceilings ---------------------------------------------------------------------------------------------------

    def probes(self, size: str, names: tuple[str, ...] = ()) -> Iterator[Callable[[], list[Probe]]]:
        """Steps of work that each measure a few ceilings."""
        wanted = names or ("launch", "peak", "bandwidth", "host_copy")
        repeats = {"tiny": 2, "quick": 5, "full": 15}[size]
        edges = {"tiny": (128,), "quick": (1024, 2048), "full": (1024, 2048, 3072)}[size]
        if self.cuda and size != "tiny":
            edges = (4096, 8192)
        sets = stream_sizes(self.cache_bytes, self.system.memory_bytes, size)
        if self.cuda:
            sets = [s for s in sets if s >= 2**20] or sets
        dtypes = ("fp32", "tf32", "bf16", "fp16", "fp8") if self.cuda else ("fp32", "bf16")
        for _ in range(1 if size == "tiny" else 2):
            if "launch" in wanted:
                yield self._launch
            if "peak" in wanted:
                for dtype in dtypes:
                    for edge in edges:
                        yield functools.partial(self._peak, dtype, edge, repeats)
            if "bandwidth" in wanted:
                for working_set in sets:
                    yield functools.partial(self._bandwidth, working_set, repeats)
        if "main" in wanted:
            yield functools.partial(self._bandwidth, sets[-1], repeats)
        if "host_copy" in wanted and self.cuda:
            yield self._host_copy

    def _launch(self) -> list[Probe]:
        x = self.torch.zeros(1, device=self.device)
        low, samples = self._best(lambda: x.add_(1.0), 20, 100)
        return [Probe("launch", "", "", 0, low, float(np.median(samples)), len(samples))]

    def _peak(self, dtype: str, edge: int, repeats: int) -> list[Probe]:
        try:
            run = self._product(edge, edge, edge, dtype, 0.0, 1)[0]
            low, samples = self._best(lambda: run(0), repeats)
        except (CannotMeasure, RuntimeError):  # the device has no such arithmetic
            return []
        flops = 2.0 * edge**3
        return [Probe("peak", f"gemm {edge}", dtype, int(3 * edge**2 * DTYPE_BYTES[dtype]), flops / low,
                      flops / float(np.median(samples)), len(samples))]  # fmt: skip

    def _bandwidth(self, working_set: int, repeats: int) -> list[Probe]:
        torch, n = self.torch, working_set // 4
        x = torch.ones(n, device=self.device)
        half, third = n // 2, n // 3
        p, q = x[:half], x[half : 2 * half]
        a, b, c = x[:third], x[third : 2 * third], x[2 * third : 3 * third]
        total = torch.zeros((), device=self.device)
        bytes_of: dict[str, tuple[int, Callable[[], Any]]] = {
            "read": (4 * n, lambda: torch.sum(x, dim=0, out=total)),
            "write": (4 * n, lambda: x.fill_(1.0)),
            "copy": (8 * half, lambda: p.copy_(q)),
            "triad": (12 * third, lambda: torch.add(b, c, alpha=0.5, out=a)),
        }
        probes = []
        for mode, (moved, run) in bytes_of.items():
            low, samples = self._best(run, repeats, _GRAPH)
            probes.append(Probe("bandwidth", mode, "fp32", working_set, moved / low,
                                moved / float(np.median(samples)), len(samples)))  # fmt: skip
        return probes

    def _host_copy(self, size: int = 2**28) -> list[Probe]:
        torch = self.torch
        source = torch.ones(size // 4).pin_memory()
        target = torch.empty(size // 4, device=self.device)
        samples = self._events(lambda _: target.copy_(source, non_blocking=True), 0, 10, 1, None)
        return [Probe("host_copy", "to the device", "", size, size / min(samples), size / float(np.median(samples)),
                      len(samples))]  # fmt: skip

    # Operators --------------------------------------------------------------------------------------------------

    def prepare(self, case: Case) -> Prepared:
        """Buffers, a way to run and a way to check a case; see :class:`~roofline.measure.backend.Backend`."""
        options = {k: v for k, v in case.items() if k != "op"}
        op, dtype = case["op"], options.get("dtype", "fp32")
        makers: dict[str, Callable[..., Prepared]] = {
            "gemm": self._gemm, "attention": self._attention, "embedding_bag": self._bag,
            "token_embedding": self._gather,
        }  # fmt: skip
        if dtype not in _DTYPES.get(op, _FLOATS):
            raise CannotMeasure(f"PyTorch has no {dtype} {op}")
        try:
            if op in makers:
                return makers[op](**options)
            return self._rowwise(op, **options)
        except (RuntimeError, NotImplementedError) as error:  # out of memory; no such kernel on this device
            self._pools.clear()
            raise CannotMeasure(f"{op} {dtype}: {str(error).splitlines()[0][:120]}") from None

    def _product(self, m: int, n: int, k: int, dtype: str, span: float, sets: int) -> tuple[Any, Any, Any, Any]:
        """A product of call i, and its rings of A, B (as [n, k]) and C."""
        torch = self.torch
        width = DTYPE_BYTES[dtype]
        a, b = self.ring(dtype, (m, k), sets * m * k * width), self.ring(dtype, (n, k), span)
        if dtype == "fp8":
            if m % 16 or n % 16 or k % 16:
                raise CannotMeasure("torch._scaled_mm wants sizes that are multiples of 16")
            c = self.outputs("bf16", (m, n), sets)
            one = torch.ones((), device=self.device)

            def scaled(i: int) -> None:
                torch._scaled_mm(a[i % len(a)], b[i % len(b)].t(), scale_a=one, scale_b=one, out_dtype=torch.bfloat16,
                                 out=c[i % sets])  # fmt: skip

            return scaled, a, b, c
        c = self.outputs(dtype, (m, n), sets)

        def run(i: int) -> None:
            torch.matmul(a[i % len(a)], b[i % len(b)].t(), out=c[i % sets])

        return run, a, b, c

    def _gemm(self, m: int, n: int, k: int, dtype: str = "bf16", reuse: bool = False) -> Prepared:
        self.torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
        sets = 1 if reuse else ring_count(DTYPE_BYTES[dtype] * (m * k + k * n + m * n), self.private_bytes, 64)
        run, a, b, c = self._product(m, n, k, dtype, 0.0 if reuse else 2.0 * self.cache_bytes, sets)

        def check() -> float:
            c[0].fill_(math.nan)
            run(0)
            some = self.torch.from_numpy(self.random.integers(0, m, _CHECKED)).to(self.device)
            wanted = self.numbers(a[0][some]) @ self.numbers(b[0]).T
            return relative_error(self.numbers(c[0][some]), wanted)

        return Prepared(run, check, TOLERANCE[dtype])

    def _attention(self, batch: int, heads: int, kv_heads: int, head_dim: int, q_len: int, kv_len: int,
                   dtype: str = "bf16") -> Prepared:  # fmt: skip
        attend = self.torch.nn.functional.scaled_dot_product_attention
        keys = self.ring(dtype, (2, batch, kv_heads, kv_len, head_dim), 2.0 * self.cache_bytes)
        queries = self.ring(dtype, (batch, heads, q_len, head_dim), self.private_bytes)
        kept: list[Any] = [None]

        def run(i: int) -> None:
            k, v = keys[i % len(keys)]
            kept[0] = attend(queries[i % len(queries)], k, v, is_causal=q_len > 1, enable_gqa=heads != kv_heads)

        def check() -> float:
            run(0)
            worst = 0.0
            for b, h, row in self.random.integers(0, [batch, heads, q_len], (4, 3)):
                seen = kv_len - q_len + row + 1
                q = self.numbers(queries[0][b, h, row])
                k, v = (self.numbers(t[b, h // (heads // kv_heads), :seen]) for t in keys[0])
                s = k @ q / math.sqrt(head_dim)
                p = np.exp(s - s.max())
                worst = max(worst, relative_error(self.numbers(kept[0][b, h, row]), p / p.sum() @ v))
            return worst

        return Prepared(run, check, TOLERANCE[dtype])

    def _bag(self, tables: int, rows: int, dim: int, pooling: int, batch: int, skew: float = 0.0,
             dtype: str = "fp32", reuse: bool = False) -> Prepared:  # fmt: skip
        torch = self.torch
        if tables * batch * max(pooling, dim) > (2**30 if self.cuda else 2**26):
            raise CannotMeasure(f"{tables * batch * pooling:,} lookups a call")
        # Tables of one shape are rows of one table: the same lines of memory are touched.
        table = self.ring(dtype, (tables * rows, dim), 0.0)[0]
        shift = torch.arange(tables, device=self.device)[:, None, None] * rows
        sets = 1 if reuse else 4
        indices = [
            (self.indices(rows, skew, (tables, batch, pooling)) + shift).view(tables * batch, pooling)
            for _ in range(sets)
        ]
        kept: list[Any] = [None]
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
                rows_of = self.numbers(table[indices[0][bag]])
                if scales is not None:
                    rows_of = rows_of * self.numbers(scales[indices[0][bag]])
                worst = max(worst, relative_error(self.numbers(kept[0][bag]), rows_of.sum(axis=0)))
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
        table = self.ring(dtype, (table_rows, cols), 0.0)[0]
        indices = [self.indices(table_rows, 0.0, (rows,)) for _ in range(4)]
        out = self.outputs(dtype, (rows, cols))[0]

        def run(i: int) -> None:
            self.torch.index_select(table, 0, indices[i % 4], out=out)

        def check() -> float:
            out.fill_(math.nan)
            run(0)
            return relative_error(self.numbers(out[:1000]), self.numbers(table[indices[0][:1000]]))

        return Prepared(run, check, 0.0, flush=True)

    def _rowwise(self, op: str, rows: int, cols: int, dtype: str = "bf16") -> Prepared:
        torch = self.torch
        functional = torch.nn.functional
        ones = torch.ones(cols, dtype=self.types[dtype], device=self.device)
        known: dict[str, tuple[int, Callable[[Any, Any], Any]]] = {
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
        ring = self.ring(dtype, (reads, rows, cols), sets * width * reads * rows * cols)
        outputs = self.outputs(dtype, (rows, cols), sets)
        kept: list[Any] = [None]

        def run(i: int) -> None:
            kept[0] = function(ring[i % len(ring)], outputs[i % sets])

        def check() -> float:
            outputs[0].fill_(math.nan)
            run(0)
            some = self.torch.from_numpy(self.random.integers(0, rows, _CHECKED)).to(self.device)
            x = self.numbers(ring[0][:, some])
            return relative_error(self.numbers(kept[0][some]), REFERENCE[op](x))

        return Prepared(run, check, TOLERANCE[dtype])


def _with(host: System, **software: str) -> System:
    return dataclasses.replace(host, software={**host.software, **software})
