"""What takes long to make, kept in the user's cache folder so that a next start need not make it again.

A file there is a guess about what would be made, never a source: one that is damaged, or that anybody else could have
written, is as good as none, and nothing in it is ever evaluated or unpickled.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import stat
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

#: Larger than anything that is kept.
MOST_BYTES = 32_000_000

#: Write permission of the group and of all others.
_OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


def kept(name: str, library: str, shape: tuple[int, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array that `make` gives, from the cache folder where it was made before.

    Parameters
    ----------
    name : str
        What it is: the whole of what it depends on beside the library's version.
    library : str
        The distribution that makes it; another version makes it anew.
    shape : tuple of int
    make : callable
        Returns a float64 array of that shape, finite throughout.

    Returns
    -------
    ndarray
        The same bits whether it was made or kept. A file that is damaged is made anew; where nothing can be read or
        written, the array is made each time.
    """
    import numpy as np

    path = folder() / f"{name}-{library}-{_version(library)}.npy"
    data = read_own(path)
    if data is not None:
        with contextlib.suppress(ValueError, EOFError):
            found = np.load(io.BytesIO(data), allow_pickle=False)
            if found.shape == shape and found.dtype == np.float64 and np.isfinite(found).all():
                return np.asarray(found)
    made = make()
    scratch = io.BytesIO()
    np.save(scratch, made)
    write_own(path, scratch.getvalue())
    return made


def folder() -> Path:
    """The user's cache folder, which need not exist."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("roofline"))


def read_own(path: Path) -> bytes | None:
    """What stands in a file that this user alone can have written, in a folder of which the same is true.

    Returns
    -------
    bytes or None
        None where there is no such file, it is too large, or somebody else could have put it there.
    """
    try:
        if not _ours(os.stat(path.parent)):
            return None
        # Not through a link, and not waiting for the other end of a pipe.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(handle, "rb") as stream:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or not _ours(status) or status.st_size > MOST_BYTES:
                return None
            return stream.read(MOST_BYTES)
    except (OSError, ValueError):
        return None


def _ours(status: os.stat_result) -> bool:
    """Whether nobody else may write there; on Windows the cache folder is the user's own by its place."""
    return not hasattr(os, "getuid") or (status.st_uid == os.getuid() and not status.st_mode & _OTHERS_MAY_WRITE)


def write_own(path: Path, data: bytes) -> None:
    """Put a file in the place of another at once, for this user alone; nothing happens where that cannot be."""
    with contextlib.suppress(OSError, ValueError):
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = os.stat(path.parent)
        if hasattr(os, "getuid") and status.st_uid == os.getuid() and status.st_mode & _OTHERS_MAY_WRITE:
            path.parent.chmod(stat.S_IMODE(status.st_mode) & ~_OTHERS_MAY_WRITE)  # or it would never be read again
        handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        try:
            with open(handle, "wb") as stream:
                stream.write(data)
            os.replace(scratch, path)
        except BaseException:
            os.unlink(scratch)
            raise


def digest(data: bytes) -> str:
    """What two contents share only where they are the same."""
    import hashlib

    return hashlib.sha256(data).hexdigest()


def read_lines(path: Path, made_by: str) -> list[str] | None:
    """The lines that :func:`write_lines` put there; None where they are damaged, or the work of something else.

    Parameters
    ----------
    path : Path
    made_by : str
        What the lines depend on beside what they say themselves: the code that made them.
    """
    seal, _, body = (read_own(path) or b"").partition(b"\n")
    if seal.decode("ascii", "replace") != _seal(body, made_by):
        return None
    try:
        return body.decode().split("\n")
    except UnicodeDecodeError:
        return None


def write_lines(path: Path, made_by: str, lines: Iterable[str]) -> None:
    """Keep lines of text, under a seal over each byte of them and what made them."""
    body = "\n".join(lines).encode()
    write_own(path, _seal(body, made_by).encode() + b"\n" + body)


def _seal(body: bytes, made_by: str) -> str:
    return digest(made_by.encode() + b"\n" + body)


def _version(library: str) -> str:
    """The version of an installed distribution, by the name of the folder that says so: ``scipy-1.16.3.dist-info``.

    `importlib.metadata` opens the same folder, and takes as long to import as half of numpy.
    """
    spec = importlib.util.find_spec(library)
    if spec is not None and spec.origin:
        found = list(Path(spec.origin).parents[1].glob(f"{library}-*.dist-info"))
        if len(found) == 1:
            return found[0].name.removeprefix(f"{library}-").removesuffix(".dist-info")
    from importlib.metadata import version

    return version(library)
