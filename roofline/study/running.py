"""Runs the slabs of a grid in the threads of this process, and shows how far they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

from roofline.base import cpus
from roofline.study.definition import Cut, Grid, size_of
from roofline.study.slabs import Slabs

#: What takes the answer of a slab: its index among the slabs, and its variables.
Put = Callable[[int, dict[str, Any]], None]

#: What takes the number of points of a slab that is done.
Told = Callable[[int], Any]

#: Points of a slab below which it is not worth a thread: most of its time is Python's.
_LEAST = 4096

#: Seconds that a sweep may take before it shows how far it is.
_PATIENCE = 2.0


def in_threads(grid: Grid, cut: Cut, todo: Iterable[int], put: Put, told: Told) -> None:
    """Answer slabs in this process, one thread each.

    Parameters
    ----------
    grid, cut
        What is asked, and how it is cut.
    todo : iterable of int
        The slabs that are wanted, by index.
    put : callable
        Takes each answer; called in several threads at a time.
    told : callable
        Takes the number of points of each slab that is done.
    """
    slabs = Slabs(grid)

    def one(index: int) -> int:
        slab = cut.slab(index)
        put(index, slabs.answer(slab))
        return size_of(slab)

    waiting = list(todo)
    threads = min(cpus.available(), len(waiting))
    if threads < 2 or size_of(cut.slab(0)) < _LEAST:
        for index in waiting:
            told(one(index))
        return
    with ThreadPoolExecutor(threads) as pool:
        try:
            for done in as_completed([pool.submit(one, index) for index in waiting]):
                told(done.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextmanager
def progress_bar(points: int, done: int, show: bool | None, slabs: int) -> Iterator[Told]:
    """A bar that shows how many points are done, on stderr of a terminal or in a notebook, where it takes long.

    Parameters
    ----------
    points, done : int
        In all, and before.
    show : bool, optional
        Whether to show it; None: where somebody can see it.
    slabs : int
        How many are left to do; one is done before a bar could be drawn.
    """
    if slabs < 2 and not show:
        yield lambda count: None
        return
    from tqdm.auto import tqdm

    hidden = None if show is None else not show
    with tqdm(
        total=points, initial=done, unit=" points", unit_scale=True, delay=_PATIENCE, disable=hidden, leave=False
    ) as bar:
        yield lambda count: bar.update(count)
