"""What a kernel returns: the quantities of the cost of one call of an operator, by name."""

from __future__ import annotations

from typing import NamedTuple


class Quantities(NamedTuple):
    """The cost of one call on one chip: FLOP, bytes and seconds.

    Compiled code builds it by position, as it knows no defaults, and plain Python does so in a third of the time that
    names would take.
    """

    flops: float  # useful FLOP on the matrix engine
    vector_flops: float  # FLOP on the vector engine
    bytes: float  # compulsory bytes: every tensor once
    memory_bytes: float  # expected traffic of main memory
    cache_bytes: float  # expected traffic of the last-level cache or shared scratchpad
    network_bytes: float  # sent by one chip
    lower_s: float  # largest ideal time over the resources
    time_s: float  # expected time
    upper_s: float  # nothing overlapped, every overhead
    compute_s: float  # busy times of the resources, efficiency included
    memory_s: float
    cache_s: float
    network_s: float
    overhead_s: float  # fixed costs that nothing hides
