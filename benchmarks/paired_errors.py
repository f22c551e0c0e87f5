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
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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
            found[name] = [(f"kernels/{file}", *error["kernel"]), (f"kernels/reference/{file}", *twin)]
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


def noticed_by(folder: Path) -> str:
    """The first test that fails on the tree in `folder`; empty if none does."""
    tests = sorted(str(path.relative_to(folder)) for path in folder.glob("tests/test_worked_*.py"))
    command = [sys.executable, "-m", "pytest", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    # Nothing compiled is kept: a file that is changed within a second would not be read again.
    kept = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=kept)
    if run.returncode == 0:
        return ""
    failed = re.search(r"^FAILED tests/(.+?)(?: - |$)", run.stdout, re.MULTILINE)
    if run.returncode != 1 or not failed:
        raise SystemExit(f"the tests did not run:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return failed[1]


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
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copied(tree)
        if failed := noticed_by(tree):
            raise SystemExit(f"{failed} fails without any error put in")
        for name, patches in chosen.items():
            for file, old, new in patches:
                text = (ROOT / file).read_text(encoding="utf-8")
                (tree / file).write_text(text.replace(old, new), encoding="utf-8")
            test = noticed_by(tree)
            missed += [] if test else [name]
            print(f"| {name} | {test or '**not noticed**'} |", flush=True)
            for file, _, _ in patches:
                shutil.copy(ROOT / file, tree / file)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} noticed, in {time.monotonic() - began:.0f} s")
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
