"""A workload: operators with counts. It knows shapes and dtypes, never a chip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roofline.base.numeric import Numeric
from roofline.work.op import Op

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Workload:
    """The operators of one step, in order.

    Attributes
    ----------
    ops : tuple of Op
    """

    ops: tuple[Op, ...]

    def __iter__(self) -> Iterator[Op]:
        return iter(self.ops)

    def __len__(self) -> int:
        return len(self.ops)

    def __add__(self, other: Workload) -> Workload:
        return Workload(self.ops + other.ops)

    def map(self, change: Callable[[Op], Op | Iterable[Op]]) -> Workload:
        """Each operator replaced by what `change` returns for it: one operator or several."""
        out: list[Op] = []
        for op in self.ops:
            new = change(op)
            out.extend([new] if isinstance(new, Op) else new)
        return Workload(tuple(out))

    def times(self, count: Numeric) -> Workload:
        """The same operators, each run `count` times as often."""
        return Workload(tuple(op.times(count) for op in self.ops))

    @property
    def frame(self) -> pd.DataFrame:
        """The operators as columns: name, kind, dtype, count, and one column per argument."""
        import pandas as pd

        records: list[dict[str, Any]] = [
            {"op": op.name, "kind": op.kind, "dtype": op.dtype, "count": op.count, **op.args} for op in self.ops
        ]
        return pd.DataFrame.from_records(records)


def workload(*ops: Op | Iterable[Op]) -> Workload:
    """Collect operators, single or in groups, into a :class:`Workload`."""
    out: list[Op] = []
    for item in ops:
        out.extend([item] if isinstance(item, Op) else item)
    return Workload(tuple(out))
