"""Profiles of other tools: real PyTorch traces, Nsight Compute exports (made by hand, see their README), plain CSV."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

import roofline as rl
from roofline import profiles
from roofline.base import reading
from roofline.base.errors import BadData

DATA = Path(__file__).parent / "data" / "profiles"
TRACE = DATA / "torch-2.13-cpu-shapes.json.gz"
NCU = '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"\n'


def trace(**changes: object) -> str:
    """A trace of two events, the second a kernel that the first launched; `changes` are made to both."""
    call = {
        "ph": "X",
        "cat": "cpu_op",
        "name": "aten::mm",
        "pid": 1,
        "tid": 1,
        "ts": 0,
        "dur": 30,
        "args": {"External id": 7},
    } | changes
    return json.dumps({"traceEvents": [call, call | {"cat": "kernel", "name": "gemm"}]})


def test_a_real_trace_is_matched_by_its_shapes() -> None:
    frame = profiles.read(TRACE)
    assert list(frame.columns) == list(profiles.COLUMNS)
    assert frame["share"].sum() == pytest.approx(1.0)
    gemms = frame[frame["kind"] == "gemm"]
    assert sorted(gemms["flops"]) == [2 * 16 * 32 * 16, 2 * 64 * 64 * 64, 2 * 64 * 64 * 192, *[2 * 64 * 64 * 256] * 2]
    (bag,) = frame.loc[frame["kind"] == "embedding_bag", "call"]
    assert (bag["rows"], bag["dim"], bag["batch"], bag["pooling"], bag["dtype"]) == (1000, 32, 16, 8, "fp32")
    (attention,) = frame.loc[frame["kind"] == "attention", "call"]
    assert attention == {
        "op": "attention",
        "batch": 2,
        "heads": 4,
        "kv_heads": 4,
        "head_dim": 16,
        "q_len": 32,
        "kv_len": 32,
        "causal": True,
        "dtype": "fp32",
    }
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
    trace = {
        "traceEvents": [
            event("cpu_op", "aten::mm", 0, 10, **{"External id": 1}, **shapes),
            event("cpu_op", "aten::empty", 1, 2, **{"External id": 2}),
            event("kernel", "void cutlass::gemm_kernel<int>(int)", 50, 100, **{"External id": 1}),
            event("kernel", "splitK_reduce", 150, 20, **{"External id": 2}),
            event("kernel", "void mine::fmha_fwd<float>()", 200, 80, **{"External id": 99}),
        ]
    }
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


@pytest.mark.parametrize(
    ("name", "time_s", "size", "flops", "note"),
    [
        # HMMA.16816 multiplies 16 x 8 by 16: 4,096 FLOP, and not Volta's 512.
        ("ncu-instructions.csv", 100e-6, 100e6, 6_000_000 * 4096, "16x8x16 (4,096 each)"),
        # The counter of a type and its sparse and dense parts count the same operations.
        ("ncu-sparsity.csv", 40e-6, 70e6, 137438953472, ""),
        ("ncu-decimal-comma.csv", 12.5e-6, 1234.56e6, 2 * 1234567, "vector units alone"),
    ],
)
def test_what_was_read_wrongly_once(name: str, time_s: float, size: float, flops: float, note: str) -> None:
    (row,) = profiles.read(DATA / name).to_dict("records")
    assert (row["time_s"], row["bytes"], row["flops"]) == pytest.approx((time_s, size, flops))
    assert note in row["note"]
    assert bool(note) == bool(row["note"])


HEAD = '"ID","Kernel Name","CC","Metric Name","Metric Unit","Metric Value"\n'


def nsight(folder: Path, *metrics: tuple[str, str, str], kernel: str = "k", capability: str = "8.0") -> Path:
    """An export of one launch: 10 us, 1 MB and these metrics (name, unit, value)."""
    path = folder / "run.csv"
    rows = [("gpu__time_duration.sum", "us", "10"), ("dram__bytes.sum", "Mbyte", "1"), *metrics]
    path.write_text(HEAD + "".join(f'"0","{kernel}","{capability}","{n}","{u}","{v}"\n' for n, u, v in rows))
    return path


COUNT = "sm__inst_executed_pipe_tensor"


@pytest.mark.parametrize(
    ("kernel", "capability", "counter", "each"),
    [
        ("volta_s884gemm", "7.0", "", 512), ("volta_h884gemm_128x64", "", "", 1024), ("mine", "7.0", "", 512),
        ("turing_fp16_s1688gemm_fp16", "7.5", "", 2048), ("mine", "7.5", "_op_imma", 2048),
        ("ampere_bf16_s16816gemm_bf16", "8.0", "", 4096), ("ampere_bf16_s16816gemm_bf16", "", "", 4096),
        ("cutlass_80_tensorop_bf16_s16816gemm_relu_bf16", "9.0", "", 4096),
        ("cutlass_80_tensorop_s1688tf32gemm_128x64", "8.0", "", 2048), ("cutlass_80_tensorop_d884gemm", "8.0", "", 512),
        ("sm80_xmma_gemm_i8i8_i8i32_f32_tn_n_tilesize64x64x64_tensor16x8x32_k", "8.6", "", 8192),
        ("flash_fwd_kernel", "8.9", "", 4096), ("flash_fwd_kernel", "8,0", "", 4096), ("mine", "8.0", "_op_dmma", 512),
        ("triton_tf32_kernel", "8.0", "_op_hmma", 2048), ("mine", "8.6", "_op_imma", 8192),
    ],
)  # fmt: skip
def test_a_tensor_instruction_has_the_size_of_its_generation(
    tmp_path: Path, kernel: str, capability: str, counter: str, each: int
) -> None:
    path = nsight(tmp_path, (f"{COUNT}{counter}.sum", "inst", "1000"), kernel=kernel, capability=capability)
    (row,) = profiles.read(path).to_dict("records")
    assert row["flops"] == 1000 * each
    assert f"({each:,} each)" in row["note"]


@pytest.mark.parametrize(
    ("kernel", "capability", "counter", "words"),
    [
        ("nvjet_hsh_128x256", "9.0", "", r"compute capability 9\)"), ("mine", "10.0", "_op_hmma", "capability 10"),
        ("mine", "", "", "nothing tells the chip's generation"), ("mine", "9.0", "_subpipe_gmma", "capability 9"),
        ("flash_fwd_e4m3", "8.9", "", "capability 8.9"), ("cutlass_s16816gemm", "7.0", "", "16x8x16, which"),
        ("volta_s884gemm", "8.0", "", "8x8x4, which"), ("cutlass_80_s16832spgemm", "", "", "nothing tells"),
        ("mine", "new", "", "column 'CC': expected a compute capability"),
    ],
)  # fmt: skip
def test_what_no_one_size_is_known_of_is_not_guessed(
    tmp_path: Path, kernel: str, capability: str, counter: str, words: str
) -> None:
    path = nsight(tmp_path, (f"{COUNT}{counter}.sum", "inst", "1000"), kernel=kernel, capability=capability)
    with pytest.raises(BadData, match=words) as caught:
        profiles.read(path)
    assert "sm__ops_path_tensor_src_bf16_dst_fp32.sum" in str(caught.value) or "CC" in words
    path = nsight(tmp_path, (f"{COUNT}{counter}.sum", "inst", "0"), kernel=kernel, capability="")
    assert profiles.read(path)["flops"].sum() == 0  # none executed: nothing to be sized


def test_the_chip_that_was_profiled_tells_the_generation(tmp_path: Path) -> None:
    path = nsight(tmp_path, (f"{COUNT}.sum", "inst", "1000"), capability="")
    for chip, each in (("v100-sxm2", 512), ("t4", 2048), ("a100", 4096)):
        assert profiles.read(path, rl.load_chip(chip))["flops"].sum() == 1000 * each
    for chip in ("h100-sxm", "l4", "mi300x", "mtia-v1"):
        with pytest.raises(BadData, match="their size differs"):
            profiles.read(path, rl.load_chip(chip))


OPS = "sm__ops_path_tensor"


@pytest.mark.parametrize(
    ("counters", "flops"),
    [
        ({"_src_bf16_dst_fp32": 100, "_src_bf16_dst_fp32_sparsity_off": 90, "_src_bf16_dst_fp32_sparsity_on": 10}, 100),
        ({"_src_bf16_dst_fp32_sparsity_off": 90, "_src_bf16_dst_fp32_sparsity_on": 10}, 100),
        ({"_src_fp8_dst_fp32": 100, "_op_hmma_src_fp8_dst_fp32": 60, "_op_utcqmma_src_fp8_dst_fp32": 40}, 100),
        ({"_op_hmma_src_fp8_dst_fp32": 60, "_op_utcqmma_src_fp8_dst_fp32": 40}, 100),
        ({"_src_bf16_dst_fp32": 100, "_src_fp16_dst_fp32": 11, "_src_int8": 5, "_src_fp64": 1}, 117),
        ({"_src_bf16_dst_fp32_sparsity_off": 9, "_op_hmma_src_bf16_dst_fp32": 0}, 9),
        ({"": 100, "_src_bf16_dst_fp32": 60, "_src_fp16_dst_fp32_sparsity_on": 40}, 100),
    ],
)
def test_no_operation_of_the_tensor_pipe_counts_twice(tmp_path: Path, counters: dict[str, int], flops: int) -> None:
    metrics = [(f"{OPS}{name}.sum", "", str(count)) for name, count in counters.items()]
    assert profiles.read(nsight(tmp_path, (f"{COUNT}.sum", "inst", "7"), *metrics))["flops"].sum() == flops


def test_a_counter_of_another_type_does_not_hide_the_instructions(tmp_path: Path) -> None:
    path = nsight(
        tmp_path,
        (f"{OPS}_src_fp16_dst_fp16.sum", "", "0"),
        (f"{COUNT}.sum", "inst", "1000"),
        kernel="ampere_bf16_s16816gemm",
    )
    assert profiles.read(path)["flops"].sum() == 1000 * 4096


def test_counters_that_overlap_are_refused(tmp_path: Path) -> None:
    overlapping = [(f"{OPS}{n}.sum", "", "9") for n in ("_op_hmma_src_bf16_dst_fp32", "_src_bf16_dst_fp32_sparsity_on")]
    with pytest.raises(BadData, match="overlap, and neither is a part of the other"):
        profiles.read(nsight(tmp_path, *overlapping))
    with pytest.raises(BadData, match=r"_of_tomorrow\.sum counts is not understood"):
        profiles.read(nsight(tmp_path, (f"{OPS}_src_bf16_of_tomorrow.sum", "", "9")))


def test_a_product_of_which_only_vectors_were_counted_says_so(tmp_path: Path) -> None:
    vector = ("smsp__sass_thread_inst_executed_op_ffma_pred_on.sum", "inst", "1000")
    assert "vector units alone" in profiles.read(nsight(tmp_path, vector, kernel="my_gemm"))["note"].iloc[0]
    assert profiles.read(nsight(tmp_path, vector, kernel="softmax"))["note"].iloc[0] == ""
    counted = (f"{OPS}_src_bf16_dst_fp32.sum", "", "0")
    assert profiles.read(nsight(tmp_path, vector, counted, kernel="my_gemm"))["note"].iloc[0] == ""


@pytest.mark.parametrize(
    ("metrics", "time_s"),
    [
        ([("us", "1,234.5")], 1234.5e-6), ([("us", "1.234,5")], 1234.5e-6),
        ([("us", "1,234"), ("byte", "0.5")], 1.234e-3), ([("us", "1,234"), ("byte", "0,5")], 1.234e-6),
        ([("us", "0,123")], 0.123e-6), ([("us", "1,234,567")], 1.234567),
        ([("us", "1.234"), ("byte", "12,5")], 1.234e-3), ([("us", "1.234"), ("inst", "1,234")], 1.234e-6),
        ([("us", "1.234"), ("inst", "1.234")], 1.234e-3), ([("us", "1 234,5")], 1234.5e-6),
        ([("us", "1\u202f234,5")], 1234.5e-6), ([("us", "1'234.5")], 1234.5e-6), ([("us", "1.5e2")], 150e-6),
    ],
)  # fmt: skip
def test_the_decimal_mark_is_told_by_the_file(tmp_path: Path, metrics: list[tuple[str, str]], time_s: float) -> None:
    name = {
        "us": "gpu__time_duration.sum",
        "byte": "dram__bytes.sum",
        "inst": "smsp__sass_thread_inst_executed_op_ffma_pred_on.sum",
    }
    path = tmp_path / "a.csv"
    path.write_text(NCU + "".join(f'"0","k","{name[unit]}","{unit}","{value}"\n' for unit, value in metrics))
    assert profiles.read(path)["time_s"].sum() == pytest.approx(time_s)


def test_other_metrics_tell_the_decimal_mark_too(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(NCU + '"0","k","gpu__time_duration.sum","us","1,234"\n"0","k","SM Frequency","Ghz","1,41"\n')
    assert profiles.read(path)["time_s"].sum() == pytest.approx(1.234e-6)


def test_a_plain_csv_is_read_in_one_locale(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text('op,time_s,flops,bytes\na,"0,5","12,50","1.000"\n')
    (row,) = profiles.read(path).to_dict("records")
    assert (row["time_s"], row["flops"], row["bytes"]) == (0.5, 12.5, 1000.0)
    path.write_text("op,time_s,flops,bytes\na,1.234,1,1\n")
    assert profiles.read(path)["time_s"].sum() == 1.234  # as any CSV has it, and as the documentation says


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


@pytest.mark.parametrize(
    ("name", "content", "words"),
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
        ("a.csv", NCU + '"0","k","gpu__time_duration.sum","us","1,234"\n', "may be 1,234 or 1.234"),
        (
            "a.csv",
            NCU + '"0","k","gpu__time_duration.sum","us","1,5"\n"0","k","dram__bytes.sum","B","1.5"\n',
            "contradict each other: '1.5' has a decimal point, '1,5' a decimal comma",
        ),
        ("a.csv", 'op,time_s,flops,bytes\na,1,"1,234",1\n', "may be 1,234 or 1.234"),
        ("a.csv", "op,time_s,flops,bytes\na,1e-300,1,1\n", "expected times in seconds"),
        ("a.csv", f"op,time_s,flops,bytes\na,{'1' * 5000},1,1\n", "row 2, column 'time_s': expected a number"),
        ("a.csv", "op,time_s,flops,bytes\na,1,1e40,1\n", "column 'flops': expected a finite number"),
        ("a.csv", "op,time_s,flops,bytes\na,1,1e11,5e-324\n", "expected no bytes or at least 1e-06, found"),
        ("a.csv", "op,time_s,count,flops,bytes\na,1,0,1,1\n", "'count': expected calls above zero"),
        ("a.csv", "op,time_s,time_s\na,1,2\n", "'time_s' is there twice"),
        ("a.csv", "op,time_s," + ",".join(f"c{n}" for n in range(1001)) + "\n", "at most 1,000 columns, found 1,003"),
        ("a.json", trace(pid=[1, 2]), r"key 'pid': expected a number or text, found \[1, 2\]"),
        ("a.json", trace(tid={}), "key 'tid': expected a number or text"),
        ("a.json", trace(args={"External id": [7]}), r"key 'External id': expected a number or text, found \[7\]"),
        ("a.json", trace(dur=10**400), "'dur': expected a finite number"),
        ("a.json", trace(dur="soon"), "'dur': expected a number, found 'soon'"),
        ("a.json", trace(dur=True), "'dur': expected a number, found True"),
        ("a.json", trace().replace("30", "3" * 5000), "not valid JSON"),
        ("a.json", '{"traceEvents": ' + "[" * 2000 + "]" * 2000 + "}", "nested too deeply"),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: str | bytes, words: str) -> None:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(BadData, match=words) as caught:
        profiles.read(path)
    assert name in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BYTES", 1000)
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b" " * 10_000))
    with pytest.raises(BadData, match="at most 1,000 bytes"):
        profiles.read(path)
    with pytest.raises(BadData, match="no such file"):
        profiles.read(tmp_path / "none.csv")


def test_a_small_trace_of_many_objects_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("roofline.profiles.traces.MAX_NODES", 100)
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"traceEvents": [{}] * 200}))
    with pytest.raises(BadData, match="at most 100 objects and lists, found 202"):
        profiles.read(path)


def test_a_bag_of_no_bags_is_no_operator_and_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    shapes = {"Input Dims": [[10, 4], [8], [1]], "Input type": ["float"] * 3, "Concrete Inputs": [""] * 7 + ["True"]}
    path.write_text(trace(name="aten::_embedding_bag", args=shapes).replace('"kernel"', '"cpu_op"'))
    assert profiles.read(path)["call"].isna().all()
