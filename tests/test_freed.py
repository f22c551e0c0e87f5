"""Memory that arrays gave back stays with the process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

#: Slabs come and go: pages that the system had to give in the last ten rounds, of some 6,000 a round if none were kept.
ROUNDS = """
import resource
import numpy as np
from roofline.base import freed

def slab():
    arrays = [np.empty(2**20) for _ in range(3)]
    for array in arrays:
        array[::512] = 1.0

freed.keep()
for _ in range(3):
    slab()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    slab()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of the GNU C library's allocator")
def test_arrays_of_a_slab_find_the_memory_of_the_one_before() -> None:
    done = subprocess.run([sys.executable, "-c", ROUNDS], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100
