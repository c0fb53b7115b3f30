"""How Sphinx builds the documentation: pages are Markdown, the API comes from the docstrings."""

import os
import tempfile

# The pages document fleche itself, not the configuration of whoever builds them.
os.environ["XDG_CONFIG_HOME"] = tempfile.gettempdir()

project = "fleche"
author = "the fleche developers"
project_copyright = "the fleche developers"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
# Files of the repository that pages point to, such as the changelog, are not pages; and `Digest`
# is a name in two modules.
suppress_warnings = ["myst.xref_missing", "ref.python"]

html_theme = "furo"
html_title = "fleche"

# `name` in a docstring is a link where there is such a name, and code everywhere else.
default_role = "py:obj"
autoclass_content = "class"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_numpy_docstring = False
