"""Chrome traces of the PyTorch profiler -> points, matched to operators where the trace has shapes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from roofline.base.errors import BadData, BadWorkload, shown
from roofline.profiles.nsight import kind as kind_of_kernel, short_name
from roofline.profiles.numerals import number
from roofline.profiles.points import operator

#: A JSON object of the trace, and a node of the tree made of them; and what was called, as a row of a table has it.
Event: TypeAlias = dict[str, Any]
Call: TypeAlias = dict[str, Any]

_DTYPES = {
    "float": "fp32",
    "double": "fp64",
    "c10::BFloat16": "bf16",
    "c10::Half": "fp16",
    "signed char": "int8",
    "c10::Float8_e4m3fn": "fp8",
    "c10::Float8_e5m2": "fp8",
    "c10::Float8_e4m3fnuz": "fp8",
}
MAX_EVENTS = 5_000_000

#: Objects and lists in a trace, its events' own among them: a small text may be of nothing else.
MAX_NODES = 4 * MAX_EVENTS


def points(text: str, file: str) -> Iterator[Event]:
    """One point an operator call.

    On a processor an operator that can be matched takes the time of all that it calls; any other takes what its
    callees leave. With a GPU's kernels in the trace, their times count, under the operator that launched them.

    Raises
    ------
    BadData
        When the file is no trace, or an event lacks its time: names the key.
    """
    events = _events(text, file)
    kernels = [e for e in events if e.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    calls = [e for e in events if e.get("cat") in ("cpu_op", "Operator", "operator")]
    if not kernels and not calls:
        raise BadData(
            f"{file}: key 'traceEvents': no event of category 'cpu_op' or 'kernel'; is it a trace of the "
            f"PyTorch profiler?"
        )
    timed = [(e, *_times(e, file)) for e in calls]
    tree = _tree(timed, file)
    if kernels:
        yield from _on_device(kernels, tree, file)
        return
    for node in tree:
        if node["owner"] is not None:
            continue
        call = node["call"]
        time_us = node["dur"] if call else node["dur"] - sum(c["dur"] for c in node["children"])
        if time_us > 0:
            yield {"op": node["name"].removeprefix("aten::"), "kind": "", "time_s": time_us * 1e-6, "call": call}


def _events(text: str, file: str) -> list[Event]:
    nodes = text.count("{") + text.count("[")
    if nodes > MAX_NODES:
        raise BadData(f"{file}: expected at most {MAX_NODES:,} objects and lists, found {nodes:,}")
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadData(f"{file}: not valid JSON: {error}") from None
    if isinstance(found, dict):
        if "traceEvents" not in found:
            raise BadData(f"{file}: no key 'traceEvents': expected a Chrome trace, found keys {shown(list(found)[:8])}")
        found = found["traceEvents"]
    if not isinstance(found, list):
        raise BadData(f"{file}: key 'traceEvents': expected a list, found {type(found).__name__}")
    if len(found) > MAX_EVENTS:
        raise BadData(f"{file}: key 'traceEvents': expected at most {MAX_EVENTS:,} events")
    for n, event in enumerate(found):
        if not isinstance(event, dict):
            raise BadData(f"{file}: traceEvents[{n}]: expected an object, found {shown(event)}")
    return [e for e in found if e.get("ph") == "X"]


def _times(event: Event, file: str) -> tuple[float, float]:
    for key in ("ts", "dur"):
        if key not in event:
            raise BadData(f"{file}: event {shown(event.get('name'))}: no key {key!r}")
    where = f"{file}: event {shown(event.get('name'))}, key "
    return number(event["ts"], where + "'ts'"), number(event["dur"], where + "'dur'")


def _tree(timed: list[tuple[Event, float, float]], file: str) -> list[Event]:
    """Calls with what they call; `owner` is the matched operator that a call is part of."""
    nodes: list[Event] = []
    stacks: dict[object, list[Event]] = {}
    for event, ts, dur in sorted(timed, key=lambda t: (t[1], -t[2])):
        node: Event = {
            "name": str(event.get("name", "")),
            "ts": ts,
            "dur": dur,
            "children": [],
            "owner": None,
            "call": _matched(event),
            "id": _id(_args(event), "External id", event, file),
        }
        thread = (_id(event, "pid", event, file), _id(event, "tid", event, file))
        stack = stacks.setdefault(thread, [])
        while stack and ts >= stack[-1]["ts"] + stack[-1]["dur"]:
            stack.pop()
        if stack:
            parent = stack[-1]
            parent["children"].append(node)
            node["owner"] = parent["owner"] or (parent if parent["call"] else None)
        stack.append(node)
        nodes.append(node)
    return nodes


def _on_device(kernels: list[Event], tree: list[Event], file: str) -> Iterator[Event]:
    by_id = {node["id"]: node for node in tree if node["id"] is not None}
    sums: dict[int, float] = {}
    owners: dict[int, Event] = {}
    for event in kernels:
        _, dur = _times(event, file)
        args = _args(event)
        linked = _id(args, "External id", event, file) if "External id" in args else _id(event, "id", event, file)
        node = by_id.get(linked)
        owner = (node["owner"] or node) if node else None
        if owner is not None and owner["call"]:
            owners[id(owner)] = owner
            sums[id(owner)] = sums.get(id(owner), 0.0) + dur
        else:
            name = str(event.get("name", ""))
            yield {"op": short_name(name), "kind": kind_of_kernel(name), "time_s": dur * 1e-6}
    for key, owner in owners.items():
        yield {"op": owner["name"].removeprefix("aten::"), "time_s": sums[key] * 1e-6, "call": owner["call"]}


def _id(holder: Event, key: str, event: Event, file: str) -> int | float | str | None:
    """What tells a thing of a trace from others: a number or a name."""
    found = holder.get(key)
    if found is None or isinstance(found, int | float | str):
        return found
    raise BadData(
        f"{file}: event {shown(event.get('name'))}, key {key!r}: expected a number or text, found {shown(found)}"
    )


def _args(event: Event) -> Event:
    found = event.get("args")
    return found if isinstance(found, dict) else {}


def _matched(event: Event) -> Call | None:
    """The operator of a call, where its name is known and the trace has its shapes."""
    reader = _READERS.get(str(event.get("name", "")))
    args = _args(event)
    shapes, types = args.get("Input Dims"), args.get("Input type")
    if reader is None or not isinstance(shapes, list) or not isinstance(types, list):
        return None
    try:
        call = reader(_Inputs(shapes, types, args.get("Concrete Inputs") or []))
        if call is None or not call.get("dtype"):
            return None
        operator(call)
    except (LookupError, TypeError, ValueError, ArithmeticError, BadWorkload):
        return None  # an overload with other arguments: its time counts, its shape does not
    return call


class _Inputs:
    """Shapes and dtypes of a call's inputs, by position."""

    def __init__(self, shapes: list[object], types: list[object], values: list[object]) -> None:
        self.shapes, self.types, self.values = shapes, types, values

    def __getitem__(self, place: int) -> list[int]:
        shape = self.shapes[place]
        if not isinstance(shape, list) or not shape or not all(type(n) is int and 0 < n < 2**48 for n in shape):
            raise ValueError
        return shape

    def dtype(self, place: int = 0) -> str:
        return _DTYPES.get(str(self.types[place]), "")


