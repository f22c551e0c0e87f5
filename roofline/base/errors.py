"""The errors that roofline raises: one small family under :class:`RooflineError`.

Each message names what was found, what was expected and, where there is one, the nearest right thing.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable


class RooflineError(Exception):
    """Base of every error that roofline raises on purpose."""

    def __reduce__(self) -> tuple[object, ...]:
        # By its message and attributes: an error comes back from another process as it was.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[RooflineError], args: tuple[object, ...], attributes: dict[str, object]) -> RooflineError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(attributes)
    return error


class UnknownName(RooflineError, LookupError):
    """A chip, model, field or option that does not exist, with the closest ones that do.

    Parameters
    ----------
    what : str
        What was looked for, in words: ``"chip"``, ``"field of h100-sxm"``.
    name : str
        The name that was asked for.
    known : iterable of str
        The names that exist.
    hint : str, optional
        One more sentence: how to list the names, or what to write instead.
    """

    def __init__(self, what: str, name: str, known: Iterable[str], hint: str = "") -> None:
        self.name = name
        self.known = sorted(set(known))
        self.close = closest(name, self.known)
        message = f"no {what} is called {shown(name)}"
        if self.close:
            message += "; did you mean " + " or ".join(repr(c) for c in self.close) + "?"
        elif 0 < len(self.known) <= 12:
            message += "; known: " + ", ".join(self.known)
        super().__init__(f"{message} {hint}".rstrip())


class BadDescriptor(RooflineError, ValueError):
    """A chip descriptor that cannot be used: file, key, what was found and what was expected."""

    def __init__(self, file: str, problems: list[str]) -> None:
        self.file = file
        self.problems = problems
        super().__init__(f"{file}: " + ("; ".join(problems) if len(problems) == 1 else _bullets(problems)))


class BadModel(RooflineError, ValueError):
    """A model description (``config.json`` or a model file) that cannot be read as a model."""

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"{file}: {problem}")


class BadWorkload(RooflineError, ValueError):
    """Arguments that no workload can have: zero, negative, fractional, or not a divisor."""


class BadData(RooflineError, ValueError):
    """A file of measurements or profiler output that cannot be read: file, column or key, and why."""


class NotKnown(RooflineError):
    """A figure that cannot be given for want of another, such as a price: which one, and how to give it."""


class DoesNotFit(RooflineError):
    """The model does not fit into the memory of the chips it was given.

    Attributes
    ----------
    needs_bytes, has_bytes : float
        What one chip needs and what it has.
    suggestions : list of str
        The smallest changes that fit, each as the arguments to pass.
    """

    def __init__(self, message: str, needs_bytes: float, has_bytes: float, suggestions: list[str]) -> None:
        self.needs_bytes = needs_bytes
        self.has_bytes = has_bytes
        self.suggestions = suggestions
        if suggestions:
            message += "\nWhat fits: " + "; ".join(suggestions)
        super().__init__(message)


def closest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The known names nearest to a mistyped one, best first (possibly none)."""
    by_fold = {k.casefold(): k for k in known}
    folded = name.casefold()[:100]
    found = difflib.get_close_matches(folded, by_fold, n=count, cutoff=0.6)
    # A shortened name ("h100" for "h100-sxm") is far by edit distance but plainly meant.
    found += [k for k in sorted(by_fold) if len(folded) >= 2 and (k.startswith(folded) or folded.startswith(k))]
    return [by_fold[k] for k in dict.fromkeys(found)][:count]


class _Short(reprlib.Repr):
    def repr_int(self, x: int, level: int) -> str:
        """Python refuses to write out an integer of thousands of digits."""
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"an integer of {x.bit_length():,} bits"


_SHORT = _Short()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80


def shown(value: object) -> str:
    """What was found, as an error message quotes it: control characters escaped, cut to about a line."""
    return _SHORT.repr(value)


def _bullets(lines: list[str]) -> str:
    return f"{len(lines)} problems\n" + "\n".join(f"  - {line}" for line in lines)
