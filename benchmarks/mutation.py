"""Runs tests on mutants, for ``mutate.py``: only those that reach the changed line, quickest first, until one fails.

Starting Python, importing and collecting take longer than most tests do. So the tests are collected once, in a copy of
the tree, and each mutant runs in a fork of that process, where the changed function gets the mutant's code
(:func:`transplant`). Which tests reach which line is recorded in a run without mutants (:func:`record`).

What is computed while modules are imported has happened by then: constants of modules and classes, defaults, decorated
tables. A mutant there runs in a process that imports it.

No kernel is compiled meanwhile: a compiled loop would have the formula without the error.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import importlib.machinery
import json
import os
import signal
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

#: What the tests import and no mutant changes: imported once, before any fork.
LIBRARIES = (
    "numpy",
    "numba",
    "pandas",
    "xarray",
    "pydantic",
    "scipy.optimize",
    "scipy.stats",
    "pint",
    "hypothesis",
    "hypothesis.extra.numpy",
    "typer",
    "rich",
    "matplotlib.figure",
)

#: A test that takes this many times as long as without a mutant, and these seconds more, has noticed it.
PATIENCE, GRACE_S = 10, 20

#: Lines of kernels run so often that following them takes longer than all else: of these only the functions count.
KERNELS = "kernels/"

#: What was reached: file from the root of the tree -> function, as Python names it -> lines, counted from its first.
Lines = dict[str, dict[str, list[int]]]


#: Tests of numbers by hand: the first to notice.
BY_HAND = ("tests/test_more_", "tests/test_worked_", "tests/test_kernel_steps")


@dataclass
class Reach:
    """Which tests reach which lines, and how long they take."""

    seconds: dict[str, float] = field(default_factory=dict)
    reached: dict[str, Lines] = field(default_factory=dict)

    def tests(self, file: str, where: Iterable[tuple[str, range]] | None, most_s: float) -> list[str]:
        """The tests that reach a file (or a line of its functions) and take no more than `most_s` seconds, or only one.

        Those of numbers by hand come first, and the quickest of them.
        """
        places = None if where is None else list(where)

        def reaches(lines: Lines) -> bool:
            functions = lines.get(file, {})
            if places is None:
                return bool(functions)
            if file.startswith(KERNELS):
                return any(name in functions for name, _ in places)
            return any(line in span for name, span in places for line in functions.get(name, ()))

        chosen, spent = [], 0.0
        asked = [test for test, lines in self.reached.items() if reaches(lines)]
        for test in sorted(asked, key=lambda test: (not test.startswith(BY_HAND), self.seconds[test])):
            spent += self.seconds[test]
            if chosen and spent > most_s:
                break
            chosen.append(test)
        return chosen


#: Takes a line to the process that waits for it.
Told = Callable[[str], None]


def forked(work: Callable[[Told], None]) -> Iterator[str]:
    """The lines that `work` tells from a fork of this process, as they come; what it prints is lost."""
    source, sink = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if not child:
        try:
            os.close(source)
            quiet = os.open(os.environ.get("MUTATION_LOG", os.devnull), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(quiet, 1)
            os.dup2(quiet, 2)
            with os.fdopen(sink, "w", buffering=1) as out:
                work(lambda line: print(line, file=out, flush=True))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(sink)
    try:
        with os.fdopen(source) as lines:
            for line in lines:
                yield line.rstrip("\n")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def prepare() -> None:
    """Import what every process needs."""
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


class Session:
    """A pytest plugin that, instead of running what was collected, hands its tests to `work`."""

    def __init__(self, work: Callable[[Session], None]) -> None:
        self.work = work
        self.failed = ""
        self.items: dict[str, pytest.Item] = {}

    def pytest_configure(self) -> None:
        from roofline.kernels import _jit

        _jit.SMALL = _jit.SOME = _jit.FEW = sys.maxsize  # nothing is worth compiling

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed = report.nodeid

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        self.items = {item.nodeid: item for item in session.items}
        self.work(self)
        return True

    def run(self, test: str) -> bool:
        """Whether a test passes (or is skipped)."""
        item, self.failed = self.items[test], ""
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=item.session)  # type: ignore[arg-type]
        return not self.failed


def _pytest(folder: Path, tests: Iterable[str], work: Callable[[Session], None]) -> None:
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    options = ["-q", "-s", "--assert=plain", "-p", "no:cacheprovider", "-p", "no:xdist"]
    outcome = pytest.main([*options, *tests], plugins=[Session(work)])
    if outcome not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise SystemExit(f"the tests cannot be collected: {outcome!r}")


def record(folder: Path, tests: list[str], rooms: tuple[str, ...]) -> Iterator[tuple[str, float | None, Lines]]:
    """Run the tests as they are: each test's name, its seconds (None where it failed) and the rooms' lines it reached.

    What a function keeps of earlier calls is forgotten before each test, so that none hides behind another.
    """

    def work(told: Told) -> None:
        def run(session: Session) -> None:
            forget = _forgetting()
            for test in session.items:
                forget()
                with _traced(folder, rooms) as reached:
                    began = time.process_time()
                    passed = session.run(test)
                    seconds = time.process_time() - began
                told(json.dumps([test, seconds if passed else None, reached]))

        _pytest(folder, tests, run)

    for line in forked(work):
        yield json.loads(line)


@contextlib.contextmanager
def _traced(folder: Path, rooms: tuple[str, ...]) -> Iterator[Lines]:
    """The lines of sources in these rooms that run meanwhile."""
    lines: set[tuple[types.CodeType, int]] = set()
    found: Lines = {}

    def line(frame: types.FrameType, _event: str, _argument: Any) -> Any:
        lines.add((frame.f_code, frame.f_lineno))
        return line

    def called(frame: types.FrameType, _event: str, _argument: Any) -> Any:
        file = in_tree(frame.f_code.co_filename, folder)
        if file.startswith(KERNELS):
            lines.add((frame.f_code, frame.f_code.co_firstlineno))
            return None
        return line if file.startswith(rooms) else None

    sys.settrace(called)
    try:
        yield found
    finally:
        sys.settrace(None)
        for code, number in lines:
            functions = found.setdefault(in_tree(code.co_filename, folder), {})
            functions.setdefault(code.co_qualname, []).append(number - code.co_firstlineno)


@functools.cache
def in_tree(filename: str, folder: Path) -> str:
    """A source file as named from the root of the tree, symbolic links resolved; empty if it is not in there."""
    path = Path(filename).resolve()
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else ""


def _forgetting() -> Callable[[], None]:
    """What empties the caches of all functions that there are now."""
    kept = [one for one in gc.get_objects() if isinstance(one, functools._lru_cache_wrapper)]
    kept = [one for one in kept if (one.__module__ or "").startswith(("roofline", "tests"))]

    def forget() -> None:
        for one in kept:
            one.cache_clear()

    return forget


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """A code object and all that are defined in it, in the order of the source."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


