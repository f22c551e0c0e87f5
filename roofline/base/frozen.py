"""Tables that nobody can change: what several parts of a program hold at once stays what it was."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NoReturn, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class ReadOnly(dict[K, V]):
    """A dict that refuses every change. Looked up, compared, copied and pickled as any other; ``dict(it)`` is free."""

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("this table is read-only: dict(table) is a copy to change, and what_if makes a changed chip")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (dict(self),)

    def __copy__(self) -> ReadOnly[K, V]:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> ReadOnly[K, V]:
        return type(self)(copy.deepcopy(dict(self), memo))


def read_only(table: Mapping[K, object]) -> ReadOnly[K, object]:
    """The table, and the tables in it, made read-only; one that is already so is itself."""
    if isinstance(table, ReadOnly):
        return table
    return ReadOnly({key: read_only(value) if isinstance(value, dict) else value for key, value in table.items()})
