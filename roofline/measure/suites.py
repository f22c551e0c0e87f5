"""What is measured, as data: operators, and the grid of shapes for each.

A suite is a list of grids; a grid is one operator of :mod:`roofline.work.op` with a tuple of values for each of its
keywords, of which the product is taken. Three spellings are not plain values:

- ``table_share`` gives the size of an embedding table as a share of the last-level cache; `rows` follows from it, so
  that one grid has tables that fit and tables that do not on every machine;
- ``kv_len="q_len"`` is a prompt without a cached prefix;
- a grid for several operators names them with commas.

Each suite has three sizes: `tiny` (for tests: seconds), `quick` and `full`; processors and accelerators have their own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from roofline.base.units import DTYPE_BYTES

#: A shape to measure: ``op`` and the keywords of that operator.
Case = dict[str, Any]

SIZES = ("tiny", "quick", "full")

#: Shapes of each operator and dtype that are measured and never fitted, by size.
TEST_SHAPES = {"tiny": 1, "quick": 6, "full": 16}


@dataclass(frozen=True)
class Grid:
    """One operator (or several, with commas) over the product of its axes."""

    op: str
    axes: dict[str, object] = field(default_factory=dict)

    def cases(self, cache_bytes: float) -> Iterator[Case]:
        """Every point of the grid on a machine whose last-level cache holds `cache_bytes`."""
        values = [v if isinstance(v, tuple) else (v,) for v in self.axes.values()]
        for op in self.op.split(","):
            for point in itertools.product(*values):
                yield _resolved({"op": op.strip(), **dict(zip(self.axes, point, strict=True))}, cache_bytes)

    def draw(self, random: Random, cache_bytes: float) -> Case:
        """A shape of its one operator between the grid's points, sizes at random on a scale of logs."""
        case: Case = {"op": self.op}
        for name, given in self.axes.items():
            values = given if isinstance(given, tuple) else (given,)
            if name == "nk":
                sides = [side for pair in values for side in pair]
                case["n"], case["k"] = (_between(random, min(sides), max(sides), STEP) for _ in range(2))
            elif name == "skew":
                case[name] = round(random.uniform(min(values), max(values)), 2)
            elif name in _CHOSEN or not all(isinstance(v, int | float) for v in values):
                case[name] = random.choice(values)
            elif name == "table_share":
                case[name] = math.exp(random.uniform(math.log(min(values)), math.log(max(values))))
            else:
                case[name] = _between(random, min(values), max(values), STEP if name in ("dim", "cols") else 1)
        if case.get("dtype") == "fp8":
            case["m"] = -(-case["m"] // STEP) * STEP
        return _resolved(case, cache_bytes)


#: Tables are sized by the last-level cache; by this many bytes where it is smaller or not stated.
LEAST_CACHE = 2**22

#: Inner sizes of a drawn shape are multiples of this many elements, as those of models are.
STEP = 16

# Axes of which a drawn shape takes one of the grid's values.
_CHOSEN = ("head_dim", "tables")


def _between(random: Random, low: float, high: float, step: int) -> int:
    drawn = math.exp(random.uniform(math.log(low), math.log(high)))
    return max(step, int(drawn) // step * step)


def _resolved(case: Case, cache_bytes: float) -> Case:
    if "nk" in case:
        case["n"], case["k"] = case.pop("nk")
    if "heads_kv" in case:
        case["heads"], case["kv_heads"] = case.pop("heads_kv")
    if case.get("kv_len") == "q_len":
        case["kv_len"] = case["q_len"]
    if "table_share" in case:
        row_bytes = case["dim" if "dim" in case else "cols"] * DTYPE_BYTES[case["dtype"]]
        case["rows" if "dim" in case else "table_rows"] = max(
            1000, round(case.pop("table_share") * cache_bytes / row_bytes)
        )
    return case


_MAPS = "elementwise,residual_add,rms_norm,softmax"
_MORE = "layer_norm,silu_mul"

CPU: dict[str, dict[str, list[Grid]]] = {
    "tiny": {
        "gemm": [Grid("gemm", {"m": (1, 8, 32, 96), "nk": ((128, 128), (256, 64), (64, 512)), "dtype": "fp32"})],
        "attention": [
            Grid("attention", {"batch": (1, 2), "heads_kv": ((4, 2),), "head_dim": 32, "q_len": 1, "kv_len": (32, 128),
                               "dtype": "fp32"}),
            Grid("attention", {"batch": 1, "heads_kv": ((2, 2),), "head_dim": 32, "q_len": (16, 64), "kv_len": "q_len",
                               "dtype": "fp32"}),
        ],
        "embedding": [Grid("embedding_bag", {"tables": 1, "table_share": 0.002, "dim": (32, 64), "pooling": (1, 8, 32),
                                             "batch": (16, 64), "skew": (0.0, 1.0), "dtype": ("fp32", "int8")})],
        "gather": [Grid("token_embedding", {"rows": (32, 512), "cols": 64, "table_share": 0.002, "dtype": "fp32"})],
        "elementwise": [Grid("elementwise,rms_norm,softmax", {"rows": (8, 128), "cols": (64, 256, 1024),
                                                              "dtype": "fp32"})],
    },
    "quick": {
        "gemm": [Grid("gemm", {"m": (1, 8, 32, 128, 384, 1024),
                               "nk": ((512, 512), (1024, 1024), (4096, 1024), (1024, 4096)),
                               "dtype": ("fp32", "bf16")})],
        "attention": [
            Grid("attention", {"batch": (1, 4, 16), "heads_kv": ((16, 16), (16, 4)), "head_dim": 64, "q_len": 1,
                               "kv_len": (512, 4096), "dtype": "fp32"}),
            Grid("attention", {"batch": (1, 2), "heads_kv": ((8, 8), (16, 4)), "head_dim": (64, 128),
                               "q_len": (128, 512), "kv_len": "q_len", "dtype": "fp32"}),
        ],
        "embedding": [Grid("embedding_bag", {"tables": 1, "table_share": (0.1, 4.0), "dim": (32, 128),
                                             "pooling": (1, 20, 100), "batch": (64, 1024), "skew": (0.0, 1.05),
                                             "dtype": "fp32"})],
        "gather": [Grid("token_embedding", {"rows": (64, 256, 1024, 4096, 16384), "cols": (64, 256, 1024, 4096),
                                            "table_share": 4.0, "dtype": "fp32"})],
        "elementwise": [Grid(_MAPS, {"rows": (16, 128, 1024, 4096, 8192), "cols": (256, 1024, 4096, 8192),
                                     "dtype": "fp32"})],
        "collective": [],
    },
    "full": {
        "gemm": [
            Grid("gemm", {"m": (1, 4, 16, 48, 128, 256, 512, 1024, 2048),
                          "nk": ((512, 512), (1024, 1024), (4096, 1024), (1024, 4096), (2048, 2048), (4096, 4096)),
                          "dtype": ("fp32", "bf16")}),
            Grid("gemm", {"m": (1, 16, 128, 512, 1024), "nk": ((512, 512), (1024, 1024), (4096, 1024), (1024, 4096),
                                                               (2048, 2048)), "dtype": "fp64"}),
        ],
        "attention": [
            Grid("attention", {"batch": (1, 4, 16), "heads_kv": ((16, 16), (16, 4), (32, 4)), "head_dim": (64, 128),
                               "q_len": 1, "kv_len": (256, 1024, 4096), "dtype": ("fp32", "bf16")}),
            Grid("attention", {"batch": (1, 2), "heads_kv": ((8, 8), (16, 4)), "head_dim": (64, 128),
                               "q_len": (64, 128, 256, 512, 1024), "kv_len": "q_len", "dtype": ("fp32", "bf16")}),
        ],
        "embedding": [
            Grid("embedding_bag", {"tables": 1, "table_share": (0.05, 4.0), "dim": (32, 64, 128, 256),
                                   "pooling": (1, 8, 32, 128), "batch": (64, 1024, 8192), "skew": (0.0, 1.05),
                                   "dtype": "fp32"}),
            Grid("embedding_bag", {"tables": (1, 8), "table_share": (0.05, 0.5), "dim": (32, 128),
                                   "pooling": (1, 16, 128), "batch": (64, 2048), "skew": (0.0, 1.05), "dtype": "int8"}),
        ],
        "gather": [Grid("token_embedding", {"rows": (64, 256, 1024, 4096, 16384, 65536),
                                            "cols": (64, 256, 1024, 4096), "table_share": 4.0, "dtype": "fp32"})],
        "elementwise": [Grid(f"{_MAPS},{_MORE}", {"rows": (16, 64, 256, 1024, 4096, 8192),
                                                  "cols": (256, 1024, 4096, 8192, 16384), "dtype": "fp32"})],
        "collective": [],
    },
}  # fmt: skip

#: The pooled embedding-bag sweep of an accelerator.
BAGS = Grid(
    "embedding_bag",
    {
        "tables": 1,
        "table_share": (0.2, 8.0),
        "dim": (32, 64, 128, 256, 512),
        "pooling": (1, 4, 16, 64, 128),
        "batch": (64, 512, 4096, 65536),
        "skew": (0.0, 1.05),
        "dtype": ("fp32", "fp16", "int8"),
    },
)

_GPU_NK = ((4096, 4096), (8192, 8192), (14336, 4096), (4096, 14336), (6144, 4096), (1024, 8192))
_LINKS = "all_reduce,all_gather,reduce_scatter,all_to_all"

GPU: dict[str, dict[str, list[Grid]]] = {
    "tiny": CPU["tiny"],
    "quick": {
        "gemm": [Grid("gemm", {"m": (1, 16, 64, 256, 1024, 4096), "nk": _GPU_NK[:4], "dtype": ("bf16", "fp8")})],
        "attention": [
            Grid("attention", {"batch": (1, 16, 64), "heads_kv": ((32, 8), (64, 8)), "head_dim": 128, "q_len": 1,
                               "kv_len": (1024, 8192), "dtype": "bf16"}),
            Grid("attention", {"batch": (1, 4), "heads_kv": ((32, 8), (32, 32)), "head_dim": 128,
                               "q_len": (512, 2048, 8192), "kv_len": "q_len", "dtype": "bf16"}),
        ],
        "embedding": [Grid("embedding_bag", {"tables": 1, "table_share": (0.2, 8.0), "dim": (64, 256),
                                             "pooling": (1, 16, 128), "batch": (512, 8192), "skew": (0.0, 1.05),
                                             "dtype": "fp32"})],
        "gather": [Grid("token_embedding", {"rows": (64, 1024, 4096, 16384, 65536), "cols": (64, 256, 1024, 4096),
                                            "table_share": 8.0, "dtype": "bf16"})],
        "elementwise": [Grid(_MAPS, {"rows": (16, 256, 1024, 4096, 16384), "cols": (1024, 4096, 8192, 16384),
                                     "dtype": "bf16"})],
        "collective": [Grid(_LINKS, {"bytes": tuple(2**e for e in range(10, 30, 2))})],
    },
    "full": {
        "gemm": [Grid("gemm", {"m": (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192), "nk": _GPU_NK,
                               "dtype": ("bf16", "fp16", "fp8")})],
        "attention": [
            Grid("attention", {"batch": (1, 4, 16, 64, 256), "heads_kv": ((32, 8), (64, 8), (32, 32)),
                               "head_dim": (64, 128), "q_len": 1, "kv_len": (256, 1024, 4096, 16384),
                               "dtype": ("bf16", "fp16")}),
            Grid("attention", {"batch": (1, 2, 8), "heads_kv": ((32, 8), (64, 8), (32, 32)), "head_dim": (64, 128),
                               "q_len": (128, 512, 2048, 8192, 16384), "kv_len": "q_len", "dtype": ("bf16", "fp16")}),
        ],
        "embedding": [BAGS],
        "gather": [Grid("token_embedding", {"rows": tuple(4**e for e in range(3, 11)),
                                            "cols": (32, 64, 128, 256, 512, 4096), "table_share": 8.0,
                                            "dtype": ("fp32", "bf16")})],
        "elementwise": [Grid(f"{_MAPS},{_MORE}", {"rows": (1, 16, 64, 256, 1024, 4096, 16384),
                                                  "cols": (512, 1024, 2048, 4096, 8192, 16384), "dtype": "bf16"})],
        "collective": [Grid(_LINKS, {"bytes": tuple(2**e for e in range(10, 31))})],
    },
}  # fmt: skip

#: A suite by name may be the whole of one class, or the embedding-bag sweep alone whatever the size.
NAMES = ("gemm", "attention", "embedding", "gather", "elementwise", "collective", "bags")

#: What fits a byte of working set: the streams are run at these sizes, from a few KB to several last-level caches.
STREAM_MODES = ("read", "write", "copy", "triad")


def stream_sizes(cache_bytes: float, memory_bytes: float, size: str) -> list[int]:
    """Working sets (bytes) of the bandwidth curve: geometric, past the last-level cache by four times.

    Parameters
    ----------
    cache_bytes, memory_bytes : float
        Last-level cache (0 if unknown) and installed memory.
    size : str
    """
    if size == "tiny":
        return [2**e for e in (14, 17, 20, 23)]
    top = min(4.0 * max(cache_bytes, 64 * 2**20), 0.2 * memory_bytes)
    step = 2.0 if size == "quick" else 2.0**0.5
    sizes, at = [], 16384.0
    while at < top:
        sizes.append(int(at) // 4096 * 4096)
        at *= step
    return [*sizes, int(top) // 4096 * 4096]


def cases(kind: str, size: str, names: tuple[str, ...] = (), cache_bytes: float = 0.0) -> list[Case]:
    """The cases of the named suites.

    Parameters
    ----------
    kind : str
        ``"cpu"`` or ``"gpu"``.
    size : str
        One of :data:`SIZES`.
    names : tuple of str, optional
        Of :data:`NAMES`; default: all but ``bags``, which the full size of an accelerator contains.
    cache_bytes : float, optional
        Capacity of the last-level cache.
    """
    found = [case for grid in _grids(kind, size, names) for case in grid.cases(max(cache_bytes, LEAST_CACHE))]
    return list({_identity(c): c for c in found}.values())


def _identity(case: Case) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(case.items()))


def held_out(kind: str, size: str, names: tuple[str, ...] = (), cache_bytes: float = 0.0) -> list[Case]:
    """Shapes between those of the named suites, for a verdict on what is fitted to these; none is one of theirs.

    As many of each operator and dtype as :data:`TEST_SHAPES` says; no collectives. Parameters as of :func:`cases`.
    """
    taken = {_identity(c) for c in cases(kind, size, names, cache_bytes)}
    by_class: dict[tuple[str, str], list[Grid]] = {}
    for grid in _grids(kind, size, names):
        dtypes = grid.axes.get("dtype", ())
        for op, dtype in itertools.product(grid.op.split(","), dtypes if isinstance(dtypes, tuple) else (dtypes,)):
            by_class.setdefault((op.strip(), dtype), []).append(Grid(op.strip(), {**grid.axes, "dtype": dtype}))
    drawn: list[Case] = []
    for (op, dtype), grids in by_class.items():  # collectives have no dtype: their sizes are all there is of them
        random = Random(f"0 {op} {dtype}")  # noqa: S311  the same shapes whatever else is measured
        mine: dict[object, Case] = {}
        for n in range(20 * TEST_SHAPES[size]):
            case = grids[n % len(grids)].draw(random, max(cache_bytes, LEAST_CACHE))
            if _identity(case) not in taken:
                mine.setdefault(_identity(case), case)
            if len(mine) == TEST_SHAPES[size]:
                break
        drawn += mine.values()
    return drawn


def _grids(kind: str, size: str, names: tuple[str, ...]) -> list[Grid]:
    table = (GPU if kind == "gpu" else CPU)[size]
    grids: list[Grid] = []
    for name in names or tuple(table):
        grids += [BAGS] if name == "bags" else table.get(name, [])
    return grids
