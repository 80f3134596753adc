"""The paper's tables in LaTeX, and one document with every table and figure of a profile. No torch here."""

import os
import re
import shutil
import subprocess
import tempfile
from functools import partial
from pathlib import Path

import pandas as pd

from repro import diagrams, figures, paths
from repro.errors import ReproError
from repro.experiments import table
from repro.files import write_atomic
from repro.ptp import LABELS
from repro.recipe import Recipe
from repro.results import read_all
from repro.views import heading, marked, notes, parameter_counts, recipe_of, task_names, with_spread

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$",
            "†": r"$^\dagger$", "<": r"$<$", ">": r"$>$"} | {mark: "\\" + mark for mark in "&%$#_{}"}  # fmt: skip
_NO_LATEX = ("paper.pdf was not made: it needs latexmk and pdflatex "
             "(Debian: apt-get install latexmk texlive-latex-recommended)")  # fmt: skip
_CAPTIONS = {
    "figure1": "Shuffled parameter sharing, as the network is built: which stored matrices each effective layer uses "
               "as Query, Key and the rest. Framed: Query and Key exchanged.",
    "figure2": "The framework: the SPS student is pretrained to predict the PTP labels, then distilled. Arrows between "
               "the networks: the matched layers.",
    "table1": r"Table~\ref{tab:table1}, drawn: the PTP labels within each gold class of the training data.",
    "thresholds": "How the PTP labels depend on the confidence threshold. Dotted: the authors' thresholds.",
}  # fmt: skip
_SCORES = (r"Table~\ref{tab:NAME}, drawn: mean and 95\,\% bootstrap interval over seeds and dev examples, beside the "
           "paper's numbers.")  # fmt: skip
_PREAMBLE = (r"\documentclass[a4paper,10pt]{article}", r"\usepackage[margin=2cm]{geometry}",
             r"\usepackage{booktabs,graphicx,caption}", r"\captionsetup{font=small}",
             r"\renewcommand{\topfraction}{0.95}", r"\renewcommand{\textfraction}{0.03}",
             r"\renewcommand{\floatpagefraction}{0.8}", r"\begin{document}")  # fmt: skip


def escape(text: str) -> str:
    """Text for LaTeX: its special characters, and those of ours that pdflatex lacks."""
    return "".join(_SPECIAL.get(mark, mark) for mark in text)


