"""Optuna's own plots of a sweep."""

import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import optuna
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from optuna.importance import PedAnovaImportanceEvaluator
from optuna.trial import TrialState
from optuna.visualization import matplotlib as plots

from repro import paths
from repro.report.figures import STYLE, figure_of, save


def write(profile: str, study: optuna.Study) -> list[Path]:
    """Write figures/<profile>/sweep-<name>-{history,parallel,importance}.{pdf,png}.

    Importance is PED-ANOVA's (Watanabe et al. 2023), for the best quarter of four trials or more.

    Args:
        profile: Name of the profile.
        study: A sweep with finished trials.

    Returns:
        The paths, a PDF and a PNG of each figure.
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
            _restyle(ax)
        settings = sorted({name for trial in study.get_trials() for name in trial.params})
        _parallel(axes["parallel"], [label, *map(_short, settings)])
        axes["history"].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        axes["history"].set(title="", xlabel="trial")
        axes["history"].xaxis.set_major_locator(MaxNLocator(integer=True))
        if "importance" in axes:
            bars = axes["importance"]
            bars.legend().remove()  # of one kind of bar
            names = [_short(text.get_text()) for text in bars.get_yticklabels()]
            bars.set_yticks(bars.get_yticks(), names)
            bars.set_title("", loc="left")
            bars.set(title="Importance of the settings", xlabel="share", ylabel="")
        folder = paths.figures(profile)
        return [
            path
            for what, ax in axes.items()
            for path in save(ax, folder, f"sweep-{study.study_name}-{what}")
        ]


def _restyle(ax: Axes) -> None:
    """White panels with grey grids, in place of Optuna's grey ones."""
    figure_of(ax).set_size_inches(8, 4)
    ax.set_facecolor("white")
    ax.grid(color=STYLE["grid.color"])
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set_color("black")
        axis.set_tick_params(labelcolor="black")


def _parallel(ax: Axes, names: list[str]) -> None:
    """One line per trial, in colours that show on white, with names in full."""
    for lines in ax.collections:
        lines.set_cmap("cividis_r")  # also of the colour bar
    ax.set_xticks(range(len(names)), names, rotation=0)
    ax.set_title("Settings and scores of the trials")
    for other in figure_of(ax).axes:
        other.grid(False)
        for text in other.get_yticklabels():  # readable where lines pass
            text.set(color="black", bbox={"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.8})


def _short(name: str) -> str:
    """The name of a setting without its stage: "learning rate" for "student.learning_rate"."""
    return name.rpartition(".")[2].replace("_", " ")
