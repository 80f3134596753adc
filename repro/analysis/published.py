"""Published results: verify them, and compare a run with them. `publish` writes them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from repro import paths
from repro.analysis import sidecar, tables, verification
from repro.analysis.inference import LEVEL
from repro.config.cells import Cell
from repro.config.profiles import profile
from repro.config.tasks import task
from repro.errors import MissingError
from repro.files import visible
from repro.runs import results

# Runs that are equal in these make the same predictions, to the last bit.
_ENVIRONMENT = ("processor", "device", "threads", "precision", "versions")


@dataclass
class Agreement:
    """Whether a run agrees with the published one.

    Attributes:
        cells: How many cells both have.
        identical: How many of those have the same predictions, to the last bit.
        same_environment: Whether processor type, device, threads, precision and versions are equal.
        scores: How many scores (means over the run's seeds that are published too) were compared
            with a prediction interval of the published seeds; 0 if these are fewer than two.
        outside: One text for each score outside its interval.
    """

    cells: int
    identical: int
    same_environment: bool
    scores: int = 0
    outside: list[str] = field(default_factory=list)

    def sentence(self) -> str:
        """The answer in one line."""
        if self.identical == self.cells:
            return f"agrees with the published run: the same predictions in all {self.cells} cells"
        differing = f"{self.cells - self.identical} of {self.cells} cells have other predictions"
        if self.same_environment:
            return (
                f"DIFFERS from the published run: {differing}, although processor type, versions "
                "and precision are the same"
            )
        if not self.scores:
            return (
                f"cannot be compared with the published run: {differing}, and two published seeds "
                "are needed for a prediction interval"
            )
        level = f"the {LEVEL:.0%} prediction intervals of the published seeds (all scores jointly)"
        if self.outside:
            return (
                f"DIFFERS from the published run: {len(self.outside)} of {self.scores} scores "
                f"outside {level}: {'; '.join(self.outside)}"
            )
        return f"agrees with the published run: all {self.scores} scores within {level}"


def read_table(name: str, profile_name: str, variant: str = "") -> pd.DataFrame | None:
    """A published table; None if it is not published."""
    with paths.results_in(paths.published_results()):
        if not tables.table_path(name, profile_name, variant).is_file():
            return None
        return tables.read_table(name, profile_name, variant)


def verify(profile_name: str) -> verification.Verdict:
    """Verify the published results as `verification.verify` verifies a run's.

    That other code or other versions made them is a note, not a finding.

    Raises:
        MissingError: Nothing is published for the profile.
        InputError: The profile is unknown.
    """
    folder = paths.published_results() / profile(profile_name).name
    if not folder.is_dir():
        raise MissingError(
            f"no published results for profile {profile_name} in {paths.shown(folder)}; "
            f"publish a run with: make publish PROFILE={profile_name}"
        )
    with paths.results_in(paths.published_results()):
        verdict = verification.verify(profile_name)
    commits = sorted({row["commit"] or "unknown" for row in _rows(folder).values()})
    if commits not in ([], [paths.commit()]):
        verdict.notes.append(
            f"note: made by other code: commit {', '.join(commits)}; this is {paths.commit()}"
        )
    return verdict


def _rows(folder: Path) -> dict[str, dict[str, Any]]:
    """The readable results in results/published/<profile>, by cell id."""
    rows = {path.stem: results.load(path) for path in visible(folder.glob("cells/*.json"))}
    return {cell_id: row for cell_id, row in rows.items() if row}


def compare(cells: list[Cell], name: str, variant: str = "") -> Agreement | None:
    """Compare the finished cells of a table with the published ones.

    Args:
        cells: The plan of the run; with one seed, it is compared with the published seed 0.
        name: The table.
        variant: Of a run with changed settings.

    Returns:
        None if the table is not published, or with other settings.

    Raises:
        MissingError: A cell of the run has no result.
    """
    with paths.results_in(paths.published_results()):
        csv_path = tables.table_path(name, cells[0].profile, variant)
        if not csv_path.is_file():
            return None
        _, ids = sidecar.read(csv_path, name)
        theirs = {
            cell_id: results.load(csv_path.parent / "cells" / f"{cell_id}.json") or {}
            for cell_id in ids
        }
    ours = {cell.id: results.read(cell) for cell in cells}
    both = [cell_id for cell_id in ours if theirs.get(cell_id)]
    if not both:
        return None
    same = sum(
        ours[one].get("logits_sha256", "") == theirs[one].get("logits_sha256") for one in both
    )
    environments = [
        {name: row.get(name) or None for name in _ENVIRONMENT}
        for one in both
        for row in (ours[one], theirs[one])
    ]
    equal = all(one == environments[0] and one["processor"] for one in environments)
    agreement = Agreement(len(both), same, equal)
    if same < len(both) and not equal:
        _compare_scores([ours[one] for one in both], [*filter(None, theirs.values())], agreement)
    return agreement


def _compare_scores(
    ours: list[dict[str, Any]], theirs: list[dict[str, Any]], agreement: Agreement
) -> None:
    """Compare each score with its prediction interval; all hold jointly with probability LEVEL."""
    groups: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for k, rows in enumerate((ours, theirs)):
        for row in rows:
            key = row["cell"]["row"], row["cell"]["task"]
            score = row["metrics"][task(key[1]).metric]
            groups.setdefault(key, ([], []))[k].append(score)
    examples = {
        row["cell"]["task"]: row["data"][
            "train_rows" if row["cell"]["method"]["kind"] == "labels" else "dev_rows"
        ]
        for row in theirs
    }
    compared = {key: pair for key, pair in groups.items() if pair[0] and len(pair[1]) > 1}
    agreement.scores = len(compared)
    for (row_name, task_name), (new, published) in compared.items():
        low, high = prediction_interval(
            published, examples[task_name], len(new), 1 - (1 - LEVEL) / len(compared)
        )
        score = math.fsum(new) / len(new)
        if not low <= score <= high:
            agreement.outside.append(
                f"{row_name} on {task_name} {score:.1f}, expected {low:.1f} to {high:.1f}"
            )


def prediction_interval(
    published: Sequence[float], examples: int, new_seeds: int = 1, level: float = LEVEL
) -> tuple[float, float]:
    """Where the mean score of new runs on the same examples is expected, given published seeds.

    Published and new runs are scored on the same examples, so that only seeds vary:
    mean +- t(S - 1) sd sqrt(1 / S + 1 / k) for S published and k new seeds. The sd counts as at
    least 100 / n, one changed answer.

    Args:
        published: Scores in percent, one per seed.
        examples: Number of examples n.
        new_seeds: Seeds k that the new score averages.
        level: Of the interval, in (0, 1).

    Returns:
        The ends of the interval, within 0 and 100.

    Raises:
        ValueError: If there are fewer than two published seeds, or `new_seeds` is below 1.
    """
    seeds = len(published)
    if seeds < 2 or new_seeds < 1:
        raise ValueError(
            f"a prediction needs two published seeds and one new seed, got {seeds} and {new_seeds}"
        )
    mean = float(np.mean(published))
    sd = max(float(np.std(published, ddof=1)), 100.0 / examples)
    t_quantile = -float(stdtrit(seeds - 1, (1 - level) / 2))
    half_width = t_quantile * sd * math.sqrt(1 / seeds + 1 / new_seeds)
    return max(mean - half_width, 0.0), min(mean + half_width, 100.0)
