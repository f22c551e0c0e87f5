"""What takes a slow library is made once, is the same afterwards, and is made anew where its file is damaged."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from roofline.base.kept import kept, read_lines, write_lines

ONE = np.array([0.25, 1 / 3, 0.5])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "cache" / name))
    return tmp_path / "cache" / "roofline"


def fails() -> np.ndarray:
    raise AssertionError("made again")


def test_it_is_made_once_and_the_same_to_the_bit(folder: Path) -> None:
    assert (kept("one", "numpy", (3,), lambda: ONE) == ONE).all()
    assert (kept("one", "numpy", (3,), fails) == ONE).all()
    assert [path.suffix for path in folder.iterdir()] == [".npy"]


@pytest.mark.parametrize("damage", [b"", b"x" * 200, None])
def test_a_damaged_file_is_made_anew(folder: Path, damage: bytes | None) -> None:
    kept("one", "numpy", (3,), lambda: ONE)
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[:-8] if damage is None else damage)
    assert (kept("one", "numpy", (3,), lambda: ONE) == ONE).all()
    assert (kept("one", "numpy", (3,), fails) == ONE).all()


def test_another_shape_or_what_is_not_finite_is_made_anew(folder: Path) -> None:
    kept("one", "numpy", (3,), lambda: ONE)
    assert kept("one", "numpy", (1, 3), lambda: ONE[None]).shape == (1, 3)
    (path,) = folder.iterdir()
    np.save(path, np.full((1, 3), np.nan))
    assert np.isfinite(kept("one", "numpy", (1, 3), lambda: ONE[None])).all()


def test_without_a_place_it_is_made_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda name: str(tmp_path / "file" / name))
    assert (kept("one", "numpy", (3,), lambda: ONE) == ONE).all()
    assert (kept("one", "numpy", (3,), lambda: 2 * ONE) == 2 * ONE).all()


def test_a_file_that_others_could_write_is_not_read(folder: Path) -> None:
    path = folder / "one.json"
    write_lines(path, "code", ["a", "b"])
    assert read_lines(path, "code") == ["a", "b"]
    assert read_lines(path, "other code") is None
    for place in (path, folder):
        usual = place.stat().st_mode
        place.chmod(usual | 0o020)
        assert read_lines(path, "code") is None
        place.chmod(usual)
    path.with_name("two.json").symlink_to(path)
    assert read_lines(path.with_name("two.json"), "code") is None
    assert read_lines(path, "code") == ["a", "b"]


def test_two_that_write_at_once_leave_one_whole_file(folder: Path) -> None:
    path = folder / "one.json"
    texts = [[letter * 50_000] for letter in "ab"]
    write_lines(path, "code", texts[0])
    with ThreadPoolExecutor(4) as pool:
        for text in texts * 20:
            pool.submit(write_lines, path, "code", text)
        seen = [read_lines(path, "code") for _ in range(50)]
    assert all(one in texts for one in seen)
    assert [one.name for one in folder.iterdir()] == ["one.json"]


#: What makes a start slow, and what a second one with the same question does without.
SLOW = {"pydantic", "pint", "scipy", "pandas", "xarray", "matplotlib", "numba", "rich"}


@pytest.mark.parametrize(
    "arguments", [["estimate", "llama-3.1-8b", "--chip", "h100-sxm", "--batch", "4"], ["chips"]], ids=lambda one: one[0]
)
def test_a_second_start_loads_nothing_slow(arguments: list[str]) -> None:
    code = (
        "import sys\n"
        "from roofline.command.main import run\n"
        f"sys.argv = ['roofline', *{arguments!r}]\n"
        "code = run()\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)\n"
        "sys.exit(code)"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("FORCE_COLOR", "TTY_COMPATIBLE")}
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
    loaded = set(done.stderr.split())
    assert "roofline" in loaded
    assert not loaded & SLOW
    assert arguments != ["chips"] or "numpy" not in loaded
