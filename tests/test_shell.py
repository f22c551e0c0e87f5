"""The command among other programs: completion, pipes that are narrow, closed or full, disks that are full."""

from __future__ import annotations

import errno
import json
import os
import shlex
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Run

COMMAND = f"{shlex.quote(sys.executable)} -m roofline.command.main"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash, which is as strict as it can be about pipes."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        encoding="cp1252",
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("line", "position", "expected"),
    [
        ("roofline estimate llama-3.1-7", 2, ["llama-3.1-70b", "llama-3.1-70b-fp8"]),
        (
            "roofline estimate llama-3.1-70b --chip mtia",
            4,
            ["mtia-2i", "mtia-300", "mtia-400", "mtia-450", "mtia-500", "mtia-v1"],
        ),
        ("roofline plot mtia-v", 2, ["mtia-v1"]),
        (
            "roofline serve llama-3.1-70b -c mtia-v1 --set memory.dram",
            6,
            [f"memory.dram.{figure}=" for figure in ("bandwidth", "capacity", "channels", "latency")],
        ),
        ("roofline sweep x --dtype", 2, []),
        ("roofline estimate x --dtype fp", 4, ["fp16", "fp32", "fp4", "fp6", "fp64", "fp8"]),
    ],
)
def test_a_shell_completes_names(line: str, position: int, expected: list[str]) -> None:
    asked = {"_ROOFLINE_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(position)}
    done = shell(COMMAND, **asked)
    assert done.stdout.split() == expected
    assert done.stderr == ""


def test_completion_can_be_installed() -> None:
    assert "_roofline_completion" in shell(f"{COMMAND} --show-completion bash").stdout


@pytest.mark.parametrize(
    ("line", "environment"),
    [
        ("{} chips", {"PYTHONIOENCODING": "cp1252"}),
        ("{} estimate llama-3.1-8b -c h100", {"PYTHONIOENCODING": "cp1252"}),
        ("{} chips mtia-v1 --sources", {"PYTHONIOENCODING": "ascii"}),
        ("{} estimate --help", {"PYTHONIOENCODING": "cp1252"}),
        ("{} chips | head -1", {}),
        ("{} chips --json | head -1", {}),
        ("{} chips >&-", {}),
        ("{} chips 2>&-", {}),
        ("{} chips <&- >&- 2>&-", {}),
        ("{} plot h100 -o {folder}/picture.png >&-", {"MPLBACKEND": "nosuch"}),
        ("{} plot h100 -o {folder}/picture.svg", {"MPLBACKEND": "svg"}),
    ],
)
def test_narrow_and_closed_streams(line: str, environment: dict[str, str], tmp_path: Path) -> None:
    done = shell(line.format(COMMAND, folder=tmp_path), **environment)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "Error" not in done.stderr
    if "PYTHONIOENCODING" in environment:
        assert "----" in done.stdout
    for picture in tmp_path.iterdir():
        assert picture.stat().st_size > 5000


def test_a_wrong_chip_is_told_on_a_narrow_pipe_too() -> None:
    done = shell(f"{COMMAND} estimate 'mod\u00e8le \u2192' -c h100", PYTHONIOENCODING="ascii")
    assert done.returncode == 2
    assert "no model" in done.stderr


def test_a_full_device_is_told() -> None:
    done = shell(f"{COMMAND} chips > /dev/full")
    assert done.returncode == 2
    assert done.stderr.strip() == "error: [Errno 28] No space left on device"


def test_warnings_are_one_line(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from roofline.catalog import chips

    def records() -> list[dict[str, Any]]:
        warnings.warn("the plug-in 'x' cannot be loaded", RuntimeWarning, stacklevel=2)
        return []

    monkeypatch.setattr(chips, "records", records)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        code, out, err = run("chips", "--json")
    assert (code, json.loads(out)) == (0, [])
    assert err == "warning: the plug-in 'x' cannot be loaded\n"


# Files that were there ---------------------------------------------------------------------------------------------

WRITERS = [
    ["estimate", "llama-3.1-8b", "-c", "h100", "--html", "old.html"],
    ["estimate", "llama-3.1-8b", "-c", "h100", "--plot", "old.png"],
    ["sweep", "llama-3.1-8b", "-c", "h100", "--out", "old.csv"],
    ["sweep", "llama-3.1-8b", "-c", "h100", "--out", "old.json"],
    ["sweep", "llama-3.1-8b", "-c", "h100", "--out", "old.nc"],
    ["plot", "h100", "--out", "old.svg"],
    ["sensitivity", "llama-3.1-8b", "-c", "h100", "--plot", "old.pdf"],
    ["pareto", "llama-3.1-8b", "-c", "h100", "-a", "batch=1,8", "--plot", "old.png"],
]


@pytest.mark.parametrize("arguments", WRITERS, ids=[" ".join((a[0], a[-1])) for a in WRITERS])
def test_a_full_disk_leaves_the_old_file(
    run: Run, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    old = tmp_path / arguments[-1]
    old.write_text("old")
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", no_room)
        code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert "No space left on device" in err
    assert old.read_text() == "old"
    assert list(tmp_path.iterdir()) == [old]
    assert run(*arguments)[0] == 0
    assert old.stat().st_size > 100


def no_room(_: int) -> None:
    """A disk that turns out to be full when what was written is to reach it."""
    raise OSError(errno.ENOSPC, "No space left on device")
