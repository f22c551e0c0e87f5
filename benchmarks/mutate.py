"""Do the tests notice a wrong formula? ``python benchmarks/mutate.py --files roofline/serving/*.py --seed 3``.

Small errors (mutants) are put into the code one at a time, in a copy of the tree, and the tests that reach the changed
line run until the first failure (``mutation.py`` says how). A mutant that no test notices survives: either it is
equivalent (it changes no answer, and ``mutants_judged.toml`` says why) or a test is missing. Printed are the survivors
as diffs and a table by file; the score is the share of those noticed among those that are not equivalent.

A kernel and its reference twin are mutated apart, and each is held to the other. With ``--alike`` the twin has the
same error as the kernel: only what knows the answer from elsewhere can notice that.
"""

from __future__ import annotations

import argparse
import ast
import csv
import difflib
import hashlib
import json
import random
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.mutation import Job, Reach, changed, compiled, notice, prepare, record  # noqa: E402

#: What holds formulas: what is mutated unless other files are named. Forms of kernels over blocks of points are not
#: among them, as they run compiled.
FORMULAS = (
    *(
        f"kernels/{name}.py"
        for name in (
            "attention",
            "collective",
            "elementwise",
            "embedding",
            "gemm",
            "lookups",
            "mla",
            "moe",
            "recurrence",
            "sparse",
        )
    ),
    *(
        f"roofline/estimates/{name}.py"
        for name in (
            "costing",
            "estimate",
            "figures",
            "grids",
            "inference",
            "language",
            "memory",
            "recommendation",
            "request",
            "residence",
            "rules",
            "setaside",
            "stacks",
        )
    ),
    "roofline/serving/*.py",
    "roofline/work/[!s]*.py",
    "roofline/work/sizes.py",
    "roofline/models/*.py",
    *(f"roofline/hardware/{name}.py" for name in ("chip", "machine", "uncertainty", "variants")),
)
#: Where there is something to mutate.
ROOMS = (
    "roofline/estimates/",
    "roofline/serving/",
    "roofline/work/",
    "roofline/models/",
    "roofline/hardware/",
    "roofline/study/",
)

WORKED = ["worked_*", "derivations_pipeline"]
KERNEL = ["derivations_*", "kernel_steps", "worked_*", "kernels", "laws", "regimes", "more_kernels"]
#: What begins a file's name -> the test files that are asked, without ``test_`` and ``.py``; the first that fits
#: counts. Of their tests those run that reach the line. Pages made anew, pictures and measured times are not asked.
CONCERNED = {
    "kernels/": KERNEL,
    "roofline/estimates/": [*WORKED, "estimates", "laws", "recommender", "dtypes", "uncertainty", "stacks", "power",
                            "recommendation_lookups", "more_*"],
    "roofline/serving/": [*WORKED, "serving", "traffic", "percentiles", "batching", "queries", "more_*"],
    "roofline/work/": [*WORKED, "parallel", "kernels", "laws", "models", "serving", "recommender", "dtypes", "more_*"],
    "roofline/models/": [*WORKED, "models", "recommender", "huggingface", "dtypes", "families", "checkpoints",
                         "encoders", "towers", "more_*"],
    "roofline/hardware/": [*WORKED, "chip", "variants", "uncertainty", "estimates", "more_*"],
    "roofline/study/": ["study", "uncertainty", "answers_*", "sweep_form", "sweep_points"],
    "": ["*"],
}  # fmt: skip
#: Mutants that change no answer, each with the reason.
JUDGED = ROOT / "benchmarks" / "mutants_judged.toml"

SWAPS: dict[type, type] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
                           ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
                           ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.And: ast.Or, ast.Or: ast.And}  # fmt: skip
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
    """One error: bytes `start` to `end` of `file` read `after` instead; `statement` is its first and last line."""

    file: str
    line: int
    kind: str
    start: int
    end: int
    before: str
    after: str
    statement: tuple[int, int] = (0, 0)

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


