"""Do the tests notice a wrong formula? ``python benchmarks/mutate.py kernels/*.py --count 60``.

Small errors (mutants) are put into the code one at a time, in a temporary copy of the tree, and the tests that concern
the file run there until the first failure. A mutant that no test notices survives: either it is equivalent (it changes
no answer) or a test is missing. Printed are a table by file and the survivors as diffs; ``--csv`` keeps every mutant,
for the verdict of whoever judges the survivors.

A kernel and its reference twin are mutated apart, and each is held to the other. With ``--alike`` the twin has the
same error as the kernel: only what knows the answer from elsewhere can notice that.
"""

from __future__ import annotations

import argparse
import ast
import csv
import difflib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

#: These concern every kernel.
KERNEL = [
    "tests/test_worked_kernels.py",
    "tests/test_worked_moe.py",
    "tests/test_kernels.py",
    "tests/test_laws.py",
]
#: What begins a file's name -> the tests that concern it, the quickest to notice first. The first that fits counts.
CONCERNED = {
    "kernels/attention": ["tests/test_derivations_attention*.py", "tests/test_derivations_caches.py", *KERNEL],
    "kernels/collective": ["tests/test_derivations_collectives.py", "tests/test_derivations_streams.py", *KERNEL],
    "kernels/elementwise": ["tests/test_derivations_streams.py", "tests/test_derivations_caches.py", *KERNEL],
    "kernels/embedding": ["tests/test_derivations_bags.py", *KERNEL],
    "kernels/gemm": [
        "tests/test_derivations_gemm.py",
        "tests/test_derivations_caches.py",
        "tests/test_derivations_moe.py",
        *KERNEL,
    ],
    "kernels/mla": ["tests/test_derivations_attention*.py", *KERNEL],
    "kernels/moe": ["tests/test_derivations_moe.py", "tests/test_derivations_caches.py", *KERNEL],
    "kernels/": ["tests/test_derivations_*.py", *KERNEL],
    "roofline/estimates/": [
        "tests/test_worked_estimates.py",
        "tests/test_derivations_pipeline.py",
        "tests/test_estimates.py",
        "tests/test_laws.py",
        "tests/test_recommender.py",
    ],
    "roofline/serving/": ["tests/test_worked_estimates.py", "tests/test_serving.py"],
    "roofline/work/": [
        "tests/test_parallel.py",
        "tests/test_derivations_pipeline.py",
        "tests/test_worked_estimates.py",
        "tests/test_kernels.py",
        "tests/test_laws.py",
        "tests/test_models.py",
    ],
    "roofline/models/": [
        "tests/test_models.py",
        "tests/test_recommender.py",
        "tests/test_huggingface.py",
        "tests/test_worked_estimates.py",
    ],
    "roofline/hardware/": ["tests/test_chip.py", "tests/test_descriptor.py", "tests/test_uncertainty.py"],
    "roofline/study/": ["tests/test_study.py", "tests/test_uncertainty.py"],
    "": ["tests"],
}

SWAPS: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
RENAMES = {"max": "min", "maximum": "minimum", "ceil": "floor", "argmax": "argmin", "any": "all"}
RENAMES |= {new: old for old, new in RENAMES.items()}
BUILT_IN = {"max", "min", "any", "all"}  # what a file has without importing it; others only as np.maximum, math.ceil

#: Hypothesis need not find the smallest example that shows a mutant: that would take most of the time.
NO_SHRINKING = """
from hypothesis import Phase
settings.register_profile("mutants", settings.get_profile("repeatable"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("mutants")
"""
#: The twin of every kernel is the kernel itself.
ALIKE = """
import numpy
from roofline import kernels
from roofline.kernels import reference

def _like(kernel):
    return lambda **given: kernel(**{name: float(numpy.ravel(value)[0]) for name, value in given.items()})

reference.by_name = lambda: {name: _like(kernel) for name, kernel in kernels.by_name().items()}
"""


@dataclass(frozen=True)
class Mutant:
    """One error: bytes `start` to `end` of `file` read `after` instead."""

    file: str
    line: int
    kind: str
    start: int
    end: int
    before: str
    after: str

    def applied(self, source: bytes) -> bytes:
        return source[: self.start] + self.after.encode() + source[self.end :]


def variants(node: ast.AST) -> Iterator[tuple[str, str]]:
    """What may stand in the place of a node: the kind of error and the text."""
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in SWAPS:
        yield "operator", _with(node, op=SWAPS[type(node.op)]())
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult)):
        yield "drop the second", _text(node.left)
        if isinstance(node.op, ast.Add):
            yield "drop the first", _text(node.right)
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPS:
        yield "comparison", _with(node, ops=[SWAPS[type(node.ops[0])](), *node.ops[1:]])
    if isinstance(node, ast.BoolOp):
        yield "and, or", _with(node, op=SWAPS[type(node.op)]())
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield "no not", _text(node.operand)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield "constant + 1", repr(node.value + 1)
        if node.value:
            yield "constant x 2", repr(node.value * 2)
    if isinstance(node, ast.Call) and node.args and not isinstance(node.args[0], ast.Starred):
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        if name in RENAMES and (name in BUILT_IN or isinstance(node.func, ast.Attribute)):
            found = ast.unparse(node.func)
            renamed = ast.parse(found[: len(found) - len(name)] + RENAMES[name], mode="eval").body
            yield "other function", _with(node, func=renamed)
        yield "first argument", _text(node.args[0])


def _text(node: ast.AST) -> str:
    return f"({ast.unparse(node)})"


