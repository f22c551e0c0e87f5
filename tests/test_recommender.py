"""Recommendation models: the published figures, the laws of a batch's work, and clear errors for what people write."""

from __future__ import annotations

import copy
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

import roofline as rl
import roofline.models.recommender as recommender
from roofline.base.errors import BadModel, BadWorkload
from roofline.models import description
from roofline.models.description import load

FOLDER = Path(recommender.__file__).parent / "recommenders"
MODELS = {path.stem: load(path) for path in sorted(FOLDER.glob("*.toml"))}

# Lookups, embedding parameters and multiply-adds a sample, worked out by hand from the shapes in the repository that
# each file names as its source (layer by layer: the product of the two widths).
PUBLISHED = {
    "dlrm-v2": (214, 26_135_627_264, 16_030_464),
    "dlrm-v1": (26, 26_135_627_264, 2_410_112),
    "dlrm-kaggle": (26, 540_201_232, 479_984),  # Naumov et al. 2019: 540 M parameters in the tables
    "dlrm-terabyte": (26, 3_144_083_008, 782_528),
    "dlrm-synthetic": (800, 512_000_000, 2_497_792),
    "rm1": (640, 1_024_000_000, 100_416),
    "rm2": (3840, 1_024_000_000, 319_552),
    "rm3": (200, 640_000_000, 3_203_328),
    "wide-and-deep": (27, 864_000_000, 2_064_640),
    "mt-wnd": (43, 976_000_000, 2_621_440),
    "ncf": (4, 21_504_000, 147_456),
    "din": (759, 1_472_000_000, 73_760),
    "dien": (43, 976_000_000, 785_440),
    "two-tower": (2, 134_217_728, 32_832),
    "dlrm-nvidia-t15": (26, 4_186_769_664, 2_410_112),  # its README: 4.2 G parameters, 15.6 GiB
    "dcnv2-nvidia-t15": (26, 4_186_769_664, 16_030_464),
}


def work(step: Any, kind: str, field: str) -> Any:
    """The sum of one argument over the operators of a kind."""
    return sum(op.args[field] * op.count for op in step if op.kind == kind)


def flops(step: Any) -> Any:
    return sum(
        2 * o.args["m"] * o.args["n"] * o.args["k"] * o.args["batch"] * o.count for o in step if o.kind == "gemm"
    )


def lookups(step: Any) -> Any:
    bags = [o.args for o in step if o.kind == "embedding_bag"]
    return sum(a["batch"] * a["tables"] * a["pooling"] for a in bags)


# Worked numbers ---------------------------------------------------------------------------------------------------


def test_dlrm_v2_is_the_model_of_mlperf() -> None:
    model = MODELS["dlrm-v2"]
    assert model.lookups == 214
    assert model.flops_per_sample == 2 * 16_030_464  # 32.06 MFLOP a user-item pair
    assert model.gathered_bytes("int8") == 27_392
    assert model.gathered_bytes("fp32") == 109_568
    assert model.table_bytes("fp32") / 2**30 == pytest.approx(97.36, abs=0.005)  # published as 97.31 "GB"
    assert model.pairs_per_request == 270
    assert model.tables[0].tables == 26


@pytest.mark.parametrize("name", PUBLISHED)
def test_figures_follow_from_the_published_shapes(name: str) -> None:
    model = MODELS[name]
    assert (model.lookups, model.embedding_params, model.flops_per_sample / 2) == PUBLISHED[name]


def test_dlrm_v3_is_a_terabyte_and_a_teraflop_scale_request() -> None:
    model = MODELS["dlrm-v3"]
    assert model.table_bytes("fp16") == pytest.approx(1e12, rel=0.04)  # the published checkpoint: 1 TB
    # The history's part alone, of 16384 tokens: 1589 GFLOP in five layers; candidates and MLPs come on top.
    assert 1589e9 < model.flops_per_sample < 2 * 1589e9
    assert model.outputs == 2048


