"""Hyper-parameter sweeps of one student with Optuna.

The only record of a sweep is its study, an Optuna journal in results/<profile>/sweeps/<name>.log.
The score of a trial is its best one on the inner split, a tenth of train; dev is not used.
"""

import shlex
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from filelock import FileLock, Timeout
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from optuna.trial import FrozenTrial, TrialState

from repro import paths
from repro.config.cells import Cell, variant
from repro.config.profiles import override
from repro.config.recipe import parse
from repro.config.sweeps import CONTINUOUS, Sweep, check_preset, settings
from repro.errors import InputError, MissingError, ReproError, on_disk
from repro.files import digest, visible
from repro.runs.results import option_words

if TYPE_CHECKING:
    from repro.runs.engine import Workers
    from repro.runs.stages import Stage

# No trial is pruned before its second epoch: the first is mostly warm-up.
_PRUNERS = {
    "none": NopPruner(),
    "median": MedianPruner(n_startup_trials=4, n_warmup_steps=2),
    "halving": SuccessiveHalvingPruner(min_resource=2, reduction_factor=2),
}

optuna.logging.set_verbosity(optuna.logging.WARNING)


def run(sweep: Sweep, engine: str = "processes", workers: int = 0) -> optuna.Study:
    """Run the trials that a sweep lacks.

    A killed trial is enqueued again. With one worker, an interrupted sweep that is resumed, or
    given a larger budget, has the same trials as an uninterrupted one; with several workers, what
    TPE and the pruners see depends on timing.

    Args:
        sweep: The sweep.
        engine: One of `engine.ENGINES`. Ray workers on other machines must share the results
            folder.
        workers: Number of trials that run at once; 0 for one per core.

    Returns:
        The study, with all its trials.

    Raises:
        InputError: If the study was created with different data, settings or code.
        ReproError: If another process runs this sweep, a shared stage fails, or no trial completes.
    """
    from repro.runs import cache
    from repro.runs import engine as engines
    from repro.runs.stages import resolve

    plan = resolve(sweep.trial_cell({}))
    shared = [stage for stage in plan.stages if stage.kind != "student"]
    cache.check()
    with engines.open_workers(engine, workers) as pool, on_disk(), _alone(sweep):
        study = _open_study(sweep, plan.stage("student").key)
        total = len(sweep.grid) if sweep.sampler == "grid" else sweep.budget
        left = max(0, total - len(finished(study)))
        print(f"{total} trials of {sweep.cell.row} on {sweep.cell.task}, {left} to do", flush=True)
        if left:
            _compute_shared(shared, pool)
            _run_trials(sweep, study, left, pool)
    if not study.get_trials(states=[TrialState.COMPLETE]):
        failures = [trial.user_attrs["failure"] for trial in finished(study)]
        reason = next(filter(None, failures), "all were pruned")
        raise ReproError(
            f"none of {len(failures)} trials completed: {reason}; "
            "widen the search, or use another pruner"
        )
    return study


def _compute_shared(stages: list["Stage"], pool: "Workers") -> None:
    """Compute the missing ones of the stages that all trials share, such as the teacher."""
    from repro.runs import engine as engines
    from repro.runs.progress import Progress

    missing = engines.missing_stages(stages)
    work = sum(stage.work for stage in missing)
    with Progress("stages shared by all trials", work, len(missing), slots=pool.slots) as bar:
        for stage, error in engines.run_stages(missing, pool, bar):
            if error is not None:
                message = f"the {stage}, which all trials need, failed: {error}"
                raise ReproError(message) from error


