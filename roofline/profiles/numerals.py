"""Numbers as profilers print them: which mark is the decimal one is decided once for a file, or refused.

Nsight Compute prints in the locale of whoever ran it: twelve and a half is 12.50 in one and 12,50 in another, and
1,234 is a thousand or a little more than one. A single number often tells (12,50 groups nothing); one file was written
in one locale, so what one number tells holds for all.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable

from roofline.base.errors import BadData, shown

#: No time, count or number of bytes or FLOP in any unit comes near it; products of two of them stay finite.
MOST = 1e30

# Spaces and apostrophes only ever group.
_GROUPED = re.compile("(?<=[0-9])[ \u00a0\u202f\u2009'\u2019](?=[0-9]{3}(?![0-9]))")
_LONGEST = 80


@functools.cache
def _pattern(mark: str) -> re.Pattern[str]:
    group, point = re.escape("," if mark == "." else "."), re.escape(mark)
    whole = rf"(?:[1-9][0-9]{{0,2}}(?:{group}[0-9]{{3}})+|[0-9]+)"
    return re.compile(rf"[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?")


def reading(text: str, mark: str, whole: bool = False) -> float | None:
    """A number's text read with a decimal `mark`; None if it is no number so, or has a fraction and must be `whole`."""
    plain = _GROUPED.sub("", text.strip())
    if len(plain) > _LONGEST or not _pattern(mark).fullmatch(plain):
        return None
    value = float(plain.replace("," if mark == "." else ".", "").replace(mark, "."))
    return None if whole and math.isfinite(value) and value != int(value) else value


def decimal_mark(cells: Iterable[tuple[str, bool]], file: str, usual: str = "") -> str:
    """The decimal mark of a file's numbers.

    Parameters
    ----------
    cells : iterable of (str, bool)
        Numbers as text, and whether each counts something and so has no fraction. What is no number is passed over.
    file : str
        For messages.
    usual : str, optional
        The mark that is taken where every number in doubt has that mark in it, and nothing else tells.

    Raises
    ------
    BadData
        When two numbers contradict each other, or none tells which of two readings holds: names both.
    """
    doubtful: dict[str, tuple[float, float]] = {}
    told: dict[str, str] = {}
    for text, whole in cells:
        point, comma = reading(text, ".", whole), reading(text, ",", whole)
        if point is not None and comma is not None:
            if point != comma:
                doubtful.setdefault(text.strip(), (point, comma))
        elif point is not None:
            told.setdefault(".", text.strip())
        elif comma is not None:
            told.setdefault(",", text.strip())
    if len(told) == 2:
        raise BadData(
            f"{file}: its numbers contradict each other: {shown(told['.'])} has a decimal point, "
            f"{shown(told[','])} a decimal comma; export it again in one locale (LC_ALL=C)"
        )
    if told:
        return next(iter(told))
    if usual:
        other = "," if usual == "." else "."
        doubtful = {text: read for text, read in doubtful.items() if other in text}
    if doubtful:
        text, (point, comma) = next(iter(doubtful.items()))
        raise BadData(
            f"{file}: {shown(text)} may be {point:,.10g} or {comma:,.10g}, and no other number tells whether "
            f"its mark groups thousands or is the decimal one; export it again with LC_ALL=C"
        )
    return "."


def number(value: object, where: str, mark: str = ".", whole: bool = False) -> float:
    """A finite number that is not negative, from text or as it is.

    Raises
    ------
    BadData
    """
    if isinstance(value, str):
        found = reading(value, mark, whole)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = float(value) if isinstance(value, float) or abs(value) < MOST else MOST
    else:
        found = None
    if found is None:
        raise BadData(f"{where}: expected a number, found {quoted(value)}")
    if not 0 <= found < MOST:
        raise BadData(f"{where}: expected a finite number, not negative and below {MOST:g}, found {quoted(value)}")
    return found


def quoted(value: object) -> str:
    """What was found, as :func:`~roofline.base.errors.shown` has it; numbers of thousands of digits too."""
    return f"{value.bit_length()} bits" if isinstance(value, int) and value.bit_length() > 500 else shown(value)
