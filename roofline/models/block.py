"""What every block of a recommendation model's description has: its type, its name, the features that it takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from roofline.models.steps import Linear, Pointwise, Step

# Bounds keep a hostile file from asking for absurd work; each is far above any model that was ever served.
Width = Annotated[int, Field(strict=True, gt=0, le=1_000_000)]
Count = Annotated[int, Field(strict=True, gt=0, le=1_000_000)]
Depth = Annotated[int, Field(strict=True, gt=0, le=1000)]
Layers = Annotated[list[Width], Field(min_length=2, max_length=200)]
Name = Annotated[str, Field(strict=True, pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


def as_list(value: object) -> Any:
    """A single value as a list of one, so that a key takes either."""
    return value if isinstance(value, list) else [value]


class Strict(BaseModel):
    """A table of the file: no keys but these."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Feature:
    """What flows between blocks: for each sample, groups of vectors, as (how many, elements of each)."""

    name: str
    groups: tuple[tuple[int, int], ...]

    @property
    def vectors(self) -> int:
        """Vectors a sample has of it."""
        return sum(count for count, _ in self.groups)

    @property
    def width(self) -> int:
        """Elements a sample has of it, all vectors laid end to end."""
        return sum(count * dim for count, dim in self.groups)

    @property
    def dim(self) -> int:
        """Elements of each vector; ValueError where they differ."""
        dims = sorted({dim for _, dim in self.groups})
        if len(dims) > 1:
            raise ValueError(f"expected vectors of one width, found the widths {dims} in {self.name!r}")
        return dims[0]


def flat(name: str, width: int) -> Feature:
    """A feature of one vector."""
    return Feature(name, ((1, width),))


def join(inputs: Sequence[Feature]) -> Feature:
    """All vectors of all inputs, as one feature."""
    return Feature(" + ".join(f.name for f in inputs), tuple(g for f in inputs for g in f.groups))


Plan = tuple[Feature, list[Step]]


class BlockBase(Strict):
    """What every block says: its type, a name (default: its type) and the features it takes.

    `input` defaults to what the block before it hands on. A block that needs one vector or one stack of vectors and
    is given several features concatenates them first, which is a copy. With ``once = true`` it runs once for a request
    of `pairs_per_request` samples: the part of the user; what a later block takes of it is copied to every sample.
    """

    type: str
    name: Name = ""
    input: Annotated[list[Name], BeforeValidator(as_list), Field(max_length=1000, default_factory=list)]
    once: Annotated[bool, Field(strict=True)] = False

    @property
    def label(self) -> str:
        """The name in breakdowns, and by which later blocks refer to it."""
        return self.name or self.type

    @property
    def takes(self) -> list[str]:
        """The features to plan with, by name, in order."""
        return self.input

    def plan(self, inputs: Sequence[Feature]) -> Plan:
        """The feature that this block hands on, and the steps that compute it; ValueError if `inputs` do not fit."""
        raise NotImplementedError

    def _concat(self, inputs: Sequence[Feature]) -> list[Step]:
        if len(inputs) < 2:
            return []
        return [Pointwise(f"{self.label}.concat", "copy", sum(f.width for f in inputs))]

    def _layers(self, widths: Sequence[int], found: int, of: str, **options: Any) -> list[Step]:
        if widths[0] != found:
            raise ValueError(
                f"layers: the first number is the width of what comes in, so expected {found} (the width of {of}), "
                f"found {widths[0]}"
            )
        return [Linear(f"{self.label}.{i}", k, n, **options) for i, (k, n) in enumerate(pairwise(widths))]
