"""Writing a file so that the old one stays whole until the new one is."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: Of a file's name, in that of its scratch file: the longest name that a file may have leaves no room for more.
SCRATCH_LETTERS = 32


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A scratch file beside `path`, which takes its place when the block ends well and is removed when it does not.

    A full disk, an exception or a kill leaves what was there before as it was. Links are followed, and the mode of an
    existing file is kept. What is no regular file (a pipe, ``/dev/stdout``) is written to directly.

    Parameters
    ----------
    path : path
        Where the file shall be. Its folder must exist.

    Yields
    ------
    Path
        The scratch file, with the suffix of `path` so that libraries recognise the format.

    Raises
    ------
    OSError
        When nothing can be written there.
    """
    target = Path(path).resolve()
    mode: int | None = None
    with contextlib.suppress(FileNotFoundError):
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            yield target
            return
        mode = stat.S_IMODE(status.st_mode)
    start = f".{target.stem[:SCRATCH_LETTERS]}-"
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=start, suffix=target.suffix)
    os.close(handle)
    scratch = Path(name)
    try:
        yield scratch
        scratch.chmod(_usual_mode() if mode is None else mode)
        with scratch.open("rb+") as written:
            os.fsync(written.fileno())
        scratch.replace(target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text through :func:`replacing`.

    Raises
    ------
    OSError
        When nothing can be written there; the old file is whole.
    """
    with replacing(path) as scratch:
        scratch.write_text(text, encoding="utf-8", newline="\n")


def _usual_mode() -> int:
    """What a new file would get: all may read and write, less the process's mask."""
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask
