"""Profiles of other tools: real PyTorch traces, Nsight Compute exports (made by hand, see their README), plain CSV."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import roofline as rl
from roofline import profiles
from roofline.base.errors import BadData

DATA = Path(__file__).parent / "data" / "profiles"
TRACE = DATA / "torch-2.13-cpu-shapes.json.gz"


def test_a_real_trace_is_matched_by_its_shapes() -> None:
    frame = profiles.read(TRACE)
    assert list(frame.columns) == list(profiles.COLUMNS)
    assert frame["share"].sum() == pytest.approx(1.0)
    gemms = frame[frame["kind"] == "gemm"]
    assert sorted(gemms["flops"]) == [2 * 16 * 32 * 16, 2 * 64 * 64 * 64, 2 * 64 * 64 * 192, *[2 * 64 * 64 * 256] * 2]
    (bag,) = frame.loc[frame["kind"] == "embedding_bag", "call"]
    assert (bag["rows"], bag["dim"], bag["batch"], bag["pooling"], bag["dtype"]) == (1000, 32, 16, 8, "fp32")
    (attention,) = frame.loc[frame["kind"] == "attention", "call"]
    assert attention == {"op": "attention", "batch": 2, "heads": 4, "kv_heads": 4, "head_dim": 16, "q_len": 32,
                         "kv_len": 32, "causal": True, "dtype": "fp32"}  # fmt: skip
    assert {"layer_norm", "activation", "softmax", "elementwise"} <= set(frame["kind"])


def test_no_time_counts_twice() -> None:
    """What operators take in all is at most the time between the first and the last of them (one thread)."""
    events = [e for e in json.loads(gzip.decompress(TRACE.read_bytes()))["traceEvents"] if e["cat"] == "cpu_op"]
    span = max(e["ts"] + e["dur"] for e in events) - min(e["ts"] for e in events)
    assert 0 < profiles.read(TRACE)["time_s"].sum() <= span * 1e-6 * (1 + 1e-9)


def test_a_trace_without_shapes_has_times_alone() -> None:
    frame = profiles.read(DATA / "torch-2.13-cpu-plain.json")
    assert frame["call"].isna().all()
    assert "addmm" in set(frame["op"])
    assert profiles.measured(frame).empty


def test_predicted_beside_measured() -> None:
    frame = profiles.predict(profiles.read(TRACE), rl.load_chip("xeon-8480"))
    matched = frame["call"].notna()
    assert frame.loc[matched, "predicted_s"].gt(0).all()
    assert frame.loc[~matched, "predicted_s"].isna().all()
    again = profiles.measured(frame)
    assert set(again["op"]) >= {"gemm", "attention", "embedding_bag"}


def test_profiles_go_onto_a_roofline() -> None:
    for name in (TRACE.name, "ncu-long.csv"):
        ax = rl.plot_roofline(rl.load_chip("h100-sxm"), ops=profiles.read(DATA / name))
        assert ax.collections


def test_kernels_count_under_the_operator_that_launched_them(tmp_path: Path) -> None:
    def event(cat: str, name: str, ts: float, dur: float, **args: object) -> dict[str, object]:
        return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": 1, "ts": ts, "dur": dur, "args": args}

    shapes = {"Input Dims": [[64, 32], [32, 128]], "Input type": ["c10::BFloat16", "c10::BFloat16"]}
    trace = {"traceEvents": [
        event("cpu_op", "aten::mm", 0, 10, **{"External id": 1}, **shapes),
        event("cpu_op", "aten::empty", 1, 2, **{"External id": 2}),
        event("kernel", "void cutlass::gemm_kernel<int>(int)", 50, 100, **{"External id": 1}),
        event("kernel", "splitK_reduce", 150, 20, **{"External id": 2}),
        event("kernel", "void mine::fmha_fwd<float>()", 200, 80, **{"External id": 99}),
    ]}  # fmt: skip
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(trace))
    frame = profiles.read(path).set_index("op")
    assert frame.loc["mm", "time_s"] == pytest.approx(120e-6)
    assert frame.loc["mm", "call"] == {"op": "gemm", "m": 64, "k": 32, "n": 128, "dtype": "bf16"}
    assert frame.loc["fmha_fwd", "kind"] == "attention"


@pytest.mark.parametrize(
    ("name", "time_s", "size", "flops"),
    [
        ("ncu-long.csv", [210.5e-6, 150e-6], [104.86e6, 402.68e6], [137438953472 + 2 * 1048576, 2 * 16777216]),
        ("ncu-raw.csv", [1210.5e-6, 230.2e-6], [100.6e6, 201.3e6], [512 * 268435456, 2 * 16777216]),
        ("ncu-sections.csv", [210.5e-6, 74.2e-6], [498.15e9 * 210.5e-6, 2.71e12 * 74.2e-6], [0, 0]),
        ("ncu-summary.csv", [150e-6], [402.68e6], [0]),
    ],
)
def test_nsight_compute(name: str, time_s: list[float], size: list[float], flops: list[float]) -> None:
    frame = profiles.read(DATA / name)
    assert list(frame["time_s"]) == pytest.approx(time_s)
    assert list(frame["bytes"]) == pytest.approx(size)
    assert list(frame["flops"]) == pytest.approx(flops)
    assert frame["op"].iloc[-1] == "vectorized_elementwise_kernel"
    assert frame["kind"].iloc[-1] == "elementwise"


def test_plain_csv(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("op,time_s,flops,bytes\nfirst,2e-3,1e9,1e6\nsecond,1e-3,5e8,5e8\n")
    frame = profiles.read(path)
    assert list(frame["intensity"]) == [1000.0, 1.0]
    path.write_text("op,time_s,dtype,m,n,k,count\ngemm,1e-5,bf16,16,4096,4096,10\nsoftmax,1e-6,bf16,,,,\n")
    with pytest.raises(BadData, match=r"row 3.*rows"):
        profiles.read(path)
    path.write_text("op,time_s,dtype,m,n,k,count\ngemm,1e-5,bf16,16,4096,4096,10\n")
    (row,) = profiles.read(path).to_dict("records")
    assert (row["flops"], row["time_s"]) == (pytest.approx(10 * 2 * 16 * 4096**2), pytest.approx(1e-4))
    path.write_text("op,time_s,dtype,m,n,k,bytes,devices\ngemm,1e-5,bf16,16,64,64,,\nall_reduce,1e-4,bf16,,,,1e6,8\n")
    frame = profiles.read(path)  # bytes are an argument of a collective, not a reading of the row beside it
    assert list(frame["op"]) == ["all_reduce", "gemm"]  # the longest first
    assert frame["flops"].iloc[1] == 2 * 16 * 64 * 64


NCU = '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"\n'


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", "{", "not valid JSON"),
        ("a.json", "{}", "traceEvents"),
        ("a.json", '{"traceEvents": 3}', "expected a list, found int"),
        ("a.json", '{"traceEvents": [3]}', r"traceEvents\[0\]"),
        ("a.json", '{"traceEvents": [{"ph": "X", "cat": "gpu", "ts": 1, "dur": 2}]}', "cpu_op"),
        ("a.json", '{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "a", "ts": 1}]}', "no key 'dur'"),
        ("a.json", '{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "a", "ts": 1, "dur": "x"}]}', "'dur'"),
        ("a.json", '{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "a", "ts": 1, "dur": 1e999}]}', "finite"),
        ("a.json", "[" * 100_000, "nested too deeply|not valid JSON"),
        ("a.json.gz", b"\x1f\x8b broken", "cannot be"),
        ("a.csv", "", "no line with a comma"),
        ("a.csv", "op,time_s,flops\na,1,1\n", "'bytes'"),
        ("a.csv", "op,time_s,bytes\nmy kernel,1,1\n", "no column 'flops'"),
        ("a.csv", "op,time,flops,bytes\na,1,1,1\n", "'time_s'; is it 'time'"),
        ("a.csv", "op,time_s,flops,bytes\na,fast,1,1\n", "column 'time_s': expected a number, found 'fast'"),
        ("a.csv", "op,time_s,flops,bytes\na,-1,1,1\n", "not negative"),
        ("a.csv", "op,time_s,flops,bytes\na,1,1\n", "expected 4 columns"),
        ("a.csv", "op,time_s,m,n,k\ngem,1e-5,1,1,1\n", "did you mean 'gemm'"),
        ("a.csv", "op,time_s\n", "no rows"),
        ("a.csv", b"\xff\xfe\x00", "UTF-8"),
        ("a.csv", NCU + '"0","k","dram__bytes.sum","byte","5"\n', "gpu__time_duration.sum"),
        ("a.csv", NCU + '"0","k","gpu__time_duration.sum","parsec","5"\n', "'parsec' is not understood"),
        ("a.csv", NCU + '"0","k","gpu__time_duration.sum","us","soon"\n', "expected a number, found 'soon'"),
        ("a.csv", '"ID","Kernel Name","Metric Name","Metric Value"\n"0","k","x","5"\n', "'Metric Unit'"),
        ("a.csv", '"ID","Kernel Name"\n"0","k"\n', "no column 'Metric Name'"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadData, match=said) as caught:
        profiles.read(path)
    assert name in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiles, "MAX_BYTES", 1000)
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b" " * 10_000))
    with pytest.raises(BadData, match="at most 1,000 bytes"):
        profiles.read(path)
    with pytest.raises(BadData, match="no such file"):
        profiles.read(tmp_path / "none.csv")
