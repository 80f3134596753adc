"""Sensitivity of the headline difference to the decisions D1 to D21, changed one at a time."""

from dataclasses import fields
from typing import Any

import pandas as pd

from repro.analysis.groups import groups
from repro.analysis.inference import Estimate, combine, holm, mean_difference, verdict
from repro.analysis.tables import with_types
from repro.config import cells as experiments
from repro.config.cells import Cell
from repro.config.printed import DIGITS
from repro.config.profiles import profile
from repro.config.recipe import Recipe, parse
from repro.config.tasks import TASKS

TABLE, METHOD, AGAINST = "table2", "PeaBERT3", "BERT3-PatientKD"  # the paper's largest students
NO_CELL = ("seeds", "parameter_count")  # D14 and D17 change how cells are averaged and shown
COLUMNS = tuple(
    "decision option value recipe acts task difference ci_low ci_high change change_low "
    "change_high p p_holm verdict seeds profile data".split()
)
# Short descriptions of each option's values, for figures and tables
# fmt: off
DESCRIPTIONS = {
    "ptp_thresholds": {"two": "PTP: two confidence thresholds", "one": "PTP: one threshold, t1",
                       "median": "PTP: median confidence"},
    "temperature": {"both_squared": "KL: teacher and student at T", "paper": "KL as in equation 5"},
    "kl_reduction": {"mean": "KL averaged over batch and classes",
                     "batchmean": "KL averaged over batch only"},
    "hidden_match": {"normalized_mean": "patience: normalised states",
                     "mean": "patience: mean squared error", "sum": "patience: sum (equation 5)"},
    "layer_map": {"authors": "matched layers: authors'", "uniform": "matched layers: evenly spaced",
                  "last": "matched layers: the last", "none": "matched layers: none"},
    "sps6_order": {"top_appended": "6-layer SPS: top appended",
                   "top_interleaved": "6-layer SPS: top interleaved",
                   "all_appended": "6-layer SPS: all appended"},
    "swap_biases": {"True": "SPS swaps weights and biases", "False": "SPS swaps weights only"},
    "ptp_stop": {"fixed": "PTP ends at a fixed epoch", "patience": "PTP ends without gains"},
    "ptp_selection": {"best_dev": "PTP checkpoint: best on dev",
                      "best_inner": "PTP checkpoint: best held out",
                      "last": "PTP checkpoint: last"},
    "ptp_pooler": {"kept": "pooler kept after PTP", "reset": "pooler reset after PTP"},
    "ptp_class_weights": {"none": "PTP labels unweighted", "balanced": "PTP labels balanced"},
    "ptp2_threshold": {"t1": "PTP-2: t1 for all", "t2_when_wrong": "PTP-2: t2 if wrong"},
    "hyperparameters": {"preset": "learning rate preset", "searched": "learning rate searched"},
    "checkpoint": {"best_dev": "checkpoint: best on dev", "last": "checkpoint: last",
                   "best_inner": "checkpoint: best held out"},
    "shuffle": {"True": "training data shuffled", "False": "training data in fixed order"},
    "one_layer_patient": {"kd": "1-layer Patient KD: plain KD",
                          "match": "1-layer Patient KD: middle layer"},
    "ablation_loss": {"patient_kd": "Tables 4, 5: Patient KD loss", "kd": "Tables 4, 5: KD loss",
                      "finetune": "Tables 4, 5: cross-entropy"},
    "teacher_checkpoint": {"lowest_dev_loss": "teacher: lowest dev loss", "last": "teacher: last",
                           "best_dev": "teacher: best on dev"},
    "optimizer": {"bertadam": "optimizer: BertAdam", "adamw": "optimizer: AdamW"},
}
# fmt: on


def flips(base: str = "authors") -> list[tuple[str, str, str]]:
    """List the base recipe and every recipe that differs from it in one option.

    Returns:
        (decision, option, recipe) of each; the base comes first, as ("", "none", base).
    """
    base_recipe = parse(base)
    flipped = [
        (entry.metadata["decision"], entry.name, f"{base}+{entry.name}={value}")
        for entry in fields(Recipe)
        if entry.name not in NO_CELL
        for value in entry.metadata["options"]
        if value != getattr(base_recipe, entry.name)
    ]
    return [("", "none", base), *flipped]


def plan(
    profile: str = "demo", tasks: str = "", seeds: int = 1, base: str = "authors"
) -> list[Cell]:
    """Plan the cells of both methods under every recipe of `flips`, those of the base first.

    Args:
        profile: Name of the profile.
        tasks: Comma-separated names of tasks; "" for all four.
        seeds: Number of seeds; 0 for as many as decision D14 says.
        base: The recipe whose options are changed.

    Raises:
        InputError: As `config.cells.plan`.
    """
    return [
        cell
        for _, _, recipe in flips(base)
        for cell in experiments.plan(TABLE, profile, tasks, seeds, recipe)
        if cell.row in (METHOD, AGAINST)
    ]


