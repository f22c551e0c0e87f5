"""What stands in a page as Python or as a command, without being a notebook's cell, runs when the page is read.

Blocks of Python run from top to bottom in one namespace; commands (``$ roofline ...``) run as the command does, each
where its page has written the files that it says to save (``Save this as `name.toml`:``). An error, or an exit code
that is not 0, is a warning, which the build makes an error of.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any
from unittest.mock import patch

from docutils import nodes
from sphinx.util import logging

import roofline
from roofline.command import main as command

LOGGER = logging.getLogger(__name__)

#: The words before the text of a file.
SAVED = re.compile(r"[Ss]ave this as (\S+):$")


class Failed(Exception):
    """A block that did not run, and what it said."""


def run_command(line: str) -> None:
    """Run one command line of ours."""
    said = io.StringIO()
    asked = patch.object(sys, "argv", shlex.split(line))
    with asked, contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = command.run()
    if code:
        raise Failed(f"{line}: ended with {code}\n{said.getvalue()}")


def run_blocks(page: nodes.document) -> None:
    """Run what a page has, in a folder of its own."""
    names: dict[str, Any] = {"__name__": "page", "rl": roofline}
    saved = ""
    for block in page.findall(lambda node: isinstance(node, nodes.paragraph | nodes.literal_block)):
        text = block.astext()
        if isinstance(block, nodes.paragraph):
            found = SAVED.search(text)
            saved = found[1] if found else ""
            continue
        kind = block.get("language", "")
        if saved:
            Path(saved).write_text(text, encoding="utf-8")
        elif kind == "python":
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(text, "page", "exec"), names)  # noqa: S102  the text is our own
        elif kind == "console":
            for line in re.findall(r"^\$ (roofline .*)$", text, re.MULTILINE):
                run_command(line)
        saved = ""


def read(app: Any, page: nodes.document) -> None:
    """Called by Sphinx with each page that it has read."""
    name = app.env.docname
    path = Path(app.env.doc2path(name))
    notebook = path.suffix == ".md" and path.read_text(encoding="utf-8").startswith("---\nfile_format: mystnb")
    if path.suffix != ".md" or notebook or name.startswith("reference/generated"):
        return
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            run_blocks(page)
        except Exception as error:
            LOGGER.warning("a block of %s does not run: %s\n%s", name, error, traceback.format_exc(limit=-3))
        finally:
            os.chdir(before)


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("doctree-read", read)
    return {"parallel_read_safe": True}
