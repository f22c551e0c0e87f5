"""What a step of a slider costs the page's server: ``python benchmarks/explore.py``. Prints a Markdown table.

The page is one without a browser: messages go to a session, which describes the answer and changes Bokeh's figures as
for a browser; only sending them is left out. Once kernels are compiled, as after a few seconds of use. Times of the
wall are medians, and processor times those of all threads: machines are shared, and the second hold still.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from roofline.explorer import lines, session as session_module
from roofline.explorer.session import Session
from roofline.explorer.state import from_query
from roofline.explorer.stock import Stock
from roofline.explorer.view import PICTURES

QUESTIONS = {
    "Llama 70B on 8 H100": "model=llama-3.1-70b&chip=h100-sxm&batch=64&tp=8",
    "the same beside MI300X": "model=llama-3.1-70b&chip=h100-sxm&chip=mi300x&batch=64&tp=8",
    "DeepSeek V3 on 8 H200": "model=deepseek-v3&chip=h200&batch=64&tp=8&dtype=fp8",
    "DLRM-v2 on 4 MTIA 2i": "model=dlrm-v2&chip=mtia-2i&batch=1024&dtype=int8&devices=4",
}
REPEATS = 25

#: Milliseconds that a point and a line of 200 points may take.
POINT, LINE = 50, 200


class Paper:
    """A screen that draws and shows nobody; a pool that does what it is given when it is told to."""

    def __init__(self) -> None:
        self.jobs: list[Any] = []
        self.pictures: dict[str, Any] = {name: kind() for name, kind in PICTURES.items()}

    def show(self, **parts: Any) -> None:
        pass

    def draw(self, what: str, *data: Any) -> None:
        if what != "theme":
            self.pictures[what].show(*data, False)

    def send(self, file: Any) -> None:
        pass

    def later(self, call: Callable[[], None]) -> None:
        call()

    def submit(self, job: Any, *given: Any) -> None:
        self.jobs = [(job, given)]

    def work(self) -> None:
        while self.jobs:
            job, given = self.jobs.pop(0)
            job(*given)


def timed(function: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median milliseconds, of the wall and of the processor."""
    wall, busy = [], []
    for _ in range(repeats):
        start, work = time.perf_counter(), time.process_time()
        function()
        wall.append(1e3 * (time.perf_counter() - start))
        busy.append(1e3 * (time.process_time() - work))
    return statistics.median(wall), statistics.median(busy)


def measured(query: str) -> dict[str, tuple[float, float]]:
    paper = Paper()
    session = Session(from_query(query), Stock(), paper, paper)  # type: ignore[arg-type]
    session.start()
    session.handle({"do": "theme", "dark": False})
    for _ in range(12):  # until the kernels are compiled
        paper.work()
        session.change(session.state)
    slider = next(one for one in session._knobs if one.path.endswith("bandwidth"))
    places = iter(range(400, 400 + REPEATS * 10))

    def step() -> None:
        session.handle({"do": "knob", "chip": 0, "path": slider.path, "at": next(places)})

    def line() -> None:
        found = session.answer
        axis, figure = lines.usual(found.model)  # type: ignore[arg-type]
        drawn = [lines.line(found, column, axis, figure) for column in found.columns]
        paper.draw("line", drawn, axis, figure, found)

    def with_intervals() -> None:
        step()
        for column in session.answer.columns:
            column.est.intervals(list(column.est.FIGURES))  # type: ignore[union-attr]

    return {
        "a step of a slider": timed(step, REPEATS),
        "the same with intervals": timed(with_intervals, REPEATS),
        "a line of 200 points with its band": timed(line, max(5, REPEATS // 3)),
    }


def main() -> None:
    session_module.PATIENCE = 0.0
    print("| question | what | wall | processor | budget |\n| --- | --- | ---: | ---: | ---: |")
    for name, query in QUESTIONS.items():
        for what, (wall, busy) in measured(query).items():
            budget = LINE if "line" in what else POINT
            print(f"| {name} | {what} | {wall:.0f} ms | {busy:.0f} ms | {budget} ms |", flush=True)


if __name__ == "__main__":
    main()
