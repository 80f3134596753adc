"""Frames as LaTeX tables: ours with spread, the paper's numbers, the differences. No torch here."""

import re

import pandas as pd

from repro.analysis import decisions
from repro.config.tables import table
from repro.data.ptp_labels import LABELS
from repro.report.text import (
    claims_view,
    heading,
    marked,
    notes,
    pair_view,
    parameter_counts,
    task_names,
    with_spread,
)

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "†": r"$^\dagger$",
    "<": r"$<$",
    ">": r"$>$",
} | {mark: "\\" + mark for mark in "&%$#_{}"}
_PAIRS = (
    "Differences in points, on the same examples and seeds ({} of them), with 95 % bootstrap intervals, and the "
    "paper's difference. *: p < 0.05 by paired permutation, Holm-adjusted over the tasks. Data: {}."
)
_CLAIMS = (
    "The paper's numeric and comparative claims: as printed; recomputed from the entries of its own tables "
    "(!: does not add up); ours with profile {}; and the verdict, by the rule of repro.claims."
)
_DECISIONS = (
    "PeaBERT3 minus BERT3-PatientKD in points with 95 % bootstrap intervals, each decision flipped alone; "
    "seeds: {}. –: the flip changes no training of these two students. Data: {}."
)


def escape(text: str) -> str:
    """Text for LaTeX: its special characters, and those of ours that pdflatex lacks."""
    return "".join(_SPECIAL.get(mark, mark) for mark in text)


def _scores(frame: pd.DataFrame) -> str:
    """Table 1 to 5 as a LaTeX table environment (booktabs): ours with standard deviation, the paper's, the difference.

    frame: as read by results.read_table. Table 1: the share of each PTP label and the number of examples.
    """
    name = frame["table"].iloc[0]
    wide = _label_columns(frame) if name == "table1" else _score_columns(frame)
    styler = wide.style.format(escape=None)
    heads, group = (
        (2, 2) if name == "table1" else (1, 3)
    )  # columns of names; columns under one heading
    columns = (
        "l" * heads
        + "r" * (wide.shape[1] % group)
        + (r"@{\hspace{7pt}}" + "r" * group) * (wide.shape[1] // group)
    )
    text = styler.to_latex(
        hrules=True,
        column_format=columns,
        multicol_align="c",
        multirow_align="naive",
        caption=caption(frame),
        label=f"tab:{name}",
        position="!htbp",
        position_float="centering",
        clines="skip-last;data" if name == "table1" else None,
    )
    return _fitted(_spaced(text) if name == "table1" else _ruled(text, len(task_names(frame))))


def caption(frame: pd.DataFrame) -> str:
    """The paper's subject, then the notes that stand under the table everywhere, escaped."""
    beside = "; beside it the paper's number and the difference"
    said = " ".join(notes(frame)).replace(", the paper's number in parentheses", beside)
    return escape(f"{table(frame['table'].iloc[0]).caption}. {said}")


def _score_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Methods by (task, ours | paper | difference) as LaTeX, after the parameters."""
    methods = list(dict.fromkeys(frame["method"]))
    wide = pd.DataFrame(
        {("", "Params"): parameter_counts(frame)},
        index=[escape(marked(method)) for method in methods],
    )
    for name in task_names(frame):
        part = frame[frame["task"] == name].set_index("method").loc[methods].reset_index()
        top = escape(heading(part))
        wide[top, "ours"] = [
            with_spread(m, s, r"{\tiny$\pm$}")
            for m, s in zip(part["mean"], part["sd"], strict=True)
        ]
        wide[top, "paper"] = [f"{value:.1f}" for value in part["paper"]]
        wide[top, r"$\Delta$"] = [
            "" if pd.isna(value) else f"${value:+z.1f}$" for value in part["delta"]
        ]
    return wide


def _label_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """(task, gold class) by (PTP label, share | count) as LaTeX."""
    index = pd.MultiIndex.from_frame(
        frame[["task", "gold"]].drop_duplicates().map(escape), names=[None, None]
    )
    columns: dict[tuple[str, str], list[str]] = {}
    for label in LABELS:
        part = frame[frame["method"] == label]
        shares = zip(part["mean"], part["sd"], strict=True)
        columns[label, r"\%"] = [with_spread(mean, sd, r"{\tiny$\pm$}") for mean, sd in shares]
        columns[label, "count"] = [f"{count:,.0f}" for count in part["count"]]
    return pd.DataFrame(columns, index=index)


def plain(wide: pd.DataFrame, name: str, title: str) -> str:
    """A frame of text, such as views.pair_view gives, as a LaTeX table environment (booktabs)."""
    shown = (
        wide.map(escape).rename(index=escape, columns=escape).rename_axis(index=None, columns=None)
    )
    text = shown.style.to_latex(
        hrules=True,
        column_format="l" + "r" * wide.shape[1],
        caption=escape(title),
        label=f"tab:{name}",
        position="!htbp",
        position_float="centering",
    )
    return _fitted(text)


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
    text = text.replace(
        start, f"\\scriptsize\n\\setlength{{\\tabcolsep}}{{2.4pt}}\n{fit}\n{start}", 1
    )
    return text.replace(end, end + "}", 1)


def latex(name: str, frame: pd.DataFrame) -> str:
    """The LaTeX of a table, of the comparisons beside it, of the decisions or of the claims."""
    if name == "ledger":
        return plain(claims_view(frame), name, _CLAIMS.format(frame["profile"].iloc[0]))
    if name == "decisions":
        return plain(
            decisions.view(frame),
            name,
            _DECISIONS.format(frame["seeds"].iloc[0], frame["data"].iloc[0]),
        )
    if name.startswith("comparisons"):
        return plain(
            pair_view(frame), name, _PAIRS.format(frame["seeds"].iloc[0], frame["data"].iloc[0])
        )
    return _scores(frame)