def test_dense_parameters_count_biases_once() -> None:
    layers = [(13, 512), (512, 256), (256, 128), (479, 1024), (1024, 1024), (1024, 512), (512, 256), (256, 1)]
    assert MODELS["dlrm-v1"].dense_params == sum((k + 1) * n for k, n in layers)
    assert MODELS["rm1"].params == MODELS["rm1"].embedding_params + MODELS["rm1"].dense_params


def test_every_built_in_model_names_its_source_and_runs() -> None:
    assert len(MODELS) >= 20
    for model in MODELS.values():
        assert "github.com/" in model.source or "ISCA 2025" in model.source
        step = model.step(64, "bf16", devices=2)
        names = [op.name for op in step]
        assert len(set(names)) == len(names), model.name
        assert names[0] == "input_copy"
        assert names[-1] == "output_copy"


# The work of a batch ----------------------------------------------------------------------------------------------


def test_step_of_dlrm_v2_reads_like_the_model() -> None:
    step = MODELS["dlrm-v2"].step(1024, "int8")
    assert [op.name for op in step] == [
        "input_copy", "embedding.small", "embedding.medium", "embedding.large",
        "bottom_mlp.0", "bottom_mlp.1", "bottom_mlp.2", "cross.concat",
        "cross.0.down", "cross.0.up", "cross.0.combine", "cross.1.down", "cross.1.up", "cross.1.combine",
        "cross.2.down", "cross.2.up", "cross.2.combine",
        "top_mlp.0", "top_mlp.1", "top_mlp.2", "top_mlp.3", "top_mlp.4", "output_copy",
    ]  # fmt: skip
    assert {op.name for op in step if op.shard == "tables"} == {
        "embedding.small",
        "embedding.medium",
        "embedding.large",
    }
    assert all(op.scope == "model" for op in step)
    assert flops(step) == 1024 * MODELS["dlrm-v2"].flops_per_sample
    assert lookups(step) == pytest.approx(1024 * 214)
    # 8-bit products quantise 16-bit activations first, and the rows they are fed from are pooled into 16 bits.
    assert all(op.args["quantize"] == 1.0 for op in step if op.kind == "gemm")
    assert all(op.args["out_width"] == 2.0 for op in step if op.kind == "embedding_bag")


def test_host_sends_dense_features_and_indices() -> None:
    model = MODELS["dlrm-v2"]
    assert work(model.step(10), "host_copy", "bytes") == 10 * (13 * 4 + 214 * 8) + 10 * 4
    assert model.step(10, index_bytes=4).ops[0].args["bytes"] == 10 * (13 * 4 + 214 * 4)


def test_all_to_all_moves_every_pooled_vector_once() -> None:
    model = MODELS["dlrm-v2"]
    (exchange,) = [op for op in model.step(800, "fp16", devices=8) if op.kind == "all_to_all"]
    assert exchange.args["bytes"] * 8 == 800 * 26 * 128 * 2
    assert not [op for op in model.step(800, "fp16") if op.kind == "all_to_all"]


def test_nonlinearities_are_kernels_of_their_own_only_unfused() -> None:
    model = MODELS["rm1"]
    extra = {op.name for op in model.step(4, fused=False)} - {op.name for op in model.step(4)}
    assert extra == {f"{mlp}.{i}.activation" for mlp, n in (("bottom_mlp", 2), ("top_mlp", 3)) for i in range(n)}


def test_tables_keep_their_own_dtype() -> None:
    step = MODELS["rm2"].step(16, "bf16", table_dtype="int8")
    (bag,) = [op for op in step if op.kind == "embedding_bag"]
    assert bag.dtype == "int8"
    assert {op.dtype for op in step if op.kind == "gemm"} == {"bf16"}


