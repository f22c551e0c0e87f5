"""Tables on terminals of any width: no number is ever cut, what is left out is named."""

from __future__ import annotations

import io
import re
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

import roofline as rl
from roofline.fidelity import validation, validation_report
from roofline.show import report

WIDTHS = (40, 60, 80, 100, 120, 200)


def printed(table: report.Table, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    report.show(console, table)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def figures() -> validation.Validation:
    """A validation of one line: what matters here are its twenty columns."""
    keys = {
        "class": "attention decode",
        "dtype": "bf16, fp8 KV",
        "chip": "a100-sxm-80gb < h100-sxm",
        "framework": "trtllm",
        "role": "test-shapes",
        "parameters": "trtllm_1_3_0rc10",
    }
    numbers = dict.fromkeys(("mape", "median", "p90", "bias", "spearman", "coverage", "naive", "three"), 0.9034)
    regimes = ["all", "under 5 us", "5-20 us", "20-100 us", "100-1000 us", "over 1 ms"]
    table = pd.DataFrame([{**keys, "regime": r, "rows": 12345, **numbers} for r in regimes])
    rows = pd.DataFrame(
        {"chip": ["h100"], "role": ["own"], "rule": [""], "measured_s": [1.0], "low_s": [0.5], "high_s": [2.0]}
    )
    none = table.iloc[:0]
    return validation.Validation(table, rows, none, none, none, "rows")


def tables() -> list[report.Table]:
    est = rl.estimate("dlrm-v2", "mtia-v1", batch=4096)
    made = [report.headline(est), report.breakdown(est.step, "Where it goes")]
    return [*made, report.chip_table(rl.load_chip("mtia-v1"), sources=True), validation_report.classes_table(figures())]


@pytest.mark.parametrize("width", WIDTHS)
def test_no_number_is_cut(width: int) -> None:
    for table in tables():
        shown = printed(table, width)
        left_out = re.search(r"Left out for width: ([^.]*)\.$", shown, re.DOTALL)
        gone = re.sub(r"\s+", " ", left_out[1]).split(", ") if left_out else []
        for i, heading in enumerate(table.columns):
            if heading.startswith(">") and heading.lstrip(">") not in gone:
                for row in table.rows:
                    assert re.search(rf"(^|\s){re.escape(row[i])}(\s|$)", shown), (heading, row[i])
        assert max(map(len, shown.splitlines())) <= width


def test_a_wide_terminal_shows_every_column() -> None:
    for table in tables():
        shown = printed(table, 300)
        assert "Left out" not in shown
        for heading in table.columns:
            assert heading.lstrip(">") in shown


@pytest.mark.parametrize("width", [80, 100])
def test_expendable_columns_go_and_are_named(width: int) -> None:
    shown = printed(validation_report.classes_table(figures()), width)
    assert "Left out for width: 3 const, Spearman" in shown
    assert "MAPE" in shown
    assert "12,345" in shown


def test_sources_stand_below_their_figure_where_it_is_narrow() -> None:
    table = report.chip_table(rl.load_chip("mtia-v1"), sources=True)
    lines = printed(table, 80).splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("memory.dram.bandwidth"))
    assert lines[at].split()[1:4] == ["176", "GB/s", "datasheet"]
    assert lines[at + 1].startswith("    MTIA 2i, ISCA 2025")
    assert len(lines) < 5 * len(table.rows)
    assert "source" in printed(table, 160).splitlines()[2]


def test_words_wrap_and_names_stay_whole() -> None:
    table = report.Table("", ["name", "title", ">parameters"])
    table.rows = [["dcnv2-nvidia-t15", "DCNv2, NVIDIA examples, frequency threshold 15", "4.203 B"]]
    first, second = printed(table, 60).splitlines()[2:4]
    assert first.startswith("dcnv2-nvidia-t15  DCNv2, NVIDIA examples,")
    assert first.endswith("4.203 B")
    assert second.split() == ["frequency", "threshold", "15"]


