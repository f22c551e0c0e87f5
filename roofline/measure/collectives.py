"""Collectives between the devices of one machine, through torch.distributed: one process a device."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from roofline.base.errors import RooflineError
from roofline.measure.suites import Case
from roofline.measure.timing import Timing, summary

KINDS = ("all_reduce", "all_gather", "reduce_scatter", "all_to_all")

#: Seconds without a result after which the processes are taken for hung.
PATIENCE_S = 120.0


def measure(cases: list[Case], devices: int, device: str = "cuda", least: int = 10) -> Iterator[tuple[Case, Timing]]:
    """Time collectives over `devices` processes.

    Parameters
    ----------
    cases : list of dict
        ``op`` of :data:`KINDS` and ``bytes``, as the operators of :mod:`roofline.work.op` count them.
    devices : int
    device : str
        ``"cuda"`` (NCCL, one GPU a process) or ``"cpu"`` (gloo).
    least : int
        Samples of each.

    Yields
    ------
    case, timing
        The slowest process's median. A collective that the library does not have is left out.

    Raises
    ------
    RooflineError
        When a process fails or hangs, or a sum comes out wrong.
    """
    import torch.multiprocessing as processes

    context = processes.get_context("spawn")
    results = context.SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        store = str(Path(folder) / "store")
        workers = [
            context.Process(target=_worker, args=(rank, devices, device, store, cases, least, results), daemon=True)
            for rank in range(devices)
        ]
        for worker in workers:
            worker.start()
        try:
            for case in cases:
                found = _next(results, workers)
                if isinstance(found, str):
                    raise RooflineError(f"{case['op']} of {case['bytes']} bytes: {found}")
                if found is not None:
                    yield case, found
        finally:
            for worker in workers:
                worker.join(5.0)
                if worker.is_alive():
                    worker.terminate()


def _next(results: Any, workers: list[Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while results.empty():
        if time.monotonic() > deadline:
            return "no result"
        if any(w.exitcode not in (None, 0) for w in workers) and results.empty():
            return "a process ended"
        time.sleep(0.002)
    return results.get()


def _worker(rank: int, count: int, device: str, store: str, cases: list[Case], least: int, results: Any) -> None:
    import torch
    import torch.distributed as dist

    cuda = device == "cuda"
    if cuda:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    dist.init_process_group("nccl" if cuda else "gloo", init_method=f"file://{store}", rank=rank, world_size=count)
    try:
        for case in cases:
            try:
                timing = _time(dist, torch, case, count, device, least)
            except (RuntimeError, NotImplementedError, ValueError) as error:
                missing = "not support" in str(error) or "not implemented" in str(error).lower()
                timing = None if missing else f"{type(error).__name__}: {error}"
            if rank == 0:
                results.put(timing)
            if isinstance(timing, str):
                return
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _time(dist: Any, torch: Any, case: Case, count: int, device: str, least: int) -> Any:
    where = {"device": device}
    whole = max(int(case["bytes"]) // 4 // count, 1) * count  # fp32 elements, an equal share a process
    big = torch.ones(whole, **where)
    other = torch.full((whole,), float("nan"), **where)
    share = torch.ones(whole // count, **where)
    # Renamed in torch 2.13.
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
    runs: dict[str, Callable[[], object]] = {
        "all_reduce": lambda: dist.all_reduce(big),
        "all_gather": lambda: gather(other, share),
        "reduce_scatter": lambda: scatter(share, big),
        "all_to_all": lambda: dist.all_to_all_single(other, big),
    }
    run = runs[case["op"]]
    run()
    wanted = {
        "all_reduce": (big, float(count)),
        "all_gather": (other, 1.0),
        "reduce_scatter": (share, float(count)),
        "all_to_all": (other, 1.0),
    }[case["op"]]
    if not bool((wanted[0] == wanted[1]).all()):
        return "its result is wrong"
    big.fill_(0.0)  # sums stay finite however often they are taken
    share.fill_(0.0)
    samples = []
    for _ in range(least + 3):
        dist.barrier()
        if device == "cuda":
            torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(5):
            run()
        if device == "cuda":
            torch.cuda.synchronize()
        samples.append((time.perf_counter() - begin) / 5)
    slowest = torch.tensor([float(np.median(samples[3:]))], **where)
    dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
    timing: Timing = summary(samples[3:], 5)
    return Timing(float(slowest.item()), timing.low_s, timing.spread_s, timing.samples, timing.calls)
