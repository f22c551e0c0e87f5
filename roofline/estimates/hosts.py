"""What a serving process on the host adds to a batch, beside the chip and the copies: a few constants a process.

A process is chosen by name (``estimate(host="triton-tensorflow")``); its constants are an argument, not a figure of a
chip: they belong to software and a server's processors.
"""

from __future__ import annotations

from dataclasses import dataclass

from roofline.base.errors import UnknownName


@dataclass(frozen=True, slots=True)
class HostProcess:
    """A serving process.

    Attributes
    ----------
    name : str
    fixed_s : float
        Of a batch, whatever its size (s): the parts of the model are called one after the other.
    hosted_s : float
        More of it where tables lie in the host's memory (s).
    handoffs : float
        Times that the vectors of the embedding are copied through the chip's memory between the parts of the model.
    jitter : float
        Standard deviation of the logarithm of a batch's time, from one to the next.
    row_s : float
        That a row of a table in the host's memory costs (s), all cores at work.
    source : str
        What they were set on.
    """

    name: str
    fixed_s: float
    hosted_s: float
    handoffs: float
    row_s: float
    jitter: float
    source: str


#: The same where nothing is known of a process: the median of ln(99th percentile / mean) / 2.33 over the 252 points
#: of the curves of NVIDIA's inference guides, one request at a time; 0.05 to 0.14 at the quartiles, with no trend.
JITTER = 0.07

#: Cores of the host that each prepare a batch of their own while the chip computes: those that MTIA 2i's server has
#: for a chip (192 for 24; ISCA 2025). A DGX H100 has 14 for each (2 x 56 for 8).
CORES = 8

_TRITON = (
    "Set on the curves of DLRM (not of DCNv2) of NVIDIA's inference guides, DeepLearningExamples "
    "TensorFlow2/Recommendation/DLRM_and_DCNv2/doc, read November 2026"
)

#: The processes that are known, by name.
PROCESSES = {
    one.name: one
    for one in (
        HostProcess("triton-tensorflow", 270e-6, 400e-6, 4.0, 10e-9, JITTER, _TRITON),
        HostProcess("triton-hps", 300e-6, 0.0, 4.0, 10e-9, JITTER, _TRITON),
    )
}


def process(name: str | None) -> HostProcess | None:
    """A process by its name; None for none.

    Raises
    ------
    UnknownName
        With those that are known.
    """
    if name is None:
        return None
    if name not in PROCESSES:
        raise UnknownName("serving process", name, PROCESSES)
    return PROCESSES[name]
