"""The loops around kernels, as text to compile, and the scratch that those over a block of points work in.

The scratch is one flat array of rows, :data:`ROW` numbers apart. Since every place in it is a constant distance from
every other one, the compiler knows that none overlaps another, and makes vector instructions of the loops:

=====================  ==========================================================
rows                   hold
=====================  ==========================================================
0 to OWN - 1           the arguments that are columns, in the kernel's order
COST to COST + 13      what the kernel returns
TEMP to SUMS - 1       what a block form remembers between its loops
SUMS to SUMS + 7       lower, time and upper sums; time by what bounds (5)
FREE and on            further sums, and columns that arguments are copied from
=====================  ==========================================================
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from roofline.kernels.quantities import Quantities

POINTS = 4096  # of a block: what they need stays in a core's own cache
ROW = POINTS + 8  # a cache line more, or all rows would compete for the same places in the cache
OWN = 8  # more than any kernel has columns
COST = OWN
TEMP = COST + len(Quantities._fields)
SUMS = TEMP + 20
FREE = SUMS + 8


#: What the loop of a kernel over a block takes: scratch, numbers, values, places, times, times_place, size.
BLOCK = ("Scratch", "Scratch", "Scratch", "Places", "float", "int", "int")


class Text(NamedTuple):
    """A loop to compile."""

    name: str
    source: str
    parameters: tuple[str, ...]  # what each is: Scratch, Codes, Places (pointers), int or float
    custom: bool  # whether it is around a block form, not around the scalar kernel
    form: str


def text(
    function: Callable[..., Any], form: str, columns: tuple[str, ...], block_form: Callable[..., Any] | None
) -> Text:
    """The loop of a form around a function: ``points``, ``rows``, ``block``, ``summed`` or ``step``."""
    name = f"{function.__module__.rpartition('.')[2]}_{function.__name__}_{form}"
    if form == "points":
        return _points(function, name)
    if form == "rows":
        return _rows(function, name)
    if form == "step":
        return _step(function, name)
    return _block(function, name, columns, block_form, form == "summed")


def _stores(target: str) -> str:
    return "".join(f"        {target.format(q)} = cost[{q}]\n" for q in range(len(Quantities._fields)))


def _points(function: Callable[..., object], name: str) -> Text:
    """Any of the arguments may be a column. Those of one number have a step of 0: one type, compiled once."""
    count = len(inspect.signature(function).parameters)
    columns = "".join(f", a{i}" for i in range(count))
    point = ", ".join(f"a{i}[p * steps[{i}]]" for i in range(count))
    source = (
        f"def {name}(out, steps, size{columns}):\n"
        f"    for p in range(size):\n"
        f"        cost = {function.__name__}({point})\n"
        f"{_stores('out[{} * size + p]')}"
    )
    return Text(name, source, ("Scratch", "Places", "int", *["Scratch"] * count), False, "points")


def _rows(function: Callable[..., Any], name: str) -> Text:
    """Arguments and costs lie side by side, call after call, in two flat arrays."""
    count, costs = len(inspect.signature(function).parameters), len(Quantities._fields)
    arguments = ", ".join(f"table[{count} * p + {i}]" for i in range(count))
    source = (
        f"def {name}(table, out, size):\n"
        f"    for p in range(size):\n"
        f"        cost = {function.__name__}({arguments})\n"
        f"{_stores(f'out[{costs} * p + {{}}]')}"
    )
    return Text(name, source, ("Scratch", "Scratch", "int"), False, "rows")


def _block(
    function: Callable[..., object],
    name: str,
    columns: tuple[str, ...],
    block_form: Callable[..., object] | None,
    summed: bool,
) -> Text:
    """Arguments that are columns are rows of the scratch, the others are numbers. `summed`: the costs are added up."""
    names = list(inspect.signature(function).parameters)
    alone = [n for n in names if n not in columns]
    source = (
        f"def {name}(scratch, numbers, values, places, times, times_place, size):\n    wide()\n"
        f"    for i in range({len(columns)}):\n"
        f"        if places[i] < 0:\n"
        f"            value = values[i]\n"
        f"            for p in range(size):\n"
        f"                scratch[i * {ROW} + p] = value\n"
        f"        else:\n"
        f"            place = places[i] * {ROW}\n"
        f"            for p in range(size):\n"
        f"                scratch[i * {ROW} + p] = scratch[place + p]\n"
    )
    source += "".join(f"    {n} = numbers[{i}]\n" for i, n in enumerate(alone))
    source += "    set_times(scratch, times, times_place, size)\n" if summed else ""
    if block_form is not None:
        source += f"    {block_form.__name__}({', '.join(['scratch', 'size', str(int(summed)), *alone])})\n"
    else:
        rows = {n: f"scratch[{i * ROW} + p]" for i, n in enumerate(n for n in names if n in columns)}
        point = ", ".join(rows.get(n, n) for n in names)
        source += f"    for p in range(size):\n        cost = {function.__name__}({point})\n"
        source += f"        {'add_cost' if summed else 'store'}(scratch, p, cost)\n"

    return Text(name, source, BLOCK, block_form is not None, "summed" if summed else "block")


def _step(function: Callable[..., object], name: str) -> Text:
    """A function of the scratch as it stands; its annotations say what it takes."""
    given = inspect.signature(function).parameters
    names = ", ".join(given)
    kinds = tuple(str(parameter.annotation) for parameter in given.values())
    return Text(name, f"def {name}({names}):\n    wide()\n    {function.__name__}({names})\n", kinds, False, "step")
