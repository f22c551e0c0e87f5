"""Hypothesis repeats the same examples in every run; ``pytest --hypothesis-profile=explore`` looks further. And what
runs the command.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

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


#: Files that share what is slow to make: under xdist they go to one worker, so that it is made once.
TOGETHER = {
    "test_validation.py": "operators",
    "test_evidence.py": "operators",
    "test_end_to_end.py": "served",
    "test_evidence_served.py": "served",
    "test_calibration.py": "fits",
    "test_jit_cache.py": "compiled",
    "test_browser.py": "browser",
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Tests go to whichever worker is free, one by one, but for those of the files that belong together."""
    from xdist.scheduler import LoadScopeScheduling

    class Together(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0].rpartition("/")[2]
            return TOGETHER.get(file, nodeid)

    return Together(config, log) if config.getoption("dist") == "load" else None


@pytest.fixture(scope="session")
def found() -> Validation:
    """All shipped operator times compared with the model: half a minute. For the files of `TOGETHER` only."""
    from roofline.fidelity import validation

    return validation.validate()


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    """All published results with their predictions. For the files of `TOGETHER` only."""
    from roofline.fidelity import end_to_end

    return end_to_end.rows()


@pytest.fixture(scope="session")
def beside() -> dict[str, pd.DataFrame]:
    """The same as a user gets them who names no stack, on the chips' own figures, and on one stack for all."""
    from roofline.fidelity import end_to_end

    return end_to_end.others()


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