#: Makes the call of a profiler's event; None where its shapes are not those of the operator.
Reader: TypeAlias = Callable[[_Inputs], Call | None]


def _product(a: int, b: int, dtype: int | None = None) -> Reader:
    def read(inputs: _Inputs) -> Call | None:
        left, right = inputs[a], inputs[b]
        if len(left) != len(right) or len(left) not in (2, 3) or left[-1] != right[-2]:
            return None
        call = {"op": "gemm", "m": left[-2], "k": left[-1], "n": right[-1], "dtype": inputs.dtype(a)}
        return call | ({"batch": left[0]} if len(left) == 3 else {})

    return read


def _attention(inputs: _Inputs) -> Call | None:
    q, k = inputs[0], inputs[1]
    if len(q) != 4 or len(k) != 4:
        return None
    causal = q[2] > 1 and any(str(v) == "True" for v in inputs.values)
    return {
        "op": "attention",
        "batch": q[0],
        "heads": q[1],
        "kv_heads": k[1],
        "head_dim": q[3],
        "q_len": q[2],
        "kv_len": k[2],
        "causal": causal,
        "dtype": inputs.dtype(),
    }


def _bag(inputs: _Inputs) -> Call | None:
    (rows, dim), indices, offsets = inputs[0], inputs[1], inputs[2]
    bags = offsets[0] - 1 if inputs.values[7:8] == ["True"] else offsets[0]  # include_last_offset
    return {
        "op": "embedding_bag",
        "batch": bags,
        "tables": 1,
        "rows": rows,
        "dim": dim,
        "pooling": math.prod(indices) / bags,
        "dtype": inputs.dtype(),
    }


def _embedding(inputs: _Inputs) -> Call | None:
    return {"op": "token_embedding", "rows": math.prod(inputs[1]), "cols": inputs[0][-1], "dtype": inputs.dtype()}


def _rows(op: str, **options: object) -> Reader:
    def read(inputs: _Inputs) -> Call | None:
        shape = inputs[0]
        return {"op": op, "rows": math.prod(shape[:-1]) or 1, "cols": shape[-1], "dtype": inputs.dtype(), **options}

    return read


def _pointwise(inputs: _Inputs) -> Call | None:
    """Two tensors, of which one may be broadcast."""
    shape, other = inputs[0], inputs.shapes[1]
    both = isinstance(other, list) and bool(other) and math.prod(inputs[1]) == math.prod(shape)
    return {
        "op": "elementwise",
        "rows": math.prod(shape[:-1]) or 1,
        "cols": shape[-1],
        "reads": 2 if both else 1,
        "dtype": inputs.dtype(),
    }


_READERS: dict[str, Reader] = {
    "aten::mm": _product(0, 1), "aten::bmm": _product(0, 1), "aten::addmm": _product(1, 2),
    "aten::baddbmm": _product(1, 2), "aten::_scaled_mm": _product(0, 1), "aten::_addmm_activation": _product(1, 2),
    "aten::_scaled_dot_product_flash_attention": _attention,
    "aten::_scaled_dot_product_flash_attention_for_cpu": _attention,
    "aten::_scaled_dot_product_efficient_attention": _attention,
    "aten::_scaled_dot_product_cudnn_attention": _attention,
    "aten::_embedding_bag": _bag, "aten::_embedding_bag_forward_only": _bag, "aten::embedding": _embedding,
    "aten::native_layer_norm": _rows("layer_norm"), "aten::_fused_rms_norm": _rows("rms_norm"),
    "aten::_softmax": _rows("softmax"), "aten::gelu": _rows("activation"), "aten::silu": _rows("activation"),
    "aten::relu": _rows("activation"), "aten::clamp_min": _rows("activation"),
    "aten::add": _pointwise, "aten::mul": _pointwise, "aten::sub": _pointwise, "aten::div": _pointwise,
}  # fmt: skip