def test_towers_and_shared_tables() -> None:
    raw = tomllib.loads((FOLDER / "mt-wnd.toml").read_text())
    raw["block"][-1]["tasks"] = 4
    four = description.read(raw, "mine")
    assert four.flops_per_sample - MODELS["mt-wnd"].flops_per_sample == 3 * 2 * (512 * 256 + 256 * 128)
    v3 = MODELS["dlrm-v3"]
    assert [g.name for g in v3.tables if not g.owned] == ["candidate_item", "candidate_category"]
    assert v3.embedding_params == (10**9 + 128 + 10**7) * 512


@given(name=st.sampled_from(sorted(MODELS)), batch=st.integers(1, 10**6), times=st.integers(2, 50))
@settings(max_examples=60, deadline=None)
def test_work_is_linear_in_the_batch(name: str, batch: int, times: int) -> None:
    model = MODELS[name]
    batch *= 1000  # more than a request's samples, which share what is looked up once
    one, many = model.step(batch, "bf16"), model.step(batch * times, "bf16")
    assert flops(many) == pytest.approx(times * flops(one))
    assert lookups(many) == pytest.approx(times * lookups(one))
    assert lookups(one) == pytest.approx(batch * model.lookups)
    assert work(many, "host_copy", "bytes") == pytest.approx(times * work(one, "host_copy", "bytes"))


@given(name=st.sampled_from(sorted(MODELS)), share=st.integers(1, 10**5), devices=st.integers(2, 256))
@settings(max_examples=60, deadline=None)
def test_devices_split_the_whole(name: str, share: int, devices: int) -> None:
    model, batch = MODELS[name], 1000 * share * devices
    whole, part = model.step(batch), model.step(batch, devices=devices)
    assert devices * lookups(part) == pytest.approx(lookups(whole))
    assert devices * flops(part) == pytest.approx(flops(whole))
    assert devices * work(part, "host_copy", "bytes") == pytest.approx(work(whole, "host_copy", "bytes"))


@given(
    name=st.sampled_from(sorted(MODELS)),
    batches=st.lists(st.integers(1, 10**6), min_size=1, max_size=4),
    devices=st.lists(st.integers(2, 64), min_size=1, max_size=3),
    dtype=st.sampled_from(["fp32", "bf16", "int8"]),
)
@settings(max_examples=40, deadline=None)
def test_arrays_are_their_points(name: str, batches: list[int], devices: list[int], dtype: str) -> None:
    model = MODELS[name]
    grid = model.step(np.array(batches)[:, None], dtype, devices=np.array(devices)[None, :], skew=np.float64(0.5))
    for i, batch in enumerate(batches):
        for j, chips in enumerate(devices):
            point = model.step(batch, dtype, devices=chips, skew=0.5)
            for whole, one in zip(grid, point, strict=True):
                assert (whole.name, whole.kind, whole.dtype, whole.count) == (one.name, one.kind, one.dtype, one.count)
                for key, value in one.args.items():
                    shape = (len(batches), len(devices))
                    assert np.broadcast_to(whole.args[key], shape)[i, j] == pytest.approx(value), (one.name, key)


def test_plain_numbers_stay_plain() -> None:
    for op in MODELS["dlrm-v2"].step(1000, "int8", devices=3):
        assert all(type(value) in (int, float) for value in op.args.values()), op.name


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"batch": 0}, "batch must be a whole number from 1 to 10^15, found 0"),
        ({"batch": -4}, "batch must be a whole number from 1 to 10^15, found -4"),
        ({"batch": 2.5}, "batch must be a whole number from 1 to 10^15, found 2.5"),
        ({"batch": "many"}, "batch must be a number, found 'many'"),
        ({"batch": [1, float("nan")]}, "batch must be a whole number from 1 to 10^15"),
        ({"batch": 8, "devices": 0}, "devices must be a whole number from 1 to 10^15, found 0"),
        ({"batch": 8, "skew": -1}, "skew must be a number from 0 to 5, found -1"),
        ({"batch": 8, "dtype": "fp33"}, "unknown dtype 'fp33'"),
        ({"batch": 8, "table_dtype": "int9"}, "unknown dtype 'int9'"),
    ],
)
def test_impossible_batches_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(BadWorkload) as caught:
        MODELS["rm1"].step(**arguments)
    assert says in str(caught.value)


