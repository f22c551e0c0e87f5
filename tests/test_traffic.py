"""Traffic: what is drawn has the moments it was asked for, the same luck gives the same requests, and traces read."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.serving.blocks import leading_known
from roofline.serving.recorded import Trace
from roofline.serving.traffic import Steps, Traffic

distributions = st.one_of(
    st.builds(rl.lognormal, st.floats(50, 5000), st.floats(0, 3000)),
    st.builds(lambda low, more: rl.uniform(low, low + more), st.integers(1, 2000), st.integers(0, 3000)),
    st.builds(rl.empirical, st.lists(st.integers(1, 5000), min_size=1, max_size=30)),
)


# Lengths ------------------------------------------------------------------------------------------------------------


@given(distributions)
@settings(max_examples=40)
def test_lengths_have_the_moments_they_state(lengths: Any) -> None:
    """Over evenly spaced quantiles mean and deviation come out, up to what rounding and the last quantile leave."""
    n = 50_000
    found = lengths.at((np.arange(n) + 0.5) / n)
    assert found.mean() == pytest.approx(lengths.mean, rel=0.01)
    assert found.std() == pytest.approx(lengths.sd, rel=0.1, abs=0.5)
    assert (np.diff(found) >= 0).all()
    drawn = lengths.drawn(np.linspace(0, 1, 1001))
    assert drawn.dtype == np.int32
    assert drawn.min() >= 1


def test_a_cut_off_lognormal_has_the_moments_of_what_is_left() -> None:
    lengths = rl.lognormal(1155, 1109, 3000)
    n = 100_000
    found = lengths.at((np.arange(n) + 0.5) / n)
    assert found.max() <= 3000
    assert found.mean() == pytest.approx(lengths.mean, rel=1e-4)
    assert found.std() == pytest.approx(lengths.sd, rel=1e-3)
    assert lengths.mean < 1155


def test_weights_say_how_often_a_length_comes() -> None:
    lengths = rl.empirical([10, 20, 30], [1, 0, 3])
    assert lengths.drawn(np.array([0.0, 0.2, 0.26, 0.9, 1.0])).tolist() == [10, 10, 30, 30, 30]
    assert lengths.mean == 25


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: rl.lognormal(0, 1), "mean"),
        (lambda: rl.lognormal(10, -1), "sd"),
        (lambda: rl.lognormal(10, math.nan), "sd"),
        (lambda: rl.lognormal(100, 10, most=50), "most"),
        (lambda: rl.uniform(5, 2), "low"),
        (lambda: rl.uniform(1.5, 2), "whole"),
        (lambda: rl.empirical([]), "lengths"),
        (lambda: rl.empirical([0, 1]), "lengths"),
        (lambda: rl.empirical([1, 2], [1]), "as many"),
        (lambda: rl.empirical([1, 2], [0, 0]), "positive"),
        (lambda: rl.empirical("abc"), "lengths"),
        (lambda: Traffic(), "neither"),
        (lambda: Traffic(1, concurrency=2), "both"),
        (lambda: Traffic(0), "rate"),
        (lambda: Traffic(math.inf), "rate"),
        (lambda: Traffic([[1]]), "rate"),
        (lambda: Traffic("fast"), "rate"),
        (lambda: Traffic(True), "rate"),
        (lambda: Traffic(concurrency=1.5), "whole"),
        (lambda: Traffic(1, burstiness=0), "burstiness"),
        (lambda: Traffic(1, prompt="long"), "lognormal"),
        (lambda: Traffic(1, output=0), "output"),
        (lambda: Traffic(1, pairs=5, prompt=5), "both"),
        (lambda: Traffic(1, requests=5, duration_s=5), "both"),
        (lambda: Traffic(concurrency=1, duration_s=5), "closed loop"),
        (lambda: Traffic(1, requests=2.5), "whole"),
        (lambda: Traffic(1, shared_prefix=(1, 2, 3)), "shared_prefix"),
        (lambda: Traffic(1, shared_prefix=-1), "shared_prefix"),
        (lambda: Traffic(1, timeout_s=0), "timeout_s"),
        (lambda: Traffic(1, think_s=-1), "think_s"),
        (lambda: Traffic(1).drawn(-1), "seed"),
        (lambda: Traffic([1, 2]).drawn(), "one rate"),
        (lambda: Traffic(1e9, duration_s=1e6).drawn(), "at most"),
        (lambda: Traffic(1e-9, duration_s=1e-9).drawn(), "no request"),
    ],
)
def test_what_cannot_be_is_refused_by_name(make: Any, says: str) -> None:
    with pytest.raises(rl.BadWorkload, match=says):
        make()


# Arrivals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0, math.inf])
def test_gaps_are_gamma_with_the_burstiness_as_shape(burstiness: float) -> None:
    """Mean 1 / rate and coefficient of variation 1 / sqrt(burstiness), as of numpy's gamma(shape, 1 / (rate shape))."""
    gaps = np.diff(Traffic(8, burstiness=burstiness, requests=40_000).drawn(1).arrival_s)
    assert gaps.mean() == pytest.approx(1 / 8, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.03, abs=1e-9)


