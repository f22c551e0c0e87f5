"""An operator as a value: what it is called, what it computes on, how often it runs."""

from __future__ import annotations

from dataclasses import dataclass, field

from roofline.base.numeric import MOST, Numeric, not_negative
from roofline.base.units import DTYPE_BYTES


@dataclass(slots=True)  # not frozen: that would cost a fifth of an estimate; nothing changes one in place
class Op:
    """One operator of a workload, treated as a value.

    Attributes
    ----------
    kind : str
        The operator class: names its kernel and its efficiency parameters (``"gemm"``, ``"rms_norm"``).
    name : str
        The label in breakdowns (``"qkv_proj"``).
    dtype : str
        The dtype of the arithmetic: which peak rate applies; empty where nothing is computed.
    args : dict
        Operator arguments of the kernel, by name; sizes in elements, widths in bytes per element.
    count : number or array
        How often it runs in a step.
    shard : str
        How tensor parallelism splits it; see ``parallel.py``.
    scope : str
        ``"layer"`` for what a repeated layer holds (pipeline stages divide these), else ``"model"``.
    kernel : str
        The kernel that costs it; default: the one named like `kind`. The kin of ``elementwise`` share one.
    """

    kind: str
    name: str
    dtype: str
    args: dict[str, Numeric] = field(default_factory=dict)
    count: Numeric = 1
    shard: str = ""
    scope: str = "layer"
    kernel: str = ""

    def __post_init__(self) -> None:
        if not self.kernel:
            self.kernel = self.kind
        if not (type(self.count) is int and 0 <= self.count < MOST):  # the usual one is not looked at twice
            self.count = not_negative(self.name, count=self.count)["count"]

    def times(self, count: Numeric) -> Op:
        """The same operator, run `count` times as often."""
        return self._with(self.args, self.count * count)

    def with_args(self, **changes: Numeric) -> Op:
        """The same operator with some arguments changed."""
        return self._with({**self.args, **changes}, self.count)

    def _with(self, args: dict[str, Numeric], count: Numeric) -> Op:
        return Op(self.kind, self.name, self.dtype, args, count, self.shard, self.scope, self.kernel)


def wide(dtype: str) -> str:
    """The dtype in which activations travel: 8-bit and narrower arithmetic reads and writes 16-bit activations."""
    return dtype if DTYPE_BYTES[dtype] >= 2 else "bf16"
