"""The page in a real browser: its figures are those of an estimate, and what a person does there does what it says.

Run where ``ROOFLINE_BROWSER`` is set: playwright and a Chromium (``CHROMIUM``, or one on the path) must be there then.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import roofline as rl
from roofline.explorer import copying
from roofline.explorer.answering import answer
from roofline.explorer.state import from_query
from roofline.explorer.stock import Stock
from tests.explored import SCRIPT, SMALL

REQUIRED = bool(os.environ.get("ROOFLINE_BROWSER"))
pytestmark = pytest.mark.skipif(not REQUIRED, reason="the page is tested in a browser where ROOFLINE_BROWSER=1 is set")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")

#: Milliseconds that the page may take for anything: machines are shared.
PATIENCE = 180_000


@pytest.fixture(scope="module")
def where() -> Iterator[str]:
    """The address of the page, as the command serves it."""
    command = [sys.executable, "-u", "-m", "roofline", "explore", "--no-browser", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as server:
        assert server.stderr is not None
        line = server.stderr.readline()
        assert "The page is at http://127.0.0.1:" in line, line + server.stderr.read()
        yield line.split()[4].partition("?")[0]
        server.terminate()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser without a window."""
    from playwright.sync_api import sync_playwright

    assert CHROMIUM is not None, "ROOFLINE_BROWSER asks for a chromium on the path: apt-get install chromium"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


class Seen:
    """A page, and what its console, its network and its dialogs said against it."""

    def __init__(self, page: Any, where: str) -> None:
        self.page, self.where = page, where
        self.wrong: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda m: self.wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("requestfailed", lambda request: self.wrong.append(f"failed: {request.url}"))
        page.on("dialog", lambda dialog: (self.wrong.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", self._request)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.where, self.where.replace("http", "ws"), "data:", "blob:")):
            self.wrong.append(f"asked for {request.url}")

    def open(self, query: str = SMALL) -> None:
        self.page.goto(f"{self.where}?{query}")
        self.answered()

    def settled(self) -> None:
        """Wait until everything that is worked out for the question is there."""
        self.page.wait_for_function("() => window.__rl && window.__rl.idle()")

    def answered(self) -> None:
        """Wait until the figures are those of the last thing that was done."""
        self.page.wait_for_function("() => window.__rl && window.__rl.answered()")

    def value(self, figure: str, column: int = 0) -> float:
        cell = self.page.locator(f"[data-figure={figure}] td").nth(column)
        return float(cell.get_attribute("data-value"))

    def expected(self) -> Any:
        """The estimates of the address that the page has now."""
        return answer(from_query(self.page.evaluate("location.search")), Stock())

    def agrees(self) -> None:
        """Every figure on the page is the very number of the estimate of its address."""
        found = self.expected()
        for i, column in enumerate(found.shown):
            assert column.est is not None
            for name, value in column.est.figures().items():
                assert self.value(name, i) == value


@pytest.fixture(scope="module")
def shared(browser: Any, where: str) -> Iterator[Seen]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000}, accept_downloads=True)
    seen = Seen(context.new_page(), where)
    seen.open()
    seen.settled()
    yield seen
    context.close()


@pytest.fixture
def seen(shared: Seen) -> Iterator[Seen]:
    """The page, of which nothing may have been said against at the end."""
    shared.wrong.clear()
    yield shared
    assert not shared.wrong


def test_the_figures_are_those_of_an_estimate(seen: Seen) -> None:
    est = rl.estimate("llama-3.1-8b", "h100-sxm", batch=8)
    assert {name: seen.value(name) for name in est.FIGURES} == est.figures()
    assert seen.page.locator("[data-figure=bound] td").inner_text() == est.bound
    low, high = est.interval(0.9, "ttft_s")
    between = seen.page.locator("[data-figure=ttft_s] .between").inner_text()
    assert between == f"{low * 1e3:.3g} to {high * 1e3:.3g} ms"


def test_a_slider_is_dragged_and_reset(seen: Seen) -> None:
    seen.settled()  # what still comes in moves the slider from under the mouse
    before = seen.value("tpot_s")
    slider = seen.page.locator("[data-path='memory.hbm.bandwidth']")
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    seen.page.mouse.move(box["x"] + box["width"] / 2, middle)
    seen.page.mouse.down()
    for share in (0.6, 0.7, 0.8):
        seen.page.mouse.move(box["x"] + box["width"] * share, middle)
    seen.page.mouse.up()
    seen.answered()
    assert seen.value("tpot_s") < before
    assert "set1=memory.hbm.bandwidth" in seen.page.evaluate("location.search")
    seen.agrees()
    slider.focus()
    dragged = seen.value("tpot_s")
    seen.page.keyboard.press("ArrowLeft")
    seen.page.keyboard.press("PageDown")
    seen.answered()
    assert before > seen.value("tpot_s") > dragged
    seen.page.get_by_role("button", name="Reset memory.hbm.bandwidth").click()
    seen.answered()
    assert seen.value("tpot_s") == before


