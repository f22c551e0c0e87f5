"""Plain words of a command line as values, without the library that typer checks them with.

Typer makes a validator of pydantic for every option of a command, of those too that were not given, and so imports it:
half of what a short command takes. Text, and numbers written as everybody writes them, need none. Anything else is left
to typer, which also says what is wrong with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

_PLAIN: dict[Any, re.Pattern[str]] = {
    int: re.compile(r"[+-]?[0-9]{1,15}"),
    float: re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]{0,15})?"),
    str: re.compile(r".*", re.DOTALL),
}
_LISTS = {list[str]: str, list[int]: int, list[float]: float}


def read_plainly(parameters: Iterable[Any]) -> None:
    """Have the parameters of a command read plain words by themselves, its option for help among them."""
    for parameter in parameters:
        usual = getattr(parameter, "get_runtime_param", None)
        described: Any = getattr(parameter, "type_descriptor", None)
        about = getattr(described, "parameter_info", None)
        if callable(usual) and about is not None and _is_free(about):
            parameter.get_runtime_param = _Reader(described.annotation, usual).itself


def _is_free(about: object) -> bool:
    """Whether typer takes any value of the type: no limits, no parser of its own."""
    return all(getattr(about, name, "") is None for name in ("min", "max", "parser"))


class _Reader(NamedTuple):
    """What typer calls its runtime parameter, for a type; `usual` makes typer's own."""

    annotation: Any
    usual: Callable[[], Any]

    def itself(self) -> _Reader:
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        many = param.multiple or param.nargs == -1
        if value is None:
            return () if many else None
        words = value if many and isinstance(value, list | tuple) else (value,)
        kind: Any = _LISTS.get(self.annotation) if many else self.annotation
        pattern = _PLAIN.get(kind)
        if pattern is not None and all(isinstance(word, str) and pattern.fullmatch(word) for word in words):
            read = [kind(word) for word in words]
            return read if many else read[0]
        return self.usual().coerce(value, param=param, ctx=ctx)
