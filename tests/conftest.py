"""Hypothesis repeats the same examples in every run; ``pytest --hypothesis-profile=explore`` looks further. And what
runs the command.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import settings

# So that `from tests.strategies import ...` works however pytest is started; last, so that an installed roofline wins.
sys.path.append(str(Path(__file__).parents[1]))

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("repeatable")


class Run:
    """Runs the command in this process and keeps what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        from roofline.command import main as cli

        self.monkeypatch.setattr("sys.argv", ["roofline", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = self.capsys.readouterr()
        return code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(capsys, monkeypatch)