def _own(code: types.CodeType) -> tuple[object, ...]:
    """What a code object does itself, without what is defined in it."""
    constants = tuple((type(c), c) for c in code.co_consts if not isinstance(c, types.CodeType))
    return code.co_code, code.co_names, code.co_varnames, repr(constants)


def changed(before: types.CodeType, after: types.CodeType) -> list[tuple[types.CodeType, types.CodeType]] | None:
    """The functions that differ between two versions of a module; None if something else does."""
    old, new = list(codes(before)), list(codes(after))
    if [one.co_qualname for one in old] != [one.co_qualname for one in new]:
        return None
    pairs = [pair for pair in zip(old, new, strict=True) if _own(pair[0]) != _own(pair[1])]
    function = 0x3  # CO_OPTIMIZED and CO_NEWLOCALS: neither a module nor the body of a class
    return pairs if all(one.co_flags & function == function for one, _ in pairs) else None


def transplant(functions: list[types.FunctionType], before: types.CodeType, after: types.CodeType) -> None:
    """Give living functions the code that they have in another version of their module."""
    new = {(one.co_qualname, one.co_firstlineno): other for one, other in zip(codes(before), codes(after), strict=True)}
    for function in functions:
        key = (function.__code__.co_qualname, function.__code__.co_firstlineno)
        if key in new and len(new[key].co_freevars) == len(function.__code__.co_freevars):
            function.__code__ = new[key]


def living(folder: Path) -> dict[str, list[types.FunctionType]]:
    """All functions that there are, by file of the tree."""
    found: dict[str, list[types.FunctionType]] = {}
    for one in gc.get_objects():
        if isinstance(one, types.FunctionType) and (file := in_tree(one.__code__.co_filename, folder)):
            found.setdefault(file, []).append(one)
    return found


