"""Hyper-parameter sweeps of one student with Optuna.

A study is an Optuna journal, results/<profile>/sweeps/<name>.log, and the only record of a sweep. A
trial's score is the best on the inner split, a tenth of train; no label of dev is used.
"""

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import reduce
from itertools import product
from pathlib import Path
from typing import Any

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
from repro.config.cells import plan as plan_cells
from repro.config.profiles import PROFILES, Setting, override, profile
from repro.config.recipe import Recipe, parse
from repro.config.tables import table as table_of
from repro.errors import InputError, MissingError, ReproError, on_disk, one_of

SAMPLERS = ("tpe", "random", "grid")
# No trial is pruned before its second epoch: the first is mostly warm-up.
PRUNERS = {
    "none": NopPruner(),
    "median": MedianPruner(n_startup_trials=4, n_warmup_steps=2),
    "halving": SuccessiveHalvingPruner(min_resource=2, reduction_factor=2),
}
# Section 4.1. For alpha and beta the paper gives the bounds; the points in between are ours. The
# learning rates are the profile's `search_rates`: the paper's do not suit a small encoder.
PAPER: dict[str, tuple[int | float, ...]] = {
    "student.batch_size": (32, 64),
    "student.epochs": (4, 6, 10),
    "alpha": (0.1, 0.3, 0.5, 0.7),
    "beta": (0.0, 40.0, 100.0, 250.0, 500.0),
}
CONTINUOUS = ("alpha", "beta")  # a grid takes the values above, the other samplers any 0.01 between
_MOST_TRIALS = 1000

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Sweep:
    """What is searched, how, and with what budget.

    Attributes:
        cell: The student, with the profile's settings.
        budget: Number of trials; a grid may have fewer.
        sampler: One of SAMPLERS.
        pruner: One of PRUNERS.
        recipe: Name of the recipe.
        fixed: Settings that were changed, and so are not searched.
    """

    cell: Cell
    budget: int
    sampler: str
    pruner: str
    recipe: str
    fixed: dict[str, Any] = field(default_factory=dict)

    @property
    def space(self) -> dict[str, tuple[int | float, ...]]:
        """The values of each setting that is searched: not fixed, and with an effect on the cell.

        Patient KD without a pair of layers is plain KD, so beta has no effect (decisions D5, D18).
        """
        method, recipe = self.cell.method, self.cell.recipe
        one_layer = self.cell.layers == 1 and method.sharing == "none"
        unpaired = recipe.one_layer_patient == "kd" if one_layer else recipe.layer_map == "none"
        unused = {*self.fixed}
        if method.loss == "finetune":
            unused |= {"alpha", "beta"}
        elif method.loss == "kd" or unpaired:
            unused |= {"beta"}
        scaled = scaled_space(self.cell.profile)
        return {name: values for name, values in scaled.items() if name not in unused}

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """The space in Optuna's terms."""
        return {
            name: FloatDistribution(values[0], values[-1], step=0.01)
            if name in CONTINUOUS
            else CategoricalDistribution(values)
            for name, values in self.space.items()
        }

    @property
    def grid(self) -> list[dict[str, Any]]:
        """Points of the grid in random order, as many as the budget allows."""
        points = [
            dict(zip(self.space, point, strict=True)) for point in product(*self.space.values())
        ]
        order = np.random.default_rng(self.cell.seed).permutation(len(points))
        return [points[index] for index in order[: self.budget]]

    @property
    def name(self) -> str:
        """Such as "table2-peabert3-mini-rte-s0-tpe-median", then the variant if there is one."""
        cell, changed = self.cell, variant(self.recipe, self.fixed)
        words = (cell.table, cell.row, cell.task, f"s{cell.seed}", self.sampler, self.pruner)
        slug = re.sub(r"[^a-z0-9+-]", "-", "-".join(words).lower())
        return f"{slug}.{changed}" if changed else slug

    @property
    def path(self) -> Path:
        """results/<profile>/sweeps/<name>.log"""
        return paths.results(self.cell.profile) / "sweeps" / f"{self.name}.log"

    def trial_cell(self, params: dict[str, Any]) -> Cell:
        """The cell of a trial; it makes no choice on dev."""
        setting = override(self.cell.setting, settings(params))
        return replace(self.cell, setting=setting, recipe=blind(self.cell.recipe))


