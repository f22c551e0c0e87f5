"""Compiled loops as machine code: kept in files, and loaded without the compiler that made them.

numba takes half a second of a process's start, llvmlite, which it stands on, a twentieth of that. So what numba makes
of a loop is kept as an object file of our own, beside a line that says what it is and for which processor, and only
where there is none yet is numba imported.

Some of what is asked of numba here is no part of its public face. A version that has it no longer is told of once, and
what would have run compiled runs in plain Python.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import importlib.metadata
import json
from collections.abc import Callable
from typing import Any, NamedTuple

from roofline.kernels import _loops

#: What a loop's parameters are in C; numba's name of each is in :func:`_types`.
_C = {
    "Scratch": ctypes.c_void_p,
    "Codes": ctypes.c_void_p,
    "Places": ctypes.c_void_p,
    "int": ctypes.c_int64,
    "float": ctypes.c_double,
}

#: Names that machine code may ask for, by their beginnings, that only numba's own process has.
_NUMBAS = (b"numba_", b"NRT_", b"Py", b"__svml")


class Unable(Exception):
    """numba or llvmlite is not as it is known here."""


#: What it raises then, be it that something is missing, called otherwise or gives something else.
_OTHERWISE = (AttributeError, ImportError, AssertionError, KeyError, OSError, RuntimeError, TypeError, ValueError)


class Code(NamedTuple):
    """A loop's machine code."""

    symbol: str  # the function's name in it
    triple: str  # what kind of machine it is for
    machine: str  # which processor, and which numba and LLVM made it
    object: bytes

    def packed(self) -> bytes:
        """As a file holds it: a line about it, and the code."""
        digest = hashlib.sha256(self.object).hexdigest()
        about = {"symbol": self.symbol, "triple": self.triple, "machine": self.machine, "sha256": digest}
        return json.dumps(about).encode() + b"\n" + self.object


def unpacked(content: bytes) -> Code | None:
    """The code in a file; None where it is another machine's.

    Raises
    ------
    ValueError
        Where the file is damaged.
    """
    line, _, code = content.partition(b"\n")
    about = json.loads(line)
    if not isinstance(about, dict) or about.get("sha256") != hashlib.sha256(code).hexdigest():
        raise ValueError("the digest of its content is another one")
    found = Code(about["symbol"], about["triple"], about["machine"], code)
    return found if found.machine == machine() else None


@functools.cache
def machine() -> str:
    """The processor at hand and what would make code for it, as a digest."""
    from llvmlite import binding

    versions = [importlib.metadata.version(name) for name in ("numba", "llvmlite")]
    said = (*versions, binding.get_host_cpu_name(), binding.get_host_cpu_features().flatten())
    return hashlib.sha256("|".join(said).encode()).hexdigest()[:16]


def compiled(define: Callable[[], Callable[..., object]], text: _loops.Text) -> Code:
    """The machine code that numba makes of a loop: its parameters are pointers and numbers, as its text has them.

    `define` gives the loop's function, with all that it calls compiled.

    Raises
    ------
    Unable
    """
    try:
        return _compiled(define(), text)
    except _OTHERWISE as error:
        raise Unable(f"{type(error).__name__}: {error}") from error


