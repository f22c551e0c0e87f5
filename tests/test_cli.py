"""The command as a person runs it: results, machine-readable forms, errors, exit codes."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

import roofline as rl
from roofline.command import main as cli
from tests.conftest import Run


def test_estimate_says_how_fast_why_and_how_sure(run: Run) -> None:
    code, out, err = run(
        "estimate", "llama-3.1-70b", "--chip", "h100-sxm", "--tp", "8", "--batch", "64", "--dtype", "fp8"
    )
    assert code == 0
    assert err == ""
    for words in (
        "Llama 3.1 70B",
        "8 x NVIDIA H100",
        "90% interval",
        "Bound by:",
        "How sure:",
        "largest batch",
        "down_proj",
    ):
        assert words in " ".join(out.split())  # whatever the width at which lines wrap


def test_estimate_as_json_is_complete_and_alone_on_stdout(run: Run) -> None:
    code, out, _ = run("estimate", "llama-3.1-8b", "-c", "h100", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["lower_s"] <= result["time_s"] <= result["upper_s"]
    low, high = result["interval_90"]["tokens_per_s"]
    assert low <= result["tokens_per_s"] <= high
    decode = result["phases"]["decode step"]
    assert sum(op["time_s"] for op in decode["ops"]) == pytest.approx(decode["time_s"])
    assert result["request"]["dtype"] == "bf16"


def test_estimate_as_csv_has_a_row_an_operator(run: Run) -> None:
    code, out, _ = run("estimate", "dlrm-v2", "-c", "mtia-v1", "--batch", "512", "--dtype", "int8", "--csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert sum(float(r["share"]) for r in rows) == pytest.approx(1.0)
    assert {"embedding_bag", "gemm", "host_copy"} <= {r["kind"] for r in rows}


SERVE = [
    "serve",
    "llama-3.1-8b",
    "-c",
    "h100",
    "--concurrency",
    "64",
    "--prompt-sd",
    "200",
    "--kv-dtype",
    "fp8",
    "--reserve",
    "--whole-cache",
    "--stack",
    "vllm",
    "--set",
    "clock=x1.1",
]


def test_serve_says_what_was_asked_where_the_time_goes_and_how_sure(run: Run) -> None:
    code, out, err = run(*SERVE)
    assert (code, err) == (0, "")
    head = out.splitlines()[:2]
    assert head[0].startswith("Llama 3.1 8B served on 1 x NVIDIA H100")
    assert "[clock = 2.013 GHz] [stack vllm]" in head[0]
    assert head[1] == (
        "concurrency 64, prompt 1,024 (sd 200), output 256, chunk 8,192, bf16, fp8 KV cache, whole outputs reserved, "
        "whole context kept"
    )
    for words in (
        "90% interval",
        "64 of 64 requests in flight",
        "Bound by: decoding pass",
        "Memory of one chip:",
        "requests that fit:",
        "How sure:",
        "Where the decoding pass time goes",
        "Where the mixed pass time",
        "down_proj",
    ):
        assert words in out
    assert "down_proj" not in run(*SERVE, "--no-ops")[1]


def test_serve_shows_only_the_passes_that_occur(run: Run) -> None:
    out = run("serve", "llama-3.1-8b", "-c", "h100")[1]
    assert "100% of the passes carry prompt tokens" in out
    assert "decoding pass" not in out


def test_serve_as_data_holds_what_that_of_estimate_does(run: Run) -> None:
    result = json.loads(run(*SERVE, "--json")[1])
    estimate = json.loads(run("estimate", "llama-3.1-8b", "-c", "h100", "--json")[1])
    # What a static batch has and a server has not: a time of the whole batch and of decoding alone.
    alone = {"time_s", "decode_tokens_per_s", "lower_s", "upper_s", "mfu", "mbu"}
    assert set(estimate) - alone <= set(result)
    assert result["request"] | {"concurrency": 64, "reserve": True, "kv_dtype": "fp8", "tp": 1} == result["request"]
    assert result["memory"].keys() == estimate["memory"].keys()
    assert list(result["phases"]) == ["decoding pass", "mixed pass"]
    rows = list(csv.DictReader(io.StringIO(run(*SERVE, "--csv")[1])))
    for label, phase in result["phases"].items():
        assert sum(op["time_s"] for op in phase["ops"]) == pytest.approx(phase["time_s"])
        assert sum(float(r["time_s"]) for r in rows if r["phase"] == label) == pytest.approx(phase["time_s"])


def test_the_stack_is_in_the_heading(run: Run) -> None:
    assert "[stack vllm]" in run("estimate", "llama-3.1-8b", "-c", "h100", "--stack", "vllm", "--no-ops")[1]


@pytest.mark.parametrize(
    "command",
    [
        "chips",
        "chips h100",
        "models",
        "models dlrm-v2",
        "estimate llama-3.1-8b -c h100",
        "serve llama-3.1-8b -c h100",
        "sweep llama-3.1-8b -c h100 -a batch=1,2",
        "validate",
    ],
)
@pytest.mark.parametrize("forms", [["--json", "--csv"], ["--csv", "--json"]])
def test_one_form_at_a_time(run: Run, command: str, forms: list[str]) -> None:
    code, out, err = run(*command.split(), *forms)
    assert (code, out) == (2, "")
    assert "expected one of them" in " ".join(err.replace("│", " ").split())


def test_one_model_as_csv(run: Run) -> None:
    (row,) = csv.DictReader(io.StringIO(run("models", "llama-3.1-8b", "--csv")[1]))
    assert float(row["parameters"]) == pytest.approx(8.03e9, rel=0.01)


def test_where_some_points_hold_no_request_the_error_says_so() -> None:
    with pytest.raises(rl.DoesNotFit, match="at some points not even one request"):
        rl.serve("llama-3.1-8b", "h100-sxm", prompt=[100, 120_000], usable_memory=0.25, stack="plain")


def test_set_is_a_what_if(run: Run) -> None:
    def tpot(*more: str) -> float:
        return float(json.loads(run("estimate", "llama-3.1-8b", "-c", "h100", "--json", *more)[1])["tpot_s"])

    assert tpot("--set", "memory.hbm.bandwidth=4.8 TB/s") < tpot()
    assert tpot("--set", "memory.main.bandwidth=x0.5") > tpot()


SHOWS = [
    "chips",
    "models",
    "schema",
    "chips mtia-v1 --sources",
    "chips artemis --all",
    "models dlrm-v2",
    "models llama-3.1-8b",
]


@pytest.mark.parametrize("command", SHOWS)
def test_lists_and_details(run: Run, command: str) -> None:
    code, out, err = run(*command.split())
    assert code == 0
    assert err == ""
    assert len(out.splitlines()) > 8


def test_lists_as_data(run: Run) -> None:
    chips = json.loads(run("chips", "--json")[1])
    assert {"h100-sxm", "mtia-v1", "artemis"} <= {c["name"] for c in chips}
    assert len(list(csv.DictReader(io.StringIO(run("models", "--csv")[1])))) >= 45
    figures = json.loads(run("chips", "h100", "--json")[1])["figures"]
    assert all(f["source"] for f in figures)


def test_sweep_prints_a_grid_and_writes_it(run: Run, tmp_path: Path) -> None:
    grid = ["sweep", "llama-3.1-8b", "-c", "h100", "-c", "mi300x", "-a", "batch=1,8,64", "-a", "prompt=512"]
    code, out, _ = run(*grid)
    assert code == 0
    assert "tokens_per_s" in out
    assert len(json.loads(run(*grid, "--json")[1])) == 6
    for name in ("grid.csv", "grid.json", "grid.nc"):
        code, _, err = run(*grid, "--out", str(tmp_path / name), "--csv")
        assert code == 0
        assert (tmp_path / name).stat().st_size > 100
        assert "wrote" in err


def test_plots_in_three_forms(run: Run, tmp_path: Path) -> None:
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}
    for ending, start in magic.items():
        path = tmp_path / f"roofline.{ending}"
        assert run("plot", "h100-sxm", "mtia-v1", "--out", str(path))[0] == 0
        assert path.read_bytes().startswith(start)
    page = tmp_path / "page.html"
    picture = tmp_path / "ops.png"
    arguments = ["estimate", "llama-3.1-8b", "-c", "h100", "--no-ops", "--html", str(page), "--plot", str(picture)]
    assert run(*arguments)[0] == 0
    text = page.read_text()
    assert text.count("<svg") == 2
    assert "http" not in text.replace("http://www.w3.org", "").replace("https://www.w3.org", "").split("<svg")[0]
    assert picture.stat().st_size > 10_000


def test_check_accepts_the_built_in_and_refuses_the_broken(run: Run, tmp_path: Path) -> None:
    from roofline.catalog import places

    good = str(places.files_of("chips")["h100-sxm"][1])
    code, out, _ = run("check", good)
    assert code == 0
    assert "is valid" in out
    broken = tmp_path / "broken.toml"
    broken.write_text(Path(good).read_text().replace('"3.35 TB/s"', '"3.35 TFLOP/s"'))
    code, _, err = run("check", good, str(broken))
    assert code == 1
    assert "memory.hbm.bandwidth" in err
    assert "expected a bandwidth" in err


ERRORS: list[tuple[list[str], int, str]] = [
    (["estimate", "llama-3.1-70b", "-c", "h10O"], 2, "did you mean 'h100"),
    (["estimate", "lama-3.1-70b", "-c", "h100"], 2, "did you mean 'llama-3.1-70b'"),
    (["estimate", "llama-3.1-405b", "-c", "h100", "--tp", "8"], 1, "What fits: tp=16"),
    (["estimate", "llama-3.1-8b", "-c", "h100", "--tp", "5"], 2, "nearest that does: tp=4 or tp=8"),
    (["estimate", "llama-3.1-8b", "-c", "h100", "--batch", "0"], 2, "batch: expected a whole number"),
    (["estimate", "llama-3.1-8b", "-c", "h100", "--batch", "x"], 2, "integer"),
    (["estimate", "llama-3.1-8b", "-c", "h100", "--set", "bandwidth"], 2, "expected FIGURE=VALUE"),
    (["estimate", "llama-3.1-8b", "-c", "h100", "--set", "memory.hbm.bandwith=x2"], 2, "memory.hbm.bandwidth"),
    (["estimate", "llama-3.1-8b", "-c", "h100", "--set", "clock=x2x"], 2, "expected a factor such as 'x2'"),
    (["estimate", "llama-3.1-8b", "-c", "h100", "--set", "clock=x2", "--set", "clock=x3"], 2, "clock is changed twice"),
    (["estimate", "llama-3.1-8b", "-c", "h100", "--set", "memory.hbm.bandwidth=3 W"], 2, "found the unit 'W'"),
    (["estimate", "llama-3.1-8b", "-c", "h100", "--devices", "2"], 2, "no option for llama-3.1-8b is called 'devices'"),
    (["estimate", "missing.json", "-c", "h100"], 2, "no model file"),
    (["estimate", "llama-3.1-8b", "-c", "missing.toml"], 2, "no descriptor file"),
    (["estimate", "llama-3.1-8b", "-c", "t4"], 1, "does not fit"),
    (
        [
            "serve",
            "llama-3.1-8b",
            "-c",
            "h100",
            "--set",
            "memory.hbm.capacity=20 GB",
            "--prompt",
            "100000",
            "--output",
            "30000",
        ],
        1,
        "+ context 1.611 GB) and has 19.42 GB usable (90% of 19.51 GB that is free beside the model)",
    ),
    (["plot", "h100", "--out", "picture.gif"], 2, "ending in .png, .svg or .pdf"),
    (["plot", "h100", "--dtype", "fp4"], 2, "has no fp4 rate"),
    (["sweep", "llama-3.1-8b", "-c", "h100", "-a", "batch"], 2, "expected NAME=V1,V2"),
    (["sweep", "llama-3.1-8b", "-c", "h100", "-a", "bath=1,2"], 2, "'batch'"),
    (["chips", "h2000"], 2, "did you mean"),
    (["models", "gpt-5"], 2, "no model is called 'gpt-5'"),
    (["nonsense"], 2, "No such command"),
]


@pytest.mark.parametrize(("arguments", "code", "message"), ERRORS, ids=[" ".join(a)[:60] for a, _, _ in ERRORS])
def test_errors_say_what_is_wrong(run: Run, arguments: list[str], code: int, message: str) -> None:
    got, out, err = run(*arguments)
    assert got == code
    assert out == ""
    assert message in " ".join(err.replace("│", " ").split())
    assert "Traceback" not in err


def commands() -> list[str]:
    """The commands that there are."""
    return [str(one.name or one.callback.__name__) for one in cli.app.registered_commands if one.callback]


def test_help_of_every_command_has_an_example(run: Run) -> None:
    assert {"estimate", "serve", "sweep", "pareto", "sensitivity", "plot", "chips", "check"} <= set(commands())
    for command in ("", *commands()):
        code, out, _ = run(*command.split(), "--help")
        words = " ".join(out.split())
        assert code == 0
        assert "Usage" in out
        assert f"Example: roofline {command or 'estimate'}" in words, command


def test_a_grid_of_one_point(run: Run) -> None:
    for axes in ([], ["-a", "batch=8"], ["-a", "usable_memory=0.5"]):
        rows = json.loads(run("sweep", "llama-3.1-8b", "-c", "h100", *axes, "--json")[1])
        batch = 8 if "batch=8" in axes else 1
        asked = ["estimate", "llama-3.1-8b", "-c", "h100", "--batch", str(batch), "--json"]
        assert len(rows) == 1
        assert rows[0]["tpot_s"] == json.loads(run(*asked)[1])["tpot_s"]
        assert "llama-3.1-8b" in run("sweep", "llama-3.1-8b", "-c", "h100", *axes)[1]


NO_AXES = [
    (["-a", "chip=h100"], "chip is no axis: chips are given by --chip"),
    (["-a", "model=x"], "model is no axis: models are the command's arguments"),
    (["-a", "check=False"], "check is no axis: a grid never stops at points that do not fit"),
    (["-a", "batch=1", "-a", "batch=2"], "batch is given twice; for both, write -a batch=1,2"),
    (["-a", "=1"], "expected NAME=V1,V2"),
    (["--out", "grid.xls"], "expected a file ending in .csv, .json or .nc, found 'grid.xls'"),
]


@pytest.mark.parametrize(("arguments", "message"), NO_AXES, ids=[" ".join(a) for a, _ in NO_AXES])
def test_what_is_no_axis_is_told(run: Run, arguments: list[str], message: str) -> None:
    code, out, err = run("sweep", "llama-3.1-8b", "-c", "h100", *arguments)
    assert (code, out) == (2, "")
    assert message in " ".join(err.replace("\u2502", " ").split())


def test_memory_that_may_be_used_and_a_cached_prefix(run: Run) -> None:
    whole = json.loads(run("estimate", "llama-3.1-8b", "-c", "h100", "--stack", "plain", "--json")[1])
    half = json.loads(
        run("estimate", "llama-3.1-8b", "-c", "h100", "--stack", "plain", "--usable-memory", "0.45", "--json")[1]
    )
    assert half["memory"]["usable_bytes"] == pytest.approx(whole["memory"]["usable_bytes"] / 2)
    assert half["request"]["usable_memory"] == 0.45
    server = ["serve", "llama-3.1-8b", "-c", "h100", "--concurrency", "16", "--json"]
    cold, warm = json.loads(run(*server)[1]), json.loads(run(*server, "--prefix", "896")[1])
    assert warm["request"]["prefix"] == 896
    assert warm["ttft_s"] < 0.5 * cold["ttft_s"]
    code, _, err = run("serve", "llama-3.1-8b", "-c", "h100", "--stack", "plain", "--usable-memory", "0.1")
    assert code == 1
    assert "(10% of" in err
    code, _, err = run("estimate", "llama-3.1-8b", "-c", "h100", "--usable-memory", "1.5")
    assert code == 2
    assert "usable_memory: expected a fraction" in err


def test_sensitivity_is_that_of_the_library(run: Run, tmp_path: Path) -> None:
    asked = ["sensitivity", "llama-3.1-8b", "-c", "h100", "--batch", "8", "--figure", "tpot_s", "--step", "0.05"]
    printed = json.loads(run(*asked, "--json")[1])
    table = rl.sensitivity("llama-3.1-8b", "h100", "tpot_s", 0.05, batch=8)
    assert printed["result"] == "tpot_s"
    assert {row["figure"]: row["elasticity"] for row in printed["figures"]} == table["elasticity"].to_dict()
    assert len(list(csv.DictReader(io.StringIO(run(*asked, "--csv")[1])))) == len(table)
    code, out, err = run(*asked, "--plot", str(tmp_path / "tornado.png"))
    assert (code, (tmp_path / "tornado.png").stat().st_size > 5000) == (0, True)
    assert "wrote" in err
    first = next(line for line in out.splitlines() if line.startswith("memory.hbm.bandwidth"))
    assert first.split()[1:5] == ["3.35", "TB/s", f"{table['elasticity'].iloc[0]:+.3f}", "-" * 20]


def test_pareto_keeps_what_no_other_point_beats(run: Run, tmp_path: Path) -> None:
    grid = ["llama-3.1-8b", "-c", "h100", "-a", "tp=1,2", "-a", "batch=1,8,64"]
    best = json.loads(run("pareto", *grid, "--json")[1])
    every = json.loads(run("sweep", *grid, "--json")[1])

    def beats(one: dict[str, float], other: dict[str, float]) -> bool:
        pairs = [(one["tokens_per_s_per_chip"], other["tokens_per_s_per_chip"]), (other["tpot_s"], one["tpot_s"])]
        return all(a >= b for a, b in pairs) and any(a > b for a, b in pairs)

    kept = [p for p in every if not any(beats(other, p) for other in every)]
    assert sorted((p["tp"], p["batch"]) for p in best) == sorted((p["tp"], p["batch"]) for p in kept)
    code, out, _ = run("pareto", *grid, "--plot", str(tmp_path / "front.svg"))
    assert code == 0
    assert f"{len(best)} of {len(every)} points" in out
    assert "Wanted: much tokens_per_s_per_chip, little tpot_s." in out
    assert (tmp_path / "front.svg").read_text().startswith("<?xml")
    one = run("pareto", *grid, "--maximise", "tokens_per_s", "--csv")[1]
    assert [row["tokens_per_s"] for row in csv.DictReader(io.StringIO(one))] == [
        str(max(p["tokens_per_s"] for p in every))
    ]
    code, _, err = run("pareto", "llama-3.1-70b", "-c", "t4")
    assert code == 1
    assert "no point of the grid fits" in err
    code, _, err = run("pareto", *grid, "--minimise", "tpot")
    assert code == 2
    assert "'tpot'" in err


def test_a_config_file_as_it_is(run: Run, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "vocab_size": 128256,
        "max_position_embeddings": 131072,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    own = json.loads(run("estimate", str(tmp_path), "-c", "h100", "--json")[1])
    built_in = json.loads(run("estimate", "llama-3.1-8b", "-c", "h100", "--json")[1])
    assert own["tokens_per_s"] == pytest.approx(built_in["tokens_per_s"])
