"""Chips side by side: what is shared is drawn once, odds add up, and scenarios come as often as they weigh."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.base.errors import BadDescriptor
from roofline.catalog.load import read_chip
from roofline.hardware.number import Number
from roofline.hardware.uncertainty import chances, ranged, sample, settled, sobol
from roofline.study import chance
from tests.plain import descriptor

WORKLOADS = [("rm1", {"batch": 256, "dtype": "int8"}), ("llama-3.2-1b", {"batch": 4, "dtype": "fp16"})]
DRAWS = 64


@pytest.fixture(scope="module")
def compared() -> Any:
    return rl.compare(
        ["artemis", "mtia-v1", "a100"], WORKLOADS, draws=DRAWS, targets={"tpot_s": 0.02, "latency_s": 1e-3}
    )


# Odds ---------------------------------------------------------------------------------------------------------------


def test_odds_of_a_pair_sum_to_one(compared: Any) -> None:
    odds = {(row.workload, row.chip, row.other): row.odds for row in compared.odds.itertuples()}
    assert len(odds) == 2 * 6
    for (workload, one, two), share in odds.items():
        assert share + odds[workload, two, one] == pytest.approx(1.0)  # no two draws are the same
        assert compared.beats(workload, one, two) == (share, pytest.approx(compared.beats(workload, two, one)[1]))


def test_beating_by_more_is_less_likely(compared: Any) -> None:
    for by in (0.5, 1.0, 2.0):
        more = compared.beats("rm1", "artemis", "mtia-v1", by=by)[0]
        less = compared.beats("rm1", "artemis", "mtia-v1", by=by * 1.5)[0]
        assert less <= more
    rate = compared.beats("rm1", "artemis", "a100-sxm-80gb", figure="samples_per_s")
    assert compared.beats("rm1", "artemis", "a100-sxm-80gb", figure="latency_s") == rate  # one batch after the other


def test_targets_hold_as_often_as_the_draws_say(compared: Any) -> None:
    for row in compared.targets.itertuples():
        drawn = compared.draws[row.workload, row.chip]
        assert row.odds == np.mean((drawn[row.figure] <= row.target) & drawn["fits"])
        assert row.error > 0
    assert set(compared.targets["figure"]) == {"tpot_s", "latency_s"}


def test_what_is_made_of_the_draws_has_its_probability(compared: Any) -> None:
    one, two = (compared.draws["rm1", chip]["samples_per_s_per_chip"] for chip in ("artemis", "mtia-v1"))
    assert compared.probability(one > two) == compared.beats("rm1", "artemis", "mtia-v1")
    with pytest.raises(rl.BadWorkload, match=r"probability: expected \d+ values, one a draw, found the shape \(3,\)"):
        compared.probability(np.ones(3, dtype=bool))


def test_the_table_has_both_families_and_what_estimates_say(compared: Any) -> None:
    assert len(compared.table) == 6
    for row in compared.table.itertuples():
        options = dict(WORKLOADS)[row.workload]
        est = rl.estimate(row.workload, row.chip, **options)
        assert row.throughput == est.figures()["samples_per_s" if row.workload == "rm1" else "tokens_per_s"]
        assert row.throughput_low <= row.throughput <= row.throughput_high
        assert row.latency_s_low <= row.latency_s <= row.latency_s_high
        assert (row.ttft_s == row.ttft_s) == (row.workload != "rm1")
        assert row.fits == 1.0


def test_the_same_seed_draws_the_same_and_another_does_not(compared: Any) -> None:
    again = rl.compare(["artemis", "mtia-v1"], WORKLOADS[:1], draws=DRAWS)
    assert again.odds.equals(rl.compare(["artemis", "mtia-v1"], WORKLOADS[:1], draws=DRAWS).odds)
    other = rl.compare(["artemis", "mtia-v1"], WORKLOADS[:1], draws=DRAWS, seed=1)
    key = ("rm1", "artemis")
    assert not np.array_equal(again.draws[key]["latency_s"], other.draws[key]["latency_s"])


def test_without_doubt_the_faster_chip_beats_the_other() -> None:
    chips = [_certain("h100-sxm"), _certain("a100")]
    found = rl.compare(chips, WORKLOADS[:1], draws=16, model_error=False)
    assert sorted(found.odds["odds"]) == [0.0, 1.0]
    for row in found.table.itertuples():
        assert row.throughput_low == pytest.approx(row.throughput_high)


def _certain(name: str) -> rl.Chip:
    chip = rl.load_chip(name)
    return chip.what_if({path: chip[path] for path in ranged(chip)})


def test_what_two_variants_share_decides_nothing_between_them() -> None:
    # The same silicon and software with more bandwidth: it wins in every draw, however doubtful both are.
    chip = rl.load_chip("artemis").scenario("lpddr")
    faster = chip.what_if({"memory.sram.bandwidth": "x4"})
    plain = chip.what_if({"memory.sram.bandwidth": "x1"})
    found = rl.compare([faster, plain], WORKLOADS[:1], draws=DRAWS, model_error=False)
    drawn = found.draws["rm1", plain.name]["latency_s"]
    assert drawn.max() > 1.5 * drawn.min()
    assert found.odds["odds"].tolist() == [1.0, 0.0]
    # The error weighs on the classes by their shares of the time, which are nearly the same.
    assert rl.compare([faster, plain], WORKLOADS[:1], draws=DRAWS).odds["odds"][0] > 0.85


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
def test_errors_of_one_class_correlate_as_they_share(shared: float) -> None:
    one, two = (rl.estimate("rm1", name, dtype="int8") for name in ("mtia-v1", "artemis"))
    stranger = rl.estimate("rm1", "a100", dtype="int8")
    weights = [chance.error_weights(est) for est in (one, two, stranger)]
    for own in weights:
        assert sum(weight**2 for weight in own.values()) == pytest.approx(1.0)
    chips = [est.chip for est in (one, two, stranger)]
    names = {name for chip, own in zip(chips, weights, strict=True) for name in chance.error_names(chip, own)}
    uniform = chance.draw(names, 4096, seed=3)
    scores = [chance.error_scores(chip, own, uniform, shared) for chip, own in zip(chips, weights, strict=True)]
    expected = shared * sum(weights[0][kind] * weights[1].get(kind, 0.0) for kind in weights[0])
    assert np.corrcoef(scores[0], scores[1])[0, 1] == pytest.approx(expected, abs=0.03)
    assert np.corrcoef(scores[0], scores[2])[0, 1] == pytest.approx(0.0, abs=0.03)
    assert [np.std(score) for score in scores] == pytest.approx([1.0] * 3, abs=0.02)
    twin = rl.load_chip("mtia-v1").what_if({"clock": "x1.1"})
    assert np.array_equal(chance.error_scores(twin, weights[0], uniform, shared), scores[0])


def test_the_spread_of_draws_is_that_of_intervals() -> None:
    est = rl.estimate("rm1", "mtia-v1", dtype="int8", batch=256)
    low, high = est.interval(0.9, "latency_s")
    row = rl.compare("mtia-v1", [("rm1", {"dtype": "int8", "batch": 256})], draws=512).table.iloc[0]
    assert row["latency_s_high"] / row["latency_s_low"] == pytest.approx(high / low, rel=0.15)


@given(st.integers(0, 2**32 - 1), st.floats(0.02, 0.98))
@settings(max_examples=20)
def test_the_error_of_a_share_is_about_what_it_is_off_by(seed: int, true: float) -> None:
    uniform = chance.draw(["one"], 256, seed)["one"]
    share, error = chance.probability(uniform < true)
    assert abs(share - true) <= 6 * error + 1e-9
    assert error <= 0.06


def test_certainty_has_an_error_too() -> None:
    assert chance.probability(np.ones(256, bool)) == (1.0, pytest.approx(1 / 257, rel=0.01))
    assert chance.probability(np.zeros(256, bool))[1] > 0


def test_a_model_that_fits_on_no_chip_takes_several_or_loses() -> None:
    found = rl.compare(["h100-sxm", "groq-lpu"], [("llama-3.1-70b", {"stack": "plain"})], draws=16)
    rows = found.table.set_index("chip")
    assert rows["chips"]["h100-sxm"] == 2
    assert rows["fits"]["groq-lpu"] == 0.0
    assert np.isnan(rows["throughput"]["groq-lpu"])
    assert found.beats("llama-3.1-70b", "h100-sxm", "groq-lpu")[0] == 1.0
    assert found.beats("llama-3.1-70b", "groq-lpu", "h100-sxm")[0] == 0.0


BAD: list[tuple[tuple[Any, Any], dict[str, Any], str]] = [
    (([], "rm1"), {}, "at least one chip"),
    (("a100", []), {}, "at least one model"),
    ((["a100", "a100-sxm-80gb"], "rm1"), {}, "the chip a100-sxm-80gb is given twice"),
    (("a100", ["rm1", "rm1"]), {}, "the workload rm1 is given twice"),
    (("a100", "rm1"), {"draws": 4}, "draws: expected a whole number from 16"),
    (("a100", "rm1"), {"seed": -1}, "seed: expected a whole number"),
    (("a100", "rm1"), {"level": 1.0}, "level: expected a number between 0 and 1"),
    (("a100", "rm1"), {"by": 0}, "by: expected a positive factor"),
    (("a100", "rm1"), {"shared_error": 2}, "shared_error: expected a share"),
    (("a100", "rm1"), {"targets": {"tpot": 1}}, "did you mean 'tpot_s'"),
    (("a100", "rm1"), {"targets": {"tpot_s": -1}}, "targets: tpot_s: expected a positive number"),
    (("a100", "rm1"), {"bacth": 4}, "did you mean 'batch'"),
    (("a100", [("rm1", 4)]), {}, "a pair of one and its options"),
    (("a100", "rm1"), {"batch": [1, 2]}, "expected one point a workload"),
    (("a100", "rm1"), {"model_error": "no"}, "model_error: expected True or False"),
]


@pytest.mark.parametrize(("given_", "options", "message"), BAD, ids=[m for *_, m in BAD])
def test_what_cannot_be_compared_is_refused(given_: tuple[Any, Any], options: dict[str, Any], message: str) -> None:
    with pytest.raises((rl.BadWorkload, rl.UnknownName), match=message):
        rl.compare(*given_, **options)


def test_the_command_compares(run: Any) -> None:
    code, out, _ = run(
        "compare",
        "mtia-v1",
        "a100",
        "-m",
        "rm1:dtype=int8,batch=256",
        "--draws",
        "16",
        "--json",
        "--target",
        "latency_s=0.001",
    )
    found = json.loads(out)
    assert code == 0
    assert [row["chip"] for row in found["table"]] == ["mtia-v1", "a100-sxm-80gb"]
    assert len(found["odds"]) == len(found["targets"]) == 2
    code, out, _ = run("compare", "mtia-v1", "a100", "-m", "rm1:dtype=int8,batch=256", "--draws", "16")
    assert "Odds that a chip beats another" in out
    code, _, err = run("compare", "mtia-v1", "-m", "rm1:batch=", "--draws", "16")
    assert code == 2
    assert "MODEL:OPTION=VALUE" in err


# What is shared -----------------------------------------------------------------------------------------------------


def test_figures_of_one_word_rise_and_fall_together() -> None:
    chip = rl.load_chip("artemis")
    for method in ("hypercube", "sobol"):
        drawn = sample(chip, 512, method=method)
        tied = [path for path, number in ranged(chip).items() if number.correlates_with == "compute"]
        assert len(tied) == 7
        ranks = [np.argsort(drawn[path]) for path in tied]
        assert all(np.array_equal(ranks[0], other) for other in ranks[1:])
        assert abs(np.corrcoef(drawn[tied[0]], drawn["memory.main.bandwidth"])[0, 1]) < 0.15


@given(st.floats(0.05, 1.0), st.floats(0.05, 1.0))
@settings(max_examples=10)
def test_correlations_are_those_asked_for(one: float, two: float) -> None:
    chip = rl.load_chip("h100-sxm")
    paths = ("memory.hbm.bandwidth", "memory.l2.bandwidth")
    numbers = dict(chip.numbers)
    for path, r in zip(paths, (one, two), strict=True):
        numbers[path] = Number(
            1e12,
            "bandwidth",
            "estimated",
            "s",
            low=1e11,
            high=1e13,
            shape="loguniform",
            correlates_with="x",
            correlation=r,
        )
    drawn = sample(dataclasses.replace(chip, numbers=numbers), 2048, method="sobol", only=paths)
    from scipy.special import ndtri

    scores = [ndtri(np.clip(np.log10(drawn[path] / 1e11) / 2, 1e-9, 1 - 1e-9)) for path in paths]
    assert np.corrcoef(*scores)[0, 1] == pytest.approx((one * two) ** 0.5, abs=0.03)


def test_what_is_inherited_is_one_chance_for_both() -> None:
    own, variant = rl.load_chip("artemis"), rl.load_chip("artemis-hbm")
    shared = set(chances(own)) & set(chances(variant))
    assert "artemis:compute" in shared
    assert "family npu:overheads.step" in shared
    assert "artemis-hbm:memory.dram.bandwidth" not in shared
    names = [*chances(own), *chances(variant)]
    uniform = chance.draw(names, 64, 0)
    one, two = (settled(chip, uniform) for chip in (own, variant))
    assert np.array_equal(one["engines.matrix.int8"], two["engines.matrix.int8"])
    assert not np.array_equal(one["memory.main.bandwidth"], two["memory.main.bandwidth"])


def test_sobol_points_are_even() -> None:
    points = sobol(5, 64, 7)
    for column in points.T:
        assert np.histogram(column, np.linspace(0, 1, 65))[0].tolist() == [1] * 64
    assert np.array_equal(sobol(5, 64, 7), points)
    assert sobol(2, 100, 0).shape == (100, 2)
    with pytest.raises(rl.BadWorkload, match="expected the method hypercube or sobol"):
        sample(rl.load_chip("h100-sxm"), 8, method="dice")


# Scenarios ----------------------------------------------------------------------------------------------------------


def test_a_scenario_is_the_chip_with_its_figures() -> None:
    chip, other = rl.load_chip("artemis"), rl.load_chip("artemis-hbm")
    hbm = chip.scenario("hbm")
    for path in other.numbers:
        assert hbm[path] == other[path]
        assert (hbm.number(path).low, hbm.number(path).high) == (other.number(path).low, other.number(path).high)
    assert hbm.name == "artemis[scenario=hbm]"
    assert not hbm.scenarios
    assert chip.scenario("lpddr").numbers == chip.numbers
    with pytest.raises(rl.UnknownName, match="no scenario of artemis is called 'hmb'"):
        chip.scenario("hmb")


def test_scenarios_come_as_often_as_they_weigh() -> None:
    chip = rl.load_chip("artemis")
    drawn = sample(chip, 4096, method="sobol", scenarios=True)
    bandwidth = drawn["memory.main.bandwidth"]
    in_hbm = bandwidth >= 0.8e12
    assert in_hbm.mean() == pytest.approx(chip.scenarios["hbm"].weight, abs=0.002)
    assert bandwidth[~in_hbm].max() <= 400e9
    assert np.all((drawn["memory.main.capacity"][in_hbm] >= 32e9) & (drawn["memory.main.capacity"][in_hbm] <= 95e9))
    assert sample(chip, 64)["memory.main.bandwidth"].max() <= 400e9  # an interval is of the chip as it stands


def test_a_what_if_settles_what_scenarios_differ_in() -> None:
    chip = rl.load_chip("artemis").what_if({"memory.main.bandwidth": "1 TB/s"})
    assert "memory.dram.bandwidth" not in chip.scenarios["hbm"].numbers
    assert "memory.dram.capacity" in chip.scenarios["hbm"].numbers
    settled_ = sample(chip, 64, scenarios=True)
    assert settled_["memory.main.bandwidth"] == 1e12
    left = {path: chip[path] for path in chip.scenarios["hbm"].numbers}
    assert not chip.what_if(left).scenarios


def test_scenarios_survive_writing_and_reading(tmp_path: Path) -> None:
    chip = rl.load_chip("artemis")
    path = tmp_path / "again.toml"
    path.write_text(chip.to_toml(), encoding="utf-8")
    again = read_chip(path)
    assert again.scenarios == chip.scenarios
    assert again.number("engines.matrix.fp16").correlates_with == "compute"


SCENARIOS: list[tuple[str, str]] = [
    ("[scenario.a]\nweight = 0.5", "expected weights that sum to 1, found 0.5 of a"),
    ("[scenario.a]\nweight = 2", "scenario.a.weight"),
    (
        "[scenario.a]\nweight = 1\n[scenario.a.figures]\nclok = {value = '1 GHz', source = 's', kind = 'derived'}",
        "scenario.a.figures.clok: no figure of the chip is called 'clok'; did you mean 'clock'",
    ),
    (
        "[scenario.a]\nweight = 1\n[scenario.a.figures]\nclock = {value = '1 GB', source = 's', kind = 'derived'}",
        "scenario.a.figures.clock.*expected a frequency",
    ),
    (
        "[scenario.a]\nweight = 1\n[scenario.a.figures.memory.dram]\n"
        "bandwidth = {value = '1 B', source = 's', kind = ''}",
        "scenario.a.figures.memory.dram.bandwidth",
    ),
]


@pytest.mark.parametrize(("text", "message"), SCENARIOS, ids=[m for _, m in SCENARIOS])
def test_a_scenario_that_cannot_be_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "forked.toml"
    path.write_text(f"{descriptor()}\n{text}\n", encoding="utf-8")
    with pytest.raises(BadDescriptor, match=message):
        read_chip(path)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ('correlates_with = "clock"', "correlates_with needs low and high"),
        ("correlation = 0.5, low = '1 GHz', high = '2 GHz'", "a correlation needs correlates_with"),
        ("correlates_with = 'a b', low = '1 GHz', high = '2 GHz'", "clock.correlates_with"),
        ("correlates_with = 'a', correlation = 1.5, low = '1 GHz', high = '2 GHz'", "clock.correlation"),
    ],
)
def test_a_correlation_that_cannot_be_is_refused(extra: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "tied.toml"
    text = descriptor().replace('value = "1 GHz"', f'value = "1 GHz", {extra}', 1)
    assert extra in text
    path.write_text(text, encoding="utf-8")
    with pytest.raises(BadDescriptor, match=message):
        read_chip(path)


def test_pairs_of_everything_have_their_odds(compared: Any) -> None:
    pairs = set(itertools.permutations(["artemis", "mtia-v1", "a100-sxm-80gb"], 2))
    assert {(row.chip, row.other) for row in compared.odds.itertuples()} == pairs
    with pytest.raises(rl.UnknownName, match="did you mean 'mtia-v1'"):
        compared.beats("rm1", "artemis", "mtia-v2")
    with pytest.raises(rl.UnknownName, match="figure that was drawn"):
        compared.beats("rm1", "artemis", "mtia-v1", figure="speed")


# Servers ------------------------------------------------------------------------------------------------------------


def test_language_models_are_served_where_concurrency_is_given() -> None:
    found = rl.compare(
        ["h100-sxm", "mi300x"],
        ["llama-3.1-8b", "dlrm-v2"],
        draws=16,
        concurrency=64,
        chunk=2048,
        targets={"ttft_s": 0.03},
        model_error=False,
    )
    for row in found.table.itertuples():
        if row.workload == "dlrm-v2":
            assert row.throughput == rl.estimate("dlrm-v2", row.chip).samples_per_s
            continue
        served = rl.serve("llama-3.1-8b", row.chip, concurrency=64, chunk=2048)
        assert (row.throughput, row.latency_s, row.ttft_s) == (served.tokens_per_s, served.tpot_s, served.ttft_s)
        assert row.ttft_s_low <= row.ttft_s <= row.ttft_s_high
    held = found.targets.set_index("chip")["odds"]
    drawn = found.draws["llama-3.1-8b", "mi300x"]
    assert held["mi300x"] == np.mean(drawn["ttft_s"] <= 0.03)
    with_error = rl.compare("h100-sxm", ("llama-3.1-8b", {"concurrency": 64}), draws=16).draws
    assert np.std(with_error["llama-3.1-8b", "h100-sxm"]["ttft_s"]) > 0


def test_a_full_server_is_full_in_every_draw() -> None:
    chip = rl.load_chip("h100-sxm")
    capacity = dataclasses.replace(chip.numbers["memory.hbm.capacity"], low=60e9, high=110e9)
    doubtful = dataclasses.replace(chip, numbers={**chip.numbers, "memory.hbm.capacity": capacity})
    found = rl.compare(doubtful, "llama-3.1-8b", draws=16, model_error=False, concurrency=None)
    served = rl.serve("llama-3.1-8b", doubtful)
    rates = found.draws["llama-3.1-8b", found.table["chip"][0]]["tokens_per_s"]
    assert found.table["throughput"][0] == served.tokens_per_s
    assert rates.max() > 1.005 * served.tokens_per_s  # more requests where there is more room
    assert rates.min() < 0.98 * served.tokens_per_s


def test_the_error_of_a_served_model_hangs_on_its_passes_as_often_as_they_run() -> None:
    served = rl.serve("llama-3.1-8b", "h100-sxm", concurrency=2, prompt=16, output=4000)
    assert served.mixed_share < 1e-3
    decoding = SimpleNamespace(phases=(served.decoding,), chip=served.chip, request=served.request)
    assert chance.error_weights(served) == pytest.approx(chance.error_weights(decoding), rel=1e-3)
    busy = rl.serve("llama-3.1-8b", "h100-sxm", concurrency=64, prompt=8192, output=2)
    assert busy.mixed_share == 1
    mixed = SimpleNamespace(phases=(busy.mixed,), chip=busy.chip, request=busy.request)
    found, alone = chance.error_weights(busy), chance.error_weights(mixed)
    assert all(weight == pytest.approx(alone[kind]) for kind, weight in found.items())


@pytest.mark.parametrize(
    ("models", "options", "message"),
    [
        (["dlrm-v2"], {"concurrency": 8}, "dlrm-v2 is a recommendation model, which has no tokens"),
        ([("dlrm-v2", {"concurrency": 8}), "llama-3.1-8b"], {}, "dlrm-v2 is a recommendation model"),
        (["llama-3.1-8b"], {"concurrency": 8, "batch": 8}, "expected concurrency, found batch"),
        ([("llama-3.1-8b", {"batch": 8})], {"concurrency": 8}, "expected concurrency, found batch"),
        (["llama-3.1-8b", "dlrm-v2"], {"chunk": 512}, "chunk is an option of a server: give concurrency"),
        (["llama-3.1-8b"], {"concurrency": [1, 2]}, "expected one point a workload, found arrays"),
    ],
)
def test_what_cannot_be_served_side_by_side_is_refused(models: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(rl.BadWorkload, match=message):
        rl.compare("h100-sxm", models, draws=16, **options)


def test_the_command_compares_servers(run: Any) -> None:
    asked = ("compare", "h100-sxm", "-m", "llama-3.1-8b", "--draws", "16", "--json", "--concurrency", "64")
    code, out, _ = run(*asked)
    assert code == 0
    assert json.loads(out)["table"][0]["ttft_s"] == rl.serve("llama-3.1-8b", "h100-sxm", concurrency=64).ttft_s
