"""How the commands print: tables on stdout, messages on stderr, JSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from typing import Any

import typer
from rich.console import Console


def out_console(width: int = 200) -> Console:
    """Where results go; off a terminal `width` columns wide, so that no table is folded."""
    return Console(soft_wrap=False, width=None if sys.stdout.isatty() else width, highlight=False)


def err_console() -> Console:
    """Where progress, warnings and errors go."""
    return Console(stderr=True, highlight=False)


def warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """How the command formats Python's warnings on stderr: a line, without where in the code it arose."""
    return f"warning: {message}\n"


def plain(value: Any) -> Any:
    """What JSON has no form for, as plain Python.

    Raises
    ------
    TypeError
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def print_json(value: Any) -> None:
    """A result as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, default=plain, allow_nan=False))


def print_estimate(est: Any, ops: bool, as_json: bool, as_csv: bool) -> None:
    """What was asked, the figures and where the time goes; or all of it as JSON, or its operators as CSV."""
    from roofline.show import report

    if as_json:
        return print_json(report.as_json(est))
    if as_csv:
        return print_csv([{"phase": label, **row} for label, phase in report.phases(est) for row in phase.records])
    console = out_console()
    report.show(console, report.headline(est))
    for table in report.breakdowns(est) if ops else []:
        console.print()
        report.show(console, table)


def print_csv(rows: list[dict[str, Any]], stream: Any = None, columns: Sequence[str] = ()) -> None:
    """Rows as CSV, on stdout unless told otherwise; `columns` come first, and stand there without any row too."""
    header = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    writer = csv.DictWriter(stream or sys.stdout, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
