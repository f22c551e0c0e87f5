"""The one place where numba is touched.

`kernel` marks a public scalar kernel; `inner` marks a helper that kernels call. Both leave the function as it is, so
a single call runs plain Python and a first answer never waits for a compiler. Arrays go through :func:`evaluate`,
which compiles on demand: numba is imported only then.

The compiled loops are cached on disk under a key made of the content of *all* kernel files: numba's own cache looks
at one file's time stamp, and returns stale results after a helper in another file changes. Where nothing can be
written the loop is compiled in memory.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import os
import pathlib
import sys
import tempfile
import types
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar, get_args

import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

#: What every kernel returns: the quantities of :data:`roofline.kernels.COST`, in that order.
Quantities = tuple[
    float, float, float, float, float, float, float, float, float, float, float, float, float, float
]  # fmt: skip

_INNER: dict[Callable[..., Any], None] = {}

#: Below this many points a plain Python loop beats loading the compiler.
SMALL = 4096

#: Below this many it does even where the loop lies compiled on the disk.
FEW = 256

#: Least points that are worth a thread of their own.
SHARE = 32768


def inner(function: Function) -> Function:
    """Mark a scalar helper that compiled kernels may call."""
    _INNER[function] = None
    return function


#: Every public kernel by name.
KERNELS: dict[str, Callable[..., Any]] = {}


def kernel(function: Function) -> Function:
    """Mark a public scalar kernel, found from then on by its name: floats in, the ``COST`` tuple out."""
    KERNELS[function.__name__] = function
    return function


def content_hash(folder: pathlib.Path | None = None) -> str:
    """A digest of every kernel source file: what a cached machine-code entry depends on."""
    folder = folder or pathlib.Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> pathlib.Path | None:
    """Where compiled loops are kept: beside the kernels, else in the user's cache folder, else nowhere."""
    import platformdirs

    key = content_hash()
    for parent in (
        pathlib.Path(__file__).parent / "__pycache__",
        pathlib.Path(platformdirs.user_cache_dir("roofline")),
    ):
        folder = parent / f"jit-{key}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                return folder
        except OSError:
            continue
    return None


@functools.cache
def _compile(function: Callable[..., Any]) -> Any:
    """The loop over points around one kernel, compiled; the GIL is released while it runs."""
    import numba

    source, name = _loop_source(function)
    folder = cache_folder()
    namespace = _jitted_globals(function)
    if folder is None:
        exec(compile(source, f"<{name}>", "exec"), namespace)  # our own text, made of argument names
        return numba.njit(nogil=True)(namespace[name])
    # numba finds the cache through the file that holds the function, so the loop gets a file of its own.
    path = folder / f"{name}.py"
    if not path.exists():
        scratch = path.with_suffix(f".{os.getpid()}")
        scratch.write_text(source)
        os.replace(scratch, path)
    exec(compile(source, str(path), "exec"), namespace)
    return numba.njit(nogil=True, cache=True)(namespace[name])


def _loop_source(function: Callable[..., Any]) -> tuple[str, str]:
    """The loop as text, and its name. Columns of one number have a step of 0: one type of arguments, compiled once."""
    names = list(inspect.signature(function).parameters)
    name = f"{function.__module__.rpartition('.')[2]}_{function.__name__}_loop"
    columns = ", ".join(f"a{i}" for i in range(len(names)))
    point = ", ".join(f"a{i}[p * steps[{i}]]" for i in range(len(names)))
    source = (
        f"def {name}(out, first, last, steps, {columns}):\n"
        f"    for p in range(first, last):\n"
        f"        cost = {function.__name__}({point})\n"
        f"        for q in range(out.shape[0]):\n"
        f"            out[q, p] = cost[q]\n"
    )
    return source, name


def _jitted_globals(function: Callable[..., Any]) -> dict[str, Any]:
    """The kernel and every helper it can reach, each compiled, under the names its module calls them by."""
    import numba

    done: dict[Callable[..., Any], Any] = {}

    def compiled(f: Callable[..., Any]) -> Any:
        if f not in done:
            # A copy of the function whose globals hold the compiled helpers in place of the plain ones.
            scope = {k: (compiled(v) if _known(v) else v) for k, v in f.__globals__.items() if k in f.__code__.co_names}
            scope |= {"__builtins__": f.__globals__["__builtins__"], "__name__": f.__module__}
            clone = types.FunctionType(f.__code__, scope, f.__name__, f.__defaults__, f.__closure__)
            done[f] = numba.njit(nogil=True)(clone)
        return done[f]

    # numba imports the module of a cached function by name when it loads it.
    return {function.__name__: compiled(function), "__builtins__": __builtins__, "__name__": function.__module__}


def _known(value: Any) -> bool:
    return callable(value) and inspect.isfunction(value) and value in _INNER


def evaluate(function: Callable[..., Any], arguments: Sequence[Any], size: int) -> np.ndarray:
    """Run a kernel over `size` points.

    Parameters
    ----------
    function : callable
        A scalar kernel.
    arguments : sequence of float or ndarray
        One per parameter: a float, or a one-dimensional float64 array of length `size`.
    size : int
        Number of points.

    Returns
    -------
    ndarray
        Shape (len(COST), size), float64.
    """
    if function not in _COMPILED and not _worth_compiling(function, size):
        lists = [a.tolist() if isinstance(a, np.ndarray) else [a] * size for a in arguments]
        points = zip(*lists, strict=True) if lists else iter([()] * size)
        return np.array([function(*point) for point in points], dtype=np.float64).T.reshape(-1, size)
    columns = [np.ascontiguousarray(a, dtype=np.float64).reshape(-1) for a in arguments]
    steps = np.array([int(isinstance(a, np.ndarray)) for a in arguments], dtype=np.int64)
    loop = _compile(function)
    _COMPILED.add(function)
    out = np.empty((len(get_args(Quantities)), size))
    parts = min(os.cpu_count() or 1, size // SHARE)
    if parts < 2:
        loop(out, 0, size, steps, *columns)
        return out
    edges = [size * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as threads:  # the loops give the interpreter's lock back
        list(threads.map(lambda first, last: loop(out, first, last, steps, *columns), edges[:-1], edges[1:]))
    return out


def _worth_compiling(function: Callable[..., Any], size: int) -> bool:
    """Whether a compiled loop is sooner done: with many points, or with some where it lies compiled on the disk."""
    if size >= SMALL or size < FEW or "numba" not in sys.modules:
        return size >= SMALL
    folder = cache_folder()
    return folder is not None and any(folder.rglob(f"{_loop_source(function)[1]}.*.nbi"))


_COMPILED: set[Callable[..., Any]] = set()
