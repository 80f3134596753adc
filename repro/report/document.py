"""The paper's tables in LaTeX, and one document with every table and figure of a profile. No torch here."""

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
from repro.analysis.tables import read_all
from repro.config.recipe import Recipe
from repro.config.tables import TABLES
from repro.errors import ReproError
from repro.files import write_atomic
from repro.report import diagrams, figures, forest, ptp_figures
from repro.report.latex import escape, latex
from repro.report.text import recipe_of

_NO_LATEX = (
    "paper.pdf was not made: it needs latexmk and pdflatex "
    "(Debian: apt-get install latexmk texlive-latex-recommended)"
)
_CAPTIONS = {
    "figure1": "Shuffled parameter sharing, as the network is built: which stored matrices each effective layer uses "
    "as Query, Key and the rest. Framed: Query and Key exchanged.",
    "figure2": "The framework: the SPS student is pretrained to predict the PTP labels, then distilled. Arrows between "
    "the networks: the matched layers.",
    "table1": r"Table~\ref{tab:table1}, drawn: the PTP labels within each gold class of the training data.",
    "decisions": r"Table~\ref{tab:decisions}, drawn: mean over tasks. Dashed: nothing flipped. Blue: the flip "
    r"moves the difference beyond the interval of the same resampled examples.",
    "ledger": r"Table~\ref{tab:ledger}, drawn: the claims about differences, ours with 95\,\% intervals.",
    "ptp_labels": "PTP labels within each gold class by threshold rule (decision D1), one bar per teacher seed.",
    "ptp_difficulty": "Dev accuracy of the three-layer SPS student by the PTP label that the teacher gives, before and "
    "after PTP, and the paired differences with 95\\,\\% intervals.",
    "thresholds": "How the PTP labels depend on the confidence threshold. Dotted: the thresholds in use.",
}
_SCORES = (
    r"Table~\ref{tab:NAME}, drawn: mean and 95\,\% bootstrap interval over seeds and dev examples, beside the "
    "paper's numbers."
)
_DRAWN: dict[str, Callable[[pd.DataFrame], Any]] = {
    "thresholds": figures.thresholds,
    "decisions": forest.decisions,
    "ledger": forest.claims,
    "ptp_labels": ptp_figures.label_shares,
    "ptp_difficulty": ptp_figures.accuracies,
}
_ONLY_DRAWN = (
    "thresholds",
    "ptp_labels",
    "ptp_difficulty",
)  # a picture says what their many rows hold
_PREAMBLE = (
    r"\documentclass[a4paper,10pt]{article}",
    r"\usepackage[margin=2cm]{geometry}",
    r"\usepackage{booktabs,graphicx,caption}",
    r"\captionsetup{font=small}",
    r"\renewcommand{\topfraction}{0.95}",
    r"\renewcommand{\textfraction}{0.03}",
    r"\renewcommand{\floatpagefraction}{0.8}",
    r"\begin{document}",
)


def document(profile_name: str, names: list[str]) -> str:
    """paper.tex: the diagrams of the method, then the tables of these names, each with its figure."""
    parts = [_figure(name, _CAPTIONS[name]) for name in ("figure1", "figure2")]
    for name in names:
        text = _CAPTIONS.get(name, _SCORES.replace("NAME", name))
        parts += [rf"\input{{{name}}}"] * (name not in _ONLY_DRAWN)
        parts += [_figure(name, text)] * (not name.startswith("comparisons"))
    title = escape(f"Pea-KD: tables and figures, regenerated with profile {profile_name}")
    return "\n".join([*_PREAMBLE, rf"\section*{{{title}}}", *parts, r"\end{document}", ""])


def _figure(name: str, text: str) -> str:
    return "\n".join(
        [
            r"\begin{figure}[!htbp]",
            r"\centering",
            rf"\includegraphics[width=\linewidth]{{{name}.pdf}}",
            rf"\caption{{{text}}}",
            r"\end{figure}",
        ]
    )


