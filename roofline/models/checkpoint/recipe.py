"""What a quantiser does to the modules of a model, as its configuration says it: rules in order, then a default."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

from roofline.models.checkpoint.matching import Names
from roofline.models.checkpoint.modules import HEADS, modules_of, places
from roofline.models.checkpoint.stored import LEFT, Stored


@dataclass
class Recipe:
    """How the linear layers of a checkpoint are stored.

    Attributes
    ----------
    scheme : str
        What it is, for people.
    linear : Stored
        The linear layers that no rule speaks of.
    experts : Stored, optional
        The routed experts that no rule speaks of; None: as `linear`.
    head : bool
        Whether the output projection is among those linear layers. Most quantisers leave it alone unsaid.
    rules : list of (Names, Stored)
        The modules that are stored otherwise; the first that holds a module counts.
    """

    scheme: str
    linear: Stored = LEFT
    experts: Stored | None = None
    head: bool = False
    rules: list[tuple[Names, Stored]] = field(default_factory=list)

    def rule(self, names: Iterable[str], stored: Stored) -> None:
        """Store these modules so, unless an earlier rule holds them."""
        found = Names.of(names)
        if found:
            self.rules.append((found, stored))

    @functools.cached_property
    def _places(self) -> tuple[str, ...]:
        return places({head for names, _ in self.rules for head in names.heads})

    @property
    def unread(self) -> list[str]:
        """Regular expressions in its lists that are not tried."""
        return [pattern for names, _ in self.rules for pattern in names.unread]

    def layer_kinds(self, depth: int) -> list[int]:
        """For each layer, the first layer of which the rules say the same."""
        if any(names.numbered for names, _ in self.rules):
            return list(range(depth))
        first: dict[tuple[frozenset[str], ...], int] = {}
        return [first.setdefault(tuple(names.layer(n) for names, _ in self.rules), n) for n in range(depth)]

    def part(self, part: str, number: int, family: str = "") -> list[tuple[str, Stored]]:
        """How the modules of a part of a layer are stored, each by the last word of its name."""
        usual = self.linear if part != "moe" or self.experts is None else self.experts
        best, told = None, 0.0
        for modules in modules_of(part, family, self._places) if self.rules else ():
            found = [self._of(module, number) for module in modules]
            known = sum(one is not None for one in found) / len(found)
            if known > told:
                told = known
                best = [(m.rpartition(".")[2], f or usual) for m, f in zip(modules, found, strict=True)]
                if told == 1:
                    break
        return best or [(part, usual)]

    def output_projection(self) -> Stored:
        """How the output projection is stored."""
        for name in HEADS:
            found = self._of(name, 0)
            if found is not None:
                return found
        return self.linear if self.head else LEFT

    def _of(self, module: str, number: int) -> Stored | None:
        return next((stored for names, stored in self.rules if names.holds(module, number)), None)
