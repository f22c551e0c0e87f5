"""The command ``roofline``: the library's functions, their results as tables.

Results go to stdout; progress, warnings and errors to stderr. Exit codes: 0, 1 (does not fit, fails a check), 2 (bad
input). Each file of this room registers its commands here.
"""

from __future__ import annotations

import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from roofline.base.errors import DoesNotFit, RooflineError
from roofline.command.coercion import read_plainly
from roofline.command.output import err_console, leave_pipe, settle_streams

#: The commands, in the order of the help, and the file of this room that each is in.
FILES = {
    "chips": "catalog",
    "models": "catalog",
    "check": "catalog",
    "schema": "catalog",
    "new": "new",
    "estimate": "estimate",
    "explain": "explain",
    "serve": "serve",
    "simulate": "simulate",
    "capacity": "simulate",
    "plot": "plot",
    "sweep": "sweep",
    "pareto": "sweep",
    "sensitivity": "sensitivity",
    "solve": "solve",
    "takeovers": "solve",
    "search": "search",
    "indices": "search",
    "compare": "compare",
    "calibrate": "data",
    "validate": "data",
    "measure": "measure",
    "explore": "explore",
}


class _Commands(TyperGroup):
    """The commands, of which none minds when the reader of its output has gone."""

    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            leave_pipe()
            raise typer.Exit(0) from None
        return result

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        read_plainly(self.get_params(ctx))
        return super().parse_args(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            read_plainly(command.get_params(ctx))
        return command


def _version(asked: bool) -> None:
    if asked:
        from roofline import __version__

        typer.echo(f"roofline {__version__}")
        raise typer.Exit


def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What stands before a command."""


def application(arguments: Sequence[str] = ()) -> typer.Typer:
    """The application with the commands of the file that the first argument names; with all of them where it is none.

    Each file imported, and each command built, takes time that a short command would wait for.
    """
    made = typer.Typer(
        cls=_Commands,
        help=(
            "How fast inference runs on a chip, why, and how sure that is.\n\n"
            "Example: `roofline estimate llama-3.1-70b --chip h100-sxm --tp 8 --batch 64`"
        ),
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
    )
    made.callback()(_common)
    asked = FILES.get(arguments[0]) if arguments else None
    for file in [asked] if asked else dict.fromkeys(FILES.values()):
        importlib.import_module(f"roofline.command.{file}").register(made)
    return made


def __getattr__(name: str) -> Any:
    if name == "app":
        return application()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _warn(message: object, *_: object) -> None:
    err_console().print(f"warning: {message}", markup=False, style="yellow")


def run() -> int:
    """Run the command on ``sys.argv``; errors of ours become one message and an exit code."""
    settle_streams()
    if sys.argv[1:2] != ["measure"]:  # numpy's threads for products take longer to start than any other command needs
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    with warnings.catch_warnings():
        warnings.showwarning = _warn  # type: ignore[assignment]
        try:
            application(sys.argv[1:])(prog_name="roofline")
        except SystemExit as stop:
            return stop.code if isinstance(stop.code, int) else 0
        except DoesNotFit as error:
            err_console().print(str(error), markup=False, style="red")
            return 1
        except (RooflineError, OSError) as error:
            err_console().print(f"error: {error}", markup=False, style="red")
            return 2
        return 0


def main() -> None:
    """The entry point: run the command and leave with its exit code."""
    sys.exit(run())


if __name__ == "__main__":
    main()
