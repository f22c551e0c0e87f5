"""The processor backend: numpy's BLAS for products, compiled loops for everything else.

The state of the caches is the one that the model assumes of a step: activations were just written and lie in the
last-level cache (the private caches have been passed since), weights, cached keys and table rows come from memory.
So activations are cycled through a ring larger than the private caches, weights and keys through one larger than the
last-level cache, and before each lookup all caches are emptied; with ``reuse`` the same buffers are used every time.
"""

from __future__ import annotations

import functools
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from roofline.kernels import bench
from roofline.kernels.bench import layers, stream
from roofline.measure import system
from roofline.measure.backend import REFERENCE, TOLERANCE, CannotMeasure, Prepared, Probe, ring_count
from roofline.measure.suites import Case, stream_sizes
from roofline.measure.timing import Timing, best, on_host, relative_error, zipf

_TYPES: dict[str, Any] = {"fp32": np.float32, "fp64": np.float64, "int8": np.int8}
_EPSILON = np.float32(1e-5)
_PIECE = 2**25  # bytes that one sample of a bandwidth passes over
_SAMPLES = 40  # of each bandwidth, at least
_CHECKED_ROWS = 8  # rows of an output that are compared with the reference: all of them would take longer than the run


class Cpu:
    """This machine's processor, through numpy and compiled loops.

    Parameters
    ----------
    seed : int, optional
        Of the random inputs.
    threads : int, optional
        Of the compiled loops; default: one a core. (The library behind numpy has its own setting.)
    """

    name, kind, framework, devices = "cpu", "cpu", "numpy", 1

    def __init__(self, seed: int = 0, threads: int = 0) -> None:
        self.system = system.host()
        self.version = np.__version__
        self.random = np.random.default_rng(seed)
        self.threads = bench.use_threads(threads or self.system.cores)
        self.cache_bytes = self.system.cache_bytes or 32 * 2.0**20
        self.private_bytes = max(3 * self.system.private_bytes, 2.0**22)
        self._pools: dict[str, Any] = {}
        self._sums = np.zeros(16 * max(self.threads, 1))

    # Buffers ----------------------------------------------------------------------------------------------------

    def pool(self, dtype: str, elements: int) -> Any:
        """At least so many random elements; one pool a dtype, grown when a case needs more."""
        kind = _TYPES[dtype]
        size = np.dtype(kind).itemsize
        if elements * size > 0.4 * self.system.memory_bytes:
            raise CannotMeasure(f"needs {elements * size / 2**30:.1f} GiB of buffers")
        have = self._pools.get(dtype)
        if have is None or have.size < elements:
            self._pools.pop(dtype, None)
            if elements * size + sum(p.nbytes for p in self._pools.values()) > 0.5 * self.system.memory_bytes:
                self._pools.clear()
            block = max(1, min(elements, 2**22))
            if dtype == "int8":
                random = self.random.integers(-127, 128, block, dtype=np.int8)
            else:
                random = self.random.standard_normal(block, dtype=kind)
            have = np.empty(-(-elements // block) * block, dtype=kind)
            have.reshape(-1, block)[:] = random
            self._pools[dtype] = have
        return have

    def ring(self, dtype: str, shape: tuple[int, ...], span_bytes: float) -> list[Any]:
        """Views of random numbers, so many that `span_bytes` pass before one comes again."""
        elements = math.prod(shape)
        count = ring_count(elements * np.dtype(_TYPES[dtype]).itemsize, span_bytes)
        pool = self.pool(dtype, elements * count)
        return [pool[i * elements : (i + 1) * elements].reshape(shape) for i in range(count)]

    def outputs(self, dtype: str, shape: tuple[int, ...], count: int) -> list[Any]:
        """Buffers to write, their pages touched."""
        if count * math.prod(shape) * np.dtype(_TYPES[dtype]).itemsize > 0.3 * self.system.memory_bytes:
            raise CannotMeasure("its outputs would fill the memory")
        return [np.full(shape, np.nan, dtype=_TYPES[dtype]) for _ in range(count)]

    def flush(self) -> None:
        """Read more than the last-level cache holds."""
        pool = self._pools.get("flush")
        if pool is None:
            pool = self._pools["flush"] = np.ones(int(1.5 * self.cache_bytes) // 8)
        stream.read(pool, 1, self._sums, self.threads)

    # Ceilings ---------------------------------------------------------------------------------------------------

    def probes(self, size: str, names: tuple[str, ...] = ()) -> Iterator[Callable[[], list[Probe]]]:
        """Steps of work that each measure a few ceilings."""
        wanted = names or ("launch", "peak", "bandwidth", "latency")
        repeats = {"tiny": 2, "quick": 3, "full": 6}[size]
        edges = {"tiny": (128,), "quick": (512, 1024, 2048), "full": (512, 1024, 2048, 3072)}[size]
        sets = stream_sizes(self.cache_bytes, self.system.memory_bytes, size)
        # Twice, some time apart: the better of the two is less disturbed by what else the machine does.
        for _ in range(1 if size == "tiny" else 2):
            if "launch" in wanted:
                yield self._launch
            if "peak" in wanted:
                for dtype, edge in itertools.product(("fp32", "fp64"), edges):
                    yield functools.partial(self._peak, dtype, edge, max(2 * repeats, 40 * 512 // edge))
            if "bandwidth" in wanted:
                for working_set in sets:
                    yield functools.partial(self._bandwidth, working_set, sets[-1], repeats)
        if "main" in wanted:
            yield functools.partial(self._bandwidth, sets[-1], sets[-1], repeats)
        if "latency" in wanted and size != "tiny":
            yield functools.partial(self._latency, int(2.0 * self.cache_bytes))

    def _launch(self) -> list[Probe]:
        out = np.zeros(16 * self.threads)
        samples: list[float] = []
        stream.empty(out, self.threads)
        end = time.perf_counter() + 0.3
        while len(samples) < 1000 and time.perf_counter() < end:
            begin = time.perf_counter()
            stream.empty(out, self.threads)
            samples.append(time.perf_counter() - begin)
        low, middle = np.quantile(samples, [0.05, 0.5])
        return [Probe("launch", "", "", 0, float(low), float(middle), len(samples))]

    def _peak(self, dtype: str, edge: int, repeats: int) -> list[Probe]:
        a, b = (self.random.standard_normal((edge, edge)).astype(_TYPES[dtype]) for _ in range(2))
        c = np.empty_like(a)
        low, samples = best(lambda: np.matmul(a, b, out=c), repeats)
        flops = 2.0 * edge**3
        return [
            Probe(
                "peak",
                f"gemm {edge}",
                dtype,
                3 * a.nbytes,
                flops / low,
                flops / float(np.median(samples)),
                len(samples),
            )
        ]

    def _bandwidth(self, working_set: int, largest: int, repeats: int) -> list[Probe]:
        n = working_set // 8
        # Every working set is a piece of one buffer: pages of separate allocations differ in what backs them.
        whole = self._pools.get("stream")
        if whole is None or whole.nbytes < working_set:
            whole = self._pools["stream"] = np.ones(max(largest // 8, n))
        x = whole[:n]
        # In pieces of a few milliseconds: what else runs on the machine leaves many of them undisturbed. All of the
        # working set passes before a piece comes again.
        piece = min(n, _PIECE // 8)
        passes = max(1, piece // n, int(_PIECE // working_set))
        pieces = [x[start : start + piece] for start in range(0, n - piece + 1, piece)]
        repeats = max(repeats, -(-_SAMPLES // len(pieces)))
        probes = []
        for mode, (moved, run) in self._streams(piece, passes).items():
            samples = []
            run(pieces[0])
            for _ in range(repeats):
                for part in pieces:
                    begin = time.perf_counter()
                    run(part)
                    samples.append(time.perf_counter() - begin)
            # Of a set that no cache holds, some pieces are found in one all the same: the fastest are no measure of it.
            low, middle = np.quantile(samples, [0.05 if len(pieces) == 1 else 0.25, 0.5])
            probes.append(
                Probe(
                    "bandwidth",
                    mode,
                    "fp64",
                    working_set,
                    moved * passes / float(low),
                    moved * passes / float(middle),
                    len(samples),
                )
            )
        x[:] = 1.0
        if working_set == largest:
            self._pools.pop("stream", None)
        return probes

    def _streams(self, n: int, passes: int) -> dict[str, tuple[int, Callable[[Any], None]]]:
        """Kind of stream -> bytes that a pass over `n` numbers moves, and a function that makes `passes` of them."""
        half, third, threads = n // 2, n // 3, self.threads

        def triad(x: Any) -> None:
            stream.triad(x[:third], x[third : 2 * third], x[2 * third : 3 * third], 0.5, passes, threads)

        return {
            "read": (8 * n, lambda x: stream.read(x, passes, self._sums, threads)),
            "copy": (16 * half, lambda x: stream.copy(x[:half], x[half : 2 * half], passes, threads)),
            "triad": (24 * third, triad),
            "write": (8 * n, lambda x: stream.write(x, 1.0, passes, threads)),
        }

    def _latency(self, working_set: int, steps: int = 200_000) -> list[Probe]:
        line = 8  # 64 bytes of 8-byte indices
        lines = min(working_set, int(0.1 * self.system.memory_bytes)) // 64
        order = self.random.permutation(lines).astype(np.uint64) * line
        chain = np.zeros(lines * line, dtype=np.uint64)
        chain[order] = np.roll(order, -1)
        stream.chase(chain, order[0], 10)
        samples = []
        for start in order[: 5 * 7 : 7]:
            begin = time.perf_counter()
            stream.chase(chain, start, steps)
            samples.append((time.perf_counter() - begin) / steps)
        return [Probe("latency", "chain", "", working_set, min(samples), float(np.median(samples)), len(samples))]

    # Operators --------------------------------------------------------------------------------------------------

    def prepare(self, case: Case) -> Prepared:
        """Buffers, a way to run and a way to check a case; see :class:`~roofline.measure.backend.Backend`."""
        options = {k: v for k, v in case.items() if k != "op"}
        dtype = options.get("dtype", "fp32")
        if dtype not in (
            ("fp32", "int8")
            if case["op"] == "embedding_bag"
            else ("fp32", "fp64")
            if case["op"] == "gemm"
            else ("fp32",)
        ):
            raise CannotMeasure(f"numpy and the compiled loops have no {dtype} {case['op']}")
        if case["op"] == "gemm":
            return self._gemm(**options)
        if case["op"] == "attention":
            return self._attention(**options)
        if case["op"] == "embedding_bag":
            return self._bag(**options)
        if case["op"] == "token_embedding":
            return self._gather(**options)
        if case["op"] in _ROWWISE:
            return self._rowwise(case["op"], **options)
        raise CannotMeasure(f"no loop for {case['op']} on a processor")

    def time(self, prepared: Prepared, budget_s: float) -> Timing:
        """Time one call on the host clock."""
        return on_host(prepared.run, budget_s, self.flush if prepared.flush else None)

    def _gemm(self, m: int, n: int, k: int, dtype: str = "fp32", reuse: bool = False) -> Prepared:
        width = np.dtype(_TYPES[dtype]).itemsize
        total = width * (m * k + k * n + m * n)
        sets = 1 if reuse else ring_count(total, self.private_bytes, 64)
        weights = self.ring(dtype, (k, n), 0.0 if reuse else 2.0 * self.cache_bytes)
        a = self.ring(dtype, (m, k), sets * m * k * width)
        c = self.outputs(dtype, (m, n), sets)

        def run(i: int) -> None:
            np.matmul(a[i % len(a)], weights[i % len(weights)], out=c[i % sets])

        def check() -> float:
            c[0][:] = np.nan
            run(0)
            some = self.random.integers(0, m, _CHECKED_ROWS)
            return relative_error(c[0][some], a[0][some].astype(np.float64) @ weights[0].astype(np.float64))

        return Prepared(run, check, TOLERANCE[dtype])

    def _attention(
        self, batch: int, heads: int, kv_heads: int, head_dim: int, q_len: int, kv_len: int, dtype: str = "fp32"
    ) -> Prepared:
        group, blocks = heads // kv_heads, batch * kv_heads
        keys = self.ring(dtype, (2, blocks, kv_len, head_dim), 2.0 * self.cache_bytes)
        queries = self.ring(dtype, (blocks, group, q_len, head_dim), self.private_bytes)
        out = self.outputs(dtype, (blocks, group, q_len, head_dim), 1)[0]
        factor = np.float32(head_dim**-0.5)
        rows = min(q_len, 256)
        scores = np.empty((self.threads, group, kv_len) if q_len == 1 else (rows, kv_len), dtype=np.float32)

        hidden = np.triu(np.ones((rows, rows), dtype=bool), 1)

        def run(i: int) -> None:
            q, (k, v) = queries[i % len(queries)], keys[i % len(keys)]
            if q_len == 1:
                layers.decode_attention(out[:, :, 0], q[:, :, 0], k, v, scores, factor, self.threads)
                return
            for b in range(blocks):
                for g in range(group):
                    for first in range(0, q_len, rows):
                        last = min(first + rows, q_len)
                        seen = kv_len - q_len + last
                        part = scores[: last - first, :seen]
                        np.matmul(q[b, g, first:last], k[b, :seen].T, out=part)
                        _causal_softmax(part, factor, hidden)
                        np.matmul(part, v[b, :seen], out=out[b, g, first:last])

        def check() -> float:
            out[:] = np.nan
            run(0)
            q, (k, v) = queries[0].astype(np.float64), keys[0]
            worst = 0.0
            for b in self.random.integers(0, blocks, 2):
                for row in self.random.integers(0, q_len, 2):
                    seen = kv_len - q_len + row + 1
                    s = q[b, :, row] @ k[b, :seen].astype(np.float64).T * float(factor)
                    p = np.exp(s - s.max(axis=1, keepdims=True))
                    wanted = p / p.sum(axis=1, keepdims=True) @ v[b, :seen].astype(np.float64)
                    worst = max(worst, relative_error(out[b, :, row], wanted))
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
        if tables * batch * max(pooling, dim) > 2**26:
            raise CannotMeasure(f"{tables * batch * pooling:,} lookups are more than a processor wants to be asked for")
        table = self.ring(dtype, (tables, rows, dim), 0.0)[0]
        sets = 1 if reuse else 4
        indices = [zipf(self.random, rows, skew, (tables, batch, pooling)).astype(np.uint64) for _ in range(sets)]
        out = self.outputs("fp32", (tables, batch, dim), 1)[0]
        scales = self.random.random((tables, rows), dtype=np.float32) if dtype == "int8" else None

        def run(i: int) -> None:
            if scales is None:
                layers.embedding_bag(out, table, indices[i % sets], self.threads)
            else:
                layers.embedding_bag_int8(out, table, scales, indices[i % sets], self.threads)

        def check() -> float:
            out[:] = np.nan
            run(0)
            worst = 0.0
            for t, b in zip(self.random.integers(0, tables, 4), self.random.integers(0, batch, 4), strict=True):
                chosen = indices[0][t, b].astype(np.int64)
                picked = table[t][chosen].astype(np.float64)
                if scales is not None:
                    picked *= scales[t][chosen, None].astype(np.float64)
                worst = max(worst, relative_error(out[t, b], picked.sum(axis=0)))
            return worst

        return Prepared(run, check, TOLERANCE["fp32"], flush=not reuse)

    def _gather(self, rows: int, cols: int, table_rows: int, dtype: str = "fp32") -> Prepared:
        table = self.ring(dtype, (table_rows, cols), 0.0)[0]
        indices = [self.random.integers(0, table_rows, rows).astype(np.uint64) for _ in range(4)]
        out = self.outputs(dtype, (rows, cols), 1)[0]

        def run(i: int) -> None:
            layers.gather(out, table, indices[i % 4], self.threads)

        def check() -> float:
            out[:] = np.nan
            run(0)
            return relative_error(out[:1000], table[indices[0][:1000].astype(np.int64)])

        return Prepared(run, check, 0.0, flush=True)

    def _rowwise(self, op: str, rows: int, cols: int, dtype: str = "fp32") -> Prepared:
        reads, loop = _ROWWISE[op]
        sets = ring_count(4.0 * rows * cols * (reads + 1), self.private_bytes, 512)
        ring = self.ring(dtype, (reads, rows, cols), sets * 4.0 * reads * rows * cols)
        out = self.outputs(dtype, (rows, cols), sets)

        def run(i: int) -> None:
            loop(out[i % sets], ring[i % len(ring)], self.threads)

        def check() -> float:
            out[0][:] = np.nan
            run(0)
            some = self.random.integers(0, rows, _CHECKED_ROWS)
            return relative_error(out[0][some], REFERENCE[op](ring[0][:, some].astype(np.float64)))

        return Prepared(run, check, TOLERANCE[dtype])


def _causal_softmax(scores: Any, factor: Any, hidden: Any) -> None:
    """In place; of the last columns, one a row, a row sees those up to its own.

    In numpy, on one thread: the library's threads still spin after the product before and want the other cores.
    """
    rows = len(scores)
    scores *= factor
    scores[:, -rows:][hidden[:rows, :rows]] = -np.inf
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)


def _ones(y: Any) -> Any:
    return np.ones(y.shape[1], dtype=y.dtype)


# Operator -> tensors read, and the loop (output, inputs [reads, rows, cols], threads).
_ROWWISE: dict[str, tuple[int, Callable[[Any, Any, int], None]]] = {
    "elementwise": (1, lambda y, x, t: layers.scale(y.reshape(-1), x.reshape(-1), np.float32(1.5), t)),
    "residual_add": (2, lambda y, x, t: layers.add(y.reshape(-1), x[0].reshape(-1), x[1].reshape(-1), t)),
    "silu_mul": (2, lambda y, x, t: layers.silu_mul(y.reshape(-1), x[0].reshape(-1), x[1].reshape(-1), t)),
    "rms_norm": (1, lambda y, x, t: layers.rms_norm(y, x[0], _ones(y), _EPSILON, t)),
    "layer_norm": (1, lambda y, x, t: layers.layer_norm(y, x[0], _ones(y), _ones(y), _EPSILON, t)),
    "softmax": (1, lambda y, x, t: layers.softmax(y, x[0], t)),
}
