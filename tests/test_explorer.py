"""The page without a browser: its state as an address, what is done on it, and the call that says the same."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.base.errors import BadData, BadWorkload, RooflineError, UnknownName
from roofline.base.units import DTYPE_BYTES
from roofline.explorer import copying, describing, events, lines
from roofline.explorer.answering import answer, chip_of
from roofline.explorer.explore import asked
from roofline.explorer.options import FIELDS, read, written
from roofline.explorer.state import MOST_CHIPS, Pick, State, from_query, to_query
from roofline.explorer.stock import MOST_BYTES, Stock
from tests.explored import CHIP, SCRIPT, SMALL, fewer_points

NAMES = st.text(st.characters(exclude_categories=["C", "Z"], include_characters=" "), min_size=1, max_size=30)
VALUES = {
    "whole": st.integers(0, 10**9),
    "number": st.floats(0, 1e9),
    "flag": st.booleans(),
}
FIGURES = st.builds(lambda a, b: f"{a}.{b}", NAMES.filter(lambda s: "=" not in s), NAMES.filter(lambda s: "=" not in s))
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from(field.choices) if field.kind == "choice" else VALUES[field.kind]
        for name, field in FIELDS.items()
    },
)
PICKS = st.builds(
    Pick, NAMES, st.just("") | NAMES, st.dictionaries(FIGURES, NAMES, max_size=4).map(lambda d: tuple(d.items()))
)


@st.composite
def states(draw: st.DrawFn) -> State:
    picks = tuple(draw(st.lists(PICKS, min_size=1, max_size=MOST_CHIPS)))
    focus = draw(st.integers(0, len(picks) - 1))
    named = draw(st.just("") | NAMES)
    return State(draw(NAMES), picks, tuple(draw(OPTIONS).items()), named, draw(st.just("") | NAMES), focus)


@pytest.fixture(scope="module")
def stock() -> Stock:
    return Stock()


@pytest.fixture(autouse=True)
def few_points(monkeypatch: pytest.MonkeyPatch) -> None:
    fewer_points(monkeypatch)


# The state and its address ----------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(states())
def test_a_state_is_its_address_and_back(state: State) -> None:
    assert from_query(to_query(state)) == state
    assert from_query("?" + to_query(state) + "&token=abc&bokeh-session-id=x") == state


@given(st.sampled_from(list(FIELDS)), st.data())
def test_a_value_is_read_as_it_is_written(name: str, data: st.DataObject) -> None:
    field = FIELDS[name]
    value = data.draw(st.sampled_from(field.choices) if field.kind == "choice" else VALUES[field.kind])
    found = read(name, written(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("model=a&model=b", "given twice"),
        ("batch=8.5", "expected a whole number, found '8.5'"),
        ("skew=nan", "expected a number, found 'nan'"),
        ("dtype=bf17", "did you mean 'bf16'"),
        ("bach=8", "did you mean 'batch'"),
        ("set1=clock", "expected FIGURE=VALUE"),
        ("set2=clock=x2", "changes chip 2, of 1"),
        ("&".join(["chip=h100-sxm"] * 5), "1 to 4 chips, found 5"),
        ("focus=9", "expected a chip from 1 to 4"),
        ("chip=h100-sxm&focus=2", "expected one of 1 chips"),
        ("model=a%00b", "visible characters"),
        ("model=%ff", "cannot read the address"),
        ("x=" + "y" * 9000, "at most 8,000 characters"),
    ],
)
def test_an_address_that_asks_for_nothing_says_why(query: str, words: str) -> None:
    with pytest.raises((BadWorkload, UnknownName), match=words.replace("(", r"\(")):
        from_query(query)


# What is done on it -----------------------------------------------------------------------------------------------


def test_what_is_done_makes_another_state(stock: Stock) -> None:
    state = from_query(SMALL)
    for message in (
        {"do": "option", "name": "batch", "value": "32"},
        {"do": "figure", "chip": 0, "path": "memory.hbm.bandwidth", "value": "4.8 TB/s"},
        {"do": "add"},
        {"do": "chip", "chip": 1, "value": "mi300x"},
        {"do": "stack", "chip": 0, "value": "vllm"},
        {"do": "axis", "value": "prompt"},
        {"do": "result", "value": "tpot_s"},
        {"do": "focus", "chip": 0},
    ):
        state = events.changed(state, message, stock)
    first = Pick("h100-sxm", "vllm", (("memory.hbm.bandwidth", "4.8 TB/s"),))
    assert state == State("llama-3.1-8b", (first, Pick("mi300x")), (("batch", 32),), "prompt", "tpot_s", 0)
    state = events.changed(state, {"do": "reset", "chip": 0}, stock)
    state = events.changed(state, {"do": "remove", "chip": 1}, stock)
    assert state.picks == (Pick("h100-sxm", "vllm"),)
    state = events.changed(state, {"do": "model", "value": "dlrm-v2"}, stock)
    assert (state.options, state.x, state.picks) == ((), "", (Pick("h100-sxm"),))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({}, "do: expected text"),
        ({"do": "shutdown"}, "no thing to do is called"),
        ({"do": "chip", "chip": 7, "value": "mi300x"}, "expected one of 1 chips"),
        ({"do": "chip", "chip": True, "value": "mi300x"}, "expected one of 1 chips"),
        ({"do": "chip", "chip": 0, "value": "/etc/passwd"}, "no chip is called"),
        ({"do": "chip", "chip": 0, "value": "chips/h100-sxm.toml"}, "no chip is called"),
        ({"do": "model", "value": "/etc/passwd"}, "no model is called"),
        ({"do": "model", "value": "../config.json"}, "the page opens what the catalogue has"),
        ({"do": "model", "value": "chips"}, "no model is called"),
        ({"do": "figure", "chip": 0, "path": "memory.hbm.bandwidth", "value": "4.8 TFLOP/s"}, "expected a bandwidth"),
        ({"do": "option", "name": "batch", "value": 8}, "value: expected text, found 8"),
    ],
)
def test_what_cannot_be_done_is_said(message: dict[str, Any], words: str, stock: Stock) -> None:
    with pytest.raises(RooflineError, match=words):
        events.changed(from_query(SMALL), message, stock)


# What it says -----------------------------------------------------------------------------------------------------

ASKED = [
    "model=llama-3.1-8b&chip=h100-sxm&chip=h100-sxm&stack2=vllm&set2=memory.hbm.bandwidth=4.8 TB/s&set2=clock=x1.1"
    "&batch=8&prompt=512&dtype=fp8&kv_dtype=fp8&utilisation=0.5",
    "model=dlrm-v2&chip=mtia-2i&devices=2&batch=512&dtype=int8&fused=true&skew=0.9&host=triton-hps&compiled=true",
    "model=dlrm-v2&chip=h100-sxm&devices=2&dtype=fp16&fused=false&placement=even",
]


@pytest.mark.parametrize("query", ASKED)
def test_the_copied_texts_give_the_figures_of_the_page(query: str, stock: Stock, run: Any) -> None:
    found = answer(from_query(query), stock)
    names: dict[str, Any] = {}
    exec(copying.as_python(found.state, stock), names)
    commands = copying.as_command(found.state, stock).splitlines()
    assert len(names["estimates"]) == len(commands) == len(found.columns)
    for column, est, command in zip(found.columns, names["estimates"], commands, strict=True):
        assert column.fits, column.problem
        assert est.figures() == column.est.figures()  # type: ignore[union-attr]
        import shlex

        code, out, _ = run(*shlex.split(command)[1:], "--json")
        printed = json.loads(out)
        assert code == 0
        assert {name: printed[name] for name in est.FIGURES} == est.figures()


def test_the_headline_is_that_of_an_estimate(stock: Stock) -> None:
    found = answer(from_query(SMALL + "&chip=mi300x"), stock)
    ends = {i: one.est.intervals(list(one.est.FIGURES)) for i, one in enumerate(found.columns) if one.est is not None}
    told = describing.headline(found, ends)
    est = rl.estimate("llama-3.1-8b", "h100-sxm", batch=8)
    rows = {row["name"]: row["cells"] for row in told["rows"]}
    assert {name: cells[0]["value"] for name, cells in rows.items() if name in est.FIGURES} == est.figures()
    low, high = est.interval(0.9, "tpot_s")
    assert rows["tpot_s"][0]["interval"] == f"{low * 1e3:.3g} to {high * 1e3:.3g} ms"
    assert told["bounds"][0] == est.bound
    assert rows["tpot_s"][1]["ratio"].startswith("x")
    json.dumps(told, allow_nan=False)


def test_what_differs_between_chips_is_named(stock: Stock) -> None:
    found = answer(
        from_query("model=llama-3.1-8b&chip=h100-sxm&chip=h100-sxm&set2=memory.main.bandwidth=4.8 TB/s"), stock
    )
    table = describing.differences(found, ["clock"])
    assert table is not None
    assert table.rows == [["memory.main.bandwidth", "3.35 TB/s", "4.8 TB/s"]]
    assert describing.differences(answer(from_query(SMALL), stock)) is None


def test_what_does_not_fit_says_what_would(stock: Stock) -> None:
    found = answer(from_query("model=llama-3.1-70b&chip=h100-sxm&batch=4"), stock)
    assert not found.shown
    assert "What fits" in found.columns[0].problem
    told = describing.headline(found)
    assert told["columns"] == []
    assert told["remarks"][0]["problem"] == found.columns[0].problem
    assert found.columns[0].est is not None  # whose memory is still drawn


def test_a_chip_that_cannot_be_asked_leaves_the_others(stock: Stock) -> None:
    found = answer(from_query(SMALL + "&chip=h100-sxn&tp=3"), stock)
    assert "did you mean" in found.columns[1].problem
    assert "tp" in found.columns[0].problem
    form = describing.form(found, stock)
    assert form["picks"][1]["title"] == ""
    assert answer(from_query("model=lama-3.1-8b"), stock).problem.startswith("no model is called 'lama-3.1-8b'")


@pytest.mark.parametrize("x", ["batch", "memory.main.bandwidth", "tp"])
def test_a_line_goes_through_the_estimates(x: str, stock: Stock) -> None:
    found = answer(from_query(SMALL), stock)
    line = lines.line(found, found.columns[0], x, "tpot_s")
    assert not line.problem
    assert line.here is not None
    at = len(line.x) // 2
    value = int(line.x[at]) if x != "memory.main.bandwidth" else float(line.x[at])
    chip = rl.load_chip("h100-sxm")
    one = (
        rl.estimate("llama-3.1-8b", chip.what_if({x: value}), batch=8)
        if "." in x
        else rl.estimate("llama-3.1-8b", chip, check=False, **({"batch": 8} | {x: value}))
    )
    assert line.y[at] == pytest.approx(one.tpot_s, rel=1e-9)
    ends = zip(line.knots, line.low, line.high, strict=True)
    inside = [(line.y[line.x == knot].item(), low, high) for knot, low, high in ends]
    assert all(low <= y <= high for y, low, high in inside)


def test_a_line_of_a_recommendation_model_keeps_its_tables_where_they_are(stock: Stock) -> None:
    found = answer(from_query("model=dlrm-v2&chip=mtia-2i&devices=2&batch=512&dtype=int8"), stock)
    line = lines.line(found, found.columns[0], "batch", "samples_per_s")
    assert line.here is not None
    around = np.interp(512, line.x, line.y)
    assert around == pytest.approx(line.here[1], rel=0.05)
    tables = describing.placements(found)
    assert len(tables) == 2
    assert len(tables[1].rows) == 26


# What is given and dropped ----------------------------------------------------------------------------------------

RANKER = """
title = "{0}"
source = "here"
dense_features = 64
tables = [{{ name = "users", rows = 5_000, dim = 64, pooling = 1 }}]
block = [
  {{ type = "mlp", name = "bottom", input = "dense", layers = [64, 64] }},
  {{ type = "dot", input = ["bottom", "users"], keep = "bottom" }},
  {{ type = "mlp", name = "top", layers = [65, 1] }},
]
"""


def test_dropped_files_go_through_the_same_loaders(stock: Stock, tmp_path: Any) -> None:
    what, name = stock.drop("../../My Chip.TOML", CHIP.format(SCRIPT))
    assert (what, name.rsplit("-", 1)[0]) == ("chip", "my-chip")
    path = tmp_path / "mine.toml"
    path.write_text(CHIP.format(SCRIPT))
    assert stock.chip(name)["memory.hbm.bandwidth"] == rl.load_chip(path)["memory.hbm.bandwidth"] == 4e12
    assert stock.chip_source(name) == "My Chip.TOML"
    what, name = stock.drop("ranker.toml", RANKER.format(SCRIPT))
    assert what == "model"
    assert stock.model(name).title == SCRIPT
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 128,
        "vocab_size": 512,
    }
    what, name = stock.drop("config.json", json.dumps(config))
    assert stock.model(name).params == rl.load_model(_written(tmp_path, config)).params


def _written(folder: Any, config: dict[str, Any]) -> Any:
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("notes.txt", "hello", "expected a config.json"),
        ("big.json", " " * (MOST_BYTES + 1), "at most 2,000,000 bytes"),
        ("config.json", "{", "config.json"),
        ("config.json", "[" * 100_000, "config.json"),
        ("chip.toml", "schema = 1", "chip.toml"),
        ("chip.toml", 'schema = 1\nextends = "/etc/passwd"', "expected the name of a chip"),
        ("chip.toml", 'schema = 1\nextends = "../secret"', "expected the name of a chip"),
    ],
)
def test_a_bad_file_is_refused_by_the_name_that_its_owner_knows(name: str, text: str, words: str) -> None:
    with pytest.raises(BadData, match=words) as caught:
        Stock().drop(name, text)
    assert "/tmp" not in str(caught.value)


def test_a_server_keeps_so_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.explorer.stock.MOST_FILES", 2)
    stock = Stock()
    names = [stock.drop("chip.toml", CHIP.format(i))[1] for i in range(3)]
    assert names[-1] in stock.chips
    with pytest.raises(UnknownName):
        stock.chip(names[0])


def test_a_page_begins_with_what_it_is_given(stock: Stock) -> None:
    h100 = rl.load_chip("h100-sxm")
    faster = h100.what_if({"clock": "x1.1"})
    state = asked(stock, rl.load_model("llama-3.1-8b"), [h100, faster], None, {"batch": 4, "dtype": "fp8"})
    assert [one.chip for one in state.picks] == ["h100-sxm", faster.name]
    assert chip_of(state.picks[1], stock) is faster
    assert state.asked == {"batch": 4, "dtype": "fp8"}
    with pytest.raises(UnknownName, match="did you mean 'batch'"):
        asked(stock, "llama-3.1-8b", ["h100-sxm"], None, {"bach": 4})
    with pytest.raises(BadWorkload, match="sweep takes several"):
        asked(stock, "llama-3.1-8b", ["h100-sxm"], None, {"batch": [1, 2]})


@pytest.mark.parametrize("nonsense", [8, -1, 10**400, float("nan"), "", "\0", b"x", [], {}, [[1]], object(), print])
def test_a_page_is_refused_nonsense_in_words(nonsense: Any, stock: Stock) -> None:
    for model, chip, options in (
        (nonsense, "h100-sxm", {}),
        ("llama-3.1-8b", nonsense, {}),
        ("llama-3.1-8b", "h100-sxm", {"dtype": nonsense}),
        ("llama-3.1-8b", "h100-sxm", {"tp": nonsense}),
    ):
        try:
            state = asked(stock, model, [chip], None, options)
        except RooflineError:
            continue
        assert options in ({"tp": 8}, {"dtype": ""}, {"tp": ""}), state


def test_every_dtype_is_a_choice() -> None:
    assert set(FIELDS["dtype"].choices) == set(DTYPE_BYTES)
