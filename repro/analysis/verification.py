"""Verify results: compare tables with their cells, and cells with their predictions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

import pandas as pd

from repro import paths
from repro.analysis import (
    claims,
    comparisons,
    decisions,
    glue_test,
    ptp_study,
    sidecar,
    sweeps,
    tables,
)
from repro.analysis.cell_checks import check_cell, damaged
from repro.analysis.groups import make_command
from repro.analysis.sidecar import Run
from repro.config import cells as experiments
from repro.config.cells import Cell
from repro.config.profiles import profile
from repro.config.tables import TABLES
from repro.errors import InputError, MissingError, ReproError, one_of
from repro.files import visible
from repro.paths import shown
from repro.runs import results as files


@dataclass(frozen=True)
class Maker:
    """How one kind of CSV is made.

    Attributes:
        plan: Plans the cells, given the arguments in the sidecar.
        make: Computes the table from the cells.
        key: The columns that identify a row.
        measured: Columns that were measured on a machine and cannot be recomputed from results.
    """

    plan: Callable[[Run], list[Cell]]
    make: Callable[[list[Cell]], pd.DataFrame]
    key: tuple[str, ...]
    measured: tuple[str, ...] = ()


def _plan_table(name: str) -> Callable[[Run], list[Cell]]:
    def plan(run: Run) -> list[Cell]:
        arguments = (run.profile, run.tasks, run.seeds, run.recipe, run.overrides)
        cells = experiments.plan(name, *arguments)
        return sweeps.tuned(cells, run.recipe, run.overrides) if run.tuned else cells

    return plan


def _plan_study(run: Run) -> list[Cell]:
    return ptp_study.plan(run.profile, run.tasks, run.seeds, run.recipe, run.overrides)


def _plan_decisions(run: Run) -> list[Cell]:
    return decisions.plan(run.profile, run.tasks, run.seeds, run.recipe)


def _costs(cells: list[Cell]) -> pd.DataFrame:
    """The costs of each row on each task that are recorded in the result of its first seed."""
    return tables.with_types(pd.DataFrame(map(files.costs, files.of_first_seed(cells))))


MEASURED_COSTS = (
    "trained", "training_flops", "megabytes", "latency_ms", "throughput", "device"
)  # fmt: skip
# To make a new kind of CSV verifiable, add it here and to `tables.DERIVED`.
MAKERS = {
    "table1": Maker(_plan_table("table1"), tables.table1, ("method", "task", "gold")),
    "thresholds": Maker(_plan_table("table1"), tables.threshold_sweep, ("task", "t", "label")),
    "decisions": Maker(_plan_decisions, decisions.decision_effects, ("recipe", "task")),
    "ptp_labels": Maker(_plan_study, ptp_study.shares, ("task", "rule", "seed", "gold", "label")),
    "ptp_difficulty": Maker(_plan_study, ptp_study.difficulty, ("task", "label")),
    "ptp_agreement": Maker(_plan_study, ptp_study.agreement, ("task", "rule", "label")),
    "mrpc_test": Maker(_plan_table("table2"), glue_test.mrpc_table, ("method", "split", "metric")),
}
for _name in TABLES:
    if _name != "table1":
        MAKERS[_name] = Maker(_plan_table(_name), tables.aggregate, ("method", "task"))
    if TABLES[_name].pairs:
        MAKERS[TABLES[_name].comparisons] = Maker(
            _plan_table(_name), comparisons.of, ("method", "against", "task")
        )
    if TABLES[_name].costs:
        MAKERS[TABLES[_name].costs] = Maker(
            _plan_table(_name), _costs, ("method", "task"), MEASURED_COSTS
        )


@dataclass
class Verdict:
    """Outcome of a verification.

    Attributes:
        profile: The profile.
        cells: Number of result files.
        predictions: Number of prediction files.
        tables: Number of tables that were compared with their cells.
        findings: Problems, one line each, starting with the name of the file.
        notes: Information that is not a problem, such as the commit of published results.
    """

    profile: str
    cells: int = 0
    predictions: int = 0
    tables: int = 0
    findings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the findings, the notes, and a summary as the last line."""
        outcome = "all agree" if self.cells or self.tables else "nothing here to verify"
        if self.findings:
            outcome = f"{_count(len(self.findings), 'finding')}, above"
        summary = (
            f"profile {self.profile}: {_count(self.cells, 'cell')}, "
            f"{_count(self.predictions, 'prediction file')}, {_count(self.tables, 'table')}: "
            f"{outcome}"
        )
        return [*self.findings, *self.notes, summary]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def verify(profile_name: str) -> Verdict:
    """Recompute all cell ids, checksums, scores and CSVs in results/<profile>; writes nothing.

    Raises:
        MissingError: If the profile has no results.
        InputError: If the profile is unknown.
    """
    folder = paths.results(profile(profile_name).name)
    results = visible(folder.glob("cells/*.json"))
    predictions = {path.stem for path in visible(folder.glob("predictions/*.parquet"))}
    predictions |= files.packed(folder / "predictions").keys()
    csv_paths = [
        path
        for path in visible(folder.glob("*.csv"))
        if path.name.partition(".")[0] != tables.LEDGER  # made from the cells of several tables
    ]
    if not (csv_paths or results or predictions):
        raise MissingError(
            f"no results for profile {profile_name} in {shown(folder)}; "
            f"run: make tables PROFILE={profile_name}"
        )
    verdict = Verdict(profile_name, len(results), len(predictions))
    cell_findings = {path: check_cell(path) for path in results}
    verdict.findings += [line for lines in cell_findings.values() for line in lines]
    cell_ids = {path.stem for path in results}
    verdict.findings += [
        f"{shown(folder / 'predictions' / name)}.parquet: predictions without a cell, "
        f"{name}.json is missing"
        for name in sorted(predictions - cell_ids)
    ]
    for path in visible(folder.glob(f"{tables.LEDGER}*.csv")):
        verdict.findings += _check_ledger(path)
    for path in csv_paths:
        verdict.findings += check_table(path, damaged(cell_findings))
        verdict.tables += 1
    return verdict


