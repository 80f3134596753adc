"""Optuna's part of a sweep: who proposes trials, who ends them early, and which settings mattered. No torch here.

Nothing is kept in a database: a study is a function of its seed and of its trials' scores, so it is replayed.
"""

import math
import warnings
from contextlib import suppress
from typing import Any

import optuna
import pandas as pd
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.pruners import BasePruner, MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, GridSampler, RandomSampler, TPESampler
from optuna.trial import TrialState, create_trial

from repro.runs.space import STEP, Dimension

SAMPLERS = ("tpe", "random", "grid")
PRUNERS = ("none", "median", "halving")
AT_ONCE = 4  # trials proposed together where earlier ones decide: a number of workers would make results depend on it
_FIRST_EPOCH = 2  # the first to be judged: the first epoch of a long schedule is its warm-up
_TOP = 0.25  # share of the trials that importance is about: PED-ANOVA wants about five of them

optuna.logging.set_verbosity(optuna.logging.WARNING)


def create(sampler: str, seed: int, dimensions: tuple[Dimension, ...]) -> optuna.Study:
    """A study without trials. sampler: one of SAMPLERS. Scores are to be maximised."""
    made: dict[str, BaseSampler] = {
        "tpe": TPESampler(seed=seed),
        "random": RandomSampler(seed=seed),
        "grid": GridSampler(
            {dimension.name: dimension.values for dimension in dimensions}, seed=seed
        ),
    }
    return optuna.create_study(direction="maximize", sampler=made[sampler], pruner=NopPruner())


def distributions(dimensions: tuple[Dimension, ...]) -> dict[str, BaseDistribution]:
    """The dimensions as Optuna has them."""
    return {
        d.name: FloatDistribution(d.values[0], d.values[-1], step=STEP)
        if d.continuous
        else CategoricalDistribution(d.values)
        for d in dimensions
    }


def at_once(sampler: str, pruner: str, budget: int) -> int:
    """How many trials are proposed together: all, where none depends on another's score."""
    return AT_ONCE if sampler == "tpe" or pruner != "none" else budget


def tell(
    study: optuna.Study, trial: optuna.Trial, state: str, scores: list[float], score: float | None
) -> None:
    """End a trial. state: complete, pruned or failed. scores: the best so far by the end of each epoch."""
    for epoch, value in enumerate(scores, start=1):
        trial.report(value, epoch)
    with suppress(
        RuntimeError
    ):  # GridSampler's way to say, after its last point, that there are no more
        if state == "complete":
            study.tell(trial, score)
        else:
            study.tell(trial, state=TrialState.PRUNED if state == "pruned" else TrialState.FAIL)


class Watch:
    """Ends a training that its pruner gives up, judged at the end of each epoch beside the trials finished before.

    pruner: one of PRUNERS. finished: of each earlier trial (scores by epoch, whether it was complete). epochs: of the
    training's schedule. Plain data, so that a trial's artefact is a function of it, in whatever process.
    `scores`: the best so far by the end of each epoch; `pruned`: whether the training was ended.
    """

    def __init__(self, pruner: str, finished: list[tuple[list[float], bool]], epochs: int) -> None:
        self.epochs, self.scores, self.pruned, self._best = epochs, list[float](), False, -math.inf
        study = optuna.create_study(direction="maximize", pruner=_pruner(pruner))
        for scores, complete in finished:
            _replay(study, scores, complete)
        self._trial = study.ask()

    def __call__(self, epoch: float, score: float) -> bool:
        """Note an evaluation after `epoch` epochs (2.5: in the third); whether the training should end."""
        self._best = max(self._best, score)
        if int(epoch) > len(self.scores):
            self.scores.append(self._best)
            self._trial.report(self._best, len(self.scores))
            self.pruned = bool(self._trial.should_prune()) and len(self.scores) < self.epochs
        return self.pruned


def _pruner(name: str) -> BasePruner:
    if name == "median":
        return MedianPruner(n_startup_trials=AT_ONCE, n_warmup_steps=_FIRST_EPOCH)
    return SuccessiveHalvingPruner(_FIRST_EPOCH, 2) if name == "halving" else NopPruner()


def _replay(study: optuna.Study, scores: list[float], complete: bool) -> None:
    """A finished trial again: successive halving notes the rungs of a trial when it is asked about it."""
    trial = study.ask()
    for epoch, score in enumerate(scores, start=1):
        trial.report(score, epoch)
        trial.should_prune()
    if complete:
        study.tell(trial, max(scores))
    else:
        study.tell(trial, state=TrialState.PRUNED)


def importance(frame: pd.DataFrame, dimensions: tuple[Dimension, ...]) -> dict[str, float]:
    """Each setting's share in reaching the best quarter of the complete trials (PED-ANOVA, Watanabe et al. 2023).

    frame: a sweep's trials. Returns shares that add up to 1, the largest first; {} if there are under four complete
    trials, or all score the same: nothing can be said then.
    """
    rows = frame[frame["state"] == "complete"]
    if len(rows) < 4 or rows["inner_score"].nunique() < 2:
        return {}
    study, known = optuna.create_study(direction="maximize"), distributions(dimensions)
    for row in rows.to_dict("records"):
        values = {d.name: type(d.values[0])(row[d.name]) for d in dimensions}
        study.add_trial(create_trial(value=row["inner_score"], params=values, distributions=known))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict[str, Any] = get_param_importances(
            study, evaluator=PedAnovaImportanceEvaluator(target_quantile=_TOP)
        )
    return found if math.isfinite(sum(found.values())) else {}
