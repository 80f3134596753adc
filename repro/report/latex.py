"""Tables in LaTeX (booktabs): our scores with their spread, the paper's, and the differences."""

import re
from typing import Any

import pandas as pd

from repro.analysis import decisions
from repro.analysis.inference import FAMILIES, VERDICT_SEEDS
from repro.config.profiles import profile
from repro.config.tables import table
from repro.data.ptp_labels import LABELS
from repro.report.text import (
    claims_view,
    heading,
    marked,
    mixed_note,
    notes,
    pair_view,
    parameter_counts,
    task_names,
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
} | {character: "\\" + character for character in "&%$#_{}"}
# "+1.2 [-0.3, +2.7]* (+3.1)": estimate, interval, mark and the paper's difference
_ESTIMATE = re.compile(r"(\S+) (\[.*?\])(.*)")
_COMPARISONS = (
    "Differences in points over the same examples and seeds (seeds: {seeds}), with 95 % intervals "
    "over {covered} and the paper's difference in parentheses. {marks} "
    "[ours]: not compared in the paper. Data: {data}."
)
_MARKS = (
    f"*: better or worse, p < 0.05 after Holm's adjustment over {FAMILIES['comparisons']}. "
    "?: the interval excludes 0, inconclusive after adjustment."
)
_CLAIMS = (
    "Numeric and comparative claims of the paper: as printed; recomputed from the entries of its "
    "own tables (!: differs from the printed value); ours with profile {profile}; the verdicts on "
    f"direction (p values adjusted over {FAMILIES['ledger']}) and on size. "
    "The rules are in docs/statistics.md."
)
_DECISIONS = (
    "PeaBERT3 minus BERT3-PatientKD in points with 95 % intervals, one decision changed "
    "at a time; seeds: {seeds}. Last column: the change of the average; *: p < 0.05 after Holm's "
    f"adjustment over {FAMILIES['decisions']}. "
    "–: the change cannot act on these two students. Data: {data}."
)


def escape(text: str) -> str:
    """Escape text for LaTeX, including characters that pdflatex cannot print."""
    return "".join(_SPECIAL.get(character, character) for character in text)


def latex(name: str, frame: pd.DataFrame) -> str:
    """Return a LaTeX table environment for any table of the report.

    Args:
        name: "table1" to "table5", "comparisons2" to "comparisons5", "decisions" or "ledger".
        frame: The table, as `tables.read_table` returns it.
    """
    source = {key: frame[key].iloc[0] for key in ("seeds", "data", "profile") if key in frame}
    if name == "ledger":
        return _ledger(claims_view(frame), _CLAIMS.format(**source))
    if name == "decisions":
        return _plain(decisions.view(frame), name, _DECISIONS.format(**source))
    if name.startswith("comparisons"):
        few = source["seeds"] < VERDICT_SEEDS
        title = _COMPARISONS.format(
            covered="seeds and examples" if source["seeds"] > 1 else "examples only",
            marks=f"No verdicts: fewer than {VERDICT_SEEDS} seeds." if few else _MARKS,
            **source,
        )
        return _plain(pair_view(frame), name, " ".join([title, *mixed_note(frame)]))
    return _label_table(frame) if name == "table1" else _score_table(frame)


def caption(frame: pd.DataFrame) -> str:
    """Return the caption of Tables 1 to 5: the subject, then the notes of the text view."""
    beside = "beside them the paper's scores" + (
        ", on GLUE" if _miniature(frame) else " and the differences"
    )
    sentences = notes(frame, paper_scores=beside)
    return escape(" ".join([f"{table(frame['table'].iloc[0]).caption}.", *sentences]))


def _miniature(frame: pd.DataFrame) -> bool:
    """Whether our scores are of miniature tasks, whose difference to the paper's means nothing."""
    return bool(profile(frame["profile"].iloc[0]).task_prefix)


