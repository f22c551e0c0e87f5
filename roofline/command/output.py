"""How the commands print: tables on stdout, messages on stderr, JSON and CSV for programs."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from roofline.show.table import Table
    from roofline.show.words import Estimate


def out_console(width: int = 200) -> Console:
    """Where results go; off a terminal `width` columns wide, so that no table is folded."""
    from rich.console import Console

    class Results(Console):
        """A console that tells when the reader of a pipe has gone, and does not end the program by itself."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Results(soft_wrap=False, width=None if sys.stdout.isatty() else width, highlight=False)


def err_console() -> Console:
    """Where progress, warnings and errors go."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def wrote(path: object) -> None:
    """Say that a file was written."""
    err_console().print(f"wrote {path}", markup=False)


def settle_streams() -> None:
    """Let stdout and stderr take whatever is written to them.

    One that was closed takes everything and keeps nothing; one whose encoding cannot write a character (a pipe on
    Windows) gets a question mark for it.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # also takes its number, so that no file that is opened later gets what is printed
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115
        elif name != "stdin" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def leave_pipe() -> None:
    """The reader of stdout has gone: send what is still to be written nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def plain(value: object) -> Any:
    """What JSON has no form for, as plain Python.

    Raises
    ------
    TypeError
    """
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


def print_json(value: object) -> None:
    """A result as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, default=plain, allow_nan=False))


def print_table(*tables: Table, width: int = 200) -> None:
    """Tables on stdout, an empty line between them."""
    from roofline.show.table import lines, show

    if _is_plain():  # a program or a file reads this: no styles, and no wait for the library that sets them
        encoding = sys.stdout.encoding or "utf-8"
        texts = ("\n".join(line for line, _ in lines(table, width, encoding)) for table in tables)
        print("\n\n".join(texts))
        return
    console = out_console(width)
    for i, table in enumerate(tables):
        if i:
            console.print()
        show(console, table)


def _is_plain() -> bool:
    """Whether stdout is no terminal, and nobody asks for what is written there to look as if it were one."""
    return not sys.stdout.isatty() and not any(os.environ.get(name) for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))


def print_estimate(est: Estimate, ops: bool, as_json: bool, as_csv: bool) -> None:
    """What was asked, the figures and where the time goes; or all of it as JSON, or its operators as CSV."""
    from roofline.show import report

    if as_json:
        return print_json(report.as_json(est))
    if as_csv:
        return print_csv([{"phase": label, **row} for label, phase in report.phases(est) for row in phase.records])
    print_table(report.headline(est), *(report.breakdowns(est) if ops else []))


def print_csv(rows: list[dict[str, object]], stream: TextIO | None = None, columns: Sequence[str] = ()) -> None:
    """Rows as CSV, on stdout unless told otherwise; `columns` come first, and stand there without any row too."""
    header = list(dict.fromkeys([*columns, *(key for row in rows for key in row)]))
    writer = csv.DictWriter(stream or sys.stdout, header, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