def test_a_measurement_tells_dtypes_apart_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    from roofline.command import measure as cli_measure

    row = {"kind": "elementwise", "rows": 120, "before": 1.83, "after": 0.11, "test": 0.12, "test_rows": 1024}
    rows = pd.DataFrame([{**row, "dtype": "fp32"}, {**row, "dtype": "bf16"}])
    result: object = SimpleNamespace(
        calibrated=rl.load_chip("epyc-9654"), validation=rows, left_out={}, notes=[], refused=[], files={}
    )
    console = Console(file=io.StringIO(), width=80, highlight=False)
    monkeypatch.setattr(cli_measure, "out_console", lambda: console)
    cli_measure._show(result, console)  # type: ignore[arg-type]
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for words in ("elementwise  fp32", "elementwise  bf16", "183%", "1024", "12%"):
        assert words in shown


def test_a_sweep_drops_what_says_the_same_in_every_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from roofline.command import main as cli, output

    monkeypatch.setattr(output, "_is_plain", lambda: False)  # as on a terminal of 80 columns
    monkeypatch.setattr(output, "out_console", lambda width: Console(width=80, highlight=False))
    arguments = ["sweep", "dlrm-v2", "-c", "mtia-v1", "-c", "mtia-2i", "-a", "batch=64,4096", "-a", "skew=0,1.05"]
    monkeypatch.setattr("sys.argv", ["roofline", *arguments])
    assert cli.run() == 0
    out = capsys.readouterr().out
    assert "Left out for width: fits" in out
    assert "samples_per_s" in out.splitlines()[0]
    assert "mtia-2i" in out


def test_operators_of_one_name_stand_in_one_row() -> None:
    est = rl.estimate("phi-2", "h100-sxm", batch=8)  # two additions a layer, of which one is within a norm
    for phase in (est.prefill, est.decode):
        rows = {row[0]: row for row in report.breakdown(phase, "").rows}
        same = phase.ops[phase.ops["op"] == "residual_add"]
        assert len(same) == 2  # within the norms, and alone
        assert rows["residual_add"][1] == "64"
        assert rows["residual_add"][6] == f"{same['share'].sum():.1%}"
        assert len(rows) == len(report.breakdown(phase, "").rows)
        assert sum(float(row[6].rstrip("%")) for row in rows.values()) == pytest.approx(100, abs=0.05 * len(rows))


def test_additions_are_counted_whole() -> None:
    est = rl.estimate("deepseek-v3", "h200", tp=8, check=False)  # two additions a layer and one of the experts' shares
    rows = {row[0]: row for row in report.breakdown(est.decode, "").rows}
    assert [rows[name][1] for name in ("residual_add", "shared_add")] == ["122", "58"]


def test_a_table_without_headings_has_no_line_for_them() -> None:
    table = report.Table("title", ["", ">"], [["a", "1"]])
    assert printed(table, 80).splitlines() == ["title", "\u2500" * 4, "a  1"]


def test_a_rule_is_dashes_where_nothing_better_can_be_written() -> None:
    raw = io.BytesIO()
    console = Console(file=io.TextIOWrapper(raw, encoding="cp1252", write_through=True), width=80, highlight=False)
    report.show(console, report.Table("title", ["a", ">b"], [["x", "1"]]))
    assert raw.getvalue().decode("cp1252").split() == ["title", "a", "b", "----", "x", "1"]


def test_what_was_taken_is_said_below_the_figures() -> None:
    plain = rl.estimate("llama-3.1-8b", "h100-sxm")
    remark = "Arithmetic in fp8, as the checkpoint has it."
    noted = type("Noted", (type(plain),), {"notes": (remark,)})(plain.model, plain.chip, plain.request)
    assert remark in report.headline(noted).notes
    assert report.as_json(noted)["notes"] == [remark]


@pytest.mark.parametrize(
    ("model", "chip", "options", "under"),
    [
        ("llama-3.1-8b", "h100-sxm", {"prefix": 8}, "batch 1, prompt 1,024, output 256, prefix 8, bf16"),
        ("llama-3.1-8b", "h100-sxm", {"usable_memory": 0.5, "kv_dtype": "fp8"},
         "batch 1, prompt 1,024, output 256, bf16, fp8 KV cache, 50% of the memory usable"),
        ("dlrm-v2", "h100-sxm", {"dtype": "int8", "table_dtype": "fp16", "skew": 1.05, "compiled": True},
         "batch 1,024, int8, fp16 tables, skew 1.05, dense part compiled whole"),
    ],
)  # fmt: skip
def test_the_heading_says_everything_that_was_asked(model: str, chip: str, options: dict[str, Any], under: str) -> None:
    assert report.headline(rl.estimate(model, chip, **options)).title.split("\n")[1] == under