def _score_table(frame: pd.DataFrame) -> str:
    """Tables 2 to 5: methods by (task, ours | paper | difference), after the parameters."""
    methods = list(dict.fromkeys(frame["method"]))
    names = task_names(frame)
    wide = pd.DataFrame(
        {("", "Params"): parameter_counts(frame)},
        index=[escape(marked(method)) for method in methods],
    )
    for name in names:
        part = frame[frame["task"] == name].set_index("method").loc[methods].reset_index()
        top = escape(heading(part))
        wide[top, "ours"] = list(map(_with_spread, part["mean"], part["sd"]))
        wide[top, "paper"] = ["" if pd.isna(score) else f"{score:.1f}" for score in part["paper"]]
        if not _miniature(frame):
            wide[top, r"$\Delta$"] = [
                "" if pd.isna(delta) else f"${delta:+z.1f}$" for delta in part["delta"]
            ]
    width = 2 if _miniature(frame) else 3
    columns = "lr" + (r"@{\hspace{9pt}}" + "r" * width) * len(names)
    text = _environment(
        wide.style.format(escape=None),
        frame["table"].iloc[0],
        caption(frame),
        columns,
        multicol_align="c",
    )
    # a short rule under each task's heading
    ends = [(3 + width * k, 2 + width * (k + 1)) for k in range(len(names))]
    rules = " ".join(rf"\cmidrule(lr){{{first}-{last}}}" for first, last in ends)
    return re.sub(r"(\\toprule\n.*\\\\\n)", lambda match: f"{match[1]}{rules}\n", text, count=1)


def _with_spread(mean: float, sd: float) -> str:
    """The mean, and its standard deviation as a subscript: it takes less room."""
    spread = "" if pd.isna(sd) else rf"$_{{\pm{sd:.1f}}}$"
    return "" if pd.isna(mean) else f"{mean:.1f}{spread}"


def _label_table(frame: pd.DataFrame) -> str:
    """Table 1: (task, gold class) by (PTP label, share | count)."""
    index = pd.MultiIndex.from_frame(
        frame[["task", "gold"]].drop_duplicates().map(escape), names=[None, None]
    )
    values: dict[tuple[str, str], list[str]] = {}
    for label in LABELS:
        part = frame[frame["method"] == label]
        values[label, r"\%"] = list(map(_with_spread, part["mean"], part["sd"]))
        values[label, "count"] = [f"{count:,.0f}" for count in part["count"]]
    text = _environment(
        pd.DataFrame(values, index=index).style.format(escape=None),
        "table1",
        caption(frame),
        "ll" + (r"@{\hspace{14pt}}" + "r" * 2) * len(LABELS),
        multicol_align="c",
        multirow_align="naive",
        clines="skip-last;data",
    )
    # space between tasks instead of pandas' lines, which do not match booktabs
    return re.sub(r"\\cline\{.*?\} *\n", r"\\addlinespace[2pt]\n", text)


def _plain(wide: pd.DataFrame, name: str, title: str) -> str:
    """A frame of differences, such as `text.pair_view` returns."""
    escaped = wide.fillna("").map(_in_two_lines).rename(index=escape, columns=escape)
    escaped = escaped.rename_axis(index=None, columns=None)
    return _environment(escaped.style, name, escape(title), "l" + "r" * wide.shape[1])


def _in_two_lines(value: str) -> str:
    """An estimate with its interval below it: six of them side by side fit at a readable size."""
    parts = _ESTIMATE.fullmatch(value)
    if not parts:
        return escape(value)
    estimate, interval, rest = map(escape, parts.groups())
    start, end = r"\begin{tabular}[t]{@{}r@{}}", r"\end{tabular}"
    return rf"{start}{estimate}{rest}\\[-1pt]\scriptsize {interval}{end}"


def _ledger(wide: pd.DataFrame, title: str) -> str:
    """The claims, which fill a page: smaller type, and wrapped texts."""
    escaped = wide.map(escape).rename(index=escape, columns=escape).rename_axis(index=None)
    wrapped = r">{\raggedright\arraybackslash}p{WIDTHcm}"
    widths = [6.3, 1.75, 0.0, 0.0, 0.0, 2.2, 1.9]  # cm; 0: as wide as the numbers
    columns = "".join(wrapped.replace("WIDTH", str(width)) if width else "r" for width in widths)
    text = _environment(escaped.style, "ledger", escape(title), columns)
    return text.replace(r"\footnotesize", r"\fontsize{7.5}{8.5}\selectfont", 1)


def _environment(styler: Any, name: str, title: str, columns: str, **options: Any) -> str:
    """The table environment: small type, narrow columns, never wider than the text."""
    text = styler.to_latex(
        hrules=True,
        column_format=columns,
        caption=title,
        label=f"tab:{name}",
        position="!htbp",
        position_float="centering",
        **options,
    )
    start = r"\begin{tabular}"
    small = "\\footnotesize\n\\setlength{\\tabcolsep}{2.4pt}"
    fit = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
    before, end, after = text.rpartition(r"\end{tabular}")  # the last: cells may hold others
    return before.replace(start, f"{small}\n{fit}\n{start}", 1) + end + "}" + after