def plan_of(path: Path) -> tuple[list[Cell], list[str]]:
    """Plan the cells of a CSV again, with the arguments in its sidecar.

    Args:
        path: results/<profile>/<name>.csv or <name>.<variant>.csv.

    Returns:
        The planned cells, and one finding if the sidecar lists other cells.

    Raises:
        InputError: If no CSV of this name is made here, or as `sidecar.read`.
        MissingError: If there is no sidecar.
    """
    name = path.name.partition(".")[0]
    if name not in MAKERS or path.suffix != ".csv":
        raise one_of("table", path.name, [f"{known}.csv" for known in MAKERS])
    run, recorded = sidecar.read(path, tables.DERIVED.get(name, name))
    planned = MAKERS[name].plan(run)
    ids = [cell.id for cell in planned]
    if ids == recorded:
        return planned, []
    unlisted = [cell_id for cell_id in ids if cell_id not in recorded]
    unplanned = [cell_id for cell_id in recorded if cell_id not in ids]
    changes = [f"does not list {_some(unlisted)} that its arguments imply"] if unlisted else []
    changes += [f"lists {_some(unplanned)} that its arguments do not imply"] if unplanned else []
    order = "lists its cells in another order"
    return planned, [f"{sidecar.path(path).name} {'; '.join(changes) or order}"]


