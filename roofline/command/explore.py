"""The command that shows the page in the browser: `explore`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from roofline.command.options import WORKLOAD, Model, Set, Stack, asking, changes_of, complete_chip


def register(app: typer.Typer) -> None:
    """Add the command of this file to the application."""
    app.command()(explore)


@asking(WORKLOAD)
def explore(
    options: dict[str, Any],
    model: Model = "llama-3.1-70b",
    chip: Annotated[
        list[str] | None,
        typer.Option("--chip", "-c", autocompletion=complete_chip, help="A chip; repeat for up to four. [h100-sxm]"),
    ] = None,
    changes: Set = None,
    stack: Stack = None,
    address: Annotated[
        str, typer.Option(help="Where to listen. Other than this machine's own, the page has a token in its link.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 5006,
    origin: Annotated[
        list[str] | None, typer.Option(metavar="HOST:PORT", help="A host that pages may come from: that of a proxy.")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in the browser.")] = True,
) -> None:
    """A page in the browser: sliders on the chips' figures, and what moves with them.

    Example: `roofline explore llama-3.1-70b --chip h100-sxm --chip mi300x --tp 8 --batch 64`
    """
    from dataclasses import replace

    from roofline.explorer import answering
    from roofline.explorer.explore import asked, serve
    from roofline.explorer.stock import Stock

    stock = Stock()
    state = asked(stock, model, chip or ["h100-sxm"], stack, options)
    for place, pick in enumerate(state.picks if changes else ()):
        state = state.with_pick(place, replace(pick, changes=tuple(changes_of(changes or []).items())))
    for pick in state.picks:  # what cannot be had is told here, not in the browser
        answering.chip_of(pick, stock)
    serve(
        state,
        stock,
        address=address,
        port=port,
        open_browser=browser,
        origins=origin or (),
        told=lambda link: typer.echo(f"The page is at {link}  (Ctrl-C ends it)", err=True),
    )
