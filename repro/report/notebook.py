"""What the notebooks show: tables with their notes, figures, code, curves, examples, changes."""

import html
import inspect
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import PIL.Image
from IPython.display import HTML, Image, Markdown, display
from matplotlib.axes import Axes
from scipy.special import softmax

from repro.analysis import comparisons
from repro.config.cells import Cell
from repro.data import ptp_labels
from repro.report import figures, text

if TYPE_CHECKING:
    from repro.runs.explore import Predictions

_PIXELS = 760  # width of a figure on the page
# after Okabe and Ito
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_NAMES = {"ce": "cross-entropy", "kl": "KL", "dev_loss": "dev loss", "score": "dev score"}
_DEV = ("dev_loss", "score")  # measured on dev: the last panels


def table(frame: pd.DataFrame) -> HTML:
    """A table beside the paper's, with the notes that the command line prints below it.

    Args:
        frame: A table as `tables.read_table` returns it.
    """
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in text.notes(frame))
    return HTML(
        f"<b>{html.escape(text.title(frame))}</b>{text.beside_paper(frame).to_html()}"
        f"<ul style='max-width: 60em'>{notes}</ul>"
    )


def figure(axes: Axes | Sequence[Axes] | np.ndarray | Markdown) -> Image | Markdown:
    """A figure with alternative text, closed.

    Args:
        axes: Any axes of the figure; or a sentence in place of one, which is returned.
    """
    if isinstance(axes, Markdown):
        return axes
    with tempfile.TemporaryDirectory() as folder:
        return _picture(figures.save(axes, Path(folder), "figure")[1])


def pictures(paths: Iterable[Path]) -> None:
    """Display those of the files that are PNGs of `figures.save`, with alternative text.

    Args:
        paths: Files; those of other types are ignored.
    """
    display(*[_picture(path) for path in paths if path.suffix == ".png"])


def _picture(path: Path) -> Image:
    with PIL.Image.open(path) as opened:
        alt = opened.info.get("Description", "")
    return Image(data=path.read_bytes(), width=_PIXELS, alt=alt)


def code(*objects: Callable[..., Any] | type) -> Markdown:
    """The source of functions or classes, without their docstrings."""
    blocks = []
    for item in objects:
        source = textwrap.dedent(inspect.getsource(item))
        doc = item.__doc__
        if doc:
            source = source.replace(f'"""{doc}"""', "", 1)
        lines = [line for line in source.splitlines() if line.strip()]
        listing = "\n".join(lines)
        blocks.append(f"`{item.__module__}.{item.__qualname__}`\n```python\n{listing}\n```")
    return Markdown("\n\n".join(blocks))


def change(cells: list[Cell]) -> HTML | Markdown:
    """Each row of a changed table: plain, changed, and the difference with its 95 % interval.

    Args:
        cells: The plan of the notebook. Without changes, or without a finished plain table, a
            sentence says what to do.
    """
    if not comparisons.is_changed(cells):
        return Markdown(
            "Nothing is changed. Edit `overrides` or `recipe` in the cell *parameters*, for "
            'example `overrides: dict = {"beta": 0.0}`, and choose *Run > Run All Cells* again.'
        )
    if not comparisons.all_done(comparisons.plain_cells(cells)):
        return Markdown(
            "The plain table is not there to compare with. Run this notebook once with "
            '`overrides: dict = {}` and `recipe: str = "authors"`, then with the change again.'
        )
    frame = comparisons.compare_with_plain(cells)
    rows = {
        (row["task"], row["method"]): {
            "plain": f"{row['plain']:.1f}",
            "changed": f"{row['changed']:.1f}",
            "difference [95 % interval]": _interval(row),
        }
        for row in frame.to_dict("records")
    }
    shown = pd.DataFrame.from_dict(rows, orient="index")
    seeds = int(frame["seeds"].max())
    covers = "seeds and dev examples" if seeds > 1 else "dev examples; with one seed, not of seeds"
    return HTML(
        f"<b>What the change does</b>{shown.to_html()}"
        f"<p style='max-width: 60em'>Changed minus plain, in points. {seeds} "
        f"seed{'s' * (seeds > 1)}; the intervals are over new {covers}.</p>"
    )


