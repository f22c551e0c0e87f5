"""What the page is asked, as one plain value: it is a URL, and what is done on the page makes another of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, quote, urlencode

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.explorer import options as fields
from roofline.explorer.options import FIELDS, Value

#: Chips side by side, what-ifs of one of them, and characters of an address: more is nobody's question.
MOST_CHIPS, MOST_CHANGES, LONGEST = 4, 64, 8000

#: What the page shows first where nothing is said.
MODEL, CHIP = "llama-3.1-70b", "h100-sxm"
FIRST_OPTIONS: Mapping[str, Value] = {"batch": 64, "tp": 8}

#: Characters of a name, of a figure's path, and of the text of its value.
_LONGEST_NAME = 200

#: What an address may hold beside the question: how the page got its token, and what the server adds.
_IGNORED = ("token", "bokeh-session-id", "bokeh-protocol-version")


@dataclass(frozen=True)
class Pick:
    """One of the chips side by side.

    Attributes
    ----------
    chip : str
        Its name on the shelf.
    stack : str
        The software it is put on; empty: what an estimate takes where none is named.
    changes : tuple of (str, str)
        Its what-ifs: figure and new value, as :meth:`roofline.Chip.what_if` takes them.
    """

    chip: str
    stack: str = ""
    changes: tuple[tuple[str, str], ...] = ()

    def changed(self, path: str, text: str | None) -> Pick:
        """The same with another value of one figure; None for that of the descriptor."""
        kept = {known: value for known, value in self.changes if known != path}
        return replace(self, changes=tuple((kept | ({} if text is None else {path: text})).items()))


@dataclass(frozen=True)
class State:
    """A question to the page.

    Attributes
    ----------
    model : str
        Its name on the shelf.
    picks : tuple of Pick
        The chips, one to :data:`MOST_CHIPS`.
    options : tuple of (str, value)
        What was asked for beside the defaults, in the order of the form.
    x, y : str
        What the line runs over, and the figure that it shows; empty: the usual ones.
    focus : int
        The chip whose figures are under the sliders and in the tornado.
    """

    model: str = MODEL
    picks: tuple[Pick, ...] = (Pick(CHIP),)
    options: tuple[tuple[str, Value], ...] = tuple(FIRST_OPTIONS.items())
    x: str = ""
    y: str = ""
    focus: int = 0

    def __post_init__(self) -> None:
        if not 1 <= len(self.picks) <= MOST_CHIPS:
            raise BadWorkload(f"the page shows 1 to {MOST_CHIPS} chips, found {len(self.picks)}")
        if not 0 <= self.focus < len(self.picks):
            raise BadWorkload(f"focus: expected one of {len(self.picks)} chips, counted from 0, found {self.focus}")
        for name in (self.model, self.x, self.y, *(text for one in self.picks for text in (one.chip, one.stack))):
            _plain(name)
        for one in self.picks:
            if len(one.changes) > MOST_CHANGES:
                raise BadWorkload(f"expected at most {MOST_CHANGES} what-ifs of a chip, found {len(one.changes)}")
            for change in (text for pair in one.changes for text in pair):
                _plain(change)
        named = dict(self.options)
        object.__setattr__(self, "options", tuple((name, named[name]) for name in FIELDS if name in named))
        for name in named:
            fields.known(name)

    @property
    def asked(self) -> dict[str, Value]:
        """The options by name, as an estimate takes them."""
        return dict(self.options)

    def with_option(self, name: str, value: Value | None) -> State:
        """The same with another value of one option; None for its default."""
        fields.known(name)
        kept = {known: old for known, old in self.options if known != name}
        return replace(self, options=tuple((kept | ({} if value is None else {name: value})).items()))

    def keeping(self, names: Iterable[str]) -> State:
        """The same with the options of these names alone: those that a model of another kind takes, too."""
        wanted = tuple(names)
        return replace(self, options=tuple((name, value) for name, value in self.options if name in wanted))

    def with_pick(self, index: int, pick: Pick) -> State:
        """The same with another chip in one place."""
        return replace(self, picks=(*self.picks[:index], pick, *self.picks[index + 1 :]))


def _plain(text: str) -> None:
    """Refuse what no name, path or value is: control characters, lone surrogates, lengths that nobody types."""
    if len(text) > _LONGEST_NAME or not text.isprintable():
        raise BadWorkload(
            f"expected a name or value of at most {_LONGEST_NAME} visible characters, found {shown(text)}"
        )


# As an address ----------------------------------------------------------------------------------------------------


def to_query(state: State) -> str:
    """The state as the query of a URL, without the question mark; :func:`from_query` reads it back."""
    pairs = [("model", state.model)]
    for place, pick in enumerate(state.picks, 1):
        pairs.append(("chip", pick.chip))
        pairs += [(f"stack{place}", pick.stack)] * bool(pick.stack)
        pairs += [(f"set{place}", f"{path}={text}") for path, text in pick.changes]
    pairs += [(name, fields.written(value)) for name, value in state.options]
    shown_as = (("x", state.x), ("y", state.y), ("focus", str(state.focus + 1) if state.focus else ""))
    pairs += [(name, text) for name, text in shown_as if text]
    return urlencode(pairs, quote_via=quote)


def from_query(text: str) -> State:
    """The state that an address asks for.

    Raises
    ------
    UnknownName, BadWorkload
        For what is no part of one: which key, and what was expected.
    """
    if len(text) > LONGEST:
        raise BadWorkload(f"expected an address of at most {LONGEST:,} characters, found {len(text):,}")
    try:
        pairs = parse_qsl(text.removeprefix("?"), keep_blank_values=True, max_num_fields=500, errors="strict")
    except ValueError as error:
        raise BadWorkload(f"cannot read the address: {error}") from None
    pairs = [(key, value) for key, value in pairs if key not in _IGNORED]
    if not pairs:
        return State()
    single: dict[str, str] = {}
    chips: list[str] = []
    stacks: dict[int, str] = {}
    changes: dict[int, dict[str, str]] = {}
    for key, value in pairs:
        of_chip = re.fullmatch(r"(stack|set)([1-9])", key)
        if key == "chip":
            chips.append(value)
        elif of_chip and of_chip[1] == "stack":
            stacks[int(of_chip[2])] = value
        elif of_chip:
            path, equals, new = value.partition("=")
            if not (path and equals and new):
                raise BadWorkload(
                    f"{key}: expected FIGURE=VALUE such as memory.main.bandwidth=x2, found {shown(value)}"
                )
            changes.setdefault(int(of_chip[2]), {})[path] = new
        elif key in single:
            raise BadWorkload(f"{key} is given twice in the address")
        else:
            single[key] = value
    picks = tuple(
        Pick(name, stacks.pop(place, ""), tuple(changes.pop(place, {}).items()))
        for place, name in enumerate(chips or [CHIP], 1)
    )
    for place in (*stacks, *changes):
        raise BadWorkload(f"the address changes chip {place}, of {len(picks)}")
    return _from_parts(single, picks)


def _from_parts(single: dict[str, str], picks: tuple[Pick, ...]) -> State:
    model, x, y = single.pop("model", MODEL), single.pop("x", ""), single.pop("y", "")
    focus = single.pop("focus", "1")
    if focus not in map(str, range(1, MOST_CHIPS + 1)):
        raise BadWorkload(f"focus: expected a chip from 1 to {MOST_CHIPS}, found {shown(focus)}")
    asked: dict[str, Value] = {}
    for name, value in single.items():
        if name not in FIELDS:
            raise UnknownName("part of the address", name, ("model", "chip", "set1", "stack1", "x", "y", *FIELDS))
        found = fields.read(name, value)
        if found is not None:
            asked[name] = found
    return State(model, picks, tuple(asked.items()), x, y, int(focus) - 1)
