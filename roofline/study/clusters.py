"""Runs the slabs of a grid on the workers of a ``dask.distributed`` cluster."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from roofline.base.errors import BadWorkload, RooflineError, shown
from roofline.study.definition import Cut, Grid, size_of
from roofline.study.running import Put, Told
from roofline.study.slabs import Slabs
from roofline.study.stores import Store, describe, differences, digest

#: Slabs that wait at a worker's thread while it works on another.
_AHEAD = 3

#: Seconds after which the scheduler is asked again how many workers there are.
_OFTEN = 2.0

#: How often a slab is tried whose workers die.
_TRIES = 25

#: What a worker process keeps of the sweeps that it works on: by digest, the last few.
_KNOWN: dict[str, tuple[Slabs, Cut, Store | None]] = {}


def on_cluster(client: Any, grid: Grid, cut: Cut, todo: Iterable[int], put: Put | Store, told: Told) -> None:
    """Answer slabs on a cluster. Workers that die are made up for by the others.

    Parameters
    ----------
    client : dask.distributed.Client
    grid, cut
        What is asked, and how it is cut.
    todo : iterable of int
        The slabs that are wanted, by index.
    put : callable or Store
        Takes each answer here; or the store that the workers write into.
    told : callable
        Takes the number of points of each slab that is done.

    Raises
    ------
    RooflineError
        Where the workers run another version, or die again and again over one slab.
    """
    from distributed import KilledWorker, as_completed

    sweep = Sweep(grid, cut, str(put.path) if isinstance(put, Store) else None)
    waiting = list(todo)[::-1]
    tries: dict[int, int] = {}
    held = client.submit(_itself, sweep, pure=False)  # in the graph once: what a dead worker held is made again
    running: dict[Any, int] = {}
    done = as_completed()  # type: ignore[no-untyped-call]

    threads = _Threads(client)

    def start() -> None:
        while waiting and len(running) < _AHEAD * threads.count():
            index = waiting.pop()
            future = client.submit(work, held, index, pure=False)
            running[future] = index
            done.add(future)  # type: ignore[no-untyped-call]

    start()
    while running:
        future = next(done)
        index = running.pop(future)
        error = future.exception() if future.status != "finished" else None
        if error is None:
            answer = future.result()
            if not isinstance(put, Store):
                put(index, answer)
            told(size_of(cut.slab(index)))
        elif isinstance(error, KilledWorker) or future.status == "cancelled":
            tries[index] = tries.get(index, 0) + 1
            if tries[index] >= _TRIES:
                raise RooflineError(f"sweep: {tries[index]} workers died over one slab: is their memory too small?")
            waiting.append(index)
            if held.status in ("error", "cancelled", "lost"):
                held = client.submit(_itself, sweep, pure=False)
        else:
            client.cancel([held, *running])
            raise error
        del future
        start()


class _Threads:
    """The threads of all workers, which come and go; the scheduler is asked now and then."""

    def __init__(self, client: Any) -> None:
        self.client, self.known, self.asked = client, 1, -_OFTEN

    def count(self) -> int:
        """At least one."""
        if time.monotonic() - self.asked > _OFTEN:
            self.known, self.asked = max(1, sum(self.client.nthreads().values())), time.monotonic()
        return self.known


class Sweep:
    """What a worker needs to know of a sweep."""

    def __init__(self, grid: Grid, cut: Cut, path: str | None) -> None:
        self.grid, self.cut, self.path = grid, cut, path
        self.said = describe(grid, cut)
        self.key = f"{path} {digest(self.said)}"


def _itself(sweep: Sweep) -> Sweep:
    return sweep


def work(sweep: Sweep, index: int) -> dict[str, Any] | None:
    """Answer one slab on a worker; what it writes into the store it does not send back."""
    if sweep.key not in _KNOWN:
        found = differences(sweep.said, describe(sweep.grid, sweep.cut))
        if found:
            raise BadWorkload(f"sweep: a worker has another roofline: {'; '.join(found)}")
        store = None if sweep.path is None else Store(sweep.path, sweep.grid, sweep.cut)
        _KNOWN.clear()
        _KNOWN[sweep.key] = Slabs(sweep.grid), sweep.cut, store
    slabs, cut, store = _KNOWN[sweep.key]
    answer = slabs.answer(cut.slab(index))
    if store is None:
        return answer
    store.put(index, answer)
    return None


def checked(client: Any) -> Any:
    """The client of a cluster.

    Raises
    ------
    BadWorkload
        For anything else.
    """
    if not callable(getattr(client, "submit", None)) or not callable(getattr(client, "nthreads", None)):
        wanted = "a dask.distributed.Client, such as Client('tcp://host:8786')"
        raise BadWorkload(f"sweep: client: expected {wanted}, found {shown(client)}")
    return client