def scaled_space(profile_name: str) -> dict[str, tuple[int | float, ...]]:
    """The paper's grid, scaled to a profile.

    Batch sizes, epochs and beta are multiplied by the ratio of the profile's own to the paper
    profile's; alpha is a share, the same everywhere.
    """
    source, paper = PROFILES[profile_name], PROFILES["paper"].setting
    space: dict[str, tuple[int | float, ...]] = {"student.learning_rate": source.search_rates}
    for name, values in PAPER.items():
        own = value_of(source.setting, name)
        ratio = 1 if name == "alpha" else own / value_of(paper, name)
        space[name] = tuple(round(v * ratio, None if type(own) is int else 2) for v in values)
    return space


def value_of(setting: Setting, name: str) -> Any:
    """A setting by its dotted name."""
    return reduce(getattr, name.split("."), setting)


def settings(params: dict[str, Any]) -> dict[str, Any]:
    """A trial's parameters as `profiles.override` takes them, without rounding errors of steps."""
    return {k: round(value, 2) if k in CONTINUOUS else value for k, value in params.items()}


def blind(recipe: Recipe) -> Recipe:
    """The recipe without any choice on dev (decisions D9, D15, D20).

    The checkpoints of PTP and the student are chosen on the inner split, the teacher's is the last.
    """
    ptp = "best_inner" if recipe.ptp_selection == "best_dev" else recipe.ptp_selection
    return replace(recipe, checkpoint="best_inner", ptp_selection=ptp, teacher_checkpoint="last")


def plan(
    table: str,
    profile_name: str = "demo",
    method: str = "PeaBERT3",
    layers: int = 0,
    task: str = "RTE",
    budget: int = 20,
    sampler: str = "tpe",
    pruner: str = "median",
    seed: int = 0,
    recipe: str = "authors",
    overrides: dict[str, Any] | None = None,
) -> Sweep:
    """Plan the sweep of one student. All arguments are literals, as a notebook needs them.

    Args:
        table: The student's table.
        profile_name: Data, encoder and the scale of the search space.
        method: A row's name, or that name without its number (PeaBERT) together with `layers`.
        layers: Layers of the student; 0 if the name says it.
        task: One task.
        budget: Number of trials, 1 to 1000.
        sampler: One of SAMPLERS.
        pruner: One of PRUNERS.
        seed: Of the trainings and of the sampler.
        recipe: One that leaves decision D13 at "preset".
        overrides: Settings to change; they are not searched.

    Raises:
        InputError: On an unknown name, or if nothing is left to search.
    """
    for what, value, allowed in (("sampler", sampler, SAMPLERS), ("pruner", pruner, [*PRUNERS])):
        if value not in allowed:
            raise one_of(what, value, allowed)
    if type(budget) is not int or not 1 <= budget <= _MOST_TRIALS:
        raise InputError(
            f"budget must be a whole number of trials from 1 to {_MOST_TRIALS}, got {budget!r}"
        )
    _check_preset(parse(recipe), recipe)
    row = row_name(table, method, layers)
    if "," in task or not task.strip():
        tasks = ", ".join(profile(profile_name).tasks())
        raise InputError(f"a sweep is of one task, got {task!r}; use one of: {tasks}")
    cells = plan_cells(table, profile_name, task, seed + 1, recipe, overrides)
    cell = next(cell for cell in cells if (cell.row, cell.seed) == (row, seed))
    sweep = Sweep(cell, budget, sampler, pruner, recipe, overrides or {})
    if not sweep.space:
        names = ", ".join(sweep.fixed)
        raise InputError(f"nothing is left to search: {names} are all set; leave one out")
    return sweep


def row_name(table: str, method: str, layers: int = 0) -> str:
    """The row of a method and its layers (0: as the name says); InputError if there is none."""
    rows = [row for row in table_of(table).rows if row.method.kind == "student"]
    matching = [
        row.name
        for row in rows
        if layers in (0, row.layers)
        and method in (row.name, row.name.replace(str(row.layers), "", 1))
    ]
    if len(matching) != 1:
        received = f"{method} of {layers} layers" if layers else method
        raise one_of(f"student of {table}", received, [row.name for row in rows])
    return matching[0]


def _check_preset(recipe: Recipe, name: str) -> None:
    """InputError unless decision D13 leaves the student's learning rate to the sweep."""
    if recipe.hyperparameters != "preset":
        raise InputError(
            f"recipe {name} searches the student's learning rate itself (decision D13), which a "
            f"sweep would contradict; use {name}+hyperparameters=preset"
        )


