"""The page as Panel has it: one component of our own, in which the figures of Bokeh have their places."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import panel as pn
import param
from panel.custom import JSComponent
from panel.viewable import Child

from roofline.base.errors import RooflineError
from roofline.explorer import curves, pictures
from roofline.explorer.session import Session
from roofline.explorer.state import State
from roofline.explorer.stock import Stock

_HERE = Path(__file__).parent / "page"

#: The scripts, in this order one module.
_SCRIPTS = ("dom.js", "question.js", "answer.js", "page.js")

#: The figures of Bokeh, by their places.
PICTURES: dict[str, Callable[[], Any]] = {
    "roofline": pictures.Roofline,
    "breakdown": pictures.Breakdown,
    "memory": pictures.Memory,
    "line": curves.Along,
    "tornado": curves.Tornado,
    "frontier": curves.Trade,
}


class Page(JSComponent):
    """What a browser shows. Plain data goes in by name; what is done on it comes back as messages."""

    form = param.Dict(default={})
    knobs = param.Dict(default={})
    headline = param.Dict(default={})
    tables = param.Dict(default={})
    take = param.Dict(default={})
    work = param.Dict(default={})
    query = param.String(default="")
    problem = param.String(default="")
    tick = param.Integer(default=0)
    standalone = param.Boolean(default=False)

    roofline = Child()
    breakdown = Child()
    memory = Child()
    line = Child()
    tornado = Child()
    frontier = Child()

    _esm = "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    _stylesheets = [(_HERE / "page.css").read_text(encoding="utf-8")]  # noqa: RUF012  as Panel declares it

    def _handle_msg(self, data: Any) -> None:
        self.heard(data)

    heard: Callable[[Any], None] = staticmethod(lambda data: None)


class BrowserScreen:
    """A page of Panel as a session sees it."""

    def __init__(self, page: Page, document: Any) -> None:
        self.page, self._document, self._dark = page, document, False
        self.pictures: dict[str, Any] = {name: kind() for name, kind in PICTURES.items()}
        for name, picture in self.pictures.items():
            setattr(page, name, _pane(picture))

    def show(self, **parts: Any) -> None:
        """Show some of its parts anew."""
        self.page.param.update(**parts)

    def draw(self, what: str, *data: Any) -> None:
        """Draw one of its pictures anew; the theme is the colours of all of them."""
        if what == "theme":
            self._dark = bool(data[0])
            return
        self.pictures[what].show(*data, self._dark)
        if self._document is None:  # in a notebook, what is drawn is sent on demand
            pn.io.push_notebook(getattr(self.page, what))

    def send(self, file: Mapping[str, str]) -> None:
        """Hand a file to whoever looks."""
        self.page._send_msg({"file": dict(file)})

    def later(self, call: Callable[[], None]) -> None:
        """Call this where the document may be changed."""
        if self._document is None:
            call()
        else:
            self._document.add_next_tick_callback(call)


def _pane(picture: Any) -> Any:
    pane: Any = pn.pane.Bokeh
    if isinstance(picture, curves.Along):
        return pn.Column(*(pane(plot, sizing_mode="stretch_width") for plot in (picture.log, picture.linear)))
    return pane(picture.plot, sizing_mode="stretch_width")


@cache
def pool() -> ThreadPoolExecutor:
    """The threads of this process in which pages have things worked out."""
    return ThreadPoolExecutor(2, thread_name_prefix="roofline-page")


def open_page(state: State, stock: Stock, *, standalone: bool, problem: str = "") -> Page:
    """A page that shows a state.

    Parameters
    ----------
    state : State
    stock : Stock
        What it may open.
    standalone : bool
        Whether the page is the whole document: its address says what it shows.
    problem : str, optional
        What to tell whoever opens it.
    """
    made: Any = Page
    page: Page = made(standalone=standalone, sizing_mode="stretch_width")
    screen = BrowserScreen(page, pn.state.curdoc)
    session = Session(state, stock, screen, pool())

    def heard(message: Any) -> None:
        try:
            session.handle(message)
        finally:
            page.tick += 1

    page.heard = heard
    session.start()
    if problem:
        page.problem = problem
    if pn.state.curdoc is not None:
        pn.state.on_session_destroyed(lambda context: session.close())
    return page


def from_address(query: str, usual: State, read: Callable[[str], State]) -> tuple[State, str]:
    """The state of an address, and what is wrong with it; the usual one where it says nothing that can be shown."""
    try:
        return (read(query) if query.strip("?") else usual), ""
    except RooflineError as error:
        return usual, str(error)
