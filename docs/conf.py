"""Sphinx configuration of the documentation site: `make docs`."""

from __future__ import annotations

import re

from sphinx.application import Sphinx

import callback_sdk

project = "callback_sdk"
author = "callback_sdk maintainers"
version = release = callback_sdk.__version__
html_title = f"callback_sdk {release}"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["**/_*"]
# Docstrings mark code by single backticks; this role links public names.
default_role = "py:obj"

html_theme = "furo"
html_copy_source = False
html_show_sphinx = False

myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autoclass_content = "class"
maximum_signature_line_length = 88
python_use_unqualified_type_names = True
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_COLON = "\N{RATIO}"


def setup(app: Sphinx) -> None:
    """Register corrections of the output of autodoc and napoleon."""
    app.connect("autodoc-process-signature", _shorten_defaults)
    # Before napoleon and after it, which has the priority 500.
    app.connect("autodoc-process-docstring", _hide_colon, priority=400)
    app.connect("autodoc-process-docstring", _show_colon, priority=600)


def _shorten_defaults(
    app: Sphinx, what: str, name: str, obj: object, options: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    # attrs writes defaults as internal expressions, which are useless to readers.
    return signature and re.sub(r"attr_dict\['\w+'\]\.default|\bNOTHING\b", "…", signature), returns


def _hide_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    # napoleon interprets text before a colon in the first line of a property's docstring as its type.
    if what in ("attribute", "data", "property") and lines:
        lines[0] = lines[0].replace(":", _COLON)


def _show_colon(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = [line.replace(_COLON, ":") for line in lines]
