"""What is done on the page, as the state that comes of it. Messages come from a browser: nothing in them is trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from roofline.base.errors import BadWorkload, UnknownName, shown
from roofline.explorer import options as fields
from roofline.explorer.state import MOST_CHIPS, Pick, State
from roofline.explorer.stock import Stock
from roofline.models.llm import LanguageModel

#: What a figure's value may be as a number of the slider; the session knows its sliders.
Message = Mapping[str, Any]


def text_of(message: Message, name: str) -> str:
    """A text of a message.

    Raises
    ------
    BadWorkload
    """
    value = message.get(name)
    if not isinstance(value, str):
        raise BadWorkload(f"{name}: expected text, found {shown(value)}")
    return value.strip()


def place_of(message: Message, state: State) -> int:
    """Which of the chips a message is about.

    Raises
    ------
    BadWorkload
    """
    value = message.get("chip")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < len(state.picks):
        raise BadWorkload(f"expected one of {len(state.picks)} chips, counted from 0, found {shown(value)}")
    return value


def changed(state: State, message: Message, stock: Stock) -> State:
    """The state after something was done on the page.

    Raises
    ------
    UnknownName, BadWorkload, BadModel, BadDescriptor
        For what cannot be done: the state stays as it was.
    """
    what = text_of(message, "do")
    if what not in _EVENTS:
        raise UnknownName("thing to do", what, _EVENTS)
    return _EVENTS[what](state, message, stock)


def _model(state: State, message: Message, stock: Stock) -> State:
    name = text_of(message, "value")
    model = stock.model(name)
    kept = state.keeping(fields.names_for(model))
    was_language = _is_language(state.model, stock)
    if was_language is not isinstance(model, LanguageModel):  # a batch of sequences is no batch of samples
        kept = kept.with_option("batch", None)
        kept = replace(kept, x="", y="", picks=tuple(replace(one, stack="") for one in kept.picks))
    return replace(kept, model=name)


def _is_language(name: str, stock: Stock) -> bool:
    try:
        return isinstance(stock.model(name), LanguageModel)
    except (LookupError, ValueError):
        return True


def _option(state: State, message: Message, stock: Stock) -> State:
    name = text_of(message, "name")
    value = fields.read(name, text_of(message, "value"))
    return state.with_option(name, value)


def _chip(state: State, message: Message, stock: Stock) -> State:
    place, name = place_of(message, state), text_of(message, "value")
    stock.chip(name)
    return replace(state.with_pick(place, Pick(name)), focus=place)


def _stack(state: State, message: Message, stock: Stock) -> State:
    place, name = place_of(message, state), text_of(message, "value")
    pick = state.picks[place]
    if name:
        stock.chip(pick.chip).on_stack(name)
    return state.with_pick(place, replace(pick, stack=name))


def _figure(state: State, message: Message, stock: Stock) -> State:
    """A figure typed in: text as a what-if takes it; empty for the descriptor's."""
    place, path, text = place_of(message, state), text_of(message, "path"), text_of(message, "value")
    pick = state.picks[place]
    if text:
        chip = stock.chip(pick.chip)
        (chip.on_stack(pick.stack) if pick.stack else chip).what_if({path: text})
    return state.with_pick(place, pick.changed(path, text or None))


def _reset(state: State, message: Message, stock: Stock) -> State:
    place = place_of(message, state)
    return state.with_pick(place, replace(state.picks[place], changes=()))


def _add(state: State, message: Message, stock: Stock) -> State:
    """One more chip: the one under the sliders as its descriptor has it, for a what-if beside it."""
    if len(state.picks) >= MOST_CHIPS:
        raise BadWorkload(f"the page shows at most {MOST_CHIPS} chips side by side")
    new = replace(state.picks[state.focus], changes=())
    return replace(state, picks=(*state.picks, new), focus=len(state.picks))


def _remove(state: State, message: Message, stock: Stock) -> State:
    place = place_of(message, state)
    if len(state.picks) == 1:
        raise BadWorkload("the page shows at least one chip")
    kept = (*state.picks[:place], *state.picks[place + 1 :])
    return replace(state, picks=kept, focus=min(state.focus, len(kept) - 1))


def _focus(state: State, message: Message, stock: Stock) -> State:
    return replace(state, focus=place_of(message, state))


def _axis(state: State, message: Message, stock: Stock) -> State:
    return replace(state, x=text_of(message, "value"))


def _result(state: State, message: Message, stock: Stock) -> State:
    return replace(state, y=text_of(message, "value"))


_EVENTS: dict[str, Callable[[State, Message, Stock], State]] = {
    "model": _model,
    "option": _option,
    "chip": _chip,
    "stack": _stack,
    "figure": _figure,
    "reset": _reset,
    "add": _add,
    "remove": _remove,
    "focus": _focus,
    "axis": _axis,
    "result": _result,
}
