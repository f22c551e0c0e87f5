"""The house rules, as the test command enforces them: lint, types, import contracts, packaging."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

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
        "roofline.explorer": ROOT / "roofline/explorer",
        "roofline.models": ROOT / "roofline/models",
        "roofline.serving": ROOT / "roofline/serving",
    }
    packaged = {path for name, globs in data.items() for glob in globs for path in folders[name].glob(glob)}
    present = {
        path
        for folder in (ROOT / "chips", ROOT / "roofline" / "models")
        for path in folder.rglob("*")
        if path.suffix in (".toml", ".json")
    } | {path for path in (ROOT / "roofline/serving/traces").iterdir() if path.is_file()}
    present |= set((ROOT / "roofline/explorer/page").iterdir())
    assert present <= packaged


def test_files_stay_one_reading_long() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for folder in ("roofline", "kernels", "tests", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text().splitlines())) > 500
    }
    assert not long, f"past 500 lines a file wants to be two rooms: {long}"


def test_each_command_is_in_the_file_that_the_command_imports_for_it() -> None:
    from roofline.command.main import FILES, app, application

    def names(application: Any) -> set[str]:
        return {one.name or one.callback.__name__ for one in application.registered_commands}

    assert names(app) == set(FILES)
    for name in FILES:
        assert name in names(application([name, "--help"]))


@pytest.mark.parametrize("word", ["8", "-3", "+4", "1e3", "0.5", ".5", "1.", "nan", "1_000", " 7", "", "x", "9" * 30])
def test_plain_words_are_read_as_typer_reads_them(word: str) -> None:
    """What the reader of plain words makes of a word for an option, typer's own makes of it too."""
    import typer

    from roofline.command.coercion import read_plainly
    from roofline.command.main import application

    command = typer.main.get_command(application(["estimate"])).commands["estimate"]  # type: ignore[attr-defined]
    options = {one.name: one for one in command.params if one.name in ("batch", "skew", "dtype", "changes")}
    usual = {name: one.get_runtime_param() for name, one in options.items()}
    read_plainly(options.values())

    def read(reader: Any, option: Any, value: Any) -> Any:
        try:
            return repr(reader.coerce(value, param=option, ctx=None))
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    assert len(options) == 4
    for name, option in options.items():
        for value in (None, [word] if name == "changes" else word):
            assert read(option.get_runtime_param(), option, value) == read(usual[name], option, value)