def decision_effects(cells: list[Cell]) -> pd.DataFrame:
    """Compute how each flip changes the difference between the two methods.

    Args:
        cells: The output of `plan`, complete.

    Returns:
        COLUMNS, one row per flip and task and one for the average; differences in points.
        difference: METHOD minus AGAINST. change: that difference minus the base's. Both have 95 %
        intervals over seeds and examples (`inference`).
        acts: "yes" if any key of the two methods' stages, as recorded in the results, differs from
        the base's; otherwise the flip cannot change the two methods.
        p, p_holm: For the average's change; adjusted over all flips that act.
        verdict: Whether PeaBERT3's lead is better or worse than under the base, by the average's
        change (`inference.verdict`).

    Raises:
        MissingError, InputError: As `groups.groups`.
    """
    base = cells[0].recipe.name
    rows, base_stages, base_gains = [], [], []
    for decision, option, recipe in flips(base):
        members = groups([cell for cell in cells if cell.recipe == parse(recipe)])
        tasks = [name for name in TASKS if (METHOD, name) in members]
        stages = [result["stages"] for group in members.values() for result in group.results]
        gains = [
            members[METHOD, name].example_scores - members[AGAINST, name].example_scores
            for name in tasks
        ]
        if option == "none":
            base_stages, base_gains = stages, gains
        differences = [mean_difference(gain) for gain in gains]
        changes = [mean_difference(new - old) for new, old in zip(gains, base_gains, strict=True)]
        flip = {
            "decision": decision,
            "option": option,
            "value": recipe.rpartition("=")[2] if option != "none" else "",
            "recipe": recipe,
            "acts": "yes" if stages != base_stages else "no",
            "profile": cells[0].profile,
            "data": profile(cells[0].profile).data,
        }
        rows += [flip | _numbers(*row) for row in zip(tasks, differences, changes, strict=True)]
        rows.append(flip | _numbers("Avg", combine(differences), combine(changes)))
    frame = pd.DataFrame(rows)
    tested = (frame["acts"] == "yes") & (frame["task"] == "Avg")
    frame["p"] = frame["p"].where(tested)
    frame["p_holm"] = holm(frame["p"].to_numpy())
    frame["verdict"] = [
        verdict(row["change"], row["p"], row["p_holm"], row["seeds"]) if is_tested else ""
        for row, is_tested in zip(frame.to_dict("records"), tested, strict=True)
    ]
    return with_types(frame[list(COLUMNS)]).round(DIGITS)


def _numbers(task: str, difference: Estimate, change: Estimate) -> dict[str, Any]:
    """The columns of one task, or of the average."""
    return {
        "task": task,
        "difference": difference.estimate,
        "ci_low": difference.low,
        "ci_high": difference.high,
        "change": change.estimate,
        "change_low": change.low,
        "change_high": change.high,
        "p": change.p,
        "seeds": difference.seeds,
    }


def moved(frame: pd.DataFrame) -> pd.Series:
    """Mark the rows of averages that a flip changes significantly, by the adjusted p value."""
    return frame["verdict"].isin(["better", "worse"])


def acting(frame: pd.DataFrame) -> pd.Series:
    """Mark the rows of the base and of flips that change a training."""
    return (frame["acts"] == "yes") | (frame["option"] == "none")


def flip_names(frame: pd.DataFrame) -> pd.Series:
    """Name each row for readers, e.g. "D16 training data shuffled"."""
    return pd.Series(
        [
            f"{row['decision']} {DESCRIPTIONS[row['option']][row['value']]}"
            if row["option"] != "none"
            else f"{row['recipe']} (unchanged)"
            for row in frame.to_dict("records")
        ],
        index=frame.index,
    )


def view(frame: pd.DataFrame) -> pd.DataFrame:
    """Arrange the frame of `decision_effects` for reading: one row per recipe.

    Args:
        frame: The output of `decision_effects`.

    Returns:
        One column per task with "difference [95 % interval]" in points, "–" if the flip cannot
        act. The last column is the change of the average, with a star if it is significant.
    """
    named = frame.assign(name=flip_names, acts=acting, moved=moved)
    rows = named.to_dict("records")
    cells: dict[str, dict[str, str]] = {row["name"]: {} for row in rows}
    for row in rows:
        difference = f"{row['difference']:+.1f} [{row['ci_low']:+.1f}, {row['ci_high']:+.1f}]"
        cells[row["name"]][row["task"]] = difference if row["acts"] else "–"
        if row["task"] == "Avg":
            star = "*" if row["moved"] else ""
            change = f"{row['change']:+.1f} [{row['change_low']:+.1f}, {row['change_high']:+.1f}]"
            shown = row["acts"] and row["option"] != "none"
            cells[row["name"]]["change of Avg"] = change + star if shown else "–"
    return pd.DataFrame.from_dict(cells, orient="index").rename_axis(index="recipe", columns="task")
