"""Who is served the page, from where, and what a script gets of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import roofline as rl
from roofline.base.errors import RooflineError, UnknownName
from roofline.explorer.explore import serve
from roofline.explorer.state import State
from roofline.explorer.stock import Stock

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")


@pytest.fixture(scope="module")
def guarded() -> Iterator[tuple[Any, str]]:
    """A server that other machines reach, and the link that it told."""
    told: list[str] = []
    server = serve(State(), Stock(), address="0.0.0.0", port=0, told=told.append, start=False)
    server.start()
    yield server, told[0]
    server.stop()


def _answer(server: Any, path: str, **headers: str) -> Any:
    from tornado.httpclient import AsyncHTTPClient

    async def ask() -> Any:
        url = f"http://127.0.0.1:{server.port}{path}"
        return await AsyncHTTPClient().fetch(url, headers=headers, raise_error=False, follow_redirects=True)

    return server.io_loop.run_sync(ask, timeout=120)


def test_who_has_not_the_token_gets_nothing(guarded: tuple[Any, str]) -> None:
    server, link = guarded
    token = link.partition("token=")[2]
    assert len(token) >= 32
    for path, headers in (
        ("/", {}),
        ("/?token=", {}),
        ("/?token=" + "x" * len(token), {}),
        ("/?model=llama-3.1-8b", {"Cookie": "roofline_token=" + "y" * len(token)}),
        ("/ws", {}),
    ):
        answer = _answer(server, path, **headers)
        assert answer.code == 403, path
        assert b"llama" not in (answer.body or b"")
    assert b"needs the link with its token" in _answer(server, "/").body


def test_who_has_the_link_gets_the_page_and_keeps_the_token(guarded: tuple[Any, str]) -> None:
    server, link = guarded
    path = "/" + link.partition("/?")[2]
    path = path if path.startswith("/?") else "/?" + path[1:]
    answer = _answer(server, path)
    assert answer.code == 200
    assert b"viewport" in answer.body
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert b"cdn." not in answer.body


def test_a_page_that_only_this_machine_reaches_has_no_token() -> None:
    told: list[str] = []
    server = serve(State(), Stock(), port=0, told=told.append, start=False, open_browser=False, origins=["proxy:80"])
    assert "token" not in told[0]
    assert told[0].startswith("http://127.0.0.1:")
    allowed = server._tornado.websocket_origins
    assert allowed == {f"{host}:{server.port}" for host in ("127.0.0.1", "localhost")} | {"proxy:80"}
    server.stop()


def test_a_script_gets_a_component() -> None:
    page = rl.explore("llama-3.1-8b", ["h100-sxm", rl.load_chip("mi300x").what_if({"clock": "x1.1"})], batch=4)
    assert [one["name"] for one in page.form["picks"]] == ["h100-sxm", "mi300x[clock=2.31GHz]"]
    assert page.headline["rows"][0]["cells"][0]["value"] == rl.estimate("llama-3.1-8b", "h100-sxm", batch=4).ttft_s
    with pytest.raises(UnknownName, match="did you mean 'batch'"):
        rl.explore("llama-3.1-8b", "h100-sxm", bach=4)


def test_without_panel_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "panel", None)
    with pytest.raises(RooflineError, match=r"pip install 'roofline\[explore\]'"):
        rl.explore("llama-3.1-8b")