def statements(tree: ast.AST) -> list[tuple[int, int]]:
    """First and last line of every statement; of those that hold others, of what comes before them."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.stmt):
            body = getattr(node, "body", None)
            last = max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno
            found.append((node.lineno, last))
    return found


def mutants(file: str, source: bytes) -> list[Mutant]:
    """Every mutant of a source file."""
    lines = source.splitlines(keepends=True)
    begins = [0]
    for line in lines:
        begins.append(begins[-1] + len(line))
    found = []
    tree = ast.parse(source)
    spans = statements(tree)
    for node in mutable(tree):
        for kind, after in variants(node):
            start = begins[node.lineno - 1] + node.col_offset  # type: ignore[attr-defined]
            end = begins[node.end_lineno - 1] + node.end_col_offset  # type: ignore[attr-defined]
            statement = min(
                (span for span in spans if span[0] <= node.lineno <= span[1]),
                key=lambda s: s[1] - s[0],
                default=(node.lineno,) * 2,
            )
            found.append(Mutant(file, node.lineno, kind, start, end, source[start:end].decode(), after, statement))
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
    """The test files that concern a source file, of those that there are; a twin's are its kernel's."""
    file = file.replace("kernels/reference/", "kernels/")
    patterns = next(names for begin, names in CONCERNED.items() if file.startswith(begin))
    paths = [path for name in patterns for path in sorted(folder.glob(f"tests/test_{name}.py"))]
    return list(dict.fromkeys(str(path.relative_to(folder)) for path in paths))


def reach(folder: Path, tests: list[str], kept: Path | None) -> Reach:
    """Which tests reach which line, as recorded before in `kept` for those test files that have not changed."""
    found, digests = Reach(), {}
    if kept and kept.exists():
        stored = json.loads(kept.read_text())
        found, digests = Reach(stored["seconds"], stored["reached"]), stored["digests"]
    now = {file: hashlib.sha256((folder / file).read_bytes()).hexdigest() for file in tests}
    anew = [file for file in now if digests.get(file) != now[file]]
    for test in [test for test in found.seconds if test.partition("::")[0] in anew]:
        del found.seconds[test], found.reached[test]
    if not anew:
        return found
    print(f"recording which lines the tests of {len(anew)} files reach", file=sys.stderr)
    for file in anew:
        for test, seconds, reached in record(folder, [file], ROOMS):
            if seconds is None:
                print(f"left out, as it fails without any mutant: {test}", file=sys.stderr)
            else:
                found.seconds[test], found.reached[test] = seconds, reached
        digests[file] = now[file]
        took = sum(seconds for test, seconds in found.seconds.items() if test.startswith(f"{file}::"))
        print(f"{file}: {took:.1f} s", file=sys.stderr)
        if kept:
            kept.write_text(json.dumps({"digests": digests, "seconds": found.seconds, "reached": found.reached}))
    return found


def judgements() -> list[dict[str, str]]:
    """Mutants that were judged to change no answer: file, line (its text), before, after, why."""
    entries: list[dict[str, str]] = tomllib.loads(JUDGED.read_text(encoding="utf-8"))["equivalent"]
    return entries


def judged(entries: list[dict[str, str]], drawn: list[Mutant], source: bytes) -> dict[Mutant, str]:
    """Those of a file's mutants that one of the entries names, and why they change nothing."""
    why = {(one["file"], one["line"], one["before"], one["after"]): one["why"] for one in entries}
    lines = [" ".join(line.split()) for line in source.decode().splitlines()]
    keys = {one: (one.file, lines[one.line - 1], " ".join(one.before.split()), one.after) for one in drawn}
    return {one: why[key] for one, key in keys.items() if key in why}


def tried(
    folder: Path, drawn: list[Mutant], sources: dict[str, bytes], found: Reach, most_s: float
) -> dict[Mutant, str]:
    """What noticed each mutant; empty where nothing did."""
    jobs, noticed = [], dict.fromkeys(drawn, "")
    for mutant in drawn:
        before, after = (
            compiled(folder, mutant.file, text) for text in (sources[mutant.file], mutant.applied(sources[mutant.file]))
        )
        differing = changed(before, after)
        first, last = mutant.statement
        where = (
            None
            if differing is None
            else [
                (one.co_qualname, range(first - one.co_firstlineno, last - one.co_firstlineno + 1))
                for one, _ in differing
            ]
        )
        jobs.append(Job({mutant.file: (before, after)}, found.tests(mutant.file, where, most_s)))
    for index, by in notice(folder, jobs, found.seconds):
        noticed[drawn[index]] = by
        _tell(drawn[index], by)
    for mutant, job in zip(drawn, jobs, strict=True):
        if not job.tests:
            _tell(mutant, "")
    return noticed