# One's own model, and what goes wrong with it ---------------------------------------------------------------------

MINE = """
title = "Our ranker"
source = "design note 7"
dense_features = 13
tables = [{ count = 26, rows = 1_000_000, dim = 64, pooling = 4 }]
block = [
  { type = "mlp", name = "bottom_mlp", input = "dense", layers = [13, 512, 64] },
  { type = "dot", input = ["bottom_mlp", "embedding"], keep = "bottom_mlp" },
  { type = "mlp", name = "top_mlp", layers = [415, 256, 1] },
]
"""


def test_a_model_of_ones_own_takes_a_dozen_lines(tmp_path: Path) -> None:
    assert len(MINE.strip().splitlines()) <= 12
    path = tmp_path / "our-ranker.toml"
    path.write_text(MINE)
    model = load(path)
    assert (model.name, model.title, model.lookups) == ("our-ranker", "Our ranker", 104)
    # 27 vectors have 351 pairs; the 64 dense outputs go beside them: 415 into the top.
    assert model.flops_per_sample == 2 * (13 * 512 + 512 * 64 + 351 * 64 + 415 * 256 + 256)
    assert len(model.step(32, "bf16", devices=4)) == 11


def broken(change: Any) -> dict[str, Any]:
    raw = copy.deepcopy(tomllib.loads(MINE))
    change(raw)
    return raw


def put(*path: Any) -> Any:
    """A change that sets the value at a path: put("tables", 0, "rows", 0)."""
    *way, key, value = path

    def change(raw: Any) -> None:
        for part in way:
            raw = raw[part]
        raw[key] = value

    return change


def drop(*path: Any) -> Any:
    *way, key = path

    def change(raw: Any) -> None:
        for part in way:
            raw = raw[part]
        del raw[key]

    return change


ATTENTION = {"type": "local_attention", "input": "embedding", "query": "dot", "layers": [192, 1]}
HSTU_BLOCK = {"type": "hstu", "layers": 1, "heads": 1, "qk_dim": 8, "linear_dim": 8, "candidates": 1}

