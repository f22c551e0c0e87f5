"""The one place where numba is touched.

`kernel` marks a public scalar kernel; `inner` marks a helper that kernels call. Both leave the function as it is, so
a single call runs plain Python and a first answer never waits for a compiler. Arrays go through :func:`evaluate`,
which compiles on demand: numba is imported only then.

The compiled loops are cached on disk under a key made of the content of *all* kernel files: numba's own cache looks
at one file's time stamp, and returns stale results after a helper in another file changes. Where nothing can be
written the loop is compiled in memory, and what is damaged is made anew; either is told once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import os
import pathlib
import sys
import tempfile
import types
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from roofline.kernels.quantities import Quantities

Function = TypeVar("Function", bound=Callable[..., Any])

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
    """Mark a public scalar kernel, found from then on by its name: floats in, `Quantities` out."""
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

    folder = cache_folder()
    loop = None if folder is None else _kept(function, folder)
    if loop is None:
        source, name = _loop_source(function)
        loop = numba.njit(nogil=True)(_defined(function, source, name, f"<{name}>"))
    return loop


def _defined(function: Callable[..., Any], source: str, name: str, file: str) -> Any:
    namespace = _jitted_globals(function)
    exec(compile(source, file, "exec"), namespace)  # our own text, made of argument names
    return namespace[name]


def _kept(function: Callable[..., Any], folder: pathlib.Path) -> Any:
    """The loop as the cache has it, or compiled and put there; None where neither can be.

    What is damaged there is thrown away and made anew: reading garbage raises whatever it likes.
    """
    import numba

    source, name = _loop_source(function)
    path = folder / f"{name}.py"
    f8, i8 = numba.float64, numba.int64
    columns = [f8[::1]] * len(inspect.signature(function).parameters)
    signature = (f8[:, ::1], i8, i8, i8[::1], *columns)
    for _ in range(2):
        places = [folder]
        try:
            _put(path, source)
            loop = numba.njit(nogil=True, cache=True)(_defined(function, source, name, str(path)))
            places.append(pathlib.Path(loop.stats.cache_path or folder))  # elsewhere if NUMBA_CACHE_DIR says so
            try:
                loop.compile(signature)
            except OSError as error:
                if not loop.signatures:  # not even compiled
                    raise
                _tell("keep", f"{folder} cannot keep compiled loops ({error}): every process compiles them anew")
            return loop
        except numba.core.errors.NumbaError:
            raise
        except OSError as error:
            _tell("keep", f"{folder} cannot keep compiled loops ({error}): they are compiled in memory")
            return None
        except Exception as error:
            _tell("damage", f"a compiled loop in {folder} was damaged ({name}: {error!r}) and is made anew")
            _discard(name, places)
    return None


def _put(path: pathlib.Path, source: str) -> None:
    """Give the loop a file of its own: numba finds the cache through the file that holds the function."""
    if path.exists() and path.read_bytes() == source.encode():
        return
    scratch = path.with_suffix(f".{os.getpid()}")
    try:
        scratch.write_bytes(source.encode())
        os.replace(scratch, path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise


def _discard(name: str, folders: Sequence[pathlib.Path]) -> None:
    """Remove what is kept of one loop; other processes may be doing the same."""
    for folder in folders:
        for file in folder.rglob(f"{name}*"):
            with contextlib.suppress(OSError):
                file.unlink()


def _tell(what: str, message: str) -> None:
    """Warn, once a process of each kind of trouble."""
    if what not in _TOLD:
        _TOLD.add(what)
        warnings.warn(message, RuntimeWarning, stacklevel=2)


_TOLD: set[str] = set()


def _loop_source(function: Callable[..., Any]) -> tuple[str, str]:
    """The loop as text, and its name. Columns of one number have a step of 0: one type of arguments, compiled once."""
    names = list(inspect.signature(function).parameters)
    name = f"{function.__module__.rpartition('.')[2]}_{function.__name__}_loop"
    columns = ", ".join(f"a{i}" for i in range(len(names)))
    point = ", ".join(f"a{i}[p * steps[{i}]]" for i in range(len(names)))
    stores = "".join(f"        out[{q}, p] = cost[{q}]\n" for q in range(len(Quantities._fields)))
    source = (
        f"def {name}(out, first, last, steps, {columns}):\n"
        f"    for p in range(first, last):\n"
        f"        cost = {function.__name__}({point})\n"
        f"{stores}"
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
    columns = [_column(a) for a in arguments]
    steps = np.array([int(isinstance(a, np.ndarray)) for a in arguments], dtype=np.int64)
    loop = _compile(function)
    _COMPILED.add(function)
    out = np.empty((len(Quantities._fields), size))
    parts = min(os.cpu_count() or 1, size // SHARE)
    if parts < 2:
        loop(out, 0, size, steps, *columns)
        return out
    edges = [size * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts) as threads:  # the loops give the interpreter's lock back
        list(threads.map(lambda first, last: loop(out, first, last, steps, *columns), edges[:-1], edges[1:]))
    return out


def _column(argument: Any) -> np.ndarray:
    """An argument as the compiled loop takes it: what cannot be written to would be another type to numba."""
    column = np.ascontiguousarray(argument, dtype=np.float64).reshape(-1)
    return column if column.flags.writeable else column.copy()


def _worth_compiling(function: Callable[..., Any], size: int) -> bool:
    """Whether a compiled loop is sooner done: with many points, or with some where it lies compiled on the disk."""
    if size >= SMALL or size < FEW or "numba" not in sys.modules:
        return size >= SMALL
    folder = cache_folder()
    return folder is not None and any(folder.rglob(f"{_loop_source(function)[1]}.*.nbi"))


_COMPILED: set[Callable[..., Any]] = set()
