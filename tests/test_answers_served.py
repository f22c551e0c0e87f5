"""Questions of a server: `takeovers`, `search`, `sensitivity` and `indices` with `concurrency` among their options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import roofline as rl

MODEL, CHIP = "llama-3.1-8b", "h100-sxm"
LOAD: dict[str, Any] = {"concurrency": 32, "prompt": 512, "output": 128}


def served(chip: Any = CHIP, **options: Any) -> Any:
    return rl.serve(MODEL, chip, check=False, **{**LOAD, **options})


def test_takeovers_of_a_server_are_those_of_its_passes() -> None:
    table = rl.takeovers(MODEL, CHIP, vary="memory.main.bandwidth", low="x0.2", high="x20", **LOAD)
    assert set(table["phase"]) == {"a decoding pass", "a mixed pass"}
    for row in table.itertuples():
        for end in (row.start, row.end):
            server = served(rl.load_chip(CHIP).what_if({"memory.main.bandwidth": end}))
            phase = server.decoding if row.phase == "a decoding pass" else server.mixed
            assert phase.bound == row.bound
    now = table[table["present"]].set_index("phase")["bound"]
    assert now["a decoding pass"] == served().decoding.bound


def test_a_search_over_concurrency_finds_what_solve_does() -> None:
    target = float(served(concurrency=90).tpot_s)
    options = {name: value for name, value in LOAD.items() if name != "concurrency"}
    found = rl.search(
        MODEL,
        CHIP,
        vary={"concurrency": (8, 256)},
        maximise="tokens_per_s",
        subject_to={"tpot_s": (None, target * (1 + 1e-9))},
        population=16,
        generations=40,
        **options,
    )
    solved = rl.solve(MODEL, CHIP, "tpot_s", target * (1 + 1e-9), vary="concurrency", **options)
    assert found.values == {"concurrency": solved.value}
    assert found.result == served(concurrency=int(found.values["concurrency"])).tokens_per_s


@pytest.mark.parametrize("stack", ["plain", "vllm"])
def test_a_search_takes_what_the_engine_sets_aside_of_memory(stack: str) -> None:
    """The largest batch that it finds is the largest that fits, beside what the software keeps for itself."""
    options = {"prompt": 2048, "output": 2048, "stack": stack}
    found = rl.search(MODEL, CHIP, vary={"batch": (1, 4096)}, population=16, generations=60, **options)
    largest = rl.estimate(MODEL, CHIP, batch=1, **options).memory.largest_batch
    assert found.values["batch"] <= largest
    assert found.values["batch"] >= 0.98 * largest
    assert rl.estimate(MODEL, CHIP, batch=int(found.values["batch"]), check=False, **options).fits


def test_no_search_finds_a_server_without_room_for_one_request() -> None:
    options = {**LOAD, "tp": 1}
    found = rl.search("llama-3.1-70b", CHIP, vary={"concurrency": (1, 64)}, population=8, generations=2, **options)
    assert not found.found
    assert "does not fit" in found.why


def test_sensitivity_of_a_server_is_that_of_its_variants() -> None:
    table = rl.sensitivity(MODEL, CHIP, "requests_per_s", **LOAD)
    for path in ("memory.hbm.bandwidth", "clock", "overheads.step"):
        changed = served(rl.load_chip(CHIP).what_if({path: table.loc[path, "changed"]}))
        assert table.loc[path, "result"] == pytest.approx(changed.requests_per_s, rel=1e-9)


@pytest.mark.parametrize("concurrency", [32, None])
def test_indices_of_a_server_name_what_is_in_doubt(concurrency: int | None) -> None:
    table = rl.indices(MODEL, CHIP, "tpot_s", draws=8, model_error=False, **{**LOAD, "concurrency": concurrency})
    assert table.attrs["figure"] == "tpot_s"
    assert table.attrs["deviation"] > 0
    assert "memory.hbm.bandwidth" in table.index or "overheads.step" in table.index
    assert np.isfinite(table[["first", "total"]].to_numpy()).all()


ASK = {
    "takeovers": lambda model, **options: rl.takeovers(model, CHIP, vary="memory.main.bandwidth", **options),
    "search": lambda model, **options: rl.search(model, CHIP, vary={"memory.main.bandwidth": ("x1", "x2")}, **options),
    "sensitivity": lambda model, **options: rl.sensitivity(model, CHIP, **options),
    "indices": lambda model, **options: rl.indices(model, CHIP, draws=8, **options),
}


@pytest.mark.parametrize("what", ASK)
@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        (MODEL, {"concurrency": 8, "batch": 8}, "expected concurrency, found batch"),
        (MODEL, {"chunk": 512}, "chunk is an option of a server: give concurrency"),
        ("dlrm-v2", {"concurrency": 8}, "recommendation model, which has no tokens"),
    ],
)
def test_what_no_server_can_be_asked_is_refused(what: str, model: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(rl.BadWorkload, match=f"{what}: .*{said}"):
        ASK[what](model, **options)
