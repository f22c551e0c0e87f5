"""The estimate of a recommendation model: latency and samples per second by batch."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from roofline import inference, memory as memory_module
from roofline.figures import Estimate, with_errors
from roofline.inference import Phase
from roofline.memory import Memory
from roofline.models.recommender import Recommender
from roofline.op import ceil_div, step_overhead, wide
from roofline.units import DTYPE_BYTES, text
from roofline.workload import workload


class RecommendationEstimate(Estimate):
    """A recommendation model scoring batches. Figures are per system unless the name says per chip.

    Attributes
    ----------
    model, chip, request
        What was asked.
    step : Phase
        One batch; ``.ops`` is the breakdown.
    """

    FIGURES: ClassVar = {"latency_s": "s", "samples_per_s": "samples/s", "samples_per_s_per_chip": "samples/s"}

    model: Recommender

    @functools.cached_property
    def step(self) -> Phase:
        """One batch, from the host's inputs to the scores."""
        r = self.request
        ops = self.model.step(r.batch, r.dtype, table_dtype=r.table_dtype, devices=r.devices, skew=r.skew)
        dense = self.model.dense_params * DTYPE_BYTES[r.dtype]
        held = dense <= self.chip.machine["cache_capacity"]
        if np.any(held):
            reuse = np.where(held, 1.0, 0.0) if isinstance(held, np.ndarray) else 1.0
            ops = ops.map(lambda op: op.with_args(reuse=reuse) if op.kind == "gemm" else op)
        return inference.run(workload(step_overhead()) + ops, self.chip)

    @property
    def ops(self) -> Any:
        """The breakdown of a batch by operator."""
        return self.step.ops

    @property
    def latency_s(self) -> Any:
        """Time of one batch (s)."""
        return self.step.time_s

    time_s = latency_s

    @property
    def lower_s(self) -> Any:
        """What no machine of that description can beat (s)."""
        return self.step.lower_s

    @property
    def upper_s(self) -> Any:
        """Nothing overlapped, every overhead (s)."""
        return self.step.upper_s

    @property
    def samples_per_s(self) -> Any:
        """Samples (user-item pairs) per second of the system, one batch after the other."""
        return self.request.batch / self.latency_s

    @property
    def samples_per_s_per_chip(self) -> Any:
        """`samples_per_s` over the number of chips."""
        return self.samples_per_s / self.request.devices

    @property
    def bound(self) -> Any:
        """The resource that bounds the operators with the largest share of the time."""
        return self.step.bound

    @property
    def mfu(self) -> Any:
        """Model FLOP utilisation."""
        return self.step.mfu

    @property
    def mbu(self) -> Any:
        """Memory bandwidth utilisation."""
        return self.step.mbu

    @property
    def sparse_share(self) -> Any:
        """Share of the time that the embedding lookups and their exchange take."""
        sparse: Any = 0.0
        for op, values in zip(self.step.workload, self.step.costs, strict=True):
            if op.shard == "tables" or op.kind == "all_to_all":
                sparse = sparse + op.count * values[inference.COST.index("time_s")]
        return sparse / self.step.time_s

    def _memory(self, batch: Any) -> Memory:
        r = self.request
        tables = self.model.table_bytes(r.table_dtype or r.dtype) / r.devices
        dense = self.model.dense_params * DTYPE_BYTES[r.dtype]
        # The pooled vectors of the local samples, three times over: looked up, exchanged, read by the dense part.
        vectors = 3 * ceil_div(batch, r.devices) * self.model.embedding_width * DTYPE_BYTES[wide(r.dtype)]
        return Memory(
            tables + dense,
            vectors * 0.0,
            vectors,
            self.chip.level(self.chip.main_level, "capacity"),
            r.usable_memory,
            0,
        )

    @functools.cached_property
    def memory(self) -> Memory:
        """What one chip holds: its share of the tables, the dense weights, the vectors of a batch."""
        held = self._memory(self.request.batch)
        if np.shape(held.fits):
            return held
        return replace(held, largest_batch=memory_module.largest_batch(lambda b: bool(self._memory(b).fits)))

    @property
    def fits(self) -> Any:
        """Whether tables, weights and vectors fit."""
        return self._memory(self.request.batch).fits

    def _figures_with_errors(self, factors: Any) -> dict[str, Any]:
        time = with_errors(self.step, factors)
        rate = self.request.batch / time
        return {"latency_s": time, "samples_per_s": rate, "samples_per_s_per_chip": rate / self.request.devices}

    def __repr__(self) -> str:
        what = f"{self.model.name} on {self.request.devices} x {self.chip.name}"
        if np.shape(self.time_s):
            return f"<RecommendationEstimate: {what}, shape {np.shape(self.time_s)}>"
        return (
            f"<RecommendationEstimate: {what}: {self.samples_per_s:,.0f} samples/s, "
            f"{text(self.latency_s, 's', 3)} a batch, {self.bound}>"
        )
