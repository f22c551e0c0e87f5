"""What the page shows, as the call that gives it: in Python, and on the command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from roofline.explorer.options import Value
from roofline.explorer.state import Pick, State
from roofline.explorer.stock import Stock


def as_python(state: State, stock: Stock) -> str:
    """A script that gives the estimates of a state as ``estimates``, in the order of its chips."""
    lines = ["import roofline as rl", "", f"model = rl.load_model({_quoted(stock.model_source(state.model))})"]
    asked = "".join(f", {name}={value!r}" for name, value in state.options)
    if len(state.picks) == 1:
        lines += [f"chip = {_chip(state.picks[0], stock)}", f"est = rl.estimate(model, chip{asked})"]
        return "\n".join([*lines, "estimates = [est]", ""])
    lines += ["chips = [", *(f"    {_chip(pick, stock)}," for pick in state.picks), "]"]
    return "\n".join([*lines, f"estimates = [rl.estimate(model, chip{asked}) for chip in chips]", ""])


def _chip(pick: Pick, stock: Stock) -> str:
    text = f"rl.load_chip({_quoted(stock.chip_source(pick.chip))})"
    if pick.stack:
        text += f".on_stack({_quoted(pick.stack)})"
    if pick.changes:
        text += f".what_if({{{', '.join(f'{_quoted(path)}: {_quoted(new)}' for path, new in pick.changes)}}})"
    return text


def _quoted(text: str) -> str:
    """A string of Python in double quotes, as this house writes them."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def as_command(state: State, stock: Stock) -> str:
    """The command that prints the estimates of a state: a line for each of its chips."""
    return "\n".join(shlex.join(_words(state, pick, stock)) for pick in state.picks) + "\n"


def _words(state: State, pick: Pick, stock: Stock) -> Iterable[str]:
    yield from ("roofline", "estimate", stock.model_source(state.model), "--chip", stock.chip_source(pick.chip))
    if pick.stack:
        yield from ("--stack", pick.stack)
    for path, new in pick.changes:
        yield from ("--set", f"{path}={new}")
    for name, value in state.options:
        yield from _option(name, value)


def _option(name: str, value: Value) -> Iterable[str]:
    flag = f"--{name.replace('_', '-')}"
    if not isinstance(value, bool):
        yield from (flag, str(value))
    elif name == "fused":
        yield "--fused" if value else "--one-by-one"
    elif value:
        yield flag
