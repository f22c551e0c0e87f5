"""Times of passes: what a server's loop reads off a table, filled by the operator model in a few array calls.

A pass in which sequences decode and pieces of prompts are read costs a sum over its operators. Which of them look at
what is found by changing one thing at a time and seeing whose sizes change:

- products, norms, experts and collectives at the tokens of the pass;
- the output projection at the sequences that get a token;
- attention of those that decode at their number and their context;
- attention of prompts at their tokens, pieces and what was read before.

So four tables, of one, one, two and three axes, hold every pass. Between knots they are linear
(:mod:`roofline.kernels.serving_passes`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from roofline.base.errors import BadWorkload
from roofline.estimates import inference
from roofline.estimates.inference import Phase
from roofline.estimates.language import LanguageEstimate
from roofline.kernels.serving_passes import (
    CONTEXTS,
    CONTEXTS_TO,
    DECODE,
    DECODE_TO,
    EACH_HAS,
    LINEAR,
    PARTS,
    PARTS_TO,
    PREFILL,
    PREFIXES,
    PREFIXES_TO,
    READS,
    READS_TO,
    SCORED,
    SCORED_TO,
    SHAPE,
    TOKENS_TO,
    pass_time,
)
from roofline.serving.drafting import TIMES, Drafting
from roofline.work.engine import joined
from roofline.work.op import Op
from roofline.work.workload import Workload

#: A piece of work, as operators see it: sequences that decode and their context; prompts, their new tokens, and before.
Sizes = tuple[Any, Any, Any, Any, Any]

_TILE = 16  # tiles of kernels are multiples of it: what is linear in tokens is so between its multiples
_DENSE = 2048  # up to here every number is a knot

#: Latent attention reads a prompt in one of two forms, whichever is less work: passes that have one and the other.
_EXPANDED, _ABSORBED = (1, 2, 1, 1024, 0), (1, 2, 1, 2, 60_000)
_FORMS = (_EXPANDED, _ABSORBED)

#: Where it is tried who looks at what: a pass of either form.
_BASE = ((8, 8), (1000, 1000), (4, 4), (64, 64), (2, 60_000))
_FEW = 8  # sequences that decode while a prompt is read, where it matters whether there are any
_AHEAD = (
    64  # contexts as many times the tokens that a sequence looks at leave attention in the form of one that decodes
)
_ROWS, _FEW_TILES = 64, 16  # the same of attention's queries
_CONTEXTS, _READS, _PREFIXES, _PARTS = 4, 4, 3, 3  # knots in an octave


@dataclass(frozen=True)
class Table:
    """Times of passes.

    Attributes
    ----------
    numbers : array of float64
        All parts, one after the other, with their knots.
    shape : array of int64
        Where they stand, as :mod:`roofline.kernels.serving_passes` has it.
    """

    numbers: np.ndarray
    shape: np.ndarray

    def time(
        self, decoding: int, context: int, pieces: int = 0, tokens: int = 0, squares: float = 0, before: float = 0
    ) -> float:
        """Time of one pass (s); see :func:`roofline.kernels.serving_passes.pass_time`."""
        return float(pass_time(self.numbers, self.shape, decoding, context, pieces, tokens, squares, before))

    def times(self, factor: float) -> Table:
        """The same, so many times as long."""
        numbers, shape = self.numbers.copy(), self.shape
        for at, size in zip(_PARTS_AT, _sizes(shape), strict=True):
            numbers[shape[at] : shape[at] + size] *= factor
        return Table(numbers, shape)


_PARTS_AT = (LINEAR, SCORED, DECODE, PREFILL)


def _sizes(shape: np.ndarray) -> tuple[int, int, int, int]:
    return (
        int(shape[TOKENS_TO]),
        int(shape[SCORED_TO]),
        int(shape[DECODE_TO] * shape[CONTEXTS_TO]),
        int(shape[READS_TO] * shape[PARTS_TO] * shape[PREFIXES_TO]),
    )


class Passes:
    """The passes of a model on a chip under a plan.

    Parameters
    ----------
    static : LanguageEstimate
        Of the model as it is served: dtypes, plan and chip are taken from it, not its sizes.
    tokens, sequences, context, prompt : int
        The most tokens and sequences of a pass, the longest context, and the longest prompt.
    drafting : Drafting, optional
        What is drafted for each sequence that decodes: those tokens are looked at beside the next one.
    """

    def __init__(
        self,
        static: LanguageEstimate,
        tokens: int,
        sequences: int,
        context: int,
        prompt: int,
        drafting: Drafting | None = None,
    ) -> None:
        self.static, self.drafting = static, drafting
        self.each = 1 if drafting is None else drafting.draft.tokens + 1
        self.tokens, self.sequences = tokens + sequences * self.each, sequences
        self.context, self.prompt = max(context, 2), max(prompt, 2)

    def exact(self, sizes: Sizes, each: int = 1) -> Phase:
        """The phase of a pass without tables; any of the sizes may be an array.

        `each` is how many tokens a sequence that decodes has in it.
        """
        return self.static.run_step(self._joined(sizes, each))

    def _joined(self, sizes: Sizes, each: int) -> Workload:
        r = self.static.request
        options: dict[str, Any] = {"dtype": r.dtype, "weight_dtype": r.weight_dtype, "kv_dtype": r.kv_dtype}
        decoding, context, prompts, new, before = sizes
        step = self.static.model.step
        logits, least = ("all", _AHEAD * each) if each > 1 else (None, 1)
        seen = np.maximum(context, least) + each - 1
        decode = step(np.maximum(decoding, 1), each, seen, logits=logits, **options)
        if not np.any(prompts):
            return decode
        return joined(decode, step(np.maximum(prompts, 1), new, new + before, **options), decoding)

    # Who looks at what ------------------------------------------------------------------------------------------

    def _step(self, sizes: Sizes, each: int = 1) -> tuple[Op, ...]:
        """The operators of passes, those of each further form included that attention takes at other sizes."""
        flat = [one.ravel() for one in np.broadcast_arrays(*(np.asarray(size, dtype=float) for size in sizes))]
        several = [np.concatenate([one, form]) for one, form in zip(flat, np.transpose(_FORMS), strict=True)]
        d, c, p, n, b = several
        return self.exact((d, c, p, n, b), each).workload.ops

    @functools.cached_property
    def groups(self) -> dict[str, list[int]]:
        """Which operators of a pass, by their place in it, are of which part.

        ``"merged"`` are those that take what decodes and prompts together, in some form of attention only.

        Raises
        ------
        BadWorkload
            Where an operator looks at what no part has.
        """
        base = self._step(_BASE)
        context, before = self._changed(base, context=1.5), self._changed(base, before=1.6)
        tokens = self._changed(base, new=65 / 64)  # the sequences stay
        scored = self._changed(base, decoding=1.5, new=63 / 64)  # the tokens stay
        either = self._changed(base, decoding=1.25, prompts=0.5, new=127 / 64)  # both stay
        decoding = self._changed(base, decoding=1.125)
        found: dict[str, list[int]] = {"linear": [], "scored": [], "decode": [], "prefill": [], "merged": []}
        for i, one in enumerate(base):
            decodes = context[i] or (either[i] and decoding[i])
            reads = before[i] or (either[i] and tokens[i])
            if decodes or reads:
                part = "merged" if decodes and reads else "decode" if decodes else "prefill"
                strange = part == "merged" and one.kind != "gemm"
            else:
                part, strange = "scored" if scored[i] else "linear", either[i] or (scored[i] and tokens[i])
            if strange:
                raise BadWorkload(
                    f"simulate: {self.static.model.name}: {one.name} depends on more of a pass than its tables hold"
                )
            found[part].append(i)
        return found

    def _changed(self, base: tuple[Op, ...], **factors: float) -> list[bool]:
        """Of each operator, whether its sizes are others where those of the pass are so many times as large."""
        names = ("decoding", "context", "prompts", "new", "before")
        by = [factors.get(name, 1.0) for name in names]
        d, c, p, n, b = (np.asarray(size) * factor for size, factor in zip(_BASE, by, strict=True))
        other = self._step((d, c, p, n, b))
        return [
            any(not np.allclose(a, b, rtol=1e-9) for a, b in zip(_sized(one), _sized(two), strict=True))
            for one, two in zip(base, other, strict=True)
        ]

    # Tables -----------------------------------------------------------------------------------------------------

    def _times(self, part: str, sizes: Sizes) -> dict[str, np.ndarray]:
        """Of the operators of one part, over arrays of sizes."""
        step = self._step(sizes, self.each)
        shape = np.broadcast_shapes(*(np.shape(size) for size in sizes))
        points, mine = math.prod(shape), tuple(step[i] for i in self.groups[part])
        if not mine:
            return {name: np.zeros(shape) for name in TIMES}
        phase = inference.run(Workload(mine), self.static.chip)
        every = points + len(_FORMS)
        return {name: np.broadcast_to(getattr(phase, name), every)[:points].reshape(shape) for name in TIMES}

    def _reads(self) -> np.ndarray:
        """Lengths of pieces of prompts: where tiles of queries begin and end, as long as those are few."""
        ends = np.arange(_ROWS, min(self.tokens, _FEW_TILES * _ROWS) + 1, _ROWS, dtype=float)
        found: np.ndarray = np.unique(np.concatenate([_octaves(1, self.tokens, _READS), ends, ends + 1]))
        return found[found <= self.tokens]

    @functools.cached_property
    def tables(self) -> dict[str, Table]:
        """The table of each of the times of a pass, by its name."""
        tokens = _every(self.tokens)
        most_scored = self.sequences * self.each + 64
        scored = _every(most_scored)
        decoding, contexts = _every(self.sequences), _octaves(1, self.context, _CONTEXTS)
        reads, parts = self._reads(), _octaves(1, min(self.tokens, self.sequences), _PARTS)
        prefixes = np.concatenate([[0.0], _octaves(16, max(self.prompt, 32), _PREFIXES)])
        new, by, before = np.meshgrid(reads, parts, prefixes, indexing="ij")
        made = {
            "linear": self._times("linear", (0, 1, 1, tokens, 0)),
            "scored": self._times("scored", (0, 1, scored, 1, 0)),
            "decode": self._times("decode", (decoding[:, None], contexts[None, :], *_EXPANDED[2:])),
            "prefill": self._times("prefill", (0, 1, by, new, before)),
        }
        if self.groups["merged"]:
            # What a prompt adds to those that decode: weights are fetched once for both.
            alone = self._times("merged", (decoding[:, None], 2, *_EXPANDED[2:]))
            few = self._times("merged", (_FEW, 2, *_EXPANDED[2:]))
            more = self._times("merged", (_FEW, 2, by, new, before))
            for name in TIMES:
                made["decode"][name] = made["decode"][name] + alone[name]
                made["prefill"][name] = made["prefill"][name] + more[name] - few[name]
        if self.drafting is not None:
            drafted = self.drafting.writing(decoding[:, None], contexts[None, :])
            read = self.drafting.reading(by, new, before)
            for name in TIMES:
                made["decode"][name] = made["decode"][name] + drafted[name]
                made["prefill"][name] = made["prefill"][name] + read[name]
        filled: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            "linear": lambda t: _filled(tokens, t, self.tokens),
            "scored": lambda t: _filled(scored, t, most_scored),
            "decode": lambda t: _filled(decoding, t, self.sequences).ravel(),
            "prefill": np.ravel,
        }
        shape, offset = np.zeros(SHAPE, dtype=np.int64), 0
        rows = {
            "linear": self.tokens + 1,
            "scored": most_scored + 1,
            "decode": (self.sequences + 1) * len(contexts),
            "prefill": new.size,
        }
        for place, part in zip(_PARTS_AT, rows, strict=True):
            shape[place], offset = offset, offset + rows[part]
        shape[TOKENS_TO], shape[SCORED_TO], shape[DECODE_TO] = self.tokens + 1, most_scored + 1, self.sequences + 1
        shape[EACH_HAS] = self.each
        knots = (contexts, reads, parts, prefixes)
        for (at, to), one in zip(
            ((CONTEXTS, CONTEXTS_TO), (READS, READS_TO), (PARTS, PARTS_TO), (PREFIXES, PREFIXES_TO)), knots, strict=True
        ):
            shape[at], shape[to], offset = offset, len(one), offset + len(one)
        out = {}
        for name in TIMES:
            numbers = np.concatenate([*(filled[part](made[part][name]) for part in rows), *knots])
            out[name] = Table(numbers, shape)
        return out


def _sized(one: Op) -> list[Any]:
    return [*one.args.values(), one.count]


def _every(most: int) -> np.ndarray:
    """Whole numbers from 1 to a largest: all small ones, then those at which tiles begin and end."""
    small = np.arange(1, min(most, _DENSE) + 1)
    ends = np.arange(_TILE, most + _TILE, _TILE)
    found: np.ndarray = np.unique(np.clip(np.concatenate([small, ends, ends + 1]), 1, most))
    return found.astype(float)


def _octaves(least: float, most: float, knots: int) -> np.ndarray:
    """From a least to a largest number, so many in every doubling."""
    count = max(2, int(np.ceil(np.log2(max(most / least, 1.0001)) * knots)) + 1)
    found: np.ndarray = np.geomspace(least, max(most, least + 1e-6), count)
    return found


def _filled(knots: np.ndarray, times: np.ndarray, most: int) -> np.ndarray:
    """Times at every whole number from 0 to a largest, linear between knots; none at 0."""
    whole = np.arange(1, most + 1, dtype=float)
    places = np.interp(whole, knots, np.arange(len(knots)))
    low = np.minimum(places.astype(int), len(knots) - 2) if len(knots) > 1 else np.zeros(len(whole), dtype=int)
    part = (places - low).reshape(-1, *[1] * (times.ndim - 1))
    between = times[low] + part * (times[np.minimum(low + 1, len(knots) - 1)] - times[low])
    return np.concatenate([np.zeros((1, *times.shape[1:])), between])
