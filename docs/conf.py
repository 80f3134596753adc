"""The site of `make docs`. Its source is the repository, so that links work in both places.

Pages are written once: the sidebar is made from the links of docs/index.md, and the equations are
MathML, which browsers show without a script.
"""

import re
import sys
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

project = "Pea-KD, reproduced"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
root_doc = "docs/index"
include_patterns = ["docs/**", "notebooks/explore.ipynb", "*.md"]
exclude_patterns = ["docs/_*", "CHANGELOG.md", ".*", "cache", "figures", "lab", "repro", "results"]
exclude_patterns += ["build", "dist", "notebooks/course", "tests", "benchmarks", "deploy"]

html_theme = "furo"
html_title = project
html_additional_pages = {"index": "forward.html"}  # from the site's folder to docs/index.html
templates_path = ["_templates"]
html_copy_source = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": True}

nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
napoleon_use_ivar = True
napoleon_use_rtype = False


def contents(index: str) -> str:
    """Hidden tables of contents, one per section of docs/index.md, with the links in it."""
    parts = []
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        links = re.findall(r"\[(.+?)\]\(([^)#:]+\.(?:md|ipynb))\)", section)
        pages = [f"{title} <{page}>" for title, page in links]
        caption = section.splitlines()[0]
        parts.append("\n".join([f"```{{toctree}}\n:hidden:\n:caption: {caption}", *pages, "```"]))
    return "\n\n".join(parts)


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the tables of contents to the index; Sphinx calls this for each page."""
    if name == root_doc:
        source[0] += "\n" + contents(source[0])


def math(translator, node: nodes.math | nodes.math_block) -> None:
    """Write an equation as MathML."""
    display = "block" if isinstance(node, nodes.math_block) else "inline"
    latex = node.astext().replace(r"\|", "‖")  # which latex2mathml knows in any size
    translator.body.append(convert(latex, display=display))
    raise nodes.SkipNode


def plain_docstring(app: Sphinx, what: str, name: str, value, options, lines: list[str]) -> None:
    """Docstrings are plain text: marks that reStructuredText would interpret are escaped."""
    lines[:] = [re.sub(r"(?<!`)([*|])(?!`)|(?<=\w)_(?=\W|$)", r"\\\g<0>", line) for line in lines]
    lines[:] = [re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", line) for line in lines]


def setup(app: Sphinx) -> None:
    """Connect the functions above."""
    app.connect("source-read", add_contents)
    app.connect("autodoc-process-docstring", plain_docstring, priority=400)  # before Napoleon
    app.add_html_math_renderer("mathml", (math, None), (math, None))
