"""The PyTorch backend: a GPU, timed with device events; or PyTorch on a processor.

The state of the caches is the one that :mod:`roofline.measure.cpu` describes. Working sets below what a launch costs
cannot be told apart by library calls: streams are replayed as a graph to bring that cost down, and levels inside the
last-level cache are not measured.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.base.units import DTYPE_BYTES
from roofline.measure import system
from roofline.measure.backend import CannotMeasure, Prepared, Probe
from roofline.measure.suites import Case, stream_sizes
from roofline.measure.system import Cache, System
from roofline.measure.timing import Timing, on_host, summary
from roofline.measure.torch_operators import Buffers, Operators

_GRAPH = 20  # calls of a stream in one graph


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
            raise BadWorkload("measuring through PyTorch needs it: pip install torch") from None
        if device == "cuda" and not torch.cuda.is_available():
            raise BadWorkload(f"torch {torch.__version__} sees no GPU")
        self.torch, self.device, self.cuda = torch, device, device == "cuda"
        self.name, self.kind = f"torch-{device}", "gpu" if self.cuda else "cpu"
        self.version = str(torch.__version__)
        self.devices = torch.cuda.device_count() if self.cuda else 1
        torch.manual_seed(seed)
        torch.set_grad_enabled(False)
        self.system = self._gpu() if self.cuda else _with(system.host(), torch=self.version)
        self.cache_bytes = self.system.cache_bytes or 32 * 2.0**20
        # On a GPU nothing between the cores and the last-level cache keeps a tensor from one call to the next.
        self.private_bytes = 2.0**22 if self.cuda else max(3 * self.system.private_bytes, 2.0**22)
        self.buffers = Buffers(torch, device, self.system.memory_bytes, self.cache_bytes, seed)
        self.operators = Operators(self.buffers, self.cuda, self.private_bytes)

    def _gpu(self) -> System:
        torch = self.torch
        properties = torch.cuda.get_device_properties(0)
        runtime = f"rocm {torch.version.hip}" if torch.version.hip else f"cuda {torch.version.cuda}"
        clock = float(getattr(properties, "clock_rate", 0)) * 1e3
        l2 = float(getattr(properties, "L2_cache_size", 0))
        return System(
            title=properties.name,
            vendor="AMD" if torch.version.hip else "NVIDIA",
            core_name="CU" if torch.version.hip else "SM",
            cores=int(properties.multi_processor_count),
            caches=(Cache("l2", l2, False),) if l2 else (),
            memory_bytes=float(properties.total_memory),
            clock_hz=clock,
            software={**system.software(), "torch": self.version, "runtime": runtime},
        )

    # Timing -----------------------------------------------------------------------------------------------------

    def time(self, prepared: Prepared, budget_s: float) -> Timing:
        """Time one call: device events on a GPU, the host clock on a processor."""
        flush = self.buffers.flush if prepared.flush else None
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
        self, run: Callable[[int], object], number: int, count: int, calls: int, flush: Callable[[], None] | None
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

    def _best(self, run: Callable[[], object], repeats: int, calls: int = 1) -> tuple[float, list[float]]:
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
            run = self.operators.product(edge, edge, edge, dtype, 0.0, 1)[0]
            low, samples = self._best(lambda: run(0), repeats)
        except (CannotMeasure, RuntimeError):  # the device has no such arithmetic
            return []
        flops = 2.0 * edge**3
        return [
            Probe(
                "peak",
                f"gemm {edge}",
                dtype,
                int(3 * edge**2 * DTYPE_BYTES[dtype]),
                flops / low,
                flops / float(np.median(samples)),
                len(samples),
            )
        ]

    def _bandwidth(self, working_set: int, repeats: int) -> list[Probe]:
        torch, n = self.torch, working_set // 4
        x = torch.ones(n, device=self.device)
        half, third = n // 2, n // 3
        p, q = x[:half], x[half : 2 * half]
        a, b, c = x[:third], x[third : 2 * third], x[2 * third : 3 * third]
        total = torch.zeros((), device=self.device)
        bytes_of: dict[str, tuple[int, Callable[[], object]]] = {
            "read": (4 * n, lambda: torch.sum(x, dim=0, out=total)),
            "write": (4 * n, lambda: x.fill_(1.0)),
            "copy": (8 * half, lambda: p.copy_(q)),
            "triad": (12 * third, lambda: torch.add(b, c, alpha=0.5, out=a)),
        }
        probes = []
        for mode, (moved, run) in bytes_of.items():
            low, samples = self._best(run, repeats, _GRAPH)
            probes.append(
                Probe(
                    "bandwidth", mode, "fp32", working_set, moved / low, moved / float(np.median(samples)), len(samples)
                )
            )
        return probes

    def _host_copy(self, size: int = 2**28) -> list[Probe]:
        torch = self.torch
        source = torch.ones(size // 4).pin_memory()
        target = torch.empty(size // 4, device=self.device)
        samples = self._events(lambda _: target.copy_(source, non_blocking=True), 0, 10, 1, None)
        return [
            Probe(
                "host_copy",
                "to the device",
                "",
                size,
                size / min(samples),
                size / float(np.median(samples)),
                len(samples),
            )
        ]

    # Operators --------------------------------------------------------------------------------------------------

    def prepare(self, case: Case) -> Prepared:
        """Buffers, a way to run and a way to check a case; see :class:`~roofline.measure.backend.Backend`."""
        return self.operators.prepare(case)


def _with(host: System, **software: str) -> System:
    return dataclasses.replace(host, software={**host.software, **software})
