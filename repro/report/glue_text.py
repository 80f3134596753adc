"""What a submission holds, and MRPC's test scores, as text."""

import textwrap
from collections import Counter

import pandas as pd

from repro.analysis import glue_test
from repro.config.profiles import profile

_SHORT = {"f1": "F1", "accuracy": "acc"}


def submission_text(predictions: dict[str, list[str]]) -> str:
    """One line per file of the zip: its label counts, or the constant that fills it."""
    lines = []
    for file in glue_test.FILES:
        content = f"not run: constant {file.constant}"
        if file.task in predictions:
            counts = Counter(predictions[file.task])
            content = ", ".join(f"{label} x {counts[label]:,}" for label in file.labels)
            content += ": the model predicts one label only" * (len(counts) == 1)
        lines.append(f"{file.name:12}{file.rows:8,}  {content}")
    return "\n".join(lines)


def mrpc_text(frame: pd.DataFrame) -> str:
    """The output of `mrpc_table` as text of at most 120 columns, with notes on how to read it."""
    wide = pd.DataFrame(index=pd.Index(frame["method"].drop_duplicates(), name="method"))
    constants = []
    for (split, metric), part in frame.groupby(["split", "metric"], sort=False):
        wide[f"{split} {_SHORT[str(metric)]}"] = [
            f"{row['mean']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"
            for row in part.to_dict("records")
        ]
        constants.append(f"{part['constant'].iloc[0]:.1f}")  # the same for every method
        if part["paper"].notna().all():
            wide["paper"] = [f"{value:.1f}" for value in part["paper"]]
            constants.append("")
    wide.loc["always equivalent"] = constants
    first = frame.iloc[0]
    seeds = f"{first['seeds']} seed" + ("s" if first["seeds"] > 1 else "")
    covered = "examples and seeds" if first["seeds"] > 1 else "examples only"
    chosen_on_dev = "The checkpoint was chosen on dev: the dev score is optimistic."
    notes = [
        f"Percent, {seeds}, 95 % interval over {covered}. Paper: F1 on GLUE's "
        "test server, Table 2.",
        "Test: GLUE's test pairs with the public labels of the corpus; nothing was chosen on them. "
        + (chosen_on_dev if "dev" in first["checkpoint"] else ""),
        'Always equivalent: the score of predicting "equivalent" for every pair. F1 is high even '
        "so; see accuracy.",
        f"Profile {first['profile']}: {first['data']}; encoder {first['backbone']} "
        f"({first['precision']}); recipe {first['recipe']}; {profile(str(first['profile'])).note}.",
    ]
    wrapped = [line for note in notes for line in textwrap.wrap(note, 116, subsequent_indent="  ")]
    title = f"MRPC on dev and on test, profile {first['profile']}"
    return "\n".join([title, "", wide.to_string(), "", *wrapped])