@given(st.integers(0, 2**40), st.floats(0.01, 1000), st.floats(0.1, 10), st.integers(1, 300))
@settings(max_examples=40)
def test_the_same_luck_gives_the_same_requests_faster(seed: int, rate: float, factor: float, n: int) -> None:
    traffic = Traffic(rate, prompt=rl.lognormal(500, 400), output=rl.uniform(1, 99), shared_prefix=(64, 5), requests=n)
    first, again, faster = traffic.drawn(seed), traffic.drawn(seed), traffic.scaled(factor).drawn(seed)
    assert len(first) == n
    assert (np.diff(first.arrival_s) >= 0).all()
    for name in ("arrival_s", "prompt", "output", "prefix_id", "prefix_tokens"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
        if name != "arrival_s":
            np.testing.assert_array_equal(getattr(first, name), getattr(faster, name))
    np.testing.assert_allclose(faster.arrival_s * factor, first.arrival_s, rtol=1e-9)
    assert (first.prefix_tokens <= first.prompt).all()
    assert set(first.prefix_id) <= set(range(5))


@given(st.floats(0.5, 200), st.floats(0.2, 20), st.floats(0.1, 10), st.integers(0, 9))
@settings(max_examples=40)
def test_a_duration_cuts_the_same_stream_of_requests(rate: float, duration: float, burst: float, seed: int) -> None:
    traffic = Traffic(rate, burstiness=burst, duration_s=duration)
    try:
        cut = traffic.drawn(seed)
    except rl.BadWorkload:
        return
    whole = traffic.head(len(cut) + 1).drawn(seed)
    np.testing.assert_allclose(cut.arrival_s, whole.arrival_s[:-1], rtol=1e-12)
    assert cut.arrival_s[-1] <= duration < whole.arrival_s[-1]
    assert len(cut.prompt) == len(cut.output) == len(cut.prefix_id) == len(cut.arrival_s)


def test_a_closed_loop_has_no_arrivals_and_a_list_is_an_axis() -> None:
    drawn = Traffic(concurrency=32, think_s=2, requests=100, timeout_s=9).drawn()
    assert (len(drawn), drawn.arrival_s.size, drawn.concurrency) == (100, 0, 32)
    assert (drawn.think_s, drawn.timeout_s) == (2, 9)
    several = Traffic(concurrency=[1, 2, 4])
    assert several.axis is not None
    assert several.axis[0] == "concurrency"
    assert [one.drawn().concurrency for one in several.scaled(3).each()] == [3, 6, 12]
    pairs = Traffic(1000, pairs=rl.uniform(100, 440), requests=50).drawn()
    assert (len(pairs), pairs.prompt.size, pairs.output.size) == (50, 0, 0)


def test_rates_change_in_steps() -> None:
    steps = Steps(np.array([0.0, 100.0, 200.0]), np.array([5.0, 0.0, 20.0]), 300.0)
    arrivals = Traffic(steps).drawn().arrival_s
    assert not ((arrivals > 100) & (arrivals < 200)).any()
    assert np.histogram(arrivals, [0, 100, 200, 300])[0] == pytest.approx([500, 0, 2000], rel=0.1)
    assert steps.mean == pytest.approx(2500 / 300)
    assert len(Traffic(steps).scaled(0.1).drawn().arrival_s) == pytest.approx(250, rel=0.2)
    assert Traffic(steps).head(seconds=50).drawn().arrival_s[-1] <= 50


# Traces -------------------------------------------------------------------------------------------------------------


def test_traces_that_ship_read_by_name() -> None:
    azure = rl.load_traffic("azure-2023-conv")
    drawn = azure.drawn(5)
    assert len(drawn) == 19_366
    assert drawn.arrival_s[0] == 0
    assert azure.rate == pytest.approx(19_366 / drawn.arrival_s[-1])
    assert (drawn.prompt[0], drawn.output[0]) == (374, 44)
    first = azure.head(600).scaled(2).drawn()
    np.testing.assert_array_equal(first.arrival_s, drawn.arrival_s[:600] / 2)
    assert azure.head(seconds=60).drawn().arrival_s[-1] <= 60
    at = [one.drawn() for one in azure.changed(rate=[1, 2]).each()]
    assert [len(one) / one.arrival_s[-1] for one in at] == pytest.approx([1, 2])
    assert azure.changed(timeout_s=30).scaled(2).drawn().timeout_s == 30
    with pytest.raises(rl.BadWorkload, match="prompt"):
        azure.changed(prompt=5)
    with pytest.raises(rl.UnknownName, match="azure-2023-conv"):
        rl.load_traffic("azure-conv")


def test_blocks_of_a_trace_are_counted_as_one_by_one() -> None:
    drawn = rl.load_traffic("mooncake-conversation").head(300).drawn()
    assert drawn.block_tokens == 512
    seen: set[int] = set()
    known = []
    for i in range(len(drawn)):
        names = drawn.blocks[drawn.block_start[i] : drawn.block_start[i + 1]].tolist()
        assert len(names) == math.ceil(drawn.prompt[i] / 512)
        leading = next((place for place, name in enumerate(names) if name not in seen), len(names))
        known.append(leading)
        seen.update(names)
    assert leading_known(drawn.blocks, drawn.block_start).tolist() == known
    assert sum(known) > 0


MOONCAKE = (
    '{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 48, 49, 50, 51, 52, 53, '
)
MOONCAKE += (
    '54, 55, 56, 57, 2353, 2354]}\n{"timestamp": 30535, "input_length": 500, "output_length": 26, "hash_ids": [46]}\n'
)
FILES = {
    "azure.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n"
    "2023-11-16 18:17:04.0319600,3180,8\n",
    "burst.csv": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,472,18,490,Conversation log\n45,GPT-4,1087,230,1317,API log\n50,GPT-4,10,0,10,API log\n",
    "mooncake.jsonl": MOONCAKE,
    "vidur.csv": "arrived_at,num_prefill_tokens,num_decode_tokens\n1.5,374,44\n0.5,396,109\n",
    "plain.csv": "arrival_s,prompt_tokens,output_tokens,prefix_id,prefix_tokens\n0,10,5,0,8\n1,20,5,-1,3\n",
}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def written(name: str, content: str) -> Path:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return written


@pytest.mark.parametrize(
    ("name", "arrival", "prompt", "output"),
    [
        ("azure.csv", [0, 0.052], [4808, 3180], [10, 8]),
        ("burst.csv", [0, 40], [472, 1087], [18, 230]),
        ("mooncake.jsonl", [0, 3.053], [6955, 500], [52, 26]),
        ("vidur.csv", [0, 1], [396, 374], [109, 44]),
        ("plain.csv", [0, 1], [10, 20], [5, 5]),
    ],
)
def test_each_kind_of_trace_reads(write: Any, name: str, arrival: Any, prompt: Any, output: Any) -> None:
    trace = rl.load_traffic(write(name, FILES[name]))
    drawn = trace.drawn()
    assert drawn.arrival_s.tolist() == pytest.approx(arrival)
    assert (drawn.prompt.tolist(), drawn.output.tolist()) == (prompt, output)
    assert isinstance(trace, Trace)
    assert trace.left_out == (name == "burst.csv")


def test_prefixes_blocks_models_and_packed_files_read(write: Any, tmp_path: Path) -> None:
    plain = rl.load_traffic(write("plain.csv", FILES["plain.csv"])).drawn()
    assert (plain.prefix_id.tolist(), plain.prefix_tokens.tolist()) == ([0, -1], [8, 0])
    blocks = rl.load_traffic(write("mooncake.jsonl", MOONCAKE)).drawn()
    assert leading_known(blocks.blocks, blocks.block_start).tolist() == [0, 1]
    assert rl.load_traffic(write("burst.csv", FILES["burst.csv"]), model="GPT-4").drawn().prompt.tolist() == [1087]
    packed = tmp_path / "azure.csv.gz"
    packed.write_bytes(gzip.compress(FILES["azure.csv"].encode()))
    assert len(rl.load_traffic(packed).drawn()) == 2


def test_rates_over_time_read(write: Any) -> None:
    trace = write("chunk-1-trace.csv", "0,10,2,Gamma,0.25,0.4\n600,30,2,Weibull,0.5,0.01\n")
    windows = {"0": {"input_tokens": "{100: 0.5, 300: 0.5}", "output_tokens": "{7: 1.0}"}}
    write("chunk-1-dataset.json", json.dumps(windows))
    client = rl.load_traffic(trace)
    assert (client.rate.mean, client.rate.end_s, client.burstiness) == (20, 1200, 0.25)
    assert client.prompt is not None
    assert client.prompt.mean == 200
    assert set(client.head(50).drawn().output) == {7}
    table = write("rates.csv", "model,start_s,requests_per_s\na,0,1\na,60,3\nb,0,9\n")
    assert rl.load_traffic(table, model="a", prompt=50).rate.mean == 2
    with pytest.raises(rl.BadData, match="a, b"):
        rl.load_traffic(table)
    with pytest.raises(rl.UnknownName, match="did you mean"):
        rl.load_traffic(table, model="aa")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "x,y\n1,2\n", "arrival_s"),
        ("a.csv", "arrival_s,prompt_tokens\n1,2\n", "output_tokens"),
        ("a.csv", "arrival_s,prompt_tokens,output_tokens\n", "no row"),
        ("a.csv", "arrival_s,prompt_tokens,output_tokens\n1,2.5,3\n", "row 1"),
        ("a.csv", "arrival_s,prompt_tokens,output_tokens\n1,5,3\nsoon,5,3\n", "ISO 8601"),
        ("a.csv", "arrival_s,prompt_tokens,output_tokens\n1,5,nan\n", "row 1"),
        ("a.csv", "arrival_s,prompt_tokens,output_tokens\n1,0,3\n", "none in 1 rows"),
        ("a.csv", "arrival_s,prompt_tokens,output_tokens,block_ids\n1,600,3,1 x\n", "block_ids"),
        ("a.csv", "arrival_s,prompt_tokens,output_tokens,block_ids\n1,600,3,1 2 3 4 5 6 7\n", "found 7"),
        ("a.csv", "arrival_s,prompt_tokens,output_tokens,prefix_id,prefix_tokens\n1,6,3,0,7\n", "prefix_tokens"),
        ("a.csv", "start_s,requests_per_s\n0,-1\n", "not negative"),
        ("a.csv", "start_s,requests_per_s\n0,1\n0,2\n", "of its own"),
        ("a.jsonl", '{"timestamp": 1}\n', "line 1"),
        ("a.jsonl", '{"timestamp": 1, "input_length": 5, "output_length": 5}\n{"a"\n', "line 2"),
        ("a.jsonl", "[1, 2]\n", "line 1"),
        ("a.jsonl", '{"timestamp": true, "input_length": 5, "output_length": 5}\n', "True"),
        ("a.jsonl", '{"timestamp": 1, "input_length": 5, "output_length": 5, "hash_ids": ["x"]}\n', "names of blocks"),
        ("c-trace.csv", "0,1,2,Gamma,1,1\n", "c-dataset.json"),
        ("c-trace.csv", "0,1,x,Gamma,1,1\n", "coefficient"),
    ],
)
def test_a_foreign_file_is_refused_by_what_is_wrong_with_it(write: Any, name: str, content: str, says: str) -> None:
    with pytest.raises(rl.BadData, match=says) as refused:
        rl.load_traffic(write(name, content))
    assert name.split("-")[0] in str(refused.value)


@given(st.data())
@settings(max_examples=80)
def test_whatever_a_file_says_it_is_refused_or_read_as_finite_requests(tmp_path_factory: Any, data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(FILES)))
    cells = [
        "",
        "-1",
        "nan",
        "inf",
        "1e999",
        "9" * 400,
        "0",
        "true",
        "[]",
        "{}",
        '"',
        "\x00",
        "x",
        "1.5",
        "\ud7ff",
        ",",
    ]
    lines = FILES[name].splitlines()
    at = data.draw(st.integers(0, len(lines) - 1))
    cut = data.draw(st.integers(0, len(lines[at])))
    end = data.draw(st.integers(cut, min(len(lines[at]), cut + 8)))
    lines[at] = lines[at][:cut] + data.draw(st.sampled_from(cells)) + lines[at][end:]
    path = tmp_path_factory.mktemp("traces") / name
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    try:
        drawn = rl.load_traffic(path).drawn()
    except rl.RooflineError:
        return
    assert np.isfinite(drawn.arrival_s).all()
    assert (np.diff(drawn.arrival_s) >= 0).all()
    assert (drawn.prompt >= 1).all()
    assert (drawn.output >= 1).all()
