"""One open page: its state, what is done on it, and what is worked out beside it in threads."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from roofline.base.errors import BadData, BadWorkload, RooflineError, shown
from roofline.explorer import copying, describing, events, files, lines, studies
from roofline.explorer.answering import Answer, Column, answer
from roofline.explorer.files import Shown
from roofline.explorer.knobs import Knob, described, knobs
from roofline.explorer.state import State, to_query
from roofline.explorer.stock import MOST_BYTES, Stock
from roofline.explorer.studies import Frontier
from roofline.hardware.chip import Chip

if TYPE_CHECKING:
    import pandas as pd

#: Seconds that what takes longer waits for a slider to come to rest.
PATIENCE = 0.06

#: Tables of sensitivities that a page keeps.
_MOST_KEPT = 64


class Screen(Protocol):
    """Where a session shows things."""

    def show(self, **parts: Any) -> None:
        """Show some of its parts anew: plain data, by name."""

    def draw(self, what: str, *data: Any) -> None:
        """Draw one of its pictures anew."""

    def send(self, file: Mapping[str, str]) -> None:
        """Hand a file to whoever looks."""

    def later(self, call: Callable[[], None]) -> None:
        """Call this where pages may be changed; from any thread."""


class Cancelled(Exception):
    """The work is no longer wanted."""


@dataclass
class _Beside:
    """What has been worked out for the present answer, as far as it is."""

    intervals: dict[int, dict[str, Any]] = field(default_factory=dict)
    lines: list[lines.Line] = field(default_factory=list)
    table: pd.DataFrame | None = None
    frontiers: list[tuple[int, Frontier]] = field(default_factory=list)


class Session:
    """One page and whoever looks at it.

    Parameters
    ----------
    state : State
    stock : Stock
    screen : Screen
    pool : ThreadPoolExecutor
        For what takes longer than a step of a slider.
    """

    def __init__(self, state: State, stock: Stock, screen: Screen, pool: ThreadPoolExecutor) -> None:
        self.state, self.stock, self.screen, self.pool = state, stock, screen, pool
        self.answer: Answer = answer(state, stock)
        self._turn = 0
        self._beside = _Beside()
        self._knobs: list[Knob] = []
        self._made_of: Any = None
        self._tables: dict[Any, pd.DataFrame | None] = {}
        self._cancel = threading.Event()
        self._work: dict[str, Any] = {"running": False, "share": 0.0, "said": ""}
        self._busy = self._seen = False
        self._line_said = ""

    # What is done on the page -----------------------------------------------------------------------------------

    def handle(self, message: Mapping[str, Any]) -> None:
        """Do what a message of the browser asks; what cannot be done is told and changes nothing."""
        problem = ""
        try:
            if not isinstance(message, Mapping):
                raise BadWorkload(f"expected a message, found {shown(message)}")
            self._do(events.text_of(message, "do"), message)
        except RooflineError as error:
            problem = str(error)
            self._describe()  # fields go back to what holds
        self.screen.show(problem=problem)

    def _do(self, what: str, message: Mapping[str, Any]) -> None:
        if what == "theme":
            self.screen.draw("theme", bool(message.get("dark")))
            self.redraw()
            if not self._seen:  # somebody looks: what is sent to a page before it is there may be lost on the way
                self._seen = True
                self._begin()
        elif what == "frontier":
            self._begin_frontier()
        elif what == "cancel":
            self._cancel.set()
        elif what == "fetch":
            self._fetch(events.text_of(message, "file"))
        elif what == "large":
            raise BadData(f"{events.text_of(message, 'name')}: expected a file of at most {MOST_BYTES:,} bytes")
        elif what == "file":
            self._drop(message)
        elif what == "knob":
            self.change(self._knob(message))
        else:
            self.change(events.changed(self.state, message, self.stock))

    def _drop(self, message: Mapping[str, Any]) -> None:
        """A file that was dropped on the page, and is shown from now on."""
        text = message.get("text")
        if not isinstance(text, str):
            raise BadData(f"expected the text of a file, found {shown(text)}")
        what, name = self.stock.drop(events.text_of(message, "name"), text)
        place = {"chip": self.state.focus} if what == "chip" else {}
        self.change(events.changed(self.state, {"do": what, "value": name, **place}, self.stock))

    def _knob(self, message: Mapping[str, Any]) -> State:
        """A slider that was moved: the value where it stands now, or the descriptor's own where that is."""
        place, path, at = events.place_of(message, self.state), events.text_of(message, "path"), message.get("at")
        if isinstance(at, bool) or not isinstance(at, int):
            raise BadWorkload(f"expected the place of a slider, found {shown(at)}")
        knob = next((one for one in self._knobs if one.path == path), None)
        if knob is None or place != self.state.focus:
            raise BadWorkload(f"no slider moves {shown(path)} of that chip now")
        own = at == knob.position(float(knob.number.value))
        text = "" if own else knob.at(at)
        return events.changed(self.state, {"do": "figure", "chip": place, "path": path, "value": text}, self.stock)

    def change(self, state: State) -> None:
        """Show another state: the point at once, the rest when it is worked out."""
        self.state, self.answer = state, answer(state, self.stock)
        self._turn += 1
        self._beside = _Beside(frontiers=[])
        self._cancel.set()
        self._work = {"running": False, "share": 0.0, "said": ""}
        self._busy = True
        self._describe()
        self.redraw(quick=True)
        if self._seen:
            self._begin()

    # What is shown ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Show the first state."""
        self.change(self.state)

    def redraw(self, *, quick: bool = False) -> None:
        """Draw the pictures of the point; and the others, unless they are about to be worked out anew."""
        for what in ("roofline", "breakdown", "memory"):
            self.screen.draw(what, self.answer)
        if not quick:
            self._draw_line()
            self._draw_tornado()
            self.screen.draw("frontier", self._beside.frontiers)

    def _describe(self) -> None:
        """Everything in words and tables."""
        found = self.answer
        self._make_knobs()
        paths = [one.path for one in self._knobs]
        self.screen.show(
            query=to_query(self.state),
            form=describing.form(found, self.stock, paths),
            headline=describing.headline(found, self._beside.intervals),
            tables=self._told(paths),
            knobs=self._sliders(),
            take=self._take(),
            work=self._working(),
        )

    def _told(self, paths: list[str]) -> dict[str, Any]:
        differing = describing.differences(self.answer, paths)
        return {
            "differences": None if differing is None else describing.table(differing),
            "placements": [describing.table(one) for one in describing.placements(self.answer)],
            "operators": [describing.table(one) for one in describing.breakdowns(self.answer)],
        }

    def _take(self) -> dict[str, Any]:
        texts = [["Python", copying.as_python(self.state, self.stock)]]
        texts.append(["command", copying.as_command(self.state, self.stock)])
        return {"texts": texts, "files": files.offered(self.answer, self._shown())}

    def _working(self) -> dict[str, Any]:
        return {**self._work, "busy": self._busy, "line": self._line_said}

    def _shown(self) -> Shown:
        beside = self._beside
        return Shown(beside.lines, self._x, self._y, beside.table, beside.frontiers)

    @property
    def _x(self) -> str:
        return self.state.x or ("" if self.answer.model is None else lines.usual(self.answer.model)[0])

    @property
    def _y(self) -> str:
        return self.state.y or ("" if self.answer.model is None else lines.usual(self.answer.model)[1])

    def _draw_line(self) -> None:
        self.screen.draw("line", self._beside.lines, self._x, self._y, self.answer)

    def _draw_tornado(self) -> None:
        self.screen.draw("tornado", self._beside.table, self._y, _on_stack(self.answer.focused))

    # Sliders ----------------------------------------------------------------------------------------------------

    def _make_knobs(self) -> None:
        """The sliders of the chip in focus: in the order of what matters, once that is known."""
        base = self._base()
        if base is None:
            self._knobs, self._made_of = [], None
            return
        table, key = self._tables.get(self._base_key()), self._base_key()
        changed = tuple(path for path, _ in self.answer.focused.pick.changes)
        made_of = (key, table is None, base.stack, changed)
        if made_of != self._made_of:
            self._knobs, self._made_of = knobs(base, table, changed), made_of

    def _base(self) -> Chip | None:
        """The chip in focus as its descriptor has it, on the stack that it is asked about."""
        column = self.answer.focused
        if column.chip is None:
            return None
        base = self.stock.chip(column.pick.chip)
        stack = column.pick.stack or (column.est.chip.stack if column.est is not None else "")
        return base.on_stack(stack) if stack else base

    def _base_key(self) -> Any:
        pick = self.answer.focused.pick
        return self.state.model, self.state.options, pick.chip, pick.stack, self._y

    def _sliders(self) -> dict[str, Any]:
        column, on = self.answer.focused, _on_stack(self.answer.focused)
        made = [] if on is None else [described(on, one) for one in self._knobs]
        return {"chip": self.state.focus, "label": column.label, "knobs": made}

    # Beside -----------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Work out the intervals, the line and the sensitivities of the present answer in a thread."""
        turn, found, beside = self._turn, self.answer, self._beside
        base, key, x, y = self._base(), self._base_key(), self._x, self._y
        self.pool.submit(self._slowly, turn, found, beside, base, key, x, y)

    def _slowly(self, turn: int, found: Answer, beside: _Beside, base: Chip | None, key: Any, x: str, y: str) -> None:
        time.sleep(PATIENCE)
        try:
            self._go_on(turn)
            for i, column in enumerate(found.columns):
                if column.fits and column.est is not None:
                    names = [n for n in (*column.est.FIGURES, *column.est.EXTRA) if n not in column.est.unknown]
                    beside.intervals[i] = column.est.intervals(names, lines.LEVEL)
                    self._go_on(turn)
            self._tell(turn, self._with_intervals)
            if found.model is not None:
                for column in found.columns:
                    beside.lines.append(lines.line(found, column, x, y))
                    self._go_on(turn)
                self._tell(turn, self._with_lines)
                if base is not None and key not in self._tables:
                    self._keep(key, studies.moved_by(found.model, base, y, found.state.asked))
                    self._go_on(turn)
                focused = found.focused
                if focused.chip is not None and focused.est is not None:
                    own = self._tables.get(key)
                    changed = bool(focused.pick.changes)
                    beside.table = studies.moved_by(found.model, focused.chip, y, found.state.asked) if changed else own
            self._tell(turn, self._with_table)
        except Cancelled:
            return
        except Exception as error:
            problem = _said(error)
            self.screen.later(lambda: self._end(problem) if turn == self._turn else None)

    def _keep(self, key: Any, table: pd.DataFrame | None) -> None:
        if len(self._tables) >= _MOST_KEPT:
            self._tables.pop(next(iter(self._tables)), None)
        self._tables[key] = table

    def _go_on(self, turn: int) -> None:
        if turn != self._turn:
            raise Cancelled

    def _tell(self, turn: int, call: Callable[[], None]) -> None:
        """Show what has come of it, unless the page asks something else by then."""
        self._go_on(turn)
        self.screen.later(lambda: call() if turn == self._turn else None)

    def _with_intervals(self) -> None:
        self.screen.show(headline=describing.headline(self.answer, self._beside.intervals))

    def _with_lines(self) -> None:
        problems = [f"{one.label}: {one.problem}" for one in self._beside.lines if one.problem]
        self._line_said = " ".join(problems)
        self._draw_line()
        self.screen.show(take=self._take(), work=self._working())

    def _with_table(self) -> None:
        self._end()
        self._make_knobs()
        self._draw_tornado()
        self.screen.show(
            knobs=self._sliders(),
            take=self._take(),
            form=describing.form(self.answer, self.stock, [one.path for one in self._knobs]),
        )

    def _end(self, problem: str = "") -> None:
        self._busy = False
        self.screen.show(work=self._working(), problem=problem)

    # The frontier -----------------------------------------------------------------------------------------------

    def _begin_frontier(self) -> None:
        self._cancel = cancel = threading.Event()
        found, turn = self.answer, self._turn
        total = studies.steps(list(found.columns))
        self._work = {"running": True, "share": 0.0, "said": ""}
        self.screen.show(work=self._working())
        done = 0

        def told() -> None:
            nonlocal done
            done += 1
            if cancel.is_set():
                raise Cancelled
            share = done / total
            self.screen.later(lambda: self._progress(cancel, share))

        def run() -> None:
            made: list[tuple[int, Frontier]] = []
            said = ""
            try:
                for i, column in enumerate(found.columns):
                    one = studies.frontier(found, column, told) if column.chip is not None else None
                    made += [(i, one)] if one is not None else []
                said = f"{sum(len(one.best) for _, one in made)} plans and batches that no other beats."
                said = said if made else "Nothing fits on these chips."
            except Cancelled:
                made, said = [], "Cancelled."
            except Exception as error:
                made, said = [], _said(error)
            self.screen.later(lambda: self._with_frontiers(turn, cancel, made, said))

        self.pool.submit(run)

    def _progress(self, cancel: threading.Event, share: float) -> None:
        if cancel is self._cancel and self._work["running"]:
            self._work["share"] = share
            self.screen.show(work=self._working())

    def _with_frontiers(self, turn: int, cancel: threading.Event, made: list[tuple[int, Frontier]], said: str) -> None:
        if turn != self._turn or cancel is not self._cancel:
            return
        self._beside.frontiers = made
        self._work = {"running": False, "share": 1.0, "said": said}
        self.screen.draw("frontier", made)
        self.screen.show(work=self._working(), take=self._take())

    # Files ------------------------------------------------------------------------------------------------------

    def _fetch(self, name: str) -> None:
        found, shown_now = self.answer, self._shown()
        if name not in files.offered(found, shown_now):
            raise BadWorkload(f"no file {shown(name)} is offered now")

        def run() -> None:
            try:
                data = files.content(name, found, shown_now)
            except Exception as error:
                problem = _said(error)
                self.screen.later(lambda: self.screen.show(problem=problem))
                return
            mime = files.MIME[name.rpartition(".")[2]]
            file = {"name": name, "mime": mime, "data": base64.b64encode(data).decode()}
            self.screen.later(lambda: self.screen.send(file))

        self.pool.submit(run)

    def close(self) -> None:
        """The page is gone: what is worked out for it is no longer wanted."""
        self._turn += 1
        self._cancel.set()


def _said(error: Exception) -> str:
    """What to tell of an error in a thread: ours as they are; a bug by its kind, and whole in the server's log."""
    if isinstance(error, RooflineError):
        return str(error)
    logging.getLogger("roofline").exception("the page could not be worked out", exc_info=error)
    return f"This could not be worked out: an error of roofline's own ({type(error).__name__}); its log has more."


def _on_stack(column: Column) -> Chip | None:
    """The chip of a column as it was estimated."""
    return column.est.chip if column.est is not None else column.chip
