"""``explore(model, chip, ...)``: the page in a notebook; and the server that shows it in a browser."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from roofline.base.errors import BadWorkload, RooflineError, UnknownName, shown
from roofline.base.face import TEXT, optional, takes
from roofline.catalog.load import CHIP as CHIP_KIND, MODEL as MODEL_KIND, Model
from roofline.explorer import options as fields
from roofline.explorer.state import CHIP, FIRST_OPTIONS, MODEL, Pick, State, from_query, to_query
from roofline.explorer.stock import Stock
from roofline.hardware.chip import Chip
from roofline.models.llm import LanguageModel

if TYPE_CHECKING:
    from roofline.explorer.view import Page

#: Where the page is served unless told otherwise, and the addresses that only this machine reaches.
ADDRESS, PORT = "127.0.0.1", 5006
_OWN = ("127.0.0.1", "localhost", "::1")

#: Bytes of a message of a browser: a dropped file in JSON, and nothing larger.
_MOST_MESSAGE = 8_000_000

_TITLE = "roofline"

#: The document around the page: it is as wide as the screen that shows it.
_TEMPLATE = """
{% extends base %}
{% block postamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body { margin: 0; }</style>
{% endblock %}
{% block contents %}
{{ embed(roots.page) }}
{% endblock %}
"""


@takes(stack=optional(TEXT))
def explore(
    model: Model | str | os.PathLike[str] = MODEL,
    chip: Chip | str | os.PathLike[str] | Sequence[Chip | str | os.PathLike[str]] = CHIP,
    *,
    stack: str | None = None,
    **options: Any,
) -> Page:
    """The page that shows an estimate with its chips' figures under sliders, for a notebook.

    In a browser the same comes from ``roofline explore``; in a script ``explore(...).show()`` serves it. What the page
    opens is the catalogue, what is given here, and files that are dropped on it.

    Parameters
    ----------
    model : LanguageModel, Recommender, str or path
        What is estimated at first.
    chip : Chip, str or path, or a list of them
        One to four chips, side by side.
    stack : str, optional
        The software of every chip; default: what :func:`roofline.estimate` takes.
    **options
        Those of :func:`roofline.estimate` that are single numbers, names or flags.

    Returns
    -------
    Page
        A component of Panel: shows itself as the last value of a cell.

    Raises
    ------
    RooflineError
        Where Panel is not installed, with what to install.
    UnknownName, BadWorkload, BadModel, BadDescriptor
        As :func:`roofline.estimate`, for what the page cannot begin with.

    Examples
    --------
    >>> import roofline as rl
    >>> page = rl.explore("llama-3.1-8b", ["h100-sxm", "mi300x"], batch=32)
    >>> page.query  # what the page's address ends in
    'model=llama-3.1-8b&chip=h100-sxm&chip=mi300x&batch=32'
    """
    pn = _panel()
    stock = Stock()
    state = asked(stock, model, [*chip] if isinstance(chip, list | tuple) else [chip], stack, options)
    from roofline.explorer.view import open_page

    if pn.state.curdoc is None:
        pn.extension(inline=True)  # the scripts come with the wheels, no network is asked
    return open_page(state, stock, standalone=False)


def asked(stock: Stock, model: Any, chips: Sequence[Any], stack: str | None, options: dict[str, Any]) -> State:
    """The state that a page begins with, of what was given; whether it is a question is checked.

    Raises
    ------
    UnknownName, BadWorkload, BadModel, BadDescriptor
    """
    for what, kind, several in (("model", MODEL_KIND, [model]), ("chip", CHIP_KIND, chips)):
        for one in several:
            if not kind.holds(one):
                raise BadWorkload(f"explore: {what}: expected {kind.words}, found {shown(one)}")
    name = stock.give_model(model)
    loaded = stock.model(name)
    known = fields.names_for(loaded)
    for option, value in options.items():
        if option not in known:
            raise UnknownName(f"option for {name}", option, known)
        if value is not None and not isinstance(value, bool | int | float | str):
            raise BadWorkload(f"{option}: expected one number, name or flag, found {shown(value)}; sweep takes several")
    if not options and isinstance(loaded, LanguageModel) and name == MODEL:
        options = dict(FIRST_OPTIONS)
    given = {key: fields.read(key, fields.written(value)) for key, value in options.items() if value is not None}
    picks = tuple(Pick(stock.give_chip(one), stack or "") for one in chips)
    return State(name, picks, tuple((key, value) for key, value in given.items() if value is not None))


def serve(
    state: State,
    stock: Stock,
    *,
    address: str = ADDRESS,
    port: int = PORT,
    open_browser: bool = True,
    origins: Sequence[str] = (),
    told: Callable[[str], None] = print,
    start: bool = True,
) -> Any:
    """Serve the page until it is stopped.

    An address that other machines reach has a token: who has not got the link with it gets nothing.

    Parameters
    ----------
    state : State
        What is shown where the browser's address says nothing.
    stock : Stock
    address : str
        To listen at.
    port : int
        0 for any that is free.
    open_browser : bool
    origins : sequence of str
        Hosts that pages may be opened from beside this one, ``HOST:PORT``: those of a proxy.
    told : callable
        Takes the link, once the page is there.
    start : bool
        False returns the server without running it.

    Raises
    ------
    RooflineError
        Where Panel is not installed, or the port is taken.
    """
    pn = _panel()
    from roofline.explorer.access import Access, link
    from roofline.explorer.view import from_address, open_page

    own, port = address in _OWN, port or _free_port(address)
    token = "" if own else secrets.token_urlsafe(24)

    def page() -> Any:
        query = pn.state.location.search if pn.state.location is not None else ""
        found, problem = from_address(query, state, from_query)
        template = pn.Template(_TEMPLATE)
        template.add_panel("page", open_page(found, stock, standalone=True, problem=problem))
        template.add_variable("app_title", _TITLE)
        return template

    more: dict[str, Any] = {} if own else {"auth_provider": Access(token)}
    try:
        server = pn.serve(
            page,
            address=address,
            port=port,
            websocket_origin=_origins(address, port, own, origins),
            title=_TITLE,
            show=False,
            start=False,
            verbose=False,
            websocket_max_message_size=_MOST_MESSAGE,
            **more,
        )
    except OSError as error:
        raise RooflineError(f"explore: cannot listen at {address}:{port}: {error}; --port 0 takes a free one") from None
    where = link(address, server.port, to_query(state), token)
    told(where)
    if open_browser and own:
        server.io_loop.add_callback(lambda: server.show("/"))
    if start:
        server.start()
        try:
            server.io_loop.start()
        except KeyboardInterrupt:
            server.stop()
    return server


def _origins(address: str, port: int, own: bool, more: Sequence[str]) -> list[str] | None:
    """Hosts whose pages may open a connection.

    Of a page that only this machine reaches: this machine. Of one with a token any, as a browser sends the cookie that
    holds it to no page of another site.
    """
    if not own:
        return ["*"]
    return [*(f"{host}:{port}" for host in dict.fromkeys([address, "localhost", "127.0.0.1"])), *more]


def _free_port(address: str) -> int:
    """A port that nobody listens at now: whose pages are let in has to be known before the server listens."""
    import socket

    with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as listening:
        return int(listening.getsockname()[1])


def _panel() -> Any:
    try:
        import panel
    except ImportError as error:
        raise RooflineError(f"the page needs Panel: pip install 'roofline[explore]' ({error})") from None
    return panel