def _interval(row: dict[Any, Any]) -> str:
    if np.isnan(row["difference"]):
        return "other examples are scored"
    return f"{row['difference']:+.1f} {text.interval(row['ci_low'], row['ci_high'])}"


def curves(frame: pd.DataFrame) -> np.ndarray | Markdown:
    """Plot the loss terms and the score during training, mean over seeds: a row of panels per task.

    Args:
        frame: As `explore.curves` returns it.

    Returns:
        The axes (tasks, names), or a sentence if nothing was evaluated.
    """
    frame = frame[frame["name"] != "learning_rate"]
    if frame.empty:
        return Markdown(
            "There are no curves: the cache has none of these trainings (they ran elsewhere, or it "
            "was cleared), or they were not evaluated on the way."
        )
    names, tasks = list(dict.fromkeys(frame["name"])), list(dict.fromkeys(frame["task"]))
    names.sort(key=lambda name: name in _DEV)
    methods = list(dict.fromkeys(frame["method"]))
    size = figures.WIDE, 0.6 + 1.7 * len(tasks)
    axes = figures.new(*size, len(tasks), len(names), squeeze=False, sharex="row")
    markers, styles = "os^Dvx", ("-", "--", ":", "-.")
    handles = {}
    for (name, value, method), part in frame.groupby(["task", "name", "method"], sort=False):
        place, line = methods.index(method), part.groupby("step")["value"].mean()
        look = {"ls": styles[place % 4], "marker": markers[place % 6], "ms": 3, "lw": 1.0}
        ax = axes[tasks.index(name), names.index(value)]
        handles[method] = ax.plot(
            line.index, line, color=_COLOURS[place % 7], label=method, **look
        )[0]
    for row, name in enumerate(tasks):
        _label_panels(axes[row], name, names)
    figures.figure_of(axes).legend(
        handles=list(handles.values()), loc="outside upper center", ncols=min(len(handles), 4)
    )
    return axes


def _label_panels(axes: list[Axes], name: str, values: list[str]) -> None:
    for ax, value in zip(axes, values, strict=True):
        ax.set_title(_NAMES.get(value, value))
        ax.set_xlabel("step")
        ax.grid(axis="y")
    axes[0].set_ylabel(name)


def examples(predictions: "Predictions", count: int = 2) -> HTML:
    """Some training examples of each PTP label with the teacher's soft labels.

    Args:
        predictions: As `explore.teacher_predictions` returns it.
        count: Examples per PTP label; their confidences are spread evenly.
    """
    labels = ptp_labels.labels(predictions.logits, predictions.gold, predictions.cuts)
    confidence = ptp_labels.confidence(predictions.logits)
    blocks = []
    for place, label in enumerate(ptp_labels.LABELS):
        members = np.flatnonzero(labels == place)
        members = members[np.argsort(-confidence[members], kind="stable")]
        chosen = members[np.linspace(0, len(members) - 1, min(count, len(members))).astype(int)]
        blocks += [_example(predictions, row, label) for row in chosen]
    frame = pd.DataFrame(blocks).set_index("PTP label")
    correct, wrong = predictions.cuts
    notes = f"PTP's thresholds: {correct:.2f} (correct) and {wrong:.2f} (wrong)."
    return HTML(
        f"<b>Training examples of {predictions.task.name}, by PTP label</b>{frame.to_html()}"
        f"<p>{notes}</p>"
    )


def _example(predictions: "Predictions", row: int, label: str) -> dict[str, str]:
    names = predictions.task.labels
    return {
        "PTP label": label,
        "text": " / ".join(predictions.texts[row]),
        "gold": names[predictions.gold[row]],
        "teacher (T = 1)": soft_label(predictions.logits[row], names, 1.0),
        f"soft label (T = {predictions.temperature:g})": soft_label(
            predictions.logits[row], names, predictions.temperature
        ),
    }


def soft_label(logits: np.ndarray, names: tuple[str, ...], temperature: float) -> str:
    """The softened distribution in words, e.g. "negative 0.20, positive 0.80"."""
    shares = softmax(np.asarray(logits, float) / temperature)
    return ", ".join(f"{name} {share:.2f}" for name, share in zip(names, shares, strict=True))
