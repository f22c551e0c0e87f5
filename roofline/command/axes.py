"""The axes of a grid as the command line has them: ``batch=1,8,64``, ``clock=x0.9:x1.2:7``, ``stack=,vllm``."""

from __future__ import annotations

import re
from typing import Annotated, Any

import typer

Axis = Annotated[
    list[str] | None,
    typer.Option(
        "--axis",
        "-a",
        metavar="NAME=V1,V2,...",
        help="An axis of options, chip figures or stacks: -a batch=1,8,64 -a clock=x0.9:x1.2:7 -a stack=,vllm. "
        "START:STOP:COUNT is that many values, evenly spaced; with :log by equal ratios. One value fixes an option.",
    ),
]

#: What is no axis, and how to say it instead.
_NO_AXIS = {
    **dict.fromkeys(("chip", "chips"), "chips are given by --chip, once for each"),
    **dict.fromkeys(("model", "models"), "models are the command's arguments"),
    "check": "a grid never stops at points that do not fit; the column `fits` marks them",
    **{name: f"it is given by --{name}" for name in ("draws", "seed", "to")},
}

#: Options that are counted: what lies between two of them is rounded.
_COUNTED = ("batch", "prompt", "output", "prefix", "concurrency", "chunk", "devices")

_QUANTITY = re.compile(r"([x*\u00d7]?)([-+0-9.eE_]+)(.*)", re.DOTALL)


def options(axes: list[str]) -> dict[str, Any]:
    """The axes of the command line as options of a sweep; one value fixes an option.

    Raises
    ------
    typer.BadParameter
    """
    found: dict[str, Any] = {}
    for text in axes:
        name, equals, values = (part.strip() for part in text.partition("="))
        parts = _values(name, values) if equals and name else []
        if not parts:
            raise typer.BadParameter(f"--axis: expected NAME=V1,V2,... such as batch=1,8,64, found {text!r}")
        if name in _NO_AXIS:
            raise typer.BadParameter(f"--axis {text}: {name} is no axis: {_NO_AXIS[name]}")
        if name in found:
            both = f"{name}={','.join(str(v) for v in (*_listed(found[name]), *parts))}"
            raise typer.BadParameter(f"--axis: {name} is given twice; for both, write -a {both}")
        found[name] = parts if len(parts) > 1 else parts[0]
    return found


def _values(name: str, text: str) -> list[object]:
    if name == "stack":  # an empty one is a value: no stack
        return [part.strip() for part in text.split(",")]
    parts = [part.strip().strip("\"'") for part in text.split(",") if part.strip()]
    return [value for part in parts for value in (_between(name, part) if ":" in part else [_value(part)])]


def _between(name: str, text: str) -> list[Any]:
    """The values of START:STOP:COUNT or START:STOP:COUNT:log, in the unit of its ends."""
    import numpy as np

    first, last, *rest = (part.strip() for part in text.split(":"))
    ends = [_QUANTITY.fullmatch(end) for end in (first, last)]
    count = int(rest[0]) if rest and rest[0].isdecimal() else 0
    if not all(ends) or count < 2 or rest[1:] not in ([], ["log"], ["linear"]):
        raise typer.BadParameter(
            f"--axis {name}: expected START:STOP:COUNT or START:STOP:COUNT:log such as x0.9:x1.2:7, found {text!r}"
        )
    marks, numbers, units = zip(*(end.groups() for end in ends if end), strict=True)
    if marks[0] != marks[1] or units[0].strip() != units[1].strip():
        raise typer.BadParameter(f"--axis {name}: expected both ends in one unit, found {text!r}")
    try:
        low, high = float(numbers[0]), float(numbers[1])
    except ValueError:
        raise typer.BadParameter(f"--axis {name}: expected numbers at both ends, found {text!r}") from None
    if rest[1:] == ["log"] and not (low > 0 and high > 0):
        raise typer.BadParameter(f"--axis {name}: equal ratios need two ends above 0, found {text!r}")
    between = np.geomspace(low, high, count) if rest[1:] == ["log"] else np.linspace(low, high, count)
    if name in _COUNTED:
        return list(dict.fromkeys(np.rint(between).astype(int).tolist()))
    values = [float(f"{value:.12g}") for value in between]  # 1.1 and not 1.0999999999999999
    if not marks[0] and not units[0].strip():
        return values
    return [f"{marks[0]}{value:.12g}{units[0]}" for value in values]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _value(text: str) -> float | str | None:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if text.lower() == "default":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
