"""Arrays that take a slow library to make, kept in the user's cache folder so that a next start need not load it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np

from roofline.base.files import replacing


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
    import platformdirs

    path = Path(platformdirs.user_cache_dir("roofline")) / f"{name}-{library}-{version(library)}.npy"
    try:
        found = np.load(path, allow_pickle=False)
        if found.shape == shape and found.dtype == np.float64 and np.isfinite(found).all():
            return np.asarray(found)
    except (OSError, ValueError, EOFError):
        pass
    made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as scratch:
            np.save(scratch, made)
    except OSError:
        pass
    return made