NOT_MODELS = {
    # keys and types
    "unknown block type": (
        put("block", 0, "type", "mpl"),
        "block[0].type: no block type is called 'mpl'; did you mean 'mlp'",
    ),
    "no block type": (drop("block", 0, "type"), "block[0].type: expected one of mlp, towers"),
    "unknown key": (
        put("dense_feature", 13),
        "dense_feature: no key of a model is called 'dense_feature'; did you mean 'dense_features'",
    ),
    "unknown key of a block": (
        put("block", 0, "layer", [13, 1]),
        "block[0].layer: no key of a mlp block is called 'layer'; did you mean 'layers'",
    ),
    "unknown key of the tables": (
        put("tables", 0, "row", 9),
        "tables[0].row: no key of a table group is called 'row'; did you mean 'rows'",
    ),
    "no tables": (drop("tables"), "tables: expected in every model, found nothing"),
    "empty tables": (put("tables", []), "tables: expected at least 1 of them, found []"),
    "no blocks": (put("block", []), "block: expected at least 1 of them, found []"),
    "block as text": (put("block", "mlp"), "block: expected a list, found 'mlp'"),
    "no source": (drop("source"), "source: expected in every model, found nothing"),
    "true as a number": (put("dense_features", True), "dense_features: expected a whole number, found True"),
    "empty requests": (put("pairs_per_request", 0), "pairs_per_request: expected a number above 0, found 0"),
    # tables
    "zero rows": (put("tables", 0, "rows", 0), "tables[0].rows[0]: expected a number above 0, found 0"),
    "rows as text": (put("tables", 0, "rows", "1M"), "tables[0].rows[0]: expected a whole number, found '1M'"),
    "no rows": (drop("tables", 0, "rows"), "tables[0]: expected rows and dim, or shares"),
    "rows of its own and another's": (
        put("tables", 0, "shares", "item"),
        "tables[0]: expected rows and dim, or shares",
    ),
    "negative pooling": (
        put("tables", 0, "pooling", -1),
        "tables[0].pooling[0]: expected a number above 0, found -1",
    ),
    "endless pooling": (put("tables", 0, "pooling", float("inf")), "tables[0].pooling[0]: expected a"),
    "pooling of too few tables": (
        put("tables", 0, "pooling", [1, 2]),
        "expected one number, or one for each table; found 2 tables by pooling, 26 tables by count",
    ),
    "pooled sequence": (put("tables", 0, "sequence", 10), "expected pooling (rows are summed) or sequence"),
    "shared with nobody": (put("tables", 0, {"shares": "item"}), "tables[0].shares: no feature is called 'item'"),
    "too many tables": (put("tables", 0, "count", 1_000_000), "tables[0]: expected at most 100000 tables in all"),
    # how the parts go together
    "missing table": (
        put("block", 1, "input", ["bottom_mlp", "embeddings"]),
        "block[1] (dot).input: no feature is called 'embeddings'; did you mean 'embedding'",
    ),
    "no input": (
        drop("block", 0, "input"),
        "block[0] (bottom_mlp).input: expected one of ['dense', 'embedding'], since no block comes before it",
    ),
    "no dense features": (drop("dense_features"), "expected dense_features above zero, found none"),
    "name taken": (
        put("block", 2, "name", "bottom_mlp"),
        "block[2] (bottom_mlp).name: expected a name that nothing else has, found 'bottom_mlp'",
    ),
    "kept but not taken": (
        put("block", 1, "input", ["embedding"]),
        "block[1] (dot): keep: expected one of the inputs ['embedding'], found 'bottom_mlp'",
    ),
    # shapes
    "first width": (
        put("block", 0, "layers", [16, 64]),
        "layers: the first number is the width of what comes in, so expected 13 (the width of dense), found 16",
    ),
    "top width": (put("block", 2, "layers", [479, 1]), "so expected 415 (the width of dot), found 479"),
    "vectors of two widths": (
        put("block", 0, "layers", [13, 512, 32]),
        "block[1] (dot): expected vectors of one width, found the widths [32, 64]",
    ),
    "one layer": (put("block", 0, "layers", [13]), "block[0].layers: expected at least 2 of them, found [13]"),
    "fractional width": (
        put("block", 0, "layers", [13, 64.5]),
        "block[0].layers[1]: expected a whole number, found 64.5",
    ),
    "candidates without a history": (
        put("block", 2, HSTU_BLOCK),
        "candidates: expected fewer than the 1 vectors of the sequence, found 1",
    ),
    "query of another width": (
        put("block", 2, ATTENTION),
        "query: expected one vector of width 64, as the behaviours have, found 1 of width 415",
    ),
    "sum of one": (put("block", 2, {"type": "combine", "how": "sum"}), "expected at least two vectors to combine"),
    "unknown cell": (
        put("block", 2, {"type": "rnn", "hidden": 8, "cell": "gro"}),
        "block[2].cell: expected 'basic', 'gru' or 'lstm', found 'gro'",
    ),
}


@pytest.mark.parametrize("what", NOT_MODELS)
def test_what_is_no_model_says_what_is_wrong(what: str) -> None:
    change, says = NOT_MODELS[what]
    with pytest.raises(BadModel) as caught:
        description.read(broken(change), "mine", "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")
    assert says in str(caught.value)


def test_what_nothing_takes_is_named() -> None:
    raw = broken(lambda raw: raw["block"].__setitem__(1, {"type": "dot", "input": "embedding"}))
    raw["block"][2]["layers"] = [325, 1]
    with pytest.raises(BadModel, match=r"nothing takes the output of \['bottom_mlp'\]"):
        description.read(raw, "mine")


