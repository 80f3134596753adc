"""One trial of a sweep: a student's training, reported to Optuna epoch by epoch."""

import time
from contextlib import suppress

from optuna import Trial
from optuna.trial import TrialState

from repro.errors import TrainingError
from repro.runs import cache, compute
from repro.runs.stages import Stage
from repro.training import checkpoints
from repro.training.loop import Callback, Training


class ReportEpochs(Callback):
    """Reports the best score so far at the end of each epoch, and ends the training if pruned.

    Attributes:
        epochs: Epochs reported so far.
        pruned: Whether the pruner ended the training.
    """

    def __init__(self, trial: Trial) -> None:
        self.trial, self.epochs, self.pruned = trial, 0, False

    def on_log(self, training: Training, logged: dict[int, dict[str, float]]) -> None:
        """Report the epochs that have ended; after an interruption, the earlier ones too."""
        step, per_epoch = training.progress.step, training.steps_per_epoch
        if "score" not in logged.get(step, {}):
            return
        history = training.progress.history
        for epoch in range(self.epochs + 1, step // per_epoch + 1):
            scores = [entry["score"] for entry in history if entry["step"] <= epoch * per_epoch]
            self.trial.report(max(scores), epoch)
            self.epochs = epoch
            if step < training.last_step and self.trial.should_prune():
                self.pruned = training.stop = True


def run_trial(stage: Stage, trial: Trial) -> None:
    """Train the student of a trial and tell its study how it ended; the student is not kept.

    The trial is complete with its best score (in percent), pruned, or failed if the training
    diverged. Its user attributes are `epochs`, `seconds` and `failure` (a message, or "").

    Args:
        stage: The student's stage; its recipe selects on the inner split.
        trial: A running trial of a study whose storage this process can open.
    """
    start, report = time.perf_counter(), ReportEpochs(trial)
    checkpoint_path = cache.partial(stage.kind, stage.key)
    earlier_seconds = checkpoints.seconds(checkpoint_path)  # of interrupted processes
    score, state, failure = None, TrialState.FAIL, ""
    try:
        data = compute.load_data(stage.spec.inputs)
        _, progress, _ = compute.train_student(stage, data, [report])
    except TrainingError as error:
        failure = str(error)
    else:
        state = TrialState.PRUNED if report.pruned else TrialState.COMPLETE
        score = None if report.pruned else progress.best_score
    seconds = earlier_seconds + time.perf_counter() - start
    attributes = {"epochs": report.epochs, "seconds": round(seconds, 1), "failure": failure}
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    trial.study.tell(trial, score, state)
    with suppress(OSError):
        checkpoint_path.unlink(missing_ok=True)
