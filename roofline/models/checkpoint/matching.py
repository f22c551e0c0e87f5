"""Which modules a list of names means: names, beginnings, wildcards and regular expressions, as quantisers write them.

A list may hold tens of thousands of names (an entry for every expert of every layer), and a checkpoint is not to be
trusted: names and prefixes are looked up, wildcards matched, and of regular expressions only those tried that cannot
take for ever.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

#: Regular expressions that are tried: words, dots, a few wildcards, alternatives without any. Others could be written
#: to take for ever.
_PLAIN = re.compile(r"(?:[\w^$-]|\\?\.|\.\*|\\d\+|\[0-9\]\+|\((?:\?:)?[\w.|\\-]+\))*")
_MOST_WILDCARDS = 3

#: Where a name holds the number of a layer: ``model.layers.10.mlp``, ``transformer.h.10.mlp``, ``layers.1*``.
_LAYER = re.compile(r"(?:^|\.)(?:layers|h|blocks)\.(\d+)(?=$|\.|\*)")

#: The experts of a layer are alike, so that the first stands for all.
OTHER_EXPERTS = re.compile(r"\.experts\.[1-9]")

#: The number of a layer in a name that stands for any layer.
ANY = "{}"


@dataclass
class Names:
    """A list of modules, told apart by the layer that they name.

    Attributes
    ----------
    unread : list of str
        Regular expressions that are not tried.
    heads : set of str
        How the names begin that hold the number of a layer, or a pattern: ``"model.layers."``.
    """

    unread: list[str] = field(default_factory=list)
    heads: set[str] = field(default_factory=set)
    _everywhere: _Names = field(default_factory=lambda: _Names())
    _layers: dict[int, _Names] = field(default_factory=lambda: defaultdict(_Names))
    _many_layers: list[tuple[str, str]] = field(default_factory=list)

    @classmethod
    def of(cls, names: Iterable[str]) -> Names:
        """A list as a checkpoint has it."""
        out = cls()
        for name in names:
            out._add(name)
        return out

    def _add(self, name: str) -> None:
        if name.startswith("re:"):
            pattern = name[3:]
            if not _PLAIN.fullmatch(pattern) or pattern.count("*") + pattern.count("+") > _MOST_WILDCARDS:
                self.unread.append(name)
                return
            self.heads.add(_literal(pattern.replace("\\.", ".")))
            self._everywhere.patterns.append(re.compile(pattern))
            return
        if OTHER_EXPERTS.search(name):
            return
        found = _LAYER.search(name)
        if not found:
            if any(sign in name for sign in "*?"):
                self.heads.add(_literal(name))
            self._everywhere.add(name)
            return
        start, end = found.span(1)
        self.heads.add(name[:start])
        anywhere = name[:start] + ANY + name[end:]
        if name[end : end + 1] == "*":  # "layers.1*" means layers 1 and 10 to 19
            self._many_layers.append((found[1], anywhere))
        else:
            self._layers[int(found[1])].add(anywhere)

    @property
    def numbered(self) -> bool:
        """Whether a regular expression may tell one layer from another by its number."""
        return any(re.search(r"(?<!\[)[0-9](?!-9\])", pattern.pattern) for pattern in self._everywhere.patterns)

    def layer(self, number: int) -> frozenset[str]:
        """What the list says of one layer and not of all; equal for layers of which it says the same."""
        own = self._layers.get(number)
        many = {name for digits, name in self._many_layers if str(number).startswith(digits)}
        return frozenset(own.everything | many if own else many)

    def holds(self, module: str, number: int) -> bool:
        """Whether the list holds a module of a layer; in its name :data:`ANY` stands for the layer's number."""
        own = self._layers.get(number)
        if own is not None and own.hold(module):
            return True
        if any(str(number).startswith(digits) and _matches(module, name) for digits, name in self._many_layers):
            return True
        return self._everywhere.hold(module.replace(ANY, str(number)))

    def __bool__(self) -> bool:
        return bool(self._everywhere.everything or self._layers or self._many_layers or self.unread)


@dataclass
class _Names:
    """Names of modules, beginnings of names, and patterns."""

    exact: set[str] = field(default_factory=set)
    beginnings: set[str] = field(default_factory=set)
    wildcards: list[str] = field(default_factory=list)
    patterns: list[re.Pattern[str]] = field(default_factory=list)

    def add(self, name: str) -> None:
        name = name.strip(".")
        if "*" not in name and "?" not in name:
            self.exact.add(name)
        elif name.endswith("*") and not any(sign in name[:-1] for sign in "*?["):
            self.beginnings.add(name[:-1])
        else:
            self.wildcards.append(name)

    @property
    def everything(self) -> set[str]:
        return {*self.exact, *(f"{b}*" for b in self.beginnings), *self.wildcards, *(p.pattern for p in self.patterns)}

    def hold(self, module: str) -> bool:
        """Whether they hold a module: by its name, a run of its parts between dots, its beginning, or a pattern."""
        if self.exact:
            parts = module.split(".")
            for first in range(len(parts)):
                for last in range(first + 1, len(parts) + 1):
                    if ".".join(parts[first:last]) in self.exact:
                        return True
        if any(module.startswith(beginning) for beginning in self.beginnings):
            return True
        if any(_matches(module, name) for name in self.wildcards):
            return True
        return any(pattern.match(module) for pattern in self.patterns)


def _matches(module: str, wildcard: str) -> bool:
    return fnmatch.fnmatchcase(module, wildcard) or fnmatch.fnmatchcase(module, f"{wildcard}.*")


def _literal(pattern: str) -> str:
    """What a pattern begins with before its first sign."""
    found = re.match(r"[\w.-]*", pattern.lstrip("^"))
    return found[0] if found else ""