def latex(frame: pd.DataFrame) -> str:
    """The table as a LaTeX table environment (booktabs): ours with standard deviation, the paper's, the difference.

    frame: as read by results.read_table. Table 1: the share of each PTP label and the number of examples.
    """
    name = frame["table"].iloc[0]
    wide = _label_columns(frame) if name == "table1" else _score_columns(frame)
    styler = wide.style.format(escape=None)
    heads, group = (2, 2) if name == "table1" else (1, 3)  # columns of names; columns under one heading
    columns = (
        "l" * heads + "r" * (wide.shape[1] % group) + (r"@{\hspace{7pt}}" + "r" * group) * (wide.shape[1] // group)
    )
    text = styler.to_latex(hrules=True, column_format=columns, multicol_align="c", multirow_align="naive",
                           caption=caption(frame), label=f"tab:{name}", position="!htbp", position_float="centering",
                           clines="skip-last;data" if name == "table1" else None)  # fmt: skip
    return _fitted(_spaced(text) if name == "table1" else _ruled(text, len(task_names(frame))))


def caption(frame: pd.DataFrame) -> str:
    """The paper's subject, then the notes that stand under the table everywhere, escaped."""
    beside = "; beside it the paper's number and the difference"
    said = " ".join(notes(frame)).replace(", the paper's number in parentheses", beside)
    return escape(f"{table(frame['table'].iloc[0]).caption}. {said}")


def _score_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Methods by (task, ours | paper | difference) as LaTeX, after the parameters."""
    methods = list(dict.fromkeys(frame["method"]))
    wide = pd.DataFrame({("", "Params"): parameter_counts(frame)}, index=[escape(marked(method)) for method in methods])
    for name in task_names(frame):
        part = frame[frame["task"] == name].set_index("method").loc[methods].reset_index()
        top = escape(heading(part))
        wide[top, "ours"] = [with_spread(m, s, r"{\tiny$\pm$}") for m, s in zip(part["mean"], part["sd"], strict=True)]
        wide[top, "paper"] = [f"{value:.1f}" for value in part["paper"]]
        wide[top, r"$\Delta$"] = ["" if pd.isna(value) else f"${value:+z.1f}$" for value in part["delta"]]
    return wide


def _label_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """(task, gold class) by (PTP label, share | count) as LaTeX."""
    index = pd.MultiIndex.from_frame(frame[["task", "gold"]].drop_duplicates().map(escape), names=[None, None])
    columns: dict[tuple[str, str], list[str]] = {}
    for label in LABELS:
        part = frame[frame["method"] == label]
        shares = zip(part["mean"], part["sd"], strict=True)
        columns[label, r"\%"] = [with_spread(mean, sd, r"{\tiny$\pm$}") for mean, sd in shares]
        columns[label, "count"] = [f"{count:,.0f}" for count in part["count"]]
    return pd.DataFrame(columns, index=index)


def _ruled(text: str, tasks: int) -> str:
    """A short rule under each task's heading."""
    rules = " ".join(rf"\cmidrule(lr){{{3 + 3 * k}-{5 + 3 * k}}}" for k in range(tasks))
    head, line, rest = re.split(r"(\\toprule\n.*\\\\\n)", text, maxsplit=1)
    return f"{head}{line}{rules}\n{rest}"


def _spaced(text: str) -> str:
    """A little space between the tasks of Table 1 in place of pandas' lines, which cut into booktabs' rows."""
    return re.sub(r"\\cline\{.*?\} *\n", r"\\addlinespace[2pt]\n", text)


def _fitted(text: str) -> str:
    """Small type, narrow columns, and never wider than the page's text."""
    fit = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    start, end = r"\begin{tabular}", r"\end{tabular}"
    text = text.replace(start, f"\\scriptsize\n\\setlength{{\\tabcolsep}}{{2.4pt}}\n{fit}\n{start}", 1)
    return text.replace(end, end + "}", 1)


def document(profile_name: str, names: list[str]) -> str:
    """paper.tex: the diagrams of the method, then the tables of these names, each with its figure."""
    parts = [_figure(name, _CAPTIONS[name]) for name in ("figure1", "figure2")]
    for name in names:
        tables = [rf"\input{{{name}}}"] if name != "thresholds" else []
        parts += [*tables, _figure(name, _CAPTIONS.get(name, _SCORES.replace("NAME", name)))]
    title = escape(f"Pea-KD: tables and figures, regenerated with profile {profile_name}")
    return "\n".join([*_PREAMBLE, rf"\section*{{{title}}}", *parts, r"\end{document}", ""])


def _figure(name: str, text: str) -> str:
    return "\n".join([r"\begin{figure}[!htbp]", r"\centering", rf"\includegraphics[width=\linewidth]{{{name}.pdf}}",
                      rf"\caption{{{text}}}", r"\end{figure}"])  # fmt: skip


def write_tables(profile_name: str, frames: dict[str, pd.DataFrame]) -> list[Path]:
    """figures/<profile>/tableN.tex for every table, and paper.tex that holds them all; returns the paths."""
    texts = {f"{name}.tex": latex(frame) for name, frame in frames.items() if name != "thresholds"}
    texts["paper.tex"] = document(profile_name, list(frames))
    folder = paths.figures(profile_name)
    for name, text in texts.items():
        write_atomic(folder / name, partial(Path.write_text, data=text, encoding="utf-8"))
    return [folder / name for name in texts]


def write_figures(profile_name: str, frames: dict[str, pd.DataFrame]) -> list[Path]:
    """figures/<profile>/*.pdf and *.png: the diagrams of the method, a picture per table; returns the paths."""
    folder, recipe = paths.figures(profile_name), _recipe(frames)
    made = figures.save(diagrams.figure1(recipe.sps6_order), folder, "figure1")
    made += figures.save(diagrams.figure2(3, teacher_depth(frames), recipe.layer_map), folder, "figure2")
    for name, frame in frames.items():
        draw = figures.thresholds if name == "thresholds" else figures.of_table
        made += figures.save(draw(frame), folder, name)
    return made


def _recipe(frames: dict[str, pd.DataFrame]) -> Recipe:
    """The recipe that the tables were run with; the authors' without any."""
    return next((recipe_of(frame) for name, frame in frames.items() if name != "thresholds"), Recipe())


def teacher_depth(frames: dict[str, pd.DataFrame]) -> int:
    """The teacher's layers, as recorded in table 1 or by table 2's first row; 12, the paper's, without either."""
    return next((int(frames[name]["layers"].iloc[0]) for name in ("table1", "table2") if name in frames), 12)


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
        environment = os.environ | {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1"}  # the same PDF every time
        done = subprocess.run(command, cwd=source.parent, env=environment, capture_output=True, text=True, timeout=300,
                              check=False)  # fmt: skip
        if done.returncode:
            raise ReproError(
                f"latexmk could not make paper.pdf from {source}: {_first_error(Path(build), done.stderr)}"
            )
        write_atomic(source.with_suffix(".pdf"), lambda temporary: shutil.copy(Path(build) / "paper.pdf", temporary))
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
