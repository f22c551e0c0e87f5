"""Would the worked numbers notice a wrong formula? ``python benchmarks/paired_errors.py [WORD ...]``.

Each error of ``paired_errors/*.toml`` is put into a kernel and its twin alike, so that holding one against the other
cannot tell, or into a model or an estimate, which have no twin. The tests ``tests/test_worked_*.py`` then run on a copy
of the tree: an error that they pass is one that only a reader would notice. WORDs choose the errors with one of them in
their name.

An old text must be in its file exactly once: where a formula was written anew, the error in it is to be written anew as
well, so the script stops before it runs anything.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.mutation import Job, collected, compiled, notice, prepare  # noqa: E402

COPIED = ("chips", "kernels", "roofline", "tests", "pyproject.toml")

#: File, old text, new text.
Patch = tuple[str, str, str]


def errors() -> dict[str, list[Patch]]:
    """Name -> what it changes."""
    found: dict[str, list[Patch]] = {}
    files = sorted(Path(__file__).with_suffix("").glob("*.toml"))
    for error in (one for path in files for one in tomllib.loads(path.read_text(encoding="utf-8"))["error"]):
        name, file = error["name"], error["file"]
        if name in found:
            raise SystemExit(f"two errors are called {name!r}")
        if "change" in error:
            found[name] = [(f"roofline/{file}", *error["change"])]
        else:
            twin = error.get("twin", error["kernel"])
            own = error.get("kernel_file", file)  # where a helper has a file of its own, and its twin none
            found[name] = [(f"kernels/{own}", *error["kernel"]), (f"kernels/reference/{file}", *twin)]
    return found


def lost(patches: dict[str, list[Patch]]) -> list[str]:
    """Old texts that are not in their file exactly once, or that change nothing."""
    found = []
    for name, (file, old, new) in ((name, patch) for name, each in patches.items() for patch in each):
        times = (ROOT / file).read_text(encoding="utf-8").count(old) if (ROOT / file).exists() else 0
        if times != 1 or old == new:
            found.append(f"{name}: {file} has this {times} times, expected once and a change: {old!r}")
    return found


def copied(folder: Path) -> None:
    """A copy of the tree, without what was compiled."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)


def job(folder: Path, patches: list[Patch], tests: list[str]) -> Job:
    """The error as code."""
    texts: dict[str, list[str]] = {}
    for file, old, new in patches:
        before, after = texts.get(file, [(ROOT / file).read_text(encoding="utf-8")] * 2)
        texts[file] = [before, after.replace(old, new)]
    codes = {file: [compiled(folder, file, text.encode()) for text in both] for file, both in texts.items()}
    return Job({file: (before, after) for file, (before, after) in codes.items()}, tests)


def main() -> None:
    """Put in each error alone, and print which test notices it."""
    parser = argparse.ArgumentParser(description="Which test of worked numbers notices which wrong formula.")
    parser.add_argument("words", nargs="*", metavar="WORD", help="only errors whose name has one of these")
    words = parser.parse_args().words
    everything = errors()
    if bad := lost(everything):
        raise SystemExit("formulas were written anew, and so must be the errors in them:\n" + "\n".join(bad))
    chosen = {name: each for name, each in everything.items() if not words or any(word in name for word in words)}
    began, missed = time.monotonic(), []
    prepare()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch).resolve()
        copied(folder)
        files = sorted(str(path.relative_to(folder)) for path in folder.glob("tests/test_worked_*.py"))
        tests = collected(folder, files)
        if failed := next(by for _, by in notice(folder, [Job({}, tests)], {})):
            raise SystemExit(f"{failed} fails without any error put in")
        names = list(chosen)
        for index, test in notice(folder, [job(folder, chosen[name], tests) for name in names], {}):
            missed += [] if test else [names[index]]
            print(f"| {names[index]} | {test.removeprefix('tests/') or '**not noticed**'} |", flush=True)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} noticed, in {time.monotonic() - began:.0f} s")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