def _run_trials(sweep: Sweep, study: optuna.Study, count: int, pool: "Workers") -> None:
    """Run so many trials; a worker that becomes free gets the next one."""
    from repro.runs import trials
    from repro.runs.progress import Progress
    from repro.runs.stages import resolve

    distributions: dict[str, BaseDistribution] = {
        name: FloatDistribution(values[0], values[-1], step=0.01)
        if name in CONTINUOUS
        else CategoricalDistribution(values)
        for name, values in sweep.space.items()
    }
    left, running = count, dict[Future, str]()  # the key of the student that each call trains
    with Progress("sweep", count, count, slots=pool.slots, unit="trials") as bar:
        while left or running:
            while left and len(running) < pool.slots:
                study.sampler = _sampler(sweep, study)
                trial, left = study.ask(distributions), left - 1
                student = resolve(sweep.trial_cell(trial.params)).stage("student")
                run_trial = partial(trials.run_trial, trial=trial)
                bar.start(student.key, f"trial {trial.number}", 1)
                running[pool.submit(run_trial, student)] = student.key
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                future.result()
                bar.finish(running.pop(future), 1)


@contextmanager
def _alone(sweep: Sweep) -> Iterator[None]:
    """Hold the sweep's lock, since a trial of another process looks like that of a killed one."""
    study_path(sweep).parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(
            study_path(sweep).with_suffix(".lock"), timeout=0, mode=0o666, fallback_to_soft=False
        ):
            yield
    except Timeout:
        raise ReproError(f"another process runs the sweep {sweep.name}; wait for it") from None


def _open_study(sweep: Sweep, key: str) -> optuna.Study:
    """Create or load the study; enqueue the trials of a killed process and the points of a grid."""
    content = study_path(sweep).read_bytes() if study_path(sweep).exists() else b""
    if not content.endswith(b"\n"):  # a full disk left an incomplete last line
        content = content[: content.rfind(b"\n") + 1]
        study_path(sweep).write_bytes(content)
    if content:
        load(study_path(sweep))  # raises an error that says what to do if the file is damaged
    study = optuna.create_study(
        storage=storage(study_path(sweep)),
        pruner=_PRUNERS[sweep.pruner],
        study_name=sweep.name,
        direction="maximize",
        load_if_exists=True,
    )
    cell, computation = sweep.cell, digest({"student": key, "space": sweep.space})
    if study.user_attrs.get("computation", computation) != computation:
        raise InputError(
            f"{paths.shown(study_path(sweep))} was created with different data, settings or "
            "code; delete it and run the sweep again"
        )
    for name, value in {
        "table": cell.table,
        "method": cell.row,
        "task": cell.task,
        "variant": variant(parse(sweep.recipe).name, sweep.fixed),
        "cell": cell.as_dict(),
        "computation": computation,
    }.items():
        study.set_user_attr(name, value)
    for trial in study.get_trials(states=[TrialState.RUNNING]):  # its process was killed
        params = trial.system_attrs.get("fixed_params", {}) | trial.params
        study.enqueue_trial(params, {"retry_of": trial.number})
        study.tell(trial.number, state=TrialState.FAIL)
    for point in sweep.grid if sweep.sampler == "grid" else []:
        study.enqueue_trial(point, skip_if_exists=True)  # GridSampler fails on retried trials
    return study


def study_path(sweep: Sweep) -> Path:
    """Return the path of a sweep's journal, results/<profile>/sweeps/<name>.log."""
    return paths.results(sweep.cell.profile) / "sweeps" / f"{sweep.name}.log"


def storage(path: Path) -> JournalStorage:
    """Open the journal at a path. A lock whose owner was killed expires after 30 s."""
    return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))


def _sampler(sweep: Sweep, study: optuna.Study) -> TPESampler | RandomSampler:
    """Create the sampler of the next trial, seeded by the sweep's seed and the trial's number."""
    number = sum("retry_of" not in trial.user_attrs for trial in study.trials)
    seed = int(np.random.SeedSequence((sweep.cell.seed, number)).generate_state(1)[0])
    return TPESampler(seed=seed) if sweep.sampler == "tpe" else RandomSampler(seed=seed)


