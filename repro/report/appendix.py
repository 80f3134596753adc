"""The artifact appendix of paper.pdf: its texts are README.md's, its results the tables'."""

import re
from pathlib import Path

import pandas as pd

from repro import paths
from repro.report import sentences
from repro.report.latex import escape

# Sections of README.md, each with its heading in the appendix
_SECTIONS = {
    "Two commands": "Requirements, running it, and times",
    "Layout": "What the artifact contains",
}
_RESULTS_OF = ("comparisons2", "comparisons4", "comparisons5")
_MARKUP = re.compile(r"\[(?P<link>[^\]]+)\]\([^)]+\)|`(?P<code>[^`]+)`|\*\*(?P<bold>[^*]+)\*\*")


def appendix(profile: str, frames: dict[str, pd.DataFrame], readme: Path | None = None) -> str:
    """Return the appendix in LaTeX.

    Args:
        profile: Name of the profile.
        frames: Tables by name, as `tables.read_all` returns them.
        readme: The README; by default that of this checkout. An installed package has none, and
            its appendix has the expected results only.
    """
    readme = paths.ROOT / "README.md" if readme is None else readme
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    parts = [r"\section*{Artifact appendix}", r"\small"]
    for heading, title in _SECTIONS.items():
        if body := section(text, heading):
            parts += [rf"\subsection*{{{title}}}", markdown(body)]
    found = [sentences.differences(frames[name]) for name in _RESULTS_OF if name in frames]
    results = list(dict.fromkeys(sentence for each in found for sentence in each))
    if results:
        intro = rf"With profile {escape(profile)}, mean over tasks, as in the tables above:"
        items = [rf"\item[--] {inline(sentence)}" for sentence in results]
        listed = [r"\begin{itemize}\itemsep0pt", *items, r"\end{itemize}"]
        parts += [r"\subsection*{Expected results}", intro, *listed]
    return "\n".join(parts)


def section(text: str, heading: str) -> str:
    """Return the body of a second-level section of a Markdown text; "" if there is none.

    Generated parts, between HTML comments, are left out together with the sentence before them.
    """
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    body = found[1] if found else ""
    return re.sub(r"[^.\n]*:\n\n<!-- .*? -->.*?<!-- end -->", "", body, flags=re.S).strip()


def markdown(text: str) -> str:
    """Convert Markdown to LaTeX: paragraphs, code blocks, tables, and the marks of `inline`."""
    blocks = re.split(r"\n\n+(?=[^\n])", text)
    return "\n\n".join(map(_block, blocks))


def _block(block: str) -> str:
    lines = block.strip().splitlines()
    if lines[0].startswith("```"):
        return "\n".join([r"\begin{verbatim}", *lines[1:-1], r"\end{verbatim}"])
    if not lines[0].startswith("|"):
        return inline(" ".join(lines))
    head, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    columns = "".join(["l"] * (len(head) - 1) + [r"p{0.55\linewidth}"])
    body = [" & ".join(map(inline, row)) + r" \\" for row in rows]
    top = " & ".join(map(inline, head)) + r" \\"
    return "\n".join(
        [
            rf"\begin{{center}}\footnotesize\begin{{tabular}}{{{columns}}}",
            rf"\toprule {top} \midrule",
            *body,
            r"\bottomrule\end{tabular}\end{center}",
        ]
    )


def inline(text: str) -> str:
    """Convert `code`, **bold** and [links](...), of which the text stays, and escape the rest."""
    parts, end = [], 0
    for mark in _MARKUP.finditer(text):
        parts.append(escape(text[end : mark.start()]))
        if mark["code"]:
            parts.append(rf"\texttt{{{escape(mark['code'])}}}")
        else:
            parts.append(
                rf"\textbf{{{escape(mark['bold'])}}}" if mark["bold"] else inline(mark["link"])
            )
        end = mark.end()
    return "".join([*parts, escape(text[end:])])
