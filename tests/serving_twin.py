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
from roofline.serving.systems import Autoscale
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
    came: bool = False

    @property
    def left(self) -> int:
        """Tokens that it has still to write."""
        return self.output - self.written

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
        self, env: simpy.Environment, policy: Policy, cache: Cache, pass_time: PassTime, each: int = 1, gain: float = 1
    ) -> None:
        self.env, self.policy, self.cache, self.pass_time = env, policy, cache, pass_time
        self.each, self.gain, self.due = each, gain, 0.0  # tokens of a step's sequence, and what it gets of them
        self.gained = 1
        self.timeout = math.inf
        self.waiting: list[Client] = []
        self.running: list[Client] = []  # in the order in which they were let in
        self.living: list[Client] = []  # in the order in which they came
        self.sending: list[Client] = []
        self.gone: Callable[[Client], None] = lambda one: None
        self.send: Callable[[Replica, Client], None] | None = None  # where others decode
        self.took: float | None = None  # of the pass under way
        self.wake = math.inf
        self.group: Group

    def arrive(self, one: Client) -> None:
        lag = 0.0 if self.took is None else self.policy.lag * self.took
        one.eligible = self.env.now + self.policy.host_s + lag
        self.waiting.append(one)
        self.living.append(one)
        self.look(one.eligible)

    def look(self, when: float) -> None:
        """Look at the queue then, unless a pass is under way."""
        if self.took is None and when < self.wake:
            self.wake = when
            self.group.poke()

    def begin(self) -> float | None:
        """Put the next pass together; what it takes, or None where there is nothing to do."""
        self.gained = max(int(self.due + self.gain), 1)
        self.step, self.pieces, blocked = self.compose()
        if not self.step and not self.pieces:
            self.wake = math.inf
            if self.waiting and not (blocked and self.sending):
                self.wake = max(self.env.now, self.waiting[0].eligible)
            return None
        if self.step:
            self.due += self.gain - self.gained
        before = [(piece, one.held - piece) for one, piece in self.pieces]
        return self.pass_time([one.held + 1 for one in self.step], before)

    # A pass -----------------------------------------------------------------------------------------------------

    def compose(self) -> tuple[list[Client], list[tuple[Client, int]], bool]:
        """Who decodes, who reads how much, and whether blocks are missing."""
        pieces: list[tuple[Client, int]] = []
        evicted, left = False, self.policy.chunk
        received = self.receive()
        if self.policy.mixed:
            evicted = self.make_room()
            left -= len(self.decoding) * self.each
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
        blocked = not evicted and received and self.admit(left, pieces)
        if not self.policy.mixed and not pieces:
            self.make_room()
        return (self.decoding if self.policy.mixed or not pieces else []), pieces, blocked

    @property
    def decoding(self) -> list[Client]:
        return [one for one in self.running if one.decodes]

    def blocks(self, tokens: int) -> int:
        return -(-tokens // self.policy.block)

    def make_room(self) -> bool:
        evicted = False
        if self.policy.reserve:
            return evicted
        while sum(self.more_blocks(one) for one in self.decoding) > len(self.cache.free):
            self.evict(self.running[-1])
            evicted = True
        for one in self.decoding:
            more = self.more_blocks(one)
            self.cache.take(more)
            one.own += more
        return evicted

    def more_blocks(self, one: Client) -> int:
        """Blocks that the next step's tokens of a request need."""
        return self.blocks(one.held + self.gained) - self.blocks(one.held)

    def receive(self) -> bool:
        """Let those decode whose cache has come; whether the next one may be looked at."""
        while self.waiting and self.waiting[0].held:
            one = self.waiting[0]
            need, step = self.blocks(one.held), sum(self.more_blocks(other) for other in (*self.decoding, one))
            if self.policy.reserve:
                need, step = self.blocks(one.prompt + one.output), 0
            full = len(self.running) >= self.policy.max_seqs
            if full or (self.running and need + step > len(self.cache.free)):
                return False
            self.running.append(self.waiting.pop(0))
            self.cache.take(need)
            one.own, one.decodes = need, True
        return True

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

    def admit(self, left: int, pieces: list[tuple[Client, int]]) -> bool:
        """Let in who may read; whether the next one has to go on waiting."""
        policy, cache = self.policy, self.cache
        while self.waiting and self.waiting[0].eligible <= self.env.now:
            one = self.waiting[0]
            if len(self.running) >= policy.max_seqs or one.held:
                return True
            if left <= 0 or any(other.held < other.to_read for other in self.running if not other.decodes):
                return True
            hits = cache.found(one) if policy.prefix_caching and one.prefix >= 0 else 0
            piece = one.to_read - hits * policy.block
            if piece > left:
                if policy.chunked_prefill:
                    piece = left
                elif pieces or piece <= policy.chunk:
                    return True
            held = one.prompt + one.output if policy.reserve else hits * policy.block + piece
            need = self.blocks(held) - hits
            free = len(cache.free) - (cache.free.count(one.prefix) if hits else 0)
            to_write = sum(other.output - other.written for other in self.decoding)
            kept = policy.ahead * to_write / policy.block if policy.ahead else 0.0
            if need > free or (self.running and need + kept > free):
                return True
            self.running.append(self.waiting.pop(0))
            if hits:
                cache.hold(one.prefix)
            one.hits, one.held = hits, hits * policy.block
            one.cached += one.held
            one.admitted = self.env.now if one.admitted < 0 else one.admitted
            self.read(one, piece, need, pieces)
            left -= piece
        return False

    def complete(self) -> None:
        last = sorted((one for one in self.step if one.left <= self.gained), key=lambda one: (one.left, one.number))
        for one in self.step:
            one.held += self.gained
            one.written = min(one.written + self.gained, one.output)
        for one in last:
            self.end(one)
        for one, _ in self.pieces:
            if one.held == one.to_read:
                one.first = self.env.now if one.first < 0 else one.first
                one.written += 1
                one.decodes = True
                if one.written == one.output:
                    self.end(one)
                elif self.send is not None:
                    self.running.remove(one)
                    self.living.remove(one)
                    self.sending.append(one)
                    self.send(self, one)

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


class Group:
    """Replicas whose passes begin together, each waiting for the one that takes longest; mostly of one."""

    def __init__(self, replicas: list[Replica]) -> None:
        self.replicas, self.env = replicas, replicas[0].env
        for one in replicas:
            one.group = self
        self.poked = self.env.event()
        self.env.process(self.serve())

    def poke(self) -> None:
        """Somebody is to wake sooner."""
        if not self.poked.triggered:
            self.poked.succeed()

    def serve(self) -> Iterator[Any]:
        while True:
            wake = min(one.wake for one in self.replicas)
            if wake > self.env.now:
                self.poked = self.env.event()
                yield self.poked if wake == math.inf else self.env.timeout(wake - self.env.now) | self.poked
                continue
            for one in self.replicas:
                one.give_up()
            times = [one.begin() for one in self.replicas]
            longest = max((took for took in times if took is not None), default=None)
            if longest is None:
                continue
            for one in self.replicas:
                one.took = longest
            yield self.env.timeout(longest)
            for one in self.replicas:
                one.took, one.wake = None, self.env.now
                one.complete()


class System:
    """Replicas, and who is sent where."""

    def __init__(
        self,
        requests: Requests,
        replicas: list[Replica],
        router: str,
        decoders: list[Replica],
        sends_s: list[float],
        autoscale: Autoscale | None,
    ) -> None:
        self.decoders, self.sends_s, self.autoscale, self.turn = decoders, sends_s, autoscale, 0
        self.link_free = dict.fromkeys(replicas, 0.0)
        self.serving = self.started = len(replicas) if autoscale is None else autoscale.fewest
        self.ready = [0.0] * len(replicas)
        self.on_since: list[float | None] = [0.0 if i < self.serving else None for i in range(len(replicas))]
        self.on_s = [0.0] * len(replicas)
        self.over = self.sent = 0
        columns = (requests.prompt, requests.output, requests.prefix_id, requests.prefix_tokens)
        self.clients = [Client(i, *(int(v) for v in row)) for i, row in enumerate(zip(*columns, strict=True))]
        self.coming = iter(self.clients)
        self.requests, self.replicas, self.router, self.env = requests, replicas, router, replicas[0].env
        for server in (*replicas, *decoders):
            server.gone, server.timeout = self.gone, requests.timeout_s
        for server in replicas:
            server.send = self.send_on if decoders else None
            for one in self.clients:
                server.cache.whole[one.prefix] = max(server.cache.whole.get(one.prefix, 0), one.prefix_tokens)

    def start(self) -> None:
        if self.autoscale is not None:
            self.env.process(self.rescale(self.autoscale))
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
        self.over += 1
        self.idle()
        if self.requests.concurrency:
            self.env.process(self.ask_again())

    def ask_again(self) -> Iterator[Any]:
        yield self.env.timeout(self.requests.think_s)
        one = next(self.coming, None)
        if one is not None:
            self.send(one)

    def send(self, one: Client) -> None:
        one.arrival, one.came = self.env.now, True
        self.chosen(one).arrive(one)

    @staticmethod
    def load(server: Replica) -> int:
        return len(server.waiting) + len(server.running)

    def chosen(self, one: Client) -> Replica:
        serving = self.replicas[: self.serving]
        if self.router == "round_robin" and len(serving) > 1:
            self.turn += 1
            return serving[(self.turn - 1) % len(serving)]
        there = [server for server in serving if one.prefix >= 0 and one.prefix in server.cache.size]
        return min(there if there and self.router == "prefix_aware" else serving, key=self.load)

    # Those who decode what others read ---------------------------------------------------------------------------

    def send_on(self, server: Replica, one: Client) -> None:
        self.link_free[server] = max(self.env.now, self.link_free[server]) + self.sends_s[one.number]
        self.env.process(self.arrives(server, one, self.link_free[server]))

    def arrives(self, server: Replica, one: Client, when: float) -> Iterator[Any]:
        yield self.env.timeout(when - self.env.now)
        server.sending.remove(one)
        server.cache.give_back(one)
        one.held, one.decodes = one.prompt, False
        server.look(self.env.now)
        if self.router == "round_robin":
            there = self.decoders[self.sent % len(self.decoders)]
            self.sent += 1
        else:
            there = min(self.decoders, key=self.load)
        there.waiting.append(one)
        there.living = sorted([*there.living, one], key=lambda other: other.number)
        there.look(self.env.now)

    # Replicas that come and go -----------------------------------------------------------------------------------

    def rescale(self, asked: Autoscale) -> Iterator[Any]:
        calm_since, most = 0.0, 0
        check = asked.every_s
        while self.over < len(self.clients):
            coming = [check, *(self.ready[i] for i in range(self.serving, min(self.serving + 1, self.started)))]
            yield self.env.timeout(max(0.0, min(coming) - self.env.now))
            if self.over == len(self.clients):
                return
            self.take_ready()
            if check > self.env.now:
                continue
            check += asked.every_s
            there = sum(1 for one in self.clients if one.arrival <= self.env.now and one.came) - self.over
            wanted = min(max(math.ceil(there / asked.target), asked.fewest), asked.most)
            if wanted >= self.started:
                calm_since, most = self.env.now, 0
                for i in range(self.started, wanted):
                    self.ready[i] = self.env.now
                    if self.on_since[i] is None:
                        self.on_since[i], self.ready[i] = self.env.now, self.env.now + asked.startup_s
                self.started = wanted
                self.take_ready()
                continue
            most = max(most, wanted)
            if self.env.now - calm_since >= asked.cooldown_s:
                self.started, calm_since = most, self.env.now
                self.serving, most = min(self.serving, self.started), 0
                self.idle()

    def take_ready(self) -> None:
        while self.serving < self.started and self.ready[self.serving] <= self.env.now:
            self.serving += 1

    def idle(self) -> None:
        """Replicas that are wanted no longer and have nothing left are switched off."""
        for i in range(self.started, len(self.replicas)):
            since = self.on_since[i]
            if since is not None and not self.load(self.replicas[i]):
                self.on_s[i] += self.env.now - since
                self.on_since[i] = None


def simulated(
    policy: Policy,
    blocks: int,
    requests: Requests,
    pass_time: PassTime,
    replicas: int = 1,
    router: str = "round_robin",
    ranks: int = 1,
    draft: tuple[int, float] = (1, 1.0),
    decoders: tuple[Policy, int, int, list[float]] | None = None,
    autoscale: Autoscale | None = None,
) -> System:
    """All requests in the order of arrival, as they ended: ``clients`` of what is returned.

    `draft` is how many tokens a sequence has in a pass, and how many of them it gets; `decoders` the policy, blocks and
    number of the replicas that decode, and what it takes to send the cache of each request.
    """
    env = simpy.Environment()

    def pool(policy: Policy, blocks: int, count: int, ranks: int) -> list[Replica]:
        made = [Replica(env, policy, Cache(blocks, policy.block, {}), pass_time, *draft) for _ in range(count)]
        for i in range(0, count, ranks):
            Group(made[i : i + ranks])
        return made

    servers = pool(policy, blocks, replicas, ranks)
    others = [] if decoders is None else pool(*decoders[:3], 1)
    system = System(requests, servers, router, others, [] if decoders is None else decoders[3], autoscale)
    system.start()
    return system
