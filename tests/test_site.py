"""The pages of the site, and the site itself (marker docs, which needs Sphinx)."""

import ast
import importlib.util
import re
from html.parser import HTMLParser

import pytest

from repro.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [path for path in DOCS.rglob("*.md") if "_build" not in path.parts]
OTHERS = {
    "../README.md",
    "../REPRODUCIBILITY.md",
    "../CONTRIBUTING.md",
    "../notebooks/explore.ipynb",
}


def test_every_page_is_in_the_contents():
    """The sidebar is made from the links of the index; see docs/conf.py."""
    sections = (DOCS / "index.md").read_text().partition("\n## ")[2]
    listed = re.findall(r"\]\(([^)#:]+)\)", sections)
    assert len(listed) == len(set(listed))
    assert set(listed) == {str(path.relative_to(DOCS)) for path in PAGES} - {"index.md"} | OTHERS


def test_every_method_has_a_page_of_the_same_order():
    methods = {path.stem for path in (ROOT / "repro" / "methods").glob("[a-z]*.py")}
    shown = {path.stem.replace("-", "_") for path in (DOCS / "methods").glob("*.md")}
    assert methods - {"finetune", "minilm_v2"} | {"sps", "pea_kd"} == shown
    for path in (DOCS / "methods").glob("*.md"):
        headings = re.findall(r"^## (.*)$", path.read_text(), re.MULTILINE)
        assert headings[-3:] == ["What is logged", "Details that matter", "Results"], path.name


def test_images_have_alternative_texts():
    for path in (ROOT / "README.md", *PAGES):
        assert [
            text for text in re.findall(r"!\[(.*?)\]\(", path.read_text()) if len(text) < 20
        ] == []


# messages


def templates(source):
    """The texts of a module, with … in place of what is filled in."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def test_the_messages_on_the_troubleshooting_page_are_in_the_code():
    texts = [
        text for path in (ROOT / "repro").rglob("*.py") for text in templates(path.read_text())
    ]
    texts.append((ROOT / "Makefile").read_text())
    page = (DOCS / "troubleshooting.md").read_text()
    messages = re.findall(r"^\| `([^`]+)` \|", page, re.MULTILINE)
    assert len(messages) > 30
    for message in messages:
        pieces = [piece for piece in message.split("…") if piece.strip(" ;,:.")]
        pattern = re.compile(".*".join(map(re.escape, pieces)))
        assert any(pattern.search(text) for text in texts), message


# the site


class Tags(HTMLParser):
    """The attributes of some tags of a page."""

    def __init__(self, page):
        super().__init__()
        self.images, self.addresses = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "img":
            self.images.append(values)
        if tag in ("img", "script", "link"):
            self.addresses.append(values.get("src") or values.get("href") or "")


@pytest.mark.docs
@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")  # of extensions, about Sphinx 11
@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="Sphinx: make docs")
def test_the_site_is_complete_and_needs_no_other_server(tmp_path):
    """Sphinx treats warnings, such as a broken link or an unknown name, as errors."""
    from sphinx.cmd.build import main

    site = tmp_path / "html"  # myst-nb writes beside this folder
    words = ["--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", str(DOCS)]
    assert main([*words, str(ROOT), str(site)]) == 0
    for path in PAGES:
        page = (site / path.relative_to(ROOT).with_suffix(".html")).read_text()
        tags = Tags(page)
        assert [image for image in tags.images if not image.get("alt")] == []
        assert [address for address in tags.addresses if "//" in address] == []
        unknown = re.findall(r"<m[io]>\\\w+", page)
        assert unknown == [], "LaTeX that latex2mathml does not know"
    assert "<math" in (site / "docs" / "methods" / "kd.html").read_text()
    assert "repro.api.distill" in (site / "docs" / "api.html").read_text()
    assert (site / "notebooks" / "explore.html").is_file()
    assert "docs/index.html" in (site / "index.html").read_text()