def _compiled(function: Callable[..., Any], text: _loops.Text) -> Code:
    numba: Any = importlib.import_module("numba")  # whose types do not say what is asked of it here
    types = tuple(_types()[kind] for kind in text.parameters)
    loop = numba.njit(types, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    (made,) = loop.overloads.values()
    _, _, (code, _) = made.library.serialize_using_object_code()
    if any(b"\0" + name in code for name in _NUMBAS):
        raise AssertionError(f"{text.name} calls numba's runtime")
    return Code(made.fndesc.llvm_func_name, made.library.codegen._tm.triple, machine(), code)


def _types() -> dict[str, Any]:
    types: Any = importlib.import_module("numba.types")
    numbers, codes, places = (types.CPointer(kind) for kind in (types.float64, types.uint8, types.int64))
    return {"Scratch": numbers, "Codes": codes, "Places": places, "int": types.int64, "float": types.float64}


class Loop:
    """A loop in memory. Called with addresses and numbers; other threads run Python meanwhile.

    Raises
    ------
    Unable
    """

    def __init__(self, code: Code, parameters: tuple[str, ...]) -> None:
        try:
            self.address, self._engine = _loaded(code)
        except _OTHERWISE as error:
            raise Unable(f"{type(error).__name__}: {error}") from error
        # numba's functions return a status, and first take where to put a result and an error.
        kind = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, *(_C[p] for p in parameters))
        self._call = kind(self.address)

    def __call__(self, *arguments: Any) -> None:
        nothing = ctypes.c_void_p()
        self._call(ctypes.byref(nothing), ctypes.byref(nothing), *arguments)


def call(
    address: int,
    scratch: Any,
    first: int,
    numbers: Any,
    number: int,
    values: Any,
    value: int,
    places: Any,
    place: int,
    often: float,
    times_place: int,
    size: int,
) -> None:
    """Call the loop at an address from a compiled one: with the scratch from a point on, and its part of each table."""
    raise NotImplementedError("compiled loops alone call others by their address")


def address_of(place: int) -> Any:
    """The numbers that lie at an address."""
    raise NotImplementedError("compiled loops alone read memory by its address")


def wide() -> None:
    """Say of the loop that this stands in that its vectors may be as wide as the processor has them."""


def in_llvm() -> dict[Callable[..., Any], Any]:
    """What :func:`call`, :func:`address_of` and :func:`wide` are to numba."""
    from llvmlite import ir

    types: Any = importlib.import_module("numba.types")
    cgutils: Any = importlib.import_module("numba.core.cgutils")
    intrinsic: Callable[[Callable[..., Any]], Any] = importlib.import_module("numba.extending").intrinsic

    @intrinsic
    def calls(
        context: Any,
        address: Any,
        scratch: Any,
        first: Any,
        numbers: Any,
        number: Any,
        values: Any,
        value: Any,
        places: Any,
        place: Any,
        times: Any,
        times_place: Any,
        size: Any,
    ) -> Any:
        given = address, scratch, first, numbers, number, values, value, places, place, times, times_place, size

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            address, *pairs, times, times_place, size = arguments
            tables = [builder.gep(table, [start]) for table, start in zip(pairs[::2], pairs[1::2], strict=True)]
            nothing = ir.IntType(8).as_pointer()
            results = [cgutils.alloca_once(builder, nothing) for _ in range(2)]
            passed = [*results, *tables, times, times_place, size]
            kind = ir.FunctionType(ir.IntType(32), [one.type for one in passed])
            builder.call(builder.inttoptr(address, kind.as_pointer()), passed)
            return context.get_dummy_value()

        return types.void(*given), generate

    @intrinsic
    def points(context: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.inttoptr(arguments[0], ir.DoubleType().as_pointer())

        return types.CPointer(types.float64)(place), generate

    @intrinsic
    def widened(context: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            # LLVM takes half of what AVX-512 has where it is not told; llvmlite's list of attributes lacks this one.
            set.add(builder.function.attributes, '"prefer-vector-width"="512"')
            return context.get_dummy_value()

        return types.void(), generate

    return {call: calls, address_of: points, wide: widened}


def _loaded(code: Code) -> tuple[int, object]:
    from llvmlite import binding

    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    target = binding.Target.from_triple(code.triple).create_target_machine(opt=3, jit=True)
    engine = binding.create_mcjit_compiler(binding.parse_assembly(f'target triple = "{code.triple}"'), target)
    held = binding.ObjectFileRef.from_data(code.object)
    engine.add_object_file(held)
    engine.finalize_object()
    return engine.get_function_address(code.symbol), (engine, held)
