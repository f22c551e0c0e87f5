"""How the pages are built: ``sphinx-build -W docs docs/_build/html``; every page's code runs then."""

from __future__ import annotations

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

import roofline  # noqa: E402

project = "roofline"
author = "The roofline authors"
version = release = roofline.__version__
language = "en"

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinxcontrib.programoutput",
    "blocks_that_run",
    "reference_pages",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# Pages with code: executed once in a build, kept for the next; an error in one is an error of the build. --
nb_execution_mode = "cache"
nb_execution_show_tb = True  # a cell that fails is a warning, which the build makes an error of
nb_execution_timeout = 240
nb_execution_in_temp = True  # pages may write files
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# What commands print is as wide as a page, and plain; `roofline` is the one beside this Python.
os.environ.update(COLUMNS="100", NO_COLOR="1", OPENBLAS_NUM_THREADS="1")
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
programoutput_prompt_template = "$ {command}\n{output}"

# The reference, from the docstrings. ----------------------------------------------------------------------------------
autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's tables say what parameters are
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
#: The faults that numpydoc looks for: all, but for sections that a docstring need not have.
numpydoc_validation_checks = {
    "all",
    "ES01",  # an extended summary
    "SA01",  # see also
    "EX01",  # examples: the test suite asks for them of public names
    "PR03",  # the signature's order: sizes that belong together are told together
    "GL08",  # a docstring: names say what a property is
    "SS05",  # takes words that end in s for verbs
    "SS06",  # summaries of one line
    "RT02", "RT04", "RT05", "PR08",  # form of what is returned
}  # fmt: skip
#: Public names and their methods only: of what is further in, the names say what it is.
numpydoc_validation_exclude = {r"\.__", r"^roofline\.[a-z_]+\.", r"^roofline\.Traffic\."}

html_theme = "pydata_sphinx_theme"
html_title = "roofline"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_sidebars = {"start": [], "compare": []}
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "header_links_before_dropdown": 8,
    "navigation_with_keys": False,
    "show_prev_next": True,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": ["theme-version"],
}
copyright = "the roofline authors, Apache-2.0"
