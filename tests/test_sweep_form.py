"""The form of a sweep's Dataset, and how the command line says its axes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer
import xarray as xr

import roofline as rl
from roofline.command.axes import options
from roofline.study.running import progress_bar

if TYPE_CHECKING:
    from tests.conftest import Run

MODEL, CHIP = "llama-3.1-8b", "h100-sxm"


def test_axes_and_figures_carry_units_and_names() -> None:
    axes: dict[str, Any] = {
        "memory.main.bandwidth": ["2 TB/s", 4e12],
        "clock": ["x0.9", "*1.1"],
        "overheads.step": ["x2", "3 us"],
    }
    data = rl.sweep(MODEL, CHIP, prompt=[100, 200], **axes)
    assert list(data.dims) == ["prompt", *axes]
    assert data["prompt"].attrs == {"units": "tokens", "long_name": "prompt"}
    assert data["memory.main.bandwidth"].values.tolist() == [2e12, 4e12]
    assert data["memory.main.bandwidth"].attrs["units"] == "B/s"
    assert data["clock"].values.tolist() == [0.9, 1.1]
    assert data["clock"].attrs["units"] == "1"
    assert data["overheads.step"].values.tolist() == ["x2", "3 us"]  # a mixture: each as it was meant
    assert "units" not in data["overheads.step"].attrs
    assert data["tpot_s"].attrs == {"units": "s", "long_name": "time per output token"}
    assert all(data[name].dims == tuple(data.dims) for name in data.data_vars)
    changes = {"memory.main.bandwidth": "4 TB/s", "clock": "x1.1", "overheads.step": "3 us"}
    alone = rl.estimate(MODEL, rl.estimate(MODEL, CHIP).chip.what_if(changes), prompt=200)
    assert data["tpot_s"][-1, -1, -1, -1].item() == pytest.approx(alone.tpot_s, rel=1e-12)


def test_bounds_and_reasons_are_codes_with_their_words() -> None:
    data = rl.sweep([MODEL, "rm1"], [CHIP, "mtia-v1"], batch=64, tp=[1, 3], prompt=[100, 10**6])
    for name in ("bound", "why"):
        attrs = data[name].attrs
        assert data[name].dtype == np.uint8
        assert attrs["flag_values"].tolist() == list(range(len(attrs["flag_meanings"].split(" "))))
    texts = data.roofline.why_text()
    assert set(texts.sel(model="rm1").values.ravel()) == {""}
    expected = [
        ["", "prompt and output exceed the positions that the model was made for"],
        ["the plan does not split the model evenly"] * 2,
    ]
    assert texts.sel(model=MODEL, chip=CHIP).values.tolist() == expected
    hole = data.sel(model=MODEL, tp=3, chip=CHIP)
    assert not hole["possible"].any()
    assert not hole["fits"].any()
    assert set(hole.roofline.bound_text().values) == {"none"}
    # A figure is there exactly where the point is possible and the family has it.
    assert np.array_equal(np.isfinite(data["tpot_s"].sel(model=MODEL)), data["possible"].sel(model=MODEL))
    assert np.isnan(data["tpot_s"].sel(model="rm1")).all()
    assert np.isfinite(data["latency_s"].sel(model="rm1")).all()
    assert np.isnan(data["latency_s"].sel(model=MODEL)).all()


def test_concurrency_sweeps_the_steady_state() -> None:
    data = rl.sweep(MODEL, CHIP, concurrency=[1, 32, 1000], prompt=[100, 3000], prompt_sd=50, reserve=[False, True])
    for i, concurrency in enumerate(data["concurrency"].values.tolist()):
        for reserve in (False, True):
            alone = rl.serve(MODEL, CHIP, concurrency=concurrency, prompt=3000, prompt_sd=50, reserve=reserve)
            point = data.sel(prompt=3000, reserve=reserve).isel(concurrency=i)
            for name in (*alone.FIGURES, "active"):
                assert point[name].item() == pytest.approx(getattr(alone, name), rel=1e-12), name
            assert point.roofline.bound_text().item() == alone.bound
    full = rl.sweep(MODEL, CHIP, concurrency=None, prompt=[100, 3000])
    assert full["active"].values == pytest.approx([rl.serve(MODEL, CHIP, prompt=p).active for p in (100, 3000)])
    with pytest.raises(rl.BadWorkload, match="chunk is an option of a server: give concurrency"):
        rl.sweep(MODEL, CHIP, chunk=[512, 8192])


def test_any_figure_may_be_kept_and_a_price_that_nobody_knows_is_a_hole() -> None:
    data = rl.sweep(MODEL, [CHIP, "artemis"], batch=[1, 8], figures=["mbu", "power_w", "usd_per_million_tokens"])
    assert list(data.data_vars) == ["mbu", "power_w", "usd_per_million_tokens", "fits", "bound", "possible", "why"]
    known = rl.estimate(MODEL, "artemis", batch=8, check=False)
    assert data["power_w"].sel(chip="artemis", batch=8).item() == pytest.approx(known.power_w)
    assert bool(data["possible"].all())
    assert np.isfinite(data["usd_per_million_tokens"].sel(chip=CHIP)).all()
    if "usd_per_million_tokens" in known.unknown:
        assert np.isnan(data["usd_per_million_tokens"].sel(chip="artemis")).all()
    priced = rl.sweep(MODEL, "artemis", price_per_hour=[1.0, 2.0], figures="usd_per_million_tokens")
    assert np.diff(priced["usd_per_million_tokens"]) > 0
    with pytest.raises(rl.UnknownName, match="did you mean 'tpot_s'"):
        rl.sweep(MODEL, CHIP, figures=["tpot"])


def test_tables_are_placed_anew_at_every_point() -> None:
    data = rl.sweep("ncf", CHIP, batch=[512, 65536], devices=2, placement=["even", "auto"], host=[None, "triton-hps"])
    assert data["host"].values.tolist() == ["default", "triton-hps"]
    for batch in (512, 65536):
        alone = rl.estimate("ncf", CHIP, batch=batch, devices=2, placement="auto", host="triton-hps")
        point = data.sel(batch=batch, placement="auto", host="triton-hps")
        assert point["latency_s"].item() == pytest.approx(alone.latency_s, rel=1e-12)
    with pytest.raises(rl.UnknownName, match="did you mean 'auto'"):
        rl.sweep("ncf", CHIP, placement=["even", "atuo"])
    with pytest.raises(rl.UnknownName, match="triton-hps"):
        rl.sweep("ncf", CHIP, host="triton-hsp")


def test_draws_are_the_same_at_every_point_and_known_chips_have_one_answer() -> None:
    data = rl.sweep("rm1", [CHIP, "artemis", "artemis-hbm"], batch=[64, 1024], draws=16, seed=3)
    assert data["draw"].values.tolist() == list(range(16))
    spread = data["latency_s"].std("draw") / data["latency_s"].mean("draw")
    assert (spread.sel(chip=["artemis", "artemis-hbm"]) > 0.01).all()
    again = rl.sweep("rm1", [CHIP, "artemis", "artemis-hbm"], batch=1024, draws=16, seed=3)
    # The same draws: what is added up in another order, as a part of a larger grid is, may differ in the last bit.
    xr.testing.assert_allclose(again["latency_s"], data["latency_s"].sel(batch=1024, drop=True), rtol=1e-13)
    other = rl.sweep("rm1", "artemis", batch=1024, draws=16, seed=4)
    assert not np.array_equal(other["latency_s"], again["latency_s"].sel(chip="artemis"))


def test_the_error_of_the_model_is_drawn_where_it_is_asked_for() -> None:
    asked: dict[str, Any] = {"batch": [1, 64], "figures": ["tpot_s", "tokens_per_s", "lower_s"], "draws": 256}
    data = rl.sweep(MODEL, [CHIP, "h200", "epyc-9654"], model_error=True, **asked)
    est = rl.estimate(MODEL, CHIP, batch=64)
    for figure in ("tpot_s", "tokens_per_s"):
        own = data[figure].sel(chip=CHIP, batch=64)
        assert own.quantile([0.05, 0.95]).values == pytest.approx(est.interval(0.9, figure), rel=0.05)
    left_out = rl.sweep(MODEL, CHIP, **asked)["tpot_s"].sel(batch=64)
    assert np.log(data["tpot_s"].sel(chip=CHIP, batch=64)).std() > 3 * np.log(left_out).std()
    # Half of the variance is common to a family; a draw is the same chance at every point.
    gpus = np.corrcoef(np.log(data["tpot_s"].sel(batch=64).values))
    assert 0.3 < gpus[0, 1] < 0.7
    assert abs(gpus[0, 2]) < 0.2
    assert np.corrcoef(np.log(data["tpot_s"].sel(chip=CHIP).values))[0, 1] > 0.99
    with pytest.raises(rl.BadWorkload, match="expected draws beside it, as draws=256"):
        rl.sweep(MODEL, CHIP, batch=[1, 2], model_error=True)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"memory.main.bandwidth": ["2 TFLOP/s"]}, "memory.main.bandwidth: expected a bandwidth"),
    ({"memory.main.bandwidth": ["x"]}, "expected a factor such as 'x1.1', found 'x'"),
    ({"clock": [True]}, "clock: expected a frequency such as '1.83 GHz', or a factor"),
    ({"clock": ["x1", "x1.0"]}, "the axis clock has 1 more than once"),
    ({"clock": ["x1", "-1 GHz"]}, "clock: expected a positive, finite frequency"),
    ({"cores.count": ["x1", "x0.333"]}, "cores.count"),
    ({"memory.main.bandwidth": ["x2"], "memory.hbm.bandwidth": ["x1"]}, "one figure is changed twice"),
    ({"stack": [1]}, "stack: expected the name of a software stack"),
    ({"stack": ["vllm", "vllm"]}, "the axis stack has vllm more than once"),
    ({"draws": 2.5}, "draws: expected a whole number of at least"),
    ({"draws": 4, "seed": -1}, "seed: expected a whole number of at least 0"),
    ({"figures": []}, "figures: expected names such as"),
    ({"tp": [3, 5]}, "tp=3 does not split the 32 heads"),  # no point of it is possible
    ({"prefix": [100, 200], "prompt": 100}, "at least one token of the prompt is new"),
]


@pytest.mark.parametrize(("axes", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_an_axis_can_never_be_is_refused(axes: dict[str, Any], message: str) -> None:
    with pytest.raises(rl.BadWorkload, match=message):
        rl.sweep(MODEL, CHIP, **axes)


def test_a_figure_or_a_stack_that_no_chip_has_is_told() -> None:
    with pytest.raises(rl.UnknownName, match=r"memory\.hbm\.bandwidth"):
        rl.sweep(MODEL, CHIP, **{"memory.hbm.bandwith": ["x1", "x2"]})
    with pytest.raises(rl.UnknownName, match="vllm"):
        rl.sweep(MODEL, CHIP, stack=["vlm"])
    some = rl.sweep(MODEL, [CHIP, "artemis"], **{"memory.hbm.bandwidth": ["x1", "x2"]})  # type: ignore[arg-type]
    assert some["possible"].all("memory.hbm.bandwidth").values.tolist() == [True, False]
    assert set(some.roofline.why_text().sel(chip="artemis").values) == {"the chip does not have the figure"}


# The command line ----------------------------------------------------------------------------------------------------

SPELLED: list[tuple[str, Any]] = [
    ("batch=1,8,64", [1, 8, 64]),
    ("batch=8", 8),
    ("batch=1:1000:4:log", [1, 10, 100, 1000]),
    ("batch=1:10:4", [1, 4, 7, 10]),
    ("skew=0:1:3", [0.0, 0.5, 1.0]),
    ("clock=x0.9:x1.2:4", ["x0.9", "x1", "x1.1", "x1.2"]),
    ("memory.main.bandwidth=2 TB/s,4 TB/s", ["2 TB/s", "4 TB/s"]),
    ("memory.main.bandwidth=2 TB/s:4 TB/s:3", ["2 TB/s", "3 TB/s", "4 TB/s"]),
    ("memory.main.bandwidth=1 TB/s:4 TB/s:3:log", ["1 TB/s", "2 TB/s", "4 TB/s"]),
    ("stack=,vllm", ["", "vllm"]),
    ("dtype=default,fp8", [None, "fp8"]),
    ("compiled=true,false", [True, False]),
]


@pytest.mark.parametrize(("text", "values"), SPELLED, ids=[text for text, _ in SPELLED])
def test_an_axis_is_spelled_as_it_is_meant(text: str, values: Any) -> None:
    assert options([text]) == {text.partition("=")[0]: values}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clock=x0.9:1.2:4", "both ends in one unit"),
        ("clock=1 GHz:2000 MHz:4", "both ends in one unit"),
        ("batch=1:8", "expected START:STOP:COUNT"),
        ("batch=1:8:1", "expected START:STOP:COUNT"),
        ("batch=a:b:4", "expected START:STOP:COUNT"),
        ("batch=1:8:4:cubic", "expected START:STOP:COUNT"),
        ("skew=0:1:3:log", "two ends above 0"),
        ("draws=4", "given by --draws"),
    ],
)
def test_an_axis_that_says_nothing_is_refused(text: str, message: str) -> None:
    with pytest.raises(typer.BadParameter, match=message):
        options([text])


def test_the_command_sweeps_what_the_function_does(run: Run, tmp_path: Path) -> None:
    asked = ("sweep", MODEL, "-c", CHIP, "-a", "tp=1,3", "-a", "memory.main.bandwidth=2 TB/s,4 TB/s", "--draws", "2")
    rows = json.loads(run(*asked, "--json")[1])
    assert [row["possible"] for row in rows] == [True] * 4 + [False] * 4
    assert [row["tpot_s"] is None for row in rows] == [False] * 4 + [True] * 4
    assert rows[-1]["why"] == "the plan does not split the model evenly"
    table = run(*asked)[1]
    assert "2 TB/s" in table
    code, out, err = run(*asked, "--to", str(tmp_path / "grid.zarr"))
    assert (code, out) == (0, "8 points, of which 4 fit into the memory and 4 are impossible\n")
    assert "wrote" in err
    code, _, err = run(*asked, "--to", str(tmp_path / "grid.zarr"), "--seed", "1")
    assert code == 2
    assert "seed: 0 there, 1 here" in " ".join(err.split())
    code, _, err = run(*asked, "--to", str(tmp_path / "grid.zarr"), "--json")
    assert (code, "expected no --out, --json or --csv beside it" in " ".join(err.split())) == (2, True)
    assert run(*asked, "--out", str(tmp_path / "grid.nc"))[0] == 0
    assert xr.open_dataset(tmp_path / "grid.nc", engine="scipy")["bound"].attrs["flag_meanings"].startswith("compute ")


def test_a_bar_shows_how_far_it_is_when_asked(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("roofline.study.running._PATIENCE", 0)
    with progress_bar(1000, 500, show=True, slabs=2) as told:
        told(250)
        told(250)
    out, err = capsys.readouterr()
    assert (out, "1.00k/1.00k" in err or "500/1.00k" in err) == ("", True)
    for show, slabs in ((None, 5), (False, 5), (None, 1)):  # nobody watches, nobody wants it, nothing to wait for
        with progress_bar(1000, 0, show=show, slabs=slabs) as told:
            told(1000)
    assert capsys.readouterr() == ("", "")
