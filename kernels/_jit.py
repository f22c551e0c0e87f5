"""The one place where numba is touched.

`kernel` marks a public scalar kernel, `inner` a helper that kernels call, `block_of` a kernel's form over a block of
points where the compiler makes a better loop of it than of the scalar kernel. All leave the function as it is, so a
single call runs plain Python and a first answer never waits for a compiler. Arrays go through :func:`evaluate` or
:func:`block`, which compile once enough points have come by: numba is imported only then.

The compiled loops are cached on disk under a key made of the content of *all* kernel files: numba's own cache looks
at one file's time stamp, and returns stale results after a helper in another file changes. Where nothing can be
written the loop is compiled in memory, and what is damaged is made anew; either is told once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import math
import os
import pathlib
import sys
import tempfile
import threading
import types
import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from roofline.kernels import _loops, _native, sums
from roofline.kernels.quantities import Quantities

Function = TypeVar("Function", bound=Callable[..., Any])

_INNER: dict[Callable[..., object], None] = dict.fromkeys((_native.call, _native.address_of, _native.wide))

#: Points of one kernel that plain Python does in the time that compiling it takes.
SMALL = 100_000

#: Below this many it does where the loop lies compiled on the disk, but the compiler is not there yet to load it.
SOME = 20_000

#: Below this many it does even where the compiler is there.
FEW = 256

#: Calls that come a few at a time, one estimate after the other, that it does while a loop is loaded, and while what
#: loads it is.
HANDFUL, LOADER = 512, 4096


def inner(function: Function) -> Function:
    """Mark a scalar helper that compiled kernels may call."""
    _INNER[function] = None
    return function


def apart(function: Function) -> Function:
    """The same of one that is long and seldom called: it stays a function, where others become part of the loop."""
    _APART[function] = None
    return inner(function)


_APART: dict[Callable[..., Any], None] = {}

for _helper in sums.HELPERS:
    inner(_helper)

#: Every public kernel by name, and which of its arguments are columns of a block.
KERNELS: dict[str, Callable[..., Any]] = {}
COLUMNS: dict[Callable[..., object], tuple[str, ...]] = {}

#: The forms of kernels over blocks of points.
_BLOCKS: dict[Callable[..., object], Callable[..., object]] = {}


def kernel(*columns: str) -> Callable[[Function], Function]:
    """Mark a public scalar kernel, found from then on by its name: floats in, `Quantities` out.

    `columns` are the arguments that vary from point to point in a block of them: batch, tokens, lengths. The others,
    the figures of the chip among them, are one number for all, and what they alone make is computed once a block.
    """

    def mark(function: Function) -> Function:
        KERNELS[function.__name__] = function
        COLUMNS[function] = columns
        return function

    return mark


@functools.cache
def are_columns(function: Callable[..., object]) -> tuple[bool, ...]:
    """Of each argument of a kernel, whether it is a column of a block."""
    return tuple(name in COLUMNS[function] for name in inspect.signature(function).parameters)


def block_of(scalar: Callable[..., object]) -> Callable[[Function], Function]:
    """Mark the form of a kernel over a block of points: equal to the scalar one, to the bit, at each of them.

    It takes the scratch, the number of points, 1 to add the costs up and 0 to leave them (see
    :func:`roofline.kernels.sums.leave`), and those of the scalar kernel's arguments that are no columns; see
    :mod:`roofline.kernels._loops` for where it finds the columns.
    """

    def mark(function: Function) -> Function:
        _BLOCKS[scalar] = function
        return inner(function)

    return mark


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


# Compiling -----------------------------------------------------------------------------------------------------------


def _text(function: Callable[..., object], form: str) -> _loops.Text:
    return _loops.text(function, form, COLUMNS.get(function, ()), _BLOCKS.get(function))


_LOCK = threading.Lock()


def _compile(function: Callable[..., object], form: str = "points") -> _native.Loop:
    """A loop around one kernel, compiled, once: the interpreter's lock is given back while it runs."""
    with _LOCK:
        return _compiled(function, form)