def write_tables(profile_name: str, frames: dict[str, pd.DataFrame]) -> list[Path]:
    """figures/<profile>/tableN.tex for every table, and paper.tex that holds them all; returns the paths."""
    texts = {
        f"{name}.tex": latex(name, frame)
        for name, frame in frames.items()
        if name not in _ONLY_DRAWN
    }
    texts["paper.tex"] = document(profile_name, list(frames))
    folder = paths.figures(profile_name)
    for name, text in texts.items():
        write_atomic(folder / name, partial(Path.write_text, data=text, encoding="utf-8"))
    return [folder / name for name in texts]


def write_figures(profile_name: str, frames: dict[str, pd.DataFrame]) -> list[Path]:
    """figures/<profile>/*.pdf and *.png: the diagrams of the method, a picture per table; returns the paths."""
    folder, recipe = paths.figures(profile_name), _recipe(frames)
    made = figures.save(diagrams.figure1(recipe.sps6_order), folder, "figure1")
    made += figures.save(
        diagrams.figure2(3, teacher_depth(frames), recipe.layer_map), folder, "figure2"
    )
    for name, frame in frames.items():
        if not name.startswith("comparisons"):
            made += figures.save(_DRAWN.get(name, figures.of_table)(frame), folder, name)
    return made


def _recipe(frames: dict[str, pd.DataFrame]) -> Recipe:
    """The recipe that the tables were run with; the authors' without any."""
    return next((recipe_of(frame) for name, frame in frames.items() if name in TABLES), Recipe())


def teacher_depth(frames: dict[str, pd.DataFrame]) -> int:
    """The teacher's layers, as recorded in table 1 or by table 2's first row; 12, the paper's, without either."""
    return next(
        (int(frames[name]["layers"].iloc[0]) for name in ("table1", "table2") if name in frames), 12
    )


def write_pdf(profile_name: str) -> str:
    """figures/<profile>/paper.pdf from paper.tex with latexmk. Returns one line: where it is, or what to install.

    Raises ReproError with LaTeX's own message if it fails.
    """
    source = paths.figures(profile_name) / "paper.tex"
    if not (shutil.which("latexmk") and shutil.which("pdflatex")):
        return _NO_LATEX
    with tempfile.TemporaryDirectory() as build:
        command = [
            "latexmk",
            "-pdf",
            "-interaction=nonstopmode",
            "-halt-on-error",
            "-quiet",
            f"-outdir={build}",
            source.name,
        ]
        environment = os.environ | {
            "SOURCE_DATE_EPOCH": "0",
            "FORCE_SOURCE_DATE": "1",
        }  # the same PDF every time
        done = subprocess.run(
            command,
            cwd=source.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise ReproError(
                f"latexmk could not make paper.pdf from {source}: {_first_error(Path(build), done.stderr)}"
            )
        write_atomic(
            source.with_suffix(".pdf"),
            lambda temporary: shutil.copy(Path(build) / "paper.pdf", temporary),
        )
    return f"wrote {source.with_suffix('.pdf')}"


def _first_error(build: Path, said: str) -> str:
    """LaTeX's first error with the lines it points at, on one line; without a log, what latexmk said."""
    log = build / "paper.log"
    lines = log.read_text(errors="replace").splitlines() if log.is_file() else []
    start = next((k for k, line in enumerate(lines) if line.startswith("!")), None)
    return " ".join((said if start is None else " ".join(lines[start : start + 4])).split())


def write(profile_name: str, tables: str = "1,2,3,4,5") -> list[Path]:
    """Everything under figures/<profile> but paper.pdf (`write_pdf`) from results/<profile>/*.csv.

    tables: comma-separated numbers. MissingError names the tables that are not there.
    """
    frames = read_all(profile_name, tables)
    return [*write_tables(profile_name, frames), *write_figures(profile_name, frames)]
