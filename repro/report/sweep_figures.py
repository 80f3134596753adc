"""Optuna's own plots of a sweep."""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import optuna
from matplotlib.axes import Axes
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState
from optuna.visualization import matplotlib as plots

from repro import paths
from repro.report.figures import figure_of, save


def write(profile: str, study: optuna.Study) -> list[Path]:
    """Write figures/<profile>/sweep-<name>-{history,parallel,importance}.{pdf,png}.

    Importance is PED-ANOVA's (Watanabe et al. 2023), for the best quarter of four trials or more.
    """
    scores = [trial.value for trial in study.get_trials(states=[TrialState.COMPLETE])]
    with plt.rc_context(), warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        plt.style.use("default")  # not a user's matplotlibrc
        label = "inner score (%)"
        axes: dict[str, Axes] = {
            "history": plots.plot_optimization_history(study, target_name=label),
            "parallel": plots.plot_parallel_coordinate(study, target_name=label),
        }
        if len(scores) >= 4 and len(set(scores)) > 1:
            evaluator = PedAnovaImportanceEvaluator(target_quantile=0.25)
            axes["importance"] = plots.plot_param_importances(study, evaluator)
        for ax in axes.values():
            figure_of(ax).set_size_inches(8, 4)
        folder = paths.figures(profile)
        return [
            path
            for what, ax in axes.items()
            for path in save(ax, folder, f"sweep-{study.study_name}-{what}")
        ]
