"""Who may see a page that other machines reach: whoever has the link with its token."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

from bokeh.server.auth_provider import AuthProvider
from tornado.web import RequestHandler

#: The cookie that holds the token once the link was opened.
_COOKIE = "roofline_token"


class Refused(RequestHandler):
    """What others get."""

    def get(self) -> None:
        """Say what is missing."""
        self.set_status(403)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish("This page needs the link with its token, as `roofline explore` printed it.\n")


class Access(AuthProvider):
    """Lets those in whose address or cookie has the token.

    Parameters
    ----------
    token : str
    """

    def __init__(self, token: str) -> None:
        self._token = token

    @property
    def get_user(self) -> Callable[[Any], Any]:
        """Whether a request has the token, which a cookie keeps then: the connection that follows has no address."""
        return self._user

    def _user(self, handler: Any) -> str | None:
        given = handler.get_argument("token", "")
        if given and hmac.compare_digest(given.encode(), self._token.encode()):
            handler.set_cookie(_COOKIE, self._token, httponly=True, samesite="Strict")
            return "link"
        kept = handler.get_cookie(_COOKIE, "")
        return "cookie" if hmac.compare_digest(kept.encode(), self._token.encode()) else None

    @property
    def get_user_async(self) -> None:
        """None: a comparison waits for nothing."""

    @property
    def login_url(self) -> str:
        """Where those are sent who have it not."""
        return "/refused"

    @property
    def get_login_url(self) -> None:
        """None: there is one address for all."""

    @property
    def login_handler(self) -> type[RequestHandler]:
        """What answers there."""
        return Refused

    @property
    def logout_url(self) -> None:
        """None: closing the browser is enough."""

    @property
    def logout_handler(self) -> None:
        """None."""


def link(address: str, port: int, query: str, token: str) -> str:
    """The address to open."""
    host = f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}/?{query}" + (f"&token={token}" if token else "")