def load(path: Path) -> optuna.Study:
    """Load the study of a sweep from its journal.

    Raises:
        MissingError: If there is none, or it cannot be read.
    """
    if not path.is_file():
        raise MissingError(f"there is no {paths.shown(path)}; run the sweep")
    try:
        return optuna.load_study(study_name=None, storage=storage(path))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MissingError(
            f"{paths.shown(path)} cannot be read ({' '.join(str(error).split())}); restore it, or "
            "delete it and run the sweep again"
        ) from None


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that count: complete, pruned or diverged, but not killed."""
    return [
        trial
        for trial in study.trials
        if trial.state.is_finished() and "failure" in trial.user_attrs
    ]


def sentence(study: optuna.Study) -> str:
    """Summarise a study in a few sentences: trials, training time, best score and settings."""
    trials, origin, best_trial = finished(study), study.user_attrs, study.best_trial
    states = Counter(trial.state.name.lower() for trial in trials)
    counts = ", ".join(f"{n} {state.replace('fail', 'failed')}" for state, n in states.items())
    seconds = sum(trial.user_attrs["seconds"] for trial in trials)
    values = ", ".join(f"{name} {value:g}" for name, value in settings(best_trial.params).items())
    return (
        f"{origin['method']} on {origin['task']}: {len(trials)} trials ({counts}; {seconds:.0f} s "
        f"of training). The best score on the inner split is {best_trial.value:.1f}, of trial "
        f"{best_trial.number}: {values}. The best of many scores is optimistic; dev was not used."
    )


def best(profile_name: str, variant_name: str = "") -> dict[tuple[str, str, str], dict[str, Any]]:
    """Look up the best settings of each student that has a sweep.

    Args:
        profile_name: The profile.
        variant_name: The output of `cells.variant` for the recipe's own name, `Recipe.name`, and
            the changed settings.

    Returns:
        Settings by dotted name, for each (table, method, task). Of several sweeps of a student, the
        trial with the best score on the inner split counts.

    Raises:
        MissingError: If a study cannot be read.
    """
    studies: dict[tuple[str, str, str], optuna.Study] = {}
    for path in visible((paths.results(profile_name) / "sweeps").glob("*.log")):
        study = load(path)
        origin = study.user_attrs
        if study.get_trials(states=[TrialState.COMPLETE]) and origin["variant"] == variant_name:
            key = origin["table"], origin["method"], origin["task"]
            if key not in studies or study.best_value > studies[key].best_value:
                studies[key] = study
    return {key: settings(study.best_params) for key, study in studies.items()}


def tuned(
    cells: list[Cell], recipe: str = "authors", overrides: dict[str, Any] | None = None
) -> list[Cell]:
    """Give each student of a plan the best settings of its sweeps.

    Args:
        cells: The plan.
        recipe: Name of its recipe.
        overrides: Its changed settings, by dotted name.

    Returns:
        The cells, in the same order; those that are not students are unchanged.

    Raises:
        InputError: If there is no student, or if decision D13 searches the learning rate.
        MissingError: If a student has no sweep, since a table that mixes tuned and untuned students
            would not be comparable.
    """
    students = [cell for cell in cells if cell.method.kind == "student"]
    if not students:
        rows = ", ".join(dict.fromkeys(cell.row for cell in cells))
        raise InputError(f"there is no student to tune in {rows}; omit --tuned (TUNED=1)")
    check_preset(students[0].recipe, recipe)
    best_settings = best(students[0].profile, variant(parse(recipe).name, overrides))
    missing = [cell for cell in students if (cell.table, cell.row, cell.task) not in best_settings]
    if missing:
        raise MissingError(_no_sweep(missing, recipe, overrides or {}))
    tuned_cells = []
    for cell in cells:
        values = best_settings.get((cell.table, cell.row, cell.task), {})
        setting = override(cell.setting, values)
        tuned_cells.append(replace(cell, setting=setting, tuned=tuple(sorted(values))))
    return tuned_cells


def _no_sweep(missing: list[Cell], recipe: str, overrides: dict[str, Any]) -> str:
    """The message that students have no sweep, with the command for the first of them."""
    first = missing[0]
    command = ["python", "-m", "repro", "sweep", first.table, "--profile", first.profile]
    command += ["--method", first.row, "--task", first.task]
    command += option_words(recipe, overrides)
    names = [*dict.fromkeys(f"{cell.row} on {cell.task}" for cell in missing)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"no sweep of {', '.join(names[:3])}{more}; run: {shlex.join(command)}"
