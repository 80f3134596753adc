"""Everything under figures/<profile>: LaTeX tables, figures and the document that holds them."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from repro import paths
from repro.config.recipe import Recipe
from repro.config.tables import TABLES
from repro.errors import ReproError
from repro.files import write_atomic
from repro.report import diagrams, figures, study_figures
from repro.report.latex import escape, latex
from repro.report.text import recipe_of

_CAPTIONS = {
    "figure1": "Shuffled parameter sharing: the stored matrices that each effective layer uses as "
    "Query, Key and the rest. Framed: Query and Key swapped.",
    "figure2": "The framework: the SPS student is pretrained to predict the PTP labels, then "
    "distilled. Arrows between the networks: matched layers.",
    "table1": r"Table~\ref{tab:table1} as a figure: PTP labels within each gold class of the "
    "training data.",
    "decisions": r"Table~\ref{tab:decisions} as a figure: mean over tasks. Dashed: the unchanged "
    "recipe. Squares: the change is significant after Holm's adjustment.",
    "ledger": r"Table~\ref{tab:ledger} as a figure: the claims about differences, ours with "
    r"95\,\% intervals.",
    "ptp_labels": "PTP labels within each gold class by threshold rule (decision D1), one bar per "
    "teacher seed.",
    "ptp_difficulty": "Dev accuracy of the three-layer SPS student by the PTP label from its "
    r"teacher, before and after PTP, and paired differences with 95\,\% intervals.",
    "thresholds": "PTP labels by confidence threshold. Dotted: the thresholds in use, if they "
    "are the same in all runs.",
}
_SCORES = (
    r"Table~\ref{{tab:{name}}} as a figure: mean and 95\,\% interval over {covered}, "
    "beside the paper's scores."
)
_DRAWN: dict[str, Callable[[pd.DataFrame], Any]] = {
    "decisions": study_figures.decisions,
    "ledger": study_figures.claims,
    "ptp_labels": study_figures.ptp_labels,
    "ptp_difficulty": study_figures.ptp_difficulty,
}
# in an order in which high and low figures share a page
_STUDIES = ("thresholds", "decisions", "ptp_labels", "ledger", "ptp_difficulty")
_ONLY_DRAWN = ("thresholds", "ptp_labels", "ptp_difficulty")  # too many rows for a printed table
_FLUSH = r"\makeatletter\ifx\@deferlist\@empty\else\clearpage\fi\makeatother"  # pending floats
_PREAMBLE = (
    r"\documentclass[a4paper,10pt]{article}",
    r"\usepackage[margin=2cm]{geometry}",
    r"\usepackage{array,booktabs,caption,graphicx}",
    r"\captionsetup{font=small}",
    r"\renewcommand{\topfraction}{0.95}",
    r"\renewcommand{\textfraction}{0.03}",
    r"\renewcommand{\floatpagefraction}{0.8}",
    r"\setcounter{topnumber}{9}\setcounter{totalnumber}{9}",
    r"\setlength{\parindent}{0pt}\setlength{\parskip}{3pt}",
    r"\begin{document}",
)


def folder_of(profile_name: str, variant: str = "") -> Path:
    """figures/<profile>, or figures/<profile>/<variant> for a run with changed settings."""
    return paths.figures(profile_name) / variant


def write_tables(
    profile_name: str, frames: dict[str, pd.DataFrame], variant: str = ""
) -> list[Path]:
    """Write a LaTeX file per table, and paper.tex, which includes all of them.

    Args:
        profile_name: Name of the profile.
        frames: Tables by name, as `tables.read_all` returns them.
        variant: Of the tables.

    Returns:
        The paths of the files.
    """
    texts = {
        f"{name}.tex": latex(name, frame)
        for name, frame in frames.items()
        if name not in _ONLY_DRAWN
    }
    texts["paper.tex"] = document(profile_name, frames, variant)
    folder = _without_pdf(profile_name, variant)
    for name, text in texts.items():
        write_atomic(folder / name, partial(Path.write_text, data=text, encoding="utf-8"))
    return [folder / name for name in texts]


def _without_pdf(profile_name: str, variant: str) -> Path:
    """The folder of a document, without a paper.pdf of older tables and figures."""
    folder = folder_of(profile_name, variant)
    (folder / "paper.pdf").unlink(missing_ok=True)
    return folder


def document(profile_name: str, frames: dict[str, pd.DataFrame], variant: str = "") -> str:
    """Return paper.tex: the diagrams, each table with its figure, and the artifact appendix.

    Args:
        profile_name: Name of the profile.
        frames: Tables by name, as `tables.read_all` returns them.
        variant: Of the tables of another recipe than the default; see `tables.table_path`.
    """
    parts = [_figure(name, _CAPTIONS[name]) for name in ("figure1", "figure2")]
    order = [name for table in TABLES.values() for name in (table.name, table.comparisons)]
    for name in sorted(frames, key=[*order, *_STUDIES].index):
        if name not in _ONLY_DRAWN:
            parts.append(rf"\input{{{name}}}")
        if not name.startswith("comparisons"):
            parts.append(_figure(name, _CAPTIONS.get(name) or _scores_caption(name, frames[name])))
    # the appendix fills the page below the last of them
    parts = [*parts[:-1], _FLUSH, parts[-1], _FLUSH]
    recipe = f" and recipe {variant}" if variant else ""
    title = escape(f"Pea-KD: tables and figures, regenerated with profile {profile_name}{recipe}")
    start = [*_PREAMBLE, rf"\section*{{{title}}}"]
    appendix = (Path(__file__).parent / "appendix.tex").read_text(encoding="utf-8")
    return "\n".join([*start, *parts, appendix, r"\end{document}", ""])


def _scores_caption(name: str, frame: pd.DataFrame) -> str:
    several = frame["seeds"].max() > 1
    covered = "seeds and dev examples" if several else "dev examples only (one seed)"
    return _SCORES.format(name=name, covered=covered)


def _figure(name: str, caption: str) -> str:
    lines = (
        r"\begin{figure}[!htbp]",
        r"\centering",
        rf"\includegraphics[width=\linewidth]{{{name}.pdf}}",
        rf"\caption{{{caption}}}",
        r"\end{figure}",
    )
    return "\n".join(lines)


def write_figures(
    profile_name: str, frames: dict[str, pd.DataFrame], variant: str = ""
) -> list[Path]:
    """Save the diagrams of the method and one figure per table, as PDF and PNG.

    Args:
        profile_name: Name of the profile.
        frames: Tables by name, as `tables.read_all` returns them.
        variant: Of the tables.

    Returns:
        The paths of the files.
    """
    folder = _without_pdf(profile_name, variant)
    recipes = (recipe_of(frame) for name, frame in frames.items() if name in TABLES)
    recipe = next(recipes, Recipe())
    figure2 = diagrams.figure2(3, teacher_depth(frames), recipe.layer_map)
    written = figures.save(diagrams.figure1(recipe.sps6_order), folder, "figure1")
    written += figures.save(figure2, folder, "figure2")
    for name, frame in frames.items():
        if name == "thresholds":
            written += figures.save(figures.thresholds(frame, recipe.ptp_thresholds), folder, name)
        elif not name.startswith("comparisons"):
            written += figures.save(_DRAWN.get(name, figures.of_table)(frame), folder, name)
    return written


def teacher_depth(frames: dict[str, pd.DataFrame]) -> int:
    """Return the teacher's layers as Table 1 or 2 records them; without either 12, the paper's."""
    recorded = (
        int(frames[name]["layers"].iloc[0]) for name in ("table1", "table2") if name in frames
    )
    return next(recorded, 12)


def write_pdf(profile_name: str, variant: str = "") -> str:
    """Compile the profile's paper.tex to paper.pdf with latexmk.

    Args:
        profile_name: Name of the profile.
        variant: Of the tables.

    Returns:
        One line: where the PDF is, or which packages are needed to make it.

    Raises:
        ReproError: If LaTeX fails, with its first error.
    """
    source = _without_pdf(profile_name, variant) / "paper.tex"
    if not (shutil.which("latexmk") and shutil.which("pdflatex")):
        return (
            "paper.pdf was not made: it needs latexmk and pdflatex "
            "(Debian: apt-get install latexmk texlive-latex-recommended)"
        )
    # fixed dates, so that the same sources give the same PDF
    environment = os.environ | {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}
    options = ("-pdf", "-interaction=nonstopmode", "-halt-on-error", "-quiet")
    with tempfile.TemporaryDirectory() as build:
        process = subprocess.run(
            ["latexmk", *options, f"-outdir={build}", source.name],
            cwd=source.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if process.returncode:
            error = _first_error(Path(build) / "paper.log") or process.stderr
            message = " ".join(error.split())
            raise ReproError(f"latexmk could not make paper.pdf from {source}: {message}")
        pdf = Path(build) / "paper.pdf"
        write_atomic(source.with_suffix(".pdf"), lambda path: shutil.copyfile(pdf, path))
    return f"wrote {source.with_suffix('.pdf')}"


def _first_error(log: Path) -> str:
    """LaTeX's first error with the lines it refers to; "" if there is none."""
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    start = next((k for k, line in enumerate(lines) if line.startswith("!")), len(lines))
    return " ".join(lines[start : start + 4])
