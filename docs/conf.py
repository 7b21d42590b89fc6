"""Sphinx makes a site of the pages and docstrings: `make site`.

The repository's root is the root of the sources, so that links between pages are the same everywhere.
"""

from __future__ import annotations

import qpsbgd

project = "qpsbgd"
author = "the qpsbgd developers"
version = release = qpsbgd.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "sphinx.ext.napoleon"]
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CODE_OF_CONDUCT.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "docs/*.md",
    "docs/reference/*.md",
]
root_doc = "docs/contents"

myst_heading_anchors = 4
default_role = "autolink"  # docstrings name things in single backquotes
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
autodoc_typehints = "none"  # docstrings state types, and shapes
autodoc_member_order = "bysource"
autosummary_generate = False

html_theme = "furo"
html_title = "qpsbgd"
html_extra_path = ["site"]