def test_a_variant_stands_beside_its_chip_and_the_link_brings_it_back(seen: Seen) -> None:
    page = seen.page
    page.get_by_role("button", name="Add a chip beside").click()
    seen.answered()
    field = page.get_by_label("memory.hbm.bandwidth, its value")
    field.fill("4.8 TB/s")
    field.press("Enter")
    page.get_by_label("Output (tokens)").fill("64")
    page.get_by_label("Output (tokens)").press("Tab")
    seen.answered()
    seen.agrees()
    assert seen.value("tpot_s", 1) < seen.value("tpot_s", 0)
    assert page.get_by_role("region", name="What differs").locator("tbody tr").count() == 1
    address, figures = page.url, [seen.value("tokens_per_s", i) for i in (0, 1)]
    page.reload()
    seen.answered()
    assert page.url == address
    assert [seen.value("tokens_per_s", i) for i in (0, 1)] == figures
    state = from_query(page.evaluate("location.search"))
    texts = {name: page.locator(f"[data-text={name}]").inner_text() for name in ("Python", "command")}
    assert texts["Python"].strip() == copying.as_python(state, Stock()).strip()
    assert texts["command"].strip() == copying.as_command(state, Stock()).strip()


def test_what_cannot_be_is_said_and_changes_nothing(seen: Seen) -> None:
    address = seen.page.url
    field = seen.page.get_by_label("Model (type to search)")
    field.fill("lama-3.1-8b")
    field.press("Enter")
    seen.page.get_by_role("alert").filter(has_text="did you mean").wait_for()
    assert seen.page.url == address
    field.fill("../../etc/passwd")
    field.press("Enter")
    seen.page.get_by_role("alert").filter(has_text="the page opens what the catalogue has").wait_for()
    assert seen.page.url == address


def test_files_of_every_kind_are_kept(seen: Seen, tmp_path: Path) -> None:
    import pandas as pd

    def fetched(name: str) -> bytes:
        with seen.page.expect_download() as download:
            seen.page.get_by_role("button", name=f"Download {name}").click()
        assert download.value.suggested_filename == name
        return Path(download.value.path()).read_bytes()

    seen.settled()
    column = seen.expected().columns[1]
    chip = tmp_path / "chip.toml"
    chip.write_bytes(fetched("B-h100-sxm.toml"))
    assert rl.load_chip(chip)["memory.hbm.bandwidth"] == 4.8e12
    table = pd.read_csv(io.BytesIO(fetched("figures.csv"))).set_index(["chip", "figure"])
    assert table.loc[(column.label, "tpot_s"), "expected"] == pytest.approx(column.est.tpot_s, rel=1e-12)
    line = pd.read_csv(io.BytesIO(fetched("line.csv")))
    assert set(line["chip"]) == {one.label for one in seen.expected().columns}
    assert fetched("sensitivity.png").startswith(b"\x89PNG")
    assert b"<svg" in fetched("roofline.svg")[:1000]


def test_a_frontier_is_worked_out(seen: Seen) -> None:
    page = seen.page
    assert page.get_by_role("button", name="Download frontier.csv").count() == 0
    page.get_by_role("button", name="Work out the frontier").click()
    page.get_by_text("that no other beats.").wait_for()
    assert page.get_by_role("button", name="Download frontier.csv").count() == 1
    assert page.get_by_role("button", name="Cancel").count() == 0


def test_names_of_users_stay_text(seen: Seen) -> None:
    from tests.test_explorer import CHIP, RANKER

    page = seen.page
    for name, text in ((f"{SCRIPT}.toml", RANKER), ("chip.toml", CHIP)):
        content = text.format(f"{SCRIPT}<img src=x onerror=alert(2)>").encode()
        page.set_input_files("input[type=file]", {"name": name, "mimeType": "text/plain", "buffer": content})
        page.wait_for_function("name => location.search.includes(name)", arg="script-" if "users" in text else "chip-")
        seen.answered()
    assert page.locator(".question p", has_text=SCRIPT).count() >= 1
    assert page.locator(".app script").count() == page.locator(".app img").count() == 0
    assert page.get_by_text("users", exact=False).count() >= 1
    assert seen.value("samples_per_s") > 0


def test_recommendation_has_its_tables_and_hits(seen: Seen) -> None:
    seen.page.get_by_role("button", name="Remove chip B").click()
    seen.answered()
    for label, text in (("Model (type to search)", "dlrm-v2"), ("Chip A", "mtia-2i"), ("Batch", "512"), ("Chips", "2")):
        field = seen.page.get_by_label(label, exact=True)
        field.fill(text)
        field.press("Tab")
        seen.answered()
    seen.page.get_by_label("Arithmetic").select_option("int8")
    seen.answered()
    seen.agrees()
    section = seen.page.get_by_role("region", name="Placement and hit rates")
    assert seen.expected().columns[0].est.request.placement.words in section.inner_text()
    assert section.locator("td", has_text="%").count() == 3


def test_nothing_serious_stands_against_its_accessibility(seen: Seen) -> None:
    from axe_playwright_python.sync_playwright import Axe

    seen.settled()
    for rules in ({}, {"runOnly": ["color-contrast"]}):
        if rules:
            seen.page.get_by_role("button", name="Dark colours").click()
        found = Axe().run(seen.page, options={"resultTypes": ["violations"], **rules}).response["violations"]
        bad = [one for one in found if one["impact"] in ("serious", "critical")]
        assert not bad, [(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in bad]
    seen.page.get_by_role("button", name="Light colours").click()


def test_it_works_at_the_width_of_a_phone(browser: Any, where: str) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark", has_touch=True)
    seen = Seen(context.new_page(), where)
    seen.open()
    assert seen.page.evaluate("document.scrollingElement.scrollWidth") <= 390
    assert seen.page.locator(".app").get_attribute("data-theme") == "dark"
    seen.page.get_by_text("Sliders", exact=True).tap()
    text = seen.page.locator(".strip").inner_text()
    assert f"{rl.estimate('llama-3.1-8b', 'h100-sxm', batch=8).tokens_per_s:,.0f}" in text
    assert not seen.wrong
    context.close()