def run(sweep: Sweep, engine: str = "processes", workers: int = 0) -> optuna.Study:
    """Run the trials that a sweep lacks.

    A killed trial is enqueued again. With one worker, an interrupted sweep and a larger budget give
    the trials of a single run; with several, what TPE and the pruners see depends on timing.

    Args:
        sweep: What to search.
        engine: One of `engine.ENGINES`.
        workers: Trials at once; 0 for one per core.

    Returns:
        The study, with all its trials.

    Raises:
        InputError: If the study is of other data, settings or code.
        ReproError: If another process runs this sweep, a shared stage fails, or no trial completes.
    """
    from repro.runs import engine as engines
    from repro.runs import trials
    from repro.runs.progress import Progress
    from repro.runs.stages import resolve

    shared = resolve(sweep.trial_cell({}))
    parents = [stage for stage in shared.stages if stage.kind != "student"]
    with engines.open_workers(engine, workers) as pool, on_disk(), _alone(sweep):
        study = _open_study(sweep, shared.stage("student").key)
        total = len(sweep.grid) if sweep.sampler == "grid" else sweep.budget
        left = max(0, total - len(finished(study)))
        print(f"{total} trials of {sweep.cell.row} on {sweep.cell.task}, {left} to do", flush=True)
        for stage, error in engines.run_stages(parents if left else [], pool):
            if error is not None:
                raise ReproError(f"the {stage} failed, which all trials need: {error}") from error
        running: dict[Future, int] = {}
        with Progress(max(left, 1), "sweep") as bar:
            while left or running:
                while left and len(running) < pool.slots:
                    study.sampler = _sampler(sweep, study)
                    trial, left = study.ask(sweep.distributions), left - 1
                    student = resolve(sweep.trial_cell(trial.params)).stage("student")
                    running[pool.submit(trials.run_trial, student, trial)] = trial.number
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    future.result()
                    bar.advance(1, f"trial {running.pop(future)}")
    if not study.get_trials(states=[TrialState.COMPLETE]):
        failures = [trial.user_attrs["failure"] for trial in finished(study)]
        reason = next(filter(None, failures), "all were pruned")
        raise ReproError(
            f"no trial of {len(failures)} was complete: {reason}; "
            "widen the search, or use another pruner"
        )
    return study


@contextmanager
def _alone(sweep: Sweep) -> Iterator[None]:
    """Hold the sweep's lock: a trial that another process runs would be taken for a killed one."""
    sweep.path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(sweep.path.with_suffix(".lock"), timeout=0, mode=0o666):
            yield
    except Timeout:
        raise ReproError(f"another process runs the sweep {sweep.name}; wait for it") from None


def _open_study(sweep: Sweep, key: str) -> optuna.Study:
    """Create or continue the study; enqueue the trials of a killed process and a grid's points."""
    content = sweep.path.read_bytes() if sweep.path.exists() else b""
    if not content.endswith(b"\n"):  # a full disk left an incomplete last line
        sweep.path.write_bytes(content[: content.rfind(b"\n") + 1])
    study = optuna.create_study(
        storage=storage(sweep.path),
        pruner=PRUNERS[sweep.pruner],
        study_name=sweep.name,
        direction="maximize",
        load_if_exists=True,
    )
    if study.user_attrs.get("stage", key) != key:
        raise InputError(
            f"{paths.shown(sweep.path)} is of other data, settings or code; "
            "delete it and run the sweep again"
        )
    cell = sweep.cell
    names = {"table": cell.table, "method": cell.row, "task": cell.task}
    origin = {"variant": variant(sweep.recipe, sweep.fixed), "cell": cell.as_dict(), "stage": key}
    for name, value in (names | origin).items():
        study.set_user_attr(name, value)
    for trial in study.get_trials(states=[TrialState.RUNNING]):  # its process was killed
        params = trial.system_attrs.get("fixed_params", {}) | trial.params
        study.enqueue_trial(params, {"retry_of": trial.number})
        study.tell(trial.number, state=TrialState.FAIL)
    for point in sweep.grid if sweep.sampler == "grid" else []:
        study.enqueue_trial(point, skip_if_exists=True)  # GridSampler fails on retried trials
    return study


def storage(path: Path) -> JournalStorage:
    """The journal at a path. If the owner of its lock was killed, the lock expires after 30 s."""
    return JournalStorage(JournalFileBackend(str(path), JournalFileOpenLock(str(path))))


