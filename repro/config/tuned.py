"""What sweeps found best: results/<profile>/best.csv, written by `sweep`, read by `experiments`. No torch here."""

import ast
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from repro import paths
from repro.errors import MissingError, on_disk
from repro.files import write_atomic

if TYPE_CHECKING:
    import pandas as pd

KEY = ["table", "method", "task"]  # one sweep each, the newest
_READ = [*KEY, "setting", "value", "inner_score", "sweep"]


def path(profile: str, variant: str = "") -> Path:
    """results/<profile>/best.csv; best.<variant>.csv for sweeps under another recipe or changed settings.

    variant: `experiments.variant` of that recipe and those settings, as in the name of their tables.
    """
    return paths.results(profile) / (f"best.{variant}.csv" if variant else "best.csv")


def read(profile: str, variant: str = "") -> dict[tuple[str, str, str], dict[str, Any]]:
    """The best settings by (table, method, task): dotted names and values, as `profiles.override` takes them."""
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in _frame(profile, variant).to_dict("records"):
        setting = found.setdefault((row["table"], row["method"], row["task"]), {})
        setting[row["setting"]] = ast.literal_eval(row["value"])
    return found


def write(profile: str, variant: str, rows: "pd.DataFrame") -> Path:
    """Put one sweep's rows in, instead of those of an earlier sweep of the same cell. Returns where.

    rows: one per setting; columns `KEY`, layers, setting, value, and the sweep's own account of itself.
    """
    import pandas as pd

    target = path(profile, variant)
    with on_disk():
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(
            target.parent / ".best.lock", mode=0o666, fallback_to_soft=False
        ):  # as in `store`
            old, new = _frame(profile, variant), rows.astype(str)
            if len(old):
                again = old[KEY].apply(tuple, axis=1).isin(set(new[KEY].apply(tuple, axis=1)))
                new = pd.concat([old[~again], new])
            new = new.sort_values([*KEY, "setting"], kind="stable")
            write_atomic(
                target, lambda temporary: new.to_csv(temporary, index=False, lineterminator="\n")
            )
    return target


def trials(file: Path) -> "pd.DataFrame":
    """The trials of one sweep, as `sweep.write` wrote them; MissingError if they are not there."""
    import pandas as pd

    if not file.is_file():
        raise MissingError(f"no trials in {paths.shown(file)}; run the sweep")
    return pd.read_csv(file, keep_default_na=False, na_values={"inner_score": [""]})


def winner(frame: "pd.DataFrame") -> dict[str, Any]:
    """The complete trial with the best score on the inner split; the first of those that share it."""
    complete = frame[frame["state"] == "complete"]
    best = complete.iloc[int(complete["inner_score"].to_numpy().argmax())]
    return {str(name): value for name, value in best.items()}


def check(profile: str) -> list[str]:
    """What best.csv and its variants say otherwise than the trials of their sweeps: one line each."""
    found = []
    for target in sorted(paths.results(profile).glob("best*.csv")):
        try:
            rows = _frame(
                profile, target.name.removesuffix(".csv").removeprefix("best").removeprefix(".")
            )
            for name, part in rows.groupby("sweep", sort=False):
                lines = _against_trials(part, target.parent / "sweeps" / f"{name}.csv")
                found += [f"{paths.shown(target)}: {line}" for line in lines]
        except MissingError as error:
            found.append(str(error))
    return found


def _against_trials(rows: "pd.DataFrame", file: Path) -> list[str]:
    """What one sweep's rows say otherwise than its best trial."""
    try:
        best = winner(trials(file))
        searched = [*best][[*best].index("seconds") + 1 : [*best].index("failure")]
        found = [
            f"sweep {file.stem} also searched {name}, which has no row"
            for name in searched
            if name not in set(rows["setting"])
        ]
        for row in rows.to_dict("records"):
            again = {"value": best[row["setting"]], "inner_score": best["inner_score"]}
            found += [
                f"row ({row['method']}, {row['task']}, {row['setting']}), column {name}: stored {row[name]}, "
                f"the sweep's best trial has {value}"
                for name, value in again.items()
                if float(row[name]) != float(value)
            ]
    except (MissingError, KeyError, ValueError) as error:
        return [f"sweep {file.stem} cannot be compared ({' '.join(str(error).split())})"]
    return found


def _frame(profile: str, variant: str) -> "pd.DataFrame":
    """Every value as the text that is written there; no row if there is no file. MissingError if it is damaged."""
    import pandas as pd

    target = path(profile, variant)
    if not target.is_file():
        return pd.DataFrame(columns=_READ)
    try:
        frame = pd.read_csv(target, dtype=str, keep_default_na=False)
        if lacking := [name for name in _READ if name not in frame]:
            raise ValueError(f"no column {', '.join(lacking)}")
        frame["value"].map(ast.literal_eval)
        return frame
    except (ValueError, KeyError, SyntaxError) as error:
        raise MissingError(
            f"{paths.shown(target)} is damaged ({' '.join(str(error).split())}); restore it, or delete "
            "it and run the sweeps again: their trials are kept"
        ) from None