def _with(node: ast.AST, **changes: object) -> str:
    changed = type(node)(**{**{name: getattr(node, name) for name in node._fields}, **changes})
    ast.fix_missing_locations(changed)
    return ast.unparse(changed) if isinstance(node, ast.stmt) else _text(changed)


def mutable(node: ast.AST) -> Iterator[ast.AST]:
    """A node and what is in it that computes: no annotations, decorators, messages of errors, texts with holes."""
    yield node
    skipped = {"annotation", "returns", "decorator_list", "type_params"}
    for name, value in ast.iter_fields(node):
        if name in skipped:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not isinstance(child, (ast.JoinedStr, ast.Raise)):
                yield from mutable(child)


def mutants(file: str, source: bytes) -> list[Mutant]:
    """Every mutant of a source file."""
    lines = source.splitlines(keepends=True)
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line))
    found = []
    for node in mutable(ast.parse(source)):
        for kind, after in variants(node):
            start = begins[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
            end = begins[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
            found.append(Mutant(file, node.lineno, kind, start, end, source[start:end].decode(), after))  # type: ignore[attr-defined]
    return found


def copied(folder: Path, alike: bool = False) -> None:
    """A copy of the tree as git knows it, new files included, with Hypothesis told not to shrink."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)
    with (folder / "tests" / "conftest.py").open("a") as conftest:
        conftest.write(NO_SHRINKING + (ALIKE if alike else ""))


def concerned(file: str, folder: Path) -> list[str]:
    """The tests that concern a file, of those that there are; a twin's are its kernel's."""
    file = file.replace("kernels/reference/", "kernels/")
    patterns = next(tests for begin, tests in CONCERNED.items() if file.startswith(begin))
    return [str(path.relative_to(folder)) for pattern in patterns for path in sorted(folder.glob(pattern))]


def run(tests: list[str], folder: Path, timeout_s: float) -> tuple[str, str, float]:
    """What becomes of the tests in this copy: passed, failed or timeout, the first test that failed, and seconds."""
    begin = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider", *tests]
    # No byte code: a mutant as long as the last one, written in the same second, would pass for it.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except BaseException as stopped:
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(stopped, subprocess.TimeoutExpired):
                return "timeout", "", time.monotonic() - begin
            raise
    first = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    verdict = "passed" if process.returncode == 0 else "failed"
    return verdict, first.group(1) if first else "", time.monotonic() - begin


def difference(mutant: Mutant, source: bytes) -> str:
    """The mutant as a diff without context."""
    before, after = (text.decode().splitlines() for text in (source, mutant.applied(source)))
    lines = difflib.unified_diff(before, after, mutant.file, mutant.file, lineterm="", n=0)
    return "\n".join(lines)


def main() -> None:
    """Draw mutants, run the tests on each, print what was noticed."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("files", nargs="+", help="source files to put errors into, from the root of the repository")
    options.add_argument("--count", type=int, default=60, help="mutants to draw from all of them; 0: every one")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--tests", nargs="+", help="test files; default: those that concern the file")
    options.add_argument("--alike", action="store_true", help="the reference twins have the same error")
    options.add_argument("--csv", type=Path, help="where to write every mutant and what became of it")
    given = options.parse_args()
    files = [str(Path(name).resolve().relative_to(ROOT)) for name in given.files]
    sources = {file: (ROOT / file).read_bytes() for file in files}
    drawn = [mutant for file, source in sources.items() for mutant in mutants(file, source)]
    print(f"{len(drawn)} mutants in {len(files)} files")
    if 0 < given.count < len(drawn):
        drawn = sorted(random.Random(given.seed).sample(drawn, given.count), key=lambda m: (m.file, m.start))

    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        copied(folder, given.alike)
        limits: dict[tuple[str, ...], float] = {}
        for mutant in drawn:
            tests = given.tests or concerned(mutant.file, folder)
            if tuple(tests) not in limits:
                verdict, first, seconds = run(tests, folder, 3600)
                if verdict != "passed":
                    sys.exit(f"without any mutant: {verdict} {first}")
                limits[tuple(tests)] = 5 * seconds + 20
            path = folder / mutant.file
            path.write_bytes(mutant.applied(sources[mutant.file]))
            verdict, first, seconds = run(tests, folder, limits[tuple(tests)])
            shutil.copy2(ROOT / mutant.file, path)
            rows.append(
                {
                    "file": mutant.file,
                    "line": mutant.line,
                    "kind": mutant.kind,
                    "before": mutant.before,
                    "after": mutant.after,
                    "noticed": verdict != "passed",
                    "by": first or verdict,
                    "seconds": round(seconds, 1),
                }
            )
            print(
                f"{'noticed ' if rows[-1]['noticed'] else 'SURVIVED'} {mutant.file}:{mutant.line} {mutant.kind}: "
                f"{' '.join(mutant.before.split())[:60]} -> {mutant.after[:60]}  {rows[-1]['by']}",
                file=sys.stderr,
                flush=True,
            )

    for mutant, row in zip(drawn, rows, strict=True):
        if not row["noticed"]:
            print("\n" + difference(mutant, sources[mutant.file]))
    print("\n| file | mutants | noticed |\n| --- | ---: | ---: |")
    for file in [*files, "all"]:
        of_file = [row["noticed"] for row in rows if file in (row["file"], "all")]
        if of_file:
            print(f"| {file} | {len(of_file)} | {sum(of_file)} ({sum(of_file) / len(of_file):.0%}) |")
    if given.csv:
        with given.csv.open("w", newline="") as out:
            table = csv.DictWriter(out, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


if __name__ == "__main__":
    main()
