"""What takes a slow library is made once, is the same afterwards, and is made anew where its file is damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from roofline.base.kept import kept

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


def test_a_second_first_answer_with_its_interval_loads_no_scipy() -> None:
    code = (
        "import sys, roofline as rl\n"
        "rl.estimate('llama-3.1-8b', 'h100-sxm').interval(0.9)\n"
        "print(sum(name.startswith('scipy') for name in sys.modules))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True) for _ in range(2)]
    assert runs[1].stdout.strip() == "0"
