"""The cache of compiled loops: never stale, never trusted when damaged, shared, and done without where it must be."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from roofline import kernels
from roofline.kernels import _jit, _native

SCRIPT = """
import resource, sys, warnings
sys.path.insert(0, {folder!r})
import numpy as np
from fake import kernel_file, _jit
_jit.SMALL = 1
{before}
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    for function in (kernel_file.fourfold, kernel_file.thrice, kernel_file.twice)[-{loops}:]:
        value = _jit.evaluate(function, [np.arange(10_000.0)], 10_000)[0, 3]
hits = int("numba" not in sys.modules)  # found in the cache, a loop needs no compiler
print(value, _jit.cache_folder(), hits, *[f"{{w.category.__name__}} {{w.message}}" for w in told], sep="|")
"""


def fake_package(folder: Path, factor: float) -> None:
    """A package like ours: a kernel that calls a helper of another file."""
    package = folder / "fake"
    package.mkdir(exist_ok=True)
    source = Path(_jit.__file__).read_text()
    (package / "__init__.py").write_text("")
    (package / "_jit.py").write_text(source)
    (package / "helper_file.py").write_text(
        f"from fake._jit import inner\n\n@inner\ndef scaled(x):\n    return x * {factor}\n"
    )
    (package / "kernel_file.py").write_text(
        "from fake._jit import kernel\nfrom fake.helper_file import scaled\n\n"
        "@kernel('x')\ndef twice(x):\n    y = scaled(x)\n    return (" + "y, " * len(kernels.COST) + ")\n\n"
        "@kernel('x')\ndef thrice(x):\n    y = 1.5 * scaled(x)\n    return (" + "y, " * len(kernels.COST) + ")\n\n"
        "@kernel('x')\ndef fourfold(x):\n    y = 2.0 * scaled(x)\n    return (" + "y, " * len(kernels.COST) + ")\n"
    )


def command(folder: Path, before: str = "", loops: int = 1) -> list[str]:
    return [sys.executable, "-B", "-c", SCRIPT.format(folder=str(folder), before=before, loops=loops)]


def run(folder: Path, before: str = "", loops: int = 1) -> tuple[float, str, int, list[str]]:
    """The value, the cache's folder, whether the loops were found there, and the warnings."""
    done = subprocess.run(command(folder, before, loops), capture_output=True, text=True, check=True)
    value, where, hits, *told = done.stdout.strip().split("|")
    return float(value), where, int(hits), told


@pytest.fixture(scope="module")
def compiled_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package after a first run, its loops in the cache beside it."""
    folder = tmp_path_factory.mktemp("compiled")
    fake_package(folder, 2.0)
    value, where, hits, told = run(folder, loops=3)
    assert (value, Path(where), hits, told) == (6.0, cache(folder), 0, [])
    return folder


@pytest.fixture
def compiled(compiled_once: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(compiled_once, tmp_path / "copy"))


def cache(folder: Path) -> Path:
    """Where the loops of the package in a folder are kept."""
    (found,) = (folder / "fake" / "__pycache__").glob("jit-*")
    return found


def test_a_cached_loop_follows_a_helper_in_another_file(compiled: Path) -> None:
    where = cache(compiled)
    assert list(where.glob("*.o")), "nothing was cached, so this test would show nothing"
    assert run(compiled) == (6.0, str(where), 1, [])
    fake_package(compiled, 5.0)
    changed, elsewhere, _, told = run(compiled)
    assert (changed, told) == (15.0, [])
    assert elsewhere != str(where)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda content: b"\x80\x05garbage" + content[:200],
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
}


def test_what_is_damaged_in_the_cache_is_made_anew(compiled: Path) -> None:
    where = cache(compiled)
    files = sorted(where.glob("*.o"))
    assert len(files) == len(DAMAGE)  # one of each loop
    for file, damage in zip(files, DAMAGE.values(), strict=True):
        file.write_bytes(damage(file.read_bytes()))
    value, same, hits, told = run(compiled, loops=3)
    assert (value, same, hits) == (6.0, str(where), 0)
    assert len(told) == 1  # for all loops
    assert told[0].startswith(f"RuntimeWarning a compiled loop in {where} was damaged")
    assert run(compiled, loops=3) == (6.0, str(where), 1, [])


def test_a_loop_of_another_processor_is_made_anew(compiled: Path) -> None:
    where = cache(compiled)
    (file,) = where.glob("*twice*.o")
    code = _native.unpacked(file.read_bytes())
    assert code is not None
    file.write_bytes(code._replace(machine="another", object=b"").packed())
    assert run(compiled) == (6.0, str(where), 0, [])
    again = _native.unpacked(file.read_bytes())
    assert again is not None
    assert again.machine == code.machine
    assert run(compiled) == (6.0, str(where), 1, [])


@pytest.mark.parametrize("room", [10, 1000])  # bytes that a file may have: not even the line about it, or only that
def test_without_room_for_the_cache_loops_are_compiled_in_memory(tmp_path: Path, room: int) -> None:
    fake_package(tmp_path, 2.0)
    full = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({room}, {room}))"
    value, where, hits, told = run(tmp_path, full, loops=1 + (room == 10))
    assert (value, hits) == (6.0, 0)
    assert len(told) == 1
    assert told[0].startswith(f"RuntimeWarning {where} cannot keep compiled loops")
    assert "File too large" in told[0]
    assert not list(Path(where).iterdir())
    if room == 10:
        assert run(tmp_path) == (6.0, where, 0, [])  # with room again, all is well


def test_a_cache_that_cannot_be_written_any_more(tmp_path: Path) -> None:
    """The folder was there when it was looked for, and is a file by the time that a loop is put there."""
    fake_package(tmp_path, 2.0)
    value, where, _, told = run(tmp_path, "folder = _jit.cache_folder(); folder.rmdir(); folder.write_text('')")
    assert value == 6.0
    assert len(told) == 1
    assert told[0].startswith(f"RuntimeWarning {where} cannot keep compiled loops")


def test_with_a_numba_that_is_not_as_it_is_known_plain_python_answers(tmp_path: Path) -> None:
    fake_package(tmp_path, 2.0)
    value, where, _, told = run(tmp_path, "import types; sys.modules['numba'] = types.ModuleType('numba')", loops=2)
    assert value == 6.0
    assert len(told) == 1
    assert told[0].startswith("RuntimeWarning loops cannot be compiled with this numba (")
    assert not list(Path(where).iterdir())


def test_processes_that_start_together_share_the_cache(compiled: Path) -> None:
    where = cache(compiled)
    for file in where.glob("*.o"):
        file.write_bytes(b"")
    started = [subprocess.Popen(command(compiled), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate()[0].split("|") for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert {float(value) for value, *_ in outputs} == {6.0}
    assert run(compiled) == (6.0, str(where), 1, [])
