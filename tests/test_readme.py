"""The README runs as written: its files, its Python, its commands."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from roofline.command import main as cli

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
FILES = dict(re.findall(r"Save this as `([\w.-]+)`:\n\n```toml\n(.*?)```", TEXT, re.DOTALL))
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = re.findall(r"^\$ (roofline .*)$", TEXT, re.MULTILINE)
FIRST = re.findall(r"^python3 -m venv \.venv && \. \.venv/bin/activate && (.*)$", TEXT, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_something_to_run() -> None:
    assert len(FILES) == 1
    assert len(PYTHON) >= 2
    assert len(COMMANDS) >= 4
    assert len(FIRST) == 2


def test_the_python_runs_from_top_to_bottom(folder: Path) -> None:
    exec(compile("\n".join(PYTHON), "README.md", "exec"), {})


def _ended(loop: object) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("command", [*COMMANDS, FIRST[0].split(" && ")[-1]])
def test_the_commands_run(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = shlex.split(command)
    serving = arguments[1] == "explore"  # until somebody ends it, which is done at once here
    if serving:
        arguments += ["--port", "0", "--no-browser"]
        monkeypatch.setattr("tornado.platform.asyncio.BaseAsyncIOLoop.start", _ended)
    monkeypatch.setattr("sys.argv", arguments)
    code = cli.run()
    out, err = capsys.readouterr()
    assert code == 0, err
    assert err.startswith("The page is at http://127.0.0.1:") if serving else out or err.startswith("wrote ")
    for picture in re.findall(r"--(?:plot|out) (\S+)", command):
        assert (folder / picture).stat().st_size > 5000, picture


def test_the_commands_that_set_up_are_those_that_guard_the_project() -> None:
    guard = (ROOT / ".ci" / "run").read_text()
    assert 'pip install --quiet -e ".[test]"' in guard
    assert FIRST[1].split(" && ")[-1] in guard
    assert 'pip install --quiet -e ".[docs]"' in guard
    assert "python -m sphinx -W" in guard
    assert "python -m sphinx -W" in TEXT


def test_linked_pages_exist() -> None:
    for target in re.findall(r"\]\(([\w/.-]+)\)", TEXT):
        assert (ROOT / target).exists(), target
