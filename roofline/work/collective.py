"""What passes between chips, and between a chip and its host; and the fixed cost of a step."""

from __future__ import annotations

from typing import Protocol

from roofline.base.numeric import Numeric, NumericLike, not_negative
from roofline.work.operator import Op
from roofline.work.sizes import amount, whole


class Collective(Protocol):
    """A collective operator."""

    __name__: str

    def __call__(
        self,
        *,
        bytes: NumericLike,
        devices: NumericLike,
        name: str = "",
        count: Numeric = 1,
        scope: str = "layer",
    ) -> Op: ...


def _collective(kind: str, doc: str) -> Collective:
    def function(
        *, bytes: NumericLike, devices: NumericLike, name: str = kind, count: Numeric = 1, scope: str = "layer"
    ) -> Op:
        args = {**amount(name, bytes=bytes), **whole(name, devices=devices)}
        return Op(kind, name, "", args, count, "", scope)

    function.__name__ = function.__qualname__ = kind
    function.__doc__ = f"""{doc}

    Parameters
    ----------
    bytes : number or array
        The full buffer of one device, as nccl-tests counts it.
    devices : number or array
        Devices that take part; with 1 it costs nothing.
    name : str
        Its label in breakdowns.
    count : number or array
        How often it runs in a step.
    scope : str
        ``"layer"`` for what a repeated layer holds, else ``"model"``.

    Returns
    -------
    Op
        To be costed with :func:`roofline.cost` or :func:`roofline.run`.

    Examples
    --------
    >>> import roofline as rl
    >>> rl.cost(rl.{kind}(bytes=[1e3, 1e9], devices=8), "h100-sxm").bound.tolist()
    ['overhead', 'network']
    """
    return function


all_reduce = _collective("all_reduce", "Every device ends with the sum of all buffers.")
all_gather = _collective("all_gather", "Every device ends with all shards; `bytes` is the gathered whole.")
reduce_scatter = _collective("reduce_scatter", "Every device ends with its shard of the sum; `bytes` is the whole.")
all_to_all = _collective("all_to_all", "Every device sends a different shard to every other; `bytes` is all it sends.")
send = _collective("send", "One device passes a buffer to another; `devices` says how many are in the chain.")


def host_copy(*, bytes: NumericLike, name: str = "host_copy", count: Numeric = 1, scope: str = "model") -> Op:
    """A transfer of `bytes` between host memory and the chip.

    Parameters
    ----------
    bytes : number or array
        What is copied.
    name : str
        Its label in breakdowns.
    count : number or array
        How often it runs in a step.
    scope : str
        ``"layer"`` for what a repeated layer holds, else ``"model"``.

    Returns
    -------
    Op
        To be costed with :func:`roofline.cost` or :func:`roofline.run`.

    Examples
    --------
    >>> import roofline as rl
    >>> copied = rl.cost(rl.host_copy(bytes=1e9), "h100-sxm")
    >>> copied.bound
    'network'
    """
    return Op("host_copy", name, "", amount(name, bytes=bytes), count, "", scope)


def step_overhead(*, name: str = "framework", count: Numeric = 1, scope: str = "model") -> Op:
    """The fixed cost of one inference step (scheduler, launch of the graph): the chip's ``overheads.step``."""
    return Op("step_overhead", name, "", {}, count, "", scope)


def serving(*, seconds: Numeric, name: str = "serving", count: Numeric = 1, scope: str = "model") -> Op:
    """The fixed work of a serving process on a batch, in seconds."""
    return Op("serving", name, "", not_negative(name, fixed_s=seconds), count, "", scope)
