"""Pools apart, drafts of tokens, replicas that come and go: laws, numbers by hand, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
from roofline.kernels import serving_state as s
from roofline.serving.drafting import Drafting
from roofline.serving.loop import Decoders, Outcome, Servers, simulated
from roofline.serving.passes import Passes
from roofline.serving.policies import Policy
from roofline.serving.preparing import prepared
from roofline.serving.sending import link_s, sends_s
from roofline.serving.traffic import Requests
from tests.conftest import Run
from tests.test_simulation_twin import LINE, line

LLAMA = "llama-3.1-8b"


def _requests(seed: int, gap_s: float, n: int = 30) -> Requests:
    rng, none = np.random.default_rng(seed), np.empty(0, np.int64)
    arrival = np.cumsum(gap_s * (0.5 + rng.random(n)))
    prompt, output = rng.integers(1, 150, n).astype(np.int32), rng.integers(1, 60, n).astype(np.int32)
    return Requests(arrival, prompt, output, none, np.full(n, -1), np.zeros(n, np.int64), none, none)


def _at(outcome: Outcome) -> np.ndarray:
    """Arrival, admission, first token and end of requests in the order of arrival (s)."""
    return outcome.told_at[np.argsort(outcome.told[:, s.WHICH])]


# Laws ----------------------------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.booleans(), st.integers(1, 3), st.integers(1, 3))
def test_pools_beside_each_other_serve_a_lone_request_as_one_replica_does(
    seed: int, mixed: bool, readers: int, decoders: int
) -> None:
    """Over a link that takes no time: with nobody else there it does not matter who reads and who decodes."""
    policy, requests = Policy(chunk=64, mixed=mixed), _requests(seed, gap_s=2.0)
    one = simulated(Servers(policy, 500), LINE, requests, compiled=False)
    others = Decoders(Servers(policy, 500, decoders), LINE, np.zeros(len(requests)))
    apart = simulated(Servers(policy, 500, readers), LINE, requests, compiled=False, decoders=others)
    np.testing.assert_allclose(_at(apart), _at(one), rtol=1e-12)


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.floats(0, 0.5))
def test_a_lone_request_ends_later_by_what_it_takes_to_send_its_cache(seed: int, sends: float) -> None:
    policy, requests = Policy(chunk=64), _requests(seed, gap_s=2.0)
    ends = [
        _at(
            simulated(
                Servers(policy, 500),
                LINE,
                requests,
                compiled=False,
                decoders=Decoders(Servers(policy, 500), LINE, np.full(len(requests), time)),
            )
        )
        for time in (0.0, sends)
    ]
    np.testing.assert_allclose(ends[1][:, 2], ends[0][:, 2], rtol=1e-12)  # the first token is the reader's
    np.testing.assert_allclose(ends[1][:, 3] - ends[0][:, 3], np.where(requests.output > 1, sends, 0), atol=1e-9)


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.floats(1e-3, 0.1), st.integers(1, 4))
def test_as_many_replicas_at_least_as_at_most_are_that_many(seed: int, gap_s: float, replicas: int) -> None:
    policy, requests = Policy(chunk=64, max_seqs=4), _requests(seed, gap_s)
    fixed = simulated(Servers(policy, 500, replicas), LINE, requests, compiled=False)
    scale = rl.Autoscale(replicas, replicas, target=1, startup_s=9, every_s=0.01, cooldown_s=0)
    scaled = simulated(Servers(policy, 500, replicas, autoscale=scale), LINE, requests, compiled=False)
    np.testing.assert_array_equal(scaled.told_at, fixed.told_at)


@settings(max_examples=12)
@given(st.integers(0, 10**6), st.floats(1e-3, 2.0), st.integers(1, 4))
def test_drafts_that_are_never_accepted_only_cost(seed: int, gap_s: float, tokens: int) -> None:
    policy, requests = Policy(chunk=200, max_seqs=30), _requests(seed, gap_s)
    plain = simulated(Servers(policy, 500), LINE, requests, compiled=False)
    drafted = simulated(Servers(policy, 500, gain=1.0), line(each=tokens + 1), requests, compiled=False)
    first, second = (_at(one)[:, 3] - _at(one)[:, 0] for one in (plain, drafted))
    assert (drafted.told[:, s.TOLD_OUTPUT].sum()) == requests.output.sum()
    if gap_s >= 1:  # alone
        assert (second[requests.output > 1] > first[requests.output > 1]).all()
    assert second.mean() >= first.mean()


def test_drafts_that_are_always_accepted_take_a_pass_for_all_of_them() -> None:
    requests = _requests(1, gap_s=2.0)
    outcome = simulated(Servers(Policy(chunk=200), 500, gain=4.0), line(each=4), requests, compiled=False)
    _, counts = np.unique(np.ceil((requests.output - 1) / 4), return_counts=True)
    assert outcome.gaps[0] == np.ceil((requests.output - 1) / 4).sum()  # a gap for each pass that gave tokens
    assert counts.sum() == len(requests)


def test_more_acceptance_is_never_slower() -> None:
    traffic = rl.Traffic(rate=4, prompt=400, output=60, requests=150)
    means = []
    for acceptance in (0.0, 0.5, 0.9):
        draft = rl.Draft("ngram", tokens=3, acceptance=acceptance)
        run = rl.simulate(LLAMA, "h100-sxm", traffic, stack="vllm", max_seqs=64, draft=draft)
        means.append(run.tpot_s.mean)
    assert means == sorted(means, reverse=True)
    plain = rl.simulate(LLAMA, "h100-sxm", traffic, stack="vllm", max_seqs=64)
    assert means[0] > plain.tpot_s.mean > means[1]


def test_replicas_come_with_the_load_and_go_after_it() -> None:
    rng, none, n = np.random.default_rng(3), np.empty(0, np.int64), 600
    arrival = np.cumsum(np.where(np.arange(n) < 400, 0.01, 0.4) * rng.exponential(size=n))
    ones = np.full(n, 60, np.int32)
    requests = Requests(arrival, ones, ones, none, np.full(n, -1), np.zeros(n, np.int64), none, none)
    scale = rl.Autoscale(1, 6, target=4, startup_s=0.2, every_s=0.1, cooldown_s=1.0)
    servers = Servers(Policy(chunk=64, max_seqs=4), 500, 6, "least_loaded", autoscale=scale)
    outcome = simulated(servers, LINE, requests, compiled=False)
    replica, order = outcome.told[:, s.TOLD_REPLICA], np.argsort(outcome.told[:, s.WHICH])
    assert replica[order][:10].max() == 0
    assert replica.max() >= 3
    assert replica[order][-100:].max() <= 1  # a load that one or two hold
    assert outcome.serving <= 2


# By hand -------------------------------------------------------------------------------------------------------------


def test_tokens_of_a_pass_are_a_geometric_sum() -> None:
    assert rl.Draft("ngram", 4, 0.8).tokens_per_pass == pytest.approx((1 - 0.8**5) / (1 - 0.8))
    assert rl.Draft("ngram", 4, 0).tokens_per_pass == 1
    assert rl.Draft("ngram", 4, 1).tokens_per_pass == 5


def _apart(**options: Any) -> Any:
    traffic = rl.Traffic(rate=1, prompt=1000, output=50, requests=3)
    return prepared(rl.load_model(LLAMA), rl.load_chip("h100-sxm"), [traffic.drawn()], {"stack": "vllm", **options})


def test_a_cache_is_sent_at_the_pace_of_the_slower_end() -> None:
    """A token of Llama-3.1-8B keeps 32 layers x 2 x 8 heads x 128 numbers of 2 bytes: 131,072 bytes."""
    chip = rl.load_chip("h100-sxm")
    begins, rate = chip["efficiency.send.launch_s"], 50e9 * chip["efficiency.send.network_fraction"]
    alone = sends_s(_apart(decode=rl.Pool()), np.array([1000, 10]))
    np.testing.assert_allclose(alone, begins + np.array([1000, 10]) * 131072 / rate)
    # Two chips send half each, four take a quarter: the sender is slower. Sixteen hold a head's copy each, an eighth.
    for reads, decodes, share in ((2, 4, 1 / 2), (4, 2, 1 / 2), (16, 16, 1 / 8)):
        pools = {"prefill": rl.Pool(tp=reads), "decode": rl.Pool(tp=decodes)}
        found = sends_s(_apart(**pools), np.array([1000]))
        np.testing.assert_allclose(found, begins + share * 1000 * 131072 / rate)
    host = chip["efficiency.host_copy.launch_s"] + 1e9 / (64e9 * chip["efficiency.host_copy.host_fraction"])
    assert link_s(chip, "host", 1e9) == pytest.approx(host)


def test_what_a_pool_does_not_say_is_as_the_call_has_it() -> None:
    made = _apart(tp=2, replicas=3, decode=rl.Pool("mtia-300", tp=4, replicas=2, max_seqs=16))
    plans = [one.static.request.plan for one in made.pools]
    assert [plan.tp for plan in plans] == [2, 4]
    assert [one.servers.replicas for one in made.pools] == [3, 2]
    assert [one.devices for one in made.pools] == [6, 8]
    assert made.decoders.servers.policy.max_seqs == 3  # of three requests
    assert [one.static.chip.name.partition("[")[0] for one in made.pools] == ["h100-sxm", "mtia-300"]
    assert made.static.chip.stack == "vllm"
    assert made.decoders.static.chip.stack != "vllm"


def test_a_draft_takes_memory_and_passes_of_its_own() -> None:
    est = rl.estimate("llama-3.1-70b", "h100-sxm", tp=4, check=False)
    small = Drafting(rl.Draft("llama-3.2-1b", 3), est)
    none = Drafting(rl.Draft("ngram", 3), est)
    assert none.room(1000, 100) == 1000
    # A token of Llama-3.2-1B keeps 16 x 2 x 8 x 64 numbers, of the 70B 80 x 2 x 8 x 128; over 4 chips alike.
    small_token, token = 16 * 2 * 8 * 64 * 2 / 4, 80 * 2 * 8 * 128 * 2 / 4
    assert small.room(1e6, 100) == pytest.approx((1e6 * token - small.weights_bytes) / (token + small_token))
    once = rl.estimate("llama-3.2-1b", "h100-sxm", tp=4, batch=8, prompt=99, output=2).decode.time_s
    assert float(small.writing(8, 100)["time_s"]) == pytest.approx(3 * once)
    layer = Drafting(rl.Draft("mtp", 1), rl.estimate("llama-3.1-70b", "h100-sxm", tp=4, dtype="bf16", check=False))
    width = 8192  # queries, keys, values, the output; gate, up, down; two norms
    weights = (width * (width + 2 * 1024) + width * width + 3 * width * 28672) * 2 / 4
    assert layer.weights_bytes == pytest.approx(weights, rel=1e-3)


@pytest.mark.parametrize(("model", "tokens"), [(LLAMA, 3), ("deepseek-v3", 1)])
def test_tables_with_drafts_are_within_one_percent_of_the_exact_pass(model: str, tokens: int) -> None:
    est = rl.estimate(model, "h200", check=False, tp=8)
    drafting = Drafting(rl.Draft("ngram", tokens), est)
    passes = Passes(est, tokens=512, sequences=24, context=9000, prompt=4096, drafting=drafting)
    for d, c, k, n, b in ((1, 300, 0, 1, 0), (24, 8000, 0, 1, 0), (10, 700, 1, 300, 0), (10, 700, 2, 200, 3000)):
        exact = float(passes.exact((d, c, k, n, b), tokens + 1).time_s)
        found = passes.tables["time_s"].time(d, d * c, k, k * n, k * n * n, k * n * b)
        assert found == pytest.approx(exact, rel=0.01)


def test_ranks_that_share_experts_are_in_step() -> None:
    traffic = rl.Traffic(rate=1, prompt=100, output=5, requests=3)
    asked: dict[str, Any] = {"stack": "vllm", "max_seqs": 4, "dp": 2}
    model, chip = rl.load_model("olmoe-1b-7b"), rl.load_chip("h100-sxm")
    found = [prepared(model, chip, [traffic.drawn()], {**asked, "ep": ep}).servers for ep in (1, 2)]
    assert [one.ranks for one in found] == [1, 2]
    assert [one.replicas for one in found] == [2, 2]


# What is refused -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: rl.Pool(link="nvlink"), "no link of a pool is called 'nvlink'; known: host, network, peers, scale_up"),
        (lambda: rl.Pool(chip=3), "Pool: chip: expected one chip"),  # type: ignore[arg-type]
        (lambda: rl.Draft(3), "'mtp' or 'ngram', found 3"),  # type: ignore[arg-type]
        (lambda: rl.Draft("mtp", 0), "tokens: expected a whole number from 1 to 64, found 0"),
        (lambda: rl.Draft("mtp", 1, 1.5), "acceptance: expected a share from 0 to 1, found 1.5"),
        (lambda: rl.Autoscale(3, 2), "most: expected no fewer replicas than the fewest, 3, found 2"),
        (lambda: rl.Autoscale(0), "fewest: expected replicas, 1 or more, found 0"),
        (lambda: rl.Autoscale(target=0), "target: expected requests a replica, above 0, found 0"),
        (lambda: rl.Autoscale(startup_s=math.inf), "startup_s: expected seconds, 0 or more, found inf"),
        (lambda: _apart(decode=3), r"decode: expected a Pool, such as Pool\(tp=4, replicas=2\), found 3"),
        (lambda: _apart(prefill=rl.Pool("mtia-v1")), "no link of mtia-v1 .* known: host"),
        (lambda: _apart(draft=3), "draft: expected a Draft"),
        (lambda: _apart(draft=rl.Draft("dlrm-v2")), "expected a language model that decodes, .* found dlrm-v2"),
        (lambda: _apart(draft=rl.Draft("llama-3.2-2b")), "did you mean .*'llama-3.2-1b'"),
        (lambda: _apart(replicas=rl.Autoscale(), decode=rl.Pool()), "an Autoscale goes without pools"),
    ],
)
def test_what_cannot_be_is_told(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(rl.RooflineError, match=words):
        make()


# The command ---------------------------------------------------------------------------------------------------------

FAST = ("simulate", LLAMA, "--chip", "h100-sxm", "--stack", "vllm", "--max-seqs", "8", "--chunk", "512")
FAST += ("--prompt", "200", "--output", "20", "--requests", "40", "--rate", "4")


def test_the_command_takes_them(run: Run) -> None:
    code, out, _ = run(*FAST, "--decode", "tp=2,replicas=2,link=scale_up", "--draft", "model=ngram,acceptance=0.5")
    assert code == 0
    assert "1 x NVIDIA H100 SXM5 80GB [stack vllm] (reading) and 4 x" in " ".join(out.split())
    code, out, _ = run(*FAST, "--autoscale", "most=3,target=2")
    assert code == 0
    assert "3 x NVIDIA H100" in out
    for options, words in (
        (("--decode", "tp8"), "expected NAME=VALUE of chip, replicas"),
        (("--decode", "tpp=8"), "expected NAME=VALUE of chip, replicas"),
        (("--draft", "tokens=3"), "expected a model"),
        (("--autoscale", "most=3", "--replicas", "2"), "says how many replicas"),
    ):
        code, _, err = run(*FAST, *options)
        assert code == 2
        assert words in " ".join(err.split())
