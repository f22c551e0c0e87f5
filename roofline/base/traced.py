"""Arithmetic written down as it is done, so that it can be done again with other numbers, without what was around it.

A :class:`Traced` number stands for an argument of a function. Everything done to it by arithmetic is done to its
present value and written down; where a decision is taken on it, so is the way that it went. The result is a straight
piece of Python (:meth:`Tape.function`), which does the same operations in the same order on other numbers, and returns
None for numbers with which a decision would have gone another way. What is no arithmetic (a function of numpy, a table
looked up) refuses a traced number: then there is nothing to be done again.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np

#: A longer piece of arithmetic is no longer sooner done than what it was written down from.
MOST_LINES = 4000

_OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "//": operator.floordiv,
    "%": operator.mod, "**": operator.pow, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "==": operator.eq, "!=": operator.ne, "&": operator.and_, "|": operator.or_,
}  # fmt: skip


class NotTraced(TypeError):
    """Something was done to a traced number that is no arithmetic."""


class Tape:
    """What was done to some numbers.

    Parameters
    ----------
    numbers : mapping of str to number
        The arguments by name, with the values that they have while it is written down.
    """

    def __init__(self, numbers: Mapping[str, float]) -> None:
        self.numbers = {name: Traced(self, name, value) for name, value in numbers.items()}
        self._known: dict[str, Traced] = {}
        self._lines: list[str] = []
        self._decided: set[str] = set()

    def write(self, text: str, value: Any) -> Traced:
        """The number that an expression gives; an expression that was met before gives the same."""
        if text not in self._known:
            if len(self._lines) >= MOST_LINES:
                raise NotTraced("too long a calculation to be written down")
            self._known[text] = Traced(self, f"v{len(self._known)}", value)
            self._lines.append(f"{self._known[text].name} = {text}")
        return self._known[text]

    def decide(self, one: Traced) -> bool:
        """The way that a decision goes, from now on the only one."""
        truth = bool(one.value)
        if one.name not in self._decided:
            self._decided.add(one.name)
            self._lines.append(f"if {'not ' if truth else ''}{one.name}: return None")
        return truth

    def function(self, results: Sequence[Any]) -> Callable[..., tuple[Any, ...] | None]:
        """Arguments by position, in the order of the mapping -> these results for them, or None."""
        lines = ["def again(" + ", ".join(self.numbers) + "):", *self._lines]
        lines.append("return (" + "".join(f"{_text(one)}, " for one in results) + ")")
        namespace: dict[str, Any] = {}
        exec(compile("\n    ".join(lines), "<written down>", "exec"), namespace)  # noqa: S102  our own text: names and numbers
        function: Callable[..., tuple[Any, ...] | None] = namespace["again"]
        return function


def _text(operand: Any) -> str:
    """A traced number's name, or a number as Python reads it."""
    if type(operand) is Traced:
        return operand.name
    if isinstance(operand, np.generic):
        operand = operand.item()
    if type(operand) is float and operand - operand != 0.0:
        raise NotTraced("an infinity has no name")
    if type(operand) not in (int, float, bool):
        raise NotTraced(f"no arithmetic with {type(operand).__name__}")
    return f"({operand!r})"


def _present(operand: Any) -> Any:
    return operand.value if type(operand) is Traced else operand


def _binary(symbol: str) -> Callable[[Traced, Any], Traced]:
    def method(self: Traced, other: Any) -> Traced:
        value = _OPERATORS[symbol](self.value, _present(other))
        return self.tape.write(f"{self.name} {symbol} {_text(other)}", value)

    return method


def _reflected(symbol: str) -> Callable[[Traced, Any], Traced]:
    def method(self: Traced, other: Any) -> Traced:
        value = _OPERATORS[symbol](_present(other), self.value)
        return self.tape.write(f"{_text(other)} {symbol} {self.name}", value)

    return method


class Traced:
    """A number that writes down what is done to it."""

    __slots__ = ("name", "tape", "value")
    __array_ufunc__ = None  # numpy's numbers leave arithmetic with it to it
    __hash__ = None  # type: ignore[assignment]  # no table may keep it

    def __init__(self, tape: Tape, name: str, value: Any) -> None:
        self.tape, self.name, self.value = tape, name, value

    __add__, __radd__ = _binary("+"), _reflected("+")
    __sub__, __rsub__ = _binary("-"), _reflected("-")
    __mul__, __rmul__ = _binary("*"), _reflected("*")
    __truediv__, __rtruediv__ = _binary("/"), _reflected("/")
    __floordiv__, __rfloordiv__ = _binary("//"), _reflected("//")
    __mod__, __rmod__ = _binary("%"), _reflected("%")
    __pow__, __rpow__ = _binary("**"), _reflected("**")
    __and__, __rand__ = _binary("&"), _reflected("&")
    __or__, __ror__ = _binary("|"), _reflected("|")
    __lt__, __le__, __gt__, __ge__ = (_binary(symbol) for symbol in ("<", "<=", ">", ">="))
    __eq__, __ne__ = _binary("=="), _binary("!=")  # type: ignore[assignment]

    def __neg__(self) -> Traced:
        return self.tape.write(f"-{self.name}", -self.value)

    def __bool__(self) -> bool:
        return self.tape.decide(self)

    def _refuse(self, *_: object) -> NoReturn:
        raise NotTraced("what is no arithmetic cannot be written down")

    __float__ = __int__ = __index__ = __array__ = __len__ = __iter__ = __format__ = _refuse
