"""Sphinx configuration of the documentation site: `make docs`."""

from __future__ import annotations

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
# Docstrings mark code by single backticks; where it names something public, this role links it.
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
