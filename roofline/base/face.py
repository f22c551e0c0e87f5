"""The public face: what an argument may be, checked in one manner before anything else looks at it.

Sizes, options and dtypes have checks of their own, which know what is possible; here stands what would otherwise fail
far inside, with an error about something else: a number where a name belongs, a list where one chip does.
"""

from __future__ import annotations

import functools
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import numpy as np

from roofline.base.errors import BadWorkload, shown

P = ParamSpec("P")
R = TypeVar("R")


class Kind(NamedTuple):
    """What an argument may be: in words, and whether something is it."""

    words: str
    holds: Callable[[Any], bool]


def of(words: str, *types: type) -> Kind:
    """What is an instance of one of the types."""
    return Kind(words, lambda value: isinstance(value, types))


def optional(kind: Kind) -> Kind:
    """The same, or None."""
    return Kind(f"{kind.words}, or None", lambda value: value is None or kind.holds(value))


def several(kind: Kind) -> Kind:
    """A list or tuple of the same."""
    return Kind(
        f"a list, each {kind.words}", lambda value: isinstance(value, list | tuple) and all(map(kind.holds, value))
    )


TEXT = of("text", str)
NAME = of("a name or a path", str, os.PathLike)
FLAG = of("True or False", bool, np.bool_)
CALL = Kind("a function", callable)
NUMBER = Kind(
    "a number", lambda value: isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
)


def _is_table(value: object) -> bool:
    """A path or a DataFrame, told without loading pandas: who has a DataFrame has loaded it."""
    pandas = sys.modules.get("pandas")
    return NAME.holds(value) or (pandas is not None and isinstance(value, pandas.DataFrame))


TABLE = Kind("a path or a DataFrame", _is_table)


def takes(**kinds: Kind) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Refuse arguments that are nothing of the kind, those that are given by name and by position alike.

    Parameters
    ----------
    **kinds
        What each of these arguments may be.

    Raises
    ------
    BadWorkload
        When the decorated function is called with something else: which argument, what was expected and found.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        parameters = inspect.signature(function).parameters.values()
        positional = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
        rest = next((one.name for one in parameters if one.kind is one.VAR_POSITIONAL), "")

        def check(name: str, value: object) -> None:
            kind = kinds.get(name)
            if kind is not None and not kind.holds(value):
                raise BadWorkload(f"{function.__name__}: {name}: expected {kind.words}, found {shown(value)}")

        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for i, value in enumerate(args):
                check(positional[i] if i < len(positional) else rest, value)
            for name, value in kwargs.items():
                check(name, value)
            return function(*args, **kwargs)

        return checked

    return decorate
