"""A naive server on simpy: what ``kernels/serving_loop.py`` does, request by request, as one would tell it.

Nothing is counted ahead: every pass looks at every request, and every block is an entry of a list.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import simpy

from roofline.serving.policies import Policy
from roofline.serving.traffic import Requests

#: Time of a pass: sequences that decode, their contexts, and of each piece of a prompt its tokens and those before it.
PassTime = Callable[[list[int], list[tuple[int, int]]], float]


@dataclass
class Client:
    """A request, and what has become of it."""

    number: int
    prompt: int
    output: int
    prefix: int  # -1: none
    prefix_tokens: int
    arrival: float = 0.0
    eligible: float = 0.0
    admitted: float = -1.0
    first: float = -1.0
    end: float = -1.0
    answered: bool = False
    written: int = 0
    held: int = 0  # tokens in the KV cache
    own: int = 0  # blocks of its own
    hits: int = 0  # blocks that it shares
    cached: int = 0
    evictions: int = 0
    decodes: bool = False

    @property
    def to_read(self) -> int:
        """Tokens that it reads before it writes one."""
        return self.prompt + self.written


class Cache:
    """KV blocks: those that nobody holds, the next to be given out first, each with the beginning that it keeps."""

    def __init__(self, blocks: int, block: int, whole: dict[int, int]) -> None:
        self.free: list[int | None] = [None] * blocks
        self.block, self.whole = block, whole
        self.size: dict[int, int] = {}  # blocks of each beginning that is kept
        self.users: dict[int, int] = {}

    def take(self, count: int) -> None:
        for _ in range(count):
            lost = self.free.pop(0)
            if lost is not None:
                del self.size[lost]
                self.free = [None if one == lost else one for one in self.free]

    def give_back(self, one: Client) -> None:
        self.free += [None] * one.own
        if one.hits:
            self.users[one.prefix] -= 1
            if self.users[one.prefix] == 0:
                self.free += [one.prefix] * self.size[one.prefix]
        one.own = one.hits = one.held = 0

    def found(self, one: Client) -> int:
        size = self.size.get(one.prefix, 0)
        return min(one.prefix_tokens, one.to_read - 1, size * self.block) // self.block

    def hold(self, prefix: int) -> None:
        self.users[prefix] += 1
        self.free = [kept for kept in self.free if kept != prefix]

    def share(self, one: Client) -> None:
        whole = self.whole.get(one.prefix, 0)
        size = whole // self.block
        if one.prefix < 0 or one.hits or one.prefix in self.size or not size:
            return
        if min(one.prefix_tokens, one.held, one.prompt) >= whole:
            self.size[one.prefix], self.users[one.prefix] = size, 1
            one.hits, one.own = size, one.own - size


class Replica:
    """A server: who waits, who runs, and its blocks."""

    def __init__(
        self, env: simpy.Environment, policy: Policy, cache: Cache, pass_time: PassTime, timeout: float
    ) -> None:
        self.env, self.policy, self.cache, self.pass_time, self.timeout = env, policy, cache, pass_time, timeout
        self.waiting: list[Client] = []
        self.running: list[Client] = []  # in the order in which they were let in
        self.living: list[Client] = []  # in the order in which they came
        self.gone: Callable[[Client], None] = lambda one: None
        self.took: float | None = None  # of the pass under way
        self.came = env.event()
        env.process(self.serve())

    def arrive(self, one: Client) -> None:
        lag = 0.0 if self.took is None else self.policy.lag * self.took
        one.eligible = self.env.now + self.policy.host_s + lag
        self.waiting.append(one)
        self.living.append(one)
        if not self.came.triggered:
            self.came.succeed()

    def serve(self) -> Iterator[Any]:
        while True:
            self.give_up()
            step, pieces = self.compose()
            if not step and not pieces:
                self.came = self.env.event()
                head = self.waiting[0].eligible if self.waiting else math.inf
                if head <= self.env.now:  # something was evicted: look again
                    continue
                yield self.came if head == math.inf else self.env.timeout(head - self.env.now) | self.came
                continue
            before = [(piece, one.held - piece) for one, piece in pieces]
            self.took = self.pass_time([one.held + 1 for one in step], before)
            yield self.env.timeout(self.took)
            self.took = None
            self.complete(step, pieces)

    # A pass -----------------------------------------------------------------------------------------------------

    def compose(self) -> tuple[list[Client], list[tuple[Client, int]]]:
        pieces: list[tuple[Client, int]] = []
        evicted, left = False, self.policy.chunk
        if self.policy.mixed:
            evicted = self.make_room()
            left -= len(self.decoding)
        partial = next((one for one in self.running if not one.decodes), None)
        if partial is not None and left > 0:
            piece = min(partial.to_read - partial.held, left)
            need = self.blocks(partial.held + piece) - partial.hits - partial.own
            if not self.policy.reserve and need > len(self.cache.free):
                self.evict(partial)
                evicted = True
            else:
                self.read(partial, piece, 0 if self.policy.reserve else need, pieces)
                left -= piece
        if not evicted:
            self.admit(left, pieces)
        if not self.policy.mixed and not pieces:
            self.make_room()
        return (self.decoding if self.policy.mixed or not pieces else []), pieces

    @property
    def decoding(self) -> list[Client]:
        return [one for one in self.running if one.decodes]

    def blocks(self, tokens: int) -> int:
        return -(-tokens // self.policy.block)

    def make_room(self) -> bool:
        evicted = False
        if self.policy.reserve:
            return evicted
        while True:
            short = [one for one in self.decoding if one.held % self.policy.block == 0]
            if len(short) <= len(self.cache.free):
                break
            self.evict(self.running[-1])
            evicted = True
        self.cache.take(len(short))
        for one in short:
            one.own += 1
        return evicted

    def evict(self, one: Client) -> None:
        self.running.remove(one)
        self.cache.give_back(one)
        one.decodes = False
        one.evictions += 1
        self.waiting.insert(0, one)

    def read(self, one: Client, piece: int, need: int, pieces: list[tuple[Client, int]]) -> None:
        self.cache.take(need)
        one.own += need
        one.held += piece
        pieces.append((one, piece))
        if self.policy.prefix_caching:
            self.cache.share(one)

    def admit(self, left: int, pieces: list[tuple[Client, int]]) -> None:
        policy, cache = self.policy, self.cache
        while self.waiting and self.waiting[0].eligible <= self.env.now and len(self.running) < policy.max_seqs:
            one = self.waiting[0]
            if left <= 0 or any(other.held < other.to_read for other in self.running if not other.decodes):
                return
            hits = cache.found(one) if policy.prefix_caching and one.prefix >= 0 else 0
            piece = one.to_read - hits * policy.block
            if piece > left:
                if policy.chunked_prefill:
                    piece = left
                elif pieces or piece <= policy.chunk:
                    return
            held = one.prompt + one.output if policy.reserve else hits * policy.block + piece
            need = self.blocks(held) - hits
            free = len(cache.free) - (cache.free.count(one.prefix) if hits else 0)
            to_write = sum(other.output - other.written for other in self.decoding)
            kept = policy.ahead * to_write / policy.block if policy.ahead else 0.0
            if need > free or (self.running and need + kept > free):
                return
            self.running.append(self.waiting.pop(0))
            if hits:
                cache.hold(one.prefix)
            one.hits, one.held = hits, hits * policy.block
            one.cached += one.held
            one.admitted = self.env.now if one.admitted < 0 else one.admitted
            self.read(one, piece, need, pieces)
            left -= piece

    def complete(self, step: list[Client], pieces: list[tuple[Client, int]]) -> None:
        for one in step:
            one.held += 1
            one.written += 1
        for one in sorted((one for one in step if one.written == one.output), key=lambda one: one.number):
            self.end(one)
        for one, _ in pieces:
            if one.held == one.to_read:
                one.first = self.env.now if one.first < 0 else one.first
                one.written += 1
                one.decodes = True
                if one.written == one.output:
                    self.end(one)

    def end(self, one: Client) -> None:
        deadline = one.arrival + self.timeout
        one.answered = one.written == one.output and self.env.now <= deadline
        one.end = min(self.env.now, deadline)
        if one in self.waiting:
            self.waiting.remove(one)
        else:
            self.running.remove(one)
            self.cache.give_back(one)
        self.living.remove(one)
        self.gone(one)

    def give_up(self) -> None:
        while self.living and self.living[0].arrival + self.timeout <= self.env.now:
            self.end(self.living[0])


class System:
    """Replicas, and who is sent where."""

    def __init__(self, requests: Requests, replicas: list[Replica], router: str) -> None:
        columns = (requests.prompt, requests.output, requests.prefix_id, requests.prefix_tokens)
        self.clients = [Client(i, *(int(v) for v in row)) for i, row in enumerate(zip(*columns, strict=True))]
        self.coming = iter(self.clients)
        self.requests, self.replicas, self.router, self.env = requests, replicas, router, replicas[0].env
        for server in replicas:
            server.gone = self.gone
            for one in self.clients:
                server.cache.whole[one.prefix] = max(server.cache.whole.get(one.prefix, 0), one.prefix_tokens)

    def start(self) -> None:
        if self.requests.concurrency:
            for _ in range(min(self.requests.concurrency, len(self.clients))):
                self.send(next(self.coming))
        else:
            self.env.process(self.open_loop())
        self.env.run()

    def open_loop(self) -> Iterator[Any]:
        for one, arrival in zip(self.coming, self.requests.arrival_s.tolist(), strict=True):
            if arrival > self.env.now:
                yield self.env.timeout(arrival - self.env.now)
            self.send(one)

    def gone(self, _: Client) -> None:
        if self.requests.concurrency:
            self.env.process(self.ask_again())

    def ask_again(self) -> Iterator[Any]:
        yield self.env.timeout(self.requests.think_s)
        one = next(self.coming, None)
        if one is not None:
            self.send(one)

    def send(self, one: Client) -> None:
        one.arrival = self.env.now
        self.chosen(one).arrive(one)

    def chosen(self, one: Client) -> Replica:
        def load(server: Replica) -> int:
            return len(server.waiting) + len(server.running)

        if self.router == "round_robin":
            return self.replicas[one.number % len(self.replicas)]
        there = [server for server in self.replicas if one.prefix >= 0 and one.prefix in server.cache.size]
        return min(there if there and self.router == "prefix_aware" else self.replicas, key=load)


def simulated(
    policy: Policy, blocks: int, requests: Requests, pass_time: PassTime, replicas: int = 1, router: str = "round_robin"
) -> list[Client]:
    """All requests, in the order of arrival, as they ended."""
    env = simpy.Environment()
    caches = [Cache(blocks, policy.block, {}) for _ in range(replicas)]
    servers = [Replica(env, policy, cache, pass_time, requests.timeout_s) for cache in caches]
    system = System(requests, servers, router)
    system.start()
    return system.clients
