"""Hypothesis repeats the same examples in every run; ``pytest --hypothesis-profile=explore`` looks further. And what
runs the command.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    import pandas as pd

    from roofline.fidelity.validation import Validation

# So that `from tests.strategies import ...` works however pytest is started; last, so that an installed roofline wins.
sys.path.append(str(Path(__file__).parents[1]))

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("repeatable")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Under xdist the tests of one group go to one worker, so that what they share is made once.

    As ``--dist loadgroup`` does, which cannot stand in the settings as they must hold without xdist too. A worker reads
    the command line for itself, so it is told as well.
    """
    config.addinivalue_line("markers", "xdist_group(name): tests that share what is slow to make run in one worker")
    if hasattr(config, "workerinput"):
        config.option.loadgroup = True
    elif getattr(config.option, "dist", "no") == "load":
        config.option.dist = "loadgroup"


@pytest.fixture(scope="session")
def found() -> Validation:
    """All shipped operator times held against the model: half a minute. For tests of the group ``validation``."""
    from roofline.fidelity import validation

    return validation.validate()


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    """All published results with their predictions. For tests of the group ``end to end``."""
    from roofline.fidelity import end_to_end

    return end_to_end.rows()


@pytest.fixture(scope="session")
def plain() -> pd.DataFrame:
    """The same as a user gets them who names no stack."""
    from roofline.fidelity import end_to_end

    return end_to_end.rows(None, stacks=False)


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
