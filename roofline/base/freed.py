"""Memory that arrays gave back, kept by this process for the next ones."""

from __future__ import annotations

import functools

import numpy as np

#: Bytes of the largest block after which the C library still changes its mind, less what it adds to each.
_BLOCK = 2**25 - 2**14


@functools.cache
def keep() -> None:
    """Have freed memory kept: some tens of MB, once a process.

    A grid is worked through in slabs, whose arrays come and go. Where the C library gives each back to the system, the
    next one comes page by page, every page to be zeroed: up to a third of the processor time of a sweep. glibc keeps
    twice as much as the largest block that it has seen freed, up to 32 MiB (``mallopt(3)``, ``M_MMAP_THRESHOLD`` and
    ``M_TRIM_THRESHOLD``). So such a block is freed here, which was never touched and takes no memory. Elsewhere this
    does nothing.
    """
    np.empty(_BLOCK, np.uint8)