def test_every_problem_of_a_file_is_told_at_once() -> None:
    raw = broken(lambda raw: (raw.pop("title"), raw["tables"][0].update(rows=-5)))
    with pytest.raises(BadModel) as caught:
        description.read(raw, "mine")
    assert "title: " in str(caught.value)
    assert "rows[0]: " in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"title = ", "not valid TOML"),
        (b"\xff\xfe", "expected UTF-8 text"),
        (b"a = " + b"[" * 5000, "nested too deeply"),
        (b"a = " + b"[" * 900 + b"]" * 900, "nested too deeply"),
        (b"a" + b".a" * 100_000 + b" = 1", "nested too deeply"),
        (b"dense_features = " + b"9" * 400, "dense_features"),
        (b"dense_features = " + b"9" * 5000, "not valid TOML"),
        (b"#" * 1_000_001, "expected at most 1,000,000 bytes, found 1,000,001"),
    ],
    ids=["cut short", "not text", "nested too deep", "nested", "dotted", "400 digits", "5000 digits", "too large"],
)
def test_unreadable_files_are_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content)
    with pytest.raises(BadModel) as caught:
        load(path)
    assert says in str(caught.value)
    with pytest.raises(BadModel, match="cannot be read"):
        load(tmp_path / "nowhere.toml")


DEEP = {
    "title": "Deep",
    "source": "here",
    "dense_features": 64,
    "tables": [{"rows": 1000, "dim": 64}],
    "block": [
        {"type": "cross", "name": f"c{i}", "layers": 30, "rank": 16, **({"input": "dense"} if not i else {})}
        for i in range(6)
    ]
    + [{"type": "dot", "name": f"d{i}", "input": ["embedding", f"c{i + 1}"]} for i in range(5)]
    + [{"type": "concat", "input": [f"d{i}" for i in range(5)]}],
}


def test_many_layers_of_a_shape_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond what anybody reads, equal steps are one with a count; sizes and times stay those of all."""
    counted = description.read(DEEP, "deep")
    monkeypatch.setattr("roofline.models.steps.MOST_NAMED", 10_000)
    listed = description.read(DEEP, "deep")
    assert len(listed.steps) == 6 * 30 * 3 + 5 * 3 + 1 > 500
    assert [(step.name, step.copies) for step in counted.steps] == [
        ("c0.0.down", 180),
        ("c0.0.up", 180),
        ("c0.0.combine", 180),
        ("d0.concat", 5),
        ("d0", 5),
        ("d0.pick", 5),
        ("concat.concat", 1),
    ]
    assert (counted.params, counted.flops_per_sample) == (listed.params, listed.flops_per_sample)
    for compiled in (False, True):
        options = {"batch": 512, "dtype": "int8", "compiled": compiled}
        one, all_ = (rl.estimate(model, "h100-sxm", **options) for model in (counted, listed))
        for figure, value in all_.figures().items():
            assert one.figures()[figure] == pytest.approx(value, rel=1e-12)
        assert one.interval(0.9, "latency_s") == pytest.approx(all_.interval(0.9, "latency_s"), rel=1e-9)


def test_as_many_shapes_as_no_model_has_are_refused() -> None:
    layers = [64] + [width for i in range(99) for width in (100 + i, 64)]
    blocks = [{"type": "mlp", "name": f"m{i}", "layers": [*layers[:-1], 1000 + i, 64]} for i in range(30)]
    blocks[0]["input"] = "dense"
    for i, block in enumerate(blocks):
        block["layers"] = [64, *(w + 500 * i if w != 64 else 64 for w in block["layers"][1:])]
    with pytest.raises(BadModel, match="at most 2,000 layers that differ in shape"):
        description.read({**DEEP, "block": blocks, "tables": DEEP["tables"]}, "wide")


def test_importing_models_imports_nothing_heavy() -> None:
    heavy = ["pydantic", "numba", "pandas", "matplotlib", "roofline.hardware.chip", "roofline.kernels"]
    code = f"import sys, roofline.models.recommender; print([m for m in sys.modules if m in {heavy!r}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