def check_table(path: Path, damaged_ids: set[str]) -> list[str]:
    """Recompute a CSV from its cells and compare.

    Args:
        path: The CSV.
        damaged_ids: Ids of cells that are damaged; a table that needs one is not recomputed.

    Returns:
        The findings, one line each. Cells that are not here are a finding too.
    """
    name = path.name.partition(".")[0]
    try:
        planned, findings = plan_of(path)
        count, maker = len(planned), MAKERS[name]
        absent = [cell.id for cell in planned if not files.path(cell).is_file()]
        bad = [cell.id for cell in planned if cell.id in damaged_ids]
        if absent:
            which = _some(absent, count)
            which = f"its {count} cells" if len(absent) == count else which
            command = make_command(planned, tables.DERIVED.get(name, name))
            findings.append(f"cannot be verified, {which} are not here; run: {command}")
        elif bad:
            which = _some(bad, count)
            findings.append(f"cannot be recomputed, {which} are damaged")
        else:
            findings += _differences(path, maker.make(planned), maker.key, maker.measured)
    except ReproError as error:
        file, _, reason = str(error).partition(": ")  # the sidecar's errors name the file already
        findings = [reason if file == shown(path) else f"cannot be recomputed: {error}"]
    return [f"{shown(path)}: {line}" for line in findings]


def _some(ids: list[str], total: int = 0) -> str:
    """Format ids as "2 of its 28 cells (...)", or "2 cells (...)" without a total."""
    number = f"{len(ids)} of its {total} cells" if total else _count(len(ids), "cell")
    more = f" and {len(ids) - 3} more" if len(ids) > 3 else ""
    return f"{number} ({', '.join(ids[:3])}{more})"


def _check_ledger(path: Path) -> list[str]:
    """Recompute the ledger from the cells of the tables; returns one line per difference."""
    try:
        recomputed = claims.judge_claims(path.parent.name, path.stem.partition(".")[2])
    except ReproError as error:
        return [f"{shown(path)}: cannot be recomputed: {error}"]
    return [f"{shown(path)}: {line}" for line in _differences(path, recomputed, ("id",))]


def _differences(
    path: Path, recomputed: pd.DataFrame, key: tuple[str, ...], measured: tuple[str, ...] = ()
) -> list[str]:
    """Compare a CSV byte for byte with the recomputed table; returns one line per difference.

    For `measured` columns only their presence is checked.
    """
    text = recomputed.to_csv(index=False, lineterminator="\n")
    if not measured and text.encode() == path.read_bytes():
        return []
    try:
        stored = pd.read_csv(path, dtype=str, keep_default_na=False)
    except ValueError as error:
        raise InputError(f"{shown(path)} is not a CSV file: {error}") from None
    expected = pd.read_csv(StringIO(text), dtype=str, keep_default_na=False)
    findings = [
        f"column {name} is missing" for name in [*expected, *measured] if name not in stored
    ]
    stored = stored.drop(columns=[*measured], errors="ignore")
    if measured and stored.equals(expected):
        return findings
    findings += [
        f"column {name} is not in the recomputed table" for name in stored if name not in expected
    ]
    if {*key} <= {*stored}:
        findings += _row_differences(stored, expected, list(key))
    return findings or [
        "differs from the recomputed table only in form: order of rows, quotes or line ends"
    ]


def _row_differences(stored: pd.DataFrame, expected: pd.DataFrame, key: list[str]) -> list[str]:
    """Compare two tables row by row, matched by the columns `key`."""
    old, new = (
        {tuple(row[name] for name in key): row for row in frame.to_dict("records")}
        for frame in (stored, expected)
    )
    twice = stored[stored.duplicated(subset=key)]
    repeated = dict.fromkeys(twice[key].itertuples(index=False, name=None))
    findings = [f"row ({', '.join(row)}) is there more than once" for row in repeated]
    findings += [
        f"row ({', '.join(row)}) is not in the recomputed table" for row in old if row not in new
    ]
    for row, values in new.items():
        if row not in old:
            findings.append(f"row ({', '.join(row)}) is missing")
            continue
        findings += [
            f"row ({', '.join(row)}), column {name}: "
            f"stored {old[row][name] or 'nothing'}, recomputed {value or 'nothing'}"
            for name, value in values.items()
            if name in old[row] and old[row][name] != value
        ]
    return findings