def _sampler(sweep: Sweep, study: optuna.Study) -> TPESampler | RandomSampler:
    """The sampler of the next trial, seeded by the sweep's seed and the trial's place."""
    place = sum("retry_of" not in trial.user_attrs for trial in study.trials)
    seed = int(np.random.SeedSequence((sweep.cell.seed, place)).generate_state(1)[0])
    return TPESampler(seed=seed) if sweep.sampler == "tpe" else RandomSampler(seed=seed)


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that count: complete, pruned or diverged, but not killed."""
    return [t for t in study.trials if t.state.is_finished() and "failure" in t.user_attrs]


def sentence(study: optuna.Study) -> str:
    """What a study found, and at what cost."""
    trials, origin, best_trial = finished(study), study.user_attrs, study.best_trial
    states = Counter(trial.state.name.lower() for trial in trials)
    counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    seconds = sum(trial.user_attrs["seconds"] for trial in trials)
    values = ", ".join(f"{name} {value:g}" for name, value in settings(best_trial.params).items())
    return (
        f"{origin['method']} on {origin['task']}: {len(trials)} trials ({counts}; {seconds:.0f} s "
        f"of training). The best score on the inner split is {best_trial.value:.1f}, of trial "
        f"{best_trial.number}: {values}. The best of many scores is optimistic; dev was not used."
    )


def best(profile_name: str, variant_name: str = "") -> dict[tuple[str, str, str], dict[str, Any]]:
    """The best settings of each student that was swept.

    Args:
        profile_name: Whose sweeps.
        variant_name: `cells.variant` of the recipe and of the changed settings.

    Returns:
        Dotted names and values, by (table, method, task). If a student has several sweeps, those of
        the trial with the best score on the inner split.

    Raises:
        MissingError: If a study is damaged.
    """
    best_trials: dict[tuple[str, str, str], FrozenTrial] = {}
    for path in sorted((paths.results(profile_name) / "sweeps").glob("*.log")):
        try:
            journal = storage(path)
            for name in [study.study_name for study in journal.get_all_studies()]:
                study = optuna.load_study(study_name=name, storage=journal)
                origin, complete = study.user_attrs, study.get_trials(states=[TrialState.COMPLETE])
                if complete and origin["variant"] == variant_name:
                    key = origin["table"], origin["method"], origin["task"]
                    trials = [*([best_trials[key]] if key in best_trials else []), *complete]
                    best_trials[key] = max(trials, key=lambda trial: trial.value)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MissingError(
                f"{paths.shown(path)} is damaged ({' '.join(str(error).split())}); restore it, or "
                "delete it and run the sweep again"
            ) from None
    return {key: settings(trial.params) for key, trial in best_trials.items()}


def tuned(
    cells: list[Cell], recipe: str = "authors", overrides: dict[str, Any] | None = None
) -> list[Cell]:
    """The cells of a plan, each student with the best settings of its sweeps.

    Args:
        cells: The plan.
        recipe: Its recipe.
        overrides: Its changed settings.

    Raises:
        InputError: If there is no student, or if decision D13 searches the learning rate.
        MissingError: If a student has no sweep: tuned and untuned students are not comparable.
    """
    students = [cell for cell in cells if cell.method.kind == "student"]
    if not students:
        raise InputError(f"{cells[0].table} has no student, so nothing to tune; omit tuned")
    _check_preset(students[0].recipe, recipe)
    found = best(students[0].profile, variant(recipe, overrides))
    missing = [cell for cell in students if (cell.table, cell.row, cell.task) not in found]
    if missing:
        first = missing[0]
        command = ["python", "-m", "repro", "sweep", first.table, "--profile", first.profile]
        command += ["--method", first.row, "--task", first.task]
        command += [] if recipe == "authors" else ["--recipe", recipe]
        for name, value in (overrides or {}).items():
            command += ["--set", f"{name}={value}"]
        names = [*dict.fromkeys(f"{cell.row} on {cell.task}" for cell in missing)]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise MissingError(f"no sweep of {', '.join(names[:3])}{more}; run: {shlex.join(command)}")
    tuned_cells = []
    for cell in cells:
        values = found.get((cell.table, cell.row, cell.task), {})
        setting = override(cell.setting, values)
        tuned_cells.append(replace(cell, setting=setting, tuned=tuple(sorted(values))))
    return tuned_cells
