"""The errors that roofline raises: one small family under :class:`RooflineError`.

Each message names what was found, what was expected and, where there is one, the nearest right thing.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable


class RooflineError(Exception):
    """Base of every error that roofline raises on purpose.

    Examples
    --------
    >>> import roofline as rl
    >>> try:
    ...     rl.load_chip("h1000")
    ... except rl.RooflineError as error:
    ...     print(error)
    no chip is called 'h1000'; did you mean 'h100' or 'v100' or 'h800'? (roofline chips lists them)
    """

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

    Examples
    --------
    >>> import roofline as rl
    >>> try:
    ...     rl.load_model("lama-3.1-8b")
    ... except rl.UnknownName as error:
    ...     print(error.close[0])
    llama-3.1-8b
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
    """A chip descriptor that cannot be used: file, key, what was found and what was expected.

    Parameters
    ----------
    file : str
        The file, or the name of the chip.
    problems : list of str
        What is wrong, each with its key.

    Examples
    --------
    >>> import roofline as rl
    >>> from pathlib import Path
    >>> _ = Path("mine.toml").write_text("schema = 1")
    >>> try:
    ...     rl.load_chip("mine.toml")
    ... except rl.BadDescriptor as error:
    ...     print(error.problems[0])
    name: is required but missing
    """

    def __init__(self, file: str, problems: list[str]) -> None:
        self.file = file
        self.problems = problems
        super().__init__(f"{file}: " + ("; ".join(problems) if len(problems) == 1 else _bullets(problems)))


class BadModel(RooflineError, ValueError):
    """A model description (``config.json`` or a model file) that cannot be read as a model.

    Parameters
    ----------
    file : str
        The file, or the name of the model.
    problem : str
        What is wrong.

    Examples
    --------
    >>> import roofline as rl
    >>> from pathlib import Path
    >>> _ = Path("config.json").write_text("[]")
    >>> try:
    ...     rl.load_model("config.json")
    ... except rl.BadModel as error:
    ...     print(error)
    config.json: holds [], expected a JSON object such as a config.json
    """

    def __init__(self, file: str, problem: str) -> None:
        self.file = file
        self.problem = problem
        super().__init__(f"{file}: {problem}")


class BadWorkload(RooflineError, ValueError):
    """Arguments that no workload can have: zero, negative, fractional, or not a divisor.

    Examples
    --------
    >>> import roofline as rl
    >>> try:
    ...     rl.estimate("llama-3.1-8b", "h100-sxm", batch=0)
    ... except rl.BadWorkload as error:
    ...     print(error)
    batch: expected a whole number of at least 1, found 0
    """


class BadData(RooflineError, ValueError):
    r"""A file of measurements or profiler output that cannot be read: file, column or key, and why.

    Examples
    --------
    >>> import roofline as rl
    >>> from pathlib import Path
    >>> _ = Path("rows.csv").write_text("op\ngemm\n")
    >>> try:
    ...     rl.validate("rows.csv", "h100-sxm")
    ... except rl.BadData as error:
    ...     print(error)
    rows.csv: no column 'time_s'; found: 'op'
    """


class NotKnown(RooflineError):
    """A figure that cannot be given for want of another, such as a price: which one, and how to give it.

    Examples
    --------
    >>> import roofline as rl
    >>> est = rl.estimate("dlrm-v2", "mtia-2i", devices=4)
    >>> try:
    ...     est.usd_per_million_samples
    ... except rl.NotKnown as error:
    ...     print(str(error).partition(":")[0])
    the price of mtia-2i is not known
    """


class DoesNotFit(RooflineError):
    """The model does not fit into the memory of the chips it was given.

    Parameters
    ----------
    message : str
        What does not fit, and into what.
    needs_bytes, has_bytes : float
        What one chip needs and what it has.
    suggestions : list of str
        The smallest changes that fit, each as the arguments to pass.

    Examples
    --------
    >>> import roofline as rl
    >>> try:
    ...     rl.estimate("llama-3.1-70b", "h100-sxm")
    ... except rl.DoesNotFit as error:
    ...     print(error.suggestions)
    ['tp=2 (2 chips)', "weight_dtype='fp8' on the same 1 chip"]
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