def run_until_noticed(session: Session, tests: list[str], seconds: dict[str, float], told: Told) -> None:
    """Tell each test before it runs, and in the end "passed", or the one that failed and "failed"."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    for test in tests:
        told(test)
        signal.setitimer(signal.ITIMER_REAL, PATIENCE * seconds.get(test, 1.0) + GRACE_S)
        if not session.run(test):
            told("failed")
            return
    told("passed")


def noticed_by(lines: Iterable[str], otherwise: str) -> str:
    """The test that failed or was cut off, of what :func:`run_until_noticed` told; empty if all passed."""
    told = list(lines)
    if not told:
        return otherwise
    return "" if told[-1] == "passed" else told[-2] if told[-1] == "failed" else f"cut off in {told[-1]}"


def module(file: str) -> str:
    """The name under which a source file is imported."""
    name = file.removesuffix(".py").replace("/", ".").removesuffix(".__init__")
    return name if name.startswith("roofline.") else f"roofline.{name}"


@dataclass
class Job:
    """An error, and who is asked.

    Attributes
    ----------
    changes : dict
        File -> its code without the error and with it.
    tests : list of str
    """

    changes: dict[str, tuple[types.CodeType, types.CodeType]]
    tests: list[str]

    @property
    def test_files(self) -> list[str]:
        return list(dict.fromkeys(test.partition("::")[0] for test in self.tests))

    @property
    def in_functions(self) -> bool:
        """Whether nothing but functions differs."""
        return all(changed(before, after) is not None for before, after in self.changes.values())


def compiled(folder: Path, file: str, source: bytes) -> types.CodeType:
    """The code of a file as if it were in the tree."""
    return compile(source, str(folder / file), "exec", dont_inherit=True)


def collected(folder: Path, files: list[str]) -> list[str]:
    """The tests of some files."""
    return list(forked(lambda told: _pytest(folder, files, lambda session: [told(test) for test in session.items])))


def notice(folder: Path, jobs: list[Job], seconds: dict[str, float]) -> Iterator[tuple[int, str]]:
    """For each job its index, and the test that notices the error; empty if none does. Not in the order of the jobs."""
    in_place = [index for index, job in enumerate(jobs) if job.tests and job.in_functions]
    yield from zip(in_place, _in_forks(folder, [jobs[index] for index in in_place], seconds), strict=True)
    for index, job in enumerate(jobs):
        if job.tests and not job.in_functions:
            yield index, _imported(folder, job, seconds)


def _imported(folder: Path, job: Job, seconds: dict[str, float]) -> str:
    """What notices an error that is imported as it stands: a test, or the import."""

    def work(told: Told) -> None:
        signal.alarm(GRACE_S * PATIENCE)
        get_code = importlib.machinery.SourceFileLoader.get_code
        codes = {(folder / file).resolve(): after for file, (_, after) in job.changes.items()}

        def wrong(self: Any, fullname: str) -> types.CodeType | None:
            return codes.get(Path(self.path).resolve()) or get_code(self, fullname)

        importlib.machinery.SourceFileLoader.get_code = wrong  # type: ignore[method-assign, assignment]
        _pytest(folder, job.test_files, lambda session: run_until_noticed(session, job.tests, seconds, told))

    return noticed_by(forked(work), "import")


def _in_forks(folder: Path, jobs: list[Job], seconds: dict[str, float]) -> Iterator[str]:
    """What notices each error, put into the functions of a fork of one process."""

    def work(told: Told) -> None:
        def run(session: Session) -> None:
            for file in {file for job in jobs for file in job.changes}:
                importlib.import_module(module(file))
            functions, forget = living(folder), _forgetting()
            for job in jobs:

                def wrong(told: Told) -> None:
                    for file, (before, after) in job.changes.items():  # noqa: B023
                        transplant(functions.get(file, []), before, after)
                    forget()
                    run_until_noticed(session, job.tests, seconds, told)  # noqa: B023

                told(noticed_by(forked(wrong), "timeout"))

        _pytest(folder, list(dict.fromkeys(file for job in jobs for file in job.test_files)), run)

    yield from forked(work)