@functools.cache
def _compiled(function: Callable[..., object], form: str) -> _native.Loop:
    folder = cache_folder()
    text = _text(function, form)
    code = None if folder is None else _kept(_place(folder, text))
    if code is None:
        code = _native.compiled(lambda: _defined(function, text), text)
        if folder is not None:
            _keep(code, _place(folder, text))
    return _native.Loop(code, text.parameters)


def _jit(function: Callable[..., Any], **options: Any) -> Any:
    """Compile: numpy's divisions, unchecked, keep no loop from being made of vector instructions."""
    import numba

    return numba.njit(nogil=True, error_model="numpy", **options)(function)


def _defined(function: Callable[..., object], text: _loops.Text) -> Any:
    summing: tuple[Callable[..., object], ...] = (sums.store, sums.set_times, sums.add_cost, _native.wide)
    helpers = {"points": (), "rows": (), "step": (_native.wide,)}.get(text.form, summing)
    namespace = _jitted_globals(_BLOCKS.get(function, function) if text.custom else function, *helpers)
    exec(compile(text.source, f"<{text.name}>", "exec"), namespace)  # our own text, made of argument names
    return namespace[text.name]


def _place(folder: pathlib.Path, text: _loops.Text) -> pathlib.Path:
    return folder / f"{text.name}.o"


