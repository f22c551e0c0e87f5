"""Collectives message by message: what each device holds, how many bytes it sends, how long the steps take.

Messages of one step go at the same time; a device sends one and receives one. Where a step crosses both the links of a
domain and the network they are timed apart, so that what overlaps is for the reader to say.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass
class Wire:
    """Links between devices: what each has sent, and the time of the steps so far, all at full speed."""

    bandwidth: float
    latency: float
    sent: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    steps: int = 0

    def step(self, messages: dict[int, float]) -> None:
        """One step in which each device named sends so many bytes: as long as the longest message takes."""
        for device, size in messages.items():
            self.sent[device] = self.sent.get(device, 0.0) + size
        self.seconds += max(messages.values()) / self.bandwidth + self.latency
        self.steps += 1

    @property
    def most(self) -> float:
        return max(self.sent.values(), default=0.0)


Buffers = NDArray[np.float64]  # [device, shard]: the number that stands for a shard's content


def ring_reduce_scatter(buffers: Buffers, wire: Wire, shard_bytes: float) -> Buffers:
    """Each device passes a shard's partial sum to its neighbour: device d ends with the sum of shard (d + 1) % n."""
    n, held = len(buffers), buffers.copy()
    for step in range(n - 1):
        moving = [(device, (device - step) % n, held[device, (device - step) % n]) for device in range(n)]
        for device, shard, value in moving:
            held[(device + 1) % n, shard] += value
        wire.step(dict.fromkeys(range(n), shard_bytes))
    return held


def ring_all_gather(held: Buffers, wire: Wire, shard_bytes: float, first: int = 1) -> Buffers:
    """Each device passes on the shard that it got last, beginning with its own, (d + first) % n."""
    n, held = len(held), held.copy()
    for step in range(n - 1):
        moving = [
            (device, (device + first - step) % n, held[device, (device + first - step) % n]) for device in range(n)
        ]
        for device, shard, value in moving:
            held[(device + 1) % n, shard] = value
        wire.step(dict.fromkeys(range(n), shard_bytes))
    return held


def pairwise_exchange(buffers: Buffers, wire: Wire, part_bytes: float) -> Buffers:
    """In step s every device sends its part for device d + s there: [from, to] becomes [at, from]."""
    n, received = len(buffers), np.zeros_like(buffers)
    received[np.arange(n), np.arange(n)] = np.diag(buffers)
    for step in range(1, n):
        for device in range(n):
            received[(device + step) % n, device] = buffers[device, (device + step) % n]
        wire.step(dict.fromkeys(range(n), part_bytes))
    return received


def one_shot(buffers: Buffers, wire: Wire, buffer_bytes: float) -> Buffers:
    """Every device reads all peers' buffers at once over its link, and adds them up by itself."""
    n = len(buffers)
    wire.step(dict.fromkeys(range(n), (n - 1) * buffer_bytes))
    return np.tile(buffers.sum(axis=0), (n, 1))


def in_the_switch(buffers: Buffers, wire: Wire, buffer_bytes: float) -> Buffers:
    """Every device sends its buffer once to the switch, which adds them up and sends the sum back."""
    wire.step(dict.fromkeys(range(len(buffers)), buffer_bytes))
    return np.tile(buffers.sum(axis=0), (len(buffers), 1))


def tree_steps(members: int) -> int:
    """Steps until the root of a binary tree has heard from all, where a device takes in one message a step."""

    def ready(node: int) -> int:
        now = 0
        for child_ready in sorted(ready(child) for child in (2 * node, 2 * node + 1) if child <= members):
            now = max(now, child_ready) + 1
        return now

    return ready(1)


def pipeline(stage_s: float, chunk_s: float, chunks: int) -> float:
    """When the last of equal chunks has passed two stages, each of which costs a chunk `chunk_s` besides its share."""
    first = second = 0.0
    for _ in range(chunks):
        first += stage_s / chunks + chunk_s
        second = max(first, second) + stage_s / chunks + chunk_s
    return second