def same_code(mutant: Mutant, source: bytes) -> bool:
    """Whether a mutant compiles to what was there before: in an annotation, or what the compiler leaves out."""
    before, after = (compiled(ROOT, mutant.file, text) for text in (source, mutant.applied(source)))
    return changed(before, after) == []


def _tell(mutant: Mutant, by: str) -> None:
    found = "noticed " if by else "SURVIVED"
    change = f"{' '.join(mutant.before.split())[:60]} -> {mutant.after[:60]}"
    print(f"{found} {mutant.file}:{mutant.line} {mutant.kind}: {change}  {by}", file=sys.stderr, flush=True)


def difference(mutant: Mutant, source: bytes) -> str:
    """The mutant as a diff without context."""
    before, after = (text.decode().splitlines() for text in (source, mutant.applied(source)))
    lines = difflib.unified_diff(before, after, mutant.file, mutant.file, lineterm="", n=0)
    return "\n".join(lines)


def table(noticed: dict[Mutant, str], equivalent: dict[Mutant, str]) -> str:
    """Mutants, equivalent ones, noticed ones and their share of the others, by file."""
    lines = ["| file | mutants | equivalent | noticed | score |", "| --- | ---: | ---: | ---: | ---: |"]
    for file in [*dict.fromkeys(mutant.file for mutant in noticed), "all"]:
        mine = [mutant for mutant in noticed if file in (mutant.file, "all")]
        telling = [mutant for mutant in mine if noticed[mutant] or mutant not in equivalent]
        seen = sum(bool(noticed[mutant]) for mutant in mine)
        score = f"{seen / len(telling):.0%}" if telling else ""
        lines.append(f"| {file} | {len(mine)} | {len(mine) - len(telling)} | {seen} | {score} |")
    return "\n".join(lines)


def main() -> None:
    """Draw mutants, run the tests on each, print what was noticed."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--files", nargs="+", help="source files to put errors into, from the root of the repository")
    options.add_argument("--count", type=int, default=20, help="mutants to draw from each file; 0: every one")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--most", type=float, default=10, help="seconds of tests that a mutant may take")
    options.add_argument("--alike", action="store_true", help="the reference twins have the same error")
    options.add_argument("--reach", type=Path, help="where to keep which tests reach which line, for a next run")
    options.add_argument("--csv", type=Path, help="where to write every mutant and what became of it")
    given = options.parse_args()
    named = [Path(name).resolve().relative_to(ROOT) for name in given.files or []]
    files = [str(name) for name in named or [p.relative_to(ROOT) for one in FORMULAS for p in sorted(ROOT.glob(one))]]
    sources = {file: (ROOT / file).read_bytes() for file in files}
    drawn: list[Mutant] = []
    for file, source in sources.items():
        every = mutants(file, source)
        chosen = random.Random(f"{given.seed} {file}").sample(every, min(given.count or len(every), len(every)))
        drawn += sorted(chosen, key=lambda mutant: mutant.start)
        print(f"{file}: {len(chosen)} of {len(every)} mutants", file=sys.stderr)

    prepare()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        copied(folder, given.alike)
        asked = list(dict.fromkeys(test for file in files for test in concerned(file, folder)))
        noticed = tried(folder, drawn, sources, reach(folder, asked, given.reach), given.most)
    equivalent = {one: "the same code" for one in drawn if same_code(one, sources[one.file])}
    for file, source in sources.items():
        equivalent |= judged(judgements(), [mutant for mutant in drawn if mutant.file == file], source)
        for entry in judgements():
            if entry["file"] == file and not judged([entry], mutants(file, source), source):
                print(f"{JUDGED.name}: no longer in {file}: {entry['line']}: {entry['after']}", file=sys.stderr)
    for mutant, by in noticed.items():
        if not by:
            print(f"\n{equivalent.get(mutant, 'survived')}\n{difference(mutant, sources[mutant.file])}")
    print("\n" + table(noticed, equivalent))
    if given.csv:
        with given.csv.open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(["file", "line", "kind", "before", "after", "noticed by", "equivalent"])
            for one, by in noticed.items():
                rows.writerow([one.file, one.line, one.kind, one.before, one.after, by, equivalent.get(one, "")])


if __name__ == "__main__":
    main()