def _kept(path: pathlib.Path) -> _native.Code | None:
    """The loop as the cache has it; None where it has none that is whole."""
    try:
        return _native.unpacked(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        _tell("keep", f"{path.parent} cannot keep compiled loops ({error}): they are compiled in memory")
    except Exception as error:  # reading garbage raises whatever it likes
        _tell("damage", f"a compiled loop in {path.parent} was damaged ({path.name}: {error!r}) and is made anew")
    return None


def _keep(code: _native.Code, path: pathlib.Path) -> None:
    """Put the loop into the cache: whole, or not at all."""
    scratch = path.with_suffix(f".{os.getpid()}")
    try:
        scratch.write_bytes(code.packed())
        os.replace(scratch, path)
    except OSError as error:
        _tell("keep", f"{path.parent} cannot keep compiled loops ({error}): every process compiles them anew")
        with contextlib.suppress(OSError):
            scratch.unlink()


def _tell(what: str, message: str) -> None:
    """Warn, once a process of each kind of trouble."""
    if what not in _TOLD:
        _TOLD.add(what)
        warnings.warn(message, RuntimeWarning, stacklevel=2)


_TOLD: set[str] = set()


def _jitted_globals(function: Callable[..., object], *others: Callable[..., object]) -> dict[str, Any]:
    """Functions and every helper they can reach, each compiled, under the names that their modules call them by.

    Rounding gives floats: Python's integers have no bound, compiled ones have 64 bits and no vector instructions.
    """
    rounding = {math.ceil: np.ceil, math.floor: np.floor}
    done: dict[Callable[..., object], object] = _native.in_llvm()

    def stands_for(value: Any) -> Any:
        if _known(value):
            return compiled(value)
        return rounding.get(value, value) if inspect.isbuiltin(value) else value

    def compiled(f: Callable[..., object]) -> Any:
        if f not in done:
            # A copy of the function whose globals hold the compiled helpers in place of the plain ones.
            scope = {k: stands_for(v) for k, v in f.__globals__.items() if k in f.__code__.co_names}
            scope |= {"__builtins__": f.__globals__["__builtins__"], "__name__": f.__module__}
            clone = types.FunctionType(f.__code__, scope, f.__name__, f.__defaults__, f.__closure__)
            done[f] = _jit(clone, forceinline=f not in _APART)
        return done[f]

    # numba imports the module of a cached function by name when it loads it.
    called = {f.__name__: compiled(f) for f in (function, *others)}
    return {**called, "__builtins__": __builtins__, "__name__": function.__module__}


def _known(value: Any) -> bool:
    return callable(value) and inspect.isfunction(value) and value in _INNER


# Running -------------------------------------------------------------------------------------------------------------


def evaluate(function: Callable[..., object], arguments: Sequence[object], size: int) -> np.ndarray:
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
    if not worth_compiling(function, "points", size):
        return plainly(function, arguments, size)
    columns = [np.ascontiguousarray(a, dtype=np.float64).reshape(-1) for a in arguments]
    steps = np.array([int(isinstance(a, np.ndarray)) for a in arguments], dtype=np.int64)
    out = np.empty((len(Quantities._fields), size))
    _compile(function, "points")(out.ctypes.data, steps.ctypes.data, size, *(c.ctypes.data for c in columns))
    return out


def plainly(function: Callable[..., object], arguments: Sequence[object], size: int) -> np.ndarray:
    """The same in plain Python."""
    lists = [a.tolist() if isinstance(a, np.ndarray) else [a] * size for a in arguments]
    points = zip(*lists, strict=True) if lists else iter([()] * size)
    return np.array([function(*point) for point in points], dtype=np.float64).T.reshape(-1, size)


def block(function: Callable[..., Any], form: str, size: int) -> Any:
    """The compiled loop of a kernel over a block of points; None where plain Python is sooner done with `size` points.

    ``block`` leaves the costs in the scratch, ``summed`` adds them up. It is called with the scratch, the arguments
    that are no columns, the columns' values where they are constant, their places in the scratch (-1 where constant),
    how often the operator runs (a number, and the place of a column or -1), and the number of points; see
    :mod:`roofline.kernels._loops`.
    """
    return _compile(function, form) if worth_compiling(function, form, size) else None


def step(function: Callable[..., Any]) -> Any:
    """A function over the scratch that is no kernel, compiled."""
    return _compile(function, "step")


def rows(functions: Sequence[Callable[..., Any]], points: int) -> list[Any] | None:
    """The compiled loops of kernels over a few calls each, their arguments side by side in a flat array.

    None where plain Python is sooner done with `points` calls in all now and as many as came before: those of an
    estimate, of which there may be one or many, one after the other.
    """
    missing = [(f, "rows") for f in functions if (f, "rows") not in _COMPILED]
    if missing and not _unable():
        _SEEN["rows"] = seen = _SEEN.get("rows", 0) + points
        if seen < SMALL * len(missing):
            enough = HANDFUL * len(missing) + (0 if "llvmlite" in sys.modules else LOADER)
            if seen < enough or missing[0] in _SOUGHT:
                return None
            if not all(_is_kept(*one) for one in missing):
                _SOUGHT.update(missing)
                return None
        _SEEN["rows"] = 0
        _make(missing)
    if not all((f, "rows") in _COMPILED for f in functions):
        return None
    return [_compile(f, "rows") for f in functions]


def worth_compiling(function: Callable[..., object], form: str, size: int) -> bool:
    """Whether a compiled loop is sooner done: with many points, or with some where it lies compiled on the disk.

    Points add up: a grid may come in parts, and a study one estimate after the other.
    """
    key = (function, form)
    if key in _COMPILED:
        return True
    if _unable():
        return False
    _SEEN[key] = seen = _SEEN.get(key, 0) + size
    if seen < SMALL and (seen < (FEW if "llvmlite" in sys.modules else SOME) or not _is_kept(function, form)):
        return False
    return _make([key])


def _make(loops: list[tuple[Callable[..., object], str]]) -> bool:
    """Compile loops, or load them; whether that can be done here. Where it cannot, it is told and not tried again."""
    try:
        for function, form in loops:
            _compile(function, form)
    except _native.Unable as error:
        _tell("unable", f"loops cannot be compiled with this numba ({error}): large grids run in plain Python, slowly")
        return False
    _COMPILED.update(loops)
    return True


def _unable() -> bool:
    """Whether it was found that nothing can be compiled here."""
    return "unable" in _TOLD


def _is_kept(function: Callable[..., object], form: str) -> bool:
    folder = cache_folder()
    return folder is not None and _place(folder, _text(function, form)).exists()


#: What is compiled or was found worth it, and how many points plain Python did of what is not.
_COMPILED: set[tuple[Callable[..., object], str]] = set()
_SEEN: dict[object, int] = {}

#: Loops that were looked for on the disk, and not all found.
_SOUGHT: set[tuple[Callable[..., object], str]] = set()
