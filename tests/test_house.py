"""The house rules, as the test command enforces them: lint, types, import contracts, packaging."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["mypy"], ["importlinter.cli"]],
    ids=["ruff", "mypy", "import-contracts"],
)
def test_static_checks_pass(command: list[str]) -> None:
    entry = ["-c", "from importlinter.cli import lint_imports_command as main; main()"]
    arguments = entry if command[0].startswith("importlinter") else ["-m", *command]
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_package_list_matches_the_tree() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {"roofline": ROOT / "roofline", "roofline.chips": ROOT / "chips", "roofline.kernels": ROOT / "kernels"}
    found = set()
    for name, folder in folders.items():
        for init in folder.rglob("__init__.py"):
            inner = init.parent.relative_to(folder)
            if not (name == "roofline" and inner.parts[:1] in (("chips",), ("kernels",))):
                found.add(".".join([name, *inner.parts]))
    assert found == set(project["packages"])


def test_links_show_a_checkout_what_an_install_sees() -> None:
    for name in ("chips", "kernels"):
        assert (ROOT / "roofline" / name).resolve() == ROOT / name


def test_every_data_file_is_packaged() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    folders = {
        "roofline": ROOT / "roofline",
        "roofline.chips": ROOT / "chips",
        "roofline.evidence.measured": ROOT / "roofline/evidence/measured",
        "roofline.models": ROOT / "roofline/models",
    }
    packaged = {path for name, globs in data.items() for glob in globs for path in folders[name].glob(glob)}
    present = {
        path
        for folder in (ROOT / "chips", ROOT / "roofline" / "models")
        for path in folder.rglob("*")
        if path.suffix in (".toml", ".json")
    }
    assert present <= packaged


def test_files_stay_one_reading_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("roofline", "kernels", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert not long, f"past 500 lines a file wants to be two rooms: {long}"
