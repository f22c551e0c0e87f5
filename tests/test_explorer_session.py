"""A session of the page without a browser: what is done on it, in order, and what is shown and sent."""

from __future__ import annotations

import json
from typing import Any

import pytest

import roofline as rl
from roofline.explorer.session import Session
from roofline.explorer.state import from_query
from roofline.explorer.stock import Stock
from tests.explored import CHIP, SCRIPT, SMALL, fewer_points


@pytest.fixture(scope="module")
def stock() -> Stock:
    return Stock()


@pytest.fixture(autouse=True)
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer_points(monkeypatch)


class Paper:
    """A screen that keeps what it was shown; a pool that does what it is given at once, or when it is told to."""

    def __init__(self) -> None:
        self.parts: dict[str, Any] = {}
        self.drawn: list[str] = []
        self.files: list[Any] = []
        self.jobs: list[Any] = []
        self.seen: Any = lambda parts: None

    def show(self, **parts: Any) -> None:
        json.dumps(parts, allow_nan=False)
        self.parts |= parts
        self.seen(parts)

    def draw(self, what: str, *data: Any) -> None:
        self.drawn.append(what)

    def send(self, file: Any) -> None:
        self.files.append(file)

    def later(self, call: Any) -> None:
        call()

    def submit(self, job: Any, *given: Any) -> None:
        self.jobs.append((job, given))

    def work(self) -> None:
        while self.jobs:
            job, given = self.jobs.pop(0)
            job(*given)


@pytest.fixture
def opened(stock: Stock, monkeypatch: pytest.MonkeyPatch) -> tuple[Session, Paper]:
    monkeypatch.setattr("roofline.explorer.session.PATIENCE", 0.0)
    paper = Paper()
    session = Session(from_query(SMALL), stock, paper, paper)  # type: ignore[arg-type]
    session.start()
    assert not paper.jobs
    session.handle({"do": "theme", "dark": False})
    return session, paper


def test_only_the_last_thing_asked_is_worked_out(opened: tuple[Session, Paper]) -> None:
    session, paper = opened
    session.handle({"do": "option", "name": "batch", "value": "16"})
    assert len(paper.jobs) == 2
    paper.jobs.pop(0)[0](*([1, *paper.jobs[0][1][1:]]))  # that of the question before: its turn is over
    assert paper.parts["work"]["busy"]
    paper.work()
    assert not paper.parts["work"]["busy"]
    est = rl.estimate("llama-3.1-8b", "h100-sxm", batch=16)
    cells = {row["name"]: row["cells"][0] for row in paper.parts["headline"]["rows"]}
    assert cells["tpot_s"]["value"] == est.tpot_s
    assert cells["tpot_s"]["interval"]
    table = rl.sensitivity("llama-3.1-8b", "h100-sxm", batch=16)
    hardware = [path for path in table.index if not path.startswith(("efficiency.", "latency."))]
    shown = [knob["path"] for knob in paper.parts["knobs"]["knobs"] if not knob["parameter"]]
    assert shown[:5] == hardware[:5]


def test_a_slider_stops_at_round_values_and_at_the_descriptor(opened: tuple[Session, Paper]) -> None:
    session, paper = opened
    paper.work()
    knob = next(one for one in paper.parts["knobs"]["knobs"] if one["path"] == "memory.hbm.bandwidth")
    assert (knob["at"], knob["kind"], knob["believed"]) == (knob["own"], "datasheet", "3 TB/s to 3.43 TB/s")
    session.handle({"do": "knob", "chip": 0, "path": "memory.hbm.bandwidth", "at": knob["own"] + 100})
    assert session.state.picks[0].changes == (("memory.hbm.bandwidth", "4.42 TB/s"),)
    moved = next(one for one in paper.parts["knobs"]["knobs"] if one["path"] == "memory.hbm.bandwidth")
    assert moved["changed"]
    assert abs(moved["at"] - knob["own"] - 100) <= 2
    session.handle({"do": "knob", "chip": 0, "path": "memory.hbm.bandwidth", "at": knob["own"]})
    assert session.state.picks[0].changes == ()
    session.handle({"do": "knob", "chip": 0, "path": "clock", "at": "high"})
    assert "expected the place of a slider" in paper.parts["problem"]
    session.handle("nonsense")  # type: ignore[arg-type]
    assert "expected a message" in paper.parts["problem"]


def test_a_frontier_tells_how_far_it_is_and_can_be_cancelled(opened: tuple[Session, Paper]) -> None:
    session, paper = opened
    shares = []

    def seen(parts: dict[str, Any]) -> None:
        if "work" in parts and parts["work"]["running"]:
            shares.append(parts["work"]["share"])

    paper.jobs.clear()
    paper.seen = seen
    session.handle({"do": "frontier"})
    paper.work()
    assert shares == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert "that no other beats" in paper.parts["work"]["said"]
    assert "frontier.csv" in paper.parts["take"]["files"]

    def cancel(parts: dict[str, Any]) -> None:
        if "work" in parts and parts["work"]["running"] and parts["work"]["share"] > 0:
            paper.seen = lambda parts: None
            session.handle({"do": "cancel"})

    paper.seen = cancel
    session.handle({"do": "frontier"})
    paper.work()
    assert paper.parts["work"] == {**paper.parts["work"], "running": False, "said": "Cancelled."}
    assert "frontier.csv" not in paper.parts["take"]["files"]


def test_every_file_that_is_offered_can_be_had(opened: tuple[Session, Paper], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.explorer.files._POINTS", 3)
    monkeypatch.setattr("roofline.explorer.files._DRAWS", 4)
    session, paper = opened
    session.handle({"do": "add"})
    session.handle({"do": "figure", "chip": 1, "path": "clock", "value": "x1.1"})
    paper.work()
    session.handle({"do": "frontier"})
    paper.work()
    names = paper.parts["take"]["files"]
    assert {name.rpartition(".")[2] for name in names} == {"toml", "csv", "png", "svg"}
    drawn = ("line.svg", "frontier.svg")  # of the pictures, those that are drawn of several chips anew
    wanted = [name for name in names if name.endswith((".csv", ".toml")) or name in drawn]
    for name in wanted:
        session.handle({"do": "fetch", "file": name})
    paper.work()
    assert [file["name"] for file in paper.files] == wanted, paper.parts["problem"]
    assert all(file["data"] for file in paper.files)
    session.handle({"do": "fetch", "file": "../secret.toml"})
    assert "is offered now" in paper.parts["problem"]


def test_a_dropped_file_is_shown(opened: tuple[Session, Paper]) -> None:
    session, paper = opened
    session.handle({"do": "file", "name": "mine.toml", "text": CHIP.format(SCRIPT)})
    assert not paper.parts["problem"]
    assert session.answer.columns[0].est.chip["memory.hbm.bandwidth"] == 4e12  # type: ignore[union-attr]
    session.handle({"do": "file", "name": "mine.toml", "text": "nonsense"})
    assert "mine.toml" in paper.parts["problem"]
    session.handle({"do": "large", "name": "huge.json"})
    assert "huge.json: expected a file of at most" in paper.parts["problem"]
