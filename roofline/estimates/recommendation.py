"""The estimate of a recommendation model: latency and samples per second by batch."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from roofline.base.numeric import Label, Numeric, Truth, ceil_div, maximum
from roofline.base.units import DTYPE_BYTES, text
from roofline.estimates import inference, memory as memory_module
from roofline.estimates.figures import Estimate, Made, with_errors
from roofline.estimates.hosts import CORES, JITTER, HostProcess
from roofline.estimates.inference import Phase
from roofline.estimates.memory import Memory, narrower
from roofline.estimates.power import SamplesPowered
from roofline.estimates.request import whole
from roofline.estimates.residence import residence, shared
from roofline.estimates.waiting import waits
from roofline.models.recommender import Recommender
from roofline.models.tables import Share
from roofline.work.engine import compiled, resident
from roofline.work.op import copy, serving, step_overhead, wide
from roofline.work.workload import Workload, workload

if TYPE_CHECKING:
    import pandas as pd


class RecommendationEstimate(SamplesPowered, Estimate):
    """A recommendation model scoring batches. Figures are per system unless the name says per chip.

    Attributes
    ----------
    model, chip, request
        What was asked.
    step : Phase
        One batch; ``.ops`` is the breakdown.
    """

    FIGURES: ClassVar = {
        "latency_s": "s",
        "samples_per_s": "samples/s",
        "samples_per_s_per_chip": "samples/s",
        "pipelined_samples_per_s": "samples/s",
    }

    model: Recommender

    @functools.cached_property
    def step(self) -> Phase:
        """One batch, from the host's inputs to the scores."""
        if self.request.placement is None:
            return self._run(None)
        # The chips wait for the one that has the most to do.
        return max(self._by_share.values(), key=lambda phase: float(np.mean(phase.time_s)))

    @functools.cached_property
    def _by_share(self) -> dict[Share, Phase]:
        """A batch as each chip runs it that has another share of the tables."""
        return {share: self._run(share) for share in dict.fromkeys(self.request.placement.shares)}

    def _run(self, share: Share | None) -> Phase:
        """A batch on a chip that has a share of the tables."""
        r = self.request
        ops = self.model.step(
            r.batch,
            r.dtype,
            table_dtype=r.table_dtype,
            devices=r.devices,
            skew=r.skew,
            repeat=r.repeat,
            scale_bytes=r.scale_bytes,
            index_bytes=4 if r.compiled else 8,
            fused=r.fused,
            share=share,
        )
        ops = compiled(ops) if r.compiled else ops
        held = residence(ops, self.model.dense_params * DTYPE_BYTES[r.dtype], self.chip)
        ops = shared(resident(ops, held.weights_share), self.chip, held)
        ops = self._served(ops, r.host) if r.host else workload(step_overhead()) + ops
        return inference.run(ops, self.chip, also=("on_chip",))

    def _served(self, ops: Workload, process: HostProcess) -> Workload:
        """A batch in a serving process: its fixed cost instead of a framework's, and vectors handed between parts."""
        r = self.request
        hosted = any(one.kind == "host_lookup" for one in ops)
        vectors = ceil_div(r.batch, r.devices)
        handed = copy(
            rows=vectors,
            cols=max(1, round(self.model.embedding_width)),
            dtype=wide(r.table_dtype or r.dtype),
            name="handoff",
            count=process.handoffs,
            scope="model",
        )
        own = serving(seconds=process.fixed_s + hosted * process.hosted_s, name=process.name)
        rows = ops.map(lambda one: one.with_args(row_s=process.row_s) if one.kind == "host_lookup" else one)
        return workload(own, handed, rows)

    @property
    def imbalance(self) -> float:
        """Time of the lookups on the chip that has most to do over their mean over the chips; 1 where all are alike."""
        if self.request.placement is None:
            return 1.0
        times = [_sparse_s(self._by_share[share]) for share in self.request.placement.shares]
        mean = float(np.mean(times))
        return float(np.max(times)) / mean if mean else 1.0

    @property
    def ops(self) -> pd.DataFrame:
        """The breakdown of a batch by operator, as :attr:`roofline.estimates.inference.Phase.ops` has it.

        One column more, `waits`: whether lookups that a memory bounds wait for its latency or its bandwidth.
        """
        frame, rows = self.step.ops, zip(self.step.workload, self.step.costs, strict=True)
        bounds = frame["bound"].tolist()
        return frame.assign(waits=[waits(*row, bound, self.chip) for row, bound in zip(rows, bounds, strict=True)])

    def service(self, batches: Iterable[int]) -> pd.DataFrame:
        """Steady service times by batch, for a queue in front: what the simulation of a server takes.

        Parameters
        ----------
        batches : iterable of int
            Samples in a batch.

        Returns
        -------
        DataFrame
            batch; latency_s (one batch from the host and back); pace_s (from one batch to the next in a pipeline);
            jitter (standard deviation of ln(time), from batch to batch; see :mod:`roofline.estimates.hosts`).
        """
        import pandas as pd

        rows = []
        for batch in batches:
            request = replace(self.request, batch=whole("batch", batch))
            one = type(self)(self.model, self.chip, request)
            pace = request.batch / one.pipelined_samples_per_s
            jitter = JITTER if request.host is None else request.host.jitter
            rows.append({"batch": request.batch, "latency_s": one.latency_s, "pace_s": pace, "jitter": jitter})
        return pd.DataFrame.from_records(rows)

    @property
    def latency_s(self) -> Numeric:
        """Time of one batch (s)."""
        return self.step.time_s

    @property
    def time_s(self) -> Numeric:
        """Time of one batch (s), under the name that every estimate has for its time."""
        return self.latency_s

    @property
    def lower_s(self) -> Numeric:
        """What no machine of that description can beat (s)."""
        return self.step.lower_s

    @property
    def upper_s(self) -> Numeric:
        """Nothing overlapped, every overhead (s)."""
        return self.step.upper_s

    @property
    def samples_per_s(self) -> Numeric:
        """Samples (user-item pairs) per second of the system, one batch after the other."""
        return self.request.batch / self.latency_s

    @property
    def samples_per_s_per_chip(self) -> Numeric:
        """`samples_per_s` over the number of chips."""
        return self.samples_per_s / self.request.devices

    def _stages(self, which: str) -> tuple[Numeric, Numeric, Numeric]:
        """Time of a batch (s) on the chip, on the way in from the host (the way out has its own), on the host."""
        at = inference.COST.index(which)
        lower, time = self.step.on_chip_s
        inward: Numeric = 0.0
        host: Numeric = 0.0
        for op in self.step.workload:
            if op.kind == "host_copy":
                inward = maximum(inward, op.count * inference.evaluate_op(op, self.chip)[at])
            elif op.kind == "step_overhead":
                host = host + op.count * inference.evaluate_op(op, self.chip)[at] / CORES
        return lower if which == "lower_s" else time, inward, host

    @property
    def pipelined_samples_per_s(self) -> Numeric:
        """Samples per second of the system with batches in a pipeline: the host prepares the next ones, one on each of
        its cores, and copies them while the chip computes, and the slowest of the three sets the pace.
        """
        device, inward, host = self._stages("time_s")
        return self.request.batch / maximum(maximum(device, inward), host)

    @property
    def ideal_samples_per_s(self) -> Numeric:
        """`pipelined_samples_per_s` that no machine of that description can beat."""
        device, inward, host = self._stages("lower_s")
        return self.request.batch / maximum(maximum(device, inward), host)

    @property
    def pipelined_bound(self) -> Label:
        """What sets the pace of batches in a pipeline: the link to the host, the host, or what bounds the chip most."""
        device, inward, host = self._stages("time_s")
        on_chip = {name: time for name, time in self.step.time_by_bound.items() if name != "network"}
        if any(isinstance(v, np.ndarray) for v in (device, inward, host)):
            names, times = list(on_chip), np.stack(np.broadcast_arrays(*on_chip.values()))
            inner = np.array(names)[np.argmax(times, axis=0)]
            return np.where(np.maximum(inward, host) > device, np.where(inward > host, "network", "overhead"), inner)
        if max(inward, host) > device:
            return "network" if inward > host else "overhead"
        return max(on_chip, key=on_chip.__getitem__)

    @property
    def bound_codes(self) -> Numeric:
        """:attr:`bound` as a number, or array of uint8: its place in :func:`inference.bound_names` of the chip."""
        return self.step.bound_codes

    @property
    def bound(self) -> Label:
        """The resource that bounds the operators with the largest share of the time."""
        return self.step.bound

    @property
    def mfu(self) -> Numeric:
        """Model FLOP utilisation."""
        return self.step.mfu

    @property
    def mbu(self) -> Numeric:
        """Memory bandwidth utilisation."""
        return self.step.mbu

    @property
    def sparse_share(self) -> Numeric:
        """Share of the time that the embedding lookups and their exchange take."""
        return _sparse_s(self.step, exchange=True) / self.step.time_s

    def _memory(self, batch: Numeric) -> Memory:
        r = self.request
        tables = self.model.table_bytes(r.table_dtype or r.dtype, r.scale_bytes) / r.devices
        if r.placement is not None:
            tables = max(r.placement.device_bytes)
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
        resident = self._memory(self.request.batch)
        if np.shape(resident.fits):
            return resident
        return replace(resident, largest_batch=memory_module.largest_batch(lambda b: bool(self._memory(b).fits)))

    @property
    def fits(self) -> Truth:
        """Whether tables, weights and vectors fit."""
        return self._memory(self.request.batch).fits

    @property
    def phases(self) -> tuple[Phase, ...]:
        """What the estimate is made of."""
        return (self.step,)

    def _loads(self) -> list[tuple[Phase, Numeric, Numeric]]:
        return [(self.step, self.step.time_s, 1.0)]

    @property
    def devices(self) -> Numeric:
        """Chips in all."""
        return self.request.devices

    @property
    def stored_as(self) -> str:
        """What decides how much memory the model takes, in words."""
        return f"with {self.request.table_dtype or self.request.dtype} tables"

    def changes(self) -> list[list[tuple[str, dict[str, Any]]]]:
        """Changes of the request that take less memory of a chip, by kind: in words and as its fields, smallest first.

        Narrower rows, or more chips to spread the tables over.
        """
        r = self.request
        if r.placement is not None and not r.unasked:  # made for so many chips and such rows
            return []
        most = r.batch if self.chip.has_links else 1
        counts = [n for n in (2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 256) if self.devices < n <= most]
        dtypes = narrower(r.table_dtype or r.dtype, ("fp16", "int8", "int4"))
        anew: dict[str, Any] = {"placement": None} if r.unasked else {}
        return [
            [(f"devices={n}", {"devices": n, **anew}) for n in counts],
            [(f"table_dtype={d!r}", {"table_dtype": d, **anew}) for d in dtypes],
        ]

    def _figures_with_errors(self, factors: np.ndarray) -> Mapping[str, Any]:
        time = with_errors(self.step, factors)
        return Made(
            {
                "latency_s": lambda made: time,
                "samples_per_s": lambda made: self.request.batch / time,
                "samples_per_s_per_chip": lambda made: made["samples_per_s"] / self.request.devices,
                "pipelined_samples_per_s": lambda made: self.pipelined_samples_per_s * self.step.time_s / time,
            }
        )

    def __repr__(self) -> str:
        what = f"{self.model.name} on {self.request.devices} x {self.chip.name}"
        if np.shape(self.time_s):
            return f"<RecommendationEstimate: {what}, shape {np.shape(self.time_s)}>"
        return (
            f"<RecommendationEstimate: {what}: {self.samples_per_s:,.0f} samples/s, "
            f"{text(self.latency_s, 's', 3)} a batch, {self.bound}>"
        )


def _sparse_s(phase: Phase, exchange: bool = False) -> Any:
    """Time (s) of the lookups of a batch, and of the exchange of their vectors."""
    at, total = inference.COST.index("time_s"), 0.0
    for op, values in zip(phase.workload, phase.costs, strict=True):
        if op.shard == "tables" or (exchange and op.kind == "all_to_all"):
            total = total + op.count * values[at]
    return total
